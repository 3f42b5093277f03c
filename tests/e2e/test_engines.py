"""`--load` into engines that really run here: what arrives, under which name, and that it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ocibuild.api.pack import pack
from ocibuild.errors import ToolError, UsageError
from ocibuild.spec.digest import Digest
from tests.e2e import engines
from tests.e2e.engines import Containerd, Docker, Podman
from tests.e2e.servers import Part, Said

SAMPLES = Path(__file__).parents[2] / "samples"
WASM, NATIVE = SAMPLES / "hello.wasm", SAMPLES / "hello-linux-amd64"
GREETING = "Hello, Docker!\n"
SHIM = "io.containerd.wasmtime.v1"


@pytest.fixture(scope="module")
def podman_engine(part: Part) -> Iterator[Podman]:
    """podman with an empty store, and the engines' runc."""
    with engines.podman(part, runtimes={"runc": part("engines/runc")}) as engine:
        yield engine


def load(engine: str, environ: Mapping[str, str], *words: str | Path) -> Digest:
    """`ocibuild pack … --load ENGINE`; gives the digest it prints."""
    said = engines.ocibuild("pack", *words, "--load", engine, environ=environ)
    assert said.status == 0, said.err
    return Digest(said.out.strip().rpartition("@")[2])


def listed(said: Said) -> dict[str, str]:
    """What `ctr images list` says: digest and platforms by name."""
    assert said.status == 0, said.err
    rows = [line.split() for line in said.out.splitlines()[1:]]
    return {row[0]: f"{row[2]} {row[5]}" for row in rows}


@pytest.mark.real
def test_containerd_has_each_shape_under_the_names_it_was_given(containerd_engine: Containerd) -> None:
    environ = containerd_engine.environ
    native = load("containerd", environ, NATIVE, "-t", "names:1", "-t", "ghcr.io/me/names:2")
    wasm = load("containerd", environ, WASM, "-t", "localhost/wasm:1")
    raw = load("containerd", environ, WASM, "--format", "wasm-layer", "-t", "localhost/raw:1")
    mixed = load("containerd", environ, WASM, NATIVE, SAMPLES / "hello-linux-arm64", "-t", "localhost/mixed:1")
    have = listed(containerd_engine.ctr("images", "list"))
    assert have["docker.io/library/names:1"] == have["ghcr.io/me/names:2"] == f"{native} linux/amd64"
    assert have["localhost/wasm:1"] == f"{wasm} wasi/wasm"
    assert have["localhost/raw:1"] == f"{raw} wasi/wasm"
    assert have["localhost/mixed:1"] == f"{mixed} linux/amd64,linux/arm64,wasi/wasm"


@pytest.mark.real
def test_containerd_runs_what_was_loaded(containerd_engine: Containerd, part: Part) -> None:
    part("engines/containerd-shim-wasmtime-v1")
    environ = containerd_engine.environ
    load("containerd", environ, WASM, NATIVE, "-t", "localhost/runs:1")
    load("containerd", environ, WASM, "--format", "wasm-layer", "-t", "localhost/runs-raw:1")
    assert containerd_engine.ctr("run", "--rm", "localhost/runs:1", "load-1").out == GREETING
    shim = ["run", "--rm", "--runtime", SHIM, "--platform", "wasi/wasm"]
    for number, name in enumerate(("localhost/runs:1", "localhost/runs-raw:1"), 2):
        said = containerd_engine.ctr(*shim, name, f"load-{number}", "/hello.wasm", "a")
        assert said.out == f"{GREETING}argument: a\n", said


@pytest.mark.real
def test_containerd_keeps_it_in_the_namespace_that_is_asked_for(containerd_engine: Containerd) -> None:
    load("containerd", {**containerd_engine.environ, "CONTAINERD_NAMESPACE": "k8s.io"}, NATIVE, "-t", "localhost/ns:1")
    assert "localhost/ns:1" in listed(containerd_engine.ctr("--namespace", "k8s.io", "images", "list"))
    assert "localhost/ns:1" not in listed(containerd_engine.ctr("images", "list"))


@pytest.mark.real
def test_an_engine_is_given_that_image_alone(containerd_engine: Containerd, tmp_path: Path) -> None:
    """A layout may hold more; who asked for one image in the engine gets one."""
    pack(WASM, output=f"{tmp_path}/shared.oci", tags=["localhost/other:1"])
    load("containerd", containerd_engine.environ, NATIVE, "-o", tmp_path / "shared.oci", "-t", "localhost/alone:1")
    have = listed(containerd_engine.ctr("images", "list"))
    assert "localhost/alone:1" in have
    assert "localhost/other:1" not in have


@pytest.mark.real
def test_an_image_nobody_named_is_called_like_its_program(containerd_engine: Containerd, podman_engine: Podman) -> None:
    digest = load("containerd", containerd_engine.environ, NATIVE)
    assert listed(containerd_engine.ctr("images", "list"))["docker.io/library/hello:latest"].startswith(str(digest))
    load("podman", podman_engine.environ, NATIVE)
    assert podman_engine.podman("run", "--rm", "hello").out == GREETING


@pytest.mark.real
@pytest.mark.heavy
def test_docker_has_each_shape_under_the_names_it_was_given(docker_engine: Docker) -> None:
    environ = docker_engine.environ
    made = {
        "names:1": load("docker", environ, NATIVE, "-t", "names:1", "-t", "ghcr.io/me/names:2"),
        "wasm:1": load("docker", environ, WASM, "-t", "wasm:1"),
        "raw:1": load("docker", environ, WASM, "--format", "wasm-layer", "-t", "raw:1"),
        "artifact:1": load("docker", environ, WASM, "--format", "artifact", "-t", "artifact:1"),
        "mixed:1": load("docker", environ, WASM, NATIVE, SAMPLES / "hello-linux-arm64", "-t", "mixed:1"),
    }
    made["ghcr.io/me/names:2"] = made["names:1"]
    said = docker_engine.docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    have = dict(line.split() for line in said.out.splitlines())
    assert {name: have.get(name) for name in made} == {name: str(digest) for name, digest in made.items()}


