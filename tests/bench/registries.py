"""`ocibuild serve` beside CNCF distribution and go-containerregistry's registry: the same client against each."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

from tests.bench.cases import HERE, MIB, Bench, Case, Each, Goal, case
from tests.bench.harness import Contender
from tests.e2e.servers import Served, free_port, serving

KINDS = {"ocibuild": "ocibuild serve", "distribution": "distribution", "ggcr": "crane registry"}
"""Kinds of tests.e2e.servers, and what they are called here."""
SMALL = 1000
_FEW = 50


def _load(*words: object) -> str:
    # The Python of the tests: what is measured is the registry, and its client is the same for all.
    return " ".join([sys.executable, str(HERE / "load.py"), *map(str, words)])


@case
def serve(bench: Bench) -> Iterator[Case]:
    """The registry: start, one large blob, many small images."""
    with ExitStack() as stack:
        there = {
            name: stack.enter_context(serving(kind, bench.part, bench.room / f"serve-{kind}"))
            for kind, name in KINDS.items()
        }
        yield _start(bench, there)
        yield from _large(bench, there)
        yield from _small(bench, there)


def _against(there: dict[str, Served], script: Callable[[str], str], work: int = 1) -> tuple[Contender, ...]:
    """A contender for each registry; its memory is the registry's own."""
    return tuple(
        Contender(
            name, script(served.host), "ours" if name.startswith("ocibuild") else "peer", work=work, watch=served.pid
        )
        for name, served in there.items()
    )


def _start(bench: Bench, there: dict[str, Served]) -> Case:
    def script(name: str) -> str:
        port = free_port()
        words = {
            "ocibuild serve": f"{bench.ocibuild} serve data --port {port}",
            "crane registry": f"{bench.part('crane')} registry serve --address 127.0.0.1:{port} --disk .",
            "distribution": f"{bench.part('distribution')} serve config.yml",
        }[name]
        config = (
            f"version: 0.1\\nstorage: {{filesystem: {{rootdirectory: data}}}}\\nhttp: {{addr: 127.0.0.1:{port}}}\\n"
        )
        return f"printf '{config}' > config.yml\n{_load('start', port, words)}"

    contenders = tuple(
        Contender(name, script(name), "ours" if name.startswith("ocibuild") else "peer") for name in there
    )
    words = "from the start of a registry to its first answer, the client's own start included"
    return Case("serve-start", words, contenders, (Each("ocibuild serve", 300),))


def _large(bench: Bench, there: dict[str, Served]) -> Iterator[Case]:
    size = bench.large
    file = bench.binary(size)
    with file.open("rb") as stream:
        digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    for host in (served.host for served in there.values()):
        bench.run(*_load("get-ready", host, file, digest).split())
    goals = (Goal("ocibuild serve", "distribution", 1 / 0.8),)
    base = Case("", "", (), goals, size, settle=True, is_judged=bench.is_whole)
    put = _against(there, lambda host: _load("put", host, file, digest))
    yield replace(base, name="serve-put", words=f"a blob of {size // MIB} MiB pushed", contenders=put)
    get = _against(there, lambda host: _load("get", host, "ready/blob", digest, size))
    yield replace(base, name="serve-get", words=f"a blob of {size // MIB} MiB pulled", contenders=get)


def _small(bench: Bench, there: dict[str, Served]) -> Iterator[Case]:
    count = SMALL if bench.is_whole else _FEW
    for host in (served.host for served in there.values()):
        bench.run(*_load("push", host, count, 0).split())
    for verb in ("push", "pull"):
        for clients in (1, 32):
            contenders = _against(there, lambda host, v=verb, c=clients: _load(v, host, count, c), count)  # type: ignore[misc]
            words = f"each of {count} small images {verb}ed, {clients} client{'s' if clients > 1 else ''}"
            yield Case(f"serve-{verb}-{clients}", words, contenders, size=count)
