"""What a verb works with: the surroundings, the registries' settings, and where events go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from ocibuild import ambient
from ocibuild.ambient import Ambient
from ocibuild.api import places
from ocibuild.api.places import Place
from ocibuild.content.flow import Cancel, Event, Flow, Pools
from ocibuild.record import field, record, replace
from ocibuild.registry.answers import Answers
from ocibuild.registry.clients import Clients
from ocibuild.registry.whereabouts import Whereabouts
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store.base import Source

if TYPE_CHECKING:
    from ocibuild.registry.settings import Certificate, Credential
    from ocibuild.registry.store import RegistryStore
    from ocibuild.spec.reference import Reference
    from ocibuild.store.layout import LayoutStore


def _silent(event: Event) -> None:
    pass


@record
class Session:
    """Made once by a caller and passed to verbs; every verb makes its own where none is given.

    Verbs inside `with session:` share connections, tokens, threads and what they learn of registries.

    `cancel` calls off whatever verb is under way. `plain_http` None means http for loopback hosts only. `credentials` are explicit ones, by registry host, and so are the client's `certificates`. With `mirrors`, images are read from
    the mirrors that this machine's files name; `failed` names those that did not work. Blobs are pushed in chunks of
    `chunk_size` bytes; None sends each as one where the registry takes it.
    """

    plain_http: bool | None = None
    insecure: bool = False
    ca_file: str | None = None
    credentials: dict[str, Credential] = field(default_factory=dict)
    certificates: dict[str, Certificate] = field(default_factory=dict)
    mirrors: bool = True
    failed: set[str] = field(default_factory=set)
    chunk_size: int | None = None
    observe: Callable[[Event], None] = _silent
    cancel: Cancel = field(default_factory=Cancel)
    surroundings: Ambient = field(default_factory=ambient.read)
    whereabouts: Whereabouts = field(default_factory=Whereabouts)
    answers: Answers = field(default_factory=Answers)
    clients: Clients = field(default_factory=Clients)
    pools: Pools = field(default_factory=Pools)

    def __enter__(self) -> Self:
        self.clients.open()
        self.pools.open()
        return self

    def __exit__(self, *raised: object) -> None:
        self.pools.close()
        self.clients.close()

    def begin(self) -> Session:
        """The session for one verb: its failure calls off its own work, and nothing after it."""
        return replace(self, cancel=self.cancel.child())

    @contextmanager
    def flow(self) -> Iterator[Flow]:
        """Threads for the length of one verb: the session's, inside its `with`."""
        with Flow.open(self.observe, cancel=self.cancel, pools=self.pools) as flow:
            yield flow

    def registry(self, reference: Reference, *, reading: bool = False) -> RegistryStore:
        """The store behind a reference; for `reading`, with its mirrors."""
        from pathlib import Path

        from ocibuild.registry.settings import Settings
        from ocibuild.registry.store import RegistryStore

        settings = Settings(
            plain_http=self.plain_http,
            insecure=self.insecure,
            ca_file=self.ca_file,
            credentials=self.credentials,
            certificates=self.certificates,
            environ=self.surroundings.environ,
            home=Path(self.surroundings.home),
            user=self.surroundings.user,
            answers=self.answers.under(self.cancel),
            system=Path(self.surroundings.system),
            chunk_size=self.chunk_size,
        )
        mirrors = self.failed if reading and self.mirrors else None
        return RegistryStore(
            reference,
            settings,
            self.cancel,
            self.whereabouts,
            clients=self.clients,
            mirrors=mirrors,
            observe=self.observe,
        )

    def source(self, place: Place) -> Source:
        """Open any place for reading."""
        return self.registry(place.reference, reading=True) if place.reference is not None else places.source(place)

    def changing(self, place: Place) -> RegistryStore | LayoutStore:
        """Open a place to change what is there. Raises StoreError (`store-read-only`) for an archive."""
        return self.registry(place.reference) if place.reference is not None else places.changing(place)

    def found(self, place: Place) -> tuple[Source, Descriptor]:
        """The store and the descriptor a place stands for. Raises NotFoundError, NetworkError, AuthorizationError."""
        source = self.source(place)
        name = place.reference.target if place.reference is not None else place.name
        return source, source.resolve(name)
