"""The root file system of an image, read from its layers without unpacking them anywhere.

Layers are streamed, lowest first: decompressed, hashed, their members noted, whiteouts applied. A file's content is
found again by streaming its layer up to it. OCI image-spec, layer.md "Applying Changesets" and "Whiteouts".
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, Self, cast

from ocibuild.content import codec, tar
from ocibuild.content.blob import BLOCK
from ocibuild.content.verify import VerifyReader
from ocibuild.errors import ContentError
from ocibuild.image import tarstream
from ocibuild.image.merging import Merged
from ocibuild.record import field, record, replace
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.store.base import Source

Kind = Literal["file", "dir", "symlink", "hardlink", "device", "fifo"]

HEAD = 8
_MAX_MEMBERS = 250_000
_MAX_HOPS = 40
_SMALL = 1024 * 1024 * 1024
_RATIO = 200
_TYPES: dict[bytes, Kind] = {
    tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink", tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "device", tarfile.BLKTYPE: "device",
}  # fmt: skip


@record
class Member:
    """One entry of a layer. `path` has no leading slash; `head` is a file's first bytes, `digest` that of all of them.

    `capability` is its `security.capability`. `layer` and `position` say where it stands: the layer's number from the bottom, and the entry's in it; `offset` is
    where its content begins in the uncompressed tar.
    """

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    layer: int
    position: int
    target: str = ""
    head: bytes = b""
    digest: Digest | None = None
    offset: int = 0
    capability: bytes = b""


@record
class Problem:
    """Something a layer should not hold; `code` is a word: `unsafe`, `duplicate`, `orphan`."""

    code: Literal["unsafe", "duplicate", "orphan"]
    path: str


@record
class LayerFacts:
    """A layer that was read: `diff_id` and `size` are of the uncompressed tar, `members` in their order."""

    descriptor: Descriptor
    diff_id: Digest
    size: int
    members: tuple[Member, ...]
    problems: tuple[Problem, ...] = ()


@record
class RootFs:
    """All layers' union. `files` by path; `layers` lowest first."""

    source: Source
    layers: tuple[LayerFacts, ...]
    files: dict[str, Member] = field(default_factory=dict)

    @classmethod
    def read(cls, source: Source, layers: Sequence[Descriptor]) -> Self:
        """Stream every layer once.

        Raises ContentError: `layer-invalid` for what is no tar, `layer-too-large` for one that unpacks to more than
        1 GiB and 200 times its size or has more than 250000 entries, and what the store raises for blobs.
        """
        facts = tuple(read_layer(source, descriptor, number) for number, descriptor in enumerate(layers))
        merged = Merged()
        for layer in facts:
            merged.apply(layer)
        return cls(source, facts, merged.files)

    def resolve(self, path: str) -> Member | None:
        """What stands at a path once links are followed, inside the image; None where nothing does."""
        pending, done, hops = path.split("/"), list[str](), 0
        while pending:
            part = pending.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            found = self.files.get("/".join([*done, part]))
            if found is None or found.kind not in ("symlink", "hardlink"):
                done.append(part)
                continue
            hops += 1
            if hops > _MAX_HOPS:
                return None
            if found.kind == "hardlink" or found.target.startswith("/"):
                done = []
            pending = found.target.split("/") + pending
        return self.files.get("/".join(done))

    @contextmanager
    def open(self, member: Member) -> Iterator[BinaryIO]:
        """A file's content. Raises ContentError as `read` does."""
        descriptor = self.layers[member.layer].descriptor
        with _unpacked(self.source, descriptor) as stream, _translated(descriptor):
            for position, (info, archive) in enumerate(tarstream.entries(stream)):
                if position == member.position:
                    yield cast(BinaryIO, archive.extractfile(info))
                    return

    def small(self, members: Iterable[Member], each: int, total: int) -> dict[Member, bytes]:
        """Files of up to `each` bytes, `total` bytes of them at most, read in one pass a layer. Raises as `read` does."""
        wanted = []
        for member in members:
            if member.size <= each and total >= member.size:
                wanted.append(member)
                total -= member.size
        return {member: stream.read() for member, stream in self.contents(wanted)}

    def contents(self, members: Iterable[Member]) -> Iterator[tuple[Member, BinaryIO]]:
        """Files with their content, in the layers' order and one pass a layer; each stream is read before the next
        comes. Raises as `read` does.
        """
        wanted = {(member.layer, member.position): member for member in members}
        for number in sorted({layer for layer, _ in wanted}):
            descriptor = self.layers[number].descriptor
            with _unpacked(self.source, descriptor) as stream, _translated(descriptor):
                for position, (info, archive) in enumerate(tarstream.entries(stream)):
                    if member := wanted.get((number, position)):
                        yield member, cast(BinaryIO, archive.extractfile(info))
                while stream.read(BLOCK):
                    pass  # the blob's digest is known at its end


