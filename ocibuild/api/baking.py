"""One target of a bake, made where the task for it arrives: in this process, in another, or on another machine.

A task is a value: what to make, and where it goes. No login is in it; who works has its own. Doing one twice changes
nothing, since all it writes is named by its content.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ocibuild.api.fetching import Inline, fetched
from ocibuild.api.session import Session
from ocibuild.bake import fingerprint
from ocibuild.bake.fingerprint import Digests, Hint
from ocibuild.bake.ledger import Known, Taken
from ocibuild.binary.artifact import inspect
from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import OcibuildError
from ocibuild.image.assemble import assemble
from ocibuild.image.plan import ImagePlan, IndexPlan, Plan
from ocibuild.pack import additions, naming
from ocibuild.pack.options import Options, Target
from ocibuild.pack.plan import Context, Input, parse_created
from ocibuild.pack.plan import plan as make_plan
from ocibuild.record import record, replace
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index
from ocibuild.spec.reference import Reference
from ocibuild.store.graph import walk
from ocibuild.store.layout import LayoutStore

if TYPE_CHECKING:
    from ocibuild.registry.store import RegistryStore
    from ocibuild.store.memory import MemoryStore

_SMALL = 4 * 1024 * 1024
"""Bytes of files: an image of so many is held in memory on its way to a registry, and needs no threads of its own."""


@record
class Task:
    """What to make: a target with everything filled in, places of what it needs included.

    It goes to its tags where it is to `push`, and into `layout`, where the caller names it in the end, or it is named at
    once: `alone`. `known` are images it was before; `standing` is what the layout has under its name. A `part` (i, n) is
    every n-th image of its index, and `parts` are all of them, by their place in it, of which the index is made.
    `crowded`: so many targets are made beside it that a small one takes no threads but its own.
    """

    target: Target
    push: bool = False
    layout: str | None = None
    alone: bool = False
    known: tuple[Known, ...] = ()
    standing: Descriptor | None = None
    hints: tuple[Hint, ...] = ()
    kept_ns: int = 0
    inlined: tuple[Inline, ...] = ()
    git: tuple[tuple[str, str], ...] | None = None
    part: tuple[int, int] | None = None
    parts: tuple[tuple[int, Descriptor], ...] = ()
    no_cache: bool = False
    crowded: bool = False


@record
class Done:
    """What came of it: no content, only what names it. `sent` are bytes that went over the line."""

    descriptor: Descriptor | None
    cached: bool = False
    fingerprint: str = ""
    seconds: float = 0.0
    sent: int = 0
    notes: tuple[str, ...] = ()
    key: str = ""
    images: tuple[Taken, ...] = ()
    parts: tuple[tuple[int, Descriptor], ...] = ()
    hints: tuple[Hint, ...] = ()


def perform(task: Task, session: Session, shared: LayoutStore | None = None, digests: Digests | None = None) -> Done:
    """Make a target, or find that it stands where it goes. `shared` is the task's layout, entered by the caller.

    The session is this task's own: a failure calls off what it began. Raises what `pack` and `build` raise.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        target = fetched(task.target, task.inlined, stack)
        known = digests or Digests(task.hints, task.kept_ns)
        if target.sources is not None:
            done = _built(task, target, session, shared, known, stack)
        else:
            done = _packed(task, target, session, shared, known, stack)
    hints = known.learned if digests is None else ()
    return replace(done, seconds=time.monotonic() - began, hints=hints)


def plan_of(target: Target, session: Session, git: Sequence[tuple[str, str]] | None = None) -> Plan:
    """The plan of a target that is packed. Raises what `pack` raises."""
    options = target.options
    inputs = [_look(file, options) for file in target.files]
    epoch = parse_created(options.created) if options.created else session.surroundings.source_date_epoch() or 0
    return make_plan(inputs, options, Context(epoch, additions.entries(options), _git(inputs, options, git)))


def _look(argument: str, options: Options) -> Input:
    path, platform = naming.split_input(argument)
    return Input(inspect(path, allow_dynamic=options.allow_dynamic), platform)


