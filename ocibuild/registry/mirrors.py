"""Mirrors: other hosts that content is read from before the registry itself is asked. Nothing is ever written to one.

registries.conf speaks first, then containerd's hosts.toml, then docker's daemon.json, for Docker Hub only; the first of
them that has mirrors for a registry is the one that counts. A mirror that fails is left out from then on; a registry's
credentials are not for its mirrors, which have those of their own hosts.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar, cast
from urllib.parse import quote

from requests import Response

from ocibuild.content.verify import VerifyReader
from ocibuild.errors import ContentError, NetworkError, NotFoundError, OcibuildError, RegistryError, UsageError
from ocibuild.record import record, replace
from ocibuild.registry import daemonjson, download, hosts, policy
from ocibuild.registry.connection import Connection
from ocibuild.registry.hosts import Host
from ocibuild.registry.origin import Origin
from ocibuild.registry.scope import needed
from ocibuild.registry.settings import UNKNOWN, Settings, Trust
from ocibuild.registry.transport import Call, Transport, Watch
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.reference import Reference

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CONNECT = 3.0
"""Seconds a mirror has to take a connection, unless its file says otherwise."""

Answer = TypeVar("Answer")
_SWITCHES = frozenset({"tls-expected", "https-expected", "connection-refused", "connection-lost"})
_FAILURES = (NetworkError, RegistryError, NotFoundError, ContentError)


@record
class Endpoint:
    """A place to read a repository from. `root` is what `/v2` is there; `path` is the file that names it.

    `resolves` says that it may be asked what a tag stands for, `pulls` that it may be asked for content. `is_mirror` is
    False for the place that a file puts in the registry's stead: what it answers is the answer. `is_other_scheme`: it is
    the one before by http instead of https, or the reverse, for when that one was not the right way to speak to it.
    """

    origin: Origin
    root: str
    repository: str
    path: Path
    resolves: bool = True
    pulls: bool = True
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    connect: float | None = None
    trust: Trust = UNKNOWN
    is_mirror: bool = True
    is_other_scheme: bool = False


def endpoints(reference: Reference, settings: Settings) -> tuple[Endpoint, ...]:
    """Where to look, in order, before the registry itself; or in its stead, where the last is no mirror.

    Raises UsageError (`registry-blocked`, and for files that cannot be used).
    """
    entry = policy.allowed(reference, settings)
    found: list[Endpoint] = []
    if entry is not None:
        other = "digest-only" if reference.digest is None else "tag-only"
        for mirror in entry.mirrors:
            if mirror.pulls != other:
                found += _placed(entry.at(mirror.location, reference.name), mirror.insecure, entry.path)
        place = entry.at(entry.location, reference.name)
        if place != reference.name:
            return (*found, *(replace(end, is_mirror=False) for end in _placed(place, entry.insecure, entry.path)))
        if entry.mirrors:
            return tuple(found)
    if listed := hosts.find(policy.usual(reference), settings):
        found = [_hosted(host, reference, listed.path) for host in listed.mirrors]
        if listed.server.origin.netloc != policy.usual(reference).netloc:
            found.append(replace(_hosted(listed.server, reference, listed.path), is_mirror=False))
        return tuple(found)
    return tuple(_docker(reference, settings)) if reference.registry == "docker.io" else ()


def _placed(name: str, insecure: bool, path: Path) -> Iterator[Endpoint]:
    """`insecure` is https without a check and, failing that, http: so podman has it."""
    host, _, repository = name.partition("/")
    place = Reference(host, repository)
    schemes = ["http", "https"] if place.is_loopback else ["https", "http"] if insecure else ["https"]
    for scheme in schemes:
        try:
            origin = Origin.of(f"{scheme}://{place.api_host}")
        except RegistryError:
            repository = ""
        if not repository:
            raise UsageError(
                f"{path} cannot be used: {name!r} is no host and repository",
                code="registries-conf-invalid",
                hint="a location is HOST[:PORT][/PATH]",
            )
        is_other = scheme != schemes[0]
        trust = Trust(insecure=insecure)
        yield Endpoint(origin, f"{origin}/v2", repository, path, trust=trust, is_other_scheme=is_other)


def _hosted(host: Host, reference: Reference, path: Path) -> Endpoint:
    # One host may mirror many registries: it is told which is meant.
    query = "" if host.origin.netloc == reference.api_host else f"ns={quote(reference.registry, safe=':')}"
    repository, connect = reference.repository, host.connect
    return Endpoint(
        host.origin, host.root, repository, path, host.resolves, host.pulls, query, host.headers, connect, host.trust
    )


def _docker(reference: Reference, settings: Settings) -> Iterator[Endpoint]:
    if daemon := daemonjson.find(settings):
        for url in daemon.mirrors:
            yield Endpoint(Origin.of(url), f"{url}/v2", reference.repository, daemon.path)


class Ways:
    """The ways to one repository's content, for all threads. `home` is the registry itself, and all there is where
    `failed` is None; else that is shared by what belongs together, and what has failed once is not asked again.
    """

    def __init__(
        self,
        reference: Reference,
        settings: Settings,
        watch: Watch,
        home: Callable[[], Transport],
        failed: set[str] | None,
    ) -> None:
        self._reference = reference
        self._settings = settings
        self._watch = watch
        self._home = home
        self._failed = failed
        self._made: dict[Endpoint, _Elsewhere] = {}
        self._lock = threading.Lock()

    @cached_property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Where to look before, or in the stead of, the registry itself."""
        return () if self._failed is None else endpoints(self._reference, self._settings)

    def read(
        self, ask: Callable[[Transport, str], Answer], *, tag: bool = False, lasting: bool = True, skip: int = 0
    ) -> Answer:
        """What the first that can answers to `ask`, which is given the way there and the repository's name there.

        `tag`: it takes one that may resolve tags. `lasting`: who does not have it is not asked for anything else.
        The first `skip` endpoints are left out. Raises what the last raises.
        """
        last: OcibuildError | None = None
        is_answered = skip > 0  # by the last of those left out
        for end, other in pairwise((*self.endpoints[skip:], None)):
            assert end is not None
            is_answered = is_answered and end.is_other_scheme
            if is_answered or (end.is_mirror and (self._is_out(end) or not (end.resolves if tag else end.pulls))):
                continue
            try:
                return ask(self._transport(end), end.repository)
            except _FAILURES as error:
                has_other = other is not None and other.is_other_scheme
                is_answered = error.code not in _SWITCHES
                if end.is_mirror:
                    self.strike(end, error, lasting, quiet=has_other and not is_answered)
                    if other is not None and has_other and is_answered:
                        self.strike(other, error, lasting, quiet=True)
                else:
                    last = error
        if last is not None:
            raise last
        return ask(self._home(), self._reference.repository)

    @contextmanager
    def open(self, descriptor: Descriptor, offset: int) -> Iterator[BinaryIO]:
        """A blob from `offset` on, verified while read when that is 0; it goes on elsewhere where a mirror breaks off."""
        with closing(_Onward(self, descriptor, offset, self._watch)) as stream:
            stream.begin()
            if offset:
                yield cast(BinaryIO, stream)
                return
            try:
                yield cast(BinaryIO, VerifyReader(cast(BinaryIO, stream), descriptor, stream.place))
            except ContentError as error:
                for end in stream.mirrors:
                    self.strike(end, error, True)
                    error.hint = "a mirror gave other bytes; --no-mirrors reads from the registry itself"
                raise

    def strike(self, end: Endpoint, error: OcibuildError, lasting: bool, *, quiet: bool = False) -> None:
        """Leave a mirror out from now on: of everything when it cannot be reached, of this repository otherwise."""
        key = str(end.origin) if isinstance(error, NetworkError) else f"{end.root}/{end.repository}"
        if isinstance(error, NotFoundError) and not lasting:
            key += " blobs"  # it is asked for others, and spoken of once
        with self._lock:
            assert self._failed is not None
            is_known = key in self._failed
            self._failed.add(key)
        if not (is_known or quiet):
            self._watch.warn(f"{error.message}; going on without the mirror {end.origin.netloc} ({end.path})")

    def close(self) -> None:
        """Close pooled connections."""
        for way in self._made.values():
            way.connection.close()

    def at(self, transport: Transport) -> int:
        """Which endpoint a way leads to; their number for the registry itself."""
        end = transport.end if isinstance(transport, _Elsewhere) else None
        return self.endpoints.index(end) if end else len(self.endpoints)

    def _is_out(self, end: Endpoint) -> bool:
        assert self._failed is not None
        return str(end.origin) in self._failed or f"{end.root}/{end.repository}" in self._failed

    def _transport(self, end: Endpoint) -> Transport:
        with self._lock:
            if end not in self._made:
                self._made[end] = _Elsewhere(end, self._settings, self._watch)
            return self._made[end]


