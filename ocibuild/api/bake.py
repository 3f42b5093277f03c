"""`bake`: the targets of a config file become images, side by side, on this machine or on a cluster."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from ocibuild.api import bakeplan
from ocibuild.api.away import Order, Reach, perform_away, prepare
from ocibuild.api.bakeplaces import Goes, kept
from ocibuild.api.bakeplan import PREFIX, BakePlan
from ocibuild.api.baking import Done, Task, perform
from ocibuild.api.fetching import Inline
from ocibuild.api.session import Session
from ocibuild.bake import crews, engine, ledger
from ocibuild.bake.fingerprint import Digests
from ocibuild.bake.job import Ended, Happened, Job, Phase, State
from ocibuild.bake.ledger import Known, Ledger
from ocibuild.bake.steps import Steps
from ocibuild.content.flow import Event
from ocibuild.errors import OcibuildError, UsageError
from ocibuild.pack import naming
from ocibuild.pack.options import Target
from ocibuild.record import record, replace
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store.layout import LayoutStore

_INLINE = 1024 * 1024
_CROWD = 16
"""Targets that keep all threads of a bake busy for a while."""

_SHOWN = 10
_TOLD = ("retry", "warning", "note", "output")


@record
class Image:
    """What became of a target. `references` name the image, pushed ones first, in forms every command accepts.

    `seconds` are the worker's, `sent` the bytes that went to registries.
    """

    name: str
    state: State
    descriptor: Descriptor | None = None
    references: tuple[str, ...] = ()
    seconds: float = 0.0
    sent: int = 0
    notes: tuple[str, ...] = ()
    error: OcibuildError | None = None

    @property
    def digest(self) -> str | None:
        """The image's digest, where there is one."""
        return str(self.descriptor.digest) if self.descriptor is not None else None


@record
class Baked:
    """What came of a bake: an image for every target, in the file's order. `asked` were named, others are needed."""

    plan: BakePlan
    images: tuple[Image, ...]
    notes: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[Image, ...]:
        """The images of the targets that were asked for."""
        return tuple(image for image in self.images if image.name in self.plan.asked)

    @property
    def failed(self) -> tuple[Image, ...]:
        """Those that are not there."""
        return tuple(image for image in self.images if image.state not in ("made", "cached"))


def bake(
    *targets: str,
    config: str | os.PathLike[str] = ".",
    variables: Mapping[str, str] | None = None,
    push: bool = False,
    output: str | None = None,
    executor: str | Executor = "threads",
    jobs: int | None = None,
    keep_going: bool = False,
    no_cache: bool = False,
    session: Session | None = None,
    observe: Callable[[Happened], None] = lambda happened: None,
) -> Baked:
    """Make the targets and groups of these names (the group `default`, or all) of an ocibuild.toml, and what they need.

    With `push` each goes to its tags. `output` is `oci:DIR`, one layout for all, each under its target's name, or a
    folder, with a layout `NAME.oci` for each; without either, the layout `bake.oci`. `executor` is `threads`,
    `process`, `dask://HOST:PORT`, or any Executor. What is up to date, by digest, is not made again, unless `no_cache`
    is said. A target that fails is in what is returned, and
    ends the bake unless it is to `keep_going`. `observe` is told, from any thread, that a target begins, how far a large
    one is (on threads alone), and how it ended. Raises UsageError for what is wrong in the file, StoreError, ToolError,
    Cancelled; images that are whole stay.
    """
    with ExitStack() as stack:
        current = (session if session is not None else stack.enter_context(Session())).begin()
        made = bakeplan.plan(targets, config, variables or {}, current)
        return baked(
            made,
            push=push,
            output=output,
            executor=executor,
            jobs=jobs,
            keep_going=keep_going,
            no_cache=no_cache,
            session=current,
            observe=observe,
        )


