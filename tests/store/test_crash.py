"""A layout is as before or complete: killed at any line, with other writers in it, on a full disk."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.pack import pack
from ocibuild.content import atomic
from ocibuild.content.flow import Flow
from ocibuild.errors import OcibuildError, StoreError
from ocibuild.store.layout import LayoutStore
from ocibuild.testing.contract import image

ROOT = Path(__file__).parents[2]
MODULE = b"\0asm\1\0\0\0"
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def forks(*words: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("forks.py")), *words], capture_output=True, text=True, timeout=280,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize("scene", ["before", "fresh"])
def test_killed_at_many_lines_a_layout_is_as_before_or_complete_and_the_next_pack_mends_it(
    scene: str, tmp_path: Path
) -> None:
    total, points, as_before, complete = forks("kill", str(tmp_path), scene, "150")
    assert points == min(150, total)
    assert as_before + complete == points
    assert as_before > 50
    assert complete > 0


def test_writers_at_once_all_succeed_while_others_roll_back(tmp_path: Path) -> None:
    assert forks("race", str(tmp_path), "40", "6") == [40, 6]


class _Full(io.FileIO):
    """A file on a disk that takes `left` more bytes, over all files."""

    left = 0

    def write(self, data: Any, /) -> int:
        if _Full.left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = super().write(memoryview(data)[: _Full.left])
        _Full.left -= written
        return written


def snapshot(place: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in place.rglob("*")}


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_is_a_clear_error_at_every_byte_and_leaves_nothing(
    existing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "hello.wasm"
    module.write_bytes(MODULE)
    place = tmp_path / "deep" / "hello.oci"
    if existing:
        other = tmp_path / "other.wasm"
        other.write_bytes(MODULE + b"\0\2\1x")
        pack(other, output=f"oci:{place}", tags=["localhost/other:1"])
    before = snapshot(tmp_path)
    monkeypatch.setattr(atomic.os, "fdopen", lambda descriptor, mode, buffering: _Full(descriptor, mode))
    failed = 0
    for budget in range(0, 4000, 37):
        _Full.left = budget
        try:
            pack(module, output=f"oci:{place}", tags=["localhost/hello:1"])
        except StoreError as error:
            assert error.code == "disk-full"
            assert snapshot(tmp_path) == before
            failed += 1
        else:
            break
    assert failed > 20
    assert LayoutStore(place).resolve("1")


def test_a_full_disk_leaves_no_part_of_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "hello.wasm"
    module.write_bytes(MODULE)
    before = snapshot(tmp_path)
    monkeypatch.setattr(atomic.os, "fdopen", lambda descriptor, mode, buffering: _Full(descriptor, mode))
    for budget in range(0, 8_000, 397):
        _Full.left = budget
        with pytest.raises(StoreError) as caught:
            pack(module, output=str(tmp_path / "hello.tar"))
        assert caught.value.code == "disk-full"
        assert snapshot(tmp_path) == before


def test_a_real_full_disk(tmp_path: Path) -> None:
    if os.name == "nt" or os.getuid() or subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], capture_output=True, timeout=30, check=False
    ).returncode:  # fmt: skip
        pytest.skip("no file system can be mounted here")
    try:
        module = tmp_path / "big.wasm"
        module.write_bytes(MODULE + b"\0\x80\x80\x08\1x" + os.urandom(128 * 1024 - 2))
        before = snapshot(tmp_path)
        with pytest.raises(StoreError) as caught:
            pack(module, output=f"oci:{tmp_path}/big.oci")
        assert caught.value.code == "disk-full"
        assert snapshot(tmp_path) == before
    finally:
        subprocess.run(["umount", str(tmp_path)], timeout=30, check=True)


def test_a_limit_on_file_sizes_is_an_error_of_ours(tmp_path: Path) -> None:
    # EFBIG comes from the kernel itself, in a process of its own because the limit cannot be lifted again.
    module = tmp_path / "big.wasm"
    module.write_bytes(MODULE + b"\0\x80\x80\x08\1x" + os.urandom(128 * 1024 - 2))
    script = (
        "import resource, sys\n"
        "from ocibuild.api.pack import pack\n"
        "from ocibuild.errors import StoreError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n"
        "try:\n    pack(sys.argv[1], output='oci:' + sys.argv[2])\n"
        "except StoreError as error:\n    print(error.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(module), str(tmp_path / "big.oci")], capture_output=True, text=True,
        timeout=60, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "not-writable"
    assert list(tmp_path.iterdir()) == [module]


def test_leftovers_of_the_dead_are_swept_but_not_those_of_the_living(tmp_path: Path) -> None:
    place = tmp_path / "hello.oci"
    with Flow.open(cpu=1, io=1) as flow:
        with LayoutStore(place) as store:
            for blob in image(b"a"):
                store.push(blob, flow)
            store.tag(image(b"a")[-1].descriptor, "a")
        dead = [place / ".0123.part", place / "blobs/.4567.part"]
        for path in dead:
            path.write_bytes(b"half")
        with LayoutStore(place) as living, living.sink() as sink:
            assert not any(path.exists() for path in dead)
            sink.write(b"half")
            with LayoutStore(place) as other:
                other.tag(image(b"a")[-1].descriptor, "b")
            assert any(path.suffix == ".part" for path in (place / "blobs").iterdir())
    assert not any(path.suffix == ".part" for path in place.rglob("*"))


def test_a_failed_rename_leaves_no_part(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError) as caught:
        atomic.write(tmp_path / "folder", b"x")
    assert caught.value.code == "not-writable"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_is_written_durably_is_written(tmp_path: Path) -> None:
    with atomic.Incoming(tmp_path) as incoming:
        incoming.write(b"x")
        incoming.commit(tmp_path / "a", durable=True)
    assert (tmp_path / "a").read_bytes() == b"x"
    with pytest.raises(StoreError), atomic.Incoming(tmp_path / "missing"):
        pass


def test_locks_exclude_and_notice_another_folder(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    one, two = atomic.FolderLock(folder), atomic.FolderLock(folder)
    assert one.is_current()
    assert one.acquire("exclusive")
    assert not two.acquire("shared", wait=False)
    assert one.acquire("shared")
    assert two.acquire("shared", wait=False)
    assert not two.acquire("exclusive", wait=False)
    one.release()
    one.release()
    assert two.acquire("exclusive", wait=False)
    folder.rmdir()
    assert not two.is_current()
    folder.mkdir()
    assert not two.is_current()
    two.release()


def test_a_place_that_is_no_layout_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "notes.txt", tmp_path / "notes.txt" / "hello.oci"):
        with pytest.raises(OcibuildError) as caught, LayoutStore(place):
            pass
        assert caught.value.code in ("not-a-layout", "not-writable")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
