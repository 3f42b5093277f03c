"""What an engine is told, and how it may end. Its part is played by shell scripts; tests/e2e/test_build.py has real ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shlex
import shutil
import sys
import tarfile
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import ocibuild
from ocibuild.ambient import Ambient
from ocibuild.api.build import build
from ocibuild.content.flow import Cancel, Event
from ocibuild.errors import Cancelled, OcibuildError, ToolError, UsageError
from ocibuild.source import engine, tool
from ocibuild.spec.manifest import Manifest
from ocibuild.store.base import fetch
from ocibuild.store.graph import node
from ocibuild.store.layout import LayoutStore

HELLO = Path(__file__).parents[2] / "samples" / "hello.wasm"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the engines' parts are played by shell scripts")


class Stage:
    """A folder with programs in it that are called like engines, and what they were told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.heard: list[str] = []
        self.cancel = Cancel()
        (folder / "bin").mkdir(parents=True)
        (folder / "context").mkdir()
        self.session = ocibuild.Session(
            surroundings=Ambient(
                {"PATH": f"{folder}/bin:{os.environ['PATH']}"}, folder, ocibuild.Session().surroundings.now
            ),
            observe=self._hear,
            cancel=self.cancel,
        )

    def _hear(self, event: Event) -> None:
        self.heard.append(event.text)

    def plays(self, name: str, script: str) -> None:
        """Put a shell script on PATH."""
        program = self.folder / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def hands_over(self, name: str, *, blind: bool = False) -> None:
        """An engine that says what it was told, and whose every stage is an image of samples/hello.wasm."""
        form = "oci" if name == "buildah" else "oci-archive"
        image, root = self.folder / f"{name}.image", self.folder / "root"
        ocibuild.pack(HELLO, output=f"{form}:{image}", compression="none")
        root.mkdir(exist_ok=True)
        shutil.copy(HELLO, root)
        told = self.folder / f"{name}.told"
        self.plays(
            name,
            f"""for word; do printf '%s\\n' "$word"; done >>{told}; echo -- >>{told}
while [ $# -gt 0 ]; do
    case $1 in
        --iidfile) echo sha256:1 >"$2" ;;
        --file) cp "$2" {self.folder}/Dockerfile.told ;;
        --ignorefile) cp "$2" {self.folder}/ignore.told ;;
        --output)
            case $2 in
                type=tar,dest=*) tar -cf "${{2#type=tar,dest=}}" -C {root} . ;;
                *) cp {image} "${{2#type=docker,dest=}}" ;;
            esac ;;
        mount) {"exit 9" if blind else f"echo {root}"} ;;
        unshare) shift; exec "$@" ;;
        oci:*) cp -r {image} "${{1#oci:}}" ;;
    esac
    shift
done""",
        )

    def told(self, name: str) -> list[list[str]]:
        """The words of each call."""
        calls = (self.folder / f"{name}.told").read_text().split("--\n")
        return [call.splitlines() for call in calls if call]

    def build(self, text: str, **said: Any) -> str:
        (self.folder / "context" / "Dockerfile").write_text(text)
        known: dict[str, Any] = {"platforms": ["wasi/wasm"], "output": f"oci:{self.folder}/out.oci"}
        return build(self.folder / "context", session=self.session, **{**known, **said}).digest


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


RUNS = "FROM scratch AS build\nRUN make\nFROM scratch\nCOPY --from=build /hello.wasm /\n"


def options(words: list[str], flag: str) -> list[str]:
    return [value for name, value in pairwise(words) if name == flag]


