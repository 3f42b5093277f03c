"""Credentials: who we are to a registry, out of the files and helpers docker and podman share.

Looked at in this order, and the first that knows the host wins: explicit ones, DOCKER_AUTH_CONFIG, REGISTRY_AUTH_FILE,
docker's config.json (in DOCKER_CONFIG or ~/.docker), podman's auth.json. Inside a file: credHelpers, credsStore, auths.
Formats: docker/cli's config file, containers-auth.json(5), docker-credential-helpers' protocol.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ocibuild.registry import helper

_HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")


@dataclass(frozen=True)
class Credential:
    """A user name and password, an identity token to trade for access tokens, or a registry token to send as it is.

    `source` says where it was found, for people. Secrets are not in the repr.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = "given"

    @property
    def basic(self) -> str:
        """The value of an Authorization header, or "" without a user name."""
        if not self.username:
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass
class Keychain:
    """Finds the credential of a host. `notes` collects, for people, what could not be read on the way."""

    explicit: Mapping[str, Credential]
    environ: Mapping[str, str]
    home: Path | None
    notes: list[str] = field(default_factory=list)

    def find(self, registry: str, repository: str = "") -> Credential | None:
        """The credential for host[:port], or for this repository of it where a file is that particular."""
        names = _HUB if registry in _HUB else (registry,)
        for name in names:
            if name in self.explicit:
                return self.explicit[name]
        for source, document in self._documents():
            if found := self._in(document, source, names, repository):
                return found
        return None

    def _documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if text := self.environ.get("DOCKER_AUTH_CONFIG"):
            yield from self._parsed("DOCKER_AUTH_CONFIG", text)
        for path in self._files():
            try:
                text = path.read_text("utf-8-sig")
            except FileNotFoundError:
                continue
            except (OSError, ValueError) as error:
                self._note(f"{path} cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'})")
                continue
            yield from self._parsed(str(path), text)

    def _files(self) -> Iterator[Path]:
        if named := self.environ.get("REGISTRY_AUTH_FILE"):
            yield Path(named)
        if folder := self.environ.get("DOCKER_CONFIG"):
            yield Path(folder) / "config.json"
        elif self.home:
            yield self.home / ".docker" / "config.json"
        if runtime := self.environ.get("XDG_RUNTIME_DIR"):
            yield Path(runtime) / "containers" / "auth.json"
        config = self.environ.get("XDG_CONFIG_HOME") or (self.home and self.home / ".config")
        if config:
            yield Path(config) / "containers" / "auth.json"

    def _parsed(self, source: str, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict):
            yield source, document
        else:
            self._note(f"{source} is not a JSON object")

    def _in(self, document: dict[str, Any], source: str, names: tuple[str, ...], repository: str) -> Credential | None:
        helpers = _object(document, "credHelpers")
        chosen = next((helpers[name] for name in names if isinstance(helpers.get(name), str)), None)
        for suffix in (chosen, document.get("credsStore")):
            if isinstance(suffix, str) and suffix and (found := self._ask(suffix, names[0])):
                return found
        auths = {_key(key): entry for key, entry in _object(document, "auths").items() if isinstance(entry, dict)}
        for name in names:
            for key in _keys(_key(name), repository):
                if key in auths and (found := self._entry(auths[key], source, key)):
                    return found
        return None

    def _ask(self, suffix: str, host: str) -> Credential | None:
        answer = helper.get(suffix, host, self.environ)
        if isinstance(answer, str):
            self._note(answer)
            return None
        if answer is None:
            return None
        user, secret = answer
        source = f"docker-credential-{suffix}"
        if user == "<token>":
            return Credential(identity_token=secret, source=source)
        return Credential(user, secret, source=source)

    def _entry(self, entry: Mapping[str, Any], source: str, key: str) -> Credential | None:
        text = {name: value for name, value in entry.items() if isinstance(value, str)}
        user, password = text.get("username", ""), text.get("password", "")
        if encoded := text.get("auth"):
            try:
                user, _, password = base64.b64decode(encoded, validate=True).decode().rstrip("\0").partition(":")
            except (binascii.Error, ValueError):
                self._note(f"the entry for {key} in {source} is not base64")
                return None
        found = Credential(user, password, text.get("identitytoken", ""), text.get("registrytoken", ""), source)
        return found if user or found.identity_token or found.registry_token else None

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _object(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _key(key: str) -> str:
    # Older clients wrote URLs: https://host/v1/. What follows a bare host is a repository, and stays.
    scheme, separator, rest = key.partition("://")
    if separator and scheme in ("http", "https"):
        return rest.partition("/")[0]
    return key.rstrip("/")


def _keys(host: str, repository: str) -> Iterator[str]:
    path = f"{host}/{repository}" if repository else host
    while path != host:
        yield path
        path = path.rpartition("/")[0]
    yield host
