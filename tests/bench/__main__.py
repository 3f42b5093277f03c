"""The bench: ocibuild beside its peers, in one run.

    scripts/bench                     all of it, into docs/benchmarks and README.md
    scripts/bench --quick             small sizes and few runs, in two minutes, printed alone; goals of large sizes are not judged
    scripts/bench --only push pull    these kinds of work, printed alone
    scripts/bench --redraw            the pages and the picture, from docs/benchmarks/figures.json as it is
    scripts/bench --against docs/benchmarks/figures.json
                                      ends with 1 where a ratio or a peak is worse by more than 15 % than there

Ends with 1 where a goal is missed, too. The clock of a machine that has other work to do says nothing: run it alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tests.bench.baking
import tests.bench.registries  # noqa: F401 - their cases are among CASES then
from tests.bench import inputs, report
from tests.bench.cases import CASES, MIB, Bench
from tests.bench.harness import alternate
from tests.e2e import engines
from tests.e2e.servers import self_signed, serving

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs/benchmarks"
DEBIAN = ("umoci", "buildah", "skopeo")
PEERS = ("crane", "oras", "regctl", *DEBIAN)
ROOM = 28 * 1024 * MIB
"""Bytes on the disk that the largest size takes, with what both registries and the peers make of it."""
ROUNDS, FEW, MANY = 5, 2, 200


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    quick: bool
    only: Sequence[str] | None
    rounds: int | None
    into: Path | None
    against: Path | None
    redraw: bool

    @property
    def is_whole(self) -> bool:
        """True where the figures in the repository are made anew."""
        return not self.quick and not self.only and self.into is None


def asked(arguments: Sequence[str] | None = None) -> Asked:
    """Read the command line."""
    words, _, more = (__doc__ or "").partition("\n\n")
    kinds = "\n".join(f"  {name:<11} {(maker.__doc__ or '').partition('.')[0]}" for name, maker in CASES)
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description=words,
        epilog=f"{more}\nWORK is one of:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [name for name, _ in CASES]
    parser.add_argument("--quick", action="store_true", help="small sizes and few runs")
    parser.add_argument("--only", nargs="+", choices=names, metavar="WORK", help="these kinds of work alone")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"runs of each ({ROUNDS}; {FEW} with --quick)")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help="write the documents there, whatever was measured")
    parser.add_argument("--against", type=Path, metavar="FILE", help="the figures.json of an earlier run")
    parser.add_argument("--redraw", action="store_true", help="measure nothing, write the pages anew")
    return Asked(**vars(parser.parse_args(arguments)))


def main() -> int:
    said = asked()
    if said.redraw:
        write(json.loads((DOCS / "figures.json").read_text(encoding="utf-8")), None)
        return 0
    before = json.loads(said.against.read_text(encoding="utf-8")) if said.against else None
    if before is not None and "is_quick" not in before:
        raise SystemExit(f"{said.against} was not written by this bench")
    if said.is_whole or said.into:
        plot()  # what it needs is there before hours are spent
    with ready(said) as (bench, missing):
        made = measured(quickly(bench) if said.quick else bench, said, missing, quick=said.quick)
        if said.is_whole:
            write(made, None)  # an hour's work is not lost by what comes after it
            tell("the quick part, for --quick --against")
            made["quick"] = measured(quickly(bench), replace(said, quick=True), missing, quick=True)
    print(report.markdown(made), end="")
    if said.is_whole or said.into:
        write(made, said.into)
    bad = report.failures(made)
    if before is not None:
        worse, unseen = report.against(made, before)
        bad += worse
        for line in unseen:
            tell(f"not compared: {line}")
    for line in bad:
        tell(f"missed: {line}")
    return 1 if bad else 0


def tell(line: str) -> None:
    """Progress."""
    print(line, file=sys.stderr, flush=True)


def quickly(bench: Bench) -> Bench:
    """The same with little of everything."""
    return replace(bench, large=64 * MIB, sizes=(MIB, 64 * MIB), many=MANY, pushed=50)


def measured(bench: Bench, said: Asked, missing: list[str], *, quick: bool) -> dict[str, Any]:
    """Run the cases that were asked for."""
    found = []
    for name, maker in CASES:
        if said.only and name not in said.only:
            continue
        for case in maker(bench):
            tell(f"{case.name}: {case.words}")
            rounds = said.rounds or (FEW if quick else case.rounds or ROUNDS)
            more = 0 if quick else None
            run = bench.room / "run"
            how = {"warm": case.warm, "settle": case.settle, "keeps": case.keeps}
            figures = alternate(case.contenders, rounds, run, tell, more=more, **how)
            found.append(report.Measured(case, figures))
    return report.document(found, f"{datetime.now(UTC):%Y-%m-%d}", versions(bench), missing, quick=quick)


def write(made: Mapping[str, Any], into: Path | None) -> None:
    """figures.json, the page and the picture; README's table with them where they are the repository's own."""
    folder = into or DOCS
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    page = (DOCS / "README.md").read_text(encoding="utf-8")
    (folder / "README.md").write_text(report.within(page, report.markdown(made)), encoding="utf-8")
    if any(name.startswith("growth-") for name in made["cases"]):
        plot(folder / "figures.json", folder / "size.svg")
    if into is None:
        page = (ROOT / "README.md").read_text(encoding="utf-8")
        (ROOT / "README.md").write_text(report.within(page, report.readme(made)), encoding="utf-8")


def plot(*files: Path) -> None:
    """Draw, in an environment of its own; without files see only that it is there."""
    words: list[str | Path] = [Path(__file__).with_name("plot.py"), *files] if files else ["-c", "import matplotlib"]
    subprocess.run([ROOT / "scripts/python", "bench", *words], check=True, timeout=1800)


@contextmanager
def ready(said: Asked) -> Iterator[tuple[Bench, list[str]]]:
    """Programs, inputs, registries and the engine, in a folder that is removed; with the peers that are missing."""
    programs = {name: found for name in PEERS if (found := shutil.which(name))}
    missing = [name for name in PEERS if name not in programs]
    with tempfile.TemporaryDirectory(prefix="ob-", ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        room = Path(folder)
        if not said.quick and (not said.only or "growth" in said.only) and shutil.disk_usage(room).free < ROOM:
            raise SystemExit(f"the bench needs {ROOM >> 30} GiB on the disk of {room.parent}; TMPDIR names another")
        stack.enter_context(alone())
        python = installed()
        engine = engine_of(stack, missing, said)
        for name in missing:
            tell(f"missing and left out: {name}")
        registry = stack.enter_context(serving("distribution", part, room / "registry"))
        second = stack.enter_context(serving("distribution", part, room / "second"))
        certificate, key = self_signed(part("openssl"), room / "tls")
        (room / "registry/data").mkdir(exist_ok=True)
        (room / "secure").mkdir()
        (room / "secure/data").symlink_to(room / "registry/data")  # what was pushed there is pulled here
        tls = ("  tls:", f"    certificate: {certificate}", f"    key: {key}")
        secure = stack.enter_context(serving("distribution", part, room / "secure", tls))
        count = str(MANY if said.quick else Bench.many)
        subprocess.run([python, Path(__file__).with_name("many.py"), "make", room / "modules", count], check=True)
        go = part("go")
        yield (
            Bench(
                programs,
                engine,
                str(python),
                inputs.module(part("zig"), room),
                lambda size: inputs.binary(size, room, go),
                registry.host,
                second.host,
                secure.host,
                certificate,
                room,
                len(os.sched_getaffinity(0)),
                part,
            ),
            missing,
        )


@contextmanager
def alone() -> Iterator[None]:
    """Two at once would measure each other, and share what is installed. Raises SystemExit where another one runs."""
    import fcntl  # Linux has it, and some who collect the tests have not

    with (ROOT / ".cache/bench.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit("another bench of this checkout is running") from None
        yield


def engine_of(stack: ExitStack, missing: list[str], said: Asked) -> Mapping[str, str] | None:
    """The environment of a Docker engine that runs until the stack is left; None, and named as missing, without one."""
    if said.only and not {"pack-small", "pack-large"} & set(said.only):
        return None
    try:
        with ExitStack() as own:
            beside = own.enter_context(engines.containerd(part))
            environ = own.enter_context(engines.docker(part, beside)).environ
            stack.push(own.pop_all())
            return environ
    except (SystemExit, OSError) as error:
        tell(f"no engine: {error}")
        missing.append("docker buildx")
        return None


def part(name: str) -> str:
    """A program's path; `engines/NAME` is one of `scripts/parts --engines`. Raises SystemExit where it is missing."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ocibuild-parts/engines/bin"
    if name.startswith("engines/"):
        found = shutil.which(name.removeprefix("engines/"), path=os.environ.get("OCIBUILD_ENGINES", str(folder)))
    else:
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise SystemExit(f"the bench needs {name}; scripts/parts installs it (--engines what begins with engines/)")
    return found


