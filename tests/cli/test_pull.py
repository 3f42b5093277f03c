"""`pull`, conversion on the command line, what push tells a script, and tags that cannot be moved."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Seen

Run = Callable[..., Ran]


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


@pytest.fixture
def native() -> str:
    return str(Path(__file__).parents[2] / "samples" / "hello-linux-amd64")


def test_pull_makes_a_layout_called_like_the_repository(run: Run, folder: Path, registry: Registry) -> None:
    packed = run("pack", "hello.wasm", "-t", f"{registry.host}/me/app:1", "--push", "-o", "oci:packed")
    ran = run("pull", f"{registry.host}/me/app:1")
    digest = packed.out.strip().rpartition("@")[2]
    assert (ran.status, ran.out) == (0, f"oci:app.oci@{digest}\n")
    assert ran.err.startswith("fetched ")
    entry = json.loads((folder / "app.oci/index.json").read_bytes())["manifests"][0]
    assert entry["annotations"] == {
        "io.containerd.image.name": f"{registry.host}/me/app:1",
        "org.opencontainers.image.ref.name": "1",
    }
    before = len(registry.seen)
    again = run("pull", f"{registry.host}/me/app:1", "--json")
    assert (json.loads(again.out)["written"], json.loads(again.out)["existed"]) == (0, 3)
    assert not [request for request in registry.seen[before:] if "/blobs/" in request.path]


@pytest.mark.parametrize(
    ("output", "result"),
    [("a.tar", "oci-archive:a.tar"), ("sub", "oci:sub"), ("oci:b:2", "oci:b"), ("docker-archive:d.tar", "docker-archive:d.tar")],
)  # fmt: skip
def test_pull_goes_where_it_is_told(output: str, result: str, run: Run, folder: Path, registry: Registry) -> None:
    run("pack", "hello.wasm", "-t", f"{registry.host}/me/app:1", "--push")
    ran = run("pull", f"{registry.host}/me/app:1", "-o", output)
    assert ran.out.partition("@")[0] == result
    assert run("extract", ran.out.strip(), "-o", "out.wasm").status == 0
    assert (folder / "out.wasm").read_bytes() == (folder / "hello.wasm").read_bytes()


def test_pull_takes_one_image_of_an_index_or_all(run: Run, folder: Path, registry: Registry, native: str) -> None:
    run("pack", "hello.wasm", native, "-t", f"{registry.host}/app:1", "--push")
    whole = run("pull", f"{registry.host}/app:1", "-o", "whole.tar").out
    one = run("pull", f"{registry.host}/app:1", "-o", "one.tar", "--platform", "linux/amd64").out
    index = json.loads(run("manifest", f"{registry.host}/app:1").out)
    assert whole.strip().endswith(run("digest", f"{registry.host}/app:1").out.strip())
    assert one.strip().rpartition("@")[2] == index["manifests"][0]["digest"]
    with tarfile.open("one.tar") as archive, tarfile.open("whole.tar") as other:
        blobs = [sum(name.startswith("blobs/sha256/") for name in one.getnames()) for one in (archive, other)]
    assert blobs == [3, 7]
    ran = run("pull", f"{registry.host}/app:1", "--platform", "linux/s390x")
    assert (ran.status, "[platform-missing]" in ran.err) == (1, True)


def test_a_program_is_not_what_pull_gives(run: Run, folder: Path) -> None:
    ran = run("pull", "localhost:1/app:1", "-o", "app.wasm")
    assert (ran.status, "ocibuild extract localhost:1/app:1 -o app.wasm" in ran.err) == (2, True)
    ran = run("pull", "localhost:1/app:1", "-o", "docker://localhost:1/other")
    assert (ran.status, "ocibuild copy" in ran.err) == (2, True)


def test_what_is_cut_short_leaves_nothing(run: Run, folder: Path, registry: Registry) -> None:
    run("pack", "hello.wasm", "-t", f"{registry.host}/app:1", "--push", "-o", "oci:packed")
    for key in registry.blobs:
        registry.blobs[key] = b"?" * len(registry.blobs[key])
    ran = run("pull", f"{registry.host}/app:1")
    assert (ran.status, "[digest-mismatch]" in ran.err) == (1, True)
    assert not (folder / "app.oci").exists()


def test_copy_converts_and_says_what_is_lost(run: Run, folder: Path, registry: Registry) -> None:
    run("pack", "hello.wasm", "-t", f"{registry.host}/app:1", "--push", "--env", "A=1")
    ran = run("copy", f"{registry.host}/app:1", f"{registry.host}/app:wkg", "--for", "wkg", "--metadata-file", "m.json")
    assert ran.status == 0, ran.err
    assert ran.err.splitlines()[:2] == ["image becomes artifact", "artifact has no place for: environment"]
    straight = run("pack", "hello.wasm", "--for", "wkg", "-o", "oci:straight").out.strip().rpartition("@")[2]
    assert ran.out == f"{registry.host}/app@{straight}\n"
    metadata = json.loads((folder / "m.json").read_bytes())
    assert metadata["containerimage.digest"] == metadata["containerimage.descriptor"]["digest"] == straight
    assert metadata["image.name"] == f"{registry.host}/app:wkg"
    again = run("copy", f"{registry.host}/app:wkg", "oci:again", "--format", "artifact", "--subject")
    assert again.out.strip().endswith(straight)
    assert "it has the shape artifact already; copied as it is" in again.err


def test_options_of_a_conversion_need_one(run: Run, folder: Path) -> None:
    run("pack", "hello.wasm")
    ran = run("copy", "hello.oci", "oci:b", "--subject")
    assert (ran.status, "--name and --subject go with --format or --for" in ran.err) == (2, True)


def test_push_to_many_names_them_all_in_the_metadata(run: Run, folder: Path, registry: Registry) -> None:
    packed = run("pack", "hello.wasm").out.strip().rpartition("@")[2]
    names = [f"{registry.host}/a:1", f"{registry.host}/b:2"]
    ran = run("push", "hello.oci", *names, "--metadata-file", "m.json")
    assert [line.rpartition("@")[2] for line in ran.out.splitlines()] == [packed, packed]
    assert ran.err.splitlines()[0].startswith("uploaded ")
    assert ran.err.splitlines()[1].endswith("mounted")
    assert json.loads((folder / "m.json").read_bytes())["image.name"] == ",".join(names)


class Immutable(Registry):
    """Refuses to move a tag, as ECR does."""

    def respond(self, request: Seen) -> Answer:
        repository, _, tag = request.path.removeprefix("/v2/").partition("/manifests/")
        if request.method == "PUT" and (repository, tag) in self.tags:
            body = {"errors": [{"code": "TAG_INVALID", "message": "The image tag is immutable"}]}
            return Answer(400, {"Content-Type": "application/json"}, json.dumps(body).encode())
        return super().respond(request)


def test_the_same_digest_under_an_immutable_tag_is_success(run: Run, folder: Path) -> None:
    with Immutable() as registry:
        name = f"{registry.host}/app:1"
        assert run("pack", "hello.wasm", "-t", name, "--push").status == 0
        run("pack", "hello.wasm")
        again = run("push", "hello.oci", name)
        assert (again.status, again.out.startswith(f"{registry.host}/app@sha256:")) == (0, True)
        run("pack", "component.wasm")
        other = run("push", "component.oci", name)
        assert other.status == 1
        assert "The image tag is immutable" in other.err
