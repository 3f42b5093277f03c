"""The graph of descriptors: the only place that knows which media types have children."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

from ocibuild.errors import ContentError, NotFoundError
from ocibuild.record import replace
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest, parse
from ocibuild.store.base import Source, fetch

MAX_DEPTH = 8


def node(source: Source, descriptor: Descriptor, data: bytes | None = None) -> Manifest | Index:
    """The manifest or index a descriptor points at. Raises ContentError, NotFoundError."""
    return parse(fetch(source, descriptor) if data is None else data, descriptor.media_type, str(descriptor.digest))


def successors(source: Source, descriptor: Descriptor, data: bytes | None = None) -> tuple[Descriptor, ...]:
    """What must be stored before this descriptor is: its children, once each. None for a leaf."""
    if not mediatype.is_node(descriptor.media_type):
        return ()
    return tuple({child.digest: child for child in node(source, descriptor, data).children}.values())


def walk(source: Source, root: Descriptor, data: bytes | None = None) -> Iterator[Descriptor]:
    """Every descriptor below `root`, children before parents, each digest once. `data` is what is in `root`, if at hand.

    Raises ContentError (`graph-too-deep`) beyond MAX_DEPTH levels of indexes.
    """
    return _walk(source, root, set(), 0, data)


def _walk(
    source: Source, descriptor: Descriptor, seen: set[str], depth: int, data: bytes | None = None
) -> Iterator[Descriptor]:
    if depth > MAX_DEPTH:
        raise ContentError(
            f"indexes in {source.place} are nested deeper than {MAX_DEPTH} levels", code="graph-too-deep"
        )
    if descriptor.digest in seen:
        return
    seen.add(descriptor.digest)
    for child in successors(source, descriptor, data):
        yield from _walk(source, child, seen, depth + 1)
    yield descriptor


def nodes(source: Source, roots: Iterable[Descriptor]) -> Iterator[tuple[Descriptor, Manifest | Index]]:
    """Every manifest and index below the roots, once each, parents first. What the store lacks is passed over."""
    pending, seen = deque(roots), set()
    while pending:
        descriptor = pending.popleft()
        if descriptor.digest in seen or not mediatype.is_node(descriptor.media_type):
            continue
        seen.add(descriptor.digest)
        try:
            document = node(source, descriptor)
        except NotFoundError:
            continue  # an index may list more than was copied
        yield descriptor, document
        pending += document.children


def attached(source: Source, roots: Iterable[Descriptor]) -> dict[Digest, list[Descriptor]]:
    """What below the roots has a subject, by the subject's digest."""
    found: dict[Digest, list[Descriptor]] = {}
    for descriptor, document in nodes(source, roots):
        if document.subject is not None:
            found.setdefault(document.subject.digest, []).append(referrer(descriptor, document))
    return found


def of_type(entries: Iterable[Descriptor], artifact_type: str | None) -> tuple[Descriptor, ...]:
    """Those of one artifact type; all of them where it is None."""
    return tuple(entry for entry in entries if artifact_type in (None, entry.artifact_type))


def referrer(descriptor: Descriptor, document: Manifest | Index) -> Descriptor:
    """A manifest's descriptor as lists of referrers have it. distribution-spec "Listing Referrers"."""
    kind = document.kind if isinstance(document, Manifest) else document.artifact_type
    return replace(descriptor.bare, annotations=dict(document.annotations), artifact_type=kind)
