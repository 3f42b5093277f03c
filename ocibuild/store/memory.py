"""A store in memory: for tests, for small graphs, and, keeping nothing, for a dry run."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import BinaryIO, Self, cast

from ocibuild.content.blob import BLOCK, Blob
from ocibuild.content.flow import Flow
from ocibuild.content.verify import VerifyReader, verifying
from ocibuild.errors import NotFoundError
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.store import names
from ocibuild.store.base import Pushed
from ocibuild.store.graph import attached, of_type


class MemoryStore:
    """Blobs and names in dictionaries. With `keep_limit`, larger blobs are counted and forgotten (a dry run)."""

    def __init__(self, place: str = "memory", *, keep_limit: int | None = None) -> None:
        self.place = place
        self.blobs: dict[Digest, bytes] = {}
        self.sizes: dict[Digest, int] = {}
        self._names: dict[str | int, Descriptor] = {}  # untagged roots have numbers
        self._numbered = 0
        self._keep_limit = keep_limit
        self._lock = threading.Lock()
        self._before: tuple[dict[Digest, bytes], dict[Digest, int], dict[str | int, Descriptor]] = ({}, {}, {})

    def resolve(self, name: str) -> Descriptor:
        """See Source."""
        return names.find(self, name)

    def roots(self) -> Iterator[tuple[str | None, Descriptor]]:
        """See Roots."""
        return iter([(name if isinstance(name, str) else None, root) for name, root in list(self._names.items())])

    def exists(self, descriptor: Descriptor) -> bool:
        """See Source."""
        return self.sizes.get(descriptor.digest) == descriptor.size

    def open(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """See Source."""
        data = self.blobs.get(descriptor.digest)
        if data is None:
            raise NotFoundError(f"{self.place} does not have {descriptor.digest}", code="blob-missing")
        if offset:
            return io.BytesIO(data[offset:])
        return cast(AbstractContextManager[BinaryIO], VerifyReader(io.BytesIO(data), descriptor, self.place))

    def push(self, blob: Blob, flow: Flow) -> Pushed:
        """See Target."""
        if self.exists(blob.descriptor):
            return Pushed.EXISTED
        with self.sink() as sink, blob.content.open() as stream:
            reader = verifying(stream, blob.descriptor)
            while piece := reader.read(BLOCK):
                flow.cancel.check()
                sink.write(piece)
            return sink.commit(blob.descriptor.digest, blob.descriptor.size)

    def sink(self) -> _MemorySink:
        """See Ingests."""
        return _MemorySink(self)

    def tag(self, descriptor: Descriptor, name: str | None) -> None:
        """See Target."""
        with self._lock:
            if name is not None:
                self._names.pop(name, None)
            self._names[self._number() if name is None else name] = descriptor

    def _number(self) -> int:
        self._numbered += 1
        return self._numbered

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> Sequence[Descriptor]:
        """See Referrers."""
        return of_type(attached(self, self._names.values()).get(subject.digest, ()), artifact_type)

    def untag(self, name: str) -> None:
        """See Untags."""
        with self._lock:
            found = self._names.pop(name, None)
            if found is None:
                raise NotFoundError(f"{self.place} has no tag {name!r}")
            if all(found.digest != other.digest for other in self._names.values()):
                self._names[self._number()] = found

    def delete(self, descriptor: Descriptor) -> None:
        """See Deletes."""
        with self._lock:
            kept = {name: root for name, root in self._names.items() if root.digest != descriptor.digest}
            if len(kept) == len(self._names):
                raise NotFoundError(f"{self.place} has no image {descriptor.digest}")
            self._names = kept
            self.blobs.pop(descriptor.digest, None)
            self.sizes.pop(descriptor.digest, None)

    def keep(self, digest: Digest, data: bytes | bytearray, size: int) -> Pushed:
        """Take content in; what is beyond the limit is only remembered by its size."""
        with self._lock:
            if self.sizes.get(digest) == size:
                return Pushed.EXISTED
            self.sizes[digest] = size
            if len(data) == size:
                self.blobs[digest] = bytes(data)
        return Pushed.WRITTEN

    @property
    def keep_limit(self) -> int | None:
        """Bytes beyond which a blob is forgotten; None keeps all."""
        return self._keep_limit

    def __enter__(self) -> Self:
        self._before = dict(self.blobs), dict(self.sizes), dict(self._names)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.blobs, self.sizes, self._names = self._before


class _MemorySink:
    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._data = bytearray()
        self._full = False

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        limit = self._store.keep_limit
        if self._full or (limit is not None and len(self._data) + len(data) > limit):
            self._full = True
            self._data.clear()
            return
        self._data += data

    def commit(self, digest: Digest, size: int) -> Pushed:
        return self._store.keep(digest, self._data, size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.clear()


def dry() -> MemoryStore:
    """A store for a dry run: documents are kept, programs are only measured."""
    return MemoryStore("dry run", keep_limit=DOCUMENT_LIMIT)


DOCUMENT_LIMIT = 64 * 1024
