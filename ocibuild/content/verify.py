"""Verification while reading: size, digest and end of file are checked by the reader itself, so no caller can forget."""

from __future__ import annotations

from typing import BinaryIO, cast

from ocibuild.content.stream import Stream
from ocibuild.errors import ContentError
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest

_DRAIN = 256 * 1024


class VerifyReader(Stream):
    """A stream that raises ContentError when its bytes are not `descriptor`'s.

    `size-mismatch` as soon as a byte too many is seen or the end comes early, `digest-mismatch` at the end. The read
    that delivers the last byte also looks for the end, so reading `size` bytes is enough to have them verified.
    `hasher` knows what was read so far.
    """

    def __init__(self, stream: BinaryIO, descriptor: Descriptor, where: str = "") -> None:
        super().__init__()
        self._stream = stream
        self._descriptor = descriptor
        self.hasher = descriptor.digest.hasher()
        self._left = descriptor.size
        self._where = f" in {where}" if where else ""
        self._verified = False
        if descriptor.size == 0:
            self._finish()

    @property
    def position(self) -> int:
        """Bytes that were read so far; `hasher` knows these."""
        return self._descriptor.size - self._left

    def checks(self, descriptor: Descriptor) -> bool:
        """True where it will have judged all of `descriptor`'s bytes, so that nobody has to hash them a second time."""
        return self._descriptor.digest == descriptor.digest and self._left == self._descriptor.size == descriptor.size

    def read(self, amount: int = -1, /) -> bytes:
        """At most `amount` bytes, as they came and without a copy; see the class for what is raised."""
        if amount < 0:
            return self.readall()
        if self._verified or not amount:
            return b""
        data = self._stream.read(min(amount, self._left))
        if not data:
            have = self._descriptor.size - self._left
            raise ContentError(
                f"{self._descriptor.digest}{self._where} ends after {have} of {self._descriptor.size} bytes",
                code="size-mismatch",
            )
        self.hasher.update(data)
        self._left -= len(data)
        if not self._left:
            self._finish()
        return data

    def _finish(self) -> None:
        if self._stream.read(1):
            raise ContentError(
                f"{self._descriptor.digest}{self._where} is longer than its {self._descriptor.size} bytes",
                code="size-mismatch",
            )
        found = Digest.from_hasher(self.hasher, self._descriptor.digest.algorithm)
        if found != self._descriptor.digest:
            raise ContentError(
                f"content{self._where} was asked for as {self._descriptor.digest} but is {found}",
                code="digest-mismatch",
            )
        self._verified = True


def verifying(stream: BinaryIO, descriptor: Descriptor, where: str = "") -> BinaryIO:
    """A stream that checks itself: `stream` where it does so already."""
    if isinstance(stream, VerifyReader) and stream.checks(descriptor):
        return stream
    return cast(BinaryIO, VerifyReader(stream, descriptor, where))


def read_verified(stream: BinaryIO, descriptor: Descriptor, where: str = "") -> bytes:
    """All bytes of `stream`, checked against `descriptor`."""
    reader = verifying(stream, descriptor, where)
    data = bytearray()
    while piece := reader.read(_DRAIN):
        data += piece
    return bytes(data)
