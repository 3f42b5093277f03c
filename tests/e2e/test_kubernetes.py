"""What `kube` and `resolve` print runs: each Pod goes through containerd's CRI as a kubelet would send it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e import engines
from tests.e2e.engines import Containerd, Pod
from tests.e2e.servers import Part, Said, serving

pytestmark = pytest.mark.real

SAMPLES = Path(__file__).parents[2] / "samples"
HELLO, COMPONENT, NATIVE = (str(SAMPLES / name) for name in ("hello.wasm", "hello-command.wasm", "hello-linux-amd64"))
PRINTED = "Hello, Docker!\nargument: a\nargument: b c\n"


@dataclass(frozen=True)
class Cluster:
    """A node, with a registry beside it."""

    node: Containerd
    registry: str

    def ocibuild(self, *words: str | Path) -> Said:
        """The command line, which has to succeed."""
        said = engines.ocibuild(*words, environ=self.node.environ)
        assert said.status == 0, said
        return said

    def push(self, name: str, *words: str) -> str:
        """Pack and push; gives the reference."""
        reference = f"{self.registry}/{name}:1"
        self.ocibuild("pack", *words, "-t", reference, "--push")
        return reference

    def apply(self, text: str) -> Pod:
        """Run the Pod in a stream of objects, under the handler of its RuntimeClass."""
        documents: list[dict[str, Any]] = list(yaml.safe_load_all(text))
        handlers = {each["metadata"]["name"]: each["handler"] for each in documents if each["kind"] == "RuntimeClass"}
        (pod,) = [each for each in documents if each["kind"] == "Pod"]
        (container,) = pod["spec"]["containers"]
        name = pod["spec"].get("runtimeClassName")
        return self.node.pod(
            container["image"],
            handler=handlers[name] if name else "",
            command=container.get("command", ()),
            args=container.get("args", ()),
            annotations=pod["metadata"].get("annotations", {}),
        )


@pytest.fixture(scope="module")
def cluster(part: Part, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    part("engines/containerd-shim-wasmtime-v1")
    with started(part, tmp_path_factory.mktemp("registry"), {"wasmtime": "io.containerd.wasmtime.v1"}) as cluster:
        yield cluster


@contextmanager
def started(part: Part, folder: Path, runtimes: dict[str, str]) -> Iterator[Cluster]:
    """A cluster whose node knows these handlers, until the block ends."""
    with (
        serving("docker-registry", part, folder) as served,
        engines.containerd(part, pods=True, runtimes=runtimes) as node,
    ):
        node.plain_http(served.host)
        yield Cluster(node, served.host)


def ran(pod: Pod) -> None:
    assert (pod.step, pod.error, pod.status, pod.log) == ("done", "", 0, PRINTED)


@pytest.mark.parametrize(
    "name, words",
    [
        ("wasm-layer", (HELLO, "--for", "kubernetes")),
        ("component", (COMPONENT, "--for", "kubernetes")),
        ("artifact", (HELLO, "--format", "artifact")),
        ("also", (HELLO, "--also", "linux/amd64,linux/arm64")),
        ("native", (NATIVE,)),
        ("mixed", (HELLO, NATIVE)),
    ],
)
def test_a_pod_that_is_printed_without_a_remark_runs(cluster: Cluster, name: str, words: tuple[str, ...]) -> None:
    reference = cluster.push(name, *words)
    printed = cluster.ocibuild("kube", reference, "--", "a", "b c")
    assert "cures it" not in printed.err
    ran(cluster.apply(printed.out))


@pytest.mark.parametrize("shape", ["image", "wasm-to-oci", "solo"])
def test_a_pod_that_is_printed_with_a_remark_does_not_and_the_cure_cures_it(cluster: Cluster, shape: str) -> None:
    reference = cluster.push(f"remark-{shape}", HELLO, "--format", shape)
    printed = cluster.ocibuild("kube", reference, "--", "a", "b c")
    pod = cluster.apply(printed.out)
    assert (pod.step, pod.status) != ("done", 0), pod
    cure = printed.err.partition("ocibuild ")[2].partition(" cures it")[0].split()
    cluster.ocibuild(*cure)
    cured = cluster.ocibuild("kube", reference, "--", "a", "b c")
    assert "cures it" not in cured.err
    ran(cluster.apply(cured.out))


@pytest.mark.heavy
def test_a_pod_for_youki_never_starts_as_is_said(part: Part, tmp_path: Path) -> None:
    with started(part, tmp_path, {"youki": part("engines/youki")}) as cluster:
        reference = cluster.push("youki", HELLO, "--platform", "linux/wasm")
        printed = cluster.ocibuild("kube", reference, "--handler", "youki", "--", "a", "b c")
        assert "the Pod never starts" in printed.err
        pod = cluster.apply(printed.out)
        assert (pod.step, pod.log) != ("done", PRINTED), pod


def test_what_is_resolved_runs(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text(
        f"""\
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {{name: edge}}
handler: wasmtime
---
apiVersion: v1
kind: Pod
metadata: {{name: hello}}
spec:
  runtimeClassName: edge
  containers:
  - {{name: hello, image: "ocibuild://{HELLO}", args: [a, b c]}}
"""
    )
    ran(cluster.apply(cluster.ocibuild("resolve", "-f", tmp_path / "app.yaml", "--repo", f"{cluster.registry}/me").out))
