"""The flow: threads, events, and the switch that calls work off."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import Future
from typing import NoReturn

import pytest

from ocibuild.content import flow as module
from ocibuild.content.flow import Cancel, Event, Flow
from ocibuild.errors import Cancelled


def test_a_flow_brings_its_threads_and_takes_them_away() -> None:
    events: list[Event] = []
    with Flow.open(events.append, cpu=3, io=2) as flow:
        assert flow.workers == 3
        assert flow.cpu.submit(pow, 2, 5).result(10) == 32
        assert flow.io.submit(threading.current_thread).result(10).name.startswith("ocibuild-io")
        flow.observe(Event("note", text="x"))
    assert [event.text for event in events] == ["x"]
    with pytest.raises(RuntimeError):
        flow.cpu.submit(pow, 1, 1)


def test_without_an_observer_nobody_is_told_and_all_processors_work() -> None:
    with Flow.open() as flow:
        flow.observe(Event("note"))
        assert flow.workers >= 1
        assert not flow.cancel.is_set


def test_where_affinity_is_not_known_the_processors_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(module.os, "cpu_count", lambda: None)
    with Flow.open() as flow:
        assert flow.workers == 1


def test_leaving_by_an_exception_calls_the_work_off_first() -> None:
    cancel = Cancel()
    started = threading.Event()

    def work() -> None:
        started.set()
        cancel.wait(60)

    begun = time.monotonic()
    futures: list[Future[None]] = []

    def interrupted(flow: Flow) -> NoReturn:
        futures.append(flow.io.submit(work))
        assert started.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Flow.open(cancel=cancel) as flow:
        interrupted(flow)
    assert time.monotonic() - begun < 10
    assert isinstance(futures[0].exception(1), Cancelled)


def test_a_childs_work_is_called_off_with_its_parents_and_not_the_other_way_round() -> None:
    cancel = Cancel()
    one, two = cancel.child(), cancel.child()
    below = one.child()
    two.set()
    assert not cancel.is_set
    cancel.set()
    assert one.is_set
    assert below.is_set
    assert cancel.child().is_set


def test_what_is_over_is_forgotten() -> None:
    cancel = Cancel()
    children = [weakref.ref(cancel.child()) for _ in range(3)]
    gc.collect()
    assert [child() for child in children] == [None, None, None]


def test_in_an_alone_flow_each_moves_what_it_moves() -> None:
    with Flow.open() as flow:
        done = flow.alone.io.submit(threading.current_thread)
        assert done.result(0) is threading.current_thread()
        failed = flow.alone.io.submit(int, "x")
        assert isinstance(failed.exception(0), ValueError)
        assert flow.alone.cpu is flow.cpu


def test_closers_are_called_once_and_only_while_inside() -> None:
    cancel = Cancel()
    closed: list[str] = []
    with cancel.closing(lambda: closed.append("left")):
        pass
    with cancel.closing(lambda: closed.append("inside")):
        cancel.set()
        cancel.set()
    assert closed == ["inside"]
    for check in (cancel.check, lambda: cancel.wait(0)):
        with pytest.raises(Cancelled):
            check()
    with pytest.raises(Cancelled), cancel.closing(lambda: None):
        pass


def test_a_wait_ends_by_itself() -> None:
    Cancel().wait(0.001)
    Cancel().check()
