"""One manifest or index as a tree: platforms, configs, layers, the files in them, and the programs.

A page costs a bounded part of the machine: so many nodes, so many bytes of layers, two readings at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic

from ocibuild.errors import ContentError, OcibuildError
from ocibuild.image.shapes.recognise import candidates, recognise
from ocibuild.record import record
from ocibuild.serve.page import files, program
from ocibuild.serve.page.commands import Sort
from ocibuild.serve.page.files import Bounds, Listing
from ocibuild.serve.page.kept import Kept
from ocibuild.serve.page.program import Program
from ocibuild.serve.page.shelves import Shelves, kind_of
from ocibuild.serve.refusal import Refusal
from ocibuild.serve.repository import Held
from ocibuild.spec import annotation, mediatype
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest

_AT_ONCE = 2
_WAITING = 16
_PATIENCE = 2.0
_LOOKED_AT = 32 * 1024 * 1024
_NODES = 40
_LEAVES = 100
_FILES = 2000
_BESIDE = 1024 * 1024
_DEPTH = 4
_SECONDS = 5.0
_DEEP = Bounds(unpacked=2 * 1024**3, entries=200_000, seconds=5.0)


@record
class Leaf:
    """A config or a layer. `number` is a layer's place from the bottom, `listing` what stands in it where that was read."""

    role: str
    descriptor: Descriptor
    title: str
    is_here: bool
    number: int = -1
    is_tar: bool = False
    listing: Listing | None = None


@record
class Node:
    """A manifest or an index. `size` is that of all below it, each blob once. `left_out` counts what is not shown."""

    descriptor: Descriptor
    kind: str
    sort: Sort
    size: int = 0
    problem: str = ""
    annotations: Mapping[str, str] | None = None
    artifact_type: str = ""
    subject: Digest | None = None
    config: ImageConfig | None = None
    leaves: tuple[Leaf, ...] = ()
    programs: tuple[Program, ...] = ()
    children: tuple[Node, ...] = ()
    left_out: int = 0

    @property
    def platform(self) -> str:
        """As the index says it, or the config."""
        if self.descriptor.platform is not None:
            return str(self.descriptor.platform)
        return str(self.config.platform) if self.config is not None and self.config.platform.os else ""

    @property
    def all_programs(self) -> tuple[Program, ...]:
        """Those of everything below too."""
        return self.programs + tuple(one for child in self.children for one in child.all_programs)


class Images:
    """Reads manifests for pages. What is inside a layer is kept: it cannot change."""

    def __init__(self, shelves: Shelves) -> None:
        self.shelves = shelves
        self._gate = threading.BoundedSemaphore(_AT_ONCE)
        self._room = threading.BoundedSemaphore(_AT_ONCE + _WAITING)
        self._listings: Kept[Listing] = Kept(24)
        self._programs: Kept[Program] = Kept(48)

    def tree(self, name: str, held: Held) -> Node:
        """The manifest or index with all below it. What cannot be read says so in its `problem`."""
        return _Reading(self, name).node(Descriptor(held.media_type, held.digest, held.size), 0)

    def layer(self, name: str, held: Held, number: int, start: int, most: int) -> tuple[Descriptor, Listing]:
        """A part of one layer's entries. Raises Refusal (BLOB_UNKNOWN) for a number that no layer has."""
        document = self.shelves.document(held)
        if not isinstance(document, Manifest) or not 0 <= number < len(document.layers):
            raise Refusal("BLOB_UNKNOWN", "there is no such layer")
        layer = document.layers[number]
        blob = self.shelves.blob(name, layer.digest)
        if blob is None or mediatype.tar_compression(layer.media_type) is None:
            raise Refusal("BLOB_UNKNOWN", "this layer is not here, or no tar")
        with self.reading() as allowed:
            if not allowed:
                return layer, busy(start)
            return layer, files.look(blob.path, layer.media_type, start=start, most=most, bounds=_DEEP)

    def reading(self) -> _Turn:
        """A turn at reading; the `with` says whether there was one in time."""
        return _Turn(self._room, self._gate)

    def listing(self, blob: Held, media_type: str, wanted: frozenset[str], seconds: float) -> Listing:
        """The first entries of a layer, and its programs."""
        with suppress(_Busy):
            return self._listings.get(
                (blob.digest, media_type, wanted),
                lambda: self._look(blob, media_type, wanted, seconds),
                lasts=lambda found: not found.is_late,
            )
        return busy(0)

    def _look(self, blob: Held, media_type: str, wanted: frozenset[str], seconds: float) -> Listing:
        with self.reading() as allowed:
            if not allowed:
                raise _Busy
            found = files.look(blob.path, media_type, wanted=wanted, bounds=Bounds(seconds=max(seconds, 0.2)))
        return found

    def program(self, blob: Held, title: str) -> Program:
        """The program that is a layer of its own."""
        with suppress(_Busy):
            return self._programs.get((blob.digest, title), lambda: self._raw(blob, title))
        return Program(title, blob.size, problem="the registry is busy: load the page again")

    def _raw(self, blob: Held, title: str) -> Program:
        with self.reading() as allowed:
            if not allowed:
                raise _Busy
            return program.read_file(blob.path, title)


class _Busy(Exception):
    """Too many read at once."""


