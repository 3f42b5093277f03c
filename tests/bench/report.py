"""What was measured, as JSON, as Markdown for the documentation and for README, and against an earlier run."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.cases import LIMIT, MIB, Busy, Case, Each, Goal
from tests.bench.harness import Figures

WORSE = 1.15
"""A ratio or a peak that is worse by more than this against another run's is a regression."""
STRAIGHT = 1.3
"""A byte of the largest size costs at most this times what one of the size before costs."""
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
_GROWN = "growth-"
_ALONE = ("start", "bake-dask")
"""Of our own alone: README compares."""


@dataclass(frozen=True)
class Measured:
    """A case and what came out of it."""

    case: Case
    figures: Mapping[str, Figures]

    def document(self) -> dict[str, Any]:
        """The case as JSON: seconds, MiB, and parts of 1."""
        kinds = {contender.name: contender.kind for contender in self.case.contenders}
        return {
            "what": self.case.words,
            "size": self.case.size,
            "memory": self.case.memory,
            "is_judged": self.case.is_judged,
            "figures": {
                name: {
                    "kind": kinds[name],
                    "seconds": round(figures.seconds, 5),
                    "cpu": round(figures.cpu, 5),
                    "peak": round(figures.peak, 1),
                    "spread": round(figures.spread, 3),
                    "runs": len(figures.samples),
                }
                for name, figures in self.figures.items()
            },
            "goals": {
                goal.name: {
                    "kind": {Goal: "ratio", Busy: "efficiency", Each: "absolute"}[type(goal)],
                    "value": round(goal.value(self.figures), 4),
                    **({"least": goal.least} if isinstance(goal, Busy) else {"most": round(goal.most, 4)}),
                }
                for goal in self.case.goals
            },
        }


def document(
    all_measured: list[Measured], date: str, versions: Mapping[str, str], missing: list[str], *, quick: bool = False
) -> dict[str, Any]:
    """Everything as JSON; `missing` are the peers that were not to be had."""
    cases = {measured.case.name: measured.document() for measured in all_measured}
    return {
        "date": date,
        "machine": machine(),
        "is_quick": quick,
        "versions": dict(versions),
        "missing": missing,
        "cases": cases,
        "growth": growth(cases),
    }


def machine() -> str:
    """For example `2 cores of AMD EPYC, Linux 6.18`."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {platform.system()} {platform.release()}"


def growth(cases: Mapping[str, Any]) -> dict[str, Any]:
    """For each contender what a byte of the largest size costs, in times of one of the size before: 1 is a straight line.

    What is a peer's or the floor's has no bound. Where the floor's time grows, the disk's buffers are full for all.
    """
    grown = sorted(
        (case for name, case in cases.items() if name.startswith(_GROWN)), key=lambda case: int(case["size"])
    )
    if len(grown) < 2:
        return {}
    before, last = grown[-2:]
    found: dict[str, Any] = {}
    disk = 1.0
    for name, figures in last["figures"].items():
        old = before["figures"].get(name)
        if old is not None:
            times = last["size"] / before["size"]
            found[name] = {what: round(figures[what] / old[what] / times, 4) for what in ("seconds", "cpu")}
            if figures["kind"] == "floor":
                disk = max(disk, found[name]["seconds"])
    for name, entry in found.items():
        if last["figures"][name]["kind"] == "ours":
            entry["most"] = {"seconds": round(STRAIGHT * disk, 4), "cpu": STRAIGHT}
    return found


def failures(made: Mapping[str, Any]) -> list[str]:
    """Goals that were missed, and runs of ours that took too much memory."""
    found = []
    for name, case in made["cases"].items():
        for what, goal in case["goals"].items() if case["is_judged"] else ():
            if goal["value"] > goal.get("most", float("inf")):
                found.append(f"{name}: {what} is {goal['value']:.2f}, and {goal['most']:.2f} are allowed")
            if goal["value"] < goal.get("least", 0):
                found.append(f"{name}: {what} is {goal['value']:.2f}, and {goal['least']:.2f} are wanted")
        for contender, figures in case["figures"].items():
            if figures["kind"] == "ours" and case["memory"] is not None and figures["peak"] > case["memory"]:
                peak, limit = figures["peak"], case["memory"]
                found.append(f"{name}: {contender} had {peak:.0f} MiB resident, and {limit:.0f} are allowed")
    for contender, entry in made["growth"].items():
        for what, words in (("seconds", "time"), ("cpu", "processors' time")):
            if "most" in entry and entry[what] > entry["most"][what]:
                found.append(
                    f"growth: a byte of the largest costs {contender} {entry[what]:.2f} × the {words}, "
                    f"and {entry['most'][what]:.2f} are allowed"
                )
    return found


def against(made: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """What is worse by more than 15 % than in an earlier run, and what could not be compared.

    A quick run is compared with the quick part of a whole one. Compared are ratios, not times, of cases of one name and
    size, and the peaks of ocibuild's own runs.
    """
    if made["is_quick"] and not before["is_quick"]:
        before = before.get("quick", {"cases": {}})
    worse, unseen = [], []
    for name, case in made["cases"].items():
        old = before["cases"].get(name)
        if old is None or old["size"] != case["size"]:
            unseen.append(f"{name}: there is no earlier figure for this size")
            continue
        for what in sorted({*case["goals"], *old["goals"]}):
            now, then = case["goals"].get(what), old["goals"].get(what)
            if now is None or then is None:
                unseen.append(f"{name}: {what} was measured in one of the runs alone")
            elif _grew(now, then):
                worse.append(f"{name}: {what} is {now['value']:.3g}, and was {then['value']:.3g}")
        for contender, figures in case["figures"].items():
            then = old["figures"].get(contender)
            if figures["kind"] == "ours" and then is not None and figures["peak"] > WORSE * then["peak"]:
                peaks = f"{figures['peak']:.0f} MiB resident, and had {then['peak']:.0f}"
                worse.append(f"{name}: {contender} has {peaks}")
    return worse, unseen


def _grew(now: Mapping[str, Any], then: Mapping[str, Any]) -> bool:
    """True for a ratio that is larger or an efficiency that is smaller; times alone are the machine's."""
    larger = {"ratio": now["value"] / then["value"], "efficiency": then["value"] / now["value"], "absolute": 0}
    return larger[now["kind"]] > WORSE