def baked(
    made: BakePlan,
    *,
    push: bool = False,
    output: str | None = None,
    executor: str | Executor = "threads",
    jobs: int | None = None,
    keep_going: bool = False,
    no_cache: bool = False,
    session: Session,
    observe: Callable[[Happened], None] = lambda happened: None,
) -> Baked:
    """The same of targets that are resolved."""
    if made.troubles:
        raise made.troubles[0].error
    cluster = isinstance(executor, str) and crews.is_cluster(executor)
    if session.credentials and (cluster or not isinstance(executor, str)):
        raise UsageError(
            "an explicit login is not handed to an executor: a task holds none",
            code="usage",
            hint="log in where the workers are, with ocibuild login or a mounted config.json",
        )
    path = ledger.path_of(_cache(session), made.config)
    with ExitStack() as stack:
        goes = Goes(made, push, output, stack, cluster)
        before = ledger.read(path) if not no_cache else Ledger({})
        shared = stack.enter_context(kept(goes)) if goes.shared is not None else None
        digests = Digests(before.hints, before.kept_ns)
        oven = _Oven(made, goes, before, session, digests, observe, no_cache, cluster=cluster)
        crew: engine.Crew
        work: Callable[[Any], Any]
        if executor == "threads":
            oven.away = False
            crew = stack.enter_context(crews.threads(jobs, waiting=push))
            work = partial(_here, session=session, shared=shared, digests=digests, observe=oven.observe)
        elif executor == "process":
            reach = Reach.of(session, credentials=True)
            crew = stack.enter_context(crews.processes(jobs, prepare, reach))
            work = perform_away
        else:
            crew = stack.enter_context(crews.dask(executor)) if isinstance(executor, str) else crews.Given(executor)
            work, oven.reach = perform_away, Reach.of(session, credentials=False)
        try:
            ended = engine.run(
                oven.jobs(),
                crew,
                work,
                oven.task,
                keep_going=keep_going,
                cancel=session.cancel,
                observe=oven.observe,
                is_cached=lambda done: done.cached,
                go_on=lambda jobs: session.observe(Event("note", text=_going_on(jobs))),
            )
        finally:
            goes.finish(oven.ended, shared)
            hints = (*digests.learned, *oven.hints)
            trouble = ledger.write(path, oven.known, hints)
        notes = (f"what was made is not remembered: {trouble}",) if trouble else ()
        images = tuple(_image(target, ended[target.name], goes) for target in made.targets)
    return Baked(made, images, notes)


def _going_on(jobs: Sequence[Job]) -> str:
    names = list(dict.fromkeys(job.label or job.name for job in jobs))
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    return f"workers of the cluster had begun, and end by themselves: {shown}; nothing else is begun there"


def _here(
    task: Task,
    session: Session,
    shared: LayoutStore | None,
    digests: Digests,
    observe: Callable[[Happened], None],
) -> Done:
    """A task in this process: what it tells is told with its name, and of its blobs how far they are together."""
    job = Job(task.target.name)
    way: Phase = "pushing" if task.target.sources is None else "moving"
    steps = Steps(lambda step: observe(Happened(job, None, 0, 0, step)), way)

    def tell(event: Event) -> None:
        if event.kind in _TOLD:
            session.observe(replace(event, text=f"{task.target.name}: {event.text}"))
        else:
            steps(event)

    return perform(task, replace(session, observe=tell, cancel=session.cancel.child()), shared, digests)


def _cache(session: Session) -> Path:
    """The user's folder for what can be made again: XDG_CACHE_HOME, or ~/.cache."""
    said = session.surroundings.environ.get("XDG_CACHE_HOME")
    return Path(said) if said else Path(session.surroundings.home) / ".cache"


