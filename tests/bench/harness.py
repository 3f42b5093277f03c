"""Whole processes, measured in alternation: wall time, processor time and peak memory by the kernel's own account."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One run: seconds of the clock, seconds of processors (user and system, children too), MiB resident at most."""

    seconds: float
    cpu: float
    peak: float


@dataclass(frozen=True)
class Contender:
    """A way to do the work: shell words in an empty folder of its own.

    `ready` is called before each run and not measured. `work` is how often one run does the work.
    """

    name: str
    script: str
    ready: Callable[[], None] | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    work: int = 1


@dataclass(frozen=True)
class Figures:
    """A contender's runs. The spread is (maximum - minimum) / median."""

    samples: tuple[Sample, ...]
    work: int = 1

    @property
    def seconds(self) -> float:
        return statistics.median(sample.seconds for sample in self.samples) / self.work

    @property
    def cpu(self) -> float:
        return statistics.median(sample.cpu for sample in self.samples) / self.work

    @property
    def peak(self) -> float:
        return max(sample.peak for sample in self.samples)

    @property
    def spread(self) -> float:
        times = [sample.seconds for sample in self.samples]
        return (max(times) - min(times)) / statistics.median(times)


def alternate(
    contenders: Sequence[Contender], rounds: int, room: Path, tell: Callable[[str], None]
) -> dict[str, Figures]:
    """Run each contender once unmeasured, then all of them in turn, `rounds` times; a failure ends the bench.

    In turn, so that a machine that grows slower does so for all. The order is reversed each second round.
    """
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in contenders if number % 2 else reversed(contenders):
            sample = measure(contender, room)
            tell(f"  {contender.name}: {sample.seconds:.3f} s{'' if number else ' (not counted)'}")
            if number:
                samples[contender.name].append(sample)
    return {contender.name: Figures(tuple(samples[contender.name]), contender.work) for contender in contenders}


def measure(contender: Contender, room: Path) -> Sample:
    """One run in an emptied folder. Raises RuntimeError with the end of its output where it fails."""
    subprocess.run(["rm", "-rf", room], check=True)
    room.mkdir(parents=True)
    if contender.ready is not None:
        contender.ready()
    environ = {**os.environ, **contender.environ}
    outcome = room.parent / "outcome.json"
    with (room.parent / "said").open("w+b") as said:
        # -S: a measurer that is larger than what it measures would be taken for it.
        words = [sys.executable, "-I", "-S", "-c", _MEASURER, str(outcome), contender.script]
        subprocess.run(words, cwd=room, env=environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=True)
        seconds, cpu, peak, status = json.loads(outcome.read_text())
        if status:
            said.seek(0)
            text = said.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{contender.name} ended with {status}:\n{contender.script}\n{text}")
    return Sample(seconds, cpu, peak / 1024)


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
