"""Builds beside real engines: what COPY means where BuildKit's vectors say nothing, and stages that have to run."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ocibuild import ambient
from ocibuild.api.build import build
from ocibuild.api.session import Session
from ocibuild.content.flow import Event
from ocibuild.errors import ToolError
from tests.e2e.engines import containerd, docker
from tests.e2e.servers import Part, Run, stop
from tests.source.test_base import CAPABILITY, Layout, capable, layer
from tests.source.test_buildkit import entries

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]

DOCKERFILE = """\
FROM scratch AS one
COPY named /n
COPY out /o
COPY usr /usr
COPY root /
COPY a.txt /bin/
FROM scratch
COPY --from=one / /all
COPY *.txt out /flat/
COPY d* a.txt /mix/
WORKDIR /w/x
COPY a.txt ../up
COPY --chown=5:6 d ./d
"""


def files(layout: Path) -> dict[str, tuple[bytes, int, int, int, str, bytes]]:
    """Everything in the image's layers: type, mode, owner, link, content."""

    def blob(digest: str) -> bytes:
        return (layout / "blobs" / digest.replace(":", "/")).read_bytes()

    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]["digest"]))
    found = {}
    for written in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(blob(written["digest"])), mode="r:*") as archive:
            for member in archive:
                content = archive.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
                # buildah writes the type into the mode as well.
                about = (member.type, member.mode & 0o7777, member.uid, member.gid, member.linkname, content)
                found[member.name.rstrip("/")] = about
    return found


def test_files_are_where_buildah_has_them(part: Callable[[str], str], run: Run, tmp_path: Path) -> None:
    context = tmp_path / "context"
    for folder in ("d/e", "usr/bin", "root"):
        (context / folder).mkdir(parents=True)
    for name in ("a.txt", "d/b.txt", "d/e/c.txt", "usr/x"):
        (context / name).write_text(name)
        (context / name).chmod(0o644)
    for name, target in {"d/link": "b.txt", "named": "d", "out": "/a.txt", "root/bin": "usr/bin"}.items():
        (context / name).symlink_to(target)
    (context / ".dockerignore").write_text("d/e\n")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    store = ("--root", f"{tmp_path}/store", "--runroot", f"{tmp_path}/run", "--storage-driver", "vfs")
    words = ("bud", "--isolation", "chroot", "-f", f"{tmp_path}/Dockerfile", "-t", f"oci:{tmp_path}/theirs")
    run(part("buildah"), *store, *words, str(context))
    build(context, file=tmp_path / "Dockerfile", platforms=["linux/amd64"], output=f"oci:{tmp_path}/ours")
    theirs = files(tmp_path / "theirs")
    assert len(theirs) > 20
    assert files(tmp_path / "ours") == theirs


# -- stages that have to run: the engine builds them on a base of one static program

RUNNING = """\
FROM scratch AS base
ENV GREETING=hello
WORKDIR /w
COPY busybox /bin/sh
FROM base AS build
ARG TARGETPLATFORM
ARG WHO=nobody
COPY . .
RUN ls > seen; echo "$GREETING $WHO on $TARGETPLATFORM" > said; mkdir -p /d/e; echo x > /d/e/x; chmod 0640 /d/e/x; \\
    chown 5:6 /d/e/x; ln -s e/x /d/link; ln said linked; mkdir /gone; echo > /gone/x
RUN rm -r /gone; chmod 0711 /d
FROM scratch AS files
COPY --from=build /w /w
COPY --from=build /d /d
COPY <<EOF /here
this is not for an old buildah
EOF
FROM build AS whole
COPY --from=files /here /here
ENTRYPOINT ["/bin/sh", "-c", "cat /w/said"]
"""


@pytest.fixture(params=["buildah", "podman"])
def engine(request: pytest.FixtureRequest, part: Callable[[str], str]) -> str:
    """Each engine that needs no daemon."""
    part(request.param)
    return str(request.param)


@pytest.fixture
def environ(room: Path) -> dict[str, str]:
    """The environment of an engine with a storage of its own, which runs steps where namespaces are not allowed too."""
    lines = ['driver = "vfs"', f'graphroot = "{room}/storage"', f'runroot = "{room}/runroot"']
    (room / "storage.conf").write_text("[storage]\n" + "\n".join(lines) + "\n")
    (room / "registries.conf").write_text("")
    return {
        **os.environ,
        "CONTAINERS_STORAGE_CONF": f"{room}/storage.conf",
        "CONTAINERS_REGISTRIES_CONF": f"{room}/registries.conf",
        "BUILDAH_ISOLATION": "chroot",
    }


