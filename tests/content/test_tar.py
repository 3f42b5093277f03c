"""Tar layers, judged by two other implementations: the standard library's tarfile, and the system's GNU tar."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.content import tar
from ocibuild.content.blob import Bytes
from ocibuild.content.tar import Entry
from ocibuild.errors import UsageError

MODULE = b"\0asm\1\0\0\0"
TAR = shutil.which("tar")


def file(path: str, data: bytes = b"x", mode: int = 0o644, uid: int = 0, gid: int = 0) -> Entry:
    return Entry(path, "file", mode, Bytes(data), uid=uid, gid=gid)


def written(entries: Sequence[Entry], mtime: int = 0) -> bytes:
    out = bytearray()
    for content in tar.pieces(entries, mtime):
        with content.open() as stream:
            out += stream.read()
    assert len(out) == tar.size(entries, mtime)
    return bytes(out)


def read(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return archive.getmembers()


def contents(data: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        member = archive.extractfile(name)
        assert member is not None
        return member.read()


def test_one_module_is_2048_bytes_of_ustar_with_the_golden_digest() -> None:
    # Computed apart from this program: a ustar entry hello.wasm, mode 0755, ids and time 0, two zero blocks.
    data = written([file("hello.wasm", MODULE, 0o755)])
    assert len(data) == 2048
    assert hashlib.sha256(data).hexdigest() == "409a60a276413cf4b15a7d4709846651dcafe2dc175b2ff1368c38641a222fd0"


def test_it_is_what_tarfile_writes_but_for_the_tape_padding() -> None:
    info = tarfile.TarInfo("hello.wasm")
    info.size, info.mode = len(MODULE), 0o755
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(MODULE))
    theirs = buffer.getvalue()
    ours = written([file("hello.wasm", MODULE, 0o755)])
    device_fields_and_sum = {*range(148, 156), *range(329, 345)}
    assert {n for n in range(2048) if ours[n] != theirs[n]} <= device_fields_and_sum


NAMES = {
    "a hundred": "n" * 100,
    "a hundred and one": "n" * 101,
    "split at 155": "p" * 155 + "/" + "n" * 100,
    "split where the last slash is too late": "a/" + "b" * 90 + "/" + "c" * 60,
    "prefix too long": "p" * 156 + "/n",
    "name too long": "p/" + "n" * 101,
    "both too long": "p" * 200 + "/" + "n" * 200,
    "a thousand": "/".join(["d" * 100] * 10),
    "umlaut": "grüße/hällo.wasm",
    "emoji": "dir/🦀.wasm",
    "space": "a b/c d.txt",
    "question": "a?b",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_a_name_is_read_back_by_tarfile(name: str) -> None:
    data = written([file(name, b"content")])
    assert [member.name for member in read(data)] == [name]
    assert contents(data, name) == b"content"


@pytest.mark.parametrize("depth", [1, 40, 60, 120])
def test_a_folders_name_of_any_length_stays_a_folder(depth: int) -> None:
    path = "/".join(["ab"] * depth)
    data = written([Entry(path, "dir", 0o755)])
    member = read(data)[0]
    assert (member.name, member.isdir(), member.size) == (path, True, 0)


def test_a_split_name_is_ustar_without_pax() -> None:
    head = tar.header(file("p" * 155 + "/" + "n" * 100))
    assert len(head) == 512
    assert head[257:265] == b"ustar\x0000"
    assert head[345:500] == b"p" * 155


@pytest.mark.skipif(TAR is None, reason="no tar here")
def test_gnu_tar_unpacks_the_names_modes_times_and_links(tmp_path: Path) -> None:
    names = [name for name in NAMES.values() if all(len(part.encode()) <= 255 for part in name.split("/"))]
    entries = [file(name, name.encode(), 0o640) for name in names]
    entries += [
        Entry("short", "symlink", 0o777, target="a b/c d.txt"),
        Entry("long", "symlink", 0o777, target="x/" * 80 + "y"),
        Entry("ümlaut", "symlink", 0o777, target="grüße/hällo.wasm"),
        Entry("empty", "dir", 0o700),
    ]
    entries = tar.with_parents(entries)
    archive = tmp_path / "a.tar"
    archive.write_bytes(written(entries, 1_700_000_000))
    out = tmp_path / "out"
    out.mkdir()
    assert TAR is not None
    done = subprocess.run(
        [TAR, "-xpf", str(archive), "-C", str(out), "--no-same-owner"], capture_output=True, text=True, timeout=60,
        check=True, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stderr == ""
    for name in names:
        path = out / name
        assert path.read_bytes() == name.encode()
        assert path.stat().st_mode & 0o7777 == 0o640
        assert path.stat().st_mtime == 1_700_000_000
    assert (out / "long").readlink() == Path("x/" * 80 + "y")
    assert (out / "ümlaut").readlink() == Path("grüße/hällo.wasm")
    assert (out / "empty").stat().st_mode & 0o7777 == 0o700


class Huge:
    """Content that says how long it is, and is never read."""

    def __init__(self, size: int) -> None:
        self.size = size

    def open(self, offset: int = 0) -> io.BytesIO:
        raise AssertionError("only the header is wanted")


@pytest.mark.parametrize("size, pax", [(8**11 - 1, False), (8**11, True), (20 * 2**40, True)])
def test_eight_gibibytes_and_more_are_said_in_pax(size: int, pax: bool) -> None:
    entry = Entry("big", "file", 0o644, Huge(size))
    head = tar.header(entry)
    assert (len(head) > 512) == pax
    with tarfile.open(fileobj=io.BytesIO(head), mode="r|") as archive:
        member = archive.next()
    assert member is not None
    assert (member.name, member.size) == ("big", size)
    if TAR:
        # GNU tar reads the header, says the size, and only then misses the content.
        listed = subprocess.run([TAR, "-tvf", "-"], input=head, capture_output=True, timeout=60, check=False)
        assert str(size).encode() in listed.stdout


@pytest.mark.parametrize("mtime", [0, 1, 8**11 - 1, 8**11, 253402300799, -1])
def test_every_time_is_read_back(mtime: int) -> None:
    assert read(written([file("a")], mtime))[0].mtime == mtime


def test_owners_beyond_ustar_are_said_in_pax() -> None:
    member = read(written([file("a", uid=8**7, gid=2**31)]))[0]
    assert (member.uid, member.gid) == (8**7, 2**31)
    member = read(written([file("a", uid=65532, gid=8**7 - 1)]))[0]
    assert (member.uid, member.gid, member.uname, member.gname) == (65532, 8**7 - 1, "", "")
    assert len(tar.header(file("a", uid=8**7 - 1))) == 512


@pytest.mark.parametrize("target", ["a", "../x", "/abs", "t" * 100, "t" * 101, "ä" * 60, "line\nbreak"])
def test_a_symbolic_links_target_is_kept_as_it_is(target: str) -> None:
    member = read(written([Entry("l", "symlink", 0o777, target=target)]))[0]
    assert (member.issym(), member.linkname) == (True, target)


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 1024])
def test_contents_are_padded_to_records(length: int) -> None:
    data = written([file("a", b"z" * length), file("b", b"next")])
    assert len(data) % 512 == 0
    assert contents(data, "a") == b"z" * length
    assert contents(data, "b") == b"next"
    assert data.endswith(bytes(1024))


def test_parents_come_first_each_once_and_keep_what_was_said_of_them() -> None:
    entries = tar.with_parents(
        [file("a/b/c"), file("a/d"), Entry("a", "dir", 0o700), Entry("a/b", "dir", 0o711), file("z")]
    )
    assert [(entry.path, entry.mode) for entry in entries] == [
        ("a", 0o700),
        ("a/b", 0o711),
        ("a/b/c", 0o644),
        ("a/d", 0o644),
        ("z", 0o644),
    ]


@pytest.mark.parametrize(
    "entries",
    [
        [file("a"), file("a")],
        [file("a"), file("a/b")],
        [file("a/b"), file("a")],
        [file("a"), Entry("a", "dir", 0o755)],
        [Entry("a", "dir", 0o755), file("a")],
        [Entry("a", "symlink", 0o777, target="x"), file("a/b")],
        [Entry("a", "symlink", 0o777, target="x"), Entry("a", "dir", 0o755)],
    ],
)
def test_a_path_stands_once_in_a_layer(entries: list[Entry]) -> None:
    # layer.md: "layer ... MUST NOT include duplicate entries for file paths"
    with pytest.raises(UsageError) as caught:
        tar.with_parents(entries)
    assert caught.value.code == "path-duplicate"
    assert "/a " in caught.value.message + " "


def test_the_same_folder_twice_is_one_folder() -> None:
    assert len(tar.with_parents([Entry("a", "dir", 0o755), Entry("a", "dir", 0o755)])) == 1


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        ".",
        "..",
        "a/../b",
        "./a",
        "a//b",
        ".wh.x",
        "a/.wh.b/c",
        ".wh..wh..opq",
        "a\nb",
        "a\0b",
        "a\x7fb",
        "a\udcffb",
    ],
)
def test_a_path_that_means_something_else_is_refused(path: str) -> None:
    with pytest.raises(UsageError) as caught:
        tar.checked_path(path)
    assert caught.value.code == "path-invalid"
    assert caught.value.hint


def test_a_path_is_made_relative() -> None:
    assert tar.checked_path("/etc/app.toml") == "etc/app.toml"
    assert tar.checked_path("a.wh./b") == "a.wh./b"


@pytest.mark.parametrize("target", ["", "a\udcffb", "a\0b"])
def test_a_links_target_that_is_no_text_is_refused(target: str) -> None:
    with pytest.raises(UsageError):
        tar.checked_target("l", target)
    assert tar.checked_target("l", "../ä") == "../ä"


PATHS = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=90).filter(
        lambda part: part not in (".", "..") and not part.startswith(".wh.")
    ),
    min_size=1,
    max_size=4,
).map("/".join)


@given(PATHS, st.binary(max_size=1500), st.integers(0, 0o7777), st.integers(0, 2**33))
def test_any_path_content_mode_and_time_is_read_back(path: str, data: bytes, mode: int, mtime: int) -> None:
    made = written([file(tar.checked_path(path), data, mode)], mtime)
    member = read(made)[0]
    assert (member.name, member.mode, member.mtime, member.size) == (path, mode, mtime, len(data))
    assert contents(made, member.name) == data
