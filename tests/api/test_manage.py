"""tags, repositories, tag, remove, tree, attach, referrers: on a registry and on a layout alike."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ocibuild
from ocibuild import ambient
from ocibuild.api.session import Session
from ocibuild.errors import InputError, NotFoundError, OcibuildError, RegistryError, StoreError, UsageError
from ocibuild.spec.schema import validate
from tests.registry.double import Registry

SAMPLES = Path(__file__).parents[2] / "samples"
EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry(referrers=True) as running:
        yield running


@pytest.fixture(params=["registry", "layout"])
def place(request: pytest.FixtureRequest, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where an index of two platforms is, under the tag 1; without the tag."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sbom.json").write_text('{"spdxVersion":"SPDX-2.3"}')
    (tmp_path / "notes.txt").write_text("a note\n")
    files = (SAMPLES / "hello.wasm", SAMPLES / "hello-linux-amd64")
    if request.param == "layout":
        ocibuild.pack(*files, output="oci:hello:1")
        return "oci:hello"
    ocibuild.pack(*files, tags=[f"{registry.host}/hello:1"], push=True)
    return f"{registry.host}/hello"


def document(place: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ocibuild.manifest(place))
    return found


# tags, repositories


def test_tags(place: str) -> None:
    ocibuild.tag(f"{place}:1", "2", "latest")
    assert sorted(ocibuild.tags(place)) == ["1", "2", "latest"]
    with pytest.raises(UsageError):
        ocibuild.tags(f"{place}:1")


def test_repositories_by_prefix(registry: Registry) -> None:
    for name in ("team/a", "team/b", "other"):
        ocibuild.pack(SAMPLES / "hello.wasm", tags=[f"{registry.host}/{name}:1"], push=True)
    assert ocibuild.repositories(registry.host) == ("other", "team/a", "team/b")
    assert ocibuild.repositories(registry.host, prefix="team/") == ("team/a", "team/b")
    with pytest.raises(UsageError) as caught:
        ocibuild.repositories(f"{registry.host}/team")
    assert caught.value.code == "reference-invalid"


# tag


def test_a_tag_moves_no_content(registry: Registry, tmp_path: Path) -> None:
    packed = ocibuild.pack(SAMPLES / "hello.wasm", tags=[f"{registry.host}/hello:1"], push=True)
    before = len(registry.requests("POST"))
    done = ocibuild.tag(f"{registry.host}/hello:1", "2", "3")
    assert done.references == (f"{registry.host}/hello:2", f"{registry.host}/hello:3")
    assert registry.tags["hello", "3"] == packed.digest
    assert len(registry.requests("POST")) == before


def other(place: str) -> str:
    """Another image under the tag 2; its digest."""
    if place.startswith("oci:"):
        return str(ocibuild.pack(SAMPLES / "hello.wasm", output=f"{place}:2").digest)
    return str(ocibuild.pack(SAMPLES / "hello.wasm", tags=[f"{place}:2"], push=True).digest)


def test_a_tag_that_is_there_is_left_alone_when_asked(place: str) -> None:
    theirs = other(place)
    with pytest.raises(StoreError) as caught:
        ocibuild.tag(f"{place}:1", "new", "2", if_absent=True)
    assert caught.value.code == "tag-exists"
    assert theirs in caught.value.message
    # All are looked at before the first is written.
    assert "new" not in ocibuild.tags(place)
    assert ocibuild.digest(f"{place}:2") == theirs
    ocibuild.tag(f"{place}:1", "1", "new", if_absent=True)
    ocibuild.tag(f"{place}:1", "new", if_absent=True)  # it is that already


def test_a_tag_moves_only_away_from_what_was_expected(place: str) -> None:
    theirs = other(place)
    for name, expected in (("2", EMPTY), ("absent", theirs)):
        with pytest.raises(StoreError) as caught:
            ocibuild.tag(f"{place}:1", name, expect_digest=expected)
        assert caught.value.code == "tag-moved"
    ocibuild.tag(f"{place}:1", "2", expect_digest=theirs)
    assert ocibuild.digest(f"{place}:2") == ocibuild.digest(f"{place}:1")


@pytest.mark.parametrize("name", ["", "a b", "host/name:2", "x" * 129, "-x"])
def test_what_is_no_tag_is_refused(name: str, place: str) -> None:
    with pytest.raises(UsageError) as caught:
        ocibuild.tag(f"{place}:1", name)
    assert caught.value.code == "reference-invalid"


def test_engines_load_a_layouts_image_under_its_new_name(tmp_path: Path) -> None:
    ocibuild.pack(SAMPLES / "hello.wasm", tags=["hello:1"], output=f"oci:{tmp_path}/x")
    ocibuild.tag(f"oci:{tmp_path}/x:1", "2")
    entries = json.loads((tmp_path / "x/index.json").read_bytes())["manifests"]
    assert [entry["annotations"]["io.containerd.image.name"] for entry in entries] == [
        "docker.io/library/hello:1",
        "docker.io/library/hello:2",
    ]


# remove


def test_a_tag_alone_goes(place: str) -> None:
    ocibuild.tag(f"{place}:1", "2")
    digest = ocibuild.digest(f"{place}:1")
    done = ocibuild.remove(f"{place}:1")
    assert (done.tag, done.manifest, done.tags) == ("1", False, ("1",))
    assert ocibuild.tags(place) == ("2",)
    assert ocibuild.digest(f"{place}@{digest}") == digest
    with pytest.raises(NotFoundError):
        ocibuild.remove(f"{place}:1")


@pytest.mark.parametrize("by", ["tag", "digest"])
def test_a_manifest_goes_and_its_tags_are_told_before(by: str, place: str) -> None:
    theirs = other(place)
    ocibuild.tag(f"{place}:1", "also")
    digest = ocibuild.digest(f"{place}:1")
    what = {"place": f"{place}:1", "manifest": True} if by == "tag" else {"place": f"{place}@{digest}"}
    told = ocibuild.remove(**what, dry_run=True)  # type: ignore[arg-type]
    assert (set(told.tags), told.manifest, told.all_tags) == ({"1", "also"}, True, True)
    assert set(ocibuild.tags(place)) == {"1", "2", "also"}
    assert ocibuild.remove(**what) == told  # type: ignore[arg-type]
    assert ocibuild.tags(place) == ("2",)
    assert ocibuild.digest(f"{place}:2") == theirs
    with pytest.raises(NotFoundError):
        ocibuild.digest(f"{place}@{digest}")


def test_nothing_named_is_nothing_removed(place: str) -> None:
    """Not even `latest`, which other verbs take for granted."""
    ocibuild.tag(f"{place}:1", "latest")
    with pytest.raises(UsageError, match="does not say what to remove"):
        ocibuild.remove(place)
    assert set(ocibuild.tags(place)) == {"1", "latest"}


def test_a_tag_with_a_digest_goes_while_it_is_that(registry: Registry) -> None:
    place = f"{registry.host}/hello"
    theirs = other(place)
    with pytest.raises(StoreError) as caught:
        ocibuild.remove(f"{place}:2@{EMPTY}")
    assert caught.value.code == "tag-moved"
    ocibuild.remove(f"{place}:2@{theirs}")
    assert registry.tags == {}
    assert ("hello", theirs) in registry.manifests


def test_where_a_tag_cannot_go_alone_the_manifest_stays_unless_asked(tmp_path: Path) -> None:
    with Registry(deletes="manifests") as registry:
        place = f"{registry.host}/hello"
        theirs = other(place)
        with pytest.raises(RegistryError) as caught:
            ocibuild.remove(f"{place}:2")
        assert caught.value.code == "tag-delete-unsupported"
        assert registry.tags == {("hello", "2"): theirs}
        ocibuild.remove(f"{place}:2", manifest=True)
        assert registry.manifests == {}


def test_a_registry_that_does_not_list_tags_leaves_that_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with Registry() as registry:
        other(f"{registry.host}/hello")
        monkeypatch.setattr(registry, "_list", lambda name: registry._manifest(name, "none"))
        done = ocibuild.remove(f"{registry.host}/hello:2", manifest=True)
        assert (done.tags, done.all_tags) == (("2",), False)


def test_what_refers_to_a_deleted_manifest_stays_and_is_told(place: str) -> None:
    attached = ocibuild.attach("sbom.json", to=f"{place}:1", artifact_type="application/spdx+json")
    done = ocibuild.remove(f"{place}:1", manifest=True)
    assert done.referrers == 1
    assert ocibuild.digest(attached.reference) == attached.descriptor.digest


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_an_archive_is_not_changed(kind: str, tmp_path: Path) -> None:
    where = f"{kind}:{tmp_path}/x.tar"
    ocibuild.pack(SAMPLES / "hello.wasm", tags=["hello:1"], output=where)
    before = (tmp_path / "x.tar").read_bytes()
    acts = (
        lambda: ocibuild.tag(where, "2"),
        lambda: ocibuild.remove(f"{where}@{EMPTY}"),
        lambda: ocibuild.attach(tmp_path / "x.tar", to=where, artifact_type="a/b"),
    )
    for act in acts:
        with pytest.raises(StoreError) as caught:
            act()
        assert caught.value.code == "store-read-only"
    assert (tmp_path / "x.tar").read_bytes() == before
    assert ocibuild.tags(where) == ("1",)


# attach, referrers


def test_an_attachment_is_an_artifact_with_a_subject(place: str) -> None:
    done = ocibuild.attach(
        "sbom.json",
        "notes.txt:text/plain",
        to=f"{place}:1",
        artifact_type="application/spdx+json",
        annotations={"k": "v"},
    )
    manifest = document(done.reference)
    root = ocibuild.manifest(f"{place}:1")
    validate(manifest, "manifest")
    assert manifest["artifactType"] == "application/spdx+json"
    assert manifest["config"] == {"mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY, "size": 2}
    assert manifest["subject"] == {
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": f"sha256:{hashlib.sha256(root).hexdigest()}",
        "size": len(root),
    }
    assert manifest["annotations"] == {"k": "v"}
    assert [(layer["mediaType"], layer["annotations"]) for layer in manifest["layers"]] == [
        ("application/spdx+json", {"org.opencontainers.image.title": "sbom.json"}),
        ("text/plain", {"org.opencontainers.image.title": "notes.txt"}),
    ]
    with ocibuild.blob(done.reference, manifest["layers"][1]["digest"]) as stream:
        assert stream.read() == b"a note\n"
    (found,) = ocibuild.referrers(f"{place}:1")
    assert (found.digest, found.artifact_type, found.annotations) == (
        done.descriptor.digest,
        "application/spdx+json",
        {"k": "v"},
    )
    assert ocibuild.referrers(f"{place}:1", artifact_type="text/plain") == ()


def test_the_same_attachment_has_the_same_digest(place: str) -> None:
    os.utime("sbom.json", (1, 1))
    one = ocibuild.attach("sbom.json", to=f"{place}:1", artifact_type="application/spdx+json")
    os.utime("sbom.json", (2, 2))
    two = ocibuild.attach("sbom.json", to=f"{place}:1", artifact_type="application/spdx+json")
    assert one.reference == two.reference
    assert two.copied.written == []
    assert len(ocibuild.referrers(f"{place}:1")) == 1
    assert "annotations" not in document(one.reference)


def test_a_time_stands_in_it_only_where_one_is_said(place: str) -> None:
    surroundings = ambient.read()
    epoch = replace(surroundings, environ={**surroundings.environ, "SOURCE_DATE_EPOCH": "86400"})
    by_environment = ocibuild.attach(
        "sbom.json", to=f"{place}:1", artifact_type="a/b", session=Session(surroundings=epoch)
    )
    by_word = ocibuild.attach("sbom.json", to=f"{place}:1", artifact_type="a/b", created="1970-01-02T00:00:00Z")
    assert by_environment.reference == by_word.reference
    assert document(by_word.reference)["annotations"] == {"org.opencontainers.image.created": "1970-01-02T00:00:00Z"}


def test_one_platform_can_be_the_subject(place: str) -> None:
    done = ocibuild.attach("sbom.json", to=f"{place}:1", artifact_type="a/b", platform="wasi/wasm")
    assert done.subject.digest == ocibuild.digest(f"{place}:1", platform="wasi/wasm")
    assert ocibuild.referrers(f"{place}:1") == ()
    assert len(ocibuild.referrers(f"{place}:1", platform="wasi/wasm")) == 1


def test_annotations_alone_are_an_attachment(place: str) -> None:
    """The specification wants one layer, and says which where there is nothing to say."""
    done = ocibuild.attach(to=f"{place}:1", artifact_type="a/b", annotations={"verdict": "good"})
    manifest = document(done.reference)
    validate(manifest, "manifest")
    assert [layer["digest"] for layer in manifest["layers"]] == [EMPTY]


def test_an_attachment_can_have_attachments(place: str) -> None:
    first = ocibuild.attach("sbom.json", to=f"{place}:1", artifact_type="a/sbom")
    second = ocibuild.attach("notes.txt", to=first.reference, artifact_type="a/signature")
    assert [entry.digest for entry in ocibuild.referrers(first.reference)] == [second.descriptor.digest]
    assert [entry.artifact_type for entry in ocibuild.referrers(f"{place}:1")] == ["a/sbom"]


def test_a_file_whose_name_has_a_colon_is_that_file(place: str) -> None:
    Path("a:b").write_text("x")
    done = ocibuild.attach("a:b", to=f"{place}:1", artifact_type="t/x")
    (layer,) = document(done.reference)["layers"]
    assert (layer["mediaType"], layer["annotations"]["org.opencontainers.image.title"]) == ("t/x", "a:b")


def test_an_empty_file_is_attached(place: str) -> None:
    Path("empty").touch()
    (layer,) = document(ocibuild.attach("empty", to=f"{place}:1", artifact_type="t/x").reference)["layers"]
    assert layer["size"] == 0


@pytest.mark.parametrize(
    "files, options, kind, code",
    [
        (["none"], {}, InputError, "file-not-found"),
        (["."], {}, InputError, "file-unreadable"),
        (["sbom.json"], {"artifact_type": "sbom"}, UsageError, "media-type-invalid"),
        (["sbom.json:te xt/x"], {}, UsageError, "media-type-invalid"),
        (["sbom.json", "./sbom.json"], {}, UsageError, "path-duplicate"),
        (["sbom.json"], {"created": "yesterday"}, UsageError, "created-invalid"),
        (["sbom.json"], {"platform": "linux/arm64"}, NotFoundError, "platform-missing"),
        ([], {}, UsageError, "usage"),
    ],
)
def test_what_cannot_be_attached_leaves_nothing(
    files: list[str], options: dict[str, Any], kind: type[OcibuildError], code: str, place: str
) -> None:
    with pytest.raises(kind) as caught:
        ocibuild.attach(*files, **{"to": f"{place}:1", "artifact_type": "a/b", **options})
    assert caught.value.code == code
    assert ocibuild.referrers(f"{place}:1") == ()


# tree


def test_the_tree_has_everything_once_and_fits_its_schema(place: str) -> None:
    attached = ocibuild.attach("sbom.json", to=f"{place}:1", artifact_type="a/sbom", platform="wasi/wasm")
    ocibuild.attach("notes.txt", to=attached.reference, artifact_type="a/signature")
    found = ocibuild.tree(f"{place}:1")
    validate(found, "tree")
    (root,) = found["roots"]
    assert (root["name"], root["kind"], root["platform"]) == ("1", "index", None)
    native, wasm = root["children"]
    assert [entry["platform"] for entry in (native, wasm)] == ["linux/amd64", "wasi/wasm"]
    assert [child["kind"] for child in wasm["children"]] == ["config", "layer"]
    (sbom,) = wasm["referrers"]
    assert (sbom["artifactType"], sbom["subject"]) == ("a/sbom", wasm["digest"])
    assert [entry["artifactType"] for entry in sbom["referrers"]] == ["a/signature"]
    assert (root["referrers"], native["referrers"]) == ([], [])
    every = {node["digest"]: node["size"] for node in below(root)}
    assert (found["blobs"], found["totalSize"]) == (len(every), sum(every.values()))
    bare = ocibuild.tree(f"{place}:1", referrers=False)
    assert bare["roots"][0]["children"][1]["referrers"] == []


def below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in [*node.get("children", []), *node.get("referrers", [])]:
        yield from below(child)


def test_a_tree_says_what_is_missing(tmp_path: Path) -> None:
    """An index of which only one platform was copied is nothing wrong."""
    where = f"oci:{tmp_path}/x"
    ocibuild.pack(SAMPLES / "hello.wasm", SAMPLES / "hello-linux-amd64", output=where)
    first = json.loads(ocibuild.manifest(where))["manifests"][0]["digest"]
    (tmp_path / "x/blobs" / first.replace(":", "/")).unlink()
    found = ocibuild.tree(where)
    validate(found, "tree")
    native, wasm = found["roots"][0]["children"]
    assert native["missing"]
    assert "missing" not in wasm
    assert "children" not in native


def test_a_tree_of_several_images_shows_each(tmp_path: Path) -> None:
    for name in ("1", "2"):
        ocibuild.pack(SAMPLES / "hello.wasm", output=f"oci:{tmp_path}/x:{name}", env={"N": name})
    found = ocibuild.tree(f"{tmp_path}/x")
    validate(found, "tree")
    assert [root["name"] for root in found["roots"]] == ["1", "2"]
    ocibuild.tag(f"oci:{tmp_path}/x:1", "again")
    found = ocibuild.tree(f"{tmp_path}/x")
    validate(found, "tree")
    assert sorted(root.get("seen", False) for root in found["roots"]) == [False, False, True]


# copy --referrers


def test_a_copy_takes_what_is_attached_along_when_asked(place: str, registry: Registry, tmp_path: Path) -> None:
    sbom = ocibuild.attach("sbom.json", to=f"{place}:1", artifact_type="a/sbom", platform="wasi/wasm")
    signature = ocibuild.attach("notes.txt", to=sbom.reference, artifact_type="a/signature")
    for n, destination in enumerate((f"oci:{tmp_path}/to:1", f"{registry.host}/elsewhere:1", f"{tmp_path}/to.tar")):
        plain = ocibuild.copy(f"{place}:1", destination)
        assert plain.copied.referrers == []
        assert ocibuild.referrers(destination, platform="wasi/wasm") == ()
        done = ocibuild.copy(f"{place}:1", destination, referrers=True)
        assert len(done.copied.referrers) == 2
        (found,) = ocibuild.referrers(destination, platform="wasi/wasm")
        assert found.digest == sbom.descriptor.digest
        within = f"{destination.removesuffix(':1')}@{sbom.descriptor.digest}"
        assert [entry.digest for entry in ocibuild.referrers(within)] == [signature.descriptor.digest], n
    ocibuild.push(f"{tmp_path}/to.tar", f"{registry.host}/third:1", referrers=True)
    assert len(ocibuild.referrers(f"{registry.host}/third:1", platform="wasi/wasm")) == 1
    assert ocibuild.inspect(f"{tmp_path}/to.tar")["kind"] == "index"
