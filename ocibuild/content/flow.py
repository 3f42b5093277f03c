"""The flow: what a long piece of work reports to, is called off by, and takes its threads from.

Threads come in here and nowhere else. Code on a pool never submits to that pool, so pools cannot wait for themselves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from ocibuild.errors import Cancelled
from ocibuild.spec.descriptor import Descriptor

EventKind = Literal["plan", "start", "advance", "done", "exists", "mounted", "retry", "note", "warning", "output"]


@dataclass(frozen=True)
class Event:
    """One thing that happened.

    `plan` a blob will be moved, `start`/`advance`/`done` it moves (`amount`: bytes since the last event; negative when a
    retry starts over), `exists`/`mounted` it need not, `retry`, `note` and `warning` carry `text` for a person; a warning is
    for everybody, the others are for who watches. `output` is a line that another program printed.
    """

    kind: EventKind
    descriptor: Descriptor | None = None
    amount: int = 0
    text: str = ""


class Cancel:
    """A switch that also wakes what is blocked: whoever holds a socket leaves a way to close it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._closers: dict[int, Callable[[], None]] = {}
        self._next = 0

    @property
    def is_set(self) -> bool:
        """True once the work is called off."""
        return self._event.is_set()

    def set(self) -> None:
        """Call the work off: from now on `check` raises, and every registered closer is called once."""
        self._event.set()
        with self._lock:
            closers, self._closers = list(self._closers.values()), {}
        for close in closers:
            close()

    def check(self) -> None:
        """Raises Cancelled once the work is called off."""
        if self._event.is_set():
            raise Cancelled("cancelled")

    def wait(self, seconds: float) -> None:
        """Sleep that ends early, by raising Cancelled, when the work is called off."""
        if self._event.wait(seconds):
            raise Cancelled("cancelled")

    def child(self) -> Cancel:
        """A switch of its own for one piece of work: this one sets it, and not the other way round."""
        child = Cancel()
        with self._lock:
            self._next += 1
            self._closers[self._next] = child.set
        if self.is_set:
            child.set()
        return child

    @contextmanager
    def closing(self, close: Callable[[], None]) -> Iterator[None]:
        """While inside, `set` calls `close`."""
        self.check()
        with self._lock:
            self._next += 1
            ticket = self._next
            self._closers[ticket] = close
        try:
            yield
        finally:
            with self._lock:
                self._closers.pop(ticket, None)


def _ignore(event: Event) -> None:
    pass


@dataclass(frozen=True)
class Flow:
    """Where events go, what calls the work off, and the two pools: `cpu` for compressing, `io` for moving."""

    observe: Callable[[Event], None]
    cancel: Cancel
    cpu: Executor
    io: Executor
    workers: int

    @classmethod
    @contextmanager
    def open(
        cls,
        observe: Callable[[Event], None] = _ignore,
        *,
        cancel: Cancel | None = None,
        cpu: int | None = None,
        io: int = 16,
    ) -> Iterator[Flow]:
        """A flow with pools of its own: `cpu` threads (the processors by default), `io` threads.

        Leaving by an exception, Ctrl-C among them, calls the work off first, so that no thread is waited for long.
        """
        workers = cpu or _processors()
        cancel = cancel or Cancel()
        cpu_pool = ThreadPoolExecutor(workers, "ocibuild-cpu")
        io_pool = ThreadPoolExecutor(io, "ocibuild-io")
        try:
            yield cls(observe, cancel, cpu_pool, io_pool, workers)
        except BaseException:
            cancel.set()
            raise
        finally:
            cpu_pool.shutdown(wait=True, cancel_futures=True)
            io_pool.shutdown(wait=True, cancel_futures=True)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
