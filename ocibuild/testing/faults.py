"""What a registry of the tests does wrong, and for which requests. WSGI middleware, before our own server.

Every request is kept, whatever became of it.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, Self

from ocibuild.serve.wire import Broken, FileBody

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_TICK = 0.05
_PIECE = 64 * 1024


@dataclass
class Seen:
    """A request, and what became of it. `path` has the query; header names are lower-case; `received` and `sent` are the
    bytes of the two bodies. `status` is 0 where the connection broke before an answer.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    status: int = 0
    received: int = 0
    sent: int = 0


@dataclass
class Fault:
    """What happens to the requests whose method and path (with its query) these regular expressions find.

    The first `skip` of them are left alone, the next `times` are met; None: all. `met` counts them. Of those that answer
    or break something, one meets a request, in the order they were planned. As a context manager it is lifted at the end.
    """

    method: str = ""
    path: str = ""
    times: int | None = 1
    skip: int = 0
    delay: float = 0
    """Seconds before anything else happens."""
    rate: int | None = None
    """Bytes a second of either body."""
    status: int | None = None
    """Answer this, with `headers` and `body`, in the registry's stead."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the answer: these instead of its own; "" takes one away."""
    body: bytes = b""
    drop: Literal["", "request", "answer"] = ""
    """Break the connection: before the request is looked at, or once it is done, so that the answer is lost."""
    received: int | None = None
    """Break the connection after so many bytes of the request's body."""
    sent: int | None = None
    """Break the connection after so many bytes, one or more, of the answer's body."""
    truncate: int | None = None
    """Answer so many bytes of the body, as if that were all."""
    damage: bool = False
    """Answer other bytes of the same length."""
    met: int = 0
    _lifted: bool = False

    @property
    def ends(self) -> bool:
        """True where nothing can come of the request as it was meant."""
        of_body = (self.status, self.received, self.sent, self.truncate)
        return bool(self.drop) or self.damage or any(value is not None for value in of_body)

    def lift(self) -> None:
        """It happens no more."""
        self._lifted = True

    def meets(self, seen: Seen) -> bool:
        """True where it happens to this request; counted."""
        if self._lifted or self.times == 0:
            return False
        if not re.search(self.method, seen.method) or not re.search(self.path, seen.path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times = None if self.times is None else self.times - 1
        self.met += 1
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.lift()


class Faults:
    """Stands between a registry and its server. `ended` is set when waiting has no use any more.

    What happens `always` is what the registry is like: it comes after what is planned, and is not cleared.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._planned: list[Fault] = []
        self.always: list[Fault] = []
        self.seen: list[Seen] = []
        self.ranges = True
        self.ended = threading.Event()

    def plan(self, fault: Fault) -> Fault:
        """Have it happen from now on. Raises ValueError, and re.error."""
        for pattern in (fault.method, fault.path):
            re.compile(pattern)
        if fault.sent is not None and fault.sent < 1:
            raise ValueError('an answer breaks after one byte or more; drop("answer") sends none')
        with self._lock:
            self._planned.append(fault)
        return fault

    def clear(self) -> None:
        """Nothing is wrong any more."""
        with self._lock:
            for fault in self._planned:
                fault.lift()
            self._planned.clear()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        seen = _seen(environ)
        with self._lock:
            self.seen.append(seen)
            due: list[Fault] = []
            for fault in (*self._planned, *self.always):
                # One of those that end a request: the next one is for the next request.
                if not (fault.ends and any(other.ends for other in due)) and fault.meets(seen):
                    due.append(fault)
        if not self.ranges:
            environ.pop("HTTP_RANGE", None)
        cut = _Cut(environ.get("ocibuild.socket"))
        rates = [fault.rate for fault in due if fault.rate]
        pace = min(rates) if rates else None
        received = [fault.received for fault in due if fault.received is not None]
        environ["wsgi.input"] = _Input(environ["wsgi.input"], seen, min(received, default=None), pace, self.ended, cut)
        for fault in due:
            if (fault.delay and self.ended.wait(fault.delay)) or fault.drop == "request":
                cut()
            if fault.status is not None:
                reason = HTTPStatus(fault.status).phrase if fault.status in list(HTTPStatus) else "Unknown"
                headers = {"Content-Length": str(len(fault.body)), **fault.headers}
                seen.status, seen.sent = fault.status, len(fault.body)
                start_response(f"{fault.status} {reason}", list(headers.items()))
                return [] if seen.method == "HEAD" else [fault.body]
        answer = _Answer(seen, due, self.ranges, start_response)
        body = self._app(environ, answer.start)
        if any(fault.drop == "answer" for fault in due):
            with suppress(AttributeError):
                body.close()  # type: ignore[attr-defined]
            seen.status = 0
            cut()
        if isinstance(body, FileBody) and not any(map(_is_of_body, due)):
            seen.sent = body.size
            return body  # which leaves by the server's short way
        return answer.through(body, pace, self.ended)


class _Cut:
    """Ends a connection at once, by a reset, and the request with it."""

    def __init__(self, sock: socket.socket | None) -> None:
        self._socket = sock

    def __call__(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                # With a linger of zero, closing sends a reset and not an end.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._socket.close()
        raise Broken("a test broke the connection")


class _Input:
    """A request's body that comes slowly, or not to its end."""

    def __init__(
        self, body: Any, seen: Seen, most: int | None, rate: int | None, ended: threading.Event, cut: _Cut
    ) -> None:
        self._body = body
        self._seen = seen
        self._most = most
        self._rate = rate
        self._waiting = ended
        self._cut = cut

    @property
    def ended(self) -> bool:
        """See ocibuild.serve.wire.Body."""
        return bool(self._body.ended)

    def readinto(self, view: memoryview, /) -> int:
        """See ocibuild.serve.wire.Body."""
        if self._most is not None:
            if self._seen.received >= self._most:
                self._cut()
            view = view[: self._most - self._seen.received]
        if self._rate is not None:
            if self._waiting.wait(_TICK):
                self._cut()
            view = view[: max(1, int(self._rate * _TICK))]
        count: int = self._body.readinto(view)
        self._seen.received += count
        return count

    def read(self, size: int = -1) -> bytes:
        """See ocibuild.serve.wire.Body."""
        parts, left = [], size
        buffer = memoryview(bytearray(_PIECE))
        while left and (count := self.readinto(buffer[:left] if left > 0 else buffer)):
            parts.append(bytes(buffer[:count]))
            left -= count if left > 0 else 0
        return b"".join(parts)


class _Answer:
    """An answer on its way through the faults of its request."""

    def __init__(self, seen: Seen, due: list[Fault], ranges: bool, start_response: StartResponse) -> None:
        self._seen = seen
        self._due = due
        self._ranges = ranges
        self._start_response = start_response

    def start(self, status: str, headers: list[tuple[str, str]], *error: Any) -> Callable[[bytes], object]:
        """WSGI's start_response."""
        self._seen.status = int(status[:3])
        changes = {name: value for fault in self._due for name, value in fault.headers.items()}
        shortest = min((fault.truncate for fault in self._due if fault.truncate is not None), default=None)
        if shortest is not None:
            whole = [int(value) for name, value in headers if name.lower() == "content-length"]
            changes["Content-Length"] = str(min([shortest, *whole]))
        if not self._ranges:
            changes["Accept-Ranges"] = ""
        names = {name.lower() for name in changes}
        kept = [pair for pair in headers if pair[0].lower() not in names]
        return self._start_response(status, kept + [pair for pair in changes.items() if pair[1]], *error)

    def through(self, body: Iterable[bytes], rate: int | None, ended: threading.Event) -> Iterator[bytes]:
        """The body's bytes, as many as are to leave."""
        cut = min((fault.sent for fault in self._due if fault.sent is not None), default=None)
        most = min((fault.truncate for fault in self._due if fault.truncate is not None), default=None)
        damaged = any(fault.damage for fault in self._due)
        step = max(1, int(rate * _TICK)) if rate is not None else _PIECE
        try:
            for piece in _cut_up(body, step):
                if damaged and not self._seen.sent:
                    piece = bytes([piece[0] ^ 1]) + piece[1:]
                if most is not None:
                    piece = piece[: most - self._seen.sent]
                if cut is not None:
                    piece = piece[: cut - self._seen.sent]
                if rate is not None and ended.wait(_TICK):
                    raise Broken("the registry was stopped")
                self._seen.sent += len(piece)
                yield piece
                if cut is not None and self._seen.sent >= cut:
                    # The server sends what it has, and closes. A reset might overtake it.
                    raise Broken("a test broke the connection")
                if most is not None and self._seen.sent >= most:
                    return
        finally:
            if hasattr(body, "close"):
                body.close()


def _cut_up(body: Iterable[bytes], step: int) -> Iterator[bytes]:
    for piece in body:
        for at in range(0, len(piece), step):
            yield piece[at : at + step]


def _is_of_body(fault: Fault) -> bool:
    return fault.rate is not None or fault.sent is not None or fault.truncate is not None or fault.damage


def _seen(environ: WSGIEnvironment) -> Seen:
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name[:5] == "HTTP_"}
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            headers[name.replace("_", "-").lower()] = environ[name]
    query = environ.get("QUERY_STRING", "")
    return Seen(environ["REQUEST_METHOD"], environ["PATH_INFO"] + (f"?{query}" if query else ""), headers)
