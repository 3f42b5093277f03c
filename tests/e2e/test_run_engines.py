"""`ocibuild run --engine` on real engines: every shape runs wherever its program can, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import engines
from tests.e2e.engines import Containerd, Docker, Podman
from tests.e2e.servers import Part, Said

SAMPLES = Path(__file__).parents[2] / "samples"
HELLO, COMPONENT, NATIVE = (str(SAMPLES / name) for name in ("hello.wasm", "hello-command.wasm", "hello-linux-amd64"))
IMAGES = {
    "file": [HELLO],
    "image": [HELLO, "--format", "image"],
    "wasm-layer": [HELLO, "--format", "wasm-layer"],
    "artifact": [HELLO, "--format", "artifact"],
    "mixed": [HELLO, NATIVE],
    "component": [COMPONENT],
    "native": [NATIVE],
}
WAYS = {
    "containerd": ["--engine", "containerd"],
    "containerd, youki": ["--engine", "containerd", "--runtime", "youki"],
    "docker": ["--engine", "docker"],
    "docker, youki": ["--engine", "docker", "--runtime", "youki"],
    "podman, youki": ["--engine", "podman", "--runtime", "youki"],
}
MODULES_ONLY = {"containerd, youki", "docker, youki", "podman, youki"}


@dataclass(frozen=True)
class Park:
    """The engines, and the images that stand in a folder."""

    containerd: Containerd
    docker: Docker
    podman: Podman
    folder: Path

    def run(self, image: str, way: list[str], *words: str) -> Said:
        """`ocibuild run`."""
        what = IMAGES[image][0] if image == "file" else str(self.folder / f"{image}.oci")
        said = words[: words.index("--")] if "--" in words else words
        arguments = words[len(said) :]
        environ = self.podman.environ if "podman" in way else self.docker.environ
        return engines.ocibuild("run", what, *way, *said, *arguments, environ=environ, seconds=120)

    def left(self) -> str:
        """The images, containers and tasks that are there, in any engine."""
        calls = [self.containerd.ctr(*words, "ls", "-q") for words in (["images"], ["containers"], ["tasks"])]
        calls += [self.docker.docker("ps", "-aq"), self.docker.docker("images", "-q")]
        calls += [self.podman.podman("ps", "-aq"), self.podman.podman("images", "-q")]
        assert all(call.status == 0 for call in calls), calls
        return "".join(call.out for call in calls)


@pytest.fixture(scope="module")
def park(part: Part, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Park]:
    youki = part("engines/youki")
    part("engines/containerd-shim-wasmtime-v1")
    folder = tmp_path_factory.mktemp("images")
    with ExitStack() as stack:
        containerd = stack.enter_context(engines.containerd(part))
        docker = stack.enter_context(engines.docker(part, containerd, runtimes={"youki": youki}))
        podman = stack.enter_context(engines.podman(part, runtimes={"runc": part("engines/runc"), "youki": youki}))
        for name, words in IMAGES.items():
            done = engines.ocibuild("pack", *words, "-o", f"oci:{folder}/{name}.oci", environ=docker.environ)
            assert done.status == 0, done
        yield Park(containerd, docker, podman, folder)


@pytest.mark.real
@pytest.mark.heavy
@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("way", WAYS)
def test_it_runs_and_leaves_nothing(park: Park, way: str, image: str) -> None:
    # A native program starts with the engine's own runtime.
    words = WAYS[way][:2] if image == "native" else WAYS[way]
    said = park.run(image, words, "-e", "GREETING=hej", "--", "a", "b c")
    if image == "component" and way in MODULES_ONLY:
        assert said.status != 0, said
    else:
        assert (said.status, said.out) == (0, "hej\nargument: a\nargument: b c\n"), said
        status = park.run(image, words, "--", "--exit", "3").status
        assert status == (1 if image == "component" else 3)
    assert park.left() == ""
