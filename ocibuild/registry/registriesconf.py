"""registries.conf: what an administrator or user decided about registries, for podman, buildah, skopeo and us.

containers-registries.conf(5), version 2: `[[registry]]` with `prefix`, `location`, `insecure`, `blocked` and mirrors. The
user's file stands in the place of the system's; `*.conf` in the folders `registries.conf.d` are laid over it in order.
Short names are not looked up: a name without a registry is Docker Hub's.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ocibuild.errors import UsageError
from ocibuild.record import record
from ocibuild.registry.settings import Settings

VARIABLE = "CONTAINERS_REGISTRIES_CONF"
"""The variable that names the one file to read."""

_PULLS = ("all", "digest-only", "tag-only")


@record
class Mirror:
    """Another place for the same content. `pulls` is "all", "digest-only" or "tag-only"."""

    location: str
    insecure: bool = False
    pulls: str = "all"


@record
class Registry:
    """One `[[registry]]`. `location` is where the content really is, "" for where its name says; `path` says who says so."""

    prefix: str
    location: str
    path: Path
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()

    def match(self, name: str) -> int:
        """How many characters of `host/repository` the prefix covers; 0 for none."""
        if self.prefix.startswith("*."):
            before, found, _ = name.partition(self.prefix[1:])
            end = len(before) + len(found)
            return end if found and "/" not in before and name[end : end + 1] in ("", "/", ":") else 0
        end = len(self.prefix)
        return end if name.startswith(self.prefix) and name[end : end + 1] in ("", "/", ":") else 0

    def at(self, location: str, name: str) -> str:
        """`host/repository` with `location` in the place of what the prefix covers."""
        return location + name[self.match(name) :] if location else name


def find(name: str, settings: Settings) -> Registry | None:
    """The entry for `host/repository`: the one that covers most of it. Raises UsageError (`registries-conf-invalid`)."""
    found: dict[str, Registry] = {}
    for path in files(settings):
        found |= {registry.prefix: registry for registry in _read(path)}
    matching = [registry for registry in found.values() if registry.match(name)]
    return max(matching, key=lambda registry: (registry.match(name), registry.prefix[0] != "*"), default=None)


def files(settings: Settings) -> Iterator[Path]:
    """The files that are read, in their order; a later entry replaces an earlier one of the same prefix."""
    folders = [root / "containers" for root in (settings.system, settings.config) if root]
    if named := settings.environ.get(VARIABLE):
        yield Path(named)
    else:
        own = settings.config / "containers" if settings.config else None
        if own and (own / "registries.conf").is_file():
            folders = [own]
        yield from (path for folder in folders[:1] if (path := folder / "registries.conf").is_file())
    for folder in folders:
        yield from sorted((folder / "registries.conf.d").glob("*.conf"))


def _read(path: Path) -> tuple[Registry, ...]:
    try:
        status = path.stat()
        return _parsed(path, (status.st_mtime_ns, status.st_size, status.st_ino))
    except OSError as error:
        raise _invalid(path, f"it cannot be read ({error.strerror})") from error


@lru_cache(64)
def _parsed(path: Path, stamp: tuple[int, ...]) -> tuple[Registry, ...]:
    """The file's entries; `stamp` tells this version of it from others. Every repository is looked for in all of them."""
    return tuple(_entries(path))


def _entries(path: Path) -> Iterator[Registry]:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except ValueError as error:  # TOML's and UTF-8's
        raise _invalid(path, str(error)) from error
    if "registries" in document:
        raise _invalid(path, "it is of version 1, which podman does not read any more", "write [[registry]] tables")
    for table in _tables(document, "registry", path):
        yield _registry(table, path)


def _registry(table: Mapping[str, Any], path: Path) -> Registry:
    location = _value(table, "location", str, "", path).rstrip("/")
    prefix = _value(table, "prefix", str, "", path).rstrip("/") or location
    if not prefix:
        raise _invalid(path, "a [[registry]] has neither prefix nor location")
    if "*" in prefix.removeprefix("*.") or location.startswith("*"):
        raise _invalid(path, f"{prefix!r}: a wildcard is *. at the beginning of a prefix")
    digests_only = _value(table, "mirror-by-digest-only", bool, False, path)
    mirrors = tuple(_mirror(each, digests_only, path) for each in _tables(table, "mirror", path))
    insecure, blocked = (_value(table, key, bool, False, path) for key in ("insecure", "blocked"))
    return Registry(prefix, location, path, insecure, blocked, mirrors)


def _mirror(table: Mapping[str, Any], digests_only: bool, path: Path) -> Mirror:
    location = _value(table, "location", str, "", path).rstrip("/")
    pulls = _value(table, "pull-from-mirror", str, "", path)
    if not location:
        raise _invalid(path, "a mirror has no location")
    if pulls and (digests_only or pulls not in _PULLS):
        why = "stands beside mirror-by-digest-only" if digests_only else f"is {pulls!r}, not one of {', '.join(_PULLS)}"
        raise _invalid(path, f"pull-from-mirror {why}")
    pulls = pulls or ("digest-only" if digests_only else "all")
    return Mirror(location, _value(table, "insecure", bool, False, path), pulls)


def _tables(table: Mapping[str, Any], key: str, path: Path) -> list[Mapping[str, Any]]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _invalid(path, f"{key} is not a list of tables", f"write [[{key}]]")
    return found


def _value(table: Mapping[str, Any], key: str, kind: type[Any], default: Any, path: Path) -> Any:
    value = table.get(key, default)
    if not isinstance(value, kind):
        raise _invalid(path, f"{key} is {value!r}, not a {'text' if kind is str else 'truth value'}")
    if kind is str and "://" in value:
        raise _invalid(path, f"{key} has a scheme", f"write {value.partition('://')[2]}; insecure = true allows http")
    return value


def _invalid(path: Path, why: str, hint: str = "see containers-registries.conf(5)") -> UsageError:
    return UsageError(f"{path} cannot be used: {why}", code="registries-conf-invalid", hint=hint)
