"""The files docker and podman keep logins in: config.json, auth.json, .dockercfg. Read, searched, and changed in place.

Formats: docker/cli's config file, containers-auth.json(5). A key is a host, a host with a path (podman), or an address
with a scheme (older clients); Docker Hub has four names.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ocibuild.content import atomic
from ocibuild.errors import StoreError
from ocibuild.registry.credentials import Credential

HUB = ("https://index.docker.io/v1/", "index.docker.io", "docker.io", "registry-1.docker.io")
_PATIENCE = 10.0  # seconds for other processes that change the same file
_LARGEST = 16 * 1024 * 1024


def aliases(registry: str) -> tuple[str, ...]:
    """The names a host[:port] has in files; the first is the one that docker writes and tells helpers."""
    host = registry.lower()
    if host in HUB:
        return HUB
    bare = host.removesuffix(":443")
    return (bare, f"{bare}:443") if ":" not in bare.rpartition("]")[2] else (host,)


def normal(key: str) -> str:
    """A key with its host in lower case. An address with a scheme is about its host; what follows a bare host stays."""
    scheme, separator, rest = key.partition("://")
    if separator and scheme.lower() in ("http", "https"):
        return rest.partition("/")[0].lower()
    host, slash, path = key.rstrip("/").partition("/")
    return f"{host.lower()}{slash}{path}"


def load(path: Path) -> dict[str, Any] | None:
    """The file's object, None where there is no file. Raises ValueError with words that follow the file's name."""
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from error
    if len(data) > _LARGEST:
        raise ValueError("is too large for a file of logins")
    try:
        document = parse(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError("cannot be read (not UTF-8)") from error
    return {"auths": document} if path.name == ".dockercfg" and "auths" not in document else document


def parse(text: str) -> dict[str, Any]:
    """A JSON object. Raises ValueError as `load` does; none of the text, which holds secrets, is in it."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not a JSON object (line {error.lineno})") from None
    except (ValueError, RecursionError):
        raise ValueError("is not a JSON object") from None
    if not isinstance(document, dict):
        raise ValueError("is not a JSON object")
    return document


def section(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """`auths` or `credHelpers` of a file, empty where there is none."""
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def helper_of(document: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, str] | None:
    """Key and helper that `credHelpers` names for a host; "" for the helper means: none, whatever `credsStore` says."""
    for key, suffix in section(document, "credHelpers").items():
        if isinstance(suffix, str) and (key in names or normal(key) in names):
            return key, suffix
    return None


def store_of(document: Mapping[str, Any]) -> str:
    """The helper that keeps everything, "" where the file itself does."""
    suffix = document.get("credsStore")
    return suffix if isinstance(suffix, str) else ""


def entries(document: Mapping[str, Any], names: tuple[str, ...], repository: str) -> Iterator[tuple[str, Any]]:
    """The entries of `auths` that are about a repository of a host: the most particular first, exact keys before others."""
    auths = section(document, "auths")
    normalised: dict[str, str] = {}
    for key in auths:
        normalised.setdefault(normal(key), key)
    seen = set()
    for path in _paths(repository):
        for key in (*(f"{name}{path}" for name in names), *(f"{normal(name)}{path}" for name in names)):
            found = key if key in auths else normalised.get(key)
            if found is not None and found not in seen:
                seen.add(found)
                yield found, auths[found]


def _paths(repository: str) -> Iterator[str]:
    path = f"/{repository}" if repository else ""
    while path:
        yield path
        path = path.rpartition("/")[0]
    yield ""


def credential(entry: Any, source: str) -> Credential | None:
    """What an entry of `auths` says; None for an empty one, which marks that a helper has it.

    Raises ValueError, with words that follow the key, for what is damaged.
    """
    if not isinstance(entry, dict):
        raise ValueError("is not an object")
    text = {name: value for name, value in entry.items() if isinstance(value, str)}
    user, password = text.get("username", ""), text.get("password", "")
    if encoded := text.get("auth"):
        try:
            user, colon, password = base64.b64decode(encoded, validate=True).decode().rstrip("\0").partition(":")
        except (binascii.Error, ValueError):
            raise ValueError("is not base64") from None
        if not colon:
            raise ValueError("has no colon between user and password")
    found = Credential(user, password, text.get("identitytoken", ""), text.get("registrytoken", ""), source)
    return found if user or found.identity_token or found.registry_token else None


def entry_of(found: Credential) -> dict[str, str]:
    """An entry as docker writes it."""
    if found.registry_token:
        return {"registrytoken": found.registry_token}
    encoded = base64.b64encode(f"{found.username}:{found.password}".encode()).decode()
    return {"auth": encoded, **({"identitytoken": found.identity_token} if found.identity_token else {})}


def change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Have `edit` change the file's object, under a lock and atomically; the file is its owner's alone afterwards.

    A link is followed, not replaced; what is not changed stays, in its order. Raises StoreError
    (`auth-file-invalid` for a file that is damaged and so left alone, `auth-file-busy`, `not-writable`).
    """
    final = Path(os.path.realpath(path))
    with atomic.translated(final.parent):
        final.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = atomic.FolderLock(final.parent)
    try:
        _acquire(lock, final)
        try:
            document = load(final) or {}
        except ValueError as error:
            raise StoreError(
                f"{final} {error}, and is left as it is",
                code="auth-file-invalid",
                hint="mend or remove it, or name another with --authfile",
            ) from None
        before = json.dumps(document)
        edit(document)
        if json.dumps(document) != before:
            shown = section(document, "auths") if final.name == ".dockercfg" else document
            text = json.dumps(shown, indent="\t", ensure_ascii=False) + "\n"
            atomic.write(final, text.encode(), mode=0o600)
    finally:
        lock.release()


def _acquire(lock: atomic.FolderLock, path: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not lock.acquire("exclusive", wait=False):
        if time.monotonic() > deadline:
            raise StoreError(
                f"another process holds on to the folder of {path}",
                code="auth-file-busy",
                hint="wait for it to end, or name another file with --authfile",
            )
        time.sleep(0.02)
