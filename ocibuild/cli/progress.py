"""What moves, shown while it moves: bars on a terminal, lines in a log, events for a program, or nothing.

Everything goes to stderr. Each takes a flow's events from any thread. rich is imported when the first bar is shown.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from ocibuild.ambient import Ambient
from ocibuild.cli.output import plain, size
from ocibuild.content.flow import Event
from ocibuild.spec.descriptor import Descriptor

if TYPE_CHECKING:
    from rich.progress import Progress as Display
    from rich.progress import TaskID

NOTABLE = 1024 * 1024
"""Bytes from which on a blob has a line of its own in a log."""

_WITH_BAR = 64 * 1024
_BARS = 8
_LINES = 50
_EVERY = 5.0
_OFTEN = 0.1
_PATIENCE = 0.2
_NARROW = 72


class Progress(Protocol):
    """What a session reports to."""

    def __call__(self, event: Event) -> None:
        """Take an event, from any thread."""

    def close(self) -> None:
        """Leave a clean line. Notes are still shown afterwards."""


def is_watched(mode: str, surroundings: Ambient, stream: TextIO) -> bool:
    """True where something that moves is wanted, and can: on a terminal that is none of CI's, unless `mode` is `tty`."""
    if mode not in ("tty", "auto") or not stream.isatty() or surroundings.environ.get("TERM") == "dumb":
        return False
    return mode == "tty" or not surroundings.is_ci


def choose(mode: str, surroundings: Ambient, *, quiet: bool) -> Progress:
    """The one for `mode`; `auto` takes bars where somebody watches. What cannot move the cursor gets lines."""
    stream = sys.stderr
    if quiet:
        return Silent()
    if mode == "json":
        return Events(stream)
    if mode == "none":
        return Notes(stream)
    if is_watched(mode, surroundings, stream):
        return Bars(stream, surroundings, 0.0 if mode == "tty" else _PATIENCE)
    return Lines(stream)


class Silent:
    """Nothing at all."""

    def __call__(self, event: Event) -> None:
        """See Progress."""

    def close(self) -> None:
        """See Progress."""


