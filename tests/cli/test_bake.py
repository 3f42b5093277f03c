"""`ocibuild bake` from outside: stdout, stderr, files, statuses, Ctrl-C, and a terminal."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocibuild.spec import schema
from tests.cli.conftest import Ran
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Seen

Run = Callable[..., Ran]
FILE = """
schema = 1
[vars]
host = "localhost:5000"
[targets.z]
files = ["hello.wasm"]
tags = ["${host}/z:1"]
[targets.a]
files = ["component.wasm"]
tags = ["${host}/a:1", "${host}/a:2"]
"""
BROKEN = FILE + '[targets.bad]\nfiles = ["none.wasm"]\n'


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(path / "cache"))
    return path


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


def wrote(folder: Path, text: str = FILE) -> None:
    (folder / "ocibuild.toml").write_text(text)


def test_one_digest_reference_a_target_stands_on_stdout_in_the_files_order(run: Run, folder: Path) -> None:
    wrote(folder)
    ran = run("bake")
    assert ran.status == 0
    assert re.fullmatch(r"(oci:bake\.oci@sha256:[0-9a-f]{64}\n){2}", ran.out)
    packed = run("pack", "hello.wasm", "--dry-run").out.strip()
    assert ran.out.splitlines()[0].endswith(packed)
    assert "[1/2] " in ran.err
    assert "2 made, 0 up to date in " in ran.err
    again = run("bake")
    assert again.out == ran.out
    assert "0 made, 2 up to date in " in again.err
    assert run("bake", "-q").err == ""


def test_pushed_by_name_with_a_variable_said(run: Run, folder: Path, registry: Registry) -> None:
    wrote(folder)
    ran = run("bake", "a", "--push", "--set", f"host={registry.host}")
    assert ran.out == f"{registry.host}/a@{registry.tags['a', '1']}\n"
    assert set(registry.tags) == {("a", "1"), ("a", "2")}


def test_the_metadata_file_and_json_say_the_same_by_target(run: Run, folder: Path) -> None:
    wrote(folder)
    ran = run("bake", "--json", "--metadata-file", "meta.json", "--progress", "none")
    document = json.loads(ran.out)
    assert json.loads((folder / "meta.json").read_text()) == document["targets"]
    assert list(document["targets"]) == ["z", "a"]
    one = document["targets"]["a"]
    assert one["image.name"] == "localhost:5000/a:1,localhost:5000/a:2"
    assert one["references"] == [f"oci:bake.oci@{one['containerimage.digest']}"]
    assert (one["state"], one["cached"]) == ("made", False)
    assert one["seconds"] >= 0
    again = json.loads(run("bake", "--json").out)
    assert again["targets"]["a"]["cached"] is True
    assert again["targets"]["a"]["containerimage.digest"] == one["containerimage.digest"]


def test_events_fit_their_schema(run: Run, folder: Path) -> None:
    wrote(folder, BROKEN)
    ran = run("bake", "--progress", "json", "-k")
    lines = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    for line in lines:
        schema.validate(line, "progress")
    told = [line for line in lines if line["event"] == "target"]
    assert {(line["target"], line["state"]) for line in told} == {
        ("z", "running"), ("a", "running"), ("bad", "running"), ("z", "made"), ("a", "made"), ("bad", "failed"),
    }  # fmt: skip
    assert [line["count"] for line in told if line["state"] != "running"] == [1, 2, 3]
    assert next(line for line in told if line["state"] == "failed")["text"] == "there is no file none.wasm"


def test_events_of_a_large_target_say_how_far_it_is(run: Run, folder: Path, registry: Registry) -> None:
    noise = random.Random(8).randbytes(2 * 1024 * 1024)
    length = len(noise) + 1  # and the empty name of a custom section: core specification, 5.5.3
    leb = bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14 & 127 | 128, length >> 21])
    (folder / "big.wasm").write_bytes(b"\0asm\1\0\0\0\0" + leb + b"\0" + noise)
    wrote(folder, f'schema = 1\n[targets.big]\nfiles = ["big.wasm"]\ntags = ["{registry.host}/big:1"]')
    ran = run("bake", "--push", "--progress", "json")
    lines = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    for line in lines:
        schema.validate(line, "progress")
    begun, *steps, ended = [line for line in lines if line["event"] == "target"]
    assert (begun["state"], ended["state"]) == ("running", "made")
    assert {line["phase"] for line in steps} == {"packing", "pushing"}
    assert all(line["state"] == "running" and 0 <= line["moved"] <= line["size"] for line in steps)
    assert ended["sent"] == sum(len(blob) for blob in registry.blobs.values()) + sum(
        len(data) for _, data in registry.manifests.values()
    )


def test_one_failure_is_that_error_and_several_are_named(run: Run, folder: Path) -> None:
    wrote(folder, BROKEN)
    ran = run("bake", "-k")
    assert ran.status == 1
    assert ran.out.count("\n") == 2
    assert "error: bad: there is no file none.wasm [file-not-found]" in ran.err
    assert "2 made, 0 up to date, 1 not made" in ran.err
    wrote(folder, BROKEN + '[targets.worse]\nfiles = ["ocibuild.toml"]\n')
    ran = run("bake", "-k")
    assert ran.status == 1
    assert "2 of 4 targets failed: bad, worse [targets-failed]" in ran.err
    document = json.loads(run("bake", "-k", "--json").out)
    assert document["targets"]["bad"] == {
        "state": "failed", "cached": False, "error": {"code": "file-not-found", "message": "there is no file none.wasm"},
    }  # fmt: skip


def test_the_plan_is_printed_and_nothing_is_made(run: Run, folder: Path) -> None:
    wrote(folder)
    before = sorted(folder.iterdir())
    document = json.loads(run("bake", "--print", "a").out)
    schema.validate(document, "bake-plan")
    assert document["asked"] == ["a"]
    assert document["targets"]["a"]["tags"] == ["localhost:5000/a:1", "localhost:5000/a:2"]
    assert sorted(folder.iterdir()) == before


def test_check_names_every_target_that_cannot_be_made(run: Run, folder: Path) -> None:
    wrote(folder)
    assert run("bake", "--check").status == 0
    wrote(folder, BROKEN)
    before = sorted(folder.iterdir())
    ran = run("bake", "--check")
    assert (ran.status, ran.out) == (3, "")
    assert "bad: there is no file none.wasm [file-not-found]" in ran.err
    assert "1 of 3 targets cannot be made: bad" in ran.err
    ran = run("bake", "--check", "--json")
    assert json.loads(ran.out)["findings"][0]["target"] == "bad"
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "words, code",
    [
        (("--set", "host"), "pair-invalid"),
        (("--set", "hots=x"), "config-variable-unknown"),
        (("nobody",), "config-target-unknown"),
        (("--executor", "ray"), "executor-unknown"),
        (("--watch", "--print"), "usage"),
        (("--username", "ada"), "usage"),
        (("-j", "0"), "usage"),
        (("--config", "none.toml"), "config-missing"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], code: str, run: Run, folder: Path) -> None:
    wrote(folder)
    ran = run("bake", *words)
    assert (ran.status, ran.out) == (2, "")
    assert f"[{code}]" in ran.err
    assert not (folder / "bake.oci").exists()


def test_a_config_of_another_folder(run: Run, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    wrote(folder)
    other = tmp_path_factory.mktemp("other")
    os.chdir(other)
    assert run("bake", "--config", str(folder), "-o", "out").status == 0
    assert sorted(path.name for path in (other / "out").iterdir()) == ["a.oci", "z.oci"]


# --- a process of its own


def start(folder: Path, *words: str, **said: object) -> subprocess.Popen[bytes]:
    source = f"import sys; sys.path[:0] = {sys.path!r}; from ocibuild.cli import main; main()"
    command = [sys.executable, "-c", source, "bake", *words]
    return subprocess.Popen(command, cwd=folder, **said)  # type: ignore[call-overload,no-any-return]


class Stuck(Registry):
    """Answers no manifest before it is `released`."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def respond(self, request: Seen) -> Answer:
        if request.method == "PUT" and "/manifests/" in request.path:
            self.released.wait(30)
        return super().respond(request)


