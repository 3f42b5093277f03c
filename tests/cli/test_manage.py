"""tags, repos, tag, rm, tree, referrers and attach from outside."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.registry.double import Registry

Run = Callable[..., Ran]


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry(referrers=True) as running:
        yield running


@pytest.fixture
def image(run: Run, folder: Path, registry: Registry) -> str:
    (folder / "sbom.json").write_text('{"an":"sbom"}')
    place = f"{registry.host}/team/hello:1"
    assert run("pack", "hello.wasm", "-t", place, "--push").status == 0
    return place


def test_each_prints_its_result_and_nothing_else(image: str, registry: Registry, run: Run) -> None:
    name = image.removesuffix(":1")
    ran = run("tag", image, "2", "3")
    assert (ran.out, ran.err) == (f"{name}:2\n{name}:3\n", "")
    assert run("tags", name).out == "1\n2\n3\n"
    assert run("repos", registry.host).out == "team/hello\n"
    assert run("repos", registry.host, "--prefix", "other").out == ""
    attached = run("attach", "sbom.json", "--type", "application/spdx+json", "--to", image, "--annotation", "a=b")
    assert attached.out.startswith(f"{name}@sha256:")
    digest = attached.out.strip().partition("@")[2]
    (line,) = run("referrers", image).out.splitlines()
    assert line.split()[:2] == [digest, "application/spdx+json"]
    assert run("referrers", image, "--artifact-type", "a/b").out == ""
    assert run("rm", f"{name}:2").out == f"{name}:2\n"
    assert run("tags", name).out == "1\n3\n"


def test_each_prints_json_when_asked(image: str, registry: Registry, run: Run) -> None:
    name = image.removesuffix(":1")
    assert json.loads(run("tag", image, "2", "--json").out)["references"] == [f"{name}:2"]
    assert json.loads(run("tags", name, "--json").out) == {"repository": name, "tags": ["1", "2"]}
    assert json.loads(run("repos", registry.host, "--json").out)["repositories"] == ["team/hello"]
    attached = json.loads(run("attach", "sbom.json", "--type", "a/b", "--to", image, "--json").out)
    (found,) = json.loads(run("referrers", image, "--json").out)["referrers"]
    assert found["digest"] == attached["descriptor"]["digest"]
    assert json.loads(run("tree", image, "--json").out)["roots"][0]["referrers"][0]["artifactType"] == "a/b"
    removed = json.loads(run("rm", image, "--manifest", "--dry-run", "--json").out)
    assert (removed["tags"], removed["referrers"], removed["dryRun"]) == (["1", "2"], 1, True)
    copied = json.loads(run("copy", image, "oci:x", "--referrers", "--json").out)
    assert [entry["artifactType"] for entry in copied["referrers"]] == ["a/b"]


def test_removing_a_manifest_says_what_goes_with_it(image: str, run: Run) -> None:
    name = image.removesuffix(":1")
    run("tag", image, "2")
    run("attach", "sbom.json", "--type", "a/b", "--to", image)
    ran = run("rm", image, "--manifest", "--dry-run")
    assert "with it would go the tag 2\n" in ran.err
    assert "what refers to it stays: 1" in ran.err
    assert run("tags", name).out == "1\n2\n"
    ran = run("rm", image, "--manifest")
    assert ran.out.startswith(f"{name}@sha256:")
    assert "with it went the tag 2" in ran.err
    assert run("tags", name).status == 1


def test_the_tree_is_drawn(image: str, run: Run) -> None:
    run("attach", "sbom.json", "--type", "a/sbom", "--to", image)
    lines = run("tree", image).out.splitlines()
    assert lines[0] == image
    assert lines[1].startswith("manifest  wasi/wasm  sha256:")
    assert [line[:3] for line in lines[2:5]] == ["├─ ", "├─ ", "└─ "]
    assert lines[4].startswith("└─ attached: manifest  a/sbom  sha256:")
    assert "sbom.json" in lines[6]
    assert lines[-1].startswith("6 blobs, ")


def test_a_strangers_words_steer_no_terminal(image: str, run: Run) -> None:
    run("attach", "sbom.json", "--type", "a/b", "--to", image, "--annotation", "org.opencontainers.image.title=\x1b[2J")
    assert "\x1b" not in run("tree", image).out


@pytest.mark.parametrize(
    "words, status, code",
    [
        (["tag", "{image}", "a b"], 2, "reference-invalid"),
        (["tag", "{image}", "2", "--expect-digest", "sha256:0"], 1, "digest-invalid"),
        (["rm", "{name}"], 2, "usage"),
        (["rm", "{name}:none"], 1, "not-found"),
        (["tags", "{host}/none"], 1, "repository-unknown"),
        (["repos", "{host}/a/b"], 2, "reference-invalid"),
        (["attach", "sbom.json", "--type", "x", "--to", "{image}"], 2, "media-type-invalid"),
        (["attach", "sbom.json", "--type", "a/b", "--to", "{image}", "--annotation", "x"], 2, "pair-invalid"),
        (["referrers", "{name}:none"], 1, "not-found"),
        (["tree", "{name}:none"], 1, "not-found"),
        (["tags", "localhost:1/x"], 5, "connection-refused"),
    ],
)
def test_refusals(words: list[str], status: int, code: str, image: str, registry: Registry, run: Run) -> None:
    named = {"image": image, "name": image.removesuffix(":1"), "host": registry.host}
    ran = run(*(word.format(**named) for word in words))
    assert (ran.status, ran.out) == (status, "")
    assert f"[{code}]" in ran.err
