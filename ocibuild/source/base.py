"""Images that a stage begins with or copies from: their files as a tree, their layers to build on, their config."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from ocibuild.content import codec
from ocibuild.content.blob import BLOCK
from ocibuild.content.tar import Entry
from ocibuild.errors import ContentError, InputError
from ocibuild.image.plan import Existing, Tar
from ocibuild.image.rootfs import Member, RootFs
from ocibuild.source.filetree import Rootfs
from ocibuild.spec import mediatype
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Manifest
from ocibuild.store.base import Source, Stored, fetch

_OCI = {
    mediatype.DOCKER_LAYER: mediatype.LAYER,
    mediatype.DOCKER_LAYER_GZIP: mediatype.LAYER_GZIP,
    mediatype.DOCKER_LAYER_ZSTD: mediatype.LAYER_ZSTD,
}


@dataclass(frozen=True)
class Base:
    """An image that was made before. `files` are those of all its `layers` together."""

    config: ImageConfig
    files: Rootfs
    layers: tuple[Existing | Tar, ...]


class Files(Rootfs):
    """The files of an image. What no layer of ours can hold is refused where it would be copied."""

    def __init__(self, rootfs: RootFs, tars: Tars) -> None:
        self._special = {path: m for path, m in rootfs.files.items() if m.kind in ("device", "fifo")}
        self._place = rootfs.source.place
        linked = _linked(rootfs)
        super().__init__()
        for path, member in rootfs.files.items():
            self._above(path)
            entry = _entry(linked.get(path, member), member, tars)
            if entry is not None:
                self.put(entry)
            else:
                self.note(path)

    def _above(self, path: str) -> None:
        """A layer need not say the folders that its files stand in."""
        while (path := path.rpartition("/")[0]) and path not in self.files:
            self.put(Entry(path, "dir", 0o755))

    def look(self, path: str) -> Entry | None:
        """See Tree. Raises InputError (`input-special`)."""
        if path in self._special:
            raise InputError(
                f"/{path} of {self._place} is a {self._special[path].kind}, which is not copied",
                code="input-special",
                hint="leave it out with COPY --exclude",
            )
        return super().look(path)


class Tars:
    """Layers without their compression: each that has one is unpacked into `folder` when a file in it is first read."""

    def __init__(self, source: Source, layers: Sequence[Descriptor], folder: Path) -> None:
        self.source, self.layers, self.folder = source, tuple(layers), folder
        self._unpacked: dict[int, Path] = {}

    @contextmanager
    def open(self, number: int, offset: int) -> Iterator[BinaryIO]:
        """The tar of a layer from `offset` on; verified where that is 0. Raises as the store does, and ContentError."""
        layer = self.layers[number]
        if mediatype.tar_compression(layer.media_type) == "none":
            with self.source.open(layer, offset) as stream:
                yield stream
            return
        if number not in self._unpacked:
            self._unpacked[number] = self._unpack(layer)
        with self._unpacked[number].open("rb") as stream:
            stream.seek(offset)
            yield stream

    def _unpack(self, layer: Descriptor) -> Path:
        with (
            self.source.open(layer) as stream,
            tempfile.NamedTemporaryFile("wb", dir=self.folder, suffix=".tar", delete=False) as out,
        ):
            reader = codec.decompressed(
                stream, mediatype.tar_compression(layer.media_type) or "none", str(layer.digest)
            )
            while piece := reader.read(BLOCK):
                out.write(piece)
        return Path(out.name)


@dataclass(frozen=True, eq=False)
class Part:
    """`size` bytes of a layer's tar, from `start` on."""

    tars: Tars
    number: int
    size: int
    start: int = 0

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """A stream from `offset` on. Raises as `Tars.open` does."""
        with self.tars.open(self.number, self.start + offset) as stream:
            yield cast(BinaryIO, _Limited(stream, self.size - offset))


class _Limited:
    """At most `left` bytes of a stream."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream, self._left = stream, left

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def read(source: Source, manifest: Manifest, folder: Path, *, lasting: bool) -> Base:
    """The image of a manifest whose blobs `source` has at hand; what is unpacked goes into `folder`.

    The layers of a `lasting` image keep their bytes, and so their digests; the others are compressed anew.
    Raises ContentError (`base-invalid`, `layer-invalid`, `layer-too-large`) and what reading the store raises.
    """
    if manifest.config.media_type not in mediatype.IMAGE_CONFIGS:
        raise ContentError(
            f"{source.place} is a {manifest.config.media_type}, which has no files to copy or to build on",
            code="base-invalid",
            hint="name an image with tar layers",
        )
    config = ImageConfig.parse(fetch(source, manifest.config))
    rootfs = RootFs.read(source, manifest.layers)
    tars = Tars(source, manifest.layers, folder)
    layers: list[Existing | Tar] = []
    for number, layer in enumerate(rootfs.layers):
        if lasting:
            descriptor = layer.descriptor
            descriptor = replace(descriptor, media_type=_OCI.get(descriptor.media_type, descriptor.media_type))
            layers.append(
                Existing(Stored(source, layer.descriptor), replace(descriptor, annotations={}), layer.diff_id)
            )
        else:
            layers.append(Tar(Part(tars, number, layer.size)))
    return Base(config, Files(rootfs, tars), tuple(layers))


def _linked(rootfs: RootFs) -> dict[str, Member]:
    """The files that hard links stand for. One that a layer above took away lives on under the link's name."""
    found = {}
    for path, member in rootfs.files.items():
        if member.kind == "hardlink":
            here = (m for m in rootfs.layers[member.layer].members if m.path == member.target and m.kind == "file")
            found[path] = next(here, None) or rootfs.files.get(member.target) or member
    return found


def _entry(file: Member, member: Member, tars: Tars) -> Entry | None:
    """What stands at a member's path, with the content of `file`; None for what no layer of ours can hold."""
    if member.kind == "dir":
        return Entry(member.path, "dir", member.mode & 0o7777, uid=member.uid, gid=member.gid)
    if member.kind == "symlink":
        return Entry(member.path, "symlink", 0o777, target=member.target, uid=member.uid, gid=member.gid)
    if file.kind != "file":
        return None
    content = Part(tars, file.layer, file.size, file.offset)
    return Entry(member.path, "file", file.mode & 0o7777, content, uid=file.uid, gid=file.gid)