@pytest.mark.parametrize("executor", ["threads", "process"])
def test_ctrl_c_ends_it_within_a_second_and_leaves_whole_images(executor: str, folder: Path) -> None:
    with Stuck() as registry:
        lines = [
            f'[targets.t{n}]\nfiles = ["hello.wasm"]\ncmd = "{n}"\ntags = ["{registry.host}/t{n}:1"]' for n in range(50)
        ]
        wrote(folder, "schema = 1\n" + "\n".join(lines))
        process = start(
            folder, "--push", "-o", "oci:l", "--executor", executor, "-j", "2",
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        for _ in range(600):
            if any(request.method == "POST" for request in registry.seen):
                break
            time.sleep(0.05)
        time.sleep(0.5)
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
        took = time.monotonic() - began
        tags = dict(registry.tags)
        registry.released.set()
    assert process.returncode == 130, err
    assert took < 4, "it takes less than a second where nobody shares the machine"
    assert out == b""
    assert b"Traceback" not in err, err.decode()
    assert tags == {}
    assert list((folder / "l").rglob("*.part")) == []


def test_a_terminal_gets_a_table_and_is_left_clean(folder: Path) -> None:
    wrote(folder, BROKEN)
    leader, follower = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "CI": ""}
    process = start(folder, "-k", "--progress", "tty", stdout=subprocess.PIPE, stderr=follower, env=environ)
    os.close(follower)
    shown = b""
    for _ in range(400):
        ready, _, _ = select.select([leader], [], [], 0.1)
        try:
            piece = os.read(leader, 65536) if ready else b""
        except OSError:
            break
        shown += piece
        if process.poll() is not None and not ready:
            break
    assert process.wait(10) == 1
    assert process.stdout is not None
    assert process.stdout.read().count(b"\n") == 2
    process.stdout.close()
    os.close(leader)
    text = shown.decode()
    assert "of 3" in text
    assert "bad: failed: there is no file none.wasm" in text
    assert "2 made, 0 up to date, 1 not made" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again"