@dataclasses.dataclass
class _Oven:
    """Makes the jobs of a plan and their tasks, and keeps what comes of them."""

    made: BakePlan
    goes: Goes
    kept: Ledger
    session: Session
    digests: Digests
    listen: Callable[[Happened], None]
    no_cache: bool
    cluster: bool
    away: bool = True
    reach: Reach | None = None
    ended: dict[str, Ended] = dataclasses.field(default_factory=dict)
    hints: list[Any] = dataclasses.field(default_factory=list)
    known: dict[str, Known] = dataclasses.field(default_factory=dict)
    _parts: dict[str, tuple[str, int, int]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.targets = {target.name: target for target in self.made.targets}
        epoch = self.session.surroundings.source_date_epoch() or 0
        self.epoch = str(epoch)
        self.standing: dict[str, Descriptor] = {}
        if self.goes.shared is not None:
            for name, root in (
                LayoutStore(self.goes.shared).roots() if Path(self.goes.shared, "index.json").exists() else ()
            ):
                if name is not None:
                    self.standing[name] = root

    def jobs(self) -> list[Job]:
        """One a target; on other processes, an index's images are jobs of their own that it waits for."""
        jobs: list[Job] = []
        for target in self.made.targets:
            parts = []
            if self.away and target.sources is None and len(target.files) > 1:
                for place in range(len(target.files)):
                    part = f"{target.name}#{place}"  # no target's name has this sign
                    self._parts[part] = target.name, place, len(target.files)
                    parts.append(part)
                    jobs.append(Job(part, target.needs, target.name))
            jobs.append(Job(target.name, (*target.needs, *parts)))
        return jobs

    def task(self, job: Job, ended: Mapping[str, Ended]) -> Any:
        """What a worker is given."""
        name, place, step = self._parts.get(job.name, (job.name, 0, 0))
        target = self._filled(self.targets[name], ended)
        task = self.goes.task(target)
        task = replace(
            task,
            known=self.kept.targets.get(name, ()),
            standing=self.standing.get(name),
            no_cache=self.no_cache,
            crowded=len(self.targets) >= _CROWD,
            part=(place, step) if step else None,
            parts=() if step else self._gathered(name, ended),
        )
        if not self.away:
            return task
        if target.sources is None:
            paths = {os.path.abspath(naming.split_input(text)[0]) for text in target.files}
            hints = tuple(hint for hint in self.kept.hints if hint.path in paths)
            task = replace(task, hints=hints, kept_ns=self.kept.kept_ns)
        return Order(self._sent(task) if self.cluster else task, self.reach)

    def _filled(self, target: Target, ended: Mapping[str, Ended]) -> Target:
        """With the time that holds here, and the images of other targets where it names them."""
        options = target.options
        if options.created is None:
            target = replace(target, options=replace(options, created=self.epoch))
        sources = target.sources
        if sources is None or not any(PREFIX in text for text in sources.build_context):
            return target
        contexts = []
        for text in sources.build_context:
            name, _, where = text.partition("=")
            if where.startswith(PREFIX):
                other = where.removeprefix(PREFIX)
                text = f"{name}={self.goes.place(self.targets[other], ended[other].value.descriptor)}"
            contexts.append(text)
        return replace(target, sources=replace(sources, build_context=tuple(contexts)))

    def _gathered(self, name: str, ended: Mapping[str, Ended]) -> tuple[tuple[int, Descriptor], ...]:
        parts = [part for part, (owner, _, _) in self._parts.items() if owner == name]
        return tuple(entry for part in parts for entry in ended[part].value.parts)

    def _sent(self, task: Task) -> Task:
        """With small files in it, and what git says of them: other machines have neither."""
        target = task.target
        inlined = []
        for path in _paths(target):
            try:
                size, mode = os.path.getsize(path), os.stat(path).st_mode
                if os.path.isfile(path) and size < _INLINE:
                    inlined.append(Inline(path, Path(path).read_bytes(), bool(mode & 0o100)))
            except OSError:
                continue  # the worker may have it, or else says that it is missing
        told = None
        if target.options.git and target.files:
            from ocibuild.pack import git

            told = tuple(git.facts(Path(_paths(target)[0]).absolute().parent).items())
        return replace(task, inlined=tuple(inlined), git=told)

    def observe(self, happened: Happened) -> None:
        """Keep what came of a job, and tell who listens, of whole targets alone."""
        ended = happened.ended
        if happened.job.label:
            return
        if ended is not None:
            self.ended[happened.job.name] = ended
            done = ended.value
            if isinstance(done, Done):
                self.hints += done.hints
                if done.fingerprint and done.descriptor is not None:
                    known = Known(done.fingerprint, done.descriptor.bare, done.key, done.images)
                    self.known[happened.job.name] = known
        self.listen(replace(happened, count=len(self.ended), total=len(self.targets)))


def _paths(target: Target) -> list[str]:
    """The files that a target names, without platforms and destinations."""
    added = [text.partition(":")[0] for text in target.options.add if "://" not in text]
    return [*(naming.split_input(text)[0] for text in target.files if "://" not in text), *added]


def _image(target: Target, ended: Ended, goes: Goes) -> Image:
    done = ended.value
    if not isinstance(done, Done) or done.descriptor is None:
        error = crews.explained(ended.error) if ended.error is not None else None
        if error is not None and not isinstance(error, OcibuildError):
            error = OcibuildError(f"{type(error).__name__}: {error}", code="unexpected")
        return Image(target.name, ended.state, error=error)
    root = done.descriptor
    references = goes.references(target, root)
    return Image(target.name, ended.state, root, references, done.seconds, done.sent, done.notes)
