"""`kube`: the objects that run an image, held against Kubernetes' documentation, and against its schemas."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ocibuild.run import pod
from ocibuild.run.pod import Workload
from tests.cli.conftest import Ran
from tests.registry.double import Registry
from tests.run import programs
from tests.run.programs import assembled

Run = Callable[..., Ran]
Pushed = Callable[..., str]
SAMPLES = Path(__file__).parents[2] / "samples"
HELLO = str(SAMPLES / "hello.wasm")
HTTP = str(SAMPLES / "hello-http.wasm")
NATIVES = [str(SAMPLES / f"hello-linux-{arch}") for arch in ("amd64", "arm64")]


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture
def pushed(run: Run, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pushed:
    """`pushed("hello.wasm", "--format", "artifact")`: packs and pushes; the digest reference."""
    monkeypatch.chdir(tmp_path)

    def push(*words: str, name: str = "hello") -> str:
        ran = run("pack", *words, "-t", f"{registry.host}/me/{name}:1", "--push")
        assert ran.status == 0, ran.err
        return ran.out.strip()

    return push


def objects(run: Run, *words: str) -> tuple[list[dict[str, Any]], str]:
    ran = run("kube", *words)
    assert ran.status == 0, ran.err
    return list(yaml.safe_load_all(ran.out)), ran.err


def test_a_wasm_image_gets_a_runtime_class_and_a_pod(run: Run, registry: Registry, pushed: Pushed) -> None:
    reference = pushed(HELLO, "--for", "kubernetes")
    ran = run("kube", f"{registry.host}/me/hello:1", "--env", "GREETING=hej", "--", "one", "true")
    expected = f"""\
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata:
  name: wasmtime
handler: wasmtime
---
apiVersion: v1
kind: Pod
metadata:
  name: hello
  labels:
    app.kubernetes.io/name: hello
spec:
  runtimeClassName: wasmtime
  restartPolicy: Never
  containers:
    - name: hello
      image: "{reference}"
      args:
        - one
        - "true"
      env:
        - name: GREETING
          value: hej