def markdown(made: Mapping[str, Any]) -> str:
    """The tables of one run, a case each, without a title."""
    lines = [
        f"Measured {made['date']} on {made['machine']}.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in made["versions"].items()) + ".",
    ]
    if made["missing"]:
        lines += ["", f"Not to be had, and left out: {', '.join(made['missing'])}."]
    if missed := failures(made):
        lines += ["", "Missed:", "", *(f"- {line}" for line in missed)]
    for name, case in made["cases"].items():
        lines += [
            "",
            f"### {name}: {case['what']}",
            "",
            "| | time | spread | processors | memory | runs |",
            "|--|--|--|--|--|--|",
        ]
        for contender, figures in case["figures"].items():
            lines.append(
                f"| {contender} | {_time(figures['seconds'])} | {figures['spread']:.0%} | {_time(figures['cpu'])} "
                f"| {figures['peak']:.0f} MiB | {figures['runs']} |"
            )
        if case["goals"]:
            lines.append("")
        for what, goal in case["goals"].items():
            bound = f"at least {goal['least']:.2f}" if "least" in goal else f"at most {goal['most']:.2f}"
            met = goal["value"] <= goal.get("most", goal["value"]) and goal["value"] >= goal.get("least", 0)
            verdict = ", at full size" if not case["is_judged"] else ""
            missed = " **missed**" if case["is_judged"] and not met else ""
            lines.append(f"- {what}: {goal['value']:.2f} ({bound}{verdict}){missed}")
    return "\n".join([*lines, *_grown(made)]) + "\n"


def _grown(made: Mapping[str, Any]) -> Iterator[str]:
    """Peaks by size, and how straight the lines are."""
    cases = [case for name, case in made["cases"].items() if name.startswith(_GROWN)]
    if not cases:
        return
    yield from ("", f"### Memory by size, {LIMIT} MiB allowed", "")
    yield "| | " + " | ".join(_size(case["size"]) for case in cases) + " |"
    yield "|--|" + "--|" * len(cases)
    for name, figures in cases[-1]["figures"].items():
        if figures["kind"] == "ours":
            peaks = [f"{case['figures'][name]['peak']:.0f} MiB" for case in cases]
            yield f"| {name} | {' | '.join(peaks)} |"
    if made["growth"]:
        sizes = f"{_size(cases[-1]['size'])} in times of one of {_size(cases[-2]['size'])}"
        yield from ("", f"### Cost of a byte of {sizes}", "", "| | time | processors |", "|--|--|--|")
        for name, entry in made["growth"].items():
            bounds = entry.get("most", {})
            cells = (
                f"{entry[what]:.2f}" + (f" (at most {bounds[what]:.2f})" if bounds else "")
                for what in ("seconds", "cpu")
            )
            yield f"| {name} | {' | '.join(cells)} |"


def readme(made: Mapping[str, Any]) -> str:
    """README's table: a line for each kind of work, with the peers from the quickest on."""
    lines = [
        f"Measured {made['date']} on {made['machine']}{', with small sizes' if made['is_quick'] else ''}.",
        "",
        "| | ocibuild | memory | peers, and in times of ocibuild |",
        "|---|--:|--:|---|",
    ]
    for name, case in made["cases"].items():
        if name.startswith(_GROWN) or name in _ALONE:
            continue
        peers = sorted(
            (figures["seconds"], peer) for peer, figures in case["figures"].items() if figures["kind"] == "peer"
        )
        for ours, figures in case["figures"].items():
            if figures["kind"] == "ours":
                work = _once(f"{name.partition('-')[0]} {ours.removeprefix('ocibuild')}")
                said = (f"{peer} {_time(seconds)} ({seconds / figures['seconds']:.1f} ×)" for seconds, peer in peers)
                cells = (
                    f"{work}: {case['what']}",
                    _time(figures["seconds"]),
                    f"{figures['peak']:.0f} MiB",
                    " · ".join(said),
                )
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _once(words: str) -> str:
    """`pack pack` is `pack`."""
    return " ".join(dict.fromkeys(words.split()))


def within(page: str, table: str) -> str:
    """README with this table between its markers. Raises ValueError where they are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README has no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def _size(size: int) -> str:
    return f"{size // MIB // 1024} GiB" if size >= 1024 * MIB else f"{size // MIB} MiB"
