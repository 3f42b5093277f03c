"""`ocibuild bake` beside a loop of a shell and a loop of a program; on a cluster; and what its engine costs by itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench.cases import HERE, Bench, Case, Goal, case
from tests.bench.harness import Contender
from tests.e2e.cluster import cluster

ROOT = HERE.parents[1]
WORKERS = ((1, 1), (2, 1), (4, 1), (1, 8))
"""How many there are in a cluster, and the threads of each: tasks wait for the registry more than they compute."""
FILE = """
schema = 1

[vars]
host = "localhost:1"

[targets."m${stem}"]
each = "modules/*.wasm"
tags = ["${host}/m:${stem}"]
"""


@case
def bake(bench: Bench) -> Iterator[Case]:
    """Many small targets of one file: on threads, processes and Dask, beside plain packs and crane."""
    count = bench.many if bench.is_whole else bench.pushed
    folder = bench.room / f"bake-{count}"  # a whole run comes here twice
    (folder / "modules").mkdir(parents=True)
    for number in range(1, count + 1):
        (folder / f"modules/{number}.wasm").hardlink_to(bench.room / f"modules/{number}.wasm")
    (folder / "ocibuild.toml").write_text(FILE)
    yield _layout(bench, folder, count)
    yield _push(bench, folder, count)
    yield from _dask(bench, folder, count)


def _baked(name: str, program: str, folder: Path, count: int, *words: str) -> Contender:
    """A bake that has no ledger yet."""
    script = f"XDG_CACHE_HOME=$PWD/cache {program} bake --config {folder} {' '.join(words)}"
    return Contender(name, script, "ours", work=count)


def _layout(bench: Bench, folder: Path, count: int) -> Case:
    ours = _baked("ocibuild bake", bench.ocibuild, folder, count, "-o oci:image")
    script = f"{bench.python} {HERE}/many.py pack {folder}/modules {count}"
    plain = Contender("packs in one process", script, "floor", work=count)
    words = f"each of {count} small targets into one layout"
    goals = (Goal(ours.name, plain.name, 1.3),)
    return Case("bake-layout", words, (ours, plain), goals, count, keeps=True, rounds=3, is_judged=bench.is_whole)


def _push(bench: Bench, folder: Path, count: int) -> Case:
    where = f"{bench.registry}/r$$"
    to = f"--push --set host={where}"
    ours = _baked("ocibuild bake", bench.ocibuild, folder, count, to)
    spread = _baked("ocibuild bake on processes", bench.ocibuild, folder, count, to, "--executor process")
    script = f"{bench.python} {HERE}/many.py deliver {folder}/modules {count} {where}/m"
    plain = Contender("packs and pushes in one process", script, "floor", work=count)
    contenders, goals = [ours, spread, plain], [Goal(ours.name, plain.name, 1.3)]
    if crane := bench.programs.get("crane"):
        few = max(1, count // 5)  # each costs the next one nothing, and all of them would take a minute
        append = f"{crane} append --oci-empty-base -f $n.tar -t {where}/m:$n"
        loop = f"for n in $(seq {few}); do tar -cf $n.tar -C {folder}/modules $n.wasm; {append}; done"
        peer = Contender("tar and crane append, in a loop", loop, work=few)
        contenders.append(peer)
        goals.append(Goal(ours.name, peer.name, 1 / 3))
    return Case(
        "bake-push",
        f"each of {count} small targets to one registry",
        tuple(contenders),
        tuple(goals),
        count,
        rounds=2,
        warm=False,
        is_judged=bench.is_whole,
    )


def _dask(bench: Bench, folder: Path, count: int) -> Iterator[Case]:
    """Clusters of so many workers on this one machine, which are warm: a worker lives longer than a bake.

    The Python of the tests: people who measure have no Dask in the environment of what is installed. What is counted of
    processors and memory is the client's.
    """
    python = f"env PYTHONPATH={ROOT} {sys.executable} -P"
    empties = f"{python} {HERE}/empties.py"
    to = f"--push --set host={bench.registry}/r$$"
    with ExitStack() as stack:
        contenders = []
        for workers, threads in WORKERS:
            made = stack.enter_context(cluster(folder / f"cluster-{workers}x{threads}", workers, threads))
            bench.run(*f"{empties} warm {made.address} {workers}".split())
            name = f"ocibuild bake on Dask, {_crew(workers, threads)}"
            contenders.append(_baked(name, f"{python} -m ocibuild", folder, count, to, f"--executor {made.address}"))
        for name, words in (
            ("nothing, by the engine on threads", f"threads {count}"),
            ("nothing, by the engine on Dask", f"dask {count} {made.address}"),
            ("nothing, by Dask alone", f"alone {count} {made.address}"),
        ):
            contenders.append(Contender(name, f"{empties} {words}", "floor", work=count))
        yield Case(
            "bake-dask",
            f"each of {count} small targets to one registry by workers of Dask, or nothing for each",
            tuple(contenders),
            size=count,
            memory=None,
            rounds=1,  # nobody is held to it, and it takes more than a minute
            warm=False,
            is_judged=bench.is_whole,
        )


def _crew(workers: int, threads: int) -> str:
    """For example `2 workers`, `1 worker of 8 threads`."""
    return f"{workers} worker{'s' if workers > 1 else ''}{f' of {threads} threads' if threads > 1 else ''}"
