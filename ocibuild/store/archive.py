"""Image archives: an OCI layout, or what `docker load` reads, in one tar. OCI image-spec, image-layout.md; moby's tarexport.

Written from a layout staged beside the archive, members in a fixed order, so the same image is the same file. Read
where it lies: members are found once, and opened at their offset.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Literal, Protocol, Self, cast

from ocibuild.content import atomic, tar
from ocibuild.content.blob import BLOCK, Blob, Bytes, File
from ocibuild.content.flow import Flow
from ocibuild.content.tar import Entry
from ocibuild.content.verify import VerifyReader
from ocibuild.errors import ContentError, NotFoundError, StoreError
from ocibuild.spec import annotation, jsonform, layout, mediatype
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest, parse
from ocibuild.store import names
from ocibuild.store.base import Pushed, Sink, Source, fetch
from ocibuild.store.graph import attached, node, of_type, walk
from ocibuild.store.layout import LayoutStore

Kind = Literal["oci-archive", "docker-archive"]
DOCKER_MANIFEST_FILE = "manifest.json"
_INDEX_LIMIT = 64 * 1024 * 1024


class _Out(Protocol):
    def write(self, data: bytes | bytearray | memoryview, /) -> object: ...


class ArchiveWriter:
    """A target that becomes an archive when its `with` is left: at `path`, or into `out` where a stream is given."""

    def __init__(self, path: str, kind: Kind = "oci-archive", out: BinaryIO | None = None) -> None:
        self.place = f"{kind}:{path}"
        self._out = out
        self._path = path
        self._kind: Kind = kind
        self._staging: str | None = None
        self._layout: LayoutStore | None = None

    @property
    def staged(self) -> LayoutStore:
        """The layout that is filled. Only inside the `with`."""
        assert self._layout is not None, "an archive is written inside a with statement"
        return self._layout

    def __enter__(self) -> Self:
        folder = None if self._out is not None else str(Path(self._path).parent)
        with atomic.translated(self._path):
            self._staging = tempfile.mkdtemp(prefix=".ocibuild-", dir=folder)
        self._layout = LayoutStore(Path(self._staging) / "layout").__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.staged.__exit__(kind, error, trace)
            if kind is None:
                self._write()
        finally:
            shutil.rmtree(self._staging or "", ignore_errors=True)

    def _write(self) -> None:
        if self._out is not None:
            write_archive(self.staged, self._kind, self._out)
            self._out.flush()
            return
        final = Path(self._path)
        with atomic.Incoming(final.parent) as incoming:
            write_archive(self.staged, self._kind, incoming)
            incoming.commit(final)

    def push(self, blob: Blob, flow: Flow) -> Pushed:
        """See Target."""
        return self.staged.push(blob, flow)

    def sink(self) -> Sink:
        """See Ingests."""
        return self.staged.sink()

    def tag(self, descriptor: Descriptor, name: str | None) -> None:
        """See Target."""
        self.staged.tag(descriptor, name)

    def resolve(self, name: str) -> Descriptor:
        """See Source."""
        return self.staged.resolve(name)

    def exists(self, descriptor: Descriptor) -> bool:
        """See Source."""
        return self.staged.exists(descriptor)

    def open(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """See Source."""
        return self.staged.open(descriptor, offset)


def write_archive(source: LayoutStore, kind: Kind, out: _Out) -> None:
    """Write a committed layout as a tar. Raises StoreError (`archive-shape`) for docker-archive of an index."""
    roots = list(source.roots())
    digests = {d.digest: d for _, root in roots for d in walk(source, root)}
    entries = [Entry("blobs", "dir", 0o755), Entry("blobs/sha256", "dir", 0o755)]
    for digest in sorted(digests):
        path = layout.blob_path(digest)
        entries.append(Entry(path, "file", 0o644, File(str(source.path / path), digests[digest].size)))
    entries.append(Entry(layout.INDEX_FILE, "file", 0o644, Bytes((source.path / layout.INDEX_FILE).read_bytes())))
    docker = _docker_manifest(source, roots, required=kind == "docker-archive")
    if docker is not None:
        entries.append(Entry(DOCKER_MANIFEST_FILE, "file", 0o644, Bytes(docker)))
    entries.append(Entry(layout.HEADER_FILE, "file", 0o644, Bytes(layout.HEADER_BYTES)))
    for content in tar.pieces(entries):
        with content.open() as stream:
            while piece := stream.read(BLOCK):
                out.write(piece)


def _docker_manifest(
    source: LayoutStore, roots: Sequence[tuple[str | None, Descriptor]], *, required: bool
) -> bytes | None:
    """manifest.json, for one image whose layers are all tars; None where docker's classic loader could not read it."""
    reason = "it holds several images"
    # What is attached to the image is no image that docker could load.
    images = {root.digest: root for _, root in names.images(source)}
    if len(images) == 1:
        (image,) = images.values()
        manifest = node(source, image)
        reason = _not_loadable(source, manifest)
        if not reason and isinstance(manifest, Manifest):
            tags = [
                root.annotations[annotation.CONTAINERD_NAME]
                for _, root in roots
                if annotation.CONTAINERD_NAME in root.annotations and root.digest in images
            ]
            return jsonform.dump(
                [
                    {
                        "Config": layout.blob_path(manifest.config.digest),
                        "RepoTags": tags,
                        "Layers": [layout.blob_path(layer.digest) for layer in manifest.layers],
                    }
                ]
            )
    if required:
        raise StoreError(
            f"this image cannot be a docker-archive: {reason}",
            code="archive-shape",
            hint="write an OCI archive (-o FILE.tar), or pack a single platform as a tar layer",
        )
    return None


