"""Kubernetes without surprises: what containerd's CRI makes of each shape, and that `check --for kubernetes` says it before.

A small client of CRI (tests/e2e/cri) does what a kubelet does for one Pod; the Wasm runs in a shim made of runwasi's
library (tests/e2e/shim), with containerd's default settings but for `restrict_oom_score_adj`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import engines, enginetable
from tests.e2e.engines import Containerd, Pod
from tests.e2e.servers import Part, serving

pytestmark = pytest.mark.real

SAMPLES = Path(__file__).parents[2] / "samples"
WASM = f"{enginetable.WASM}\nargument: a\n"
NATIVE = f"{enginetable.NATIVE}\nargument: a\n"


@dataclass(frozen=True)
class Cluster:
    """A node with a registry beside it, and the programs to pack."""

    node: Containerd
    registry: str
    files: dict[str, str]

    def push(self, name: str, *words: str) -> str:
        """Pack and push; gives the reference."""
        reference = f"{self.registry}/{name}:1"
        files = [self.files.get(word, word) for word in words]
        said = engines.ocibuild("pack", *files, "-t", reference, "--push", environ=self.node.environ)
        assert said.status == 0, said.err
        return reference

    def codes(self, reference: str) -> set[str]:
        """The errors and warnings of `check --for kubernetes`."""
        said = engines.ocibuild("check", reference, "--for", "kubernetes", "--json", environ=self.node.environ)
        found = json.loads(said.out)["findings"]
        assert said.status == (3 if any(each["severity"] == "error" for each in found) else 0)
        return {each["code"] for each in found if each["severity"] != "info"}


@pytest.fixture(scope="module")
def registry(part: Part, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving("docker-registry", part, tmp_path_factory.mktemp("registry")) as served:
        yield served.host


@pytest.fixture(scope="module")
def cluster(part: Part, registry: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    part("engines/containerd-shim-wasmtime-v1")
    with engines.containerd(part, pods=True, runtimes={"wasmtime": "io.containerd.wasmtime.v1"}) as node:
        node.plain_http(registry)
        yield Cluster(node, registry, enginetable.programs(SAMPLES, tmp_path_factory.mktemp("programs")))


def ran(pod: Pod, log: str) -> None:
    assert (pod.step, pod.error, pod.status, pod.log) == ("done", "", 0, log)


RUNS = {
    "wasm-layer": (("hello.wasm", "--format", "wasm-layer"), WASM, set()),
    "wasm-layer-wasip1": (("hello.wasm", "--format", "wasm-layer", "--platform", "wasip1/wasm"), WASM, set()),
    "wasm-layer-component": (("hello-command.wasm", "--format", "wasm-layer"), WASM, set()),
    "for-kubernetes": (("hello.wasm", "--for", "kubernetes"), WASM, set()),
    "also": (("hello.wasm", "--also", "linux/amd64,linux/arm64"), WASM, set()),
    "mixed": (("hello.wasm", "hello-linux-amd64"), NATIVE, {"index-native-chosen"}),
    "native": (("hello-linux-amd64",), NATIVE, set()),
}


@pytest.mark.parametrize("name", RUNS)
def test_what_runs_in_a_pod(name: str, cluster: Cluster) -> None:
    words, log, codes = RUNS[name]
    reference = cluster.push(name, *words)
    ran(cluster.node.pod(reference, handler="wasmtime", args=["a"]), log)
    assert cluster.codes(reference) == codes


@pytest.mark.parametrize("platform", ["wasi/wasm", "wasip1/wasm"])
def test_a_tar_layer_for_wasi_is_never_unpacked(platform: str, cluster: Cluster) -> None:
    reference = cluster.push(platform.replace("/", "-"), "hello.wasm", "--platform", platform)
    pod = cluster.node.pod(reference, handler="wasmtime")
    assert pod.step == "create"
    assert "parent snapshot" in pod.error
    assert "does not exist" in pod.error
    assert cluster.codes(reference) == {"layer-not-unpacked"}


def test_an_index_without_an_entry_for_the_node_is_not_pulled(cluster: Cluster) -> None:
    reference = cluster.push("index", "hello.wasm", "--index")
    pod = cluster.node.pod(reference, handler="wasmtime")
    assert pod.step == "pull"
    assert "no match for platform in manifest" in pod.error
    assert cluster.codes(reference) == {"index-not-for-nodes", "index-of-one"}


def test_an_artifact_runs_where_the_pod_has_a_command(cluster: Cluster) -> None:
    reference = cluster.push("artifact", "hello.wasm", "--format", "artifact")
    ran(cluster.node.pod(reference, handler="wasmtime", command=["/hello.wasm"], args=["a"]), WASM)
    pod = cluster.node.pod(reference, handler="wasmtime")
    assert pod.step == "create"
    assert "no command specified" in pod.error
    assert cluster.codes(reference) == {"artifact-without-command"}


def test_the_wasm_entry_of_an_index_is_reached_by_its_own_digest(cluster: Cluster) -> None:
    """No tag does it, and the tar layer is not unpacked then either: the README's advice is a tag of its own."""
    reference = cluster.push("by-digest", "hello.wasm", "hello-linux-amd64")
    said = engines.ocibuild("manifest", reference, environ=cluster.node.environ)
    entries = json.loads(said.out)["manifests"]
    digest = next(each["digest"] for each in entries if each["platform"]["architecture"] == "wasm")
    pod = cluster.node.pod(f"{reference.rpartition(':')[0]}@{digest}", handler="wasmtime")
    assert (pod.step, "parent snapshot" in pod.error) == ("create", True)


def test_the_exit_status_and_the_environment_arrive(cluster: Cluster) -> None:
    reference = cluster.push("env", "hello.wasm", "--format", "wasm-layer", "--env", "GREETING=Hej")
    pod = cluster.node.pod(reference, handler="wasmtime", args=["--exit", "7"])
    assert (pod.step, pod.status) == ("done", 7)
    assert pod.log.startswith("Hej\n")


def test_a_node_that_pulls_by_itself_unpacks_them(part: Part, registry: str, cluster: Cluster) -> None:
    """The cure on the node's side: `use_local_image_pull = true`."""
    reference = cluster.push("tar", "hello.wasm")
    runtimes = {"wasmtime": "io.containerd.wasmtime.v1"}
    with engines.containerd(part, pods=True, runtimes=runtimes, images=["use_local_image_pull = true"]) as node:
        node.plain_http(registry)
        ran(node.pod(reference, handler="wasmtime", args=["a"]), WASM)


@pytest.mark.heavy
def test_youki_takes_the_sandbox_for_wasm_too(part: Part, registry: str, cluster: Cluster) -> None:
    """The annotation of a Pod is its sandbox's as well, where youki, unlike crun, heeds it: the Pod never stands."""
    reference = cluster.push("youki", "hello.wasm", "--also", "linux/amd64")
    with engines.containerd(part, pods=True, runtimes={"youki": part("engines/youki")}) as node:
        node.plain_http(registry)
        pod = node.pod(reference, handler="youki", annotations={"run.oci.handler": "wasm"})
        assert (pod.step, pod.status) != ("done", 0)
        assert "Hello" not in pod.log
