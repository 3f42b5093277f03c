"""Reading ahead: one thread reads and verifies a stream while another sends or writes what was read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, BinaryIO, cast

from ocibuild.content.blob import BLOCK
from ocibuild.content.flow import Flow

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_WORTH_A_THREAD = 4 * BLOCK
_CRUMBS = 256 * 1024
_HELD = 4
_LOOK_UP = 0.1


@contextmanager
def ahead(stream: BinaryIO, size: int, flow: Flow) -> Iterator[BinaryIO]:
    """`stream`, of whose next `size` bytes at most four blocks are read before they are asked for; a few MiB are not.

    What reading raises comes out where the bytes would have. Leaving waits until the last read has come back.
    """
    if size < _WORTH_A_THREAD:
        yield stream
        return
    reader = _Ahead(stream, size)
    running = flow.reading.submit(reader.run)
    try:
        yield cast(BinaryIO, reader)
    finally:
        reader.stop()
        running.result()


class _Ahead(io.RawIOBase):
    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = size
        self._pieces: Queue[bytes | BaseException] = Queue(_HELD)
        self._is_stopped = False
        self._piece = memoryview(b"")
        self._is_over = False

    def run(self) -> None:
        """Read to the end, to an error, or until nobody wants more; then say that it is over."""
        try:
            while not self._is_stopped and (piece := self._gathered()):
                self._hand_over(piece)
        except BaseException as error:
            self._hand_over(error)
        else:
            self._hand_over(b"")

    def _gathered(self) -> bytes:
        """The next bytes: as they come where they are many, put together where they come in crumbs."""
        pieces: list[bytes] = []
        size = 0
        while size < _CRUMBS and (piece := self._stream.read(min(BLOCK, self._left))):
            self._left -= len(piece)
            size += len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def _hand_over(self, piece: bytes | BaseException) -> None:
        while not self._is_stopped:
            try:
                return self._pieces.put(piece, timeout=_LOOK_UP)
            except Full:
                continue

    def stop(self) -> None:
        """Nobody reads any more."""
        self._is_stopped = True
        try:
            while True:
                self._pieces.get_nowait()  # whoever waits for room sees that it is over
        except Empty:
            pass

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, amount: int = -1, /) -> bytes:
        """At most `amount` bytes of what was read, without a copy where they are a whole piece."""
        if amount < 0:
            return self.readall()
        if not self._piece and amount and not self._is_over:
            piece = self._pieces.get()
            if isinstance(piece, BaseException):
                self._is_over = True
                raise piece
            if 0 < len(piece) <= amount:
                return piece
            self._is_over = not piece
            self._piece = memoryview(piece)
        if self._is_over:
            return self._stream.read(amount)  # what comes after is not ours to know
        data, self._piece = bytes(self._piece[:amount]), self._piece[amount:]
        return data

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into `buffer`."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)