def installed() -> Path:
    """The Python of an environment in which this tree is installed from its wheel, as people have it."""
    folder = ROOT / ".cache/env-measured"
    python = folder / "bin/python"
    lock = ROOT / "requirements/run.txt"
    stamp = folder / "lock.txt"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        subprocess.run([*install, "--require-hashes", "-r", lock], check=True)
        shutil.copyfile(lock, stamp)
    with tempfile.TemporaryDirectory() as out:
        build = "import sys, hatchling.build as backend; backend.build_wheel(sys.argv[1])"
        subprocess.run([sys.executable, "-c", build, out], cwd=ROOT, check=True, capture_output=True)
        (wheel,) = Path(out).glob("*.whl")
        subprocess.run([*install, "--no-deps", "--no-index", "--force-reinstall", wheel], check=True)
    return python


def versions(bench: Bench) -> dict[str, str]:
    """What was measured against what."""
    calls: dict[str, list[str]] = {"python": [bench.python, "--version"]}
    program = "import importlib.metadata; print(importlib.metadata.version('oras'))"
    calls["oras-py"] = [bench.python, "-c", program]
    built = {"distribution": part("distribution")}
    if bench.engine is not None:
        built |= {"buildx": part("engines/buildx"), "dockerd": part("engines/dockerd")}
    for name, path in (bench.programs | built).items():
        # What Go built from a module knows its version better than it says it.
        calls[name] = [path, "--version"] if name in DEBIAN else [part("go"), "version", "-m", path]
    found = {}
    for name, words in calls.items():
        text = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60).stdout
        lines = [line for line in text.splitlines() if "\tmod\t" in line] or text.splitlines()
        match = re.search(r"\d+\.\d+\.\d+[\w.+~-]*", "\n".join(lines))
        found[name] = match[0] if match else "of an unknown version"
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or what was started would go on
    os.environ.pop("PYTHONPATH", None)  # what is measured is what is installed
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except RuntimeError as error:
        sys.exit(str(error))
