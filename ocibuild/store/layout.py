"""OCI image layouts: a folder with blobs/, index.json and oci-layout. OCI image-spec, image-layout.md.

Shared safely. A writer holds a shared lock on blobs/ until it has committed; index.json is merged under an exclusive
lock on the layout, in one rename, last. So a layout is as before or complete wherever its writer is killed: blobs that nothing
names are no part of it. A folder without index.json is no layout yet.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from ocibuild.content import atomic
from ocibuild.content.ahead import ahead
from ocibuild.content.blob import BLOCK, Blob
from ocibuild.content.flow import Event, Flow
from ocibuild.content.verify import VerifyReader, verifying
from ocibuild.errors import ContentError, NotFoundError, StoreError
from ocibuild.spec import annotation, layout
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index
from ocibuild.store.base import Pushed
from ocibuild.store.entries import Entries

if TYPE_CHECKING:
    from pathlib import Path

_ATTEMPTS = 100


class LayoutStore:
    """A layout on disk. Reading needs no `with`; writing does: leaving it commits the tags."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path) or "."
        self.blobs = os.path.join(self._path, layout.BLOBS)
        self.place = f"oci:{path}"
        self._index_path = os.path.join(self._path, layout.INDEX_FILE)
        self._lock = atomic.FolderLock(self.blobs)
        self._tags: list[tuple[str | None, Descriptor]] = []
        self._untagged: list[str] = []
        self._deleted: dict[Digest, set[Digest]] = {}
        self._written: list[str] = []
        self._made: list[str] = []
        self._before: bytes | None = None
        self._attached: tuple[Entries, int, dict[Digest, list[Descriptor]]] | None = None

    @property
    def path(self) -> Path:
        """The folder."""
        from pathlib import Path  # takes longer to load than a small layout to write

        return Path(self._path)

    # Reading

    def index(self) -> Index:
        """index.json. Raises StoreError (`layout-missing`, `layout-invalid`)."""
        return self._entries().document

    def _entries(self) -> Entries:
        data = self._index_bytes()
        if data is None:
            raise StoreError(
                f"{self._path} is not an OCI layout: it has no {layout.INDEX_FILE}",
                code="layout-missing",
                hint="give the folder that ocibuild pack wrote, for example hello.oci",
            )
        return self._parsed(data)

    def _parsed(self, data: bytes) -> Entries:
        try:
            return Entries.read(data)
        except ContentError as error:
            raise StoreError(f"{self._path}: {error.message}", code="layout-invalid") from error

    def _index_bytes(self) -> bytes | None:
        try:
            with open(self._index_path, "rb", buffering=0) as stream:
                return stream.readall()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read: {error.strerror}", code="store-unreadable") from error

    def roots(self) -> Iterator[tuple[str | None, Descriptor]]:
        """Names (`org.opencontainers.image.ref.name`) and descriptors as index.json has them."""
        for entry in self._entries():
            yield entry.annotations.get(annotation.REF_NAME), entry

    def named(self, name: str) -> Descriptor | None:
        """See Named."""
        return self._entries().find(name)

    def resolve(self, name: str) -> Descriptor:
        """See Source: a tag, a full reference, a digest, or nothing where there is one root only."""
        from ocibuild.store import names

        return names.find(self, name)

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> Sequence[Descriptor]:
        """See Referrers."""
        from ocibuild.store.graph import attached, of_type

        # Who draws a tree or copies what is attached asks for every manifest: all are read once while nothing changes.
        entries, written = self._entries(), len(self._written)
        if self._attached is None or self._attached[:2] != (entries, written):
            self._attached = entries, written, attached(self, entries)
        return of_type(self._attached[2].get(subject.digest, ()), artifact_type)

    def exists(self, descriptor: Descriptor) -> bool:
        """See Source."""
        return self._has(descriptor.digest, descriptor.size)

    def _has(self, digest: Digest, size: int) -> bool:
        try:
            return os.stat(self._file(digest)).st_size == size
        except OSError:
            return False

    def open(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """See Source."""
        return self._open(descriptor, offset)

    @contextmanager
    def _open(self, descriptor: Descriptor, offset: int) -> Iterator[BinaryIO]:
        try:
            stream = open(self._file(descriptor.digest), "rb", buffering=0)  # noqa: SIM115 - closed below
        except FileNotFoundError as error:
            raise NotFoundError(f"{self.place} does not have {descriptor.digest}", code="blob-missing") from error
        except OSError as error:
            raise StoreError(f"{self.place} cannot be read: {error.strerror}", code="store-unreadable") from error
        with stream:
            if offset:
                stream.seek(offset)
                yield cast(BinaryIO, stream)
            else:
                yield cast(BinaryIO, VerifyReader(cast(BinaryIO, stream), descriptor, self.place))

    def _file(self, digest: Digest) -> str:
        return os.path.join(self._path, layout.blob_path(digest))

    # Writing

    def __enter__(self) -> Self:
        self._tags, self._written, self._made = [], [], []
        self._untagged, self._deleted = [], {}
        if _is_no_folder(self._path):
            raise StoreError(
                f"{self._path} is a file, not a folder", code="not-a-layout", hint="choose another place with -o"
            )
        self._before = self._index_bytes()
        if self._before is None and _foreign(self._path):
            raise StoreError(
                f"{self._path} is a folder with other things in it",
                code="not-a-layout",
                hint="choose a new folder, or an OCI layout, with -o",
            )
        try:
            self._enter()
        except BaseException:
            self._roll_back()
            self._lock.release()
            raise
        return self

    def _enter(self) -> None:
        # Another writer that rolls back takes the folders it made away, perhaps from under our feet: begin again then.
        for attempt in range(_ATTEMPTS):
            try:
                for folder in (*reversed([*_missing(self._path)]), self.blobs):
                    self._make(folder)
                if self._lock.acquire("exclusive", wait=False) and self._lock.is_current():
                    self._sweep()
                self._lock.acquire("shared")
                if self._lock.is_current():
                    # Only now: a lock is needed for what is made to stay.
                    self._make(os.path.join(self.blobs, "sha256"))
                    self._before = self._index_bytes()
                    return
            except StoreError as error:
                if not isinstance(error.__cause__, FileNotFoundError) or attempt == _ATTEMPTS - 1:
                    raise
            self._lock.release()
        raise StoreError(f"{self._path} is removed again and again by another program", code="not-writable")

    def _make(self, folder: str) -> None:
        with atomic.translated(folder):
            try:
                os.mkdir(folder)
            except FileExistsError:
                return
        self._made.append(folder)

    def _sweep(self) -> None:
        # Alone in the layout: whatever is half-written belongs to a writer that died. It stands beside the folders of
        # blobs and not in them, so that this costs the same however many blobs there are.
        for folder in (self._path, self.blobs):
            with suppress(OSError):
                for name in os.listdir(folder):
                    if atomic.is_leftover(name):
                        os.unlink(os.path.join(folder, name))

    def push(self, blob: Blob, flow: Flow) -> Pushed:
        """See Target."""
        if self.exists(blob.descriptor):
            return Pushed.EXISTED
        flow.observe(Event("start", blob.descriptor))
        with (
            self.sink() as sink,
            blob.content.open() as stream,
            ahead(verifying(stream, blob.descriptor), blob.descriptor.size, flow) as reader,
        ):
            while piece := reader.read(BLOCK):
                flow.cancel.check()
                sink.write(piece)
                flow.observe(Event("advance", blob.descriptor, len(piece)))
            return sink.commit(blob.descriptor.digest, blob.descriptor.size)

    def sink(self) -> _LayoutSink:
        """See Ingests."""
        return _LayoutSink(self)

    def keep(self, incoming: atomic.Incoming, digest: Digest, size: int) -> Pushed:
        """Give a finished file its name, unless the content is there."""
        if self._has(digest, size):
            return Pushed.EXISTED
        final = self._file(digest)
        if digest.algorithm != "sha256":
            self._make(os.path.dirname(final))
        incoming.commit(final)
        self._written.append(final)
        return Pushed.WRITTEN

    @property
    def has_news(self) -> bool:
        """True where leaving it would write names that were given since it was entered."""
        return bool(self._tags)

    def tag(self, descriptor: Descriptor, name: str | None) -> None:
        """See Target. index.json says so when the `with` is left."""
        self._tags.append((name, descriptor))

    def untag(self, name: str) -> None:
        """See Untags. index.json says so when the `with` is left."""
        if not self._entries().has_name(name):
            raise NotFoundError(f"{self.place} has no tag {name!r}")
        self._untagged.append(name)

    def delete(self, descriptor: Descriptor) -> None:
        """See Deletes. Its blobs go too when the `with` is left, as far as nothing else needs them.

        Raises StoreError (`manifest-in-use`) for one that stands in an index of this layout.
        """
        from ocibuild.store.graph import nodes

        roots = self.index().manifests
        for parent, document in nodes(self, [root for root in roots if root.digest != descriptor.digest]):
            if any(child.digest == descriptor.digest for child in document.children):
                raise StoreError(
                    f"{descriptor.digest} stands in the index {parent.digest} of {self.place}",
                    code="manifest-in-use",
                    hint="remove that index first",
                )
        if all(root.digest != descriptor.digest for root in roots):
            raise NotFoundError(f"{self.place} has no image {descriptor.digest}")
        self._deleted[descriptor.digest] = self._needed([descriptor])

    def _needed(self, roots: Sequence[Descriptor]) -> set[Digest]:
        from ocibuild.store.graph import nodes

        below = {child.digest for _, document in nodes(self, roots) for child in document.children}
        return below | {root.digest for root in roots}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
            else:
                self._roll_back()
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._lock.release()

    def _commit(self) -> None:
        guard = atomic.FolderLock(self._path)
        guard.acquire("exclusive")
        try:
            header = os.path.join(self._path, layout.HEADER_FILE)
            if not os.path.exists(header):
                atomic.write(header, layout.HEADER_BYTES)
                self._written.append(header)
            data = self._index_bytes()
            entries = (self._parsed(data) if data is not None else Entries(Index(()))).changing()
            for name, descriptor in self._tags:
                entries.add(descriptor, name)
            for name in self._untagged:
                entries.drop(name)
            for digest in self._deleted:
                entries.remove(digest)
            merged = entries.to_bytes()
            if merged != data:
                atomic.write(self._index_path, merged)
        finally:
            guard.release()
        if self._deleted:
            self._collect()

    def _collect(self) -> None:
        # Only what the deleted manifests needed, nothing else needs now, and no writer can be about to rely on.
        with suppress(OSError, StoreError, ContentError):
            if not self._lock.acquire("exclusive", wait=False):
                return
            for digest in set().union(*self._deleted.values()) - self._needed(self.index().manifests):
                with suppress(FileNotFoundError):
                    os.unlink(self._file(digest))

    def _roll_back(self) -> None:
        # What this writer brought goes again, if nobody can have come to rely on it: no other writer is in the
        # layout now, and none has committed since.
        with suppress(OSError, StoreError):
            if not self._lock.acquire("exclusive", wait=False) or self._index_bytes() != self._before:
                return
            for path in self._written:
                with suppress(FileNotFoundError):
                    os.unlink(path)
            for folder in reversed(self._made):
                os.rmdir(folder)


class _LayoutSink:
    def __init__(self, store: LayoutStore) -> None:
        self._store = store
        self._incoming = atomic.Incoming(store.blobs)

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        self._incoming.write(data)

    def commit(self, digest: Digest, size: int) -> Pushed:
        return self._store.keep(self._incoming, digest, size)

    def __enter__(self) -> Self:
        self._incoming.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._incoming.__exit__(kind, error, trace)


def _missing(path: str) -> Iterator[str]:
    """`path` and the folders it stands in, as far as they are not there; the lowest first."""
    while path and not os.path.exists(path):
        yield path
        path = os.path.dirname(path.rstrip(os.sep))


def _is_no_folder(path: str) -> bool:
    """True for what is there and is something else; one look, for another writer may take the folder away meanwhile."""
    try:
        return not stat.S_ISDIR(os.stat(path).st_mode)
    except OSError:
        return False  # making it will say what is wrong


def _foreign(path: str) -> bool:
    """True for a folder with anything in it that a layout under construction would not have."""
    ours = (layout.BLOBS, layout.HEADER_FILE, layout.INDEX_FILE)
    try:
        return any(name not in ours and not atomic.is_leftover(name) for name in os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return False  # it is new, or another writer has just rolled back
