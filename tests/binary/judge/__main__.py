"""The judge: the readers against independent ones, on programs out of published packages.

    scripts/readers                 fetch what is not there, compare, print counts and differences
    scripts/readers --fetch         fetch alone
    scripts/readers --offline       compare what is there

Leaves with 1 when a field differs, or when fewer than 100 Wasm files or 50 ELF files were compared.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import elf_yardstick
import wasm_yardstick
from corpus import Corpus, Program

from ocibuild.binary.artifact import inspect
from ocibuild.binary.elf import ElfFacts
from ocibuild.errors import InputError

ROOT = Path(__file__).parents[3]
WASM_WANTED, ELF_WANTED = 100, 50


@dataclass
class Verdict:
    """What came out for one file; `what` is the line it is counted under."""

    program: Program
    what: str
    compared: bool = False
    wabt: bool = False
    differences: list[str] = field(default_factory=list)
    seconds: float = 0.0


def judge(program: Program) -> Verdict:
    """Read one file with ocibuild, then with the others."""
    is_elf = program.path.open("rb").read(4) == b"\x7fELF"
    started = time.perf_counter()
    try:
        artifact = inspect(program.path, allow_dynamic=True)
    except InputError as error:
        refused = _refused_elf if is_elf else _refused_wasm
        return refused(program, error)
    seconds = time.perf_counter() - started
    if isinstance(artifact.facts, ElfFacts):
        expected = elf_yardstick.expected_refusal(program.path, program.platform)
        differences = elf_yardstick.compare(program.path, artifact.facts, program.platform)
        differences += elf_yardstick.compare_go(program.path, artifact.facts)
        if expected:
            differences.append(f"it deserves {expected}")
        what = f"elf {artifact.platform} {'static' if artifact.facts.static else 'dynamic'}"
        return Verdict(program, what, True, False, differences, seconds)
    facts = artifact.facts
    verdict = Verdict(program, f"wasm {facts.kind} {facts.role}", seconds=seconds)
    try:
        verdict.differences += wasm_yardstick.compare(program.path, facts)
        verdict.compared = True
    except wasm_yardstick.Unreadable:
        verdict.what = "wasm that wasm-tools cannot read (not counted)"
        return verdict
    try:
        verdict.differences += wasm_yardstick.compare_wabt(program.path, facts)
        verdict.wabt = True
    except wasm_yardstick.Unreadable:
        pass
    verdict.differences += [f"not understood: {text}" for text in facts.unread]
    return verdict


def _refused_elf(program: Program, error: InputError) -> Verdict:
    expected = elf_yardstick.expected_refusal(program.path, program.platform)
    differences = [] if error.code == expected else [f"refused ({error.code}: {error}), deserves {expected}"]
    return Verdict(program, f"elf refused: {error.code}", True, False, differences)


def _refused_wasm(program: Program, error: InputError) -> Verdict:
    try:
        wasm_yardstick.readable(program.path)
    except wasm_yardstick.Unreadable:
        return Verdict(program, "wasm that both refuse (not counted)")
    if error.code == "wasm-object" and wasm_yardstick.is_object(program.path):
        return Verdict(program, f"wasm refused: {error.code}", True)
    return Verdict(program, f"wasm refused: {error.code}", True, False, [f"refused ({error.code}: {error})"])


def main() -> int:
    """Run the judge; see the module's text."""
    parser = argparse.ArgumentParser(description="judge the readers on published programs")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "readers", help="where packages are kept")
    parser.add_argument("--fetch", action="store_true", help="fetch the packages, compare nothing")
    parser.add_argument("--offline", action="store_true", help="compare the packages that are there, fetch nothing")
    options = parser.parse_args()
    corpus = Corpus(options.folder, offline=options.offline)
    programs = list(corpus.programs())
    if options.fetch:
        print(f"{len(programs)} programs")
        return bool(corpus.missing)
    with ThreadPoolExecutor(max_workers=2) as pool:
        verdicts = list(pool.map(judge, programs))
    return _summary(verdicts, corpus)


def _summary(verdicts: list[Verdict], corpus: Corpus) -> int:
    for verdict in verdicts:
        for difference in verdict.differences:
            print(f"DIFFERS {verdict.program.origin} {verdict.program.path.name}: {difference}")
    for package in corpus.missing:
        print(f"MISSING {package}")
    for what, count in sorted(Counter(verdict.what for verdict in verdicts).items()):
        print(f"{count:5}  {what}")
    compared = [verdict for verdict in verdicts if verdict.compared]
    wasm = sum(verdict.what.startswith("wasm") for verdict in compared)
    elf = len(compared) - wasm
    different = sum(bool(verdict.differences) for verdict in verdicts)
    slowest = max(verdicts, key=lambda verdict: verdict.seconds)
    size = slowest.program.path.stat().st_size
    print(
        f"compared {wasm} Wasm files with wasm-tools ({sum(v.wabt for v in verdicts)} of them with wabt too), "
        f"{elf} ELF files with pyelftools and go; {different} differ"
    )
    print(f"slowest to read: {slowest.program.path.name}, {size} bytes in {slowest.seconds * 1000:.1f} ms")
    worlds = Counter(verdict.program.origin.partition(" ")[0] for verdict in compared)
    print("out of packages of " + ", ".join(f"{world} {count}" for world, count in sorted(worlds.items())))
    enough = wasm >= WASM_WANTED and elf >= ELF_WANTED
    if not enough:
        print(f"too few: {WASM_WANTED} Wasm files and {ELF_WANTED} ELF files are wanted", file=sys.stderr)
    return 0 if enough and not different else 1


if __name__ == "__main__":
    sys.exit(main())
