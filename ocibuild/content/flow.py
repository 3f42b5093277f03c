"""The flow: what a long piece of work reports to, is called off by, and takes its threads from.

Threads come in here and nowhere else. Code on a pool never submits to that pool, so pools cannot wait for themselves.
"""

from __future__ import annotations

import os
import threading
from _weakrefset import WeakSet  # as threading has it, which spares loading the rest of weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from ocibuild.errors import Cancelled
from ocibuild.record import record, replace
from ocibuild.spec.descriptor import Descriptor

if TYPE_CHECKING:
    from concurrent.futures import Executor, ThreadPoolExecutor

EventKind = Literal[
    "plan", "start", "advance", "done", "exists", "mounted", "retry", "note", "warning", "output", "packed"
]


@record
class Event:
    """One thing that happened.

    `plan` a blob will be moved, `start`/`advance`/`done` it moves (`amount`: bytes since the last event; negative when a
    retry starts over), `exists`/`mounted` it need not, `retry`, `note` and `warning` carry `text` for a person; a warning is
    for everybody, the others are for who watches. `output` is a line that another program printed. `packed`: `amount` more
    bytes of the `total` of a layer that is being made, whose digest nobody knows yet.
    """

    kind: EventKind
    descriptor: Descriptor | None = None
    amount: int = 0
    text: str = ""
    total: int = 0


class Cancel:
    """A switch that also wakes what is blocked: whoever holds a socket leaves a way to close it."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._closers: dict[int, Callable[[], None]] = {}
        self._children: WeakSet[Cancel] = WeakSet()
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
            children = list(self._children)
        for close in closers:
            close()
        for child in children:
            child.set()

    def check(self) -> None:
        """Raises Cancelled once the work is called off."""
        if self._event.is_set():
            raise Cancelled("cancelled")

    def wait(self, seconds: float) -> None:
        """Sleep that ends early, by raising Cancelled, when the work is called off."""
        if self._event.wait(seconds):
            raise Cancelled("cancelled")

    def child(self) -> Cancel:
        """A switch of its own for one piece of work: this one sets it, and not the other way round.

        It is forgotten with the work: a session may see many thousands.
        """
        child = Cancel()
        with self._lock:
            self._children.add(child)
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


class _Pool:
    """Threads that are there once somebody wants them: what is small needs none, and loading them takes its time."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._lock = threading.Lock()
        self._made: ThreadPoolExecutor | None = None
        self._is_closed = False

    def get(self) -> Executor:
        """The pool. Raises RuntimeError once it was closed."""
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the flow has ended")
            if self._made is None:
                from concurrent.futures import ThreadPoolExecutor

                self._made = ThreadPoolExecutor(self._size, self._name)
            return self._made

    def close(self) -> None:
        """Wait for what runs, and drop what waits."""
        with self._lock:
            self._is_closed = True
        if self._made is not None:
            self._made.shutdown(wait=True, cancel_futures=True)


class _Callers(_Pool):
    """No threads: who hands something over does it."""

    def __init__(self) -> None:
        super().__init__(0, "")

    def get(self) -> Executor:
        """See _Pool."""
        from ocibuild.content.here import Here

        return Here()


class Pools:
    """Threads that many flows share while it is open; otherwise every flow has its own. `cpu` and `io` are their numbers."""

    def __init__(self, cpu: int | None = None, io: int = 16) -> None:
        self.workers = cpu or _processors()
        self._io = io
        self._open: tuple[_Pool, _Pool, _Pool] | None = None

    def open(self) -> None:
        """From now on share them."""
        self._open = self._made()

    def close(self) -> None:
        """Wait for what runs, and share none any more."""
        shared, self._open = self._open, None
        for pool in shared or ():
            pool.close()

    @contextmanager
    def lent(self) -> Iterator[tuple[_Pool, _Pool, _Pool]]:
        """Threads for one flow: those that are shared, or its own, which end with it."""
        shared = self._open
        if shared is not None:
            yield shared
            return
        own = self._made()
        try:
            yield own
        finally:
            for pool in own:
                pool.close()

    def _made(self) -> tuple[_Pool, _Pool, _Pool]:
        return (
            _Pool(self.workers, "ocibuild-cpu"),
            _Pool(self._io, "ocibuild-io"),
            _Pool(self._io, "ocibuild-reading"),
        )


@record
class Flow:
    """Where events go, what calls the work off, and three pools, of which that for compressing has `workers` threads."""

    observe: Callable[[Event], None]
    cancel: Cancel
    workers: int
    _cpu: _Pool
    _io: _Pool
    _reading: _Pool

    @property
    def cpu(self) -> Executor:
        """The pool for compressing."""
        return self._cpu.get()

    @property
    def io(self) -> Executor:
        """The pool for moving."""
        return self._io.get()

    @property
    def alone(self) -> Flow:
        """The same for one of many small pieces of work that run side by side: its caller's thread moves what it moves."""
        return replace(self, _io=_Callers())

    @property
    def reading(self) -> Executor:
        """The pool for reading ahead of what moves."""
        return self._reading.get()

    @classmethod
    @contextmanager
    def open(
        cls,
        observe: Callable[[Event], None] = _ignore,
        *,
        cancel: Cancel | None = None,
        cpu: int | None = None,
        io: int = 16,
        pools: Pools | None = None,
    ) -> Iterator[Flow]:
        """A flow with the threads of `pools`, or its own: `cpu` threads (the processors by default), `io` threads.

        Leaving by an exception, Ctrl-C among them, calls the work off first, so that no thread is waited for long.
        """
        pools = pools or Pools(cpu, io)
        cancel = cancel or Cancel()
        with pools.lent() as threads:
            try:
                yield cls(observe, cancel, pools.workers, *threads)
            except BaseException:
                cancel.set()
                raise


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
