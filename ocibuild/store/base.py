"""What makes a store. Four methods to read from one, two more to write; every other power is a one-method protocol
that `copy` asks for with isinstance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from types import TracebackType
from typing import BinaryIO, Protocol, Self, runtime_checkable

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.content.verify import read_verified
from ocibuild.errors import ContentError
from ocibuild.record import record
from ocibuild.spec import jsonform
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest


class Pushed(Enum):
    """How content came to be in the store."""

    WRITTEN = "written"
    EXISTED = "existed"
    MOUNTED = "mounted"


class Source(Protocol):
    """A store to read from."""

    @property
    def place(self) -> str:
        """The store's name for people and messages, in a form every command accepts."""

    def resolve(self, name: str) -> Descriptor:
        """The descriptor a tag, a digest, or the empty name (the only root) stands for. Raises NotFoundError."""

    def exists(self, descriptor: Descriptor) -> bool:
        """True when the content is there, whole."""

    def open(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """The content; verified while read when it is read from the start. Raises NotFoundError, ContentError."""


class Target(Source, Protocol):
    """A store to write to; a context manager: leaving commits, an exception rolls back."""

    def push(self, blob: Blob, flow: Flow) -> Pushed:
        """Afterwards the content is there. Idempotent. Raises ContentError when the bytes are not the descriptor's."""

    def tag(self, descriptor: Descriptor, name: str | None) -> None:
        """Make the descriptor a root under `name`; None makes it an untagged root."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class Sink(Protocol):
    """Takes bytes whose digest is known only at their end. Left without `commit`, nothing remains."""

    def write(self, data: bytes | bytearray | memoryview, /) -> object: ...
    def commit(self, digest: Digest, size: int) -> Pushed: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


@runtime_checkable
class Ingests(Protocol):
    """Power of a target: content of a digest not known yet."""

    def sink(self) -> Sink:
        """A place to write to."""


@runtime_checkable
class Mounts(Protocol):
    """Power of a target: take content from another place of the same service without moving bytes."""

    def mount(self, descriptor: Descriptor, source: Source) -> bool:
        """True when it is there now; False when it must be pushed."""


@runtime_checkable
class Names(Protocol):
    """Power of a target: take a manifest under its name, where taking it first and naming it then would be two trips."""

    def stands(self, descriptor: Descriptor, name: str) -> bool:
        """True where the name stands for it already, so that all below it was taken before it was."""

    def push_named(self, blob: Blob, name: str, flow: Flow) -> Pushed:
        """`push` and `tag` in one. EXISTED where the name stood for it already."""


@runtime_checkable
class Roots(Protocol):
    """Power of a source: list what it was tagged with."""

    def roots(self) -> Iterator[tuple[str | None, Descriptor]]:
        """Names and descriptors in the store's order; None names an untagged root."""


@runtime_checkable
class Named(Protocol):
    """Power of a source that lists its roots: find one without a look at all of them."""

    def named(self, name: str) -> Descriptor | None:
        """The last root that has this tag, full reference (`io.containerd.image.name`) or digest."""


@runtime_checkable
class Referrers(Protocol):
    """Power of a source: find what was attached to a manifest."""

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> Sequence[Descriptor]:
        """Manifests whose `subject` this is, with their artifact types and annotations; of one type where given."""


@runtime_checkable
class Untags(Protocol):
    """Power of a target: take a name away."""

    def untag(self, name: str) -> None:
        """The name goes; what it stood for stays. Raises NotFoundError where there is no such name."""


@runtime_checkable
class Deletes(Protocol):
    """Power of a target: take a manifest away."""

    def delete(self, descriptor: Descriptor) -> None:
        """The manifest goes, with every name it has. Raises NotFoundError where it is not there."""


@record
class Stored:
    """Content in a store, opened there each time."""

    source: Source
    descriptor: Descriptor

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.descriptor.size

    def open(self, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """A stream from `offset` on; verified while it is read from the start."""
        return self.source.open(self.descriptor, offset)


def fetch(source: Source, descriptor: Descriptor, limit: int = jsonform.MAX_DOCUMENT) -> bytes:
    """The whole of a small blob, verified. Raises ContentError (`document-too-large`) beyond `limit` bytes."""
    if descriptor.size > limit:
        raise ContentError(
            f"{descriptor.digest} in {source.place} has {descriptor.size} bytes; more than {limit} are not read as a document",
            code="document-too-large",
        )
    with source.open(descriptor) as stream:
        return read_verified(stream, descriptor, source.place)
