"""Deadlines: one thread for all of them calls what is to be called when a moment has passed.

A socket's timeout starts anew with every byte, so a peer that sends one byte now and then would keep us for ever.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

_IDLE = 5.0


class Deadline:
    """Calls `expire` once, from another thread, when it was armed and not disarmed in time."""

    def __init__(self, expire: Callable[[], None]) -> None:
        self.expire = expire
        self.when = 0.0

    def arm(self, seconds: float) -> None:
        """From now on, so many seconds."""
        self.when = time.monotonic() + seconds
        _clockwork.add(self)

    def disarm(self) -> None:
        """It was made in time."""
        _clockwork.discard(self)


class _Clockwork:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._armed: set[Deadline] = set()
        self._next = 0.0
        self._running = False

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            self._armed.add(deadline)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="ocibuild-deadlines", daemon=True).start()
            elif deadline.when < self._next:
                self._changed.notify()

    def discard(self, deadline: Deadline) -> None:
        with self._changed:
            self._armed.discard(deadline)

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                late = [deadline for deadline in self._armed if deadline.when <= now]
                self._armed.difference_update(late)
                if not late:
                    self._next = min((deadline.when for deadline in self._armed), default=now + _IDLE)
                    self._changed.wait(self._next - now)
                    if not self._armed and time.monotonic() >= self._next:
                        self._running = False
                        return
            for deadline in late:
                deadline.expire()


_clockwork = _Clockwork()


def _afresh() -> None:
    global _clockwork  # a forked child has none of its parent's threads, and may have its locks
    _clockwork = _Clockwork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_afresh)
