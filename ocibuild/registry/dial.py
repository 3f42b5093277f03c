"""Connecting, with all addresses of a host in one race: RFC 8305 ("Happy Eyeballs"), sections 4 and 5.

Where one family of addresses is a black hole, the other is there a quarter of a second later.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any

from ocibuild.content.flow import Cancel

STAGGER = 0.25
"""Seconds an address is ahead of the next."""

LONGEST = 30.0
"""Seconds for all addresses of a host together, and for its name."""

_SLICE = 0.1

Address = tuple[int, int, int, Any]
"""Family, kind, protocol and socket address."""


def dial(host: str, port: int, seconds: float, options: Iterable[Any] | None, cancel: Cancel | None) -> socket.socket:
    """A connected socket: the address of `host` that answers first; each has `seconds`.

    Raises OSError: socket.gaierror for a name nobody knows, TimeoutError, or the last address's refusal; and Cancelled.
    """
    ends = time.monotonic() + LONGEST
    found = _lookup(host, port, ends, cancel)
    return _Race(alternating(found), seconds, ends, options or ()).run(cancel)


def alternating(addresses: Iterable[Address]) -> list[Address]:
    """The system's order (RFC 6724), with the families by turns, that of the first address first."""
    by_family: dict[int, list[Address]] = {}
    for address in addresses:
        by_family.setdefault(address[0], []).append(address)
    return [address for address in chain(*zip_longest(*by_family.values())) if address is not None]


def _lookup(host: str, port: int, ends: float, cancel: Cancel | None) -> list[Address]:
    """The system's answer, asked on a thread of its own: getaddrinfo cannot be called off, only left behind."""
    answer: list[list[Address] | OSError] = []
    answered = threading.Event()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answer.append([(family, kind, protocol, address) for family, kind, protocol, _, address in found])
        except OSError as error:
            answer.append(error)
        except UnicodeError:  # a label of more than 63 characters
            answer.append(socket.gaierror(socket.EAI_NONAME, "not a name"))
        finally:
            answered.set()

    threading.Thread(target=ask, name=f"lookup {host}", daemon=True).start()
    while not answered.wait(_SLICE):
        _check(cancel)
        if time.monotonic() > ends:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time")
    if isinstance(answer[0], OSError):
        raise answer[0]
    return answer[0]


class _Race:
    """The attempts that are under way; the first to connect is kept, the others are closed."""

    def __init__(self, addresses: Iterable[Address], seconds: float, ends: float, options: Iterable[Any]) -> None:
        self._waiting = deque(addresses)
        self._seconds = seconds
        self._ends = ends
        self._options = options
        self._running: dict[socket.socket, float] = {}
        self._failure: OSError = OSError("the host has no address")
        self._next = 0.0

    def run(self, cancel: Cancel | None) -> socket.socket:
        with selectors.DefaultSelector() as selector:
            try:
                while self._waiting or self._running:
                    _check(cancel)
                    now = time.monotonic()
                    self._drop(selector, now)
                    if self._waiting and (now >= self._next or not self._running):
                        self._start(selector, now)
                    if winner := self._finished(selector, now):
                        return winner
                raise self._failure
            finally:
                for sock in self._running:
                    sock.close()

    def _start(self, selector: selectors.BaseSelector, now: float) -> None:
        family, kind, protocol, address = self._waiting.popleft()
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # a family this machine does not speak
            self._failure = error
            return
        try:
            for option in self._options:
                sock.setsockopt(*option)
            sock.setblocking(False)
            with suppress(BlockingIOError):  # on its way
                sock.connect(address)
            selector.register(sock, selectors.EVENT_WRITE)
        except OSError as error:
            sock.close()
            self._failure = error
            return
        self._running[sock] = min(now + self._seconds, self._ends)
        self._next = now + STAGGER

    def _finished(self, selector: selectors.BaseSelector, now: float) -> socket.socket | None:
        if not self._running:
            return None
        pause = min(_SLICE, self._next - now) if self._waiting else _SLICE
        for key, _ in selector.select(max(pause, 0.0)):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            selector.unregister(sock)
            del self._running[sock]
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not code:
                return sock
            sock.close()
            # OSError becomes ConnectionRefusedError and its like by the number.
            self._failure = OSError(code, os.strerror(code))
            self._next = 0.0
        return None

    def _drop(self, selector: selectors.BaseSelector, now: float) -> None:
        for sock in [sock for sock, until in self._running.items() if now > until]:
            selector.unregister(sock)
            del self._running[sock]
            sock.close()
            self._failure = TimeoutError("connect timed out")
        if now > self._ends:
            self._waiting.clear()


def _check(cancel: Cancel | None) -> None:
    if cancel is not None:
        cancel.check()