class Notes:
    """What a person should know, each once: retries, warnings, the account at the end."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = threading.RLock()
        self._said: set[str] = set()

    def __call__(self, event: Event) -> None:
        """See Progress."""
        with self._lock:
            if event.kind in ("retry", "output"):
                self._say(event.text)
            elif event.kind in ("note", "warning"):
                if event.text not in self._said:
                    self._said.add(event.text)
                    self._say(event.text)
            elif event.kind == "packed":
                self._packed(event)
            elif event.descriptor is not None:
                self._moved(event, event.descriptor)

    def close(self) -> None:
        """See Progress."""

    def _say(self, text: str) -> None:
        self._stream.write(plain(text) + "\n")
        self._stream.flush()

    def _moved(self, event: Event, descriptor: Descriptor) -> None:
        pass

    def _packed(self, event: Event) -> None:
        pass


class Tally:
    """How far all of it is. `total` and `moved` are bytes that need moving, `blobs` and `ended` count what was planned.

    `packed` of `layer` bytes are in the layer that is being made; both are 0 while there is none.
    """

    def __init__(self) -> None:
        self.total = self.moved = self.blobs = self.ended = 0
        self.packed = self.layer = 0
        self._open: set[str] = set()

    def pack(self, event: Event) -> None:
        """Count some of a layer."""
        self.packed, self.layer = self.packed + event.amount, event.total
        if self.packed >= self.layer:
            self.packed = self.layer = 0

    def add(self, event: Event, descriptor: Descriptor) -> None:
        """Count an event of a blob."""
        digest = descriptor.digest
        if event.kind == "plan" and digest not in self._open:
            self._open.add(digest)
            self.blobs += 1
            self.total += descriptor.size
        elif event.kind in ("done", "exists", "mounted") and digest in self._open:
            self._open.remove(digest)
            self.ended += 1
            if event.kind != "done":
                self.total -= descriptor.size
        self.moved = max(0, self.moved + event.amount)

    def __str__(self) -> str:
        if self.layer:
            return f"packed {size(self.packed)} of {size(self.layer)}"
        return f"{size(self.moved)} of {size(self.total)}, {self.ended} of {self.blobs} blobs"


class Lines(Notes):
    """For a log: a line when a blob of notable size begins and ends, and one every few seconds for all of it."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._tally = Tally()
        self._lines = _LINES
        self._began: dict[str, float] = {}
        self._start = self._last = clock()

    def _moved(self, event: Event, descriptor: Descriptor) -> None:
        self._tally.add(event, descriptor)
        now = self._clock()
        name, digest = f"{descriptor.digest.short} {size(descriptor.size)}", descriptor.digest
        if descriptor.size >= NOTABLE:
            if event.kind == "start" and digest not in self._began:
                self._began[digest] = now
                self._tell(f"{name}: begun")
            elif event.kind == "done" and digest in self._began:
                seconds = max(now - self._began.pop(digest), 0.001)
                self._tell(f"{name}: done in {seconds:.1f} s, {size(descriptor.size / seconds)}/s")
            elif event.kind in ("exists", "mounted"):
                self._tell(f"{name}: {'already there' if event.kind == 'exists' else 'mounted'}")
        if event.kind == "advance" and self._tally.total:  # a packed image's manifests were not announced
            self._tell_rate(self._tally.moved)

    def _packed(self, event: Event) -> None:
        self._tally.pack(event)
        self._tell_rate(self._tally.packed)

    def _tell_rate(self, done: int) -> None:
        """A line about all of it, every few seconds."""
        now = self._clock()
        if done and now - self._last >= _EVERY:
            self._say(f"{self._tally}, {size(done / max(now - self._start, 0.001))}/s")

    def _say(self, text: str) -> None:
        self._last = self._clock()
        super()._say(text)

    def _tell(self, text: str) -> None:
        """A line about one blob, while there are not too many of them."""
        self._lines -= 1
        if self._lines >= 0:
            self._last = self._clock()
            self._say(text)


