"""How far a target is, added up from the events of its blobs: of the large ones, since nobody waits for the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ocibuild.bake.job import Phase, Step
from ocibuild.content.flow import Event
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest

LARGE = 1024 * 1024
"""Bytes from which on a blob, or a layer that is made, counts."""

_OFTEN = 0.1


class Steps:
    """Takes one target's events, from any thread, and tells each phase, and ten times a second how far it is.

    `way` is what is said where blobs move.
    """

    def __init__(self, tell: Callable[[Step], None], way: Phase, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._way: Phase = way
        self._clock = clock
        self._lock = threading.Lock()
        self._told: tuple[Phase | None, float] = None, 0.0
        self._packed = self._moved = self._size = 0
        self._open: set[Digest] = set()

    def __call__(self, event: Event) -> None:
        """Take an event of any kind."""
        descriptor = event.descriptor
        if (descriptor.size if descriptor is not None else event.total) < LARGE:
            return
        with self._lock:
            step = self._pack(event) if descriptor is None else self._move(event, descriptor)
            now, (phase, told) = self._clock(), self._told
            if step is None or (step.phase == phase and now - told < _OFTEN):
                return
            self._told = step.phase, now
        self._tell(step)

    def _pack(self, event: Event) -> Step:
        self._packed += event.amount
        step = Step("packing", self._packed, event.total)
        if self._packed >= event.total:
            self._packed = 0  # the next layer's
        return step

    def _move(self, event: Event, descriptor: Descriptor) -> Step | None:
        digest = descriptor.digest
        if event.kind in ("plan", "start") and digest not in self._open:
            self._open.add(digest)
            self._size += descriptor.size
        elif event.kind in ("done", "exists", "mounted") and digest in self._open:
            self._open.remove(digest)  # another repository's copy of it counts again
            if event.kind != "done":
                self._size -= descriptor.size
        self._moved = max(0, self._moved + event.amount)
        return Step(self._way, self._moved, self._size) if event.kind in ("start", "advance") else None
