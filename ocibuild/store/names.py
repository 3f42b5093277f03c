"""Names: what a tag, a full reference, a digest or nothing stands for in a store that lists its roots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ocibuild.errors import ContentError, NotFoundError
from ocibuild.spec import annotation, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.store.base import Named, Roots, Source
from ocibuild.store.graph import node, nodes

_LISTED = 8


class Listed(Source, Roots, Protocol):
    """A source that lists its roots."""


def find(store: Listed, name: str) -> Descriptor:
    """The root under `name`, the only root where `name` is empty, or what a digest points at anywhere below a root.

    Raises NotFoundError: `not-found`, and `ambiguous` where `name` is empty and the store holds several images.
    """
    if not name:
        images_only = images(store)
        if len({root.digest for _, root in images_only}) == 1:
            return images_only[-1][1]
    elif found := _named(store, name):
        return found
    roots = list(store.roots())
    if name.startswith(("sha256:", "sha512:")):
        digest = Digest(name)
        for _, document in nodes(store, [root for _, root in roots]):
            for child in document.children:
                if child.digest == digest:
                    return child
    raise _unresolved(store.place, name, roots)


def _named(store: Listed, name: str) -> Descriptor | None:
    if isinstance(store, Named):
        return store.named(name)
    named = [root for tag, root in store.roots() if name in _called(tag, root)]
    return named[-1] if named else None


def images(store: Listed) -> list[tuple[str | None, Descriptor]]:
    """The roots without the untagged ones that are attached to something, unless there is nothing else."""
    roots = list(store.roots())
    if len({root.digest for _, root in roots}) < 2:
        return roots
    return [(name, root) for name, root in roots if name is not None or not _is_attached(store, root)] or roots


def _is_attached(store: Source, root: Descriptor) -> bool:
    try:
        return mediatype.is_node(root.media_type) and node(store, root).subject is not None
    except (ContentError, NotFoundError):
        return False  # a damaged image among others is found out when it is used


def _called(tag: str | None, root: Descriptor) -> tuple[str | None, ...]:
    return tag, root.annotations.get(annotation.CONTAINERD_NAME), str(root.digest)


def _unresolved(place: str, name: str, roots: Sequence[tuple[str | None, Descriptor]]) -> NotFoundError:
    names = sorted({tag or str(root.digest) for tag, root in roots})
    if not names:
        return NotFoundError(f"{place} holds no image")
    have = ", ".join(names[:_LISTED]) + (" …" if len(names) > _LISTED else "")
    if name:
        return NotFoundError(f"{place} has no image {name!r}", hint=f"it has {have}")
    return NotFoundError(
        f"{place} holds several images", code="ambiguous", hint=f"say which, as in {place}@sha256:…; it has {have}"
    )
