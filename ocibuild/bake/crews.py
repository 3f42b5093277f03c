"""Crews: threads of this process, processes of this machine, or the workers of a Dask cluster.

    threads                     the default
    process                     processes, where compressing is more than one interpreter can feed
    dask://HOST:PORT            a scheduler of Dask's; tls://HOST:PORT as Dask itself is configured

https://distributed.dask.org/en/stable/asynchronous.html, Client.get_executor.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from ocibuild.errors import NetworkError, ToolError, UsageError

_DASK = ("dask://", "tls://")
_IN_FLIGHT = 2000
_WAITING = 16
_RENEWALS = 8
_CONNECT = "15s"
_RECONNECT = "60s"
_CALLED_OFF = 0.5
"""Seconds that a scheduler is given to take back what was handed out."""


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

    def call_off(self, given: Collection[Future[Any]]) -> Collection[Future[Any]]:
        """See Crew. What became of them is the owner's to know."""
        return ()


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

    def call_off(self, given: Collection[Future[Any]]) -> Collection[Future[Any]]:
        """See Crew."""
        self.ending()
        return ()


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
            from distributed import Future as Remote
        except ImportError as error:
            raise ToolError(
                "this Python has no Dask, which --executor dask:// needs",
                code="extra-missing",
                hint="pip install 'ocibuild[dask]'",
            ) from error
        self._make: Any = Client  # it has no types
        self._future: Any = Remote
        self._keys: WeakKeyDictionary[Future[Any], str] = WeakKeyDictionary()
        self._address = address
        self._renewals = 0
        self._client, self._inner = self._connected(_CONNECT)
        self._scheduler = self._identity()
        self._patience = 2.0

    @property
    def executor(self) -> Executor:
        """See Crew."""
        return self

    def submit(self, fn: Callable[..., Any], /, *given: Any, **said: Any) -> Future[Any]:
        """See Executor. Raises BrokenExecutor where the scheduler is gone."""
        key = f"{fn.__name__}-{os.urandom(16).hex()}"
        try:
            future: Future[Any] = self._inner.submit(fn, *given, key=key, **said)
            self._keys[future] = key
            return future
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

    def call_off(self, given: Collection[Future[Any]]) -> Collection[Future[Any]]:
        """See Crew. What a worker has begun cannot be stopped from here: it runs to its end there, with its tags."""
        import asyncio

        self._patience = 0.2
        keys = {future: self._keys[future] for future in given if future in self._keys and not future.done()}
        try:
            asking = asyncio.run_coroutine_threadsafe(self._cancelled(keys.values()), self._client.loop.asyncio_loop)
            begun = asking.result(_CALLED_OFF)
        except Exception:  # a scheduler that does not answer is not waited for
            return ()
        return [future for future, key in keys.items() if key in begun]

    async def _cancelled(self, keys: Collection[str]) -> set[str]:
        """Take back what no worker has begun. The keys of what goes on, as workers tell."""
        await self._client.cancel([self._future(key, self._client) for key in keys], asynchronous=True)
        told = await self._client.run(_executing, on_error="ignore")
        return {key for each in told.values() for key in each}

    def close(self) -> None:
        """Leave the scheduler."""
        with suppress(Exception):  # one that is gone needs no farewell
            self._client.close(timeout=self._patience)

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


def _executing(dask_worker: Any) -> list[str]:
    """The keys of what a worker is at; it fills the argument in by its name."""
    return [str(task.key) for task in dask_worker.state.executing]


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