class _Turn:
    """Two read, a few wait for a moment, and all others are told at once: those who wait hold the registry's workers."""

    def __init__(self, room: threading.BoundedSemaphore, gate: threading.BoundedSemaphore) -> None:
        self._room = room
        self._gate = gate
        self._held: list[threading.BoundedSemaphore] = []

    def __enter__(self) -> bool:
        if self._room.acquire(blocking=False):
            self._held.append(self._room)
            if self._gate.acquire(timeout=_PATIENCE):
                self._held.append(self._gate)
                return True
        return False

    def __exit__(self, *error: object) -> None:
        for each in self._held:
            each.release()


def busy(start: int) -> Listing:
    """What stands for a layer that there was no turn for."""
    return Listing(start, stopped="the registry is busy: load the page again")


class _Reading:
    """One page's walk, with what it may still take."""

    def __init__(self, images: Images, name: str) -> None:
        self._images = images
        self._shelves = images.shelves
        self._name = name
        self._nodes = _NODES
        self._bytes = _LOOKED_AT
        self._files = _FILES
        self._ends = monotonic() + _SECONDS
        self._seen: set[Digest] = set()

    def node(self, descriptor: Descriptor, depth: int) -> Node:
        """A node, and what is below it as far as a page goes."""
        kind = "index" if mediatype.is_index(descriptor.media_type) else "manifest"
        if descriptor.digest in self._seen:
            return Node(descriptor, kind, "other", problem="it stands above already")
        self._seen.add(descriptor.digest)
        try:
            held = self._shelves.held(self._name, descriptor.digest)
            if depth and held.size > _BESIDE:
                return Node(descriptor, kind, "other", held.size, problem="it is large: its own page shows it")
            document = self._shelves.document(held)
        except Refusal:
            return Node(descriptor, kind, "other", problem="it is not here")
        except ContentError as error:
            return Node(descriptor, kind, "other", held.size, problem=error.message)
        if isinstance(document, Index):
            return self._index(descriptor, document, depth)
        return self._manifest(descriptor, document)

    def _index(self, descriptor: Descriptor, document: Index, depth: int) -> Node:
        children: list[Node] = []
        for entry in document.manifests:
            if self._nodes <= 0 or depth >= _DEPTH or monotonic() > self._ends:
                break
            self._nodes -= 1
            children.append(self.node(entry, depth + 1))
        return Node(
            descriptor,
            "index",
            _together({child.sort for child in children}),
            size=descriptor.size + sum({child.descriptor.digest: child.size for child in children}.values()),
            annotations=document.annotations,
            artifact_type=document.artifact_type or "",
            subject=document.subject.digest if document.subject else None,
            children=tuple(children),
            left_out=len(document.manifests) - len(children),
        )

    def _manifest(self, descriptor: Descriptor, document: Manifest) -> Node:
        config = self._shelves.config(self._name, document)
        words = (config.process.entrypoint or config.process.cmd) if config is not None else ()
        wanted = frozenset(candidates(words[0], config)) if words and config is not None else frozenset[str]()
        programs: list[Program] = []
        leaves = [self._leaf("config", document.config)]
        for number, layer in enumerate(document.layers[:_LEAVES]):
            leaves.append(self._layer(number, layer, wanted, programs))
        return Node(
            descriptor,
            kind_of(document),
            sort_of(document, config),
            size=descriptor.size + sum({child.digest: child.size for child in document.children}.values()),
            annotations=document.annotations,
            artifact_type=document.artifact_type or "",
            subject=document.subject.digest if document.subject else None,
            config=config,
            leaves=tuple(leaves),
            programs=tuple(programs),
            left_out=len(document.layers) - len(leaves) + 1,
        )

    def _leaf(self, role: str, descriptor: Descriptor) -> Leaf:
        title = descriptor.annotations.get(annotation.TITLE, "")
        is_here = self._shelves.blob(self._name, descriptor.digest) is not None
        return Leaf(role, descriptor, title, is_here)

    def _layer(self, number: int, layer: Descriptor, wanted: frozenset[str], programs: list[Program]) -> Leaf:
        title = layer.annotations.get(annotation.TITLE, "")
        blob = self._shelves.blob(self._name, layer.digest)
        is_tar = mediatype.tar_compression(layer.media_type) is not None
        listing = None
        if blob is not None and layer.media_type in mediatype.RAW_WASM:
            programs.append(self._images.program(blob, title or layer.digest.short))
        elif blob is not None and is_tar and blob.size <= self._bytes and self._files > 0 and monotonic() < self._ends:
            self._bytes -= blob.size
            listing = self._images.listing(blob, layer.media_type, wanted, self._ends - monotonic())
            self._files -= len(listing.files)
            programs += listing.programs
        return Leaf("layer", layer, title, blob is not None, number, is_tar, listing)


def sort_of(document: Manifest, config: ImageConfig | None) -> Sort:
    """Which commands fit."""
    shape = recognise(document)
    if shape in ("image", "compat"):
        return "wasm-image" if config is not None and config.platform.is_wasm else "native"
    if shape == "wasm-layer":
        return "wasm-layer"
    return "artifact" if shape in ("artifact", "wasm-to-oci", "solo") else "other"


def _together(sorts: set[Sort]) -> Sort:
    if "native" in sorts:
        return "mixed" if "wasm-image" in sorts else "native"
    return "wasm-image" if "wasm-image" in sorts else "other"


def config_bytes(shelves: Shelves, name: str, document: Manifest) -> Held:
    """The config's blob. Raises Refusal (BLOB_UNKNOWN)."""
    with suppress(OcibuildError):
        held = shelves.blob(name, document.config.digest)
        if held is not None:
            return held
    raise Refusal("BLOB_UNKNOWN", "the config is not here")
