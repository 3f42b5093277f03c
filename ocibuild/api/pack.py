"""`pack`: files become an image, in a layout, an archive, a registry, or an engine's own store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ocibuild.api import places
from ocibuild.api.places import Place
from ocibuild.api.session import Session
from ocibuild.binary.artifact import Artifact, inspect
from ocibuild.content.flow import Flow
from ocibuild.errors import UsageError
from ocibuild.image.assemble import assemble
from ocibuild.image.plan import Plan
from ocibuild.pack import additions, configfile, git, naming
from ocibuild.pack.options import Options
from ocibuild.pack.plan import Context, Input, parse_created
from ocibuild.pack.plan import plan as make_plan
from ocibuild.spec import annotation
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Target
from ocibuild.store.copy import Copied, copy
from ocibuild.store.layout import LayoutStore
from ocibuild.store.memory import MemoryStore, dry

UNNAMED = "latest"
"""The tag in a layout or archive of an image nobody named."""


@dataclass(frozen=True)
class Packed:
    """What came of it. `references` name the image in forms every command accepts; `copied` is one per push."""

    descriptor: Descriptor
    references: tuple[str, ...]
    plan: Plan
    artifacts: tuple[Artifact, ...]
    copied: tuple[Copied, ...] = ()
    dry: MemoryStore | None = None

    @property
    def digest(self) -> str:
        """The image's digest."""
        return str(self.descriptor.digest)


def pack(
    *files: str | os.PathLike[str],
    tags: Sequence[str] = (),
    output: str | None = None,
    push: bool = False,
    load: str | None = None,
    dry_run: bool = False,
    config: str | os.PathLike[str] | None = None,
    target: str | None = None,
    options: Options | None = None,
    session: Session | None = None,
    out: BinaryIO | None = None,
    **said: object,
) -> Packed:
    """Pack programs (`FILE` or `FILE=PLATFORM`) into one image.

    Without `output`, `push` or `load` the image goes into the layout `NAME.oci` in the current folder. `tags` are
    registry references; with `push` each is pushed. `load` names an engine: docker, podman or containerd. `config` is
    an ocibuild.toml whose `target` gives what is not said here: files, tags and options. Keyword arguments are fields
    of Options and go over `options`. Raises InputError, UsageError, StoreError, RegistryError,
    NetworkError, ToolError; nothing half-written stays behind.
    """
    session = (session or Session()).begin()
    asked = configfile.asked(config, target, files, tags, options or Options())
    chosen = with_said(asked.options, said)
    references = [Reference.parse(tag) for tag in asked.tags]
    if push and not references:
        raise UsageError("--push needs to know where", code="usage", hint="add -t REGISTRY/NAME:TAG")
    inputs = [_look(file, chosen) for file in asked.files]
    made = make_plan(inputs, chosen, _context(chosen, inputs, session))
    artifacts = tuple(entry.artifact for entry in inputs)
    if dry_run:
        with session.flow() as flow, dry() as store:
            root = assemble(made, store, flow)
        return Packed(root, _names(root, references, None), made, artifacts, dry=store)
    if output is not None or not (push or load):
        place = places.parse(output or naming.layout_name(artifacts[0].name), writing=True)
    else:
        place = None
    return _write(made, artifacts, references, place, push, load, session, out)


def with_said(options: Options, said: dict[str, object]) -> Options:
    """`options` with keyword arguments over them. Raises UsageError (`option-unknown`)."""
    known = set(Options.__dataclass_fields__)
    unknown = [name for name in said if name not in known]
    if unknown:
        raise UsageError(
            f"{unknown[0]!r} is no option", code="option-unknown", hint=f"there are {', '.join(sorted(known))}"
        )
    return replace(options, **{name: _value(value) for name, value in said.items() if value is not None})  # type: ignore[arg-type]


def _value(value: object) -> object:
    if isinstance(value, dict):
        return tuple(f"{key}={item}" for key, item in value.items())
    return tuple(value) if isinstance(value, list) else value


def _look(argument: str, options: Options) -> Input:
    path, platform = naming.split_input(argument)
    return Input(inspect(path, allow_dynamic=options.allow_dynamic), platform)


def _context(options: Options, inputs: Sequence[Input], session: Session) -> Context:
    epoch = parse_created(options.created) if options.created else session.surroundings.source_date_epoch() or 0
    folder = Path(inputs[0].artifact.path).absolute().parent if inputs else Path()
    return Context(epoch, additions.entries(options), git.facts(folder) if options.git else {})


def _write(
    made: Plan,
    artifacts: tuple[Artifact, ...],
    references: list[Reference],
    place: Place | None,
    push: bool,
    load: str | None,
    session: Session,
    out: BinaryIO | None,
) -> Packed:
    with ExitStack() as stack:
        if place is not None and place.transport == "docker":
            raise UsageError(f"-o {place} is not a local place", code="usage", hint=f"to push there: -t {place} --push")
        direct = place is not None and place.transport == "oci"
        if place is not None and direct:
            stage = LayoutStore(place.path)
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ocibuild-", ignore_cleanup_errors=True))
            stage = LayoutStore(Path(folder) / "layout")
        flow = stack.enter_context(session.flow())
        with stage:
            root = assemble(made, stage, flow).with_platform(None)
            _tag(stage, root, references, place)
        if place is not None and not direct:
            with places.target(place, out) as archive:
                copy(stage, root, archive, flow=flow)
                _tag(archive, root, references, place)
        copied = [_push(stage, root, reference, session, flow) for reference in references] if push else []
        if load:
            from ocibuild.api import engines

            engines.load(load, stage)
    names = _names(root, references if push else [], place)
    return Packed(root, names, made, artifacts, tuple(copied))


def _tag(target: Target, root: Descriptor, references: Sequence[Reference], place: Place | None) -> None:
    for reference in references:
        target.tag(root.with_annotations({annotation.CONTAINERD_NAME: str(reference)}), reference.tag)
    if not references:
        # A name, so that packing again replaces the image instead of standing beside it.
        target.tag(root, (place.name if place else "") or UNNAMED)


def _push(stage: LayoutStore, root: Descriptor, reference: Reference, session: Session, flow: Flow) -> Copied:
    with session.registry(reference) as registry:
        return copy(stage, root, registry, names=[reference.tag] if reference.tag else [], flow=flow)


def _names(root: Descriptor, references: Sequence[Reference], place: Place | None) -> tuple[str, ...]:
    if references:
        return tuple(dict.fromkeys(f"{reference.name}@{root.digest}" for reference in references))
    if place is not None and place.path != "-":
        return (f"{place.transport}:{place.path}@{root.digest}",)
    return (str(root.digest),)
