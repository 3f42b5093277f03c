"""What a target costs beside its pack, counted in function calls: no clock, so no other load on the machine, decides."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import ocibuild
from ocibuild.api.bake import bake
from ocibuild.bake import crews

FEW, MANY = 10, 60


class Now(Executor):
    """Does each task where it is submitted, so that one thread's profile has all of it."""

    def submit(self, fn: Callable[..., Any], /, *given: Any, **said: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*given, **said))
        return future


@contextmanager
def here(jobs: int | None, *, waiting: bool = False) -> Iterator[crews.Local]:
    yield crews.Local(Now, 1)


def calls(work: Callable[[], object]) -> int:
    profile = cProfile.Profile()
    profile.enable()
    work()
    profile.disable()
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def test_a_target_costs_little_more_than_its_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(crews, "threads", here)
    Path("in").mkdir()
    for number in range(MANY):
        name = f"m{number:03}".encode()
        section = bytes([len(name)]) + name
        Path(f"in/{name.decode()}.wasm").write_bytes(b"\0asm\1\0\0\0\0" + bytes([len(section)]) + section)
    Path("ocibuild.toml").write_text(
        'schema = 1\n[targets."${stem}"]\neach = "in/m${count}*.wasm"\n[vars]\ncount = ""\n'
    )

    def packs(count: int) -> None:
        with ocibuild.Session() as session:
            for number in range(count):
                ocibuild.pack(f"in/m{number:03}.wasm", output=f"oci:packed/m{number}.oci", session=session)

    def bakes(count: int) -> None:
        done = bake(output=f"baked-{count}", variables={"count": "00" if count == FEW else ""})
        assert len(done.images) == count
        assert done.failed == ()

    packs(1)  # what is loaded at first use is no cost of a target
    bakes(FEW)
    packed = (calls(lambda: packs(MANY)) - calls(lambda: packs(FEW))) / (MANY - FEW)
    baked = (calls(lambda: bakes(MANY)) - calls(lambda: bakes(FEW))) / (MANY - FEW)
    assert packed > 500, "nothing was packed"
    assert baked < 1.5 * packed, f"{baked:.0f} calls a target, and {packed:.0f} a pack"
    print(f"{baked:.0f} calls a target, {packed:.0f} a pack")