"""
    assert ran == Ran(0, expected, "")


def test_a_native_image_gets_neither(run: Run, pushed: Pushed) -> None:
    reference = pushed(NATIVES[1])
    (found,), told = objects(run, reference)
    assert told == ""
    assert found["spec"] == {
        "restartPolicy": "Never",
        "nodeSelector": {"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"},
        "containers": [{"name": "hello", "image": reference}],
    }


def test_of_an_index_nodes_run_their_own_entry(run: Run, registry: Registry, pushed: Pushed) -> None:
    reference = pushed(HELLO, *NATIVES)
    (found,), told = objects(run, reference)
    assert "runtimeClassName" not in found["spec"]
    assert "nodeSelector" not in found["spec"]
    assert found["spec"]["containers"][0]["image"] == reference
    assert "--platform wasi/wasm" in told
    (runtime, wasm), told = objects(run, reference, "--platform", "wasi/wasm")
    assert wasm["spec"]["runtimeClassName"] == runtime["metadata"]["name"]
    index = json.loads(registry.manifests[("me/hello", reference.partition("@")[2])][1])
    entry = next(each for each in index["manifests"] if each["platform"]["architecture"] == "wasm")
    assert wasm["spec"]["containers"][0]["image"] == f"{registry.host}/me/hello@{entry['digest']}"
    assert "--format wasm-layer" in told, "its entry is a tar for wasi/wasm"


def test_an_index_that_lists_wasm_under_the_nodes_platforms_runs_as_wasm(run: Run, pushed: Pushed) -> None:
    reference = pushed(HELLO, "--also", "linux/amd64,linux/arm64")
    (_, found), told = objects(run, reference)
    assert found["spec"]["runtimeClassName"] == "wasmtime"
    assert found["spec"]["containers"][0]["image"] == reference
    assert told == ""


def test_a_lone_wasm_entry_of_an_index_is_named_itself(run: Run, pushed: Pushed) -> None:
    reference = pushed(HELLO, "--index")
    (_, found), _ = objects(run, reference)
    assert found["spec"]["containers"][0]["image"] != reference


def test_an_artifact_has_no_entrypoint_so_the_pod_has_a_command(run: Run, pushed: Pushed) -> None:
    reference = pushed(HELLO, "--format", "artifact")
    (_, found), told = objects(run, reference, "--", "x")
    assert found["spec"]["containers"] == [
        {"name": "hello", "image": reference, "command": ["/hello.wasm"], "args": ["x"]}
    ]
    assert told == ""


def test_an_image_that_says_nothing_gets_the_command_of_its_only_file(
    run: Run, pushed: Pushed, registry: Registry
) -> None:
    Path("Dockerfile").write_text("FROM scratch\nCOPY hello /bin/hello\n")
    Path("hello").write_bytes(Path(NATIVES[0]).read_bytes())
    Path("hello").chmod(0o755)
    ran = run("build", "-t", f"{registry.host}/me/plain:1", "--push")
    (found,), _ = objects(run, ran.out.strip())
    assert found["spec"]["containers"][0]["command"] == ["/bin/hello"]
    (found,), _ = objects(run, ran.out.strip(), "--entrypoint", "/bin/hello first")
    assert found["spec"]["containers"][0]["command"] == ["/bin/hello", "first"]


@pytest.mark.parametrize(
    "shape, handler, cure",
    [
        ("image", "wasmtime", "--format wasm-layer"),
        ("wasm-layer", "wasmtime", None),
        ("artifact", "wasmtime", None),
        ("solo", "wasmtime", "--format wasm-layer"),
        ("wasm-to-oci", "wasmtime", "--format wasm-layer"),
        ("image", "crun", None),
        ("image", "crun-wasm", None),
        ("artifact", "crun", "--format image"),
    ],
)
def test_what_does_not_run_is_told_with_the_cure(
    run: Run, pushed: Pushed, registry: Registry, shape: str, handler: str, cure: str | None
) -> None:
    pushed(HELLO, "--format", shape)
    (_, found), told = objects(run, f"{registry.host}/me/hello:1", "--handler", handler)
    assert found["metadata"].get("annotations") == ({"run.oci.handler": "wasm"} if handler == "crun" else None)
    if cure is None:
        assert told == ""
        return
    assert cure in told
    # The cure is a command, and cures it.
    words = told.partition("ocibuild ")[2].partition(" cures it")[0].split()
    assert run(*words).status == 0
    assert objects(run, f"{registry.host}/me/hello:1", "--handler", handler)[1] == ""


def test_crun_starts_no_component(run: Run, pushed: Pushed) -> None:
    reference = pushed(str(SAMPLES / "hello-command.wasm"))
    assert "core modules only" in objects(run, reference, "--handler", "crun")[1]


def test_youki_starts_no_pod(run: Run, pushed: Pushed) -> None:
    (_, found), told = objects(run, pushed(HELLO), "--handler", "youki")
    assert "the Pod never starts" in told
    assert found["metadata"]["annotations"] == {"run.oci.handler": "wasm"}


def test_names_and_limits(run: Run, pushed: Pushed) -> None:
    reference = pushed(HELLO, "--for", "kubernetes", name="my_app.v2")
    said = ("--runtime-class", "edge", "--handler", "wasmedge", "--memory", "64MiB", "--cpu", "250m", "-n", "team")
    (runtime, found), _ = objects(run, reference, *said)
    assert (runtime["metadata"]["name"], runtime["handler"]) == ("edge", "wasmedge")
    assert found["metadata"]["name"] == "my-app-v2"
    assert found["metadata"]["namespace"] == "team"
    assert found["spec"]["runtimeClassName"] == "edge"
    assert found["spec"]["containers"][0]["resources"] == {"limits": {"memory": "64Mi", "cpu": "250m"}}
    (found,), _ = objects(run, reference, "--handler", "spin", "--no-runtime-class", "--name", "other")
    assert (found["metadata"]["name"], found["spec"]["runtimeClassName"]) == ("other", "spin")


def test_an_http_component_answers(run: Run, pushed: Pushed) -> None:
    reference = pushed(HTTP, "--for", "kubernetes")
    (_, found), _ = objects(run, reference)
    assert found["spec"]["restartPolicy"] == "Always"
    assert found["spec"]["containers"][0]["ports"] == [{"containerPort": 8080, "protocol": "TCP"}]
    (_, found), told = objects(run, reference, "--kind", "deployment")
    template = found["spec"]["template"]
    assert found["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    assert (found["kind"], template["spec"]["restartPolicy"], told) == ("Deployment", "Always", "")
    assert "--kind Deployment" in objects(run, reference, "--kind", "Job")[1]


def test_ports_are_the_images_or_those_asked_for(run: Run, pushed: Pushed) -> None:
    reference = pushed(NATIVES[0], "--expose", "53/udp", "--expose", "80")
    (found,), _ = objects(run, reference)
    assert found["spec"]["restartPolicy"] == "Always"
    assert found["spec"]["containers"][0]["ports"] == [
        {"containerPort": 53, "protocol": "UDP"},
        {"containerPort": 80, "protocol": "TCP"},
    ]
    (found,), _ = objects(run, reference, "--port", "8080")
    assert found["spec"]["containers"][0]["ports"] == [{"containerPort": 8080, "protocol": "TCP"}]


def test_a_command_is_a_job(run: Run, pushed: Pushed) -> None:
    reference = pushed(HELLO, "--for", "kubernetes")
    (_, found), told = objects(run, reference, "--kind", "Job")
    assert (found["apiVersion"], found["spec"]["template"]["spec"]["restartPolicy"], told) == ("batch/v1", "Never", "")
    assert "--kind Job" in objects(run, reference, "--kind", "Deployment")[1]


def test_json_is_a_list_of_the_same(run: Run, pushed: Pushed) -> None:
    reference = pushed(HELLO, "--for", "kubernetes")
    document = json.loads(run("kube", reference, "--json").out)
    assert (document["apiVersion"], document["kind"]) == ("v1", "List")
    assert document["items"] == objects(run, reference)[0]


def test_what_no_cluster_can_pull(run: Run, pushed: Pushed) -> None:
    run("pack", HELLO, "-o", "hello.oci")
    for what in (HELLO, "hello.oci", "oci:hello.oci"):
        ran = run("kube", what)
        assert (ran.status, ran.out) == (2, "")
        assert "[reference-needed]" in ran.err
    assert "[file-not-found]" in run("kube", "./nowhere.wasm").err


def test_what_nothing_starts(run: Run, pushed: Pushed, registry: Registry) -> None:
    assembled(programs.LIBRARY, Path("a.wasm"))
    ran = run("kube", pushed("a.wasm"))
    assert (ran.status, ran.out) == (1, "")
    assert "[not-a-command]" in ran.err
    assert run("kube", f"{registry.host}/me/nothing:1").status == 1


@pytest.mark.parametrize(
    "said, code",
    [
        (("--kind", "CronJob"), "kind-unknown"),
        (("--name", "My App"), "name-invalid"),
        (("--name", "a" * 64), "name-invalid"),
        (("-n", "-team"), "name-invalid"),
        (("--runtime-class", "Edge"), "name-invalid"),
        (("--handler", "a_b"), "name-invalid"),
        (("--cpu", "much"), "quantity-invalid"),
        (("--env", "=a"), "pair-invalid"),
        (("--port", "0"), "usage"),
        (("--memory", "much"), "usage"),
        (("--platform", "wasm"), "platform-invalid"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_here(
    run: Run, pushed: Pushed, said: tuple[str, str], code: str
) -> None:
    ran = run("kube", pushed(HELLO, *NATIVES), *said)
    assert (ran.status, ran.out) == (2, "")
    assert f"[{code}]" in ran.err


@given(st.text())
def test_any_repository_name_makes_a_dns_label(text: str) -> None:
    assert pod.checked_label(pod.label(text), "--name")


# What YAML 1.1, YAML 1.2 and Go's readers take for something else than text, where it is not quoted.
AMBIGUOUS = ["1e3", "0x1f", "0o7", "012", "1_000", "1.0", "y", "No", "on", "~", "null", "2001-01-01", "1:30", "=", "<<"]
AMBIGUOUS += [
    "",
    " a",
    "a ",
    "a: b",
    "a #b",
    "- a",
    "?",
    "!a",
    "&a",
    "*a",
    "@a",
    "`a",
    "%a",
    "{a",
    "[a",
    "a\nb",
    "\t",
    ".inf",
]


@given(st.lists(st.text() | st.sampled_from(AMBIGUOUS), max_size=6))
def test_text_stays_text_for_every_reader(words: list[str]) -> None:
    document = Workload(
        "a", "b/c@sha256:0", args=tuple(words), env={f"K{n}": word for n, word in enumerate(words)}
    ).document()
    text = pod.yaml_of([document, document])
    assert list(yaml.safe_load_all(text)) == [document] * 2
    for version in ("1.1", "1.2"):
        reader = YAML(typ="safe", pure=True)
        reader.version = version  # type: ignore[assignment]
        if all(word.isprintable() for word in words):
            assert list(reader.load_all(text)) == [document] * 2


def test_text_that_looks_like_a_number_is_quoted() -> None:
    text = pod.yaml_of([{"args": AMBIGUOUS}])
    assert text.count('- "') == len(AMBIGUOUS)


@pytest.mark.real
@pytest.mark.parametrize("kind", ["Pod", "Job", "Deployment"])
@pytest.mark.parametrize("what", [(HELLO, "--for", "kubernetes"), (HTTP, "--for", "kubernetes"), (NATIVES[0],)])
def test_kubernetes_own_schemas_agree(
    run: Run, pushed: Pushed, part: Callable[[str], str], kind: str, what: tuple[str, ...]
) -> None:
    judge = part("kubernetes-validate")
    reference = pushed(*what)
    said = ("--kind", kind, "-e", "A=1", "-n", "team", "--memory", "64MiB", "--cpu", "500m", "--port", "80")
    ran = run("kube", reference, *said, "--handler", "crun", "--", "x")
    assert ran.status == 0, ran.err
    path = Path("objects.yaml")
    for version in ("1.25", "1.37"):
        path.write_text(ran.out)
        judged = subprocess.run(
            [judge, "--strict", "-k", version, str(path)], capture_output=True, text=True, timeout=120
        )
        assert judged.returncode == 0, judged.stdout + judged.stderr
        path.write_text(ran.out.replace("containers:", "container:"))
        assert subprocess.run(
            [judge, "--strict", "-k", version, str(path)], capture_output=True, timeout=120
        ).returncode


@pytest.mark.real
def test_kubernetes_own_schemas_agree_with_the_sample(run: Run, part: Callable[[str], str], tmp_path: Path) -> None:
    judge = part("kubernetes-validate")
    ran = run("resolve", "-f", str(SAMPLES / "app.yaml"), "--repo", "ghcr.io/me", "--dry-run")
    assert ran.status == 0, ran.err
    path = tmp_path / "app.yaml"
    path.write_text(ran.out)
    command = [judge, "--strict", "-k", "1.37", str(path)]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 0
