"""Crews: threads of this process, processes of this machine, or the workers of a Dask cluster.

    threads                     the default
    process                     processes, where compressing is more than one interpreter can feed
    dask://HOST:PORT            a scheduler of Dask's; tls://HOST:PORT as Dask itself is configured

https://distributed.dask.org/en/stable/asynchronous.html, Client.get_executor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ocibuild.errors import NetworkError, ToolError, UsageError

_DASK = ("dask://", "tls://")
_IN_FLIGHT = 2000
_WAITING = 16
_RENEWALS = 8
_CONNECT = "15s"
_RECONNECT = "60s"


@dataclass
class Given:
    """An executor of somebody else's, who also ends it."""

    executor: Executor
    at_once: int = 16
    one_fate: bool = True

    def renew(self) -> bool:
        """See Crew."""
        raise ToolError(
            "the executor broke while it worked",
            code="executor-broken",
            hint="a worker ended by itself: look at its memory",
        )

    def call_off(self) -> None:
        """See Crew."""


@dataclass
class Local:
    """An executor that `make` makes, and makes again where it broke."""

    make: Callable[[], Executor]
    at_once: int
    ending: Callable[[], None] = lambda: None
    one_fate: bool = True
    executor: Executor = field(init=False)
    _renewals: int = 0

    def __post_init__(self) -> None:
        self.executor = self.make()

    def renew(self) -> bool:
        """See Crew."""
        self._renewals += 1
        if self._renewals > _RENEWALS:
            raise ToolError(
                "workers end again and again",
                code="executor-broken",
                hint="they may be killed for their memory: give fewer --jobs",
            )
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.executor = self.make()
        return True

    def call_off(self) -> None:
        """See Crew."""
        self.ending()


def is_cluster(name: str) -> bool:
    """True where workers are on other machines. Raises UsageError (`executor-unknown`)."""
    if name in ("threads", "process"):
        return False
    if name.startswith(_DASK) and len(name) > len("dask://"):
        return True
    raise UsageError(
        f"{name!r} is no executor", code="executor-unknown", hint="there are threads, process and dask://HOST:PORT"
    )


@contextmanager
def threads(jobs: int | None, *, waiting: bool = False) -> Iterator[Local]:
    """So many threads; those of the flow, that compress and move what is large, come besides.

    One a processor: beyond that they only take turns, and 1,000 small targets took twice the processor's time on four
    threads that they took on two. Where they will be `waiting` for a registry, as many as a client has connections to it.
    """
    from concurrent.futures import ThreadPoolExecutor

    count = jobs or max(_WAITING if waiting else 1, _processors())
    crew = Local(lambda: ThreadPoolExecutor(count, "ocibuild-bake"), count)
    try:
        yield crew
    finally:
        crew.executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def processes(jobs: int | None, prepare: Callable[..., None], *given: Any) -> Iterator[Local]:
    """So many processes, each of which calls `prepare(ending, *given)` first: `ending` is set when all is called off."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    count = jobs or _processors()
    # Not forked: this process has threads, and a fork would copy their locks.
    context = multiprocessing.get_context("spawn")
    ending = context.Event()

    def make() -> Executor:
        return ProcessPoolExecutor(count, context, initializer=prepare, initargs=(ending, *given))

    crew = Local(make, count, ending.set)
    try:
        yield crew
    except BaseException:
        ending.set()
        raise
    finally:
        crew.executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def dask(address: str) -> Iterator[Cluster]:
    """The workers of a scheduler. Raises ToolError (`extra-missing`), NetworkError (`scheduler-unreachable`)."""
    cluster = Cluster(address)
    try:
        yield cluster
    finally:
        cluster.close()


class Cluster(Executor):
    """A scheduler of Dask's, as an executor that says that it broke where the scheduler is gone, and as its own crew.

    The scheduler hands out again by itself what was lost with a worker. Where it is gone itself, another one is waited
    for at its address.
    """

    at_once = _IN_FLIGHT
    one_fate = False

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise ToolError(
                "this Python has no Dask, which --executor dask:// needs",
                code="extra-missing",
                hint="pip install 'ocibuild[dask]'",
            ) from error
        self._make: Any = Client  # it has no types
        self._address = address
        self._renewals = 0
        self._client, self._inner = self._connected(_CONNECT)
        self._scheduler = self._identity()

    @property
    def executor(self) -> Executor:
        """See Crew."""
        return self

    def submit(self, fn: Callable[..., Any], /, *given: Any, **said: Any) -> Future[Any]:
        """See Executor. Raises BrokenExecutor where the scheduler is gone."""
        try:
            return self._inner.submit(fn, *given, **said)  # type: ignore[no-any-return]
        except Exception as error:  # it has many ways to say so
            raise BrokenExecutor(f"the scheduler at {self._address} is gone") from error

    def renew(self) -> bool:
        """See Crew."""
        self._renewals += 1
        if self._client.status == "running" and self._renewals < _RENEWALS:
            # Lost on the other side; or the client has found another scheduler, which knows nothing of what it was given.
            before, self._scheduler = self._scheduler, self._identity()
            return before != self._scheduler
        if self._renewals > 2 * _RENEWALS:
            raise ToolError(f"the scheduler at {self._address} goes away again and again", code="executor-broken")
        self.close()
        self._client, self._inner = self._connected(_RECONNECT)
        self._scheduler = self._identity()
        return True

    def _identity(self) -> object:
        try:
            return self._client.scheduler_info(n_workers=0).get("id")
        except Exception:  # it went away again: the next loss says so
            return None

    def call_off(self) -> None:
        """See Crew. What is with workers runs to its end there, and changes nothing but what has no name yet."""

    def close(self) -> None:
        """Leave the scheduler."""
        with suppress(Exception):  # one that is gone needs no farewell
            self._client.close(timeout=2)

    def _connected(self, patience: str) -> tuple[Any, Any]:
        at = self._address
        where = f"tcp://{at.removeprefix('dask://')}" if at.startswith("dask://") else at
        try:
            client = self._make(where, timeout=patience, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise NetworkError(
                f"no scheduler of Dask's answers at {at}: {error}",
                code="scheduler-unreachable",
                hint="start one with: dask scheduler",
            ) from error
        return client, client.get_executor(pure=False)


def explained(error: BaseException) -> BaseException:
    """What an executor itself says of a task, in our words."""
    if type(error).__name__ == "KilledWorker":  # of a package that may not be here
        return ToolError(
            "every worker that had it was lost",
            code="executor-broken",
            hint="they may be killed for their memory: look at a worker's log",
        )
    return error


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
