"""Every shape of image on every engine: what runs, what is refused, and in which words. `enginetable.py` has the cells.

    test_an_engine_does_with_an_image_what_the_table_says[ctr, youki-mixed]

Images are packed by the command line, and come to an engine by `--load`, or by a push to a registry where the engine
pulls (CRI) or ocibuild does.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import engines, enginetable
from tests.e2e.engines import Containerd, Docker, Podman, call
from tests.e2e.enginetable import ARGUMENTS, EXPECTED, Engine, Image, Refused, Runs
from tests.e2e.servers import Part, Said, serving

pytestmark = [pytest.mark.real, pytest.mark.heavy]

ROOT = Path(__file__).parents[2]
SHIM = ("containerd-shim-wasm", "wasmtime")
WASMTIME = "io.containerd.wasmtime.v1"


@dataclass(frozen=True)
class Park:
    """The engines, each with every image it took; `kept` says of `(engine, image)` why it was not taken."""

    containerd: Containerd
    docker: Docker
    podman: Podman
    registry: str
    youki: str
    folder: Path
    kept: dict[tuple[str, str], Said]

    def reference(self, image: Image) -> str:
        """The image's name in the registry and in every engine."""
        return f"{self.registry}/{image.name}:1"

    def ocibuild(self, *words: str | Path) -> Said:
        """Call the command line."""
        return engines.ocibuild(*words, environ=self.docker.environ)


@pytest.fixture(scope="module")
def park(part: Part, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Park]:
    """All of them, with all images."""
    folder = tmp_path_factory.mktemp("park")
    youki = part("engines/youki")
    part("engines/containerd-shim-wasmtime-v1")
    with (
        engines.containerd(part, pods=True, runtimes={"wasmtime": WASMTIME}) as containerd,
        engines.docker(part, containerd, runtimes={"youki": youki}) as docker,
        engines.podman(part, runtimes={"runc": part("engines/runc"), "youki": youki}) as podman,
        serving("docker-registry", part, folder / "registry") as registry,
    ):
        containerd.plain_http(registry.host)
        podman.plain_http(registry.host)
        park = Park(containerd, docker, podman, registry.host, youki, folder, {})
        files = enginetable.programs(ROOT / "samples", folder)
        for image in enginetable.IMAGES:
            words = [files.get(word, word) for word in image.pack]
            reference = park.reference(image)
            pushed = engines.ocibuild("pack", *words, "-t", reference, "--push", environ=docker.environ)
            assert pushed.status == 0, pushed.err
            for name, environ in (
                ("containerd", containerd.environ),
                ("docker", docker.environ),
                ("podman", podman.environ),
            ):
                loaded = engines.ocibuild("pack", *words, "-t", reference, "--load", name, environ=environ)
                if loaded.status:
                    park.kept[name, image.name] = loaded
        yield park


def _ctr(*options: str) -> Callable[[Park, Image], Said]:
    def run(park: Park, image: Image) -> Said:
        name = f"t-{uuid.uuid4().hex[:12]}"  # cgroups are the machine's
        words = [park.reference(image), name, image.entry(options), *ARGUMENTS]
        if options and image.name != "native":
            words = ["--platform", image.platform, *words]
        chosen = [park.youki if option == "youki" else option for option in options]
        return park.containerd.ctr("run", "--rm", *chosen, *words)

    return run


def _docker(*options: str) -> Callable[[Park, Image], Said]:
    def run(park: Park, image: Image) -> Said:
        platform = ["--platform", image.platform] if options and image.name != "native" else []
        command = [image.program] if image.name == "artifact" else []
        return park.docker.docker("run", "--rm", *options, *platform, park.reference(image), *command, *ARGUMENTS)

    return run


def _podman(*options: str) -> Callable[[Park, Image], Said]:
    def run(park: Park, image: Image) -> Said:
        if ("podman", image.name) in park.kept:
            return park.kept["podman", image.name]
        platform = ["--platform", image.platform] if options and image.name != "native" else []
        return park.podman.podman("run", "--rm", *options, *platform, park.reference(image), *ARGUMENTS)

    return run


def _cri(handler: str) -> Callable[[Park, Image], Said]:
    def run(park: Park, image: Image) -> Said:
        command = [image.program] if image.name == "artifact" else []
        pod = park.containerd.pod(park.reference(image), handler=handler, command=command, args=ARGUMENTS)
        return Said(1 if pod.status is None else pod.status, pod.log, pod.error or pod.log, 0)

    return run


