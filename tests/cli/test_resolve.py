"""`resolve`: YAML with digests of images that are really in the registry, made once each; or nothing at all."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Ran
from tests.registry.double import Registry

Run = Callable[..., Ran]
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
APP = """\
# The greeting.
apiVersion: v1
kind: Pod
metadata: {name: hello}   # as it is
spec:
  containers:
  - name: wasm
    image: ocibuild://hello.wasm
  - name: again
    image: 'ocibuild://./hello.wasm'
  - name: native
    image: "ocibuild://bin/server-linux-amd64" # the other
"""


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


@pytest.fixture
def repo(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The repository to push to; the current folder holds app.yaml and what it names."""
    monkeypatch.chdir(tmp_path)
    for variable in ("OCIBUILD_REPO", "KO_DOCKER_REPO"):
        monkeypatch.delenv(variable, raising=False)
    shutil.copy(SAMPLES / "hello.wasm", tmp_path)
    (tmp_path / "bin").mkdir()
    shutil.copy(SAMPLES / "hello-linux-amd64", tmp_path / "bin" / "server-linux-amd64")
    (tmp_path / "app.yaml").write_text(APP)
    return f"{registry.host}/me"


def images(text: str) -> list[str]:
    return [container["image"] for document in yaml.safe_load_all(text) for container in document["spec"]["containers"]]


def manifest(registry: Registry, reference: str) -> dict[str, object]:
    name, _, digest = reference.partition("@")
    _, data = registry.manifests[(name.removeprefix(f"{registry.host}/"), digest)]
    found = json.loads(data)
    assert isinstance(found, dict)
    return found


def test_each_image_is_pushed_once_and_the_rest_of_the_file_stays(run: Run, registry: Registry, repo: str) -> None:
    ran = run("resolve", "-f", "app.yaml", "--repo", repo, "-q")
    assert (ran.status, ran.err) == (0, "")
    wasm, again, native = images(ran.out)
    assert wasm == again
    assert re.fullmatch(re.escape(repo) + r"/hello@sha256:[0-9a-f]{64}", wasm)
    assert re.fullmatch(re.escape(repo) + r"/server@sha256:[0-9a-f]{64}", native)
    assert manifest(registry, wasm)
    assert manifest(registry, native)
    assert ran.out == APP.replace("ocibuild://hello.wasm", wasm).replace("ocibuild://./hello.wasm", wasm).replace(
        "ocibuild://bin/server-linux-amd64", native
    )


def test_two_programs_of_one_name_are_told_apart_only_on_request(run: Run, registry: Registry, repo: str) -> None:
    shutil.copy("hello.wasm", "bin")
    Path("app.yaml").write_text("- ocibuild://hello.wasm\n- ocibuild://bin/hello.wasm\n")
    ran = run("resolve", "-f", "app.yaml", "--repo", repo)
    assert (ran.status, ran.out) == (2, "")
    assert "[reference-twice]" in ran.err
    assert "{path}" in ran.err
    assert registry.manifests == {}
    ran = run("resolve", "-f", "app.yaml", "--repo", f"{repo}/{{path}}")
    assert ran.status == 0, ran.err
    one, other = yaml.safe_load(ran.out)
    assert one.startswith(f"{repo}/hello@")
    assert other.startswith(f"{repo}/bin/hello@")


@pytest.fixture
def small(repo: str) -> str:
    """The same, with one image in app.yaml."""
    Path("app.yaml").write_text("spec: {containers: [{image: ocibuild://hello.wasm}]}\n")
    return repo


