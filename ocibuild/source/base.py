"""Images that a stage begins with or copies from: their files as a tree, their layers to build on, their config."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from ocibuild.content import codec
from ocibuild.content.blob import BLOCK, Content
from ocibuild.content.tar import RECORD, Entry
from ocibuild.errors import ContentError, InputError, OcibuildError
from ocibuild.image import rootfs
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

    def __init__(self, place: str, members: Iterable[tuple[Member, Content | None]]) -> None:
        """`members` come with the content of those that are files; `place` is the image, for messages."""
        super().__init__()
        self._place = place
        self._special: dict[str, str] = {}
        for member, content in members:
            self._above(member.path)
            entry = _entry(member, content)
            if entry is not None:
                self.put(entry)
            else:
                self._special[member.path] = member.kind
                self.note(member.path)

    def _above(self, path: str) -> None:
        """A layer need not say the folders that its files stand in."""
        while (path := path.rpartition("/")[0]) and path not in self.files:
            self.put(Entry(path, "dir", 0o755))

    def look(self, path: str) -> Entry | None:
        """See Tree. Raises InputError (`input-special`)."""
        if path in self._special:
            raise InputError(
                f"/{path} of {self._place} is a {self._special[path]}, which is not copied",
                code="input-special",
                hint="leave it out with COPY --exclude",
            )
        return super().look(path)


class _Opens(Protocol):
    """Uncompressed tars by number."""

    def open(self, number: int, offset: int) -> AbstractContextManager[BinaryIO]: ...


@dataclass(frozen=True)
class Flat:
    """One tar in a file."""

    path: Path

    @contextmanager
    def open(self, number: int, offset: int) -> Iterator[BinaryIO]:
        """The tar from `offset` on; there is one, whatever its number."""
        with self.path.open("rb") as stream:
            stream.seek(offset)
            yield stream


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

    tars: _Opens
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
    root = RootFs.read(source, manifest.layers)
    tars = Tars(source, manifest.layers, folder)
    layers: list[Existing | Tar] = []
    for number, layer in enumerate(root.layers):
        if lasting:
            descriptor = layer.descriptor
            descriptor = replace(descriptor, media_type=_OCI.get(descriptor.media_type, descriptor.media_type))
            layers.append(
                Existing(Stored(source, layer.descriptor), replace(descriptor, annotations={}), layer.diff_id)
            )
        else:
            layers.append(Tar(Part(tars, number, layer.size)))
    return Base(config, Files(source.place, _linked(root, tars)), tuple(layers))


def flat(tar: Path, place: str, damaged: Callable[[Exception], OcibuildError]) -> Files:
    """All the files in one tar, of which no more than the headers are read; `damaged` is raised for what is no tar."""
    whole, found = Flat(tar), dict[str, tuple[Member, Content | None]]()
    try:
        with tarfile.open(tar, "r:") as archive:
            for info in archive:
                member = rootfs.member(info)
                if member is None:
                    raise tarfile.TarError(f"{info.name!r} in it leads out of it")
                if not member.path:
                    continue
                content: Content | None = Part(whole, 0, member.size, member.offset) if member.kind == "file" else None
                if member.kind == "hardlink" and member.target in found:
                    original, content = found[member.target]
                    member = replace(original, path=member.path)
                found[member.path] = member, content
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(RECORD).strip(b"\0"):
                raise tarfile.TarError("it is damaged")  # tarfile takes that for the end
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise damaged(error) from error
    return Files(place, found.values())


def _linked(root: RootFs, tars: Tars) -> Iterator[tuple[Member, Content | None]]:
    """Everything in an image, hard links as the files that they stand for.

    A file that a layer above took away lives on under a link's name.
    """
    for member in root.files.values():
        file: Member | None = member
        if member.kind == "hardlink":
            here = (m for m in root.layers[member.layer].members if m.path == member.target and m.kind == "file")
            file = next(here, None) or root.files.get(member.target)
        if file is not None and file.kind == "file":
            yield replace(file, path=member.path), Part(tars, file.layer, file.size, file.offset)
        else:
            yield member, None


def _entry(member: Member, content: Content | None) -> Entry | None:
    """What stands at a member's path; None for what no layer of ours can hold."""
    if member.kind == "dir":
        return Entry(member.path, "dir", member.mode & 0o7777, uid=member.uid, gid=member.gid)
    if member.kind == "symlink":
        return Entry(member.path, "symlink", 0o777, target=member.target, uid=member.uid, gid=member.gid)
    if member.kind != "file":
        return None
    mode, capability = member.mode & 0o7777, member.capability
    return Entry(member.path, "file", mode, content, uid=member.uid, gid=member.gid, capability=capability)
