"""The two ends of a blob's way: a body that is sent, and an answer that is read; both fail with our errors."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from requests import RequestException, Response
from urllib3.exceptions import HTTPError

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Cancel
from ocibuild.content.verify import VerifyReader
from ocibuild.errors import InputError
from ocibuild.registry import problem

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Outgoing:
    """What requests sends: verified while read, counted, and deaf to rewinding, which would go unnoticed.

    `advance` is told the length of every block.
    """

    def __init__(self, stream: VerifyReader, size: int, cancel: Cancel, advance: Callable[[int], None]) -> None:
        self._stream = stream
        self._size = size
        self._cancel = cancel
        self._advance = advance

    def __len__(self) -> int:
        """Bytes in all: this is how requests learns the Content-Length."""
        return self._size

    def read(self, amount: int = -1) -> bytes:
        """The next block. Raises Cancelled, InputError (`input-unreadable`), ContentError."""
        self._cancel.check()
        try:
            data = self._stream.read(amount)
        except OSError as error:
            # Not to be taken for a failure of the network, which has OSErrors of its own.
            raise InputError(f"the content to send cannot be read: {error}", code="input-unreadable") from error
        self._advance(len(data))
        return data


class Counter:
    """Bytes sent of one blob; what a failed attempt has sent is taken back."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._report = advance
        self._sent = 0

    def add(self, amount: int) -> None:
        """So many bytes more."""
        if amount:
            self._sent += amount
            self._report(amount)

    def restart(self) -> None:
        """None of it counts."""
        if self._sent:
            self._report(-self._sent)
            self._sent = 0


@contextmanager
def outgoing(blob: Blob, cancel: Cancel, counter: Counter) -> Iterator[Outgoing]:
    """The blob's content, opened anew: the body of one attempt."""
    counter.restart()
    with blob.content.open() as stream:
        yield Outgoing(VerifyReader(stream, blob.descriptor), blob.descriptor.size, cancel, counter.add)


class Incoming(io.RawIOBase):
    """An answer's body, as the registry has it; the network's failures come out as NetworkError, Cancelled first."""

    def __init__(self, response: Response, cancel: Cancel) -> None:
        super().__init__()
        self._response = response
        self._cancel = cancel

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into `buffer`. Raises NetworkError, Cancelled."""
        view = memoryview(buffer).cast("B")
        self._cancel.check()
        try:
            data: bytes = self._response.raw.read(len(view), decode_content=False)
        except (RequestException, HTTPError, OSError) as error:
            self._cancel.check()
            raise problem.unreachable(error, self._response.url) from error
        view[: len(data)] = data
        return len(data)