@dataclass(frozen=True, eq=False)
class Inside:
    """A file in a layer as content: its layer is streamed up to it at each use."""

    rootfs: RootFs
    member: Member

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.member.size

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """A stream from `offset` on; verified while it is read from the start. Raises as `RootFs.read` does."""
        with self.rootfs.open(self.member) as stream:
            if not offset and self.member.digest is not None:
                content = Descriptor("application/octet-stream", self.member.digest, self.member.size)
                stream = cast(BinaryIO, VerifyReader(stream, content, self.rootfs.source.place))
            while offset and (skipped := stream.read(min(offset, BLOCK))):
                offset -= len(skipped)
            yield stream


def read_layer(source: Source, descriptor: Descriptor, number: int = 0) -> LayerFacts:
    """Stream one layer. Raises as `RootFs.read` does."""
    members: list[Member] = []
    problems: list[Problem] = []
    seen: dict[str, Kind] = {"": "dir"}
    with _unpacked(source, descriptor) as stream, _translated(descriptor):
        for position, (info, archive) in enumerate(tarstream.entries(stream)):
            if position >= _MAX_MEMBERS:
                raise _too_large(descriptor, f"it has more than {_MAX_MEMBERS} entries")
            path = _clean(info.name)
            if path is None:
                problems.append(Problem("unsafe", info.name))
                continue
            member = _member(info, path, number, position)
            problems += _problems(member, seen)
            seen[path] = member.kind
            if member.kind == "file":
                member = _with_content(member, cast(BinaryIO, archive.extractfile(info)))
            members.append(member)
        while stream.read(BLOCK):
            pass  # padding is part of what the diff_id is of
    return LayerFacts(descriptor, stream.digest, stream.count, tuple(members), tuple(problems))


def member(info: tarfile.TarInfo) -> Member | None:
    """An entry of a tar that is no layer; None for one that leaves the root."""
    path = _clean(info.name)
    return None if path is None else _member(info, path, 0, 0)


def _problems(member: Member, seen: dict[str, Kind]) -> list[Problem]:
    found = []
    if member.path in seen and not (member.kind == seen[member.path] == "dir"):
        found.append(Problem("duplicate", member.path))
    parent = posixpath.dirname(member.path)
    if seen.get(parent, "dir") != "dir":
        found.append(Problem("orphan", member.path))
    return found


def _member(info: tarfile.TarInfo, path: str, layer: int, position: int) -> Member:
    kind = _TYPES.get(info.type, "file")
    target = info.linkname
    if kind == "hardlink":
        target = _clean(target) or ""
    size = info.size if kind == "file" else 0
    return Member(
        path=path,
        kind=kind,
        mode=info.mode,
        uid=info.uid,
        gid=info.gid,
        size=size,
        mtime=int(info.mtime),
        layer=layer,
        position=position,
        target=target,
        offset=info.offset_data,
        capability=info.pax_headers.get(tar.CAPABILITY, "").encode("utf-8", "surrogateescape"),
    )


def _with_content(member: Member, stream: BinaryIO) -> Member:
    hasher, head = hashlib.sha256(), b""
    while piece := stream.read(BLOCK):
        head = head or piece[:HEAD]
        hasher.update(piece)
    return replace(member, head=head, digest=Digest.from_hasher(hasher))


def _clean(name: str) -> str | None:
    """The path from the root without slashes around it; None for one that leaves the root."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts or "\0" in name else "/".join(parts)


# --- streams ------------------------------------------------------------------------------------------------------


class _Counted:
    """The uncompressed tar as it is read: hashed, counted, and cut where it grows beyond reason."""

    def __init__(self, stream: Any, descriptor: Descriptor) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self._hasher = hashlib.sha256()
        self._limit = max(_SMALL, _RATIO * descriptor.size)
        self.count = 0

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self.count += len(data)
        if self.count > self._limit:
            raise _too_large(self._descriptor, f"it unpacks to more than {self._limit} bytes")
        self._hasher.update(data)
        return data

    @property
    def digest(self) -> Digest:
        return Digest.from_hasher(self._hasher)


@contextmanager
def _unpacked(source: Source, descriptor: Descriptor) -> Iterator[_Counted]:
    compression = mediatype.tar_compression(descriptor.media_type)
    if compression is None:
        raise ContentError(f"{descriptor.digest} is a {descriptor.media_type}, no tar layer", code="layer-invalid")
    with source.open(descriptor) as stream, _translated(descriptor):
        yield _Counted(codec.decompressed(stream, compression, str(descriptor.digest)), descriptor)


@contextmanager
def _translated(descriptor: Descriptor) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not tarstream.is_damage(error):
            raise
        raise _invalid(descriptor, error) from error


def _invalid(descriptor: Descriptor, error: Exception) -> ContentError:
    return ContentError(
        f"layer {descriptor.digest} is not the {descriptor.media_type} it is said to be: {error}", code="layer-invalid"
    )


def _too_large(descriptor: Descriptor, why: str) -> ContentError:
    return ContentError(
        f"layer {descriptor.digest} of {descriptor.size} bytes is not read on: {why}",
        code="layer-too-large",
        hint="it may be a decompression bomb; the other layers can be looked at with ocibuild blob",
    )
