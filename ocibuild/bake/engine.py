"""The engine: jobs run on any executor, in the order that their needs allow.

It knows nothing of images. A job that was lost with its worker is handed out again, so work must be such that doing it
twice changes nothing.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass, field
from typing import Any, Protocol

from ocibuild.bake.job import Ended, Happened, Job, State
from ocibuild.content.flow import Cancel
from ocibuild.errors import Cancelled, ToolError, UsageError

_POLL = 0.05
_ATTEMPTS = 4
_FAREWELL = 0.8
"""Seconds that what runs is given to end after it was called off."""


class Crew(Protocol):
    """Who works: an executor, and how many jobs it is given at a time."""

    @property
    def executor(self) -> Executor: ...
    @property
    def at_once(self) -> int: ...
    @property
    def one_fate(self) -> bool:
        """True where one job that ends its worker takes all along that run beside it."""

    def renew(self) -> bool:
        """Another executor in place of one that broke; False where it is the same. Raises ToolError where none is left."""

    def call_off(self, given: Collection[Future[Any]]) -> Collection[Future[Any]]:
        """Let what was given out know that nobody waits for it any more. What goes on all the same, in other places."""


def run(
    jobs: Sequence[Job],
    crew: Crew,
    work: Callable[[Any], Any],
    task: Callable[[Job, Mapping[str, Ended]], Any],
    *,
    keep_going: bool = False,
    cancel: Cancel | None = None,
    observe: Callable[[Happened], None] = lambda happened: None,
    is_cached: Callable[[Any], bool] = lambda value: False,
    go_on: Callable[[Sequence[Job]], None] = lambda jobs: None,
) -> dict[str, Ended]:
    """Do all jobs, and say how each ended, in the order given. No job's failure is raised.

    `task` makes what `work` is given for a job once all that it needs is done. After a failure no job is begun any more,
    those that run go on to their end, and the rest is skipped; with `keep_going` only what needs the failed one is.
    Where all is called off, `go_on` is told of jobs that go on all the same, on machines that nobody here can stop.
    Raises UsageError (`needs-circle`), Cancelled, and KeyboardInterrupt, within a second.
    """
    refuse_circles(jobs)
    return _Run(list(jobs), crew, work, task, keep_going, cancel or Cancel(), observe, is_cached, go_on).whole()


def refuse_circles(jobs: Sequence[Job]) -> None:
    """Raises UsageError (`needs-circle`) where jobs wait for each other."""
    needs = {job.name: list(job.needs) for job in jobs}
    ready = deque(name for name, others in needs.items() if not others)
    waiting = {name: len(others) for name, others in needs.items()}
    users: dict[str, list[str]] = {}
    for name, others in needs.items():
        for other in others:
            users.setdefault(other, []).append(name)
    while ready:
        name = ready.popleft()
        del waiting[name]
        for user in users.get(name, ()):
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    if waiting:
        way = [next(iter(waiting))]
        while way[-1] not in way[:-1]:
            way.append(next(other for other in needs[way[-1]] if other in waiting))
        raise UsageError(
            f"targets need each other: {' needs '.join(way[way.index(way[-1]) :])}",
            code="needs-circle",
            hint="take one of these needs out",
        )


@dataclass
class _Run:
    jobs: list[Job]
    crew: Crew
    work: Callable[[Any], Any]
    task: Callable[[Job, Mapping[str, Ended]], Any]
    keep_going: bool
    cancel: Cancel
    observe: Callable[[Happened], None]
    is_cached: Callable[[Any], bool]
    go_on: Callable[[Sequence[Job]], None]
    ended: dict[str, Ended] = field(default_factory=dict)
    running: dict[Future[Any], tuple[Job, int]] = field(default_factory=dict)
    generation: int = 0
    attempts: dict[str, int] = field(default_factory=dict)
    finished: queue.SimpleQueue[Future[Any]] = field(default_factory=queue.SimpleQueue)
    stopped: bool = False

    def whole(self) -> dict[str, Ended]:
        waiting = {job.name: len(set(job.needs)) for job in self.jobs}
        users: dict[str, list[Job]] = {}
        for job in self.jobs:
            for other in set(job.needs):
                users.setdefault(other, []).append(job)
        ready = deque(job for job in self.jobs if not job.needs)
        try:
            while len(self.ended) < len(self.jobs):
                over = self._begin(ready)
                if self.running:
                    over += self._gather(ready)
                for user in (user for job in over for user in users.get(job.name, ())):
                    waiting[user.name] -= 1
                    if not waiting[user.name]:
                        ready.append(user)
                self.cancel.check()
        except BaseException:
            self._give_up()
            raise
        return {job.name: self.ended[job.name] for job in self.jobs}

    def _begin(self, ready: deque[Job]) -> list[Job]:
        """Hand out as much as the crew takes; what ended without being begun."""
        over: list[Job] = []
        while ready and (self.stopped or len(self.running) < self._room(ready[0])):
            job = ready.popleft()
            lacking = [name for name in job.needs if not self.ended[name].is_done]
            if self.stopped or lacking:
                over.append(self._end(job, "skipped"))
                continue
            try:
                task = self.task(job, self.ended)
            except Exception as error:
                over.append(self._end(job, "failed", error=error))
                continue
            self.attempts[job.name] = self.attempts.get(job.name, 0) + 1
            if self.attempts[job.name] == 1:
                self.observe(Happened(job, None, len(self.ended), len(self.jobs)))
            try:
                future = self.crew.executor.submit(self.work, task)
            except BrokenExecutor:
                self._renew()
                future = self.crew.executor.submit(self.work, task)
            self.running[future] = job, self.generation
            future.add_done_callback(self.finished.put)
        return over

    def _room(self, job: Job) -> int:
        """How many may run once this one does: who was lost among others is tried alone, so that none is blamed for it."""
        if not self.crew.one_fate:
            return self.crew.at_once
        alone = job.name in self.attempts or any(self.attempts[other.name] > 1 for other, _ in self.running.values())
        return 1 if alone else self.crew.at_once

    def _gather(self, ready: deque[Job]) -> list[Job]:
        """Wait a moment for something to end; what did."""
        over: list[Job] = []
        try:
            first = self.finished.get(timeout=_POLL)  # short: a signal reaches the main thread in between
        except queue.Empty:
            return []
        ended = [first]
        while not self.finished.empty():
            ended.append(self.finished.get())
        for future in ended:
            if future not in self.running:
                continue  # its job was handed out again meanwhile
            job, generation = self.running.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            if isinstance(error, (BrokenExecutor, CancelledError)):
                lost = [job]
                if generation == self.generation and self._renew():
                    # All the others are lost with it, and may never say so.
                    lost += [other for other, _ in self.running.values()]
                    self.running.clear()
                for one in reversed(lost):
                    if self.attempts[one.name] < _ATTEMPTS:
                        ready.appendleft(one)
                    else:
                        over.append(self._end(one, "failed", error=_lost(one)))
            elif error is not None:
                over.append(self._end(job, "cancelled" if isinstance(error, Cancelled) else "failed", error=error))
            else:
                value = future.result()
                over.append(self._end(job, "cached" if self.is_cached(value) else "made", value))
        return over

    def _renew(self) -> bool:
        self.generation += 1
        return self.crew.renew()

    def _end(self, job: Job, state: State, value: Any = None, error: BaseException | None = None) -> Job:
        ended = self.ended[job.name] = Ended(job, state, value, error)
        if state == "failed" and not self.keep_going:
            self.stopped = True
        self.observe(Happened(job, ended, len(self.ended), len(self.jobs)))
        return job

    def _give_up(self) -> None:
        self.cancel.set()
        if going := self.crew.call_off(list(self.running)):
            self.go_on([self.running[future][0] for future in going])
        left = {future for future in self.running if not future.cancel()}
        for _ in range(int(_FAREWELL / _POLL)):
            if all(future.done() for future in left):
                return
            try:
                left.discard(self.finished.get(timeout=_POLL))
            except queue.Empty:
                continue


def _lost(job: Job) -> ToolError:
    return ToolError(
        f"the worker of {job.name} was lost {_ATTEMPTS} times",
        code="executor-broken",
        hint="it may be killed for its memory: look at the worker's log, or give fewer --jobs",
    )
