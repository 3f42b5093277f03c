"""daemon.json: what docker's daemon was told about mirrors of Docker Hub and about insecure registries.

docs.docker.com "dockerd", "Daemon configuration file". The rootless daemon's file stands in the place of the system's.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ocibuild.errors import RegistryError, UsageError
from ocibuild.record import record
from ocibuild.registry import certs
from ocibuild.registry.origin import Origin, public
from ocibuild.registry.settings import Settings


@record
class Daemon:
    """`mirrors` are URLs, for Docker Hub only; `insecure` are hosts, with their ports, and networks."""

    path: Path
    mirrors: tuple[str, ...]
    insecure: tuple[str, ...]

    def is_insecure(self, registry: Origin) -> bool:
        """True for a registry that need not speak TLS, nor be known where it does."""
        return any(name in self.insecure for name in certs.names(registry)) or any(
            _holds(network, registry.host) for network in self.insecure
        )


def find(settings: Settings) -> Daemon | None:
    """The file of this machine. Raises UsageError (`daemon-json-invalid`)."""
    path = next((path for path in files(settings) if path.is_file()), None)
    if path is None:
        return None
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _invalid(path, "it is no JSON that can be read") from error
    if not isinstance(document, dict):
        raise _invalid(path, "it is no JSON object")
    mirrors, insecure = (_texts(document, key, path) for key in ("registry-mirrors", "insecure-registries"))
    for url in mirrors:
        try:
            Origin.of(url)
        except RegistryError as error:
            raise _invalid(
                path, f"registry-mirrors has {public(url)[:200]!r}, which is no URL without a user"
            ) from error
    return Daemon(path, tuple(url.rstrip("/") for url in mirrors), insecure)


def files(settings: Settings) -> Iterator[Path]:
    """Where the file may be; the first that exists is read."""
    yield from (root / "docker" / "daemon.json" for root in (settings.config, settings.system) if root)


def _holds(network: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _texts(document: dict[str, Any], key: str, path: Path) -> tuple[str, ...]:
    value = document.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _invalid(path, f"{key} is no list of texts")
    return tuple(value)


def _invalid(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} cannot be used: {why}", code="daemon-json-invalid", hint="mend the file")