@pytest.fixture
def context(part: Callable[[str], str], tmp_path: Path) -> Path:
    """A context with a shell, a file that is left out, and the Dockerfile."""
    folder = tmp_path / "context"
    folder.mkdir()
    shutil.copy(part("busybox"), folder / "busybox")
    (folder / "a.txt").write_text("a\n")
    (folder / "secret").write_text("s\n")
    (folder / "Dockerfile.dockerignore").write_text("# not in it\n/secret\nDockerfile*\n")
    (folder / "Dockerfile").write_text(RUNNING)
    return folder


def expect_files(output: Path, context: Path) -> None:
    """What the stage `files` of RUNNING holds, wherever it was built."""
    found = files(output)
    assert found.pop("w/busybox")[5] == (context / "busybox").read_bytes()
    assert found == {
        "w": (tarfile.DIRTYPE, 0o755, 0, 0, "", b""),
        "w/a.txt": (tarfile.REGTYPE, 0o644, 0, 0, "", b"a\n"),
        "w/seen": (tarfile.REGTYPE, 0o644, 0, 0, "", b"a.txt\nbusybox\nseen\n"),
        "w/said": (tarfile.REGTYPE, 0o644, 0, 0, "", b"hello me on wasi/wasm\n"),
        "w/linked": (tarfile.REGTYPE, 0o644, 0, 0, "", b"hello me on wasi/wasm\n"),
        "d": (tarfile.DIRTYPE, 0o755, 0, 0, "", b""),
        "d/e": (tarfile.DIRTYPE, 0o755, 0, 0, "", b""),
        "d/e/x": (tarfile.REGTYPE, 0o640, 5, 6, "", b"x\n"),
        "d/link": (tarfile.SYMTYPE, 0o777, 0, 0, "e/x", b""),
        "here": (tarfile.REGTYPE, 0o644, 0, 0, "", b"this is not for an old buildah\n"),
    }


def test_an_engine_builds_the_stages_that_run(
    engine: str, environ: dict[str, str], context: Path, tmp_path: Path
) -> None:
    heard: list[Event] = []
    session = Session(surroundings=replace(ambient.read(), environ=environ), observe=heard.append)
    output = context / "out.oci"  # in the context, and no part of it at the second time

    def built() -> str:
        return build(
            context, target="files", platforms=["wasi/wasm"], build_args=["WHO=me"], engine=engine, session=session,
            output=f"oci:{output}",
        ).digest  # fmt: skip

    first = built()
    expect_files(output, context)
    told = [event.text for event in heard]
    assert f"{engine} builds stage build" in told
    assert any(line.startswith(f"{engine}: ") and "RUN rm -r /gone" in line for line in told)
    heard.clear()
    assert built() == first
    cached = [event.text for event in heard if "Using cache" in event.text]
    assert len(cached) >= 4


def test_an_image_may_go_on_from_a_stage_that_an_engine_built(
    engine: str, environ: dict[str, str], context: Path, tmp_path: Path, run: Run
) -> None:
    session = Session(surroundings=replace(ambient.read(), environ=environ))
    build(context, platforms=["linux/amd64"], engine=engine, session=session, output=f"oci:{tmp_path}/whole:one")
    expect_whole(tmp_path, run)


@pytest.mark.heavy
def test_docker_builds_the_stages_that_run(part: Part, context: Path, tmp_path: Path, run: Run) -> None:
    # This engine has no network, so no step may want one.
    (context / "Dockerfile").write_text(RUNNING.replace("RUN ", "RUN --network=none "))
    with containerd(part) as beside, docker(part, beside) as daemon:
        session = Session(surroundings=replace(ambient.read(), environ=daemon.environ))
        known = {"engine": "docker", "session": session, "build_args": ["WHO=me"]}
        build(context, target="files", platforms=["wasi/wasm"], output=f"oci:{tmp_path}/files", **known)  # type: ignore[arg-type]
        expect_files(tmp_path / "files", context)
        build(context, platforms=["linux/amd64"], output=f"oci:{tmp_path}/whole:one", **{**known, "build_args": []})  # type: ignore[arg-type]
        expect_whole(tmp_path, run)
        assert daemon.docker("images", "--all", "--quiet").out == ""  # its image store has nothing new