class _Elsewhere(Transport):
    """The way to an endpoint: with credentials, connections and certificates of its own, and little patience."""

    def __init__(self, end: Endpoint, settings: Settings, watch: Watch) -> None:
        patience, times = settings.patience, settings.timeouts
        if end.is_mirror:
            patience = replace(patience, attempts=1)
            times = replace(times, connect=end.connect or min(CONNECT, times.connect))
        mine = replace(
            settings,
            plain_http=None,
            insecure=False,  # that is said of the registry
            trusts={str(end.origin): end.trust},
            headers={str(end.origin): end.headers},
            patience=patience,
            timeouts=times,
        )
        self.end = end
        self.connection = Connection(mine, end.origin.scheme)
        super().__init__(end.origin, self.connection.session, self.connection.auth, mine)

    @contextmanager
    def exchange(self, call: Call, watch: Watch) -> Iterator[Response]:
        """As a registry's, below the endpoint's root."""
        path = call.url.removeprefix(f"{self.origin}/v2")
        query = f"{'&' if '?' in path else '?'}{self.end.query}" if self.end.query else ""
        scopes = needed(call.method, call.url) or call.scopes  # the address will not tell
        with super().exchange(replace(call, url=f"{self.end.root}{path}{query}", scopes=scopes), watch) as response:
            yield response


