"""Whole processes, measured in alternation: wall time, processor time and peak memory by the kernel's own account."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["ours", "peer", "floor"]
SECONDS = 1800
NOISY = 0.2
"""A spread above this is worth more runs."""


@dataclass(frozen=True)
class Sample:
    """One run: seconds of the clock, seconds of processors (user and system, children too), MiB resident at most."""

    seconds: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Contender:
    """A way to do the work: shell words in an empty folder of its own.

    `kind` is "ours", "peer", or "floor": what cannot be undercut. `ready` is called before each run and not measured.
    `work` is how often one run does the work. `watch` is the process whose memory counts instead of the run's own.
    """

    name: str
    script: str
    kind: Kind = "peer"
    ready: Callable[[], object] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    work: int = 1
    watch: int = 0


@dataclass(frozen=True)
class Figures:
    """A contender's runs. The spread is (maximum - minimum) / median."""

    samples: tuple[Sample, ...]
    work: int = 1

    @property
    def seconds(self) -> float:
        """Median of the clock, for one piece of work."""
        return statistics.median(sample.seconds for sample in self.samples) / self.work

    @property
    def cpu(self) -> float:
        """Median of the processors' seconds, for one piece of work."""
        return statistics.median(sample.cpu for sample in self.samples) / self.work

    @property
    def peak(self) -> float:
        """MiB, the largest of all runs."""
        return max(sample.peak for sample in self.samples)

    @property
    def spread(self) -> float:
        """How far the runs are apart, as a part of the median."""
        times = [sample.seconds for sample in self.samples]
        return (max(times) - min(times)) / statistics.median(times)


def alternate(
    contenders: Sequence[Contender],
    rounds: int,
    room: Path,
    tell: Callable[[str], None],
    *,
    more: int | None = None,
    warm: bool = True,
    settle: bool = False,
    keeps: bool = False,
) -> dict[str, Figures]:
    """Run each contender once uncounted (with `warm`), then all in turn, `rounds` times; a failure ends the bench.

    In turn, so that a machine that grows slower does so for all. The order is reversed each second round. Those whose
    runs are far apart run again, up to `more` times (`rounds`): a median of more runs is worth more. With `settle` what was
    written before is on the disk before the next run starts. With `keeps` every run has a folder of its own until all
    are done: ext4 looks past each name that was removed in the last minutes when it makes a new one.
    """
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    turns = itertools.count()
    for number in range(0 if warm else 1, rounds + (rounds if more is None else more) + 1):
        turn = contenders if number % 2 else contenders[::-1]
        if number > rounds:
            turn = [one for one in turn if Figures(tuple(samples[one.name])).spread > NOISY]
        for contender in turn:
            if settle:
                os.sync()
            sample = measure(contender, room / f"{next(turns)}" if keeps else room)
            note = "" if number else " (not counted)"
            tell(f"  {contender.name}: {sample.seconds:.3f} s{' (once more)' if number > rounds else note}")
            if number:
                samples[contender.name].append(sample)
    if keeps:
        shutil.rmtree(room)
    return {contender.name: Figures(tuple(samples[contender.name]), contender.work) for contender in contenders}


def measure(contender: Contender, room: Path, seconds: float = SECONDS) -> Sample:
    """One run in an emptied folder. Raises RuntimeError with the end of its output where it fails or does not end."""
    subprocess.run(["rm", "-rf", room], check=True)
    room.mkdir(parents=True)
    if contender.ready is not None:
        contender.ready()
    if contender.watch:
        Path(f"/proc/{contender.watch}/clear_refs").write_text("5")  # its peak begins anew (proc(5))
    environ = {**os.environ, **contender.environ}
    outcome = room.parent / "outcome.json"
    with (room.parent / "said").open("w+b") as said:
        # -S: a measurer that is larger than what it measures would be taken for it.
        words = [sys.executable, "-I", "-S", "-c", _MEASURER, str(outcome), contender.script]
        process = subprocess.Popen(
            words, cwd=room, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            ended = process.wait(seconds)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with all that it started
            process.wait(10)
            if isinstance(error, subprocess.TimeoutExpired):
                raise RuntimeError(f"{contender.name} was still running after {seconds:.0f} s") from None
            raise
        if ended:
            raise RuntimeError(f"{contender.name} could not be measured")
        took, cpu, peak, status = json.loads(outcome.read_text())
        if status:
            said.seek(0)
            text = said.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{contender.name} ended with {status}:\n{contender.script}\n{text}")
    return Sample(took, cpu, (_peak(contender.watch) if contender.watch else peak) / 1024)


def _peak(pid: int) -> int:
    """KiB resident at most, as the kernel has it for a process that lives."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


_MEASURER = """
import os, sys, time
outcome, script = sys.argv[1:]
started = time.perf_counter()
pid = os.posix_spawn("/bin/sh", ["/bin/sh", "-ec", script], os.environ)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - started
with open(outcome, "w") as out:
    out.write(f"[{seconds}, {usage.ru_utime + usage.ru_stime}, {usage.ru_maxrss}, {os.waitstatus_to_exitcode(status)}]")
"""
