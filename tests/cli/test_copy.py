"""`copy`, `push`, `save` and `index` from outside, and how the process ends when it is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.registry.double import Registry

Run = Callable[..., Ran]
SOURCE = f"import sys; sys.path[:0] = {sys.path!r}; from ocibuild.cli import main; main()"


def digest_in(reference: str) -> str:
    return reference.strip().partition("@")[2]


def test_a_copy_keeps_its_digest_through_every_place(run: Run, folder: Path) -> None:
    packed = run("pack", "hello.wasm").out
    for source, destination in (("hello.oci", "a.tar"), ("a.tar", "oci:b:1"), ("oci:b:1", "docker-archive:c.tar")):
        ran = run("copy", source, destination)
        assert ran.status == 0, ran.err
        assert digest_in(ran.out) == digest_in(packed)


def test_a_second_copy_finds_everything_there(run: Run, folder: Path) -> None:
    run("pack", "hello.wasm")
    first, second = (json.loads(run("copy", "hello.oci", "oci:again", "--json").out) for _ in range(2))
    assert (first["written"], first["existed"]) == (3, 0)
    assert (second["written"], second["existed"], second["bytes"]) == (0, 3, 0)


def test_save_writes_an_archive_and_stdout_takes_one_too(run: Run, folder: Path) -> None:
    run("pack", "hello.wasm")
    assert run("save", "hello.oci", "-o", "saved.tar").status == 0
    command = [sys.executable, "-c", SOURCE, "save", "hello.oci", "-o", "-"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, (folder / "saved.tar").read_bytes())
    with tarfile.open(folder / "saved.tar", "r:") as archive:
        assert "index.json" in archive.getnames()


def test_index_joins_what_was_packed_apart(run: Run, folder: Path) -> None:
    names = []
    for name, platform in (("one", "wasi/wasm"), ("two", "wasip2/wasm")):
        names.append(run("pack", f"hello.wasm={platform}", "-o", f"oci:{name}").out.strip())
    ran = run("index", *names, "-t", "oci:joined:1", "--metadata-file", "made.json")
    assert ran.status == 0, ran.err
    digest = digest_in(ran.out)
    assert json.loads((folder / "made.json").read_bytes())["containerimage.digest"] == digest
    index = json.loads((folder / "joined/blobs" / digest.replace(":", "/")).read_bytes())
    assert [entry["platform"]["os"] for entry in index["manifests"]] == ["wasi", "wasip2"]
    assert [entry["digest"] for entry in index["manifests"]] == [digest_in(name) for name in names]


@pytest.mark.parametrize("words", [["push", "hello.oci"], ["copy", "hello.oci"], ["save", "hello.oci"], ["index"]])
def test_a_command_that_lacks_a_word_says_where_its_help_is(words: list[str], run: Run, folder: Path) -> None:
    ran = run(*words)
    assert (ran.status, ran.out) == (2, "")
    assert f"see ocibuild {words[0]} --help" in ran.err


def test_a_registry_that_nobody_runs_is_a_network_error(run: Run, folder: Path) -> None:
    run("pack", "hello.wasm")
    ran = run("push", "hello.oci", "localhost:1/hello:1")
    assert ran.status == 5
    assert "nothing listens on localhost:1 [connection-refused]" in ran.err


def test_version_and_help_end_well(run: Run, folder: Path) -> None:
    assert run("--version").out.startswith("ocibuild ")
    for words in (["--help"], ["-h"], ["pack", "-h"]):
        ran = run(*words)
        assert (ran.status, ran.err) == (0, "")
        assert ran.out.startswith("Usage: ocibuild ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_process_leaves_nothing_and_says_130(number: int, folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SOURCE, "pack", "hello.wasm", "--load", "docker"],
        cwd=folder,
        env={**os.environ, "PATH": str(engine(folder))},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(folder / "started")
        process.send_signal(number)
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.strip() == "cancelled"
    assert not (folder / "hello.oci").exists()


def engine(folder: Path) -> Path:
    """A folder with a docker that starts loading and does not come to an end."""
    (folder / "bin").mkdir()
    script = folder / "bin" / "docker"
    script.write_text(f"#!/bin/sh\n: > {folder}/started\nexec /bin/sleep 30\n")
    script.chmod(0o755)
    return script.parent


def wait_for(path: Path) -> None:
    import time

    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


@pytest.mark.parametrize(
    "size, chunk", [("1MiB", 1 << 20), ("1m", 1 << 20), ("2MB", 2_000_000), ("2097152", 2 << 20), (None, None)]
)
def test_a_blob_goes_in_chunks_when_that_is_asked_for(
    run: Run, folder: Path, size: str | None, chunk: int | None
) -> None:
    (folder / "big.wasm").write_bytes(b"\0asm\1\0\0\0\0\x80\x80\xc0\1\1x" + bytes(3 * (1 << 20) - 2))
    run("pack", "big.wasm", "--compression", "none", "-o", "big.oci")
    with Registry() as registry:
        words = ["--chunk-size", size] if size else []
        assert run("push", "big.oci", f"{registry.host}/a:1", *words).status == 0
        lengths = [len(request.body) for request in registry.requests("PATCH")]
    assert max(lengths, default=None) == chunk


@pytest.mark.parametrize("size", ["0", "1023KiB", "much", "-1", "1PiB", "1MB", "5", ""])
def test_a_size_of_chunks_that_cannot_be_is_wrong_usage(run: Run, folder: Path, size: str) -> None:
    ran = run("push", "big.oci", "localhost:1/a:1", "--chunk-size", size)
    assert ran.status == 2
    assert "16MiB" in ran.err