def _wasmtime(park: Park, image: Image) -> Said:
    file = park.folder / f"{image.name}.extracted"
    extracted = park.ocibuild("extract", park.reference(image), "-o", file)
    if extracted.status:
        return extracted
    return call("wasmtime", "run", file, *ARGUMENTS, environ=park.docker.environ)


def _ocibuild(*options: str) -> Callable[[Park, Image], Said]:
    def run(park: Park, image: Image) -> Said:
        environ = park.podman.environ if "podman" in options else park.docker.environ
        return engines.ocibuild("run", *options, park.reference(image), "--", *ARGUMENTS, environ=environ)

    return run


RUN: dict[str, Callable[[Park, Image], Said]] = {
    "ctr, runc": _ctr(),
    "ctr, youki": _ctr("--runc-binary", "youki", "--annotation", "run.oci.handler=wasm"),
    "ctr, wasmtime shim": _ctr("--runtime", WASMTIME),
    "docker, runc": _docker(),
    "docker, youki": _docker("--runtime", "youki", "--annotation", "run.oci.handler=wasm"),
    "docker, wasmtime shim": _docker("--runtime", WASMTIME, "--network", "host"),
    "podman, runc": _podman(),
    "podman, youki": _podman("--runtime", "youki", "--annotation", "run.oci.handler=wasm"),
    "CRI, runc": _cri(""),
    "CRI, wasmtime shim": _cri("wasmtime"),
    "wasmtime": _wasmtime,
    "ocibuild run": _ocibuild(),
    "ocibuild run, containerd": _ocibuild("--engine", "containerd"),
    "ocibuild run, docker": _ocibuild("--engine", "docker"),
    "ocibuild run, podman": _ocibuild("--engine", "podman", "--runtime", "youki"),
}


@pytest.mark.parametrize("image", enginetable.IMAGES, ids=lambda image: image.name)
@pytest.mark.parametrize("engine", enginetable.ENGINES, ids=lambda engine: engine.name)
def test_an_engine_does_with_an_image_what_the_table_says(
    engine: Engine, image: Image, park: Park, record_property: Callable[[str, object], None]
) -> None:
    said = RUN[engine.name](park, image)
    expected = EXPECTED[engine.name, image.name]
    words = expected.words if isinstance(expected, Refused) else ""
    why = [line for line in said.err.splitlines() if words in line][-1:]
    record_property("cell", [engine.name, image.name, said.status, said.out, why])
    match expected:
        case Runs(greeting):
            assert said.status == 0, said
            assert said.out.splitlines() == [greeting, *(f"argument: {each}" for each in ARGUMENTS)]
        case Refused():
            assert said.status not in (0, engines.TIMED_OUT), said
            assert "Hello" not in said.out
            assert words in said.err


def test_docker_starts_no_container_of_the_shim_on_a_network_of_its_own(park: Park) -> None:
    """The reason for `--network host` in the table. The shim tells no process before the start, and Docker waits for it."""
    image = park.reference(enginetable.IMAGES[1])
    words = ["run", "--detach", "--runtime", WASMTIME, "--platform", "wasi/wasm", "--network", "none", image]
    said = park.docker.docker(*words, seconds=10)
    assert said.status == engines.TIMED_OUT, said
    assert park.docker.docker("ps", "--all", "--format", "{{.Status}}").out.strip() == "Created"


def test_docker_with_time_namespaces_is_refused_by_the_shim(part: Part) -> None:
    """The reason for Docker's setting in engines.py."""
    with engines.containerd(part) as containerd, engines.docker(part, containerd, time_namespaces=True) as docker:
        loaded = engines.ocibuild("pack", ROOT / "samples/hello.wasm", "--load", "docker", environ=docker.environ)
        assert loaded.status == 0, loaded.err
        words = ["--runtime", WASMTIME, "--network", "host", "--platform", "wasi/wasm", "hello"]
        said = docker.docker("run", "--rm", *words)
        assert said.status == 125
        assert "invalid spec for new user namespace container" in said.err


def test_the_versions_are_those_the_page_names(park: Park) -> None:
    shim = (ROOT / "tests/e2e/shim/Cargo.toml").read_text()
    said = {
        **{name: call(name, "--version", environ=park.podman.environ).out for name in ("podman",)},
        **{name: call(name, "--version", environ=park.docker.environ).out for name in ("containerd", "runc", "youki")},
        **{name: "".join(line for line in shim.splitlines() if line.startswith(f"{name} = ")) for name in SHIM},
        "dockerd": " ".join(path.name for path in Path(park.youki).parent.glob(".dockerd-*")),
    }
    missing = {name: text for name, text in said.items() if enginetable.VERSIONS[name] not in text}
    assert not missing
    assert said.keys() == enginetable.VERSIONS.keys()
