"""The engine: order, failures, lost workers and Ctrl-C, on executors of every kind, with no image in sight."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest

from ocibuild.bake import crews, engine
from ocibuild.bake.crews import Given, Local
from ocibuild.bake.job import Ended, Happened, Job
from ocibuild.content.flow import Cancel
from ocibuild.errors import Cancelled, InputError, OcibuildError, ToolError, UsageError


class AtOnce(Executor):
    """Does each task when it is submitted."""

    def __init__(self) -> None:
        self.order: list[Any] = []

    def submit(self, fn: Callable[..., Any], /, *given: Any, **said: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.order.append(given[0])
        try:
            future.set_result(fn(*given, **said))
        except Exception as error:
            future.set_exception(error)
        return future


def name_of(job: Job, ended: Mapping[str, Ended]) -> str:
    return job.name


def run(jobs: list[Job], work: Callable[[Any], Any], crew: engine.Crew | None = None, **said: Any) -> dict[str, Ended]:
    return engine.run(jobs, crew or Given(AtOnce(), 4), work, name_of, **said)


def states(ended: Mapping[str, Ended]) -> dict[str, str]:
    return {name: one.state for name, one in ended.items()}


def fails(*names: str) -> Callable[[str], str]:
    def work(name: str) -> str:
        if name in names:
            raise InputError(f"{name} is broken")
        return name

    return work


def test_jobs_run_after_what_they_need_and_are_told_in_the_order_given() -> None:
    executor = AtOnce()
    jobs = [Job("c", ("b", "a")), Job("b", ("a",)), Job("a"), Job("d")]
    seen: list[Happened] = []
    ended = run(jobs, str.upper, Given(executor, 4), observe=seen.append)
    assert [one.value for one in ended.values()] == ["C", "B", "A", "D"]
    assert list(ended) == ["c", "b", "a", "d"]
    assert executor.order.index("a") < executor.order.index("b") < executor.order.index("c")
    assert [one.count for one in seen if one.ended] == [1, 2, 3, 4]
    assert {one.total for one in seen} == {4}


def test_a_task_is_made_of_what_the_needed_ones_came_to() -> None:
    def task(job: Job, ended: Mapping[str, Ended]) -> list[int]:
        return [ended[name].value for name in job.needs]

    ended = engine.run([Job("sum", ("a", "b")), Job("a"), Job("b")], Given(AtOnce(), 1), lambda of: sum(of) + 1, task)
    assert ended["sum"].value == 3


def test_no_more_run_at_a_time_than_the_crew_takes() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work(name: str) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    with ThreadPoolExecutor(8) as pool:
        run([Job(str(n)) for n in range(20)], work, Given(pool, 3))
    assert 1 < most <= 3


def test_a_failure_ends_what_was_not_begun() -> None:
    jobs = [Job("a"), Job("bad", ("a",)), Job("c", ("bad",)), Job("d", ("c",)), Job("free", ("a",))]
    ended = run(jobs, fails("bad"), Given(AtOnce(), 1))
    assert states(ended) == {"a": "made", "bad": "failed", "c": "skipped", "d": "skipped", "free": "skipped"}
    assert isinstance(ended["bad"].error, InputError)


def test_keeping_going_skips_only_what_needs_it() -> None:
    jobs = [Job("a"), Job("bad"), Job("c", ("bad",)), Job("d", ("c",)), Job("free")]
    ended = run(jobs, fails("bad"), keep_going=True)
    assert states(ended) == {"a": "made", "bad": "failed", "c": "skipped", "d": "skipped", "free": "made"}


def test_a_task_that_cannot_be_made_is_that_jobs_failure() -> None:
    def task(job: Job, ended: Mapping[str, Ended]) -> str:
        raise UsageError("no such place")

    ended = engine.run([Job("a"), Job("b")], Given(AtOnce(), 1), str, task, keep_going=True)
    assert states(ended) == {"a": "failed", "b": "failed"}


def test_values_say_whether_they_were_there_already() -> None:
    assert states(run([Job("a"), Job("b")], str, is_cached=lambda value: value == "a")) == {"a": "cached", "b": "made"}


@pytest.mark.parametrize(
    "jobs, way",
    [
        ([Job("a", ("a",))], "a needs a"),
        ([Job("x"), Job("a", ("b", "x")), Job("b", ("c",)), Job("c", ("a",)), Job("d", ("a",))], "a needs b needs c needs a"),
    ],
)  # fmt: skip
def test_circles_are_refused_before_anything_runs(jobs: list[Job], way: str) -> None:
    executor = AtOnce()
    with pytest.raises(UsageError) as caught:
        run(jobs, str, Given(executor, 1))
    assert caught.value.code == "needs-circle"
    assert str(caught.value) == f"targets need each other: {way}"
    assert executor.order == []


def test_ten_thousand_jobs_in_a_row_are_no_trouble() -> None:
    jobs = [Job(str(n), (str(n - 1),) if n else ()) for n in range(10_000)]
    assert set(states(run(jobs, str)).values()) == {"made"}


class Breaking(AtOnce):
    """Loses its workers so many times."""

    left = 0

    def submit(self, fn: Callable[..., Any], /, *given: Any, **said: Any) -> Future[Any]:
        if type(self).left:
            type(self).left -= 1
            future: Future[Any] = Future()
            future.set_exception(BrokenProcessPool("a child process terminated abruptly"))
            return future
        return super().submit(fn, *given, **said)


@pytest.mark.parametrize("lost, state", [(3, "made"), (4, "failed")])
def test_what_was_lost_with_its_worker_is_handed_out_again_a_few_times(lost: int, state: str) -> None:
    class Losing(Breaking):
        left = lost

    made = 0

    def make() -> Executor:
        nonlocal made
        made += 1
        return Losing()

    ended = run([Job("a")], str, Local(make, 1))
    assert ended["a"].state == state
    assert made == lost + 1
    if state == "failed":
        assert isinstance(ended["a"].error, ToolError)
        assert ended["a"].error.code == "executor-broken"


def test_who_ends_its_worker_is_found_and_nobody_is_blamed_for_it(tmp_path: Path) -> None:
    jobs = [Job("killer"), *(Job(str(number)) for number in range(12))]
    with crews.processes(3, prepared) as crew:
        ended = run(jobs, killed, crew, keep_going=True)
    assert states(ended) == {"killer": "failed", **{str(number): "made" for number in range(12)}}
    assert isinstance(ended["killer"].error, ToolError)


def killed(name: str) -> str:
    if name == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return name


def test_an_executor_of_somebody_elses_that_broke_ends_the_bake() -> None:
    class Losing(Breaking):
        left = 1

    with pytest.raises(ToolError) as caught:
        run([Job("a")], str, Given(Losing(), 1))
    assert caught.value.code == "executor-broken"


def test_a_bake_that_is_called_off_waits_for_nobody_long() -> None:
    cancel = Cancel()
    released = threading.Event()

    def work(name: str) -> None:
        cancel.wait(20)

    began = time.monotonic()
    threading.Timer(0.2, cancel.set).start()
    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(Cancelled):
            run([Job(str(n)) for n in range(50)], work, Given(pool, 2), cancel=cancel)
        released.set()
    assert time.monotonic() - began < 5


def test_siblings_that_were_called_off_did_not_fail() -> None:
    def work(name: str) -> None:
        raise Cancelled("cancelled")

    assert states(run([Job("a")], work)) == {"a": "cancelled"}


# --- crews


def whoami(name: str) -> int:
    return os.getpid()


def deadly(path: str) -> str:
    """Ends its process the first time."""
    if not os.path.exists(path):
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def prepared(ending: object) -> None:
    pass


def test_processes_are_others_and_a_killed_one_is_replaced(tmp_path: Path) -> None:
    def task(job: Job, ended: Mapping[str, Ended]) -> str:
        return str(tmp_path / "once") if job.name == "deadly" else job.name

    with crews.processes(1, prepared) as crew:
        pids = run([Job("a"), Job("b")], whoami, crew)
        assert os.getpid() not in {one.value for one in pids.values()}
        ended = engine.run([Job("deadly")], crew, deadly, task)
    assert ended["deadly"].value == "alive"


def test_executors_that_do_not_exist_are_refused() -> None:
    for name in ("thread", "dask://", "ray://x:1", ""):
        with pytest.raises(UsageError) as caught:
            crews.is_cluster(name)
        assert caught.value.code == "executor-unknown"
    assert crews.is_cluster("dask://localhost:8786")
    assert not crews.is_cluster("threads")


def test_dask_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ToolError) as caught, crews.dask("dask://localhost:1"):
        raise AssertionError("there is no Dask")
    assert caught.value.code == "extra-missing"
    assert "ocibuild[dask]" in (caught.value.hint or "")


def test_nothing_of_dask_is_loaded_before_it_is_asked_for() -> None:
    source = "import sys, ocibuild.api.bake, ocibuild.cli.bake; sys.exit('distributed' in sys.modules or 'rich' in sys.modules)"
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {source}"]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


def test_errors_of_other_libraries_are_kept_as_they_are() -> None:
    def work(name: str) -> None:
        raise ValueError("what")

    error = run([Job("a")], work)["a"].error
    assert isinstance(error, ValueError)
    assert not isinstance(error, OcibuildError)
