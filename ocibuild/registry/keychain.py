"""The keychain: every place where a credential may be, in order; the first that knows the host wins.

Explicit ones, DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE, docker's config.json (in DOCKER_CONFIG or ~/.docker), podman's
auth.json (in XDG_RUNTIME_DIR, /run/containers/UID, XDG_CONFIG_HOME or ~/.config), ~/.dockercfg; then what CI services
and clouds provide. Inside a file: credHelpers, credsStore, auths. docs/credentials.md says the same to people.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocibuild.errors import ToolError
from ocibuild.record import field, record
from ocibuild.registry import authfile, cloud, helper
from ocibuild.registry.answers import Answers
from ocibuild.registry.credentials import Credential, Look, shown

if TYPE_CHECKING:
    from ocibuild.registry.settings import Settings


@record
class Login:
    """A host that some place knows: for `login --list`. `kind` is a credential's, or `helper` where one is to be asked."""

    host: str
    source: str
    kind: str
    username: str = ""


@record
class _Program:
    """A helper that is only asked when nothing before it knew the host."""

    suffix: str
    servers: tuple[str, ...]
    is_wanted: bool = True  # False where nobody named it, and it merely happens to be installed


@record
class Keychain:
    """Finds the credential of a host. `notes` collects, for people, what could not be read on the way.

    `user` is the number in podman's /run/containers/UID.
    """

    explicit: Mapping[str, Credential]
    environ: Mapping[str, str] = field(repr=False)
    home: Path | None
    user: int | None = None
    answers: Answers = field(default_factory=Answers, repr=False)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, settings: Settings) -> Keychain:
        """The one that a client's settings mean."""
        return cls(settings.credentials, settings.environ, settings.home, settings.user, settings.answers)

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """The credential for host[:port], or for this repository of it where a file is that particular."""
        return next((look.found for look in self.looks(registry, repository) if look.found), None)

    def looks(self, registry: str, repository: str = "") -> Iterator[Look]:
        """A look at every place in turn. The first that `found` wins; no helper is run after it."""
        is_won = False
        for place in self._places(authfile.aliases(registry), registry, repository):
            if not isinstance(place, _Program):
                look = place
            elif is_won:
                look = Look(helper.program(place.suffix), "not asked: a place before it has the host")
            else:
                look = self._asked(place)
            is_won = is_won or look.found is not None
            yield look

    @property
    def saved(self) -> Path | None:
        """The file that a login is written to: the one that was named, else docker's."""
        if named := self.environ.get("REGISTRY_AUTH_FILE"):
            return Path(named)
        return self._docker()

    def logins(self) -> Iterator[Login]:
        """Every host some place knows, in order."""
        for name, known in self.explicit.items():
            yield Login(name, known.source, known.kind, known.user)
        for source, document in self._documents():
            if not isinstance(document, Look):
                yield from self._logins_of(source, document)
        for provider in cloud.providers(self.environ):
            for look in provider.looks(self.environ) if provider.hosts else ():
                if look.found:
                    yield Login(provider.hosts, look.source, look.found.kind, look.found.user)
            for suffix in provider.helpers:
                if helper.installed(suffix, self.environ):
                    yield Login(provider.hosts, helper.program(suffix), "helper")

    def _places(self, names: tuple[str, ...], registry: str, repository: str) -> Iterator[Look | _Program]:
        given = {key.lower(): known for key, known in self.explicit.items()}
        known = next((given[name] for name in names if name in given), None)
        yield self._checked(known, known.source) if known else Look("given for this command", "nothing")
        for source, document in self._documents():
            if isinstance(document, Look):
                yield document
            else:
                yield from self._in(document, source, names, repository)
        for provider in cloud.serving(registry, self.environ):
            yield from provider.looks(self.environ)
            for suffix in provider.helpers:
                if helper.installed(suffix, self.environ):
                    yield _Program(suffix, (registry,), is_wanted=False)
                else:
                    yield Look(helper.program(suffix), "not installed")

    def _documents(self) -> Iterator[tuple[str, dict[str, Any] | Look]]:
        """Each place with its object, or with why there is none."""
        if text := self.environ.get("DOCKER_AUTH_CONFIG"):
            try:
                yield "DOCKER_AUTH_CONFIG", authfile.parse(text)
            except ValueError as error:
                yield "DOCKER_AUTH_CONFIG", self._broken("DOCKER_AUTH_CONFIG", str(error))
        else:
            yield "DOCKER_AUTH_CONFIG", Look("DOCKER_AUTH_CONFIG", "not set")
        for path in self._files():
            if not isinstance(path, Path):
                yield path.source, path
                continue
            try:
                document = authfile.load(path)
            except ValueError as error:
                yield str(path), self._broken(str(path), str(error))
                continue
            if document is None and str(path) == self.environ.get("REGISTRY_AUTH_FILE"):
                self._note(f"REGISTRY_AUTH_FILE names {path}, which does not exist")
            yield str(path), Look(str(path), "does not exist") if document is None else document

    def _files(self) -> Iterator[Path | Look]:
        named = self.environ.get("REGISTRY_AUTH_FILE")
        yield Path(named) if named else Look("REGISTRY_AUTH_FILE", "not set")
        if docker := self._docker():
            yield docker
        if runtime := self.environ.get("XDG_RUNTIME_DIR"):
            yield Path(runtime) / "containers" / "auth.json"
        if self.user is not None:
            yield Path("/run/containers") / str(self.user) / "auth.json"
        config = self.environ.get("XDG_CONFIG_HOME") or (self.home and self.home / ".config")
        if config:
            yield Path(config) / "containers" / "auth.json"
        if self.home:
            yield self.home / ".dockercfg"

    def _docker(self) -> Path | None:
        folder = self.environ.get("DOCKER_CONFIG") or (self.home and self.home / ".docker")
        return Path(folder) / "config.json" if folder else None

    def _in(
        self, document: dict[str, Any], source: str, names: tuple[str, ...], repository: str
    ) -> Iterator[Look | _Program]:
        chosen = authfile.helper_of(document, names)
        store = "" if chosen and not chosen[1] else authfile.store_of(document)
        if chosen and chosen[1]:
            yield _Program(chosen[1], tuple(dict.fromkeys((names[0], chosen[0]))))
        if store and not (chosen and chosen[1] == store):
            yield _Program(store, names[:1])
        looked = bool(store or (chosen and chosen[1]))
        for key, entry in authfile.entries(document, names, repository):
            try:
                found = authfile.credential(entry, source)
            except ValueError as error:
                self._note(f"the entry for {key} in {source} {error}")
                yield Look(source, f"its entry for {key} {error}")
                looked = True
                continue
            if found:
                yield self._checked(found, source)
                looked = True
        if not looked:
            yield Look(source, "nothing for this host")

    def _checked(self, found: Credential, source: str) -> Look:
        look = Look.at(source, found)
        if look.found is None:
            self._note(f"the credentials from {source} are {look.said}")
        return look

    def _asked(self, place: _Program) -> Look:
        name = helper.program(place.suffix)
        said = "it knows nothing of this host"
        for server in place.servers:
            found = self.answers.of(place.suffix, server, self.environ)
            if isinstance(found, Credential):
                return self._checked(found, name)
            if found:
                said = found
                if place.is_wanted:
                    self._note(found)
        return Look(name, said)

    def _logins_of(self, source: str, document: dict[str, Any]) -> Iterator[Login]:
        for key, suffix in authfile.section(document, "credHelpers").items():
            if suffix:
                yield Login(authfile.normal(key), f"docker-credential-{suffix}", "helper")
        if store := authfile.store_of(document):
            try:
                known = helper.listed(store, self.environ)
            except ToolError as error:
                self._note(error.message)
                known = {}
            for server, user in known.items():
                kind = "identity token" if user == helper.TOKEN else "password"
                yield Login(authfile.normal(server), helper.program(store), kind, shown(user.replace(helper.TOKEN, "")))
        for key, entry in authfile.section(document, "auths").items():
            try:
                found = authfile.credential(entry, source)
            except ValueError as error:
                self._note(f"the entry for {key} in {source} {error}")
                continue
            if found:
                yield Login(authfile.normal(key), source, found.kind, found.user)

    def _broken(self, source: str, why: str) -> Look:
        self._note(f"{source} {why}")
        return Look(source, why)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
