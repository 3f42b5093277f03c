"""`manifest`, `config`, `blob` and `digest`: the raw things, byte for byte as they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from ocibuild.api import places
from ocibuild.api.picking import pick
from ocibuild.api.session import Session
from ocibuild.errors import NotFoundError
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.store.base import Roots, Source, fetch
from ocibuild.store.graph import walk


def manifest(place: str, *, platform: str | None = None, session: Session | None = None) -> bytes:
    """The manifest or index at a place; with `platform` the manifest of that entry.

    Raises NotFoundError, ContentError, and what stores and registries raise.
    """
    store, root = (session or Session()).begin().found(places.parse(place))
    if platform is not None:
        root, _ = pick(store, root, platform)
    return fetch(store, root)


def config(place: str, *, platform: str | None = None, session: Session | None = None) -> bytes:
    """The config blob, whatever its media type. Raises UsageError (`platform-needed`) where an index has several."""
    store, root = (session or Session()).begin().found(places.parse(place))
    _, document = pick(store, root, platform)
    return fetch(store, document.config)


def digest(place: str, *, platform: str | None = None, session: Session | None = None) -> Digest:
    """The digest a place stands for now. Raises as `manifest` does."""
    store, root = (session or Session()).begin().found(places.parse(place))
    if platform is not None:
        root, _ = pick(store, root, platform)
    return root.digest


@contextmanager
def blob(place: str, wanted: str, *, session: Session | None = None) -> Iterator[BinaryIO]:
    """Any content below a place, by its digest, verified while it is read.

    Raises NotFoundError (`blob-missing`) for a digest that nothing at the place refers to, ContentError
    (`digest-invalid`, `digest-mismatch`).
    """
    sought = Digest(wanted)
    where = places.parse(place)
    store = (session or Session()).begin().source(where)
    found = next((each for each in _below(store, where) if each.digest == sought), None)
    if found is None:
        raise NotFoundError(
            f"nothing in {where} refers to {sought}",
            code="blob-missing",
            hint="ocibuild inspect lists the digests that are there",
        )
    with store.open(found) as stream:
        yield stream


def _below(store: Source, where: places.Place) -> Iterator[Descriptor]:
    if where.reference is None and not where.name and isinstance(store, Roots):
        roots = [root for _, root in store.roots()]
    else:
        roots = [store.resolve(where.reference.target if where.reference is not None else where.name)]
    for root in roots:
        yield from walk(store, root)
