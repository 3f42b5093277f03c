"""What a plan makes, as a store to read from: nothing large is kept anywhere, it is made again at each reading.

That is possible because making is repeatable: a layer's bytes depend on its entries and its compression alone. So an
image can be made out of one registry into another with flat memory and no temporary file, for the price of compressing
twice: once to learn the digest, once to send.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, cast

from ocibuild.content.flow import Flow
from ocibuild.content.verify import VerifyReader
from ocibuild.errors import NotFoundError
from ocibuild.image.assemble import assemble, encode
from ocibuild.image.plan import Existing, Files, ImagePlan, Layer, Raw, Tar, Written
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.store.graph import node
from ocibuild.store.memory import MemoryStore

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_KEPT = 4 * 1024 * 1024


class MadeStore:
    """Source of one image: documents and blobs of up to 4 MiB in memory, the rest made when it is opened."""

    def __init__(self, plan: ImagePlan, flow: Flow, known: Mapping[Layer, Written]) -> None:
        """Go over the program once for what is not `known`. Raises as `assemble` does."""
        self._kept = MemoryStore("the image being made", keep_limit=_KEPT)
        self._flow = flow
        self.place = self._kept.place
        self.root = assemble(plan, self._kept, flow, known)
        layers = node(self._kept, self.root).children[1:]
        self._layers = {descriptor.digest: layer for descriptor, layer in zip(layers, plan.layers, strict=True)}

    def resolve(self, name: str) -> Descriptor:
        """See Source: the empty name and the root's digest."""
        if name not in ("", self.root.digest):
            raise NotFoundError(f"{self.place} has no image {name!r}")
        return self.root

    def exists(self, descriptor: Descriptor) -> bool:
        """See Source."""
        return descriptor.digest in self._layers or self._kept.exists(descriptor)

    def open(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """See Source."""
        if descriptor.digest in self._kept.blobs or descriptor.digest not in self._layers:
            return self._kept.open(descriptor, offset)
        match self._layers[descriptor.digest]:
            case Raw(content=content) | Existing(content=content):
                return content.open(offset)
            case Files() | Tar() as layer:
                return self._again(layer, descriptor, offset)

    def _again(self, layer: Files | Tar, descriptor: Descriptor, offset: int) -> BinaryIO:
        stream = _Pieces(encode(layer, self._flow))
        if not offset:
            return cast(BinaryIO, VerifyReader(cast(BinaryIO, stream), descriptor, self.place))
        while offset and (skipped := stream.read(min(offset, io.DEFAULT_BUFFER_SIZE * 8))):
            offset -= len(skipped)
        return cast(BinaryIO, stream)


class _Pieces(io.RawIOBase):
    """Pieces of bytes, as a stream."""

    def __init__(self, pieces: Iterator[bytes | bytearray]) -> None:
        super().__init__()
        self._pieces = pieces
        self._piece = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._piece = memoryview(piece)
        count = min(len(view), len(self._piece))
        view[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count


def raw(plan: ImagePlan, digest: Digest | None) -> dict[Layer, Written]:
    """Those layers of the plan that are the program itself, whose `digest` is known: they need no reading."""
    program = plan.layers[-1]
    if digest is None or not isinstance(program, Raw) or program.content.size is None:
        return {}
    descriptor = Descriptor(program.media_type, digest, program.content.size, dict(program.annotations))
    return {program: Written(descriptor, digest)}