def expect_whole(tmp_path: Path, run: Run) -> None:
    """The last stage of RUNNING, in the layout `whole`, wherever its base was built."""
    run(shutil.which("umoci") or "umoci", "raw", "unpack", "--image", f"{tmp_path}/whole:one", f"{tmp_path}/unpacked")
    unpacked = tmp_path / "unpacked"
    assert (unpacked / "w" / "said").read_text() == "hello nobody on linux/amd64\n"
    assert (unpacked / "here").is_file()
    assert not (unpacked / "gone").exists()
    assert (unpacked / "d").stat().st_mode & 0o7777 == 0o711
    index = json.loads((tmp_path / "whole" / "index.json").read_bytes())

    def blob(digest: str) -> bytes:
        return (tmp_path / "whole" / "blobs" / digest.replace(":", "/")).read_bytes()

    manifest = json.loads(blob(index["manifests"][0]["digest"]))
    config = json.loads(blob(manifest["config"]["digest"]))
    assert "GREETING=hello" in config["config"]["Env"]
    assert config["config"]["WorkingDir"] == "/w"
    assert config["config"]["Entrypoint"] == ["/bin/sh", "-c", "cat /w/said"]
    layers = [line for line in config["history"] if not line.get("empty_layer")]
    assert len(layers) == len(manifest["layers"]) == len(config["rootfs"]["diff_ids"])
    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}


def test_an_image_of_a_layout_is_a_base_and_capabilities_come_through(
    engine: str, environ: dict[str, str], context: Path, tmp_path: Path
) -> None:
    base = Layout(tmp_path / "base")
    base.tag(base.image([layer(("bin/sh", (context / "busybox").read_bytes()), capable("bin/server"))]), "1")
    text = (
        "FROM able AS build\nCOPY --chmod=0755 busybox /bin/sh\nRUN echo ran >/said\n"
        "FROM scratch\nCOPY --from=build /said /bin/server /\n"
    )
    (context / "Dockerfile").write_text(text)
    build(
        context,
        platforms=["linux/amd64"],
        engine=engine,
        session=Session(surroundings=replace(ambient.read(), environ=environ)),
        build_contexts=[f"able=oci-layout://{tmp_path}/base:1"],
        output=f"oci:{tmp_path}/out",
    )
    assert files(tmp_path / "out")["said"][5] == b"ran\n"
    (blob,) = [
        path for path in (tmp_path / "out" / "blobs" / "sha256").iterdir() if path.read_bytes()[:2] == b"\x1f\x8b"
    ]
    found = {entry["path"]: entry.get("capability") for entry in entries(gzip.decompress(blob.read_bytes()))}
    assert found == {"said": None, "server": CAPABILITY.hex()}


def test_a_secret_is_there_for_a_step_and_nowhere_else(
    engine: str, environ: dict[str, str], context: Path, tmp_path: Path
) -> None:
    (tmp_path / "word").write_text("sesame")
    text = (
        "FROM scratch AS build\nCOPY busybox /bin/sh\n"
        "RUN --mount=type=secret,id=word wc -c </run/secrets/word >/length\nRUN ls /run/secrets >>/length || true\n"
        "FROM scratch\nCOPY --from=build /length /\n"
    )
    (context / "Dockerfile").write_text(text)
    session = Session(surroundings=replace(ambient.read(), environ=environ))
    secret = f"id=word,src={tmp_path}/word"
    build(
        context, platforms=["wasi/wasm"], engine=engine, session=session, secrets=[secret], output=f"oci:{tmp_path}/out"
    )
    assert files(tmp_path / "out")["length"][5] == b"6\n"


def test_stages_are_found_by_number_and_by_any_spelling(
    engine: str, environ: dict[str, str], context: Path, tmp_path: Path
) -> None:
    text = (
        "FROM scratch\nCOPY busybox /bin/sh\nRUN echo a >/a\nFROM scratch AS BuilD\nCOPY busybox /bin/sh\nRUN echo b >/b\n"
        "FROM scratch\nCOPY --from=0 /a /\nCOPY --from=build /b /\n"
    )
    (context / "Dockerfile").write_text(text)
    session = Session(surroundings=replace(ambient.read(), environ=environ))
    build(context, platforms=["wasi/wasm"], engine=engine, session=session, output=f"oci:{tmp_path}/out")
    assert {path: about[5] for path, about in files(tmp_path / "out").items()} == {"a": b"a\n", "b": b"b\n"}


