"""The two ends of a blob's way: a body that is sent, and an answer that is read; both fail with our errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from requests import RequestException, Response
from urllib3.exceptions import HTTPError

from ocibuild.content.ahead import ahead
from ocibuild.content.blob import Blob
from ocibuild.content.flow import Cancel, Flow
from ocibuild.content.stream import Stream
from ocibuild.content.verify import VerifyReader
from ocibuild.errors import ContentError, InputError
from ocibuild.registry import problem
from ocibuild.registry.pace import Pace
from ocibuild.spec.digest import Digest


class Reading:
    """A blob's content, read in one go or in pieces that follow each other, and verified at its end either way.

    What is sent again is hashed once; a reading that begins at 0 again is judged anew. `report` is told how far the
    sending is, as a number of bytes that may be negative when some are sent again.
    """

    def __init__(self, blob: Blob, flow: Flow, report: Callable[[int], None]) -> None:
        self.descriptor = blob.descriptor
        self._content = blob.content
        self._flow = flow
        self._report = report
        self._hasher = blob.descriptor.digest.hasher()
        self._hashed = 0
        self._is_judged = False
        self._told = 0

    @contextmanager
    def piece(self, start: int, length: int) -> Iterator[Outgoing]:
        """`length` bytes from `start` on, opened anew: the body of one attempt."""
        if start == 0:
            self._hasher, self._hashed = self.descriptor.digest.hasher(), 0
        self.at(start)
        with self._content.open(start) as stream:
            judge = (
                stream if start == 0 and isinstance(stream, VerifyReader) and stream.checks(self.descriptor) else None
            )
            self._is_judged = judge is not None
            if judge is not None:
                # It hashes what it gives, and judges it; pieces that follow go on from where it was.
                self._hasher = judge.hasher
            try:
                with ahead(stream, length, self._flow) as reader:
                    yield Outgoing(self, reader, start, length)
            finally:
                if judge is not None:
                    self._hashed = judge.position  # more may have been read than was sent

    def at(self, position: int) -> None:
        """So many bytes are on the other side."""
        if position != self._told:
            self._report(position - self._told)
            self._told = position

    def take(self, stream: BinaryIO, position: int, amount: int) -> bytes:
        """At most `amount` bytes, which stand at `position`. Raises Cancelled, InputError, ContentError."""
        self._flow.cancel.check()
        try:
            data = stream.read(amount)
            is_last = position + len(data) == self.descriptor.size
            is_longer = is_last and bool(stream.read(1))
        except OSError as error:
            # Not to be taken for a failure of the network, which has OSErrors of its own.
            raise InputError(f"the content to send cannot be read: {error}", code="input-unreadable") from error
        if is_longer or (amount and not data):
            raise ContentError(
                f"the content of {self.descriptor.digest} is {'more' if is_longer else 'less'} than its "
                f"{self.descriptor.size} bytes",
                code="size-mismatch",
            )
        self._judge(data, position, is_last)
        self.at(position + len(data))
        return data

    def _judge(self, data: bytes, position: int, is_last: bool) -> None:
        if position > self._hashed:
            raise AssertionError("pieces follow each other")
        if not self._is_judged:
            self._hasher.update(memoryview(data)[self._hashed - position :] if position < self._hashed else data)
        self._hashed = max(self._hashed, position + len(data))
        if is_last and not self._is_judged:
            found = Digest.from_hasher(self._hasher, self.descriptor.digest.algorithm)
            if found != self.descriptor.digest:
                raise ContentError(
                    f"content was asked for as {self.descriptor.digest} but is {found}", code="digest-mismatch"
                )


class Outgoing:
    """What requests sends: some of a reading, and deaf to rewinding, which would go unnoticed."""

    def __init__(self, reading: Reading, stream: BinaryIO, start: int, length: int) -> None:
        self._reading = reading
        self._stream = stream
        self._position = start
        self._length = length
        self._end = start + length

    def __len__(self) -> int:
        """Bytes in all: this is how requests learns the Content-Length."""
        return self._length

    def read(self, amount: int = -1) -> bytes:
        """The next block. Raises Cancelled, InputError (`input-unreadable`), ContentError."""
        left = self._end - self._position
        if not left:
            return b""
        data = self._reading.take(self._stream, self._position, left if amount < 0 else min(amount, left))
        self._position += len(data)
        return data


class Incoming(Stream):
    """An answer's body, as the registry has it; the network's failures come out as NetworkError, Cancelled first.

    `decode` undoes a Content-Encoding that nobody asked for.
    """

    def __init__(self, response: Response, cancel: Cancel, pace: Pace, *, decode: bool = False) -> None:
        super().__init__()
        self._response = response
        self._cancel = cancel
        self._pace = pace
        self._decode = decode

    def read(self, amount: int = -1, /) -> bytes:
        """What has come, at most `amount` bytes, without a copy. Raises NetworkError, Cancelled."""
        if amount < 0:
            return self.readall()
        self._cancel.check()
        try:
            return self._pace.read(self._response, amount, decode=self._decode)
        except (RequestException, HTTPError, OSError) as error:
            self._cancel.check()
            raise problem.unreachable(error, self._response.url) from error
