"""A repository of a registry as a store: what `copy` reads from and writes to.

Importing this costs nothing; requests and oras come in with the first request.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from io import BytesIO
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Cancel, Event, Flow
from ocibuild.content.verify import VerifyReader, read_verified
from ocibuild.errors import ContentError, NetworkError, NotFoundError, RegistryError
from ocibuild.registry.clients import Clients
from ocibuild.registry.settings import Settings
from ocibuild.registry.whereabouts import Whereabouts
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference, is_tag
from ocibuild.store.base import Pushed, Source

if TYPE_CHECKING:
    from ocibuild.registry.client import Client
    from ocibuild.registry.connection import Connection
    from ocibuild.registry.mirrors import Ways
    from ocibuild.registry.referrers import Unlisted
    from ocibuild.registry.session import Upload
    from ocibuild.registry.transport import Transport, Watch

_KEPT = 32


class RegistryStore:
    """Source and Target over one repository; safe for many threads.

    `cancel` ends what is under way in calls that have no flow of their own: give it the flow's. Stores that share
    `whereabouts` take blobs over from each other's repositories where the registry lets them, and those that share `clients`
    that are open share connections and tokens. With `mirrors`, the set that names those that have failed, content is read
    from the registry's mirrors first; without, as for what is pushed to, from the registry alone. `observe` is told of what
    is tried again, and what a person should know.
    Every method raises NetworkError, AuthorizationError, RegistryError and Cancelled besides what its protocol says.
    """

    def __init__(
        self,
        reference: Reference,
        settings: Settings | None = None,
        cancel: Cancel | None = None,
        whereabouts: Whereabouts | None = None,
        *,
        clients: Clients | None = None,
        mirrors: set[str] | None = None,
        observe: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self.reference = reference
        self.settings = settings or Settings()
        self._mirrors = mirrors
        self._observe = observe
        self._cancel = cancel or Cancel()
        self._whereabouts = whereabouts or Whereabouts()
        self._clients = clients or Clients()
        self._lock = threading.Lock()
        self._flights: defaultdict[Digest, threading.Lock] = defaultdict(threading.Lock)
        self._manifests: dict[Digest, bytes] = {}
        self._uploads: dict[Digest, Upload] = {}
        self._unlisted: list[Unlisted] = []
        self._looked: dict[str, Descriptor | None] = {}

    @property
    def place(self) -> str:
        """host/repository, as every command accepts it."""
        return self.reference.name

    @property
    def repository(self) -> str:
        """The repository's name within the registry."""
        return self.reference.repository

    @cached_property
    def client(self) -> Client:
        """oras's registry, over the store's connection."""
        from ocibuild.registry.client import Client

        return Client(self.reference.api_host, watch=self._watch, connection=self._connection)

    @cached_property
    def _connection(self) -> Connection:
        return self._clients.of(self.reference, self.settings, self._watch)

    @cached_property
    def _watch(self) -> Watch:
        from ocibuild.registry.transport import Watch

        return Watch(
            self._cancel,
            lambda text: self._observe(Event("retry", text=text)),
            lambda text: self._observe(Event("warning", text=text)),
        )

    @cached_property
    def _ways(self) -> Ways:
        from ocibuild.registry.mirrors import Ways

        return Ways(self.reference, self.settings, self._watch, lambda: self._transport, self._mirrors)

    @cached_property
    def _transport(self) -> Transport:
        connection = self._connection
        return connection.transport(f"{connection.prefix}://{self.reference.api_host}")

    # Source

    def resolve(self, name: str = "") -> Descriptor:
        """What a tag or digest stands for, "" for the reference's own. Raises NotFoundError, ContentError."""
        from ocibuild.registry import download

        target = name or self.reference.target
        if not (is_tag(target) or is_digest(target)):
            raise NotFoundError(f"{self.place} has no {target[:300]!r}: that is neither a tag nor a digest")

        def ask(transport: Transport, repository: str) -> Descriptor:
            # What a mirror says of a manifest's size is not taken on trust: it is read.
            if not self._ways.endpoints and (found := download.look(transport, repository, target, self._watch)):
                return found
            descriptor, data = download.manifest(transport, repository, target, self._watch)
            self._keep(descriptor, data)
            return descriptor

        return self._ways.read(ask, tag=is_tag(target))

    def exists(self, descriptor: Descriptor) -> bool:
        """True when the registry answers for it, with this size."""
        from ocibuild.registry import download

        def ask(transport: Transport, repository: str) -> bool:
            if download.exists(transport, repository, descriptor, self._watch):
                return True
            raise NotFoundError(f"{transport.origin.netloc}/{repository} has no {descriptor.digest}")

        try:
            return self._ways.read(ask, lasting=False)
        except NotFoundError:
            return False

    def size(self, digest: Digest) -> int:
        """How many bytes a blob has, as the registry says. Raises NotFoundError."""
        from ocibuild.registry import download

        return download.size(self._transport, self.repository, digest, self._watch)

    def open(
        self, descriptor: Descriptor, offset: int = 0, *, verified: bool = True
    ) -> AbstractContextManager[BinaryIO]:
        """The content from `offset` on; verified while read from the start, unless who keeps it hashes a blob anyway.

        Raises NotFoundError, ContentError.
        """
        from ocibuild.registry import download

        kept = self._manifests.get(descriptor.digest)
        if kept is not None:
            stream = BytesIO(kept[offset:])
            return stream if offset else cast(BinaryIO, VerifyReader(stream, descriptor, self.place))
        if not mediatype.is_node(descriptor.media_type):
            if self._ways.endpoints:
                return self._ways.open(descriptor, offset)
            return download.blob(self._transport, self.repository, descriptor, offset, self._watch, verified=verified)

        def ask(transport: Transport, repository: str) -> tuple[Descriptor, bytes]:
            return download.manifest(transport, repository, descriptor.digest, self._watch)

        self._keep(descriptor, self._ways.read(ask)[1])
        return self.open(descriptor, offset)

    # Target

    def push(self, blob: Blob, flow: Flow) -> Pushed:
        """Send what the registry does not have. Raises ContentError when the bytes are not the descriptor's."""
        from ocibuild.registry import claim, download, upload
        from ocibuild.registry.transport import Watch

        descriptor, watch, where = blob.descriptor, Watch.of(flow), (self._transport, self.repository)
        if mediatype.is_node(descriptor.media_type):
            return self._manifest(blob, descriptor.digest, flow)
        with self._flight(descriptor.digest):  # who comes second finds it there
            opened = self._uploads.pop(descriptor.digest, None)
            found = opened or claim.claimed(*where, descriptor, watch)
            if found == "there" or (found is opened and download.exists(*where, descriptor, watch)):
                self._note(descriptor)
                return Pushed.EXISTED
            upload.blob(*where, blob, flow, found)
        self._note(descriptor)
        return Pushed.WRITTEN

    def stands(self, descriptor: Descriptor, name: str) -> bool:
        """See Names. Raises RegistryError (`tag-refused`). What it finds is what `push_named` goes by next."""
        from ocibuild.registry import download

        _refuse_no_tag(name)
        if name not in self._looked:  # asked about several images, it is looked at once
            self._looked[name] = download.standing(self._transport, self.repository, name, self._watch)
        return (found := self._looked[name]) is not None and found.digest == descriptor.digest

    def push_named(self, blob: Blob, name: str, flow: Flow) -> Pushed:
        """See Names. Raises RegistryError (`tag-refused`, `tag-immutable`) besides what `push` raises."""
        _refuse_no_tag(name)
        if blob.descriptor.digest.algorithm != "sha256":
            # Under a tag alone a registry would file it by sha256, and not find it by the digest that was asked for.
            pushed = self.push(blob, flow)
            self.tag(blob.descriptor, name)
            return pushed
        try:
            return self._manifest(blob, name, flow)
        except RegistryError as error:
            if error.code != "tag-immutable":
                raise
            self._immutable(blob.descriptor, name, error)
            return Pushed.EXISTED

    def _manifest(self, blob: Blob, name: str, flow: Flow) -> Pushed:
        from ocibuild.registry import download, upload
        from ocibuild.registry.transport import Watch

        descriptor, watch, data = blob.descriptor, Watch.of(flow), _whole(blob)
        self._keep(descriptor, data)
        with self._flight(descriptor.digest):
            if name in self._looked:
                found = self._looked.pop(name)
            else:
                found = download.look(self._transport, self.repository, name, watch)
            if found is not None and found.digest == descriptor.digest:
                self._refers(descriptor, data, existed=True)
                return Pushed.EXISTED
            noted = upload.manifest(self._transport, self.repository, name, descriptor, data, watch)
        self._refers(descriptor, data, noted)
        flow.observe(Event("start", descriptor))
        flow.observe(Event("advance", descriptor, descriptor.size))
        return Pushed.WRITTEN

    def _flight(self, digest: Digest) -> threading.Lock:
        with self._lock:
            return self._flights[digest]

    def _note(self, descriptor: Descriptor) -> None:
        self._whereabouts.note(self.reference.registry, self.repository, descriptor.digest)

    def tag(self, descriptor: Descriptor, name: str | None) -> None:
        """Point a tag at a manifest that is there; nothing is sent where it already does. None: nothing to do."""
        from ocibuild.registry import download, upload

        if name is None:
            return  # a registry finds it by its digest
        _refuse_no_tag(name)
        found = download.look(self._transport, self.repository, name, self._watch)
        if found is not None and found.digest == descriptor.digest:
            return
        data = self._manifests.get(descriptor.digest)
        if data is None:
            data = download.manifest(self._transport, self.repository, descriptor.digest, self._watch)[1]
        try:
            upload.manifest(self._transport, self.repository, name, descriptor, data, self._watch)
        except RegistryError as error:
            if error.code != "tag-immutable":
                raise
            self._immutable(descriptor, name, error)

    def _immutable(self, descriptor: Descriptor, name: str, error: RegistryError) -> None:
        from ocibuild.registry import download

        there, _ = download.manifest(self._transport, self.repository, name, self._watch)
        if there.digest != descriptor.digest:
            message = f"{self.place}:{name} is immutable and stays {there.digest}: {error.message}"
            raise RegistryError(message, code=error.code, hint=error.hint) from error

    def mount(self, descriptor: Descriptor, source: Source) -> bool:
        """Take a blob over from another repository of this registry. False when it must be pushed."""
        from ocibuild.registry import upload

        other = self._elsewhere(descriptor, source)
        if other is None or mediatype.is_node(descriptor.media_type):
            return False
        try:
            opened = upload.mount(self._transport, self.repository, descriptor.digest, other, self._watch)
        except (RegistryError, NotFoundError, NetworkError):
            return False  # a mount is a favour: pushing says what is really wrong
        if opened is not None:
            self._uploads[descriptor.digest] = opened
            return False
        self._note(descriptor)
        return True

    def _elsewhere(self, descriptor: Descriptor, source: Source) -> str | None:
        """Another repository of this registry that has it, as far as is known."""
        if isinstance(source, RegistryStore) and source.reference.registry == self.reference.registry:
            found: str | None = source.repository
        else:
            found = self._whereabouts.find(self.reference.registry, descriptor.digest)
        return None if found == self.repository else found

    def _refers(self, descriptor: Descriptor, data: bytes, noted: str = "", *, existed: bool = False) -> None:
        """Remember a manifest that has a subject, unless the registry has `noted` it: leaving the store lists it."""
        from ocibuild.registry import referrers

        found = referrers.unlisted(descriptor, data, noted, existed=existed)
        if found is not None:
            with self._lock:
                self._unlisted.append(found)

    # Management

    def tags(self) -> Iterator[str]:
        """The repository's tags, in the registry's order. Raises RegistryError (`list-endless`) for pages without end."""
        from ocibuild.registry import listing

        return listing.tags(self._transport, self.repository, self._watch)

    def repositories(self) -> Iterator[str]:
        """The registry's repositories, as far as it shows them."""
        from ocibuild.registry import listing

        return listing.repositories(self._transport, self._watch)

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> Sequence[Descriptor]:
        """See Referrers. By the registry's API, or the list under a tag. Raises RegistryError (`referrers-tag-taken`)."""
        from ocibuild.registry import referrers

        return referrers.listed(self._transport, self.repository, subject.digest, artifact_type, self._watch)

    def untag(self, name: str) -> None:
        """See Untags. Raises RegistryError (`tag-delete-unsupported`) where the manifest would have to go as well."""
        from ocibuild.registry import deletion

        deletion.tag(self._transport, self.repository, name, self._watch)

    def delete(self, descriptor: Descriptor) -> None:
        """See Deletes. Raises RegistryError (`delete-disabled`)."""
        from ocibuild.registry import deletion

        deletion.manifest(self._transport, self.repository, descriptor, self._watch)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        # Blobs that were sent stay: without a tag nobody sees them, and the next push finds them there.
        try:
            if kind is None and self._unlisted:
                from ocibuild.registry import referrers

                referrers.settle(self._transport, self.repository, self._unlisted, self._watch)
        finally:
            self._unlisted.clear()
            if "_connection" in self.__dict__:
                self._clients.release(self.__dict__.pop("_connection"))
                self.__dict__.pop("client", None)
                self.__dict__.pop("_transport", None)
            if "_ways" in self.__dict__:
                self._ways.close()

    def _keep(self, descriptor: Descriptor, data: bytes) -> None:
        with self._lock:
            self._manifests[descriptor.digest] = data
            while len(self._manifests) > _KEPT:
                del self._manifests[next(iter(self._manifests))]


def is_digest(text: str) -> bool:
    """True for what may be asked for by digest."""
    try:
        Digest(text)
    except ContentError:
        return False
    return True


def _refuse_no_tag(name: str) -> None:
    if not is_tag(name):
        raise RegistryError(f"{name[:140]!r} is no tag", code="tag-refused", hint="a tag is letters, digits, . _ -")


def _whole(blob: Blob) -> bytes:
    """A manifest's bytes, verified, at most 4 MiB."""
    descriptor = blob.descriptor
    if descriptor.size > jsonform.MAX_DOCUMENT:
        raise ContentError(
            f"manifest {descriptor.digest} has {descriptor.size} bytes; registries take {jsonform.MAX_DOCUMENT}",
            code="document-too-large",
        )
    with blob.content.open() as stream:
        return read_verified(stream, descriptor)
