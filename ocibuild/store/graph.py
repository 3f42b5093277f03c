"""The graph of descriptors: the only place that knows which media types have children."""

from __future__ import annotations

from collections.abc import Iterator

from ocibuild.errors import ContentError
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index, Manifest, parse
from ocibuild.store.base import Source, fetch

MAX_DEPTH = 8


def node(source: Source, descriptor: Descriptor) -> Manifest | Index:
    """The manifest or index a descriptor points at. Raises ContentError, NotFoundError."""
    return parse(fetch(source, descriptor), descriptor.media_type, str(descriptor.digest))


def successors(source: Source, descriptor: Descriptor) -> tuple[Descriptor, ...]:
    """What must be stored before this descriptor is: its children, once each. None for a leaf."""
    if not mediatype.is_node(descriptor.media_type):
        return ()
    return tuple({child.digest: child for child in node(source, descriptor).children}.values())


def walk(source: Source, root: Descriptor) -> Iterator[Descriptor]:
    """Every descriptor below `root`, children before parents, each digest once.

    Raises ContentError (`graph-too-deep`) beyond MAX_DEPTH levels of indexes.
    """
    return _walk(source, root, set(), 0)


def _walk(source: Source, descriptor: Descriptor, seen: set[str], depth: int) -> Iterator[Descriptor]:
    if depth > MAX_DEPTH:
        raise ContentError(
            f"indexes in {source.place} are nested deeper than {MAX_DEPTH} levels", code="graph-too-deep"
        )
    if descriptor.digest in seen:
        return
    seen.add(descriptor.digest)
    for child in successors(source, descriptor):
        yield from _walk(source, child, seen, depth + 1)
    yield descriptor
