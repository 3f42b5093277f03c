"""ADD of archives: written by the standard library in every compression, and broken in every way."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable

import pytest
import zstandard

from ocibuild.errors import OcibuildError
from tests.source.test_base import LOWER, Room, layer, member

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": lambda data: gzip.compress(data, mtime=0),
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
    "tar.zst": zstandard.compress,
}
RAW = layer(
    *LOWER[:4], member("d", tarfile.DIRTYPE, mode=0o700, uid=3, gid=4), member("d/link", tarfile.SYMTYPE, "../gone"),
    member("again", tarfile.LNKTYPE, "gone"), form="none",
)[1]  # fmt: skip


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(tmp_path_factory.mktemp("room"))


@pytest.mark.parametrize("form", FORMS)
def test_archives_become_the_files_in_them(room: Room, form: str) -> None:
    # The name says nothing: what is in a file does.
    (room.folder / "context" / "some").write_bytes(FORMS[form](RAW))
    room.build("FROM scratch\nADD some a.txt /to\n")
    assert room.files() == {
        "to": ("dir", 0o755, 0, 0, b""), "to/a.txt": ("file", 0o644, 0, 0, b"a\n"),
        "to/etc": ("dir", 0o755, 0, 0, b""), "to/etc/passwd": ("file", 0o644, 0, 0, LOWER[1][1]),  # type: ignore[index]
        "to/etc/group": ("file", 0o644, 0, 0, b"root:x:0:\nstaff:x:50:\n"), "to/gone": ("file", 0o644, 0, 0, b"g"),
        "to/again": ("file", 0o644, 0, 0, b"g"), "to/d": ("dir", 0o700, 3, 4, b""),
        "to/d/link": ("link", 0o777, 0, 0, b"../gone"),
    }  # fmt: skip


def test_flags_are_for_what_is_in_it(room: Room) -> None:
    (room.folder / "context" / "some.tar").write_bytes(RAW)
    room.build("FROM scratch\nADD --chown=7:8 --chmod=0600 some.tar /\nADD --unpack=false some.tar /whole\n")
    # --chmod is not one of them: tests/e2e/test_vectors.py has it from BuildKit.
    assert room.files(0)["etc/passwd"][1:4] == (0o644, 7, 8)
    assert room.files(0)["d"][1:4] == (0o700, 7, 8)
    assert room.files(1) == {"whole": ("file", 0o644, 0, 0, RAW)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        gzip.compress(b"text", mtime=0),
        b"\x1f\x8b\x08\0",
        bytes(10240),
        b"BZh9",
        b"\xfd7zXZ\0",
        b"\x28\xb5\x2f\xfd",
    ],
)
def test_what_is_no_archive_stays_a_file(room: Room, data: bytes) -> None:
    (room.folder / "context" / "some.tar.gz").write_bytes(data)
    room.build("FROM scratch\nADD some.tar.gz /\n")
    assert room.files() == {"some.tar.gz": ("file", 0o644, 0, 0, data)}


def outside() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("good"))
        archive.addfile(tarfile.TarInfo("../bad"))
    return out.getvalue()


BIG = layer(("a", bytes(range(256)) * 4000), ("b", b"b"), form="none")[1]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (BIG[:600_000], "archive-add"),
        *((pack(BIG)[:-40], "archive-add") for name, pack in FORMS.items() if name != "tar"),
        (outside(), "archive-add"),
        (layer(("a", b""), member("dev", tarfile.CHRTYPE), form="none")[1], "input-special"),
        (layer(("x/.wh.a", b""), form="none")[1], "path-invalid"),
    ],
    ids=["cut", *(f"cut.{name}" for name in FORMS if name != "tar"), "outside", "device", "whiteout"],
)
def test_an_archive_that_is_damaged_or_hostile_is_refused_with_the_line(room: Room, data: bytes, code: str) -> None:
    (room.folder / "context" / "some.tar").write_bytes(data)
    with pytest.raises(OcibuildError, match=r"^Dockerfile line 2: ") as refused:
        room.build("FROM scratch\nADD some.tar /\n")
    assert refused.value.code == code
    assert not (room.folder / "out.oci").exists()
