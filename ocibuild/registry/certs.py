"""Certificates by host: the folders `certs.d` of docker, of podman and its kin, and of containerd.

docs.docker.com "Verify repository client with certificates", containers-certs.d(5). In the folder named for the host,
`*.crt` are authorities beside the system's, and `NAME.cert` with `NAME.key` is who we are to it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ocibuild.errors import UsageError
from ocibuild.registry.origin import Origin
from ocibuild.registry.settings import Certificate, Settings, Trust

HUB = ("docker.io", "registry-1.docker.io", "index.docker.io")
"""Docker Hub by its names; the first is the one that files use."""


def trust(origin: Origin, settings: Settings) -> Trust:
    """All that is known of an origin's TLS. Raises UsageError (`certs-invalid`)."""
    found = settings.trusts.get(str(origin), Trust())
    for name in names(origin):
        if name in settings.certificates:
            found = Trust(certificates=(settings.certificates[name],)) | found
            break
    folder = next((folder for folder in looked(origin, settings) if os.path.isdir(folder)), None)
    return found | read(folder) if folder else found


def looked(origin: Origin, settings: Settings) -> Iterator[Path]:
    """The folders that may speak of an origin; the first that exists is the one that does."""
    roots = [settings.config, settings.system]
    parents = [root / program for root in roots if root for program in ("containers", "docker")]
    parents += [root / "containerd" for root in roots if root]
    for parent in parents:
        for name in names(origin):
            folder = parent / "certs.d" / name
            # Where containerd's own file is, it says which of the files beside it count.
            if parent.name != "containerd" or not (folder / "hosts.toml").is_file():
                yield folder


def names(origin: Origin) -> tuple[str, ...]:
    """An origin as folders and files are named for it; the port of the scheme may be left out."""
    if origin.host in HUB:
        return HUB
    return tuple(dict.fromkeys((origin.netloc, f"{origin.netloc.removesuffix(f':{origin.port}')}:{origin.port}")))


def read(folder: Path) -> Trust:
    """A folder of `*.crt`, `*.cert` and `*.key`. Raises UsageError (`certs-invalid`) naming the half that is missing."""
    try:
        found = {entry.name for entry in folder.iterdir()}
    except OSError as error:
        raise _invalid(f"{folder} cannot be read: {error.strerror}", "mend its permissions") from error
    for name in sorted(found):
        stem, _, kind = name.rpartition(".")
        other = {"cert": "key", "key": "cert"}.get(kind)
        if other and f"{stem}.{other}" not in found:
            raise _invalid(
                f"{folder / name} has no {stem}.{other} beside it",
                "a client certificate is NAME.cert with NAME.key; an authority is NAME.crt",
            )
    stems = sorted(name.removesuffix(".cert") for name in found if name.endswith(".cert"))
    return Trust(
        tuple(folder / name for name in sorted(found) if name.endswith(".crt")),
        tuple(Certificate(folder / f"{stem}.cert", folder / f"{stem}.key") for stem in stems),
    )


def _invalid(message: str, hint: str) -> UsageError:
    return UsageError(message, code="certs-invalid", hint=hint)
