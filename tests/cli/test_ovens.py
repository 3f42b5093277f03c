"""A bake that is watched: what stands in the table, and in a log."""

from __future__ import annotations

import io

from rich.console import Console

from ocibuild.api.baking import Done
from ocibuild.bake.job import Ended, Happened, Job, Step
from ocibuild.cli.ovens import Log, Table
from ocibuild.spec.descriptor import Descriptor
from tests.cli.test_progress import ambient

MIB = 1024 * 1024
BIG, SMALL = Job("big"), Job("small")
ROOT = Descriptor.of("application/vnd.oci.image.manifest.v1+json", b"{}")


def begun(job: Job) -> Happened:
    return Happened(job, None, 0, 2)


def at(job: Job, step: Step) -> Happened:
    return Happened(job, None, 0, 2, step)


def made(job: Job) -> Happened:
    return Happened(job, Ended(job, "made", Done(ROOT, seconds=2.0)), 1, 2)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_table_says_how_far_a_large_target_is() -> None:
    clock = Clock()
    table = Table(io.StringIO(), ambient(), clock)
    try:
        for happened in (begun(BIG), begun(SMALL), at(BIG, Step("pushing", 340 * MIB, 1126 * MIB))):
            table.happened(happened)
        clock.now = 3.0
        console = Console(file=io.StringIO(), width=80)
        with console.capture() as shown:
            console.print(table._drawn())
        big, small, whole = shown.get().splitlines()
        assert big.split() == ["big", "3.0", "s", "pushing", "340.0", "MiB", "of", "1.1", "GiB"]
        assert small.split() == ["small", "3.0", "s"]
        assert whole.startswith("0 of 2")
        table.happened(made(BIG))
        with console.capture() as shown:
            console.print(table._drawn())
        assert "GiB" not in shown.get()
    finally:
        table.close()


def test_a_log_has_a_line_now_and_then_for_a_target_that_takes_its_time() -> None:
    clock, stream = Clock(), io.StringIO()
    log = Log(stream, clock)
    log.happened(begun(BIG))
    for number in range(120):
        clock.now = number / 10
        log.happened(at(BIG, Step("packing", number * MIB, 200 * MIB)))
    log.happened(made(BIG))
    assert stream.getvalue().splitlines() == [
        "[0/2] big: packing 50.0 MiB of 200.0 MiB",
        "[0/2] big: packing 100.0 MiB of 200.0 MiB",
        f"[1/2] big: made in 2.0 s, {ROOT.digest.short}",
    ]
