"""A bake shown while it runs: a table on a terminal, a line for each target in a log, events for a program, or nothing.

Hundreds of targets do not fit a screen: the table has those that run, and one line for all.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TextIO

from ocibuild.ambient import Ambient
from ocibuild.bake.job import Ended, Happened, Step
from ocibuild.cli.output import plain, size
from ocibuild.cli.progress import Events, Notes, Progress, Silent, is_watched
from ocibuild.errors import OcibuildError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_FEW = 40
"""Up to so many targets, each leaves its line above the table."""

_EVERY = 5.0
"""Seconds between two lines of a log about one target that takes its time."""


class Oven(Progress, Protocol):
    """What a bake reports to."""

    def happened(self, happened: Happened) -> None:
        """A target began, is at a step, or ended. From any thread."""


def choose(mode: str, surroundings: Ambient, *, quiet: bool) -> Oven:
    """The one for `--progress`; `auto` is the table where somebody watches."""
    stream = sys.stderr
    if quiet:
        return Still()
    if mode == "json":
        return Told(stream)
    if mode == "none":
        return Remarks(stream)
    if is_watched(mode, surroundings, stream):
        return Table(stream, surroundings)
    return Log(stream)


def line_of(ended: Ended) -> str:
    """What became of a target, in a line."""
    name, done = ended.job.name, ended.value
    if ended.state == "failed":
        return f"{name}: failed: {_message(ended.error)}"
    if ended.state in ("skipped", "cancelled"):
        return f"{name}: {ended.state}"
    digest = done.descriptor.digest.short if done.descriptor is not None else ""
    return f"{name}: {'up to date' if ended.state == 'cached' else f'made in {done.seconds:.1f} s'}, {digest}"


def _far(step: Step) -> str:
    return f"{step.phase} {size(step.moved)} of {size(step.size)}"


def _message(error: BaseException | None) -> str:
    return error.message if isinstance(error, OcibuildError) else f"{type(error).__name__}: {error}"


class Still(Silent):
    """Nothing at all."""

    def happened(self, happened: Happened) -> None:
        """See Oven."""


class Remarks(Notes):
    """Notes alone."""

    def happened(self, happened: Happened) -> None:
        """See Oven."""


class Log(Notes):
    """For a log: a line when a target ends, and every few seconds where one is large."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._last: dict[str, float] = {}

    def happened(self, happened: Happened) -> None:
        """See Oven."""
        name, ended, step = happened.job.name, happened.ended, happened.step
        with self._lock:
            now = self._clock()
            if ended is not None:
                self._last.pop(name, None)
                self._count(happened, line_of(ended))
            elif step is None:
                self._last[name] = now
            elif now - self._last.get(name, now) >= _EVERY:
                self._last[name] = now
                self._count(happened, f"{name}: {_far(step)}")

    def _count(self, happened: Happened, text: str) -> None:
        self._say(f"[{happened.count:{len(str(happened.total))}}/{happened.total}] {text}")


class Told(Events):
    """One JSON object a line: schemas/progress.schema.json."""

    def happened(self, happened: Happened) -> None:
        """See Oven."""
        ended = happened.ended
        document = {
            "event": "target",
            "target": happened.job.name,
            "state": ended.state if ended is not None else "running",
            "count": happened.count,
            "total": happened.total,
        }
        if happened.step is not None:
            document |= {"phase": happened.step.phase, "moved": happened.step.moved, "size": happened.step.size}
        if ended is not None and ended.is_done and ended.value.descriptor is not None:
            document |= {"digest": str(ended.value.descriptor.digest), "sent": ended.value.sent}
        if ended is not None and ended.error is not None:
            document["text"] = plain(_message(ended.error))
        with self._lock:
            self._write(document)


class Table(Notes):
    """For a terminal: a line for each target that runs, how far a large one is, and one for all. Gone at the end; failures stay."""

    def __init__(self, stream: TextIO, surroundings: Ambient, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._surroundings = surroundings
        self._start = clock()
        self._running: dict[str, float] = {}
        self._steps: dict[str, Step] = {}
        self._states: Counter[str] = Counter()
        self._total = 0
        self._live: Live | None = None
        self._closed = False

    def happened(self, happened: Happened) -> None:
        """See Oven."""
        with self._lock:
            self._total = happened.total
            if happened.step is not None:
                self._steps[happened.job.name] = happened.step
                return
            if happened.ended is None:
                self._running[happened.job.name] = self._clock()
                if self._live is None and not self._closed:
                    self._open()
                return
            self._running.pop(happened.job.name, None)
            self._steps.pop(happened.job.name, None)
            self._states[happened.ended.state] += 1
            if happened.total <= _FEW or happened.ended.state == "failed":
                self._say(line_of(happened.ended))

    def _say(self, text: str) -> None:
        if self._live is None:
            super()._say(text)
        else:
            self._live.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)

    def _open(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, no_color=self._surroundings.no_color or None)
        self._live = Live(
            console=console,
            get_renderable=self._drawn,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _drawn(self) -> RenderableType:
        from rich.table import Table as Grid

        with self._lock:
            now = self._clock()
            room = max(1, (self._live.console.height if self._live is not None else 24) - 3)
            running = list(self._running.items())
            grid = Grid.grid(padding=(0, 2))
            for name, began in running[:room]:
                step = self._steps.get(name)
                grid.add_row(plain(name), f"{now - began:.1f} s", _far(step) if step is not None else "")
            if len(running) > room:
                grid.add_row(f"… and {len(running) - room} more")
            grid.add_row(self._summary(), f"{now - self._start:.1f} s")
            return grid

    def _summary(self) -> str:
        ended = sum(self._states.values())
        said = [f"{count} {'up to date' if state == 'cached' else state}" for state, count in self._states.items()]
        waiting = self._total - ended - len(self._running)
        said += [f"{waiting} waiting"] if waiting else []
        return f"{ended} of {self._total}: {', '.join(said)}" if said else f"{ended} of {self._total}"

    def close(self) -> None:
        """See Progress."""
        with self._lock:
            self._closed = True
            live, self._live = self._live, None
        if live is not None:
            live.stop()