def _git(inputs: Sequence[Input], options: Options, known: Sequence[tuple[str, str]] | None) -> dict[str, str]:
    if known is not None or not options.git:
        return dict(known or ())
    from ocibuild.pack import git

    return git.facts(Path(inputs[0].artifact.path).absolute().parent if inputs else Path())


def _packed(
    task: Task, target: Target, session: Session, shared: LayoutStore | None, digests: Digests, stack: ExitStack
) -> Done:
    plan = plan_of(target, session, task.git)
    return _delivered(task, target, plan, _repositories(task, target, session, stack), session, shared, digests, stack)


def _delivered(
    task: Task,
    target: Target,
    plan: Plan,
    repositories: Sequence[Repository],
    session: Session,
    shared: LayoutStore | None,
    digests: Digests,
    stack: ExitStack,
) -> Done:
    """The plan's image where it goes, made where it does not stand there."""
    key = fingerprint.of(plan, digests)
    if not task.no_cache:
        for known in task.known:
            if known.fingerprint == key and _stands(known.descriptor, task, repositories, shared):
                return Done(known.descriptor, cached=True, fingerprint=key)
    size = _size(plan)
    stage = _stage(task, shared, size, stack)
    with session.flow() as flow:
        if task.crowded and size <= _SMALL:
            flow = flow.alone
        if task.part is not None and isinstance(plan, IndexPlan):
            return _part(task, plan, stage, repositories, flow)
        if isinstance(plan, IndexPlan) and len(task.parts) == len(plan.images):
            root, sent = _joined(task, plan, stage, repositories, flow), 0
        else:
            root = assemble(plan, stage, flow).with_platform(None)
            sent = _push(stage, root, repositories, flow)
    if task.alone:
        _name(stage, root, target)
    return Done(root, fingerprint=key, sent=sent)


def _part(
    task: Task, plan: IndexPlan, stage: LayoutStore | MemoryStore, repositories: Sequence[Repository], flow: Flow
) -> Done:
    """Some of an index's images, without a name: the index will have one."""
    assert task.part is not None
    first, step = task.part
    parts, sent = [], 0
    for place in range(first, len(plan.images), step):
        root = assemble(plan.images[place], stage, flow)
        sent += _push(stage, root, [replace(one, tags=()) for one in repositories], flow)
        parts.append((place, root))
    return Done(None, parts=tuple(parts), sent=sent)


def _joined(
    task: Task, plan: IndexPlan, stage: LayoutStore | MemoryStore, repositories: Sequence[Repository], flow: Flow
) -> Descriptor:
    """The index of parts that stand where it goes."""
    entries = tuple(entry for _, entry in sorted(task.parts, key=lambda part: part[0]))
    index = Index(entries, dict(plan.annotations))
    blob = Blob.of(index.media_type, index.to_bytes())
    if task.layout:
        stage.push(blob, flow)
    for repository in repositories:
        for tag in repository.tags:
            repository.store.push_named(blob, tag, flow)
    return blob.descriptor


def _built(
    task: Task, target: Target, session: Session, shared: LayoutStore | None, digests: Digests, stack: ExitStack
) -> Done:
    """Not built where it is known what it depends on, and nothing of it is otherwise; not sent where it comes out equal."""
    from ocibuild.api import bakesources, build

    hidden = _written(task, target)
    key = bakesources.key(target, session, digests, hidden)
    repositories = _repositories(task, target, session, stack)
    for known in () if task.no_cache else task.known:
        if (
            known.key
            and known.key == key.of(known.images)
            and bakesources.still(known.images, session)
            and _stands(known.descriptor, task, repositories, shared)
        ):
            return Done(known.descriptor, True, known.fingerprint, key=known.key, images=known.images)
    made = build.planned(target, session, stack, hidden=hidden, no_cache=task.no_cache)
    done = _delivered(task, target, made.plan, repositories, session, shared, digests, stack)
    doubt = bakesources.doubt(made, key)
    notes = (*made.notes, *([f"it is built each time: {doubt}"] if doubt else []))
    return replace(done, notes=notes, key="" if doubt else key.of(made.images), images=made.images)


