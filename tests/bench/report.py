"""What was measured, as JSON, as Markdown and as a picture of cost against size."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cases import Case, Goal
from harness import Figures

WORSE = 1.15
"""A ratio that grew by more than this against another run's is a regression."""


@dataclass(frozen=True)
class Measured:
    """A case and what came out of it."""

    case: Case
    figures: dict[str, Figures]

    def ratio(self, goal: Goal) -> float:
        return self.figures[goal.ours].seconds / self.figures[goal.theirs].seconds

    def failures(self) -> list[str]:
        """Goals that were missed, and runs of ours that took too much memory."""
        found = [
            f"{self.case.name}: {goal.ours} took {self.ratio(goal):.2f} × {goal.theirs}, and {goal.most:.2f} are allowed"
            for goal in self.case.goals
            if self.ratio(goal) > goal.most
        ]
        limit = self.case.memory
        return found + [
            f"{self.case.name}: {name} had {figures.peak:.0f} MiB resident, and {limit:.0f} are allowed"
            for name, figures in self.figures.items()
            if limit is not None and name.startswith("ocibuild") and figures.peak > limit
        ]


def document(all_measured: list[Measured], date: str, versions: dict[str, str]) -> dict[str, Any]:
    return {
        "date": date,
        "machine": machine(),
        "versions": versions,
        "cases": {
            measured.case.name: {
                "what": measured.case.words,
                "figures": {
                    name: {
                        "seconds": round(figures.seconds, 5),
                        "cpu": round(figures.cpu, 5),
                        "peak": round(figures.peak, 1),
                        "spread": round(figures.spread, 3),
                        "runs": len(figures.samples),
                    }
                    for name, figures in measured.figures.items()
                },
                "ratios": {
                    f"{goal.ours} / {goal.theirs}": {
                        "ratio": round(measured.ratio(goal), 4),
                        "most": round(goal.most, 4),
                    }
                    for goal in measured.case.goals
                },
            }
            for measured in all_measured
        },
    }


def machine() -> str:
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    import os

    return f"{len(os.sched_getaffinity(0))} cores of {model}, {platform.system()} {platform.release()}"


def markdown(made: dict[str, Any]) -> str:
    lines = [
        "# Benchmarks",
        "",
        f"Measured {made['date']} on {made['machine']} by `scripts/bench`, whole processes in turn, medians; memory is the largest.",
        "Absolute times of such a machine mean little: look at the ratios. Python itself counts for 10 MiB of any figure.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in made["versions"].items()) + ".",
    ]
    for name, case in made["cases"].items():
        lines += [
            "",
            f"## {name}: {case['what']}",
            "",
            "| | time | spread | processors | memory | runs |",
            "|--|--|--|--|--|--|",
        ]
        for contender, figures in case["figures"].items():
            lines.append(
                f"| {contender} | {_time(figures['seconds'])} | {figures['spread']:.0%} | {_time(figures['cpu'])} "
                f"| {figures['peak']:.0f} MiB | {figures['runs']} |"
            )
        if case["ratios"]:
            lines.append("")
        for pair, ratio in case["ratios"].items():
            verdict = "" if ratio["ratio"] <= ratio["most"] else " **missed**"
            lines.append(f"- {pair}: {ratio['ratio']:.2f} (at most {ratio['most']:.2f}){verdict}")
    return "\n".join(lines) + "\n"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def against(made: dict[str, Any], earlier: Path) -> list[str]:
    """Ratios that are worse by more than 15 % than in an earlier run's JSON."""
    before = json.loads(earlier.read_text(encoding="utf-8"))["cases"]
    found = []
    for name, case in made["cases"].items():
        for pair, ratio in case["ratios"].items():
            old = before.get(name, {}).get("ratios", {}).get(pair)
            if old is not None and ratio["ratio"] > WORSE * old["ratio"]:
                found.append(f"{name}: {pair} is {ratio['ratio']:.2f}, and was {old['ratio']:.2f}")
    return found
