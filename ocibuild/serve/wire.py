"""Bytes from and to a client, within bounds: the reader and writer of a connection, and the body of a request.

cheroot's own reader is written in Python over `_pyio`, copies twice, and reads a whole chunk of a chunked body before it
hands any on. These read into the caller's buffer. RFC 9112, sections 6 and 7.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, BinaryIO, Protocol

from ocibuild.serve.limits import Limits

_PIECE = 16 * 1024
_CHUNK_LINE = 1024
_TRAILERS = 8 * 1024


class Broken(ConnectionError):
    """The client went away, fell silent, or does not speak HTTP. `status` is for those that still listen."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Reader:
    """What a client sends, buffered for lines and straight for bodies. cheroot's idea of a reader."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._buffer = b""
        self.bytes_read = 0
        self.closed = False
        self.deadline: float | None = None

    def has_data(self) -> bool:
        """True where something has come that no request has taken yet."""
        return bool(self._buffer) or (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0)

    def readline(self, size: int = -1) -> bytes:
        """A line, at most `size` bytes of it."""
        most = size if size >= 0 else 65536
        while (at := self._buffer.find(b"\n")) < 0 and len(self._buffer) < most and self._fill():
            pass
        end = min(at + 1 if at >= 0 else len(self._buffer), most)
        line, self._buffer = self._buffer[:end], self._buffer[end:]
        return line

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        if not self._buffer:
            self._fill()
        size = len(self._buffer) if size < 0 else size
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def readinto(self, view: memoryview) -> int:
        """Fill some of `view`; 0 at the end."""
        if self._buffer:
            count = min(len(view), len(self._buffer))
            view[:count] = self._buffer[:count]
            self._buffer = self._buffer[count:]
            return count
        return self._counted(self._socket.recv_into(view))

    def _fill(self) -> int:
        data = self._socket.recv(_PIECE)
        self._buffer += data
        return self._counted(len(data))

    def _counted(self, count: int) -> int:
        self.bytes_read += count
        if self.deadline is not None and monotonic() > self.deadline:
            raise TimeoutError("timed out")
        return count

    def close(self) -> None:
        """Forget what is buffered."""
        self.closed = True
        self._buffer = b""


class Writer:
    """What a client is sent. cheroot's idea of a writer."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.bytes_written = 0
        self.closed = False
        self._held: bytearray | None = None

    def write(self, data: bytes) -> int:
        """Send all of it, or hold it back for what follows."""
        self.bytes_written += len(data)
        if self._held is not None and len(self._held) + len(data) <= _PIECE:
            self._held += data
            return len(data)
        if self._held is not None:
            held, self._held = self._held, None
            self._socket.sendall(held)
        self._socket.sendall(data)
        return len(data)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Headers and a small body leave as one: a client gets them in one read."""
        self._held = bytearray()
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held:
                self._socket.sendall(held)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing waits here."""
        self.closed = True


class FileBody:
    """An answer's body that is part of a file. A WSGI iterable; our server hands it to the kernel instead."""

    def __init__(self, stream: BinaryIO, offset: int, size: int) -> None:
        self.stream = stream
        self.offset = offset
        self.size = size

    def __iter__(self) -> Any:
        if self.offset:
            self.stream.seek(self.offset)
        left = self.size
        while left:
            piece = self.stream.read(min(left, 256 * 1024))
            if not piece:
                raise Broken("the file has shrunk")
            left -= len(piece)
            yield piece

    def close(self) -> None:
        """Close the file."""
        self.stream.close()


class Body(Protocol):
    """What a request brings. `ended` says that all of it was taken."""

    ended: bool

    def readinto(self, view: memoryview, /) -> int:
        """Fill some of `view`; 0 at the end. Raises Broken."""

    def read(self, size: int = -1) -> bytes:
        """The rest, or at most `size` bytes of it, as WSGI has it. Raises Broken."""