def test_a_step_that_fails_is_told_with_the_engines_words(
    engine: str, environ: dict[str, str], context: Path, tmp_path: Path
) -> None:
    text = (
        "FROM scratch AS build\nCOPY busybox /bin/sh\nRUN echo so it is; exit 7\nFROM scratch\nCOPY --from=build /x /\n"
    )
    (context / "Dockerfile").write_text(text)
    session = Session(surroundings=replace(ambient.read(), environ=environ))
    with pytest.raises(ToolError) as failed:
        build(context, platforms=["wasi/wasm"], engine=engine, session=session, output=f"oci:{tmp_path}/out")
    assert failed.value.code == "stage-failed"
    assert failed.value.message.startswith(f"Dockerfile line 3: {engine} ")
    assert "for stage build, exit status" in failed.value.message
    assert "so it is" in failed.value.message
    assert "exit status 7" in failed.value.message
    assert not (tmp_path / "out").exists()


def test_an_interrupt_ends_the_engine_and_what_it_runs(
    engine: str, environ: dict[str, str], context: Path, tmp_path: Path
) -> None:
    marked = f"{os.getpid()}{time.monotonic_ns() % 1000}"  # an argument that no other process has
    text = f"FROM scratch AS build\nCOPY busybox /bin/sh\nRUN sleep {marked}\nFROM scratch\nCOPY --from=build /x /\n"
    (context / "Dockerfile").write_text(text)
    words = ["build", "--engine", engine, "--platform", "wasi/wasm", "-o", f"oci:{tmp_path}/out", str(context)]
    process = subprocess.Popen([sys.executable, "-m", "ocibuild", *words], env=environ, stderr=subprocess.DEVNULL)
    try:
        assert _soon(lambda: len(_sleeping(marked)) > 0, 60)
        process.send_signal(signal.SIGTERM)  # as Ctrl-C, which a run in the background ignores
        assert process.wait(30) == 130
    finally:
        stop(process)
    assert _soon(lambda: not _sleeping(marked), 10)
    assert not (tmp_path / "out").exists()


def _sleeping(marked: str) -> list[str]:
    """Processes that sleep for the marked time."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"sleep" in words and marked.encode() in words:
            found.append(entry.parent.name)
    return found


def _soon(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


# -- the article's Dockerfiles, as they are


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["wasm", "native"])
def test_the_articles_dockerfiles_build_and_run_unmodified(
    kind: str, part: Part, environ: dict[str, str], room: Path, tmp_path: Path
) -> None:
    for name in ("mmdebstrap", "buildah", "docker-registry", "wasmtime"):
        part(name)
    crate = ROOT / "samples" / "rust" / "hello-docker"
    # A gigabyte is copied for each step by vfs, and by overlay not at all.
    storage = Path(environ["CONTAINERS_STORAGE_CONF"])
    storage.write_text(storage.read_text().replace("vfs", "overlay"))
    cure = ["--entrypoint", "/native"] if kind == "native" else []
    words = [
        "build",
        "--engine",
        "buildah",
        "-f",
        f"{crate}/Dockerfile-{kind}",
        *cure,
        "-o",
        f"oci:{tmp_path}/out",
        str(crate),
    ]
    command = [f"{ROOT}/scripts/localbase", sys.executable, "-m", "ocibuild", *words]
    built = subprocess.run(command, env=environ, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    assert built.stdout.startswith(f"oci:{tmp_path}/out@sha256:")
    assert "FROM rust:1.70-slim-bullseye" in built.stderr
    where = "wasm.wasm" if kind == "wasm" else "native"
    program = tmp_path / where
    program.write_bytes(files(tmp_path / "out")[where][5])
    program.chmod(0o755)
    starter = [part("wasmtime"), "run"] if kind == "wasm" else []
    said = subprocess.run([*starter, str(program), "a"], capture_output=True, text=True, timeout=60, check=True)
    assert said.stdout == "Hello, Docker!\nargument: a\n"
