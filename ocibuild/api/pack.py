"""`pack`: files become an image, in a layout, an archive, a registry, or an engine's own store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO

from ocibuild.api import places
from ocibuild.api.delivery import deliver, refuse_unnamed, rehearse
from ocibuild.api.session import Session
from ocibuild.binary.artifact import Artifact, inspect
from ocibuild.errors import UsageError
from ocibuild.image.plan import Plan
from ocibuild.pack import naming
from ocibuild.pack.options import Options, Target
from ocibuild.pack.plan import Context, Input, parse_created
from ocibuild.pack.plan import plan as make_plan
from ocibuild.record import fields, record, replace
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.reference import Reference

if TYPE_CHECKING:
    from ocibuild.content.tar import Entry
    from ocibuild.store.copy import Copied
    from ocibuild.store.memory import MemoryStore


@record
class Packed:
    """What came of it. `references` name the image in forms every command accepts; `copied` is one per push; `notes` are for the person."""

    descriptor: Descriptor
    references: tuple[str, ...]
    plan: Plan
    artifacts: tuple[Artifact, ...]
    copied: tuple[Copied, ...] = ()
    dry: MemoryStore | None = None
    notes: tuple[str, ...] = ()

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
    wanted = asked(config, target, files, tags, options or Options())
    chosen = with_said(wanted.options, said)
    references = [Reference.parse(tag) for tag in wanted.tags]
    refuse_unnamed(push, references)
    inputs = [_look(file, chosen) for file in wanted.files]
    made = make_plan(inputs, chosen, _context(chosen, inputs, session))
    artifacts = tuple(entry.artifact for entry in inputs)
    if dry_run:
        outcome = rehearse(made, references, session)
        return Packed(outcome.descriptor, outcome.references, made, artifacts, dry=outcome.dry)
    if output is not None or not (push or load):
        place = places.parse(output or naming.layout_name(artifacts[0].name), writing=True)
    else:
        place = None
    outcome = deliver(made, references, place, push, load, session, out, artifacts[0].name)
    return Packed(outcome.descriptor, outcome.references, made, artifacts, outcome.copied)


def asked(
    config: str | os.PathLike[str] | None,
    name: str | None,
    files: Sequence[str | os.PathLike[str]],
    tags: Sequence[str],
    options: Options,
) -> Target:
    """What is to be packed: what was said, over the target of that name in a config file. Raises UsageError."""
    if config is None and name is None:
        return Target(tuple(os.fspath(file) for file in files), tuple(tags), options)
    from ocibuild.pack import configfile

    found = configfile.asked(config, name, files, tags, options)
    if found.sources is not None:
        raise UsageError(
            f"target {found.name} is built from sources, not packed",
            code="usage",
            hint=f"ocibuild bake {found.name} builds it",
        )
    return found


def with_said(options: Options, said: dict[str, object]) -> Options:
    """`options` with keyword arguments over them. Raises UsageError (`option-unknown`)."""
    known = {entry.name for entry in fields(Options)}
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
    return Context(epoch, _added(options), _git(inputs) if options.git else {})


def _added(options: Options) -> tuple[Entry, ...]:
    if not (options.add or options.ca_certs or options.tzdata or options.nonroot):
        return ()
    from ocibuild.pack import additions

    return additions.entries(options)


def _git(inputs: Sequence[Input]) -> dict[str, str]:
    from pathlib import Path

    from ocibuild.pack import git

    return git.facts(Path(inputs[0].artifact.path).absolute().parent if inputs else Path())