class _Onward(io.RawIOBase):
    """A blob's bytes, from the first that has them; where that one breaks off, from the next. `mirrors` were read."""

    def __init__(self, ways: Ways, descriptor: Descriptor, position: int, watch: Watch) -> None:
        super().__init__()
        self.mirrors: list[Endpoint] = []
        self.place = ""
        self._ways = ways
        self._descriptor = descriptor
        self._position = position
        self._watch = watch
        self._held = ExitStack()
        self._stream: BinaryIO | None = None
        self._from: Endpoint | None = None
        self._next = 0

    def begin(self) -> None:
        """Ask for what is still wanted. Raises NotFoundError, RegistryError, AuthorizationError, NetworkError."""
        self._stream = self._ways.read(self._ask, lasting=False, skip=self._next)

    def _ask(self, transport: Transport, repository: str) -> BinaryIO:
        opened: AbstractContextManager[BinaryIO] = download.blob(
            transport, repository, self._descriptor, self._position, self._watch, verified=False
        )
        stream = self._held.enter_context(opened)
        self._next = self._ways.at(transport) + 1
        self._from = transport.end if isinstance(transport, _Elsewhere) and transport.end.is_mirror else None
        self.place = f"{transport.origin.netloc}/{repository}"
        return stream

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into `buffer`. Raises NetworkError, Cancelled, and what `begin` raises."""
        view = memoryview(buffer).cast("B")
        while True:
            assert self._stream is not None
            try:
                data = self._stream.read(len(view))
                if self._from and not data and len(view) and self._position < self._descriptor.size:
                    raise NetworkError(f"{self.place} broke off", code="connection-lost")
            except NetworkError as error:
                if self._from is None:
                    raise
                self._ways.strike(self._from, error, True)
                self._held.close()
                self.begin()
                continue
            if self._from and data and self._from not in self.mirrors:
                self.mirrors.append(self._from)
            self._position += len(data)
            view[: len(data)] = data
            return len(data)

    def close(self) -> None:
        """Give the connection up."""
        self._held.close()
        super().close()