def _written(task: Task, target: Target) -> Path | None:
    """What a bake writes, which is no part of a folder that it builds: the layout, or the folder of all layouts."""
    if task.layout is None or target.sources is None:
        return None
    layout, context = Path(task.layout), Path(target.sources.build or ".").resolve()
    several = layout.name == f"{target.name}.oci" and not context.is_relative_to(layout.resolve().parent)
    return layout.parent if several else layout


def _stands(root: Descriptor, task: Task, repositories: Sequence[Repository], shared: LayoutStore | None) -> bool:
    """Asked of the places themselves, by digest: whole in the layout under its name, and behind every tag."""
    if task.layout is not None:
        store = shared or LayoutStore(task.layout)
        standing = task.standing
        try:
            if task.alone:
                standing = store.resolve(task.target.name)
            if standing is None or standing.digest != root.digest:
                return False
            if not all(store.exists(descriptor) for descriptor in walk(store, root.bare)):
                return False
        except OcibuildError:
            return False
    if not all(one.store.stands(root, tag) for one in repositories for tag in one.tags):
        return False
    return task.layout is not None or bool(repositories)


@record
class Repository:
    """A repository that the image goes to, and its tags there."""

    store: RegistryStore
    tags: tuple[str, ...]


def _repositories(task: Task, target: Target, session: Session, stack: ExitStack) -> list[Repository]:
    """One for all tags in it, and for all that is asked of it and sent to it. None where nothing is pushed."""
    found: dict[Reference, dict[str, None]] = {}
    for reference in map(Reference.parse, target.tags if task.push else ()):
        tags = found.setdefault(replace(reference, tag=None, digest=None), {})
        if reference.tag:
            tags[reference.tag] = None
    return [Repository(stack.enter_context(session.registry(bare)), tuple(tags)) for bare, tags in found.items()]


def _push(stage: LayoutStore | MemoryStore, root: Descriptor, repositories: Sequence[Repository], flow: Flow) -> int:
    from ocibuild.store.copy import copy

    return sum(copy(stage, root.bare, one.store, names=one.tags, flow=flow).bytes_written for one in repositories)


def _stage(task: Task, shared: LayoutStore | None, size: int, stack: ExitStack) -> LayoutStore | MemoryStore:
    """Where the image is put together: the layout it is for, or, on its way to a registry, memory or a private folder."""
    if shared is not None and not task.alone:
        return shared
    if task.layout is not None:
        return stack.enter_context(LayoutStore(task.layout))
    if size <= _SMALL:
        from ocibuild.store.memory import MemoryStore

        return stack.enter_context(MemoryStore(task.target.name))
    return stack.enter_context(LayoutStore(os.path.join(_private(stack), "layout")))


def _size(plan: Plan) -> int:
    images = (plan,) if isinstance(plan, ImagePlan) else plan.images
    found = 0
    for layer in (layer for image in images for layer in image.layers):
        entries = getattr(layer, "entries", None)
        found += sum(entry.size for entry in entries) if entries is not None else getattr(layer, "content").size or 0  # noqa: B009
    return found


def _name(store: LayoutStore | MemoryStore, root: Descriptor, target: Target) -> None:
    store.tag(named(root, target), target.name)


def named(root: Descriptor, target: Target) -> Descriptor:
    """The root as a layout's index has it: with the reference that engines are to call it by."""
    from ocibuild.spec import annotation

    bare = root.bare
    if not target.tags:
        return bare
    return bare.with_annotations({annotation.CONTAINERD_NAME: str(Reference.parse(target.tags[0]))})


def _private(stack: ExitStack) -> str:
    return stack.enter_context(tempfile.TemporaryDirectory(prefix="ocibuild-bake-", ignore_cleanup_errors=True))
