"""hosts.toml: where containerd looks for a registry's content, in order, and how each host is spoken to.

github.com/containerd/containerd/blob/main/docs/hosts.md. The file stands in a folder named for the registry, under the
`certs.d` of containerd's configuration; the folder `_default` is for registries that have none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocibuild.errors import RegistryError, UsageError
from ocibuild.record import record
from ocibuild.registry import certs
from ocibuild.registry.origin import Origin, public
from ocibuild.registry.settings import Certificate, Settings, Trust

_ALL = ("pull", "resolve", "push")
_KINDS = {str: "text", bool: "truth value", list: "list", dict: "table"}
_DURATION = re.compile(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@record
class Host:
    """One host. `root` is what `/v2` is there: with `override_path` whatever path the file gives.

    `connect` is dial_timeout in seconds. `headers` are sent to this host and no other.
    """

    origin: Origin
    root: str
    resolves: bool
    pulls: bool
    headers: tuple[tuple[str, str], ...]
    connect: float | None
    trust: Trust


@record
class Hosts:
    """A file: hosts to try in order, and the server behind them."""

    path: Path
    mirrors: tuple[Host, ...]
    server: Host


def find(registry: Origin, settings: Settings) -> Hosts | None:
    """The file for a registry. Raises UsageError (`hosts-toml-invalid`)."""
    for path in looked(registry, settings):
        if path.is_file():
            return _read(path, registry)
    return None


def looked(registry: Origin, settings: Settings) -> Iterator[Path]:
    """The files that may speak of a registry; the first that exists is the one that does."""
    roots = [root / "containerd" / "certs.d" for root in (settings.config, settings.system) if root]
    for root in roots:
        for name in certs.names(registry):
            host, colon, port = name.rpartition(":")
            if colon and port.isdigit():
                yield root / f"{host}_{port}_" / "hosts.toml"  # where a name may hold no colon
            yield root / name / "hosts.toml"
    for root in roots:
        yield root / "_default" / "hosts.toml"


def _read(path: Path, registry: Origin) -> Hosts:
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise _invalid(path, f"it cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _invalid(path, str(error)) from error
    tables = document.get("host", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise _invalid(path, "host is not a table of tables")
    mirrors = tuple(_host(url, table, path) for url, table in tables.items())
    server = document.get("server") or str(registry)
    return Hosts(path, mirrors, _host(_typed(server, str, "server", path), document, path))


def _host(url: str, table: Mapping[str, Any], path: Path) -> Host:
    url = (url if "://" in url else f"https://{url}").rstrip("/")
    try:
        origin = Origin.of(url)
    except RegistryError as error:
        raise _invalid(path, f"{public(url)[:200]!r} is no http or https address without a user") from error
    capabilities = _texts(table.get("capabilities", list(_ALL)), "capabilities", path)
    if unknown := set(capabilities) - set(_ALL):
        raise _invalid(path, f"capabilities has {min(unknown)!r}; there are {', '.join(_ALL)}")
    base = f"{origin}{url.partition('://')[2].removeprefix(url.partition('://')[2].partition('/')[0])}"
    overrides = _typed(table.get("override_path", False), bool, "override_path", path)
    root = base if overrides or base.endswith("/v2") else f"{base}/v2"
    trust = Trust(
        tuple(path.parent / text for text in _texts(table.get("ca", []), "ca", path)),
        tuple(_client(table.get("client", []), path)),
        _typed(table.get("skip_verify", False), bool, "skip_verify", path),
    )
    return Host(
        origin,
        root,
        "resolve" in capabilities,
        "pull" in capabilities,
        tuple(_headers(_typed(table.get("header", {}), dict, "header", path), path)),
        _seconds(_typed(table.get("dial_timeout", ""), str, "dial_timeout", path), path),
        trust,
    )


def _client(value: Any, path: Path) -> Iterator[Certificate]:
    """One file, a list of files, or a list of pairs; a single file holds certificate and key."""
    for entry in [value] if isinstance(value, str) else _typed(value, list, "client", path):
        pair = [entry] if isinstance(entry, str) else _texts(entry, "client", path)
        if len(pair) not in (1, 2):
            raise _invalid(path, "client has neither a file nor a pair of certificate and key")
        yield Certificate(path.parent / pair[0], path.parent / (pair[-1] or pair[0]))


def _headers(table: Mapping[str, Any], path: Path) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        text = ", ".join(_texts(value, f"header {name}", path))
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) or not text.isprintable():
            raise _invalid(path, f"header {name!r} is none")
        yield name, text


def _seconds(text: str, path: Path) -> float | None:
    """A duration as Go writes it: 1m30s."""
    if not text:
        return None
    if not re.fullmatch(f"(?:{_DURATION.pattern})+", text):
        raise _invalid(path, f"dial_timeout is {text!r}", "write it as 3s or 500ms")
    return sum(float(count) * _SECONDS[unit] for count, unit in _DURATION.findall(text))


def _texts(value: Any, key: str, path: Path) -> list[str]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise _invalid(path, f"{key} is neither a text nor a list of texts")
    return values


def _typed(value: Any, kind: type[Any], key: str, path: Path) -> Any:
    if not isinstance(value, kind):
        raise _invalid(path, f"{key} is no {_KINDS[kind]}")
    return value


def _invalid(path: Path, why: str, hint: str = "see containerd's docs/hosts.md") -> UsageError:
    return UsageError(f"{path} cannot be used: {why}", code="hosts-toml-invalid", hint=hint)
