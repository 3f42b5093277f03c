"""Another registry behind ours, by our own client: its credentials, its trust, its patience. See ocibuild.serve.upstream."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from ocibuild.api.session import Session
from ocibuild.errors import (
    AuthorizationError,
    Cancelled,
    ContentError,
    NetworkError,
    NotFoundError,
    OcibuildError,
    RegistryError,
)
from ocibuild.record import replace
from ocibuild.serve.upstream import Absent, Fetched, Unavailable
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference, registry_of

if TYPE_CHECKING:
    from ocibuild.registry.store import RegistryStore

_STORES = 256
_OCTETS = "application/octet-stream"
_BUSY = ("rate-limited", "registry-failing")


class Behind:
    """The registry that `--proxy` names: `docker.io`, `ghcr.io`, `http://localhost:5000`.

    Credentials are this machine's, as every command finds them. Who waits at the other end is a client with patience of
    its own, so little is spent here: two tries, and seconds rather than minutes. Raises UsageError (`reference-invalid`).
    """

    def __init__(self, registry: str, session: Session | None = None) -> None:
        scheme, _, _ = registry.partition("://")
        session = session or Session()
        if "://" in registry:
            session = replace(session, plain_http=scheme.lower() == "http")
        self.place = registry_of(registry)
        self._session = session.begin()
        self._session.clients.open()
        self._lock = threading.Lock()
        self._stores: OrderedDict[str, RegistryStore] = OrderedDict()

    def name(self, repository: str) -> str:
        """See Upstream. Docker Hub's own images are below `library/`."""
        return f"library/{repository}" if self.place == "docker.io" and "/" not in repository else repository

    def look(self, repository: str, tag: str) -> Digest:
        """See Upstream. By HEAD, which Docker Hub does not count as a pull."""
        with self._told():
            return self._store(repository).resolve(tag).digest

    def manifest(self, repository: str, digest: Digest) -> Fetched:
        """See Upstream."""
        from ocibuild.store.base import fetch

        store = self._store(repository)
        with self._told():
            found = store.resolve(digest)
            return Fetched(found.media_type, fetch(store, found))

    def size(self, repository: str, digest: Digest) -> int:
        """See Upstream."""
        with self._told():
            return self._store(repository).size(digest)

    @contextmanager
    def blob(self, repository: str, digest: Digest, size: int) -> Iterator[BinaryIO]:
        """See Upstream. A connection that breaks is made again, and the reading goes on where it was."""
        store, descriptor = self._store(repository), Descriptor(_OCTETS, digest, size)
        with self._told(), store.open(descriptor, verified=False) as stream:
            yield stream

    def referrers(self, repository: str, subject: Digest) -> list[dict[str, Any]]:
        """See Upstream. By the API, or the list under a tag."""
        with self._told():
            found = self._store(repository).referrers(Descriptor(_OCTETS, subject, 0))
            return [dict(entry.to_json()) for entry in found]

    def tags(self, repository: str) -> list[str]:
        """See Upstream."""
        with self._told():
            return list(self._store(repository).tags())

    def close(self) -> None:
        """See Upstream."""
        self._session.cancel.set()
        self._session.clients.close()

    def _store(self, repository: str) -> RegistryStore:
        with self._lock:
            found = self._stores.get(repository)
            if found is None:
                found = self._stores[repository] = self._made(repository)
                if len(self._stores) > _STORES:
                    self._stores.popitem(last=False)
            else:
                self._stores.move_to_end(repository)
            return found

    def _made(self, repository: str) -> RegistryStore:
        from dataclasses import replace as changed

        from ocibuild.registry.settings import Patience, Timeouts
        from ocibuild.registry.store import RegistryStore

        session = self._session
        reference = Reference(self.place, repository)
        settings = changed(
            session.registry(reference).settings,
            patience=Patience(attempts=2, first=0.2, longest=1, asked=2, budget=10),
            timeouts=Timeouts(connect=4, reply=15, stall=30),
        )
        return RegistryStore(
            reference,
            settings,
            session.cancel,
            session.whereabouts,
            clients=session.clients,
            observe=session.observe,
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the client raises, as the registry in front of it can use it. Hints are for people, and left out."""
        try:
            yield
        except NotFoundError as error:
            raise Absent(error.message) from error
        except AuthorizationError as error:
            raise Unavailable(f"{self.place} does not let this proxy in", code="DENIED", status=403) from error
        except NetworkError as error:
            raise Unavailable(error.message, lasting=True) from error
        except RegistryError as error:
            if error.code == "repository-unknown":
                raise Absent(error.message) from error
            if error.code == "rate-limited":
                raise Unavailable(error.message, code="TOOMANYREQUESTS", status=429, lasting=True) from error
            raise Unavailable(error.message, lasting=error.code in _BUSY) from error
        except (ContentError, Cancelled, OcibuildError) as error:
            raise Unavailable(error.message) from error
