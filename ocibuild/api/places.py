"""References to places, in skopeo's words: `oci:DIR[:TAG]`, `oci-archive:FILE`, `docker-archive:FILE`, `docker://REF`.

Without a prefix an existing path is a path, and anything else a registry reference. `@sha256:…` behind any of them
picks an image inside.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Literal

from ocibuild.errors import StoreError, UsageError
from ocibuild.record import record
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Source, Target
from ocibuild.store.layout import LayoutStore

Transport = Literal["oci", "oci-archive", "docker-archive", "docker"]
_TRANSPORTS: tuple[Transport, ...] = ("oci-archive", "docker-archive", "oci", "docker")


@record
class Place:
    """Where an image is, or is to be. `name` is a tag, a full reference, a digest, or empty."""

    transport: Transport
    path: str = ""
    name: str = ""
    reference: Reference | None = None

    @property
    def is_registry(self) -> bool:
        """True for a registry reference."""
        return self.transport == "docker"

    def __str__(self) -> str:
        if self.reference is not None:
            return str(self.reference)
        separator = "@" if self.name.startswith("sha") and ":" in self.name else ":"
        return f"{self.transport}:{self.path}" + (f"{separator}{self.name}" if self.name else "")


def parse(text: str, *, writing: bool = False, default_tag: str | None = "latest") -> Place:
    """Read a place. For `writing`, `FILE.tar` and `-` are archives and a name ending in `.oci` or `/` a layout.

    `default_tag` is for registry references that name neither tag nor digest.
    Raises UsageError (`reference-invalid`, `digest-invalid`).
    """
    for transport in _TRANSPORTS:
        if text.startswith(f"{transport}:"):
            rest = text[len(transport) + 1 :]
            if transport == "docker":
                return Place("docker", reference=Reference.parse(rest.removeprefix("//"), default_tag=default_tag))
            return _local(transport, rest)
    path, at, digest = text.partition("@")
    if os.path.isdir(path):
        return Place("oci", path, digest)
    if os.path.isfile(path):
        return Place("oci-archive", path, digest)
    if writing and (text == "-" or text.endswith(".tar")):
        return Place("oci-archive", text)
    if writing and not at and (text.endswith((".oci", "/")) or text.startswith((".", "/"))):
        return Place("oci", text)
    return Place("docker", reference=Reference.parse(text, default_tag=default_tag))


def _local(transport: Transport, rest: str) -> Place:
    path, at, digest = rest.partition("@")
    if at:
        return Place(transport, path, str(Digest(digest)))
    if transport == "oci" and not os.path.isdir(rest):
        # A tag holds no slash; so `oci:dir:tag` is cut at the last colon unless a path follows it.
        head, colon, tag = rest.rpartition(":")
        if colon and head and "/" not in tag and "\\" not in tag:
            return Place(transport, head, tag)
    if not rest:
        raise UsageError(f"{transport}: names no path", code="reference-invalid", hint=f"write {transport}:PATH")
    return Place(transport, rest)


def source(place: Place) -> Source:
    """Open a local place for reading. Raises StoreError."""
    if place.transport == "oci":
        return LayoutStore(place.path)
    from ocibuild.store.archive import ArchiveReader

    return ArchiveReader(place.path, _archive(place))


def target(place: Place, out: BinaryIO | None = None) -> Target:
    """A local place for writing; nothing happens before its `with`. The path `-` needs the stream `out`."""
    if place.transport == "oci":
        return LayoutStore(place.path)
    if place.path == "-" and out is None:
        raise UsageError("- is the standard output, and there is none here", code="usage", hint="pass a stream as out=")
    from ocibuild.store.archive import ArchiveWriter

    return ArchiveWriter(place.path, _archive(place), out if place.path == "-" else None)


def changing(place: Place) -> LayoutStore:
    """The layout at a place, to be changed where it is. Raises StoreError (`store-read-only`) for an archive."""
    if place.transport != "oci":
        raise StoreError(
            f"{place} is an archive, and archives are not changed where they are",
            code="store-read-only",
            hint="ocibuild copy it into a layout (oci:DIR), change that, and save it again",
        )
    return LayoutStore(place.path)


def _archive(place: Place) -> Literal["oci-archive", "docker-archive"]:
    return "docker-archive" if place.transport == "docker-archive" else "oci-archive"