def test_watching_makes_again_what_changes_until_ctrl_c(folder: Path) -> None:
    wrote(folder)
    process = start(folder, "--watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    try:
        first = [process.stdout.readline(), process.stdout.readline()]
        assert all(line.startswith(b"oci:bake.oci@sha256:") for line in first)
        time.sleep(0.3)
        began = time.monotonic()
        (folder / "hello.wasm").write_bytes(b"\0asm\1\0\0\0\0\1\0")
        assert process.stdout.readline() not in first
        assert time.monotonic() - began < 5
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert out == b"", "only what changed is made"
    assert b"watching 3 files" in err


@pytest.mark.parametrize(
    ("text", "where", "code"),
    [
        ('[targets.x]\nfiles = ["hello.wasm"]\nformat = "weird"\n', "ocibuild.toml:4: targets.x.format", "shape-unknown"),
        ('[defaults]\ncompression = "lzma"\n[targets.x]\nfiles = ["hello.wasm"]\n', "ocibuild.toml:3: defaults.compression", "compression-invalid"),
        ('[targets.x]\nplatform = ["wasm"]\n[targets.y]\ninherits = ["x"]\nfiles = ["hello.wasm"]\n', "ocibuild.toml:3: targets.x.platform", "platform-invalid"),
        ('[targets.x]\nfiles = ["hello.wasm"]\ncreated = "soon"\n', "ocibuild.toml:4: targets.x.created", "created-invalid"),
        ('[targets.x]\nbuild = "."\nlanguage = "cobol"\n', "ocibuild.toml:4: targets.x.language", "language-unknown"),
        ('[targets.x]\nfiles = ["hello.wasm"]\nfor = "nobody"\n', "ocibuild.toml:4: targets.x.for", "consumer-unknown"),
        ('[targets.x]\nfiles = ["hello.wasm"]\nneeds = ["x"]\n', "ocibuild.toml: targets need each other", "needs-circle"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_told_with_line_and_key_before_anything_is_made(
    text: str, where: str, code: str, run: Run, folder: Path
) -> None:
    wrote(folder, "schema = 1\n" + text)
    ran = run("bake")
    assert (ran.status, ran.out) == (2, "")
    assert f"error: {where}" in ran.err
    assert f"[{code}]" in ran.err
    assert not (folder / "bake.oci").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-o", "oci-archive:all.tar"), "a bake writes layouts"),
        (("-o", "docker://localhost:5000/x"), "a bake writes layouts"),
        (("-o", "hello.wasm"), "is a file"),
        (("--metadata-file", "none/meta.json"), "there is no folder none"),
        (("--print", "--check"), "two questions"),
        (("--watch", "--json"), "--progress json"),
    ],
)
def test_what_could_not_be_done_is_refused_before_anything_is_made(
    words: tuple[str, ...], told: str, run: Run, folder: Path
) -> None:
    wrote(folder)
    before = sorted(folder.iterdir())
    ran = run("bake", *words)
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.err
    assert sorted(folder.iterdir()) == before