class _Paced:
    """A body that must keep coming: not silent for long, not slower than a trickle on average."""

    def __init__(self, reader: Reader, limits: Limits) -> None:
        self._reader = reader
        self._limits = limits
        self._began = monotonic()
        self._taken = 0
        self.ended = False
        self.greeting: Callable[[], object] | None = None

    def _greet(self) -> None:
        if self.greeting is not None:
            greeting, self.greeting = self.greeting, None
            greeting()

    def _take(self, view: memoryview) -> int:
        try:
            self._greet()
            count = self._reader.readinto(view)
        except OSError as error:
            raise _broken(error) from error
        if not count:
            raise Broken("the client ended the connection within a body")
        self._taken += count
        self._keep_pace()
        return count

    def _keep_pace(self) -> None:
        elapsed = monotonic() - self._began
        if elapsed > self._limits.idle and self._taken < self._limits.slowest * elapsed:
            raise Broken("the body comes too slowly", 408)

    def _line(self, most: int) -> bytes:
        try:
            self._greet()
            line = self._reader.readline(most)
        except OSError as error:
            raise _broken(error) from error
        if not line.endswith(b"\n"):
            raise Broken("a line within a chunked body does not end")
        # Lines count for nothing: chunks of one byte with long extensions are a trickle.
        self._keep_pace()
        return line.rstrip(b"\r\n")

    def readinto(self, view: memoryview, /) -> int:
        raise NotImplementedError

    def read(self, size: int = -1) -> bytes:
        """See Body."""
        parts, left = [], size if size >= 0 else None
        buffer = memoryview(bytearray(_PIECE if left is None else min(_PIECE, max(left, 1))))
        while left != 0 and (count := self.readinto(buffer if left is None else buffer[:left])):
            parts.append(bytes(buffer[:count]))
            left = None if left is None else left - count
        return b"".join(parts)


def _broken(error: OSError) -> Broken:
    if isinstance(error, TimeoutError):
        return Broken("nothing came for too long", 408)
    return Broken(f"the connection broke: {error.strerror or error}")


class SizedBody(_Paced):
    """A body whose length the client said."""

    def __init__(self, reader: Reader, size: int, limits: Limits) -> None:
        super().__init__(reader, limits)
        self.left = size
        self.ended = size == 0

    def readinto(self, view: memoryview, /) -> int:
        """See Body."""
        if not self.left:
            return 0
        count = self._take(view[: min(len(view), self.left)])
        self.left -= count
        self.ended = self.left == 0
        return count


class ChunkedBody(_Paced):
    """A body in chunks, of a length nobody knows yet."""

    def __init__(self, reader: Reader, limits: Limits) -> None:
        super().__init__(reader, limits)
        self._chunk = 0

    def readinto(self, view: memoryview, /) -> int:
        """See Body."""
        if self.ended:
            return 0
        if not self._chunk:
            self._chunk = self._size()
            if not self._chunk:
                self._trailers()
                self.ended = True
                return 0
        count = self._take(view[: min(len(view), self._chunk)])
        self._chunk -= count
        if not self._chunk and self._line(2):
            raise Broken("a chunk is longer than it said")
        return count

    def _size(self) -> int:
        text = self._line(_CHUNK_LINE).partition(b";")[0].strip()
        if not text or len(text) > 16 or text.strip(b"0123456789abcdefABCDEF"):
            raise Broken("a chunk says no size")
        return int(text, 16)

    def _trailers(self) -> None:
        left = _TRAILERS
        while line := self._line(_CHUNK_LINE):
            left -= len(line)
            if left < 0:
                raise Broken("the trailers do not end")


def drain(body: Body, most: int, seconds: float, sock: socket.socket) -> bool:
    """Take what is left of a body that is not wanted, up to `most` bytes; True where that was all of it."""
    buffer = memoryview(bytearray(_PIECE))
    ends = monotonic() + seconds
    with suppress(OSError):
        sock.settimeout(seconds)
        while most > 0 and monotonic() < ends:
            count = body.readinto(buffer)
            if not count:
                return True
            most -= count
    return body.ended


def linger(sock: socket.socket, most: int, seconds: float) -> None:
    """Let a client that still sends read our answer: end our side, and take what comes for a moment.

    A socket closed with bytes unread resets the connection, and the answer is lost on the way.
    """
    ends = monotonic() + seconds
    buffer = bytearray(_PIECE)
    with suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
        while most > 0 and (left := ends - monotonic()) > 0:
            sock.settimeout(left)
            count = sock.recv_into(buffer)
            if not count:
                return
            most -= count
