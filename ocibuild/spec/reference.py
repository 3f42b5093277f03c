"""References to images in registries: `[host[:port]/]repository[:tag][@digest]`.

The grammar is distribution-spec's (names and tags) with the rules of distribution/reference for which first component
is a host, and for Docker Hub's short names.
"""

from __future__ import annotations

import re

from ocibuild.errors import ContentError, UsageError
from ocibuild.record import record, replace
from ocibuild.spec.digest import Digest

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\])(?::[0-9]{{1,5}})?"
_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_MAX_NAME = 255


@record
class Reference:
    """A place in a registry. `registry` is the canonical host[:port] (`docker.io` for Docker Hub)."""

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str, *, default_tag: str | None = "latest") -> Reference:
        """Read a reference; `default_tag` stands in where neither tag nor digest is given.

        Raises UsageError (`reference-invalid`) with a guess at what was meant.
        """
        text = _without_user(text)
        if "://" in text:
            raise _invalid(text, "it has a scheme", f"leave it out: {text.split('://', 1)[1]}")
        rest, at, digest_text = text.partition("@")
        digest = _digest(text, digest_text) if at else None
        registry, path = _split_host(rest)
        name, colon, tag = path.partition(":")
        if colon and not re.fullmatch(_TAG, tag):
            raise _invalid(
                text, f"{tag[:140]!r} is no tag", "a tag is 1 to 128 letters, digits, dots, dashes and underscores"
            )
        if not re.fullmatch(_NAME, name):
            raise _invalid_name(text, name)
        if registry and not _valid_host(registry):
            raise _invalid(
                text, f"{registry!r} is no host", "write host[:port]/name:tag, for example localhost:5000/hello:1"
            )
        if not registry or registry.lower() in _HUB:
            registry, name = "docker.io", name if "/" in name else f"library/{name}"
        if len(registry) + 1 + len(name) > _MAX_NAME:
            raise _invalid(text, f"its name is longer than {_MAX_NAME} characters", "shorten the repository's path")
        return cls(registry, name, tag or (None if digest else default_tag), digest)

    @property
    def api_host(self) -> str:
        """The host that answers /v2/: Docker Hub's is not its name."""
        return "registry-1.docker.io" if self.registry == "docker.io" else self.registry

    @property
    def is_loopback(self) -> bool:
        """True where plain HTTP needs no asking: localhost, 127.0.0.0/8, [::1]."""
        host = _bare_host(self.registry)
        if host == "localhost" or host.endswith(".localhost"):
            return True
        from ipaddress import ip_address

        try:
            return ip_address(host.partition("%")[0]).is_loopback
        except ValueError:
            return False

    @property
    def name(self) -> str:
        """registry/repository, without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def target(self) -> str:
        """What to ask the registry for: the digest where there is one, else the tag. Raises UsageError when neither."""
        if self.digest or self.tag:
            return str(self.digest or self.tag)
        raise _invalid(str(self), "it names neither a tag nor a digest", "add :TAG or @sha256:…")

    def at(self, digest: Digest) -> Reference:
        """The same repository, pinned to a digest; the tag is kept for people."""
        return replace(self, digest=digest)

    def tagged(self, tag: str) -> Reference:
        """The same repository under another tag."""
        return replace(self, tag=tag, digest=None)

    def __str__(self) -> str:
        text = self.name
        if self.tag:
            text += f":{self.tag}"
        return f"{text}@{self.digest}" if self.digest else text


def registry_of(text: str) -> str:
    """The canonical host[:port] of a registry named alone, as logins name it: `ghcr.io`, `https://ghcr.io/`, `docker.io`.

    Raises UsageError (`reference-invalid`) for what names more, or no host.
    """
    scheme, separator, rest = _without_user(text).partition("://")
    bare = rest if separator and scheme.lower() in ("http", "https") else text
    host, _, path = bare.partition("/")
    if host.lower() in _HUB and path.strip("/") in ("", "v1", "v2"):
        return "docker.io"
    if path.strip("/"):
        raise _invalid(text, "it names more than a registry", f"leave the rest out: {host}")
    if not _valid_host(host):
        raise _invalid(text, f"{host[:140]!r} is no host", "write host[:port], for example ghcr.io or localhost:5000")
    return host.lower()


def is_tag(text: str) -> bool:
    """True for what distribution-spec allows as a tag."""
    return re.fullmatch(_TAG, text) is not None


def _without_user(text: str) -> str:
    """The text. Raises UsageError for one with a user before its host, and does not repeat the password in it."""
    _, separator, rest = text.partition("://")
    user, at, place = (rest if separator else text).rpartition("@")
    if at and "/" not in user and ("/" in place or separator):
        raise _invalid(
            place, "there is a user before it", f"leave the user out, and run ocibuild login {place.split('/')[0]}"
        )
    return text


def _split_host(text: str) -> tuple[str, str]:
    first, slash, path = text.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first != first.lower() or first.startswith("[")
    return (first, path) if slash and is_host else ("", text)


def _bare_host(registry: str) -> str:
    if registry.startswith("["):
        return registry[1 : registry.index("]")]
    return registry.partition(":")[0]


def _valid_host(registry: str) -> bool:
    if not re.fullmatch(_HOST, registry):
        return False
    if registry.startswith("["):
        from ipaddress import IPv6Address

        try:
            IPv6Address(_bare_host(registry))
        except ValueError:
            return False
    _, _, port = registry.rpartition(":") if not registry.endswith("]") and ":" in registry else ("", "", "")
    return not port or 0 < int(port) < 65536


def _digest(text: str, digest: str) -> Digest:
    try:
        return Digest(digest)
    except ContentError as error:
        raise _invalid(text, f"{digest[:140]!r} is no digest", error.hint or "") from error


def _invalid_name(text: str, name: str) -> UsageError:
    if not name:
        return _invalid(
            text, "it names no repository", "write host[:port]/name:tag, for example localhost:5000/hello:1"
        )
    if re.fullmatch(_NAME, name.lower()):
        return _invalid(text, "a repository's name is lower-case", f"write {text.replace(name, name.lower())}")
    return _invalid(
        text, f"{name[:140]!r} is no repository name", "use a-z, 0-9, and . _ - between them; / between components"
    )


def _invalid(text: str, why: str, hint: str) -> UsageError:
    return UsageError(f"reference {text[:300]!r} is not valid: {why}", code="reference-invalid", hint=hint)
