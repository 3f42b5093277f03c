"""Assembly: a plan becomes an image in a store. One pass over a program's bytes, the manifest last.

Reading, the diff hash, encoding, the blob hash and writing go on side by side: blocks are encoded on the flow's cpu
pool, at most `workers + 2` (never more than ten) in flight, and taken back in order. So the result cannot depend on
the number of threads, and memory is flat.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING

from ocibuild.content import codec, tar
from ocibuild.content.blob import BLOCK, Blob, Content, File, changed
from ocibuild.content.flow import Event, Flow
from ocibuild.content.hashing import Hashing
from ocibuild.errors import ContentError
from ocibuild.image.plan import Existing, Files, ImagePlan, IndexPlan, Layer, Plan, Raw, Tar, Written
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.store.base import Ingests, Target

if TYPE_CHECKING:
    from concurrent.futures import Future

_IN_FLIGHT = 10


def assemble(plan: Plan, target: Target, flow: Flow, known: Mapping[Layer, Written] | None = None) -> Descriptor:
    """Write the image into `target`, which must be able to ingest, and return its root.

    The root carries its platform (a single manifest's own). Equal layers are written once, and those that are `known`
    to stand elsewhere are not read at all. Raises InputError where a
    file is not what it was when it was planned, StoreError where the store cannot take it, Cancelled.
    """
    written: dict[Layer, Written] = dict(known or {})
    if isinstance(plan, ImagePlan):
        return _image(plan, target, flow, written)
    return _index(plan, target, flow, written)


def _index(plan: IndexPlan, target: Target, flow: Flow, written: dict[Layer, Written]) -> Descriptor:
    entries = tuple(_image(image, target, flow, written) for image in plan.images)
    index = Index(entries, dict(plan.annotations))
    return _push(Blob.of(index.media_type, index.to_bytes()), target, flow)


def _image(plan: ImagePlan, target: Target, flow: Flow, written: dict[Layer, Written]) -> Descriptor:
    layers = []
    for layer in plan.layers:
        if layer not in written:
            written[layer] = _layer(layer, target, flow)
        layers.append(written[layer])
    config = Blob.of(plan.config.media_type, plan.config.write(layers))
    _push(config, target, flow)
    manifest = Manifest(
        config=config.descriptor.with_annotations(dict(plan.config.annotations)),
        layers=tuple(layer.descriptor for layer in layers),
        annotations=dict(plan.annotations),
        subject=plan.subject,
    )
    root = _push(Blob.of(manifest.media_type, manifest.to_bytes()), target, flow)
    return root.with_platform(plan.platform).with_annotations(dict(plan.entry_annotations))


def _push(blob: Blob, target: Target, flow: Flow) -> Descriptor:
    target.push(blob, flow)
    return blob.descriptor


def _layer(layer: Layer, target: Target, flow: Flow) -> Written:
    match layer:
        case Files() | Tar():
            return _files(layer, target, flow)
        case Existing():
            _push(Blob(layer.descriptor, layer.content), target, flow)
            return Written(layer.descriptor, layer.diff_id)
        case Raw():
            return _raw(layer, target, flow)


def _files(layer: Files | Tar, target: Target, flow: Flow) -> Written:
    compressor = codec.parse(layer.compression)
    contents, total = _tar(layer)
    blob, size, left = Hashing(flow, total), 0, total
    diff = blob if isinstance(compressor, codec.Plain) else Hashing(flow, total)
    with _ingesting(target).sink() as sink:
        for encoded in _encode(contents, total, compressor, flow, None if diff is blob else diff):
            blob.update(encoded)
            size += len(encoded)
            sink.write(encoded)
            done = min(compressor.block(total), left)
            left -= done
            flow.observe(Event("packed", amount=done, total=total))
        digest = blob.digest()
        sink.commit(digest, size)
    return Written(Descriptor(compressor.media_type, digest, size), diff.digest())


def encode(layer: Files | Tar, flow: Flow) -> Iterator[bytes | bytearray]:
    """The layer's blob, piece by piece, the same at each call. Raises InputError, Cancelled."""
    return _encode(*_tar(layer), codec.parse(layer.compression), flow)


def _tar(layer: Files | Tar) -> tuple[Iterator[Content], int]:
    """What the layer's tar is put together from, and its size in bytes."""
    if isinstance(layer, Tar):
        return iter((layer.content,)), layer.content.size or 0
    return tar.pieces(layer.entries, layer.mtime), tar.size(layer.entries, layer.mtime)


def _encode(
    contents: Iterator[Content], total: int, compressor: codec.Codec, flow: Flow, diff: Hashing | None = None
) -> Iterator[bytes | bytearray]:
    """The contents' blocks encoded; `diff` is fed the blocks themselves."""
    blocks = _blocks(contents, compressor.block(total), diff)
    for encoded in blocks if isinstance(compressor, codec.Plain) else _encoded(blocks, compressor, flow):
        flow.cancel.check()
        yield encoded


def _raw(layer: Raw, target: Target, flow: Flow) -> Written:
    hashing, size = Hashing(flow, layer.content.size or 0), 0
    with _ingesting(target).sink() as sink:
        for piece in _blocks(iter((layer.content,)), BLOCK):
            flow.cancel.check()
            hashing.update(piece)
            size += len(piece)
            sink.write(piece)
            flow.observe(Event("packed", amount=len(piece), total=layer.content.size or 0))
        digest = hashing.digest()
        sink.commit(digest, size)
    return Written(Descriptor(layer.media_type, digest, size, dict(layer.annotations)), digest)


def _ingesting(target: Target) -> Ingests:
    if not isinstance(target, Ingests):
        raise ContentError(f"{target.place} cannot take content whose digest is not known yet", code="cannot-ingest")
    return target


def _blocks(contents: Iterator[Content], length: int, diff: Hashing | None = None) -> Iterator[bytes]:
    """The contents one after the other, cut every `length`; `diff` is fed the same.

    Each read asks for what the block still lacks, so that a block inside a large file is what was read, and no copy.
    Raises InputError (`input-changed`) where one is not as long as it was.
    """
    held: list[bytes] = []
    missing = length
    for content in contents:
        seen = 0
        with content.open() as stream:
            while piece := stream.read(missing):
                seen += len(piece)
                if content.size is not None and seen > content.size:
                    break
                held.append(piece)
                missing -= len(piece)
                if not missing:
                    yield _joined(held, diff)
                    held, missing = [], length
        if content.size is not None and seen != content.size:
            raise changed(content.path if isinstance(content, File) else "content")
    if held:
        yield _joined(held, diff)


def _joined(pieces: list[bytes], diff: Hashing | None) -> bytes:
    block = b"".join(pieces)
    if diff is not None:
        diff.update(block)
    return block


def _encoded(blocks: Iterator[bytes], compressor: codec.Codec, flow: Flow) -> Iterator[bytes | bytearray]:
    limit = min(flow.workers + 2, _IN_FLIGHT)
    first, second = next(blocks, None), next(blocks, None)
    if first is not None and second is None:
        yield compressor.encode(first)  # a thread would only wait for it
        return
    pending: deque[Future[bytes | bytearray]] = deque()
    for block in chain((block for block in (first, second) if block is not None), blocks):
        pending.append(flow.cpu.submit(compressor.encode, block))
        if len(pending) >= limit:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()