@pytest.mark.real
@pytest.mark.heavy
@pytest.mark.parametrize(
    "words, platform",
    [
        ((NATIVE,), "linux/amd64"),
        ((WASM, NATIVE), "linux/amd64"),
        ((WASM,), "wasi/wasm"),
        ((WASM, NATIVE), "wasi/wasm"),
        ((WASM, "--compression", "zstd"), "wasi/wasm"),
        ((WASM, "--format", "wasm-layer"), "wasi/wasm"),
    ],
)
def test_docker_runs_what_was_loaded(
    words: tuple[str | Path, ...], platform: str, docker_engine: Docker, part: Part
) -> None:
    load("docker", docker_engine.environ, *words, "-t", "ghcr.io/me/runs:1")
    options = ["--platform", platform]
    if platform == "wasi/wasm":
        part("engines/containerd-shim-wasmtime-v1")
        options += ["--runtime", SHIM, "--network", "host"]
    said = docker_engine.docker("run", "--rm", *options, "ghcr.io/me/runs:1", "a")
    assert said.out == f"{GREETING}argument: a\n", said


@pytest.mark.real
def test_podman_runs_what_was_loaded(podman_engine: Podman) -> None:
    """Of an index it keeps the entry for its host."""
    digest = load("podman", podman_engine.environ, NATIVE, "-t", "ghcr.io/me/native:1")
    load("podman", podman_engine.environ, WASM, NATIVE, "-t", "ghcr.io/me/mixed:1")
    for name in ("native", "mixed"):
        said = podman_engine.podman("image", "inspect", f"ghcr.io/me/{name}:1")
        assert json.loads(said.out)[0]["Digest"] == str(digest)
        said = podman_engine.podman("run", "--rm", f"ghcr.io/me/{name}:1", "a")
        assert said.out == f"{GREETING}argument: a\n", said


@pytest.mark.real
@pytest.mark.parametrize(
    "words, reason, cure",
    [
        (("--format", "wasm-layer"), "invalid tar header", "--format image"),
        (("--format", "artifact"), "artifact with type", "--format image"),
    ],
)
def test_podman_says_what_it_does_not_keep(
    words: tuple[str, ...], reason: str, cure: str, podman_engine: Podman
) -> None:
    said = engines.ocibuild("pack", WASM, *words, "--load", "podman", environ=podman_engine.environ)
    assert said.status == 1
    assert "[load-failed]" in said.err
    assert reason in said.err
    assert cure in said.err


@pytest.mark.real
@pytest.mark.parametrize(
    "engine, variable, value, cure",
    [
        ("docker", "DOCKER_HOST", "unix:///nonexistent/docker.sock", "DOCKER_HOST"),
        ("docker", "DOCKER_HOST", "tcp://127.0.0.1:1", "DOCKER_HOST"),
        ("engines/ctr", "CONTAINERD_ADDRESS", "/nonexistent/containerd.sock", "CONTAINERD_ADDRESS"),
        ("ctr", "CONTAINERD_ADDRESS", "/nonexistent/containerd.sock", "CONTAINERD_ADDRESS"),
    ],
)
def test_an_engine_that_is_not_there(
    engine: str, variable: str, value: str, cure: str, part: Part, tmp_path: Path
) -> None:
    """Of both containerds: Debian's waits ten seconds for it, and says it otherwise."""
    environ = engines.environment(tmp_path, Path(part(engine)).parent) | {variable: value}
    name = engine if engine == "docker" else "containerd"
    said = engines.ocibuild("pack", WASM, "--load", name, environ=environ)
    assert (said.status, said.out) == (1, "")
    assert "[load-failed]" in said.err
    assert f"say with {cure} where it is" in said.err
    assert "-o FILE.tar" in said.err


def test_a_missing_engine_is_named_with_a_way_round(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        pack(SAMPLES / "hello.wasm", load="docker")
    assert caught.value.code == "tool-missing"
    assert "-o FILE.tar" in (caught.value.hint or "")


def test_an_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="rkt") as caught:
        pack(SAMPLES / "hello.wasm", load="rkt")
    assert caught.value.code == "engine-unknown"
    assert "podman" in (caught.value.hint or "")


def test_what_an_engine_says_reaches_the_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ToolError, match="Cannot connect to the Docker daemon") as caught:
        pack(SAMPLES / "hello.wasm", load="docker")
    assert caught.value.code == "load-failed"
    assert "start the Docker daemon" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "engine, said, cure",
    [
        ("docker", "permission denied while trying to connect to the Docker daemon socket", "group docker"),
        ("docker", "error during connect: dial tcp: lookup nonsense: no such host", "DOCKER_HOST"),
        ("docker", "cannot load wasi image on linux: operating system is not supported", "containerd image store"),
        ("ctr", 'ctr: failed to dial "/s": dial unix /s: connect: permission denied', "sudo"),
    ],
)
def test_what_an_engine_says_has_a_cure(
    engine: str, said: str, cure: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In their own words, as they were seen."""
    program = tmp_path / engine
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ToolError) as caught:
        pack(WASM, load="containerd" if engine == "ctr" else engine)
    assert said in caught.value.message
    assert cure in (caught.value.hint or "")
