"""Repositories and tags in short, and the state by which a page that is open tells that it is old.

Everything here is local: a page never asks the registry behind this one. What a manifest says is worked out once, for it
cannot change; what a repository says, once for every state of its index.json.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from ocibuild.errors import ContentError, OcibuildError, StoreError
from ocibuild.record import record
from ocibuild.serve.page.kept import Kept
from ocibuild.serve.refusal import Refusal
from ocibuild.serve.registry import Registry
from ocibuild.serve.repository import Held, Repository
from ocibuild.serve.view import Entry, View
from ocibuild.spec import layout, manifest, mediatype
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest

_MAX_CONFIG = 1024 * 1024
_MAX_BLOBS = 100_000
_MAX_CHILDREN = 200
_SUMMED_UP = 1024 * 1024
_CHILD = 64 * 1024
_REST = 0.5
_SHARE = 20


@record
class Shelf:
    """A repository: how many tags, blobs and bytes are in it, and when it changed last (seconds since 1970)."""

    name: str
    tags: int
    blobs: int
    size: int
    changed: float
    problem: str = ""


@record
class Short:
    """A manifest or index. `size` is that of all that belongs to it, each blob once; `kind` is in words."""

    digest: Digest
    media_type: str
    kind: str
    platforms: tuple[str, ...]
    size: int
    problem: str = ""


class Shelves:
    """Reads what a registry holds. Methods raise Refusal (NAME_UNKNOWN) and StoreError."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._shelves: Kept[Shelf] = Kept(2000)
        self._shorts: Kept[Short] = Kept(5000)
        self._lock = threading.Lock()
        self._told: tuple[float, str] = (0.0, "")

    # State

    def state(self, name: str | None = None) -> str:
        """A word that is another one once something changed: in a repository, or anywhere.

        The state of everything is worked out again only so often that it takes no more than a twentieth of the time.
        """
        if name is not None:
            return _word([(name, self._repository(name).current().identity)])
        until, word = self._told
        # While one works it out, the others are told what was true a moment ago.
        if (monotonic() >= until or not word) and self._lock.acquire(blocking=not word):
            try:
                began = monotonic()
                word = _word([(shelf, self._identity(shelf)) for shelf in self.registry.names()])
                now = monotonic()
                self._told = now + max(_REST, _SHARE * (now - began)), word
            finally:
                self._lock.release()
        return word

    def _identity(self, name: str) -> object:
        with suppress(OSError, Refusal):
            status = os.stat(self.registry.storage.repository(name).path / layout.INDEX_FILE)
            return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
        return None

    def _repository(self, name: str) -> Repository:
        repository = self.registry.storage.repository(name)
        if not repository.exists:
            raise Refusal("NAME_UNKNOWN", f"there is no repository {name}")
        return repository

    # Repositories

    def shelf(self, name: str) -> Shelf:
        """A repository in short. What is wrong with it stands in `problem`."""
        try:
            repository = self._repository(name)
            now = repository.current()
            return self._shelves.get((name, now.identity), lambda: _shelf(repository, now))
        except (StoreError, Refusal):
            return Shelf(name, 0, 0, 0, 0, problem="its index.json cannot be read")

    def now(self, name: str) -> View:
        """What a repository says now."""
        return self._repository(name).current()

    def names_of(self, name: str, digest: Digest) -> list[str]:
        """The tags that stand for a digest, newest first."""
        return self.now(name).tags_of(digest)[::-1]

    # Manifests

    def held(self, name: str, reference: str | Digest) -> Held:
        """A manifest that is here. Raises Refusal (MANIFEST_UNKNOWN)."""
        held = self._repository(name).manifest(reference)
        if held is None:
            raise Refusal("MANIFEST_UNKNOWN", f"{name} has no manifest {reference}")
        return held

    def short(self, name: str, entry: Entry) -> Short:
        """A manifest of index.json in short."""
        digest, media_type = Digest(entry["digest"]), entry["mediaType"]
        try:
            return self._shorts.get((name, digest), lambda: self._short(name, digest))
        except (ContentError, StoreError, Refusal):
            kind = "index" if mediatype.is_index(media_type) else "manifest"
            return Short(digest, media_type, kind, (), 0, problem="it cannot be read")

    def _short(self, name: str, digest: Digest) -> Short:
        held = self.held(name, digest)
        if held.size > _SUMMED_UP:
            return Short(digest, held.media_type, "manifest", (), held.size, problem="large")
        document = self.document(held)
        sizes = {held.digest: held.size}
        if isinstance(document, Index):
            platforms = [str(entry.platform) for entry in document.manifests if _is_image(entry)]
            for entry in document.manifests[:_MAX_CHILDREN]:
                sizes[entry.digest] = entry.size
                with suppress(OcibuildError, Refusal):
                    below = self.held(name, entry.digest)
                    inner = self.document(below) if below.size <= _CHILD else None
                    if isinstance(inner, Manifest):
                        sizes |= {child.digest: child.size for child in inner.children}
            kind = f"index of {len(document.manifests)}"
        else:
            sizes |= {child.digest: child.size for child in document.children}
            config = self.config(name, document)
            platforms = [str(config.platform)] if config is not None and config.platform.architecture else []
            kind = kind_of(document)
        return Short(held.digest, held.media_type, kind, tuple(dict.fromkeys(platforms))[:12], sum(sizes.values()))

    def document(self, held: Held) -> Manifest | Index:
        """A manifest, parsed. Raises ContentError for what is no OCI or Docker manifest, Refusal where it is gone."""
        limit = self.registry.limits.manifest
        return manifest.parse(read(held, limit), held.media_type, str(held.digest), limit)

    def config(self, name: str, document: Manifest) -> ImageConfig | None:
        """An image's config; None for what has none, or none that can be read."""
        if document.config.media_type not in mediatype.IMAGE_CONFIGS:
            return None
        with suppress(OcibuildError, Refusal):
            held = self.blob(name, document.config.digest)
            return ImageConfig.parse(read(held, _MAX_CONFIG)) if held is not None else None
        return None

    def blob(self, name: str, digest: Digest) -> Held | None:
        """A blob that is here."""
        return self._repository(name).blob(digest)

    def referrers(self, name: str, digest: Digest) -> Sequence[Entry]:
        """Descriptors of what was attached to a manifest; those that clients wrote themselves may be anything."""
        return [entry for entry in self._repository(name).referrers(digest) if _has_digest(entry)]


