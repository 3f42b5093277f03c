"""The threads of a server: as many as are needed at once, up to a bound."""

from __future__ import annotations

import logging
import queue
import socket
import threading
from contextlib import suppress
from time import monotonic
from typing import Protocol

_log = logging.getLogger("ocibuild.serve")
_SPARE = 30.0


class Connection(Protocol):
    """A client's connection, as cheroot has it."""

    socket: socket.socket

    def communicate(self) -> bool:
        """Serve one request; True where another may follow."""

    def close(self) -> None:
        """End it."""


class Keeper(Protocol):
    """Who keeps connections between two requests."""

    def put_conn(self, conn: Connection) -> None:
        """Take one back."""


class Workers:
    """Threads that serve connections, as many as are needed at once. cheroot's idea of a pool."""

    def __init__(self, server: Keeper, most: int) -> None:
        self._server = server
        self._most = most
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Connection | None] = queue.SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._busy: dict[threading.Thread, Connection] = {}
        self._load = 0
        self._stopped = False

    def start(self) -> None:
        """Nothing is started before there is work."""

    @property
    def idle(self) -> int:
        """How many wait."""
        return max(len(self._threads) - self._load, 0)

    @property
    def spare(self) -> float:
        """The part of them that nobody has, those that were never started among them: from 1.0 to 0.0."""
        return max(0.0, 1 - self._load / self._most)

    @property
    def qsize(self) -> int:
        """How many connections wait for one."""
        return self._queue.qsize()

    def put(self, connection: Connection) -> None:
        """Have a connection served. Raises queue.Full where every worker has one and as many wait already."""
        with self._lock:
            if self._stopped or self._load >= 2 * self._most:
                raise queue.Full
            self._load += 1
            if self._load > len(self._threads) < self._most:
                thread = threading.Thread(target=self._work, name="ocibuild-serve", daemon=True)
                self._threads.add(thread)
                thread.start()
            self._queue.put(connection)

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            try:
                connection = self._queue.get(timeout=_SPARE)
            except queue.Empty:
                with self._lock:
                    if self._load < len(self._threads):
                        self._threads.discard(me)
                        return
                continue
            if connection is None:
                return
            self._busy[me] = connection
            self._serve(connection)
            with self._lock:
                del self._busy[me]
                self._load -= 1

    def _serve(self, connection: Connection) -> None:
        keep = False
        try:
            keep = connection.communicate()
        except Exception as error:
            _log.debug("a request ended with %r", error)
        try:
            if keep:
                self._server.put_conn(connection)
            else:
                connection.close()
        except (OSError, ValueError, KeyError):
            connection.close()

    def stop(self, timeout: float = 0.3) -> None:
        """Let requests end for a moment, then cut them, and return."""
        with self._lock:
            self._stopped = True
            threads = list(self._threads)
            for _ in threads:
                self._queue.put(None)
        ends = monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, ends - monotonic()))
        for connection in list(self._busy.values()):
            with suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        ends = monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, ends - monotonic()))