def test_wasm_is_packed_for_kubernetes_and_natives_as_they_are(run: Run, registry: Registry, repo: str) -> None:
    ran = run("resolve", "-f", "app.yaml", "--repo", f"{repo}/{{path}}", "-q")
    wasm, _, native = images(ran.out)
    layers = [manifest(registry, reference)["layers"][0]["mediaType"] for reference in (wasm, native)]  # type: ignore[index]
    assert layers == [
        "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ]
    Path("app.yaml").write_text("spec: {containers: [{image: ocibuild://hello.wasm}]}\n")
    ran = run("resolve", "-f", "app.yaml", "--repo", repo, "--for", "docker")
    assert manifest(registry, images(ran.out)[0])["layers"][0]["mediaType"].endswith("tar+gzip")  # type: ignore[index]
    assert run("resolve", "-f", "app.yaml", "--repo", repo, "--for", "nobody").status == 2


def test_the_digest_is_that_of_packing_it(run: Run, small: str) -> None:
    packed = run("pack", "hello.wasm", "--for", "kubernetes", "--dry-run").out.strip()
    assert images(run("resolve", "-f", "app.yaml", "--repo", small).out) == [f"{small}/hello@{packed}"]


@pytest.mark.parametrize(
    "said, tags",
    [
        ((), ["latest"]),
        (("-t", "v1", "--tag", "v2"), ["v1", "v2"]),
    ],
)
def test_tags(run: Run, registry: Registry, small: str, said: tuple[str, ...], tags: list[str]) -> None:
    ran = run("resolve", "-f", "app.yaml", "--repo", small, *said)
    digest = images(ran.out)[0].partition("@")[2]
    assert registry.tags == {("me/hello", tag): digest for tag in tags}


def test_a_repository_with_a_place_for_the_name_in_its_tag(run: Run, registry: Registry, small: str) -> None:
    assert run("resolve", "-f", "app.yaml", "--repo", f"{small}/all:{{name}}-1").status == 0
    assert list(registry.tags) == [("me/all", "hello-1")]
    ran = run("resolve", "-f", "app.yaml", "--repo", f"{small}/all:{{name}}", "-t", "v1")
    assert ran.status == 2
    assert "[repo-invalid]" in ran.err
    assert "[repo-invalid]" in run("resolve", "-f", "app.yaml", "--repo", f"{small}/{{nam}}").err
    assert "[reference-invalid]" in run("resolve", "-f", "app.yaml", "--repo", f"{small}/{{name}}", "-t", "a b").err


def test_the_repository_of_the_environment(run: Run, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("resolve", "-f", "app.yaml")
    assert (ran.status, ran.out) == (2, "")
    assert "[repo-missing]" in ran.err
    assert "OCIBUILD_REPO" in ran.err
    monkeypatch.setenv("KO_DOCKER_REPO", f"{small}/ko")
    ran = run("resolve", "-f", "app.yaml")
    assert images(ran.out)[0].startswith(f"{small}/ko/hello@")
    assert "as KO_DOCKER_REPO says" in ran.err
    monkeypatch.setenv("OCIBUILD_REPO", small)
    assert images(run("resolve", "-f", "app.yaml").out)[0].startswith(f"{small}/hello@")
    assert images(run("resolve", "-f", "app.yaml", "--repo", f"{small}/x").out)[0].startswith(f"{small}/x/hello@")
    monkeypatch.delenv("OCIBUILD_REPO")
    monkeypatch.setenv("KO_DOCKER_REPO", "kind.local")
    assert "[repo-invalid]" in run("resolve", "-f", "app.yaml").err


def test_a_file_without_placeholders_needs_no_repository(run: Run, repo: str) -> None:
    Path("app.yaml").write_text("a: 1  # b\n")
    assert run("resolve", "-f", "app.yaml") == Ran(0, "a: 1  # b\n", "")


def test_folders_files_and_stdin(run: Run, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config/deep").mkdir(parents=True)
    one = "image: ocibuild://../hello.wasm\n"
    for name, text in {"b.yml": one, "a.json": json.dumps({"image": "ocibuild://../hello.wasm"}), "c.txt": "x"}.items():
        Path("config", name).write_text(text)
    Path("config/deep/d.yaml").write_text("---\nimage: ocibuild://../../hello.wasm\n")
    ran = run("resolve", "-f", "config", "--repo", small, "-q")
    reference = yaml.safe_load(ran.out.partition("---")[2])["image"]
    assert ran.out == f'{{"image": "{reference}"}}\n---\nimage: {reference}\n'
    ran = run("resolve", "-f", "config", "-R", "--repo", small, "-q")
    assert ran.out == f'{{"image": "{reference}"}}\n---\nimage: {reference}\n---\nimage: {reference}\n'
    stdin = io.TextIOWrapper(io.BytesIO(b"image: ocibuild://hello.wasm\r\n"))
    monkeypatch.setattr("sys.stdin", stdin)
    ran = run("resolve", "-f", "-", "-f", "config/b.yml", "--repo", small, "-q")
    assert ran == Ran(0, f"image: {reference}\r\n---\nimage: {reference}\n", "")
    Path("empty").mkdir()
    ran = run("resolve", "-f", "empty", "--repo", small)
    assert "[file-not-found]" in ran.err
    assert "-R" in ran.err
    assert "[file-not-found]" in run("resolve", "-f", "nowhere.yaml", "--repo", small).err


def test_stdin_is_read_for_one_thing(run: Run, small: str) -> None:
    ran = run("resolve", "-f", "-", "--repo", small, "--username", "ada", "--password-stdin")
    assert ran.status == 2
    assert "ocibuild login" in ran.err


def test_a_link_has_the_name_it_is_written_with(run: Run, small: str) -> None:
    Path("link.wasm").symlink_to("hello.wasm")
    Path("app.yaml").write_text("- ocibuild://link.wasm\n- ocibuild://hello.wasm\n")
    link, hello = yaml.safe_load(run("resolve", "-f", "app.yaml", "--repo", small).out)
    assert link.startswith(f"{small}/link@")
    assert hello.startswith(f"{small}/hello@")


def test_json_tells_what_became_of_what(run: Run, registry: Registry, repo: str) -> None:
    document = json.loads(run("resolve", "-f", "app.yaml", "--repo", f"{repo}/{{path}}", "--json").out)
    assert [(image["source"], image["places"]) for image in document["images"]] == [
        ("hello.wasm", ["app.yaml:8", "app.yaml:10"]),
        ("bin/server-linux-amd64", ["app.yaml:12"]),
    ]
    for image in document["images"]:
        assert manifest(registry, image["reference"])


def test_a_dry_run_pushes_nothing(run: Run, registry: Registry, small: str) -> None:
    dry = run("resolve", "-f", "app.yaml", "--repo", small, "--dry-run")
    assert dry.status == 0
    assert registry.manifests == registry.blobs == {}
    assert run("resolve", "-f", "app.yaml", "--repo", small).out == dry.out


def test_a_target_of_a_config_file_and_a_folder_to_build(run: Run, registry: Registry, repo: str) -> None:
    Path("ocibuild.toml").write_text(
        'schema = 1\n[targets.both]\nfiles = ["hello.wasm", "bin/server-linux-amd64"]\nenv = { GREETING = "hoi" }\n'
    )
    Path("built").mkdir()
    shutil.copy("hello.wasm", "built")
    Path("built/Dockerfile").write_text('FROM scratch\nCOPY hello.wasm /\nENTRYPOINT ["/hello.wasm"]\n')
    Path("app.yaml").write_text(
        "spec: {containers: [{image: ocibuild://both}, {image: ocibuild://built}, {image: ocibuild://hello.wasm}]}\n"
    )
    ran = run("resolve", "-f", "app.yaml", "--repo", repo, "--config", "ocibuild.toml")
    assert ran.status == 0, ran.err
    both, built, hello = images(ran.out)
    assert [entry["platform"]["os"] for entry in manifest(registry, both)["manifests"]] == ["linux", "wasi"]  # type: ignore[attr-defined]
    assert built.startswith(f"{repo}/built@")
    assert hello.startswith(f"{repo}/hello@")
    assert manifest(registry, built)["layers"][0]["mediaType"].endswith("wasm.component.layer.v0+wasm")  # type: ignore[index]
    ran = run("resolve", "-f", "app.yaml", "--repo", repo)
    assert "app.yaml:1: there is no both" in ran.err
    Path("app.yaml").write_text("image: ocibuild://nothing\n")
    ran = run("resolve", "-f", "app.yaml", "--repo", repo, "--config", "ocibuild.toml")
    assert "nor a target of that name; there is only both" in ran.err


def test_a_folder_whose_image_has_more_files_stays_a_tar(run: Run, registry: Registry, small: str) -> None:
    Path("built").mkdir()
    shutil.copy("hello.wasm", "built")
    Path("built/page.html").write_text("x")
    Path("built/Dockerfile").write_text('FROM scratch\nCOPY hello.wasm page.html /\nENTRYPOINT ["/hello.wasm"]\n')
    Path("app.yaml").write_text("spec: {containers: [{image: ocibuild://built}]}\n")
    dry = run("resolve", "-f", "app.yaml", "--repo", small, "--dry-run")
    assert registry.manifests == {}
    ran = run("resolve", "-f", "app.yaml", "--repo", small)
    assert ran.out == dry.out
    assert "it stays a tar layer" in ran.err
    (image,) = images(ran.out)
    assert manifest(registry, image)["layers"][0]["mediaType"].endswith("tar+gzip")  # type: ignore[index]
    assert registry.tags == {("me/built", "latest"): image.partition("@")[2]}
    Path("built/Dockerfile").write_text("FROM scratch\nNONSENSE\n")
    ran = run("resolve", "-f", "app.yaml", "--repo", small)
    assert (ran.status, ran.out) == (1, "")
    assert "app.yaml:1: " in ran.err


# --- nothing is printed where anything failed -----------------------------------------------------------------------


def test_a_path_that_is_not_there_is_told_with_its_line(run: Run, registry: Registry, repo: str) -> None:
    Path("app.yaml").write_text("a: ocibuild://hello.wasm\n\nb: ocibuild://nowhere.wasm\n")
    ran = run("resolve", "-f", "app.yaml", "--repo", repo)
    assert (ran.status, ran.out) == (1, "")
    assert "app.yaml:3: there is no nowhere.wasm" in ran.err
    assert "[file-not-found]" in ran.err
    assert registry.manifests == {}
    Path("app.yaml").write_text("a: ocibuild://\n")
    assert "names no path" in run("resolve", "-f", "app.yaml", "--repo", repo).err


def test_a_file_that_is_no_program_is_told_with_its_line(run: Run, repo: str) -> None:
    Path("script").write_text("#!/bin/sh\n")
    Path("app.yaml").write_text("a: ocibuild://hello.wasm\nb: ocibuild://script\n")
    ran = run("resolve", "-f", "app.yaml", "--repo", repo)
    assert (ran.status, ran.out) == (1, "")
    assert "app.yaml:2: " in ran.err
    assert "[format-script]" in ran.err


def test_yaml_that_is_none(run: Run, small: str) -> None:
    Path("b.yaml").write_text("a: [1\nb: 2\n")
    ran = run("resolve", "-f", "app.yaml", "-f", "b.yaml", "--repo", small)
    assert (ran.status, ran.out) == (1, "")
    assert "b.yaml:2" in ran.err
    assert "[yaml-invalid]" in ran.err


def test_a_registry_that_refuses(run: Run, tmp_path: Path, small: str) -> None:
    with Registry(user="ada", password="lovelace") as closed:
        ran = run("resolve", "-f", "app.yaml", "--repo", f"{closed.host}/me")
    assert (ran.status, ran.out) == (4, "")
    assert "app.yaml:1: " in ran.err
    ran = run("resolve", "-f", "app.yaml", "--repo", f"{closed.host}/me")
    assert (ran.status, ran.out) == (5, "")


def test_the_scheme_within_a_longer_text_is_told(run: Run, small: str) -> None:
    Path("app.yaml").write_text("args: ['--image=ocibuild://hello.wasm']\n")
    ran = run("resolve", "-f", "app.yaml", "--repo", small)
    assert ran.out == "args: ['--image=ocibuild://hello.wasm']\n"
    assert "app.yaml:1: " in ran.err


def test_many_are_made_side_by_side(run: Run, registry: Registry, repo: str) -> None:
    names = [f"app{number}" for number in range(12)]
    for name in names:
        shutil.copy("hello.wasm", f"{name}.wasm")
    Path("app.yaml").write_text("".join(f"- ocibuild://{name}.wasm\n- ocibuild://{name}.wasm\n" for name in names))
    ran = run("resolve", "-f", "app.yaml", "--repo", repo, "-q")
    assert ran.status == 0, ran.err
    assert [reference.partition("@")[0] for reference in yaml.safe_load(ran.out)] == [
        f"{repo}/{name}" for name in names for _ in range(2)
    ]
    assert {repository for repository, _ in registry.tags} == {f"me/{name}" for name in names}


def test_it_works_in_a_pipe(repo: str) -> None:
    source = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from ocibuild.cli import main; main()"
    command = [sys.executable, "-c", source, "resolve", "-f", "-", "--repo", repo, "-q"]
    data = "\ufeff# größe\r\nimage: ocibuild://hello.wasm\r\n".encode()
    done = subprocess.run(command, input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    before, _, after = done.stdout.partition(f"{repo}/hello@sha256:".encode())
    assert before == "\ufeff# größe\r\nimage: ".encode()
    assert re.fullmatch(rb"[0-9a-f]{64}\r\n", after)


def test_a_target_that_is_built_is_built_as_it_says(run: Run, registry: Registry, repo: str) -> None:
    Path("other").mkdir()
    shutil.copy("hello.wasm", "other")
    Path("other/Dockerfile").write_text("FROM scratch AS one\nCOPY hello.wasm /\nFROM scratch\nCOPY none /\n")
    Path("ocibuild.toml").write_text(
        'schema = 1\n[targets.fn]\nbuild = "other"\ntarget = "one"\nplatform = ["wasi/wasm"]\nentrypoint = ["/hello.wasm"]\n'
        '[targets.two]\nbuild = "other"\nbuild-context = { x = "target:fn" }\n'
    )
    Path("app.yaml").write_text("spec: {containers: [{image: ocibuild://fn}]}\n")
    ran = run("resolve", "-f", "app.yaml", "--repo", repo, "--config", "ocibuild.toml")
    assert ran.status == 0, ran.err
    (fn,) = images(ran.out)
    assert fn.startswith(f"{repo}/fn@")
    assert manifest(registry, fn)["layers"][0]["mediaType"].endswith("wasm.component.layer.v0+wasm")  # type: ignore[index]
    Path("app.yaml").write_text("\nimage: ocibuild://two\n")
    ran = run("resolve", "-f", "app.yaml", "--repo", repo, "--config", "ocibuild.toml")
    assert ran.status == 2
    assert "app.yaml:2: target two takes files of target:fn" in ran.err
    assert "ocibuild bake two" in ran.err