@pytest.mark.parametrize("name", ["buildah", "podman", "docker"])
def test_the_stage_alone_is_asked_for_and_its_files_are_taken(stage: Stage, name: str) -> None:
    stage.hands_over(name)
    text = (
        "# syntax=docker/dockerfile:1\nARG V=1\nFROM base:$V AS build\nARG TARGETARCH\nARG MINE\nRUN make\n"
        "FROM scratch\nCOPY --from=build /hello.wasm /\nARG LATER\n"
    )
    (stage.folder / "context" / ".dockerignore").write_text("# comment\n/a\n! /a/b\n")
    (stage.folder / "files").mkdir()
    stage.build(
        text,
        engine=name,
        build_args=["MINE=m", "LATER=l", "HTTP_PROXY=p"],
        build_contexts=[f"base={stage.folder}/files"],
        secrets=["id=a,src=b"],
        ssh=["default"],
        no_cache=True,
    )
    words = stage.told(name)[0]
    assert words[-1] == str(stage.folder / "context")
    assert options(words, "--target") == ["build"]
    assert {"--secret=id=a,src=b", "--ssh=default", "--no-cache"} <= set(words)
    # Base images are not for wasi/wasm, so nothing says --platform; what the stage asks for is the target all the same.
    assert "--platform" not in words
    assert options(words, "--build-arg") == ["TARGETARCH=wasm", "MINE=m", "HTTP_PROXY=p"]
    assert options(words, "--build-context") == [f"base={stage.folder}/files"]
    told = (stage.folder / "Dockerfile.told").read_text()
    assert told == text[: text.index("FROM scratch")]
    if name != "docker":
        assert (stage.folder / "ignore.told").read_text() == "a\n!a/b\n"
    else:
        assert len(stage.told(name)) == 1
    if name == "buildah":
        _, container, _, removed = [call for call in stage.told(name) if call[0] != "unshare"]
        assert options(container, "--name") == removed[1:]


@pytest.mark.parametrize("name", ["buildah", "podman"])
def test_where_its_files_cannot_be_seen_the_image_has_them(stage: Stage, name: str) -> None:
    stage.hands_over(name)
    seen = stage.build(RUNS, engine=name)
    stage.hands_over(name, blind=True)
    assert stage.build(RUNS, engine=name) == seen
    assert {"buildah": "push", "podman": "save"}[name] in [call[0] for call in stage.told(name)]


@pytest.mark.parametrize("name", ["buildah", "podman", "docker"])
def test_an_image_goes_on_from_its_stage(stage: Stage, name: str) -> None:
    stage.hands_over(name)
    stage.build("FROM scratch AS build\nRUN make\nFROM build\nLABEL a=b\n", engine=name)
    store = LayoutStore(stage.folder / "out.oci")
    manifest = node(store, store.resolve(""))
    assert isinstance(manifest, Manifest)
    config = json.loads(fetch(store, manifest.config))
    assert (config["config"]["Labels"], config["config"]["Entrypoint"]) == ({"a": "b"}, ["/hello.wasm"])
    (layer,) = manifest.layers
    with store.open(layer) as stream:
        raw = gzip.decompress(stream.read())
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(raw).hexdigest()}"]
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        (member,) = archive
        assert archive.extractfile(member).read() == HELLO.read_bytes()  # type: ignore[union-attr]


def test_a_native_platform_is_the_stages_too(stage: Stage) -> None:
    stage.hands_over("buildah")
    stage.build(RUNS, platforms=["linux/amd64", "linux/arm64"])
    assert [options(call, "--platform") for call in stage.told("buildah") if call[0] == "bud"] == [
        ["linux/amd64"], ["linux/arm64"],
    ]  # fmt: skip


def test_the_first_engine_there_is_is_taken_and_none_is_none(stage: Stage) -> None:
    stage.hands_over("podman")
    stage.hands_over("docker")
    environ = {"PATH": f"{stage.folder}/bin"}
    assert engine.find(None, environ) == ("podman", f"{stage.folder}/bin/podman")
    assert engine.find("docker", environ) == ("docker", f"{stage.folder}/bin/docker")
    assert engine.find("none", environ) is None
    assert engine.find(None, {"PATH": str(stage.folder)}) is None
    with pytest.raises(ToolError, match="buildah is not installed here") as missing:
        engine.find("buildah", environ)
    assert missing.value.code == "tool-missing"
    with pytest.raises(UsageError) as unknown:
        engine.find("kaniko", environ)
    assert unknown.value.code == "engine-unknown"
    with pytest.raises(OcibuildError) as refused:
        stage.build(RUNS, engine="none")
    assert refused.value.code == "stage-unbuilt"
    assert "buildah, podman or docker" in (refused.value.hint or "")


