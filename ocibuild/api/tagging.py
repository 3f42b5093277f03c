"""`tag`: further names for an image where it is. No content moves."""

from __future__ import annotations

from contextlib import suppress

from ocibuild.api import places
from ocibuild.api.session import Session
from ocibuild.errors import NotFoundError, StoreError, UsageError
from ocibuild.record import record
from ocibuild.spec import annotation
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference, is_tag
from ocibuild.store.base import Source


@record
class Tagged:
    """`references` are the new names, in a form every command accepts."""

    descriptor: Descriptor
    references: tuple[str, ...]


def tag(
    place: str,
    *names: str,
    if_absent: bool = False,
    expect_digest: str | None = None,
    session: Session | None = None,
) -> Tagged:
    """Give the image at a place more tags, in the same repository or layout; a tag that exists moves.

    With `if_absent` a tag that is something else already is left alone (`tag-exists`); with `expect_digest` a tag moves
    only away from that digest (`tag-moved`). Both look before they write: registries offer no more. All names are looked
    at before the first is written. Raises UsageError, NotFoundError, StoreError (`store-read-only`), RegistryError.
    """
    where = places.parse(place)
    if not names:
        raise UsageError("tag needs to know the new tag", hint="ocibuild tag REGISTRY/NAME:TAG NEWTAG")
    for name in names:
        if not is_tag(name):
            raise UsageError(
                f"{name[:140]!r} is no tag",
                code="reference-invalid",
                hint="the new tag alone, without registry and name; ocibuild copy takes an image elsewhere",
            )
    expected = Digest(expect_digest) if expect_digest is not None else None
    store = (session or Session()).begin().changing(where)
    root = store.resolve(where.reference.target if where.reference is not None else where.name)
    for name in names:
        _check(store, name, root, if_absent, expected)
    with store:
        for name in names:
            store.tag(root if where.reference is not None else _renamed(root, name), name)
    return Tagged(root, tuple(f"{store.place}:{name}" for name in names))


def _check(store: Source, name: str, root: Descriptor, if_absent: bool, expected: Digest | None) -> None:
    if not if_absent and expected is None:
        return
    there = None
    with suppress(NotFoundError):
        there = store.resolve(name).digest
    if there == root.digest:
        return  # it is done already
    if if_absent and there is not None:
        raise StoreError(
            f"{store.place}:{name} is there already, as {there}", code="tag-exists", hint="choose another tag"
        )
    if expected is not None and there != expected:
        raise StoreError(
            f"{store.place}:{name} is {there or 'not there'}, and not {expected}",
            code="tag-moved",
            hint="somebody else has moved it; look again what it should be",
        )


def _renamed(root: Descriptor, name: str) -> Descriptor:
    """The full name that engines load it under has the new tag too."""
    full = root.annotations.get(annotation.CONTAINERD_NAME)
    if full is None:
        return root
    others = {key: value for key, value in root.annotations.items() if key != annotation.CONTAINERD_NAME}
    with suppress(UsageError):
        others[annotation.CONTAINERD_NAME] = str(Reference.parse(full).tagged(name))
    return Descriptor(root.media_type, root.digest, root.size, others, root.platform, root.artifact_type)
