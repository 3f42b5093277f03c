"""Where an image goes once it is planned: a layout, an archive, registries, an engine's own store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

from ocibuild.api import places
from ocibuild.api.places import Place
from ocibuild.api.session import Session
from ocibuild.content.flow import Flow
from ocibuild.errors import UsageError
from ocibuild.image.assemble import assemble
from ocibuild.image.plan import Plan
from ocibuild.pack import naming
from ocibuild.record import record
from ocibuild.spec import annotation
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Target
from ocibuild.store.layout import LayoutStore

if TYPE_CHECKING:
    from ocibuild.store.copy import Copied
    from ocibuild.store.memory import MemoryStore

UNNAMED = "latest"
"""The tag in a layout or archive of an image nobody named."""


@record
class Outcome:
    """The image's root, names for it that every command accepts, one account a push; `dry` where nothing was written."""

    descriptor: Descriptor
    references: tuple[str, ...]
    copied: tuple[Copied, ...] = ()
    dry: MemoryStore | None = None


def deliver(
    made: Plan,
    references: list[Reference],
    place: Place | None,
    push: bool,
    load: str | None,
    session: Session,
    out: BinaryIO | None,
    name: str = "image",
) -> Outcome:
    """Assemble the image where it is wanted: at `place`, in the registries of `references` with `push`, in an engine.

    An engine is given an image that has no reference as `name`, tagged latest. `out` is where a place called `-` leads. Raises UsageError, StoreError, RegistryError, NetworkError, ToolError, and
    what reading the files raises.
    """
    named = references or ([Reference.parse(naming.repository(name))] if load else [])
    with ExitStack() as stack:
        if place is not None and place.transport == "docker":
            raise UsageError(f"-o {place} is not a local place", code="usage", hint=f"to push there: -t {place} --push")
        direct = place is not None and place.transport == "oci"
        stage = LayoutStore(place.path) if place is not None and direct else _aside(stack)
        flow = stack.enter_context(session.flow())
        with stage:
            root = assemble(made, stage, flow).with_platform(None)
            _tag(stage, root, named, place)
        if place is not None and not direct:
            from ocibuild.store.copy import copy

            with places.target(place, out) as archive:
                copy(stage, root, archive, flow=flow)
                _tag(archive, root, named, place)
        copied = [_push(stage, root, reference, session, flow) for reference in references] if push else []
        if load:
            from ocibuild.api import engines

            engines.load(load, _alone(stage, root, named, stack, flow) if direct else stage)
    names = _names(root, references if push else [], place)
    return Outcome(root, names, tuple(copied))


def _aside(stack: ExitStack) -> LayoutStore:
    """A layout that is gone with the stack."""
    from tempfile import TemporaryDirectory

    folder = stack.enter_context(TemporaryDirectory(prefix="ocibuild-", ignore_cleanup_errors=True))
    return LayoutStore(os.path.join(folder, "layout"))


def _alone(
    stage: LayoutStore, root: Descriptor, named: Sequence[Reference], stack: ExitStack, flow: Flow
) -> LayoutStore:
    """The image without what else its layout holds, which nobody asked an engine to take."""
    from ocibuild.store.copy import copy

    alone = _aside(stack)
    with alone:
        copy(stage, root, alone, flow=flow)
        _tag(alone, root, named, None)
    return alone


def rehearse(made: Plan, references: list[Reference], session: Session) -> Outcome:
    """The same with nothing written: digests alone."""
    from ocibuild.store.memory import dry

    with session.flow() as flow, dry() as store:
        root = assemble(made, store, flow)
    return Outcome(root, _names(root, references, None), dry=store)


def refuse_unnamed(push: bool, references: Sequence[Reference]) -> None:
    """Raises UsageError where a push has nowhere to go."""
    if push and not references:
        raise UsageError("--push needs to know where", code="usage", hint="add -t REGISTRY/NAME:TAG")


def _tag(target: Target, root: Descriptor, references: Sequence[Reference], place: Place | None) -> None:
    for reference in references:
        target.tag(root.with_annotations({annotation.CONTAINERD_NAME: str(reference)}), reference.tag)
    if not references:
        # A name, so that packing again replaces the image instead of standing beside it.
        target.tag(root, (place.name if place else "") or UNNAMED)


def _push(stage: LayoutStore, root: Descriptor, reference: Reference, session: Session, flow: Flow) -> Copied:
    from ocibuild.store.copy import copy

    with session.registry(reference) as registry:
        return copy(stage, root, registry, names=[reference.tag] if reference.tag else [], flow=flow)


def _names(root: Descriptor, references: Sequence[Reference], place: Place | None) -> tuple[str, ...]:
    if references:
        return tuple(dict.fromkeys(f"{reference.name}@{root.digest}" for reference in references))
    if place is not None and place.path != "-":
        return (f"{place.transport}:{place.path}@{root.digest}",)
    return (str(root.digest),)
