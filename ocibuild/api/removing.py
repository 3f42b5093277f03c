"""`remove`: a tag, or a manifest, and never more than was asked."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from ocibuild.api import places
from ocibuild.api.places import Place
from ocibuild.api.session import Session
from ocibuild.content.flow import Flow
from ocibuild.errors import NotFoundError, RegistryError, StoreError, UsageError
from ocibuild.record import record
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.store.layout import LayoutStore

if TYPE_CHECKING:
    from ocibuild.registry.store import RegistryStore

LOOKED_AT = 1000
"""How many tags of a repository are asked what they point at before a manifest goes."""


@record
class Removed:
    """What is gone, or would be with a dry run.

    `tag` is the one that was named, None where a digest was. With `manifest` the manifest went, and with it `tags`, every
    tag that pointed at it; `all_tags` is False where the registry has more of them than were looked at, or does not list
    them. `referrers` is how many manifests refer to it and stay.
    """

    place: str
    descriptor: Descriptor
    tag: str | None
    manifest: bool
    tags: tuple[str, ...]
    all_tags: bool = True
    referrers: int = 0


def remove(place: str, *, manifest: bool = False, dry_run: bool = False, session: Session | None = None) -> Removed:
    """Remove the tag a place names, or the manifest a digest names; with `manifest`, the manifest a tag points at.

    A tag together with a digest goes only while it is that digest. Raises UsageError where neither is named,
    NotFoundError, StoreError (`tag-moved`, `store-read-only`, `manifest-in-use`), RegistryError (`tag-delete-unsupported`,
    `delete-disabled`).
    """
    where = places.parse(place, default_tag=None)
    tag, digest = _named(where)
    if tag is None and digest is None:
        raise UsageError(f"{place} does not say what to remove", hint="add :TAG for a tag, or @sha256:… for a manifest")
    session = (session or Session()).begin()
    store = session.changing(where)
    root = store.resolve(str(tag or digest))
    if digest is not None and root.digest != digest:
        raise StoreError(
            f"{store.place}:{tag} is {root.digest}, and not {digest}",
            code="tag-moved",
            hint="somebody else has moved it; nothing was removed",
        )
    with session.flow() as flow:
        if tag is not None and not manifest:
            removed = Removed(store.place, root, tag, False, (tag,))
        else:
            removed = _with_tags(store, root, tag, flow)
        if not dry_run:
            with store:
                if removed.manifest:
                    store.delete(root)
                elif tag is not None:
                    store.untag(tag)
    return removed


def _named(where: Place) -> tuple[str | None, Digest | None]:
    if where.reference is not None:
        return where.reference.tag, where.reference.digest
    if ":" in where.name:
        return None, Digest(where.name)
    return where.name or None, None


def _with_tags(store: RegistryStore | LayoutStore, root: Descriptor, tag: str | None, flow: Flow) -> Removed:
    referrers = len(store.referrers(root))
    if isinstance(store, LayoutStore):
        tags = tuple(name for name, entry in store.roots() if name is not None and entry.digest == root.digest)
        return Removed(store.place, root, tag, True, tags, referrers=referrers)
    try:
        names = list(islice(store.tags(), LOOKED_AT + 1))
    except RegistryError:
        names = [tag] if tag else []  # it does not list them
        return Removed(store.place, root, tag, True, tuple(names), all_tags=False, referrers=referrers)
    looked = names[:LOOKED_AT]
    digests = flow.io.map(lambda name: _digest(store, name), looked)
    tags = tuple(_pointing(looked, digests, root.digest))
    return Removed(store.place, root, tag, True, tags, len(names) <= LOOKED_AT, referrers)


def _digest(store: RegistryStore, name: str) -> Digest | None:
    try:
        return store.resolve(name).digest
    except (NotFoundError, RegistryError):
        return None


def _pointing(names: list[str], digests: Iterator[Digest | None], wanted: Digest) -> Iterator[str]:
    return (name for name, digest in zip(names, digests, strict=True) if digest == wanted)