def read(held: Held, limit: int) -> bytes:
    """The bytes of a small blob. Raises ContentError (`document-too-large`), Refusal where it is gone."""
    if held.size > limit:
        raise ContentError(f"it has {held.size} bytes; {limit} are read", code="document-too-large")
    try:
        return held.path.read_bytes()
    except OSError:
        raise Refusal("MANIFEST_UNKNOWN", f"{held.digest} is gone") from None


def kind_of(document: Manifest) -> str:
    """What a manifest is, in a word or two."""
    from ocibuild.image.shapes.recognise import recognise

    shape = recognise(document)
    if shape == "other":
        return "artifact" if document.config.media_type not in mediatype.IMAGE_CONFIGS else "image"
    return {"image": "image", "artifact": "Wasm artifact", "attestation": "attestation"}.get(shape, f"Wasm, {shape}")


def _has_digest(entry: Entry) -> bool:
    with suppress(ContentError):
        return bool(Digest(entry["digest"]))
    return False


def _is_image(entry: Descriptor) -> bool:
    return entry.platform is not None and entry.platform.os != "unknown"


def _word(parts: Sequence[tuple[str, object]]) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _shelf(repository: Repository, now: View) -> Shelf:
    blobs = size = 0
    folder = repository.path / layout.BLOBS
    for algorithm in ("sha256", "sha512"):
        with suppress(OSError), os.scandir(folder / algorithm) as entries:
            for entry in entries:
                if blobs >= _MAX_BLOBS:
                    break
                with suppress(OSError):
                    size += entry.stat().st_size
                    blobs += 1
    changed = 0.0
    with suppress(OSError):
        changed = os.stat(repository.path / layout.INDEX_FILE).st_mtime
    return Shelf(repository.name, len(now.tags), blobs, size, changed)