class Events(Notes):
    """One JSON object a line: schemas/progress.schema.json. A blob's advance at most ten times a second."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream, clock)
        self._start = clock()
        self._bytes: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._layer = 0

    def __call__(self, event: Event) -> None:
        """See Progress."""
        with self._lock:
            if event.descriptor is not None:
                self._moved(event, event.descriptor)
            elif event.kind == "packed":
                self._packed(event)
            else:
                self._write({"event": event.kind, "text": plain(event.text)})

    def _moved(self, event: Event, descriptor: Descriptor) -> None:
        digest = str(descriptor.digest)
        document: dict[str, Any] = {"event": event.kind, "digest": digest, "size": descriptor.size}
        if event.kind in ("plan", "start"):
            document["mediaType"] = descriptor.media_type
        if event.kind == "advance":
            moved = self._bytes[digest] = max(0, self._bytes.get(digest, 0) + event.amount)
            document["moved"] = moved
            now = self._clock()
            if now - self._last.get(digest, -1.0) < _OFTEN and moved < descriptor.size:
                return
            self._last[digest] = now
        elif event.kind in ("done", "exists", "mounted"):
            self._bytes.pop(digest, None)
            self._last.pop(digest, None)
        self._write(document)

    def _packed(self, event: Event) -> None:
        self._layer += event.amount
        now, is_whole = self._clock(), self._layer >= event.total
        if is_whole or now - self._last.get("", -1.0) >= _OFTEN:
            self._last[""] = now
            self._write({"event": "packed", "size": event.total, "moved": self._layer})
        if is_whole:
            self._layer = 0

    def _write(self, document: dict[str, Any]) -> None:
        document["seconds"] = round(self._clock() - self._start, 3)
        self._stream.write(json.dumps(document, ensure_ascii=False) + "\n")
        self._stream.flush()


class Bars(Notes):
    """For a terminal: a bar for each blob that moves, at most eight of them, and one for all. All gone at the end."""

    def __init__(
        self, stream: TextIO, surroundings: Ambient, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream, clock)
        self._surroundings = surroundings
        self._show_from = clock() + patience
        self._tally = Tally()
        self._display: Display | None = None
        self._whole: TaskID | None = None
        self._tasks: dict[str, TaskID] = {}
        self._moving: dict[str, tuple[Descriptor, int]] = {}
        self._room = _BARS
        self._closed = False
        self._alarm: threading.Timer | None = None

    def _say(self, text: str) -> None:
        if self._display is None:
            super()._say(text)
        else:
            self._display.console.print(plain(text), markup=False, highlight=False, soft_wrap=True)

    def _moved(self, event: Event, descriptor: Descriptor) -> None:
        self._tally.add(event, descriptor)
        digest = str(descriptor.digest)
        if event.kind in ("start", "advance") and descriptor.size >= _WITH_BAR:
            before = self._moving.get(digest, (descriptor, 0))[1]
            self._moving[digest] = descriptor, max(0, before + event.amount)
        elif event.kind in ("done", "exists", "mounted"):
            self._moving.pop(digest, None)
            task = self._tasks.pop(digest, None)
            if task is not None and self._display is not None:
                self._display.remove_task(task)
        self._show()

    def _packed(self, event: Event) -> None:
        self._tally.pack(event)
        self._show()

    def _show(self) -> None:
        """Draw, or see to it that it is drawn later: a blob may be out before our patience is, and waited for after."""
        if self._display is None and (self._moving or self._tally.layer) and not self._closed:
            left = self._show_from - self._clock()
            if left <= 0:
                self._open()
            elif self._alarm is None:
                self._alarm = threading.Timer(left, self._remember)
                self._alarm.daemon = True
                self._alarm.start()
        if self._display is not None:
            self._draw(self._display)

    def _remember(self) -> None:
        with self._lock:
            self._show_from = self._clock()
            self._show()

    def _draw(self, display: Display) -> None:
        for digest, (descriptor, moved) in self._moving.items():
            if digest not in self._tasks and len(self._tasks) < self._room:
                self._tasks[digest] = display.add_task(descriptor.digest.short, total=descriptor.size)
            if digest in self._tasks:
                display.update(self._tasks[digest], completed=moved)
        assert self._whole is not None
        if self._tally.layer:
            return display.update(
                self._whole, completed=self._tally.packed, total=self._tally.layer, description="packing"
            )
        if not self._tally.blobs:
            return  # manifests of what was packed: nobody waits for them
        words = f"{self._tally.ended}/{self._tally.blobs} blobs"
        display.update(self._whole, completed=self._tally.moved, total=self._tally.total, description=words)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, ProgressColumn, Task, TextColumn
        from rich.progress import Progress as Display
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{size(task.speed)}/s" if task.speed else "", no_wrap=True)

        console = Console(file=self._stream, no_color=self._surroundings.no_color or None)
        columns: list[ProgressColumn] = [TextColumn("{task.description}"), DownloadColumn(binary_units=True)]
        if console.width >= _NARROW:
            columns[1:1] = [BarColumn(bar_width=min(40, console.width - 50))]
            columns.append(Rate())
        self._room = max(1, min(_BARS, console.height - 3))
        self._display = Display(
            *columns,
            console=console,
            transient=True,
            refresh_per_second=10,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._display.start()
        self._whole = self._display.add_task("", total=None)

    def close(self) -> None:
        """See Progress."""
        with self._lock:
            self._closed = True
            if self._alarm is not None:
                self._alarm.cancel()
            display, self._display = self._display, None
            if display is not None:
                display.stop()