def _not_loadable(source: Source, document: Manifest | Index) -> str:
    if isinstance(document, Index):
        return "it is an index of several platforms"
    if document.config.media_type not in mediatype.IMAGE_CONFIGS:
        return f"its config is a {document.config.media_type}"
    if not all(mediatype.tar_compression(layer.media_type) for layer in document.layers):
        return "its layer is raw Wasm, not a tar"
    config = ImageConfig.parse(fetch(source, document.config))
    if len(config.diff_ids) != len(document.layers):
        return "its config does not list its layers"
    return ""


class ArchiveReader:
    """An archive on disk, as a source. Raises StoreError (`archive-invalid`) for one that holds no OCI layout."""

    def __init__(self, path: str, kind: Kind = "oci-archive") -> None:
        self.place = f"{kind}:{path}"
        self._path = path
        self._members = _members(path)
        self._index = self._read_index()

    def _read_index(self) -> Index:
        found = self._members.get(layout.INDEX_FILE)
        if found is None:
            raise StoreError(
                f"{self._path} holds no OCI layout: it has no {layout.INDEX_FILE}",
                code="archive-invalid",
                hint="archives of docker save have one since Docker 25; older ones can be converted with skopeo copy",
            )
        offset, size = found
        with open(self._path, "rb") as stream:
            stream.seek(offset)
            data = stream.read(min(size, _INDEX_LIMIT))
        try:
            document = parse(data, mediatype.INDEX, layout.INDEX_FILE, _INDEX_LIMIT, _INDEX_LIMIT)
        except ContentError as error:
            raise StoreError(f"{self._path}: {error.message}", code="archive-invalid") from error
        assert isinstance(document, Index)
        return document

    def roots(self) -> Iterator[tuple[str | None, Descriptor]]:
        """See Roots."""
        for entry in self._index.manifests:
            yield entry.annotations.get(annotation.REF_NAME), entry

    def resolve(self, name: str) -> Descriptor:
        """See Source."""
        return names.find(self, name)

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> Sequence[Descriptor]:
        """See Referrers."""
        return of_type(self._attached.get(subject.digest, ()), artifact_type)

    @cached_property
    def _attached(self) -> dict[Digest, list[Descriptor]]:
        return attached(self, self._index.manifests)

    def exists(self, descriptor: Descriptor) -> bool:
        """See Source."""
        found = self._members.get(layout.blob_path(descriptor.digest))
        return found is not None and found[1] == descriptor.size

    def open(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """See Source."""
        return self._open(descriptor, offset)

    @contextmanager
    def _open(self, descriptor: Descriptor, offset: int) -> Iterator[BinaryIO]:
        found = self._members.get(layout.blob_path(descriptor.digest))
        if found is None:
            raise NotFoundError(f"{self.place} does not have {descriptor.digest}", code="blob-missing")
        start, size = found
        with open(self._path, "rb", buffering=0) as stream:
            stream.seek(start + offset)
            limited = _Limited(cast(IO[bytes], stream), size - offset)
            yield cast(BinaryIO, limited if offset else VerifyReader(cast(BinaryIO, limited), descriptor, self.place))


class _Limited:
    """At most `left` bytes of a stream."""

    def __init__(self, stream: IO[bytes], left: int) -> None:
        self._stream = stream
        self._left = left

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _members(path: str) -> dict[str, tuple[int, int]]:
    """Offset and size of each regular file in the tar."""
    try:
        with tarfile.open(path, "r:") as archive:
            return {
                os.path.normpath(member.name): (member.offset_data, member.size) for member in archive if member.isreg()
            }
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist") from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise StoreError(
            f"{path} is not a plain tar archive: {error}",
            code="archive-invalid",
            hint="decompress it first if it is compressed",
        ) from error
