"""A bad line to a server: a small TCP proxy of the tests' own, since the kernel here has no netem.

    with Line("127.0.0.1:5000", cut_up=1_000_000) as line:
        line.host

What it does to a connection is read when bytes pass, so a test may change it on the way.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Self

_PIECE = 16 * 1024


class Line:
    """Forwards connections on a port the system gives; a context manager.

    `delay` is seconds that every piece waits, in each direction. `speed` is bytes a second of each connection and
    direction. `cut_up` and `cut_down` are bytes from and to the client after which a connection is reset, on so many
    connections as `cuts` says. `stall_up` is bytes after which nothing more passes, on so many connections as `stalls`.
    With `keeps` what passed in either direction stands in `kept`.
    """

    def __init__(
        self,
        upstream: str,
        *,
        delay: float = 0,
        speed: float = 0,
        cut_up: int | None = None,
        cut_down: int | None = None,
        cuts: int = 1,
        stall_up: int | None = None,
        stalls: int = 1,
        keeps: bool = False,
    ) -> None:
        host, _, port = upstream.rpartition(":")
        self._upstream = (host, int(port))
        self.delay, self.speed = delay, speed
        self.cut_up, self.cut_down, self.cuts = cut_up, cut_down, cuts
        self.stall_up, self.stalls = stall_up, stalls
        self.keeps, self.kept = keeps, bytearray()
        self.up = self.down = self.connections = self.cut = self.stalled = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            open_ = list(self._open)
        for end in open_:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def passed(self, condition: Callable[[Line], bool], seconds: float = 30) -> bool:
        """Wait until so much has passed: `line.passed(lambda line: line.up > 1_000_000)`."""
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), seconds)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                server = socket.create_connection(self._upstream, 10)
            except OSError:
                _reset(client)  # nobody is there
                continue
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                self.connections += 1
                self._open |= {client, server}
                self._changed.notify_all()
            pair = _Pair(client, server)
            for up in (True, False):
                threading.Thread(target=self._carry, args=(pair, up), daemon=True).start()

    def _carry(self, pair: _Pair, up: bool) -> None:
        source, sink = (pair.client, pair.server) if up else (pair.server, pair.client)
        total = 0
        try:
            while piece := source.recv(_PIECE):
                if self.delay and self._ended.wait(self.delay):
                    break
                if self.speed:
                    time.sleep(len(piece) / self.speed)
                total += len(piece)
                if self._is_over(total, up):
                    pair.reset()
                    break
                sink.sendall(piece)
                with self._changed:
                    if self.keeps:
                        self.kept += piece
                    self.up, self.down = self.up + up * len(piece), self.down + (not up) * len(piece)
                    self._changed.notify_all()
            else:
                sink.shutdown(socket.SHUT_WR)
        except OSError:
            pair.reset()
        finally:
            if pair.leave():
                with self._changed:
                    self._open -= {pair.client, pair.server}

    def _is_over(self, total: int, up: bool) -> bool:
        """True when the connection is to be cut now. Where it is to stall, this does not return until the end."""
        with self._changed:
            limit = self.cut_up if up else self.cut_down
            if limit is not None and total > limit and self.cut < self.cuts:
                self.cut += 1
                self._changed.notify_all()
                return True
            stalls = up and self.stall_up is not None and total > self.stall_up and self.stalled < self.stalls
            if stalls:
                self.stalled += 1
                self._changed.notify_all()
        if stalls:
            self._ended.wait(120)
        return stalls


class _Pair:
    """The two ends of a connection, closed when both directions have left."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self._left = 0
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Break it, so that both sides are told."""
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                # With a linger of zero, closing sends a reset; shutdown first wakes whoever waits in the other direction.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)

    def leave(self) -> bool:
        """Note that one direction is over; True for the second, which closes."""
        with self._lock:
            self._left += 1
            if self._left < 2:
                return False
        self.client.close()
        self.server.close()
        return True


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()
