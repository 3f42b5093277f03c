"""`copy`, and its other names: `push` is a copy into a registry, `save` one into an archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from ocibuild.api import places
from ocibuild.api.places import Place
from ocibuild.api.session import Session
from ocibuild.errors import UsageError
from ocibuild.spec import annotation
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store import copy as copying
from ocibuild.store.copy import Copied


@dataclass(frozen=True)
class Transferred:
    """What was copied, and the name of the result in a form every command accepts."""

    descriptor: Descriptor
    reference: str
    copied: Copied


def copy(
    source: str,
    destination: str,
    *,
    referrers: bool = False,
    session: Session | None = None,
    out: BinaryIO | None = None,
) -> Transferred:
    """Copy an image, byte for byte, between any two places; with `referrers`, what is attached to it as well.

    Raises UsageError for a place that cannot be read, NotFoundError, and what stores and registries raise.
    """
    session = (session or Session()).begin()
    return _copy(places.parse(source), places.parse(destination, writing=True), session, out, referrers)


def push(
    source: str, *references: str, referrers: bool = False, session: Session | None = None
) -> tuple[Transferred, ...]:
    """Copy a local image to registry references, with `referrers` what is attached to it as well. Raises UsageError where there is none."""
    session = (session or Session()).begin()
    if not references:
        raise UsageError("push needs to know where", code="usage", hint="ocibuild push SOURCE REGISTRY/NAME:TAG")
    where = [places.parse(text if text.startswith("docker:") else f"docker://{text}") for text in references]
    return tuple(_copy(places.parse(source), place, session, None, referrers) for place in where)


def _copy(source: Place, destination: Place, session: Session, out: BinaryIO | None, referrers: bool) -> Transferred:
    store, root = session.found(source)
    names = _names(destination)
    with session.flow() as flow:
        if destination.reference is not None:
            with session.registry(destination.reference) as registry:
                copied = copying.copy(store, root.bare, registry, names=names, referrers=referrers, flow=flow)
            return Transferred(root, f"{destination.reference.name}@{root.digest}", copied)
        root = _named(root, source, destination)
        with places.target(destination, out) as target:
            copied = copying.copy(store, root, target, names=names, referrers=referrers, flow=flow)
    where = f"{destination.transport}:{destination.path}"
    return Transferred(root, str(root.digest) if destination.path == "-" else f"{where}@{root.digest}", copied)


def _names(destination: Place) -> Sequence[str]:
    tag = destination.reference.tag if destination.reference is not None else destination.name
    return [tag] if tag else []


def _named(root: Descriptor, source: Place, destination: Place) -> Descriptor:
    """The root for a layout: the name it has in a registry goes along, for engines that load it."""
    if source.reference is not None and source.reference.tag:
        named = root.bare.with_annotations({annotation.CONTAINERD_NAME: str(source.reference)})
        return named if destination.name else named.with_annotations({annotation.REF_NAME: source.reference.tag})
    return root
