"""A repository on disk: what others wrote stays as they wrote it, and what they change meanwhile is seen."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.errors import ContentError
from ocibuild.serve import naming
from ocibuild.serve.view import read, tag_of
from ocibuild.spec import jsonform
from tests.serve.asking import EMPTY, INDEX, MANIFEST, Asker, answering, digest_of

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD = "io.containerd.image.name"


def entry(digest: str, name: str | None = None, **annotations: str) -> dict[str, Any]:
    named = {REF_NAME: name} if name else {}
    both = {**annotations, **named}
    return {"mediaType": MANIFEST, "digest": digest, "size": 3, **({"annotations": both} if both else {})}


@pytest.mark.parametrize(
    ("annotations", "tag"),
    [
        ({REF_NAME: "v1"}, "v1"),
        ({REF_NAME: "localhost:5000/team/hello:v1"}, "v1"),
        ({REF_NAME: "docker.io/library/alpine:3"}, "3"),
        ({CONTAINERD: "docker.io/library/alpine:3"}, "3"),
        ({REF_NAME: "v1", CONTAINERD: "docker.io/library/alpine:3"}, "v1"),
        ({REF_NAME: "localhost:5000/team/hello"}, None),
        ({REF_NAME: "not a tag!"}, None),
        ({REF_NAME: ""}, None),
        ({}, None),
    ],
)
def test_the_tag_of_an_entry(annotations: dict[str, str], tag: str | None) -> None:
    assert tag_of({"annotations": annotations}) == tag


def test_what_nobody_here_understands_stays(served: Asker, tmp_path: Path) -> None:
    served.image("a", "v1")
    file = tmp_path / "registry" / "a" / "index.json"
    document = json.loads(file.read_bytes())
    strange = [{"digest": "md5:abc", "mediaType": "x/y"}, {"digest": digest_of(b"x")}, 5]
    document |= {"annotations": {"made": "elsewhere"}, "extra": [1]}
    document["manifests"][0] |= {"platform": {"os": "linux", "architecture": "amd64"}, "extra": True}
    document["manifests"] += strange
    file.write_text(json.dumps(document, indent=2))
    served.image("a", "v2", "two")
    after = json.loads(file.read_bytes())
    assert (after["annotations"], after["extra"]) == ({"made": "elsewhere"}, [1])
    assert after["manifests"][0] == document["manifests"][0]
    assert [each for each in after["manifests"] if each in strange] == strange
    assert served.ask("GET", "/v2/a/tags/list").json["tags"] == ["v1", "v2"]


def test_what_another_program_writes_is_seen(served: Asker, tmp_path: Path) -> None:
    digest = served.image("a", "v1")
    file = tmp_path / "registry" / "a" / "index.json"
    document = json.loads(file.read_bytes())
    document["manifests"].append(entry(digest, "theirs"))
    (tmp_path / "new").write_text(json.dumps(document))
    (tmp_path / "new").replace(file)
    assert served.ask("GET", "/v2/a/tags/list").json["tags"] == ["theirs", "v1"]
    served.image("a", "v2", "two")
    assert served.ask("GET", "/v2/a/tags/list").json["tags"] == ["theirs", "v1", "v2"]


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"manifests": 5}', "{}", '{"manifests": [], "manifests": []}'])
def test_an_index_that_cannot_be_read_is_500_and_left_alone(served: Asker, tmp_path: Path, text: str) -> None:
    served.image("a", "v1")
    file = tmp_path / "registry" / "a" / "index.json"
    file.write_text(text)
    for method, path in (("GET", "/v2/a/tags/list"), ("GET", "/v2/a/manifests/v1"), ("DELETE", "/v2/a/manifests/v1")):
        assert served.ask(method, path).status == 500
    data = b'{"schemaVersion":2,"manifests":[]}'
    told = served.ask("PUT", "/v2/a/manifests/v2", data, Content_Type=INDEX)
    assert told.status == 500
    assert str(tmp_path) not in told.body.decode()
    assert file.read_text() == text
    served.image("b", "v1")  # another repository goes on


def test_many_push_to_one_repository_at_once(served: Asker, tmp_path: Path) -> None:
    served.blob("a", b"{}")
    failed: list[BaseException] = []

    def push(number: int) -> None:
        try:
            for turn in range(10):
                served.image("a", f"t{number}-{turn}", f"{number} {turn % 3}")
                if turn:
                    assert served.ask("DELETE", f"/v2/a/manifests/t{number}-{turn - 1}").status == 202
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=push, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert served.ask("GET", "/v2/a/tags/list").json["tags"] == [f"t{number}-9" for number in range(8)]
    document = json.loads((tmp_path / "registry" / "a" / "index.json").read_bytes())
    assert len({each["digest"] for each in document["manifests"]}) == 24


def test_a_layout_that_lists_an_index_shows_its_children(tmp_path: Path) -> None:
    """What other tools write: only the index is a root; its manifests are found by digest all the same."""
    with answering(tmp_path / "registry") as served:
        child = served.image("a", None)
        data = json.dumps({"schemaVersion": 2, "manifests": [entry(child)]}).encode()
        index = served.manifest("a", "v1", data, INDEX)
        file = tmp_path / "registry" / "a" / "index.json"
        file.write_text(json.dumps({"schemaVersion": 2, "manifests": [{**entry(index, "v1"), "mediaType": INDEX}]}))
        told = served.ask("GET", f"/v2/a/manifests/{child}")
        assert (told.status, told.headers["content-type"]) == (200, MANIFEST)
        config = served.ask("GET", f"/v2/a/manifests/{digest_of(b'{}')}")
        assert (config.status, config.code) == (404, "MANIFEST_UNKNOWN")
        assert served.ask("DELETE", f"/v2/a/manifests/{child}").status == 202
        assert served.ask("GET", f"/v2/a/manifests/{child}").status == 404
    assert EMPTY  # the config's media type, which is no manifest's


@pytest.mark.parametrize("name", ["blobs", "a/blobs", "index.json", "oci-layout/x", "a", "a/b_c/d-e.f"])
def test_a_name_and_its_folder(name: str) -> None:
    folder = naming.folder(Path(), name)
    assert naming.named(folder) == name
    assert not {"blobs", "index.json", "oci-layout"} & set(folder.parts)


@pytest.mark.parametrize("path", [".uploads", "A", "a b", "blobs", "a/blobs", "x_"])
def test_folders_that_no_name_stands_for(path: str) -> None:
    assert naming.named(Path(path)) is None


DIGESTS = [digest_of(b"%d" % n) for n in range(4)]
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(DIGESTS), st.lists(st.sampled_from("abc"), max_size=2)),
        st.tuples(st.just("untag"), st.sampled_from("abc"), st.none()),
        st.tuples(st.just("remove"), st.sampled_from(DIGESTS), st.none()),
    ),
    max_size=12,
)
ENTRIES = st.lists(st.builds(entry, st.sampled_from(DIGESTS), st.sampled_from(["a", "b", "c", None])), max_size=6)


@given(entries=ENTRIES, changes=CHANGES)
def test_changes_one_by_one_say_what_a_new_reading_says(entries: list[dict[str, Any]], changes: list[Any]) -> None:
    """Held against two dicts: which tag stands for what, and which manifests are there."""
    view = read(jsonform.dump({"schemaVersion": 2, "manifests": entries}))
    tags: dict[str, str] = {each["annotations"][REF_NAME]: each["digest"] for each in entries if "annotations" in each}
    there = {each["digest"] for each in entries}
    changing = view.changing()
    for kind, what, names in changes:
        if kind == "put":
            changing.put({"mediaType": MANIFEST, "digest": what, "size": 3}, names)
            tags |= dict.fromkeys(names, what)
            there.add(what)
        elif kind == "untag":
            changing.untag(what)
            tags.pop(what, None)
        else:
            changing.remove(what)
            tags = {name: digest for name, digest in tags.items() if digest != what}
            there.discard(what)
    written = b"".join(changing.pieces())
    for found in (changing, read(written)):
        assert {name: (found.tag(name) or {})["digest"] for name in found.tags} == tags
        assert set(found.roots) == there
        assert set(found.untagged) == there - set(tags.values())
        for digest in there:
            assert sorted(found.tags_of(digest)) == sorted(name for name in tags if tags[name] == digest)
    assert changing.changed or written == b"".join(view.pieces())
    assert b"".join(view.pieces()) == jsonform.dump({"schemaVersion": 2, "manifests": entries}), (
        "the old one is left alone"
    )
    listed = json.loads(written)["manifests"]
    unnamed = [each["digest"] for each in listed if "annotations" not in each]
    assert len(unnamed) == len(set(unnamed))


def test_half_a_character_is_kept_as_it_came_and_a_number_beyond_all_is_refused() -> None:
    text = '{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"DIGEST","x":"\\ud800"}]}'.replace(
        "DIGEST", DIGESTS[0]
    )
    found = read(text.encode())
    assert json.loads(b"".join(found.changing().pieces())) == json.loads(text)
    with pytest.raises(ContentError) as told:
        read(text.replace('"\\ud800"', "1e999").encode())
    assert told.value.code == "json-invalid"
