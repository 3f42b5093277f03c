"""The bench: ocibuild beside its peers, in one run.

    scripts/bench                    all of it, into docs/benchmarks
    scripts/bench --quick            small sizes and few runs, in two minutes, printed alone
    scripts/bench --only push pull   these cases
    scripts/bench --against FILE     ends with 1 where a ratio is worse by more than 15 % than in FILE

Ends with 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import inputs
import report
from cases import CASES, MIB, Bench
from harness import alternate

from tests.e2e.servers import nginx, self_signed, serving

ROOT = Path(__file__).parents[2]
PEERS = ("crane", "oras", "regctl", "umoci", "buildah", "skopeo")
DOCS = ROOT / "docs/benchmarks"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=[name for name, _ in CASES], default=None)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int)
    asked = parser.parse_args()
    rounds = asked.rounds or (3 if asked.quick else 5)
    size = 128 * MIB if asked.quick else 1024 * MIB
    measured = []
    with ready() as bench:
        for name, maker in CASES:
            if asked.only and name not in asked.only:
                continue
            sized = {"size": size} if "size" in maker.__annotations__ else {}
            for case in maker(bench, **sized):
                print(f"{case.name}: {case.words}", file=sys.stderr)
                figures = alternate(case.contenders, rounds, bench.room / "run", tell)
                measured.append(report.Measured(case, figures))
        made = report.document(measured, f"{datetime.now(UTC):%Y-%m-%d}", versions(bench))
    print(report.markdown(made), end="")
    if not asked.quick and not asked.only:
        DOCS.mkdir(exist_ok=True)
        (DOCS / "figures.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        (DOCS / "README.md").write_text(report.markdown(made), encoding="utf-8")
    missed = [line for one in measured for line in one.failures()]
    if asked.against:
        missed += report.against(made, asked.against)
    for line in missed:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if missed else 0


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@contextmanager
def ready() -> Iterator[Bench]:
    """Programs, inputs and registries, in a folder that is removed afterwards."""
    programs = {name: found for name in PEERS if (found := shutil.which(name))}
    for name in PEERS:
        if name not in programs:
            tell(f"missing and left out: {name}")
    go = shutil.which("go")
    if go is None:
        raise SystemExit("the bench needs go, for its inputs and its peers")
    with tempfile.TemporaryDirectory(prefix="ob-", ignore_cleanup_errors=True) as folder, ExitStack() as stack:
        room = Path(folder)
        python = installed()
        subprocess.run([python, Path(__file__).with_name("many.py"), "make", room / "modules", "1000"], check=True)
        registry = stack.enter_context(serving("distribution", part, room / "registry"))
        certificate, key = self_signed(part("openssl"), room / "tls")
        secure = stack.enter_context(
            nginx(part, room / "nginx", registry.host, "client_max_body_size 0;", tls=(certificate, key))
        )
        module = inputs.module(go, room)
        yield Bench(
            programs,
            str(python),
            module,
            lambda size: inputs.binary(size, room, go),
            registry.host,
            secure,
            certificate,
            room,
        )


def part(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise SystemExit(f"the bench needs {name}; scripts/parts installs it")
    return found


def installed() -> Path:
    """The Python of an environment in which this tree is installed from its wheel, as people have it."""
    folder = ROOT / ".cache/env-bench"
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
    asked = {"crane": "version", "oras": "version", "regctl": "version", "umoci": "--version", "buildah": "--version"}
    found = {"python": sys.version.split()[0]}
    for name, word in asked.items():
        if name in bench.programs:
            said = subprocess.run([bench.programs[name], word], capture_output=True, text=True, check=False).stdout
            found[name] = next((line.split()[-1] for line in said.splitlines() if any(c.isdigit() for c in line)), "?")
    return found


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # what is measured is what is installed
    sys.exit(main())
