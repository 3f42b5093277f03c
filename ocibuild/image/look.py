"""A look into a program that is inside an image: its headers, without unpacking or holding the whole."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import BinaryIO, Self

from ocibuild.content.blob import BLOCK
from ocibuild.errors import ContentError
from ocibuild.image.shapes.recognise import Program

_HELD = 4 * 1024 * 1024
_MOST = 1000


class Look:
    """An extent over a program; a context manager, which closes the stream it reads from.

    A program of up to 4 MiB is read once and held. Of a larger one, reading forwards is one stream; a jump forwards
    opens a raw layer anew at that place, and reads on over the content of a compressed one; a step backwards opens
    either anew, which is what few readers of headers do and a hostile file may make them do for ever.
    """

    def __init__(self, program: Program) -> None:
        self.name = program.name
        self.size = program.size
        self._content = program.content
        self._held: bytes | None = None
        self._opened = 0
        self._jumps = program.mode is None
        self._open = ExitStack()
        self._stream: BinaryIO | None = None
        self._position = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only where the program ends.

        Raises ContentError (`not-convertible`) after too many steps backwards, and what its store raises.
        """
        if self.size <= _HELD:
            return self._whole()[offset : offset + length]
        length = max(0, min(length, self.size - offset))
        far = self._jumps and offset - self._position > BLOCK
        if self._stream is None or offset < self._position or far:
            self._opened += 1
            if self._opened > _MOST:
                raise ContentError(f"{self.name} leads back and forth without end", code="not-convertible")
            self._open.close()
            self._position = offset if self._jumps else 0
            self._stream = self._open.enter_context(self._content.open(self._position))
        self._take(offset - self._position, keep=False)
        return self._take(length)

    def _whole(self) -> bytes:
        if self._held is None:
            held = bytearray()
            with self._content.open() as stream:
                while piece := stream.read(BLOCK):
                    held += piece
            self._held = bytes(held)
        return self._held

    def _take(self, length: int, *, keep: bool = True) -> bytes:
        assert self._stream is not None
        held = bytearray()
        while length and (piece := self._stream.read(min(length, BLOCK))):
            length -= len(piece)
            self._position += len(piece)
            if keep:
                held += piece
        return bytes(held)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()
