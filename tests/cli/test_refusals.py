"""What the command line says when it says no: one line with a code, a hint, the class's exit status, no traceback."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ocibuild import errors
from tests.cli.conftest import Ran
from tests.registry.double import Registry
from tests.registry.scripted import PLANTED, leaks

Run = Callable[..., Ran]


def elf(kind: int, machine: int, size_class: int = 2) -> bytes:
    """A 64-bit ELF file of one loadable segment. System V ABI, "ELF Header" and "Program Header"."""
    ident = b"\x7fELF" + bytes([size_class, 1, 1]) + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0x400078, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    return ident + header + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, 184, 184, 4096) + bytes(64)


FILES = {
    "core": elf(4, 62),
    "strange": elf(2, 0x1234),
    "damaged": elf(2, 62, size_class=7),
    "compiled": b"\0aot\3\0\0\0" + bytes(64),  # WAMR's magic
    "empty": b"",
    "short": b"\0as",
    "script": b"#!/bin/sh\necho\n",
    "text": b"hello, this is a text and nothing else\n" * 4,
    "hello.wat": b'(module (func (export "_start")))\n',
    "archive.gz": b"\x1f\x8b\x08\0\0\0\0\0\0\3" + bytes(64),
    "bitcode": b"BC\xc0\xde" + bytes(64),
    "macho": struct.pack("<8I", 0xFEEDFACF, 0x01000007, 3, 2, 0, 0, 0, 0) + bytes(64),
    "windows.exe": b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(64),
    "noise": bytes(range(200, 255)) * 4,
    "old.wasm": b"\0asm\2\0\0\0",
    "damaged.wasm": b"\0asm\1\0\0\0\1\xff\xff\xff\xff\xff\xff",
}

REFUSED = [
    ("usage", 2, "pack"),
    ("usage", 2, "pack hello.wasm --no-such-flag"),
    ("usage", 2, "pack hello.wasm --push"),
    ("usage", 2, "pack hello.wasm --target a"),
    ("usage", 2, "no-such-verb"),
    ("add-invalid", 2, "pack hello.wasm --dry-run --add nothing"),
    ("input-missing", 1, "pack hello.wasm --dry-run --add nothing:/x"),
    ("path-invalid", 2, "pack hello.wasm --dry-run --add text:/../x"),
    ("path-duplicate", 2, "pack hello.wasm --dry-run --add text:/x --add noise:/x"),
    ("consumer-unknown", 2, "pack hello.wasm --dry-run --for nobody"),
    ("consumer-refuses", 2, "pack component.wasm --dry-run --for podman"),
    ("shape-unknown", 2, "pack hello.wasm --dry-run --format square"),
    ("shape-conflict", 2, "pack hello.wasm --dry-run --format artifact --add text:/x"),
    ("compression-invalid", 2, "pack hello.wasm --dry-run --compression brotli"),
    ("created-invalid", 2, "pack hello.wasm --dry-run --created yesterday"),
    ("words-invalid", 2, "pack hello.wasm --dry-run --cmd [1]"),
    ("pair-invalid", 2, "pack hello.wasm --dry-run --env =x"),
    ("port-invalid", 2, "pack hello.wasm --dry-run --expose 99999"),
    ("mode-invalid", 2, "pack hello.wasm --dry-run --mode rwx"),
    ("engine-unknown", 2, "pack hello.wasm --load rocket"),
    ("platform-invalid", 2, "pack hello.wasm=wasm --dry-run"),
    ("platform-twice", 2, "pack hello.wasm component.wasm --dry-run"),
    ("reference-invalid", 2, "pack hello.wasm --dry-run -t Upper/Case"),
    ("config-missing", 2, "pack --config none.toml"),
    ("file-not-found", 1, "pack nothing.wasm"),
    ("file-is-directory", 1, "pack ."),
    ("file-empty", 1, "pack empty"),
    ("file-truncated", 1, "pack short"),
    ("format-script", 1, "pack script"),
    ("format-text", 1, "pack text"),
    ("format-wat", 1, "pack hello.wat"),
    ("format-archive", 1, "pack archive.gz"),
    ("format-bitcode", 1, "pack bitcode"),
    ("format-macho", 1, "pack macho"),
    ("format-pe", 1, "pack windows.exe"),
    ("format-unknown", 1, "pack noise"),
    ("wasm-version-unknown", 1, "pack old.wasm"),
    ("wasm-malformed", 1, "pack damaged.wasm"),
    ("elf-core", 1, "pack core"),
    ("elf-machine-unknown", 1, "pack strange"),
    ("elf-malformed", 1, "pack damaged"),
    ("wasm-precompiled", 1, "pack compiled"),
    ("git-failed", 1, "pack hello.wasm --dry-run --git"),
    ("not-a-layout", 1, "pack hello.wasm -o oci:text"),
    ("layout-missing", 1, "copy . out.tar"),
    ("archive-invalid", 1, "copy noise out.tar"),
    ("not-found", 1, "copy oci-archive:none.tar out.tar"),
]


@pytest.mark.parametrize("code, status, words", REFUSED, ids=[words for _, _, words in REFUSED])
def test_a_refusal_has_its_code_and_status_and_writes_nothing(
    code: str, status: int, words: str, run: Run, folder: Path
) -> None:
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    before = sorted(path.name for path in folder.iterdir())
    ran = run(*words.split())
    assert (ran.status, ran.out) == (status, "")
    assert ran.err.splitlines()[0].endswith(f"[{code}]"), ran.err
    assert ran.err.startswith("error: ")
    assert "Traceback" not in ran.err
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_refusal_as_json_stands_on_stderr(run: Run, folder: Path) -> None:
    ran = run("pack", "nothing.wasm", "--json")
    assert (ran.status, ran.out) == (1, "")
    assert set(json.loads(ran.err)["error"]) >= {"code", "message"}
    assert json.loads(ran.err)["error"]["code"] == "file-not-found"


def test_a_file_that_cannot_be_opened_says_why(run: Run, folder: Path) -> None:
    (folder / "loop").symlink_to("loop")
    assert "[file-unreadable]" in run("pack", "loop").err


def test_special_files_are_refused_without_waiting_for_them(run: Run, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    assert "[file-is-special]" in run("pack", "fifo").err
    assert "[input-special]" in run("pack", "hello.wasm", "--add", "fifo:/x").err


def test_a_layout_that_is_damaged_says_so(run: Run, folder: Path) -> None:
    assert run("pack", "hello.wasm").status == 0
    (folder / "hello.oci" / "index.json").write_text("{")
    ran = run("copy", "hello.oci", "out.tar")
    assert (ran.status, "[layout-invalid]" in ran.err) == (1, True), ran.err


def test_a_layout_with_several_images_asks_which(run: Run, folder: Path) -> None:
    for name in ("hello", "component"):
        assert run("pack", f"{name}.wasm", "-o", f"oci:both:{name}").status == 0
    ran = run("copy", "both", "out.tar")
    assert (ran.status, "[ambiguous]" in ran.err) == (1, True), ran.err
    assert run("copy", "oci:both:hello", "out.tar").status == 0


def test_a_layout_that_lost_a_blob_says_which(run: Run, folder: Path) -> None:
    assert run("pack", "hello.wasm", "--json").status == 0
    largest = max((folder / "hello.oci/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    largest.unlink()
    ran = run("copy", "hello.oci", "out.tar")
    assert (ran.status, "[blob-missing]" in ran.err, largest.name in ran.err) == (1, True, True), ran.err
    assert not (folder / "out.tar").exists()


def test_an_artifact_cannot_be_joined_into_an_index(run: Run, folder: Path) -> None:
    assert run("pack", "hello.wasm", "--format", "artifact").status == 0
    assert "[not-runnable]" in run("index", "hello.oci", "-t", "oci:joined").err


def test_an_engine_that_is_missing_or_refuses(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bin").mkdir()
    monkeypatch.setenv("PATH", str(folder / "bin"))
    assert "[tool-missing]" in run("pack", "hello.wasm", "--load", "docker").err
    (folder / "bin" / "docker").write_text("#!/bin/sh\necho 'invalid operating system' >&2\nexit 1\n")
    (folder / "bin" / "docker").chmod(0o755)
    ran = run("pack", "hello.wasm", "--load", "docker")
    assert (ran.status, "[load-failed]" in ran.err) == (1, True)
    assert "containerd image store" in ran.err


def test_a_defect_is_named_as_one(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the sky fell")

    monkeypatch.setattr("ocibuild.api.pack.pack", broken)
    ran = run("pack", "hello.wasm")
    assert ran.status == 1
    assert "RuntimeError: the sky fell [unexpected]" in ran.err
    assert "Traceback" not in ran.err


def test_ctrl_c_is_130(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ocibuild.api.pack.pack", stopped)
    assert run("pack", "hello.wasm").status == 130


@pytest.mark.parametrize(
    "kind, code, status",
    [
        (errors.OcibuildError, "failed", 1),
        (errors.UsageError, "usage", 2),
        (errors.InputError, "input-invalid", 1),
        (errors.ContentError, "content-invalid", 1),
        (errors.StoreError, "store-failed", 1),
        (errors.NotFoundError, "not-found", 1),
        (errors.RegistryError, "registry-refused", 1),
        (errors.AuthorizationError, "unauthorized", 4),
        (errors.NetworkError, "network-failed", 5),
        (errors.ToolError, "tool-failed", 1),
        (errors.FindingsError, "findings", 3),
        (errors.Cancelled, "cancelled", 130),
    ],
)
def test_each_class_has_its_exit_status(
    kind: type[errors.OcibuildError], code: str, status: int, run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise kind("no", hint="try\x1b[2Jagain")

    monkeypatch.setattr("ocibuild.api.pack.pack", refuse)
    ran = run("pack", "hello.wasm")
    assert (ran.status, ran.out) == (status, "")
    assert ran.err.splitlines()[0] == f"error: no [{code}]"
    assert "\x1b[2J" not in ran.err  # text of strangers does not steer the terminal


def test_debug_shows_every_exchange_and_no_secret() -> None:
    with Registry(user="ada", password=PLANTED) as registry:
        words = ["--debug", "digest", f"{registry.host}/a:1", "--username", "ada", "--password-stdin"]
        done = subprocess.run(
            [sys.executable, "-m", "ocibuild", *words],
            input=f"{PLANTED}\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert f"HEAD {registry.url}/v2/a/manifests/1: 404" in done.stderr
    assert f"GET {registry.url}/token: 200" in done.stderr
    assert "Traceback" in done.stderr
    assert not leaks(done.stdout + done.stderr)


def test_push_of_a_path_that_is_not_there_does_not_ask_docker_hub(run: Callable[..., Ran], folder: Path) -> None:
    ran = run("push", "hello/nothing.oci", "localhost:1/a:1")
    assert (ran.status, ran.out) == (1, "")
    assert "[file-not-found]" in ran.err
    assert "ocibuild copy" in ran.err