def test_an_engine_is_not_asked_for_what_files_answer(stage: Stage) -> None:
    stage.plays("buildah", "exit 1")
    (stage.folder / "files").mkdir()
    (stage.folder / "files" / "hello.wasm").write_bytes(HELLO.read_bytes())
    stage.build(RUNS, build_contexts=[f"build={stage.folder}/files"])
    assert not any("buildah" in line for line in stage.heard)


def test_its_words_are_passed_on_and_its_last_ones_are_in_the_error(stage: Stage) -> None:
    stage.plays("buildah", "for n in 1 2 3; do echo step $n; done; echo 'no space left' >&2; exit 3")
    with pytest.raises(ToolError) as failed:
        stage.build(RUNS)
    assert failed.value.code == "stage-failed"
    assert failed.value.message == (
        "Dockerfile line 2: buildah bud failed for stage build, exit status 3:\n  step 1\n  step 2\n  step 3\n  no space left"
    )
    assert stage.heard == [
        "buildah builds stage build",
        *(f"buildah: step {n}" for n in (1, 2, 3)),
        "buildah: no space left",
    ]
    assert not (stage.folder / "out.oci").exists()


def test_a_program_that_is_none_is_told(stage: Stage) -> None:
    stage.plays("buildah", "")
    (stage.folder / "bin" / "buildah").write_bytes(b"\x7fELF")
    with pytest.raises(ToolError, match="cannot be started: Exec format error") as failed:
        stage.build(RUNS)
    assert failed.value.code == "stage-failed"


def test_an_engine_that_is_stuck_is_ended_with_what_it_started(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUILDING", 0.5)
    children = stage.folder / "children"
    stage.plays("buildah", f"sleep 600 & echo $! >{shlex.quote(str(children))}; echo waiting; wait")
    begun = time.monotonic()
    with pytest.raises(ToolError, match="it was ended after 0 s:\n  waiting"):
        stage.build(RUNS)
    assert time.monotonic() - begun < 20
    assert _gone(int(children.read_text()))


def test_calling_off_the_session_ends_the_engine(stage: Stage) -> None:
    children = stage.folder / "children"
    stage.plays("buildah", f"sleep 600 & echo $! >{shlex.quote(str(children))}; wait")
    timer = threading.Timer(1, stage.cancel.set)
    timer.start()
    with pytest.raises(Cancelled):
        stage.build(RUNS)
    timer.join()
    assert _gone(int(children.read_text()))


def _gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_a_long_line_and_strange_bytes_do_no_harm(tmp_path: Path) -> None:
    heard: list[str] = []
    source = "import sys; sys.stdout.buffer.write(b'a' * 5000 + b'\\n\\xff\\n')"
    ended = tool.run([sys.executable, "-c", source], os.environ, 60, Cancel(), heard.append)
    assert ended.status == 0
    assert [len(line) for line in heard] == [2000, 2000, 1000, 1]
    assert heard[-1] == "\ufffd"


@pytest.mark.parametrize("line", ["ARG TARGETARCH", "ARG TARGETPLATFORM TARGETOS=linux"])
def test_a_stage_that_asks_for_a_platform_nobody_said_is_refused(stage: Stage, line: str) -> None:
    stage.hands_over("buildah")
    text = f"FROM scratch AS build\n{line}\nRUN make\nFROM scratch\nCOPY --from=build /hello.wasm /\n"
    with pytest.raises(UsageError, match="Dockerfile line 2: the value of TARGET") as refused:
        stage.build(text, platforms=[])
    assert refused.value.code == "platform-needed"
    stage.build(text.replace(line, "ARG TARGETARCH=x"), platforms=[])


def test_onbuild_of_a_stage_may_run_too(stage: Stage) -> None:
    stage.hands_over("buildah")
    text = "FROM scratch AS base\nONBUILD RUN make\nFROM base AS build\nFROM scratch\nCOPY --from=build /hello.wasm /\n"
    stage.build(text)
    assert options(stage.told("buildah")[0], "--target") == ["build"]
    assert json.loads((stage.folder / "out.oci" / "index.json").read_bytes())["manifests"]
