"""Run as a program: packs in forked children that are killed, or race each other. See test_crash.py.

`kill FOLDER before|fresh POINTS`: a child for each of POINTS lines of the code that writes layouts is killed by SIGKILL
when it gets there. `race FOLDER ROUNDS CHILDREN`: children write into one layout at once, every third gives up and rolls back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ocibuild.api.pack import pack
from ocibuild.content import atomic
from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.spec import mediatype
from ocibuild.spec.manifest import Manifest
from ocibuild.store import entries, layout
from ocibuild.store.base import fetch
from ocibuild.store.graph import walk
from ocibuild.store.layout import LayoutStore

TRACED = {atomic.__file__, entries.__file__, layout.__file__}


def child(work: Callable[[], object]) -> int:
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def traced(limit: int | None, work: Callable[[], object]) -> int:
    """Run `work`; kill this process at line `limit` of the traced files. The number of lines that ran."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


def snapshot(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def sound(place: Path) -> None:
    """Every root is complete: each blob below it is there and is its digest."""
    store = LayoutStore(place)
    for _, root in store.roots():
        for descriptor in walk(store, root):
            fetch(store, descriptor)


def kill(folder: Path, scene: str, points: int) -> None:
    first, second = folder / "first.wasm", folder / "second.wasm"
    first.write_bytes(b"\0asm\1\0\0\0")
    second.write_bytes(b"\0asm\1\0\0\0\0\2\1x")
    before, place = folder / "before", folder / "hello.oci"
    if scene == "before":
        pack(first, output=f"oci:{before}", tags=["localhost/first:1"])

    def reset() -> None:
        entries._known = ()  # as in a process that has read nothing yet
        shutil.rmtree(place, ignore_errors=True)
        if scene == "before":
            shutil.copytree(before, place)

    def work() -> None:
        pack(second, output=f"oci:{place}", tags=["localhost/second:1"])

    reset()
    old = (place / "index.json").read_bytes() if place.exists() else None
    total = traced(None, work)
    whole = snapshot(place)
    outcomes = {"as before": 0, "complete": 0}
    chosen = sorted({1 + n * (total - 1) // (points - 1) for n in range(points)})
    for point in chosen:
        reset()
        pid = child(partial(traced, point, work))
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), f"line {point} of {total} was not reached: {status}"
        index = place / "index.json"
        found = index.read_bytes() if index.exists() else None
        if found == old:
            outcomes["as before"] += 1
        else:
            assert found == whole["index.json"], f"killed at line {point}: index.json is neither old nor new"
            outcomes["complete"] += 1
        if found is not None:
            sound(place)
        work()
        assert snapshot(place) == whole, f"killed at line {point}: the next pack did not mend it"
    print(total, len(chosen), outcomes["as before"], outcomes["complete"])


class GivenUp(Exception):
    pass


def race(folder: Path, rounds: int, children: int) -> None:
    for turn in range(rounds):
        place = folder / f"{turn}.oci"
        gate, opened = os.pipe()
        pids = [child(partial(racer, place, gate, n)) for n in range(children)]
        os.write(opened, b"g" * children)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        os.close(gate)
        os.close(opened)
        assert statuses == [0] * children, f"round {turn}: {statuses}"
        wanted = {str(n) for n in range(children) if n % 3 != 2}
        assert {name for name, _ in LayoutStore(place).roots()} == wanted, f"round {turn}"
        sound(place)
        assert not [path for path in place.rglob("*") if path.suffix == ".part"]
    print(rounds, children)


def racer(place: Path, gate: int, number: int) -> None:
    os.read(gate, 1)
    with contextlib.suppress(GivenUp), Flow.open(cpu=1, io=1) as flow, LayoutStore(place) as store:
        shared = Blob.of(mediatype.LAYER, b"shared")  # the same content in all images
        config = Blob.of(mediatype.CONFIG, b'{"n":%d}' % number)
        manifest = Manifest(config.descriptor, (shared.descriptor,))
        root = Blob.of(mediatype.MANIFEST, manifest.to_bytes())
        for blob in (shared, config, root):
            store.push(blob, flow)
        store.tag(root.descriptor, str(number))
        if number % 3 == 2:
            raise GivenUp


def main() -> NoReturn:
    verb, folder, *rest = sys.argv[1:]
    if verb == "kill":
        kill(Path(folder), rest[0], int(rest[1]))
    else:
        race(Path(folder), int(rest[0]), int(rest[1]))
    sys.exit(0)


if __name__ == "__main__":
    main()
