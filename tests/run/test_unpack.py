"""Images unpacked for a run: what layers hold is there, and nothing is written outside, whatever they hold."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path

import pytest

from ocibuild.content.blob import Bytes
from ocibuild.errors import StoreError
from ocibuild.image.shapes.recognise import Program
from ocibuild.run import unpack
from tests.image.test_rootfs import tar, union


def unpacked(folder: Path, *layers: bytes) -> dict[str, bytes | str | None]:
    """Every path below the folder: a file's content, a link's target, None for a folder."""
    unpack.rootfs(union(*layers), folder / "root")
    found: dict[str, bytes | str | None] = {}
    for path in sorted((folder / "root").rglob("*")):
        name = path.relative_to(folder / "root").as_posix()
        found[name] = os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
    return found


def test_files_folders_links_and_whiteouts(tmp_path: Path) -> None:
    lower = tar(("etc", None), ("etc/a", b"old"), ("etc/gone", b"x"), ("bin/tool", b"tool"), ("empty", None))
    upper = tar(("etc/a", b"new"), ("etc/.wh.gone", b""), ("link", "etc/a"))
    hard = tar(("bin/again", "bin/tool"), link=tarfile.LNKTYPE)
    assert unpacked(tmp_path, lower, upper, hard) == {
        "bin": None, "bin/again": b"tool", "bin/tool": b"tool", "empty": None, "etc": None, "etc/a": b"new",
        "link": "etc/a",
    }  # fmt: skip


@pytest.mark.parametrize(
    "layers",
    [
        [tar(("d", "../outside"), ("d/x", b"written"))],
        [tar(("d", "../outside")), tar(("d/x", b"written"))],
        [tar(("d", "../outside"), ("d/x", "elsewhere"))],
        [tar(("d", "../outside"), ("d/sub", None), ("d/sub/x", b"written"))],
        [tar(("../outside/x", b"written"))],
        [tar(("d", "../outside")), tar(("h", "d/there"), ("h2", "../outside/there"), link=tarfile.LNKTYPE)],
        [tar(("f", b"file"), ("f/x", b"below a file"))],
    ],
)
def test_nothing_is_written_or_linked_outside(tmp_path: Path, layers: list[bytes]) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "there").write_bytes(b"untouched")
    found = unpacked(tmp_path, *layers)
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"there": b"untouched"}
    assert b"untouched" not in found.values()
    assert (outside / "there").stat().st_nlink == 1


def test_set_id_bits_devices_and_pipes_are_not_made(tmp_path: Path) -> None:
    kinds = (("tool", 0o4755, tarfile.REGTYPE), ("p", 0o644, tarfile.FIFOTYPE), ("n", 0o644, tarfile.CHRTYPE))
    with tarfile.open(tmp_path / "layer.tar", "w") as archive:
        for name, mode, kind in kinds:
            info = tarfile.TarInfo(name)
            info.mode, info.type = mode, kind
            archive.addfile(info)
    assert unpacked(tmp_path, (tmp_path / "layer.tar").read_bytes()) == {"tool": b""}
    assert stat.S_IMODE((tmp_path / "root/tool").stat().st_mode) == 0o755


def test_the_folder_is_private_and_goes_away() -> None:
    with unpack.private() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        unpack.program(Program("a", 1, None, Bytes(b"x")), folder / "program")
        assert os.access(folder / "program", os.X_OK)
    assert not folder.exists()


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(StoreError) as caught, unpack.private():
        pass
    assert caught.value.code == "not-writable"
