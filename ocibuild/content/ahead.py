"""Reading ahead: one thread reads and verifies a stream while another sends or writes what was read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import BinaryIO, cast

from ocibuild.content.blob import BLOCK
from ocibuild.content.flow import Flow
from ocibuild.content.stream import Stream

_WORTH_A_THREAD = 4 * BLOCK
_CRUMBS = 256 * 1024
_HELD = 4


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


class _Ahead(Stream):
    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = size
        self._changed = Condition()
        self._pieces: deque[bytes | BaseException] = deque()
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
        with self._changed:
            self._changed.wait_for(lambda: len(self._pieces) < _HELD or self._is_stopped)
            self._pieces.append(piece)
            self._changed.notify()

    def _taken(self) -> bytes | BaseException:
        with self._changed:
            self._changed.wait_for(lambda: self._pieces)
            piece = self._pieces.popleft()
            self._changed.notify()
            return piece

    def stop(self) -> None:
        """Nobody reads any more."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()  # whoever waits for room sees that it is over

    def read(self, amount: int = -1, /) -> bytes:
        """At most `amount` bytes of what was read, without a copy where they are a whole piece."""
        if amount < 0:
            return self.readall()
        if not self._piece and amount and not self._is_over:
            piece = self._taken()
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
