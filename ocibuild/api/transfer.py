"""`copy`, and its other names: `push` is a copy into a registry, `save` and `pull` one out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from ocibuild.api import places
from ocibuild.api.picking import pick
from ocibuild.api.places import Place
from ocibuild.api.session import Session
from ocibuild.content.flow import Flow
from ocibuild.errors import InputError, UsageError
from ocibuild.record import record
from ocibuild.spec import annotation
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store import copy as copying
from ocibuild.store.base import Source, Target
from ocibuild.store.copy import Copied


@record
class Transferred:
    """What was copied, and the name of the result in a form every command accepts.

    `name` is the registry reference it was given or came from, "" where there is none; `notes` are for a person.
    """

    descriptor: Descriptor
    reference: str
    copied: Copied
    name: str = ""
    notes: tuple[str, ...] = ()


def copy(
    source: str,
    destination: str,
    *,
    platform: str | None = None,
    referrers: bool = False,
    session: Session | None = None,
    out: BinaryIO | None = None,
) -> Transferred:
    """Copy an image, byte for byte, between any two places; with `platform`, one entry of an index.

    With `referrers`, what is attached to it comes along.

    Raises UsageError for a place that cannot be read, NotFoundError, and what stores and registries raise.
    """
    session = (session or Session()).begin()
    return transferred(places.parse(source), places.parse(destination, writing=True), session, out, platform, referrers)


def push(
    source: str, *references: str, referrers: bool = False, session: Session | None = None
) -> tuple[Transferred, ...]:
    """Copy a local image to registry references, with `referrers` what is attached to it as well.

    Raises UsageError where there is no reference, InputError (`file-not-found`) where there is no such image, and what
    stores and registries raise.
    """
    session = (session or Session()).begin()
    if not references:
        raise UsageError("push needs to know where", code="usage", hint="ocibuild push SOURCE REGISTRY/NAME:TAG")
    where = [places.parse(text if text.startswith("docker:") else f"docker://{text}") for text in references]
    local = places.parse(source)
    if local.is_registry and not source.startswith("docker:"):
        raise InputError(
            f"there is no layout or archive {source}",
            code="file-not-found",
            hint="check the path; ocibuild copy takes an image from one registry to another",
        )
    return tuple(transferred(local, place, session, referrers=referrers) for place in where)


def transferred(
    source: Place,
    destination: Place,
    session: Session,
    out: BinaryIO | None = None,
    platform: str | None = None,
    referrers: bool = False,
) -> Transferred:
    """The copy between two places that were read already."""
    store, root = session.found(source)
    if platform is not None:
        root = pick(store, root, platform)[0].bare
    if destination.reference is None:
        root = _named(root, source, destination)
    with session.flow() as flow:
        return send(store, root, destination, session, flow, out, referrers=referrers)


def send(
    store: Source,
    root: Descriptor,
    destination: Place,
    session: Session,
    flow: Flow,
    out: BinaryIO | None = None,
    before: tuple[Source, Sequence[Descriptor]] | None = None,
    *,
    referrers: bool = False,
) -> Transferred:
    """Copy what hangs below `root` to a place and name it there; what is to be there `before`, unnamed, goes first.

    A local place keeps the annotations of `root`, the names among them.
    """
    tag = destination.reference.tag if destination.reference is not None else destination.name
    names = [tag] if tag else []

    def run(target: Target, root: Descriptor) -> Copied:
        earlier, roots = before or (store, ())
        first = [copying.copy(earlier, other, target, flow=flow) for other in roots]
        copied = copying.copy(store, root, target, names=names, referrers=referrers, flow=flow)
        for other in first:
            copied.written[:0], copied.existed[:0], copied.mounted[:0] = other.written, other.existed, other.mounted
        return copied

    if destination.reference is not None:
        with session.registry(destination.reference) as registry:
            copied = run(registry, root.bare)
        where = f"{destination.reference.name}@{root.digest}"
        return Transferred(root.bare, where, copied, str(destination.reference))
    with places.target(destination, out) as target:
        copied = run(target, root)
    where = f"{destination.transport}:{destination.path}@{root.digest}"
    name = root.annotations.get(annotation.CONTAINERD_NAME, "")
    return Transferred(root, str(root.digest) if destination.path == "-" else where, copied, name)


def _named(root: Descriptor, source: Place, destination: Place) -> Descriptor:
    """The root for a layout: the name it has in a registry goes along, for engines that load it."""
    if source.reference is not None and source.reference.tag:
        named = root.bare.with_annotations({annotation.CONTAINERD_NAME: str(source.reference)})
        return named if destination.name else named.with_annotations({annotation.REF_NAME: source.reference.tag})
    return root
