"""distribution-spec 1.1, as its conformance suites ask for it, the older one of v1.1.1 too; and what stands beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocibuild.serve import app
from ocibuild.spec.digest import Digest
from tests.serve.asking import INDEX, MANIFEST, Asker, answering, digest_of

NOWHERE = digest_of(b"nobody pushed this")
DATA = bytes(range(256)) * 16


def start(served: Asker, name: str = "a/b") -> str:
    told = served.ask("POST", f"/v2/{name}/blobs/uploads/", b"")
    assert told.status == 202
    assert told.headers["range"] == "0-0"
    return told.headers["location"]


# Pull


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_it_says_that_it_is_a_registry(served: Asker, path: str) -> None:
    told = served.ask("GET", path)
    assert told.status == 200
    assert told.headers["docker-distribution-api-version"] == "registry/2.0"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("data", [b"", b"{}", DATA], ids=["empty", "braces", "more"])
def test_a_blob_is_pulled_as_it_was_pushed(served: Asker, data: bytes, algorithm: str) -> None:
    digest = served.blob("a", data, algorithm)
    told = served.ask("GET", f"/v2/a/blobs/{digest}")
    assert (told.status, told.body) == (200, data)
    assert told.headers["docker-content-digest"] == digest
    head = served.ask("HEAD", f"/v2/a/blobs/{digest}")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(data)))


@pytest.mark.parametrize(
    ("wanted", "begin", "end"),
    [("500-1499", 500, 1500), ("500-", 500, 4096), ("-500", 3596, 4096), ("2000-5000", 2000, 4096), ("-9999", 0, 4096)],
)
def test_a_range_of_a_blob(served: Asker, wanted: str, begin: int, end: int) -> None:
    told = served.ask("GET", f"/v2/a/blobs/{served.blob('a', DATA)}", Range=f"bytes={wanted}")
    assert (told.status, told.body) == (206, DATA[begin:end])
    assert told.headers["content-range"] == f"bytes {begin}-{end - 1}/4096"
    assert told.headers["content-length"] == str(end - begin)


@pytest.mark.parametrize("wanted", ["500-0", "4096-", "9000-9001", "-0", "x-y", "-"])
def test_a_range_that_is_not_there(served: Asker, wanted: str) -> None:
    told = served.ask("GET", f"/v2/a/blobs/{served.blob('a', DATA)}", Range=f"bytes={wanted}")
    assert told.status == 416
    assert told.headers["content-range"] == "bytes */4096"


def test_several_ranges_and_other_units_are_answered_with_all_of_it(served: Asker) -> None:
    digest = served.blob("a", DATA)
    for wanted in ("bytes=0-1,5-6", "pages=1-2"):
        assert served.ask("GET", f"/v2/a/blobs/{digest}", Range=wanted).body == DATA


def test_a_client_that_has_it_is_not_sent_it_again(served: Asker) -> None:
    digest = served.blob("a", DATA)
    told = served.ask("GET", f"/v2/a/blobs/{digest}", If_None_Match=f'"{digest}"')
    assert (told.status, told.body) == (304, b"")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/v2/a/blobs/{NOWHERE}", "BLOB_UNKNOWN"),
        (f"/v2/a/manifests/{NOWHERE}", "MANIFEST_UNKNOWN"),
        ("/v2/a/manifests/none", "MANIFEST_UNKNOWN"),
        ("/v2/a/tags/list", "NAME_UNKNOWN"),
    ],
)
def test_what_is_not_there_is_404_with_its_code(served: Asker, path: str, code: str) -> None:
    told = served.ask("GET", path)
    assert (told.status, told.code) == (404, code)
    assert told.headers["content-type"] == "application/json"
    assert served.ask("HEAD", path).status == 404


# Push: blobs


def test_a_blob_in_one_put_after_a_post(served: Asker) -> None:
    digest = digest_of(DATA)
    told = served.ask("PUT", f"{start(served)}?digest={digest}", DATA, Content_Type="application/octet-stream")
    assert (told.status, told.headers["location"]) == (201, f"/v2/a/b/blobs/{digest}")
    assert served.ask("GET", told.headers["location"]).body == DATA


def test_a_blob_in_one_post(served: Asker) -> None:
    digest = digest_of(DATA)
    told = served.ask("POST", f"/v2/a/b/blobs/uploads/?digest={digest}", DATA)
    assert (told.status, told.headers["location"]) == (201, f"/v2/a/b/blobs/{digest}")


def test_a_blob_in_chunks(served: Asker) -> None:
    location = start(served)
    for begin, end in ((0, 1000), (1000, 3000)):
        told = served.ask("PATCH", location, DATA[begin:end], Content_Range=f"{begin}-{end - 1}")
        assert (told.status, told.headers["range"]) == (202, f"0-{end - 1}")
        location = told.headers["location"]
    told = served.ask("PUT", f"{location}?digest={digest_of(DATA)}", DATA[3000:], Content_Range="3000-4095")
    assert told.status == 201
    assert served.ask("GET", told.headers["location"]).body == DATA


def test_a_blob_in_a_stream_of_unknown_length_and_an_empty_put(served: Asker) -> None:
    told = served.ask("PATCH", start(served), iter([DATA[:10], DATA[10:]]))
    assert (told.status, told.headers["range"]) == (202, "0-4095")
    told = served.ask("PUT", f"{told.headers['location']}?digest={digest_of(DATA)}", b"")
    assert told.status == 201


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_chunk_out_of_order_is_416_and_the_upload_goes_on(served: Asker, method: str) -> None:
    location = start(served)
    query = f"?digest={digest_of(DATA)}" if method == "PUT" else ""
    told = served.ask(method, location + query, DATA[1000:], Content_Range="1000-4095")
    assert told.status == 416
    told = served.ask("GET", location)
    assert (told.status, told.headers["range"]) == (204, "0-0")
    assert served.ask("PATCH", location, DATA[:1000], Content_Range="0-999").status == 202
    # The older suite: the first chunk again, on the first address.
    assert served.ask("PATCH", location, DATA[:1000], Content_Range="0-999").status == 416
    told = served.ask("GET", location)
    assert (told.status, told.headers["range"]) == (204, "0-999")
    assert served.ask("PATCH", told.headers["location"], DATA[1000:], Content_Range="1000-4095").status == 202
    assert served.ask("PUT", f"{location}?digest={digest_of(DATA)}", b"").status == 201


@pytest.mark.parametrize("said", ["x", "5-1", "-5", "0-", "bytes", "0-99999999999999999999"])
def test_a_content_range_that_is_none_is_refused(served: Asker, said: str) -> None:
    told = served.ask("PATCH", start(served), DATA, Content_Range=said)
    assert (told.status, told.code) == (400, "BLOB_UPLOAD_INVALID")


def test_a_content_range_of_another_length_than_the_body_is_refused(served: Asker) -> None:
    told = served.ask("PATCH", start(served), DATA, Content_Range="0-9")
    assert (told.status, told.code) == (400, "SIZE_INVALID")


@pytest.mark.parametrize("by", ["POST", "PUT"])
def test_bytes_that_are_not_the_digest_are_refused_and_not_kept(served: Asker, by: str) -> None:
    location = "/v2/a/b/blobs/uploads/" if by == "POST" else start(served)
    told = served.ask(by, f"{location}?digest={NOWHERE}", DATA)
    assert (told.status, told.code) == (400, "DIGEST_INVALID")
    assert served.ask("HEAD", f"/v2/a/b/blobs/{NOWHERE}").status == 404
    assert served.ask("HEAD", f"/v2/a/b/blobs/{digest_of(DATA)}").status == 404


@pytest.mark.parametrize(
    "digest", ["", "?digest=", "?digest=sha256:abc", "?digest=md5:d41d8cd98f00b204e9800998ecf8427e"]
)
def test_a_put_without_a_digest_is_refused(served: Asker, digest: str) -> None:
    told = served.ask("PUT", start(served) + digest, DATA)
    assert (told.status, told.code) == (400, "DIGEST_INVALID")


def test_an_upload_is_cancelled(served: Asker) -> None:
    location = start(served)
    assert served.ask("DELETE", location).status == 204
    for method in ("GET", "PATCH", "DELETE"):
        told = served.ask(method, location, b"")
        assert told.status == 404, method
    assert served.ask("PUT", f"{location}?digest={digest_of(b'')}", b"").code == "BLOB_UPLOAD_UNKNOWN"


def test_an_upload_belongs_to_its_repository(served: Asker) -> None:
    location = start(served, "a/b").replace("/a/b/", "/c/")
    assert served.ask("GET", location).status == 404


def test_an_upload_goes_on_after_a_restart(tmp_path: Path) -> None:
    with answering(tmp_path / "registry") as served:
        location = start(served)
        assert served.ask("PATCH", location, DATA[:1000]).status == 202
    with answering(tmp_path / "registry") as served:
        told = served.ask("GET", location)
        assert (told.status, told.headers["range"]) == (204, "0-999")
        assert served.ask("PATCH", location, DATA[1000:], Content_Range="1000-4095").status == 202
        assert served.ask("PUT", f"{location}?digest={digest_of(DATA)}", b"").status == 201


def test_what_a_broken_connection_brought_is_kept(served: Asker) -> None:
    location = start(served)
    served.raw(
        f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 4096\r\n\r\n".encode() + DATA[:1500], seconds=0.3
    )
    told = served.ask("GET", location)
    assert told.headers["range"] == "0-1499"
    told = served.ask("PATCH", location, DATA[1500:], Content_Range="1500-4095")
    assert told.status == 202
    assert served.ask("PUT", f"{location}?digest={digest_of(DATA)}", b"").status == 201


# Push: mounts


def test_a_mount_needs_no_bytes(served: Asker) -> None:
    digest = served.blob("one", DATA)
    told = served.ask("POST", f"/v2/two/blobs/uploads/?mount={digest}&from=one", b"")
    assert (told.status, told.headers["location"]) == (201, f"/v2/two/blobs/{digest}")
    assert served.registry is not None
    files = [served.registry.blob(name, Digest(digest)).path for name in ("one", "two")]
    assert files[0].samefile(files[1])
    assert served.ask("DELETE", f"/v2/one/blobs/{digest}").status == 202
    assert served.ask("HEAD", f"/v2/one/blobs/{digest}").status == 404
    assert served.ask("GET", f"/v2/two/blobs/{digest}").body == DATA


def test_what_two_repositories_are_pushed_is_one_file(served: Asker) -> None:
    digest = served.blob("one", DATA)
    assert served.blob("two", DATA) == digest
    assert served.registry is not None
    files = [served.registry.blob(name, Digest(digest)).path for name in ("one", "two")]
    assert files[0].samefile(files[1])
    assert list(served.registry.storage.uploads.iterdir()) == []


def test_a_file_that_was_cut_short_is_mended_by_a_push(served: Asker) -> None:
    digest = served.blob("one", DATA)
    assert served.registry is not None
    served.registry.blob("one", Digest(digest)).path.write_bytes(DATA[:5])
    served.blob("one", DATA)
    assert served.ask("GET", f"/v2/one/blobs/{digest}").body == DATA


def test_a_mount_that_does_not_say_where_from(served: Asker) -> None:
    digest = served.blob("one", DATA)
    assert served.ask("POST", f"/v2/two/blobs/uploads/?mount={digest}", b"").status == 201


@pytest.mark.parametrize("source", ["", "&from=one", "&from=nowhere"])
def test_a_mount_of_what_is_not_there_begins_an_upload(served: Asker, source: str) -> None:
    served.blob("one", DATA)
    told = served.ask("POST", f"/v2/two/blobs/uploads/?mount={NOWHERE}{source}", b"")
    assert told.status == 202
    assert served.ask("PUT", f"{told.headers['location']}?digest={digest_of(b'x')}", b"x").status == 201


def test_blobs_are_seen_in_their_own_repository_only(served: Asker) -> None:
    digest = served.blob("one", DATA)
    assert served.ask("GET", f"/v2/two/blobs/{digest}").status == 404


# Push: manifests


def test_a_manifest_keeps_its_bytes_and_its_type(served: Asker) -> None:
    data = json.dumps(served.document("a"), indent=3).encode() + b"\n"
    digest = served.manifest("a", "v1", data)
    for reference in ("v1", digest):
        told = served.ask("GET", f"/v2/a/manifests/{reference}")
        assert (told.status, told.body, told.headers["content-type"]) == (200, data, MANIFEST)
        assert told.headers["docker-content-digest"] == digest
        head = served.ask("HEAD", f"/v2/a/manifests/{reference}")
        assert (head.body, head.headers["content-length"]) == (b"", str(len(data)))
        assert head.headers["content-type"] == MANIFEST


def test_a_manifest_by_digest_has_its_type_too(served: Asker) -> None:
    child = served.image("a", None)
    entry = {"mediaType": MANIFEST, "digest": child, "size": 1}
    index = served.manifest("a", None, {"schemaVersion": 2, "manifests": [entry]}, INDEX)
    assert served.ask("GET", f"/v2/a/manifests/{index}").headers["content-type"] == INDEX
    assert served.ask("GET", "/v2/a/tags/list").json == {"name": "a", "tags": []}


def test_a_manifest_in_chunks_of_unknown_length(served: Asker) -> None:
    data = json.dumps(served.document("a")).encode()
    told = served.ask("PUT", "/v2/a/manifests/v1", iter([data[:9], data[9:]]), Content_Type=MANIFEST)
    assert told.status == 201


def test_a_manifest_under_sha512(served: Asker) -> None:
    data = json.dumps(served.document("a")).encode()
    digest = digest_of(data, "sha512")
    told = served.ask("PUT", f"/v2/a/manifests/{digest}", data, Content_Type=MANIFEST)
    assert (told.status, told.headers["docker-content-digest"]) == (201, digest)
    assert served.ask("GET", f"/v2/a/manifests/{digest}").body == data


def test_a_manifest_with_more_tags(served: Asker) -> None:
    data = json.dumps(served.document("a")).encode()
    told = served.ask("PUT", f"/v2/a/manifests/{digest_of(data)}?tag=one&tag=two", data, Content_Type=MANIFEST)
    assert told.status == 201
    assert [value for name, value in told.all if name == "oci-tag"] == ["one", "two"]
    assert served.ask("GET", "/v2/a/tags/list").json["tags"] == ["one", "two"]


def test_a_tag_moves_and_what_it_was_on_stays(served: Asker) -> None:
    before, after = served.image("a", "v1", "before"), served.image("a", "v1", "after")
    assert served.ask("GET", "/v2/a/manifests/v1").headers["docker-content-digest"] == after
    assert served.ask("GET", f"/v2/a/manifests/{before}").status == 200
    assert served.ask("GET", "/v2/a/tags/list").json["tags"] == ["v1"]


@pytest.mark.parametrize(
    ("reference", "data", "kind", "status", "code"),
    [
        ("sha256:baddigeststring", b"{}", MANIFEST, 400, "DIGEST_INVALID"),
        (NOWHERE, b'{"schemaVersion":2,"manifests":[]}', INDEX, 400, "DIGEST_INVALID"),
        ("v1", b"no json", MANIFEST, 400, "MANIFEST_INVALID"),
        ("v1", b"[]", MANIFEST, 400, "MANIFEST_INVALID"),
        ("v1", b"{}", MANIFEST, 400, "MANIFEST_INVALID"),
        ("v1", b"{}", "", 400, "MANIFEST_INVALID"),
        ("v1", b'{"schemaVersion":1,"manifests":[]}', INDEX, 400, "MANIFEST_INVALID"),
        ("v1", b'{"schemaVersion":2,"manifests":[],"manifests":[]}', INDEX, 400, "MANIFEST_INVALID"),
        (
            "v1",
            b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % MANIFEST.encode(),
            INDEX,
            400,
            "MANIFEST_INVALID",
        ),
        ("v1", b'{"schemaVersion":2,"manifests":[]}', MANIFEST, 400, "MANIFEST_INVALID"),
        ("v1", b'{"a":' * 100_000, INDEX, 400, "MANIFEST_INVALID"),
        ("-bad", b'{"schemaVersion":2,"manifests":[]}', INDEX, 400, "MANIFEST_INVALID"),
        ("v" * 129, b'{"schemaVersion":2,"manifests":[]}', INDEX, 400, "MANIFEST_INVALID"),
        ("v1", b" " * (8 * 1024 * 1024 + 1), INDEX, 413, "SIZE_INVALID"),
    ],
)
def test_what_is_no_manifest_is_refused(
    served: Asker, reference: str, data: bytes, kind: str, status: int, code: str
) -> None:
    told = served.ask("PUT", f"/v2/a/manifests/{reference}", data, Content_Type=kind)
    assert (told.status, told.code) == (status, code)
    assert served.ask("GET", "/v2/a/tags/list").status == 404


def test_a_manifest_of_more_than_four_mebibytes(served: Asker) -> None:
    document = {"schemaVersion": 2, "manifests": [], "annotations": {"a": "x" * (5 * 1024 * 1024)}}
    served.manifest("a", "v1", document, INDEX)


def test_an_endless_manifest_is_cut(served: Asker) -> None:
    told = served.ask("PUT", "/v2/a/manifests/v1", (b" " * 65536 for _ in range(129)), Content_Type=MANIFEST)
    assert told.status == 413


def test_a_manifest_whose_blob_is_not_there_is_refused(served: Asker) -> None:
    document = served.document("a")
    document["layers"][0]["digest"] = NOWHERE
    told = served.ask("PUT", "/v2/a/manifests/v1", json.dumps(document).encode(), Content_Type=MANIFEST)
    assert (told.status, told.code) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert told.json["errors"][0]["detail"] == {"digest": NOWHERE}


@pytest.mark.parametrize(
    "more",
    [
        {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"},
        {"mediaType": "text/plain", "urls": ["https://example.com/layer"]},
    ],
)
def test_a_layer_that_may_be_elsewhere_need_not_be_there(served: Asker, more: dict[str, object]) -> None:
    document = served.document("a")
    document["layers"][0] |= {**more, "digest": NOWHERE}
    served.manifest("a", "v1", document)


def test_a_sparse_registry_takes_what_is_incomplete(tmp_path: Path) -> None:
    with answering(tmp_path / "registry", sparse=True) as served:
        entry = {"mediaType": MANIFEST, "digest": NOWHERE, "size": 5}
        served.manifest("a", "v1", {"schemaVersion": 2, "manifests": [entry]}, INDEX)


@pytest.mark.parametrize(
    "members",
    [
        {"layers": []},
        {"custom": {"deep": [1, 2.5, None]}},
        {"artifactType": "application/x", "annotations": {"a": "b"}},
        {
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": digest_of(b"{}"),
                "size": 2,
                "data": "e30=",
            }
        },
    ],
)
def test_manifests_of_many_kinds_are_taken(served: Asker, members: dict[str, object]) -> None:
    served.image("a", "v1", **members)
    assert served.ask("GET", "/v2/a/manifests/v1").status == 200


# Content discovery


def attach(served: Asker, subject: str, text: str, **members: object) -> str:
    about = {"mediaType": MANIFEST, "digest": subject, "size": 10}
    document = served.document("a", text, subject=about, **members)
    data = json.dumps(document).encode()
    told = served.ask("PUT", f"/v2/a/manifests/{digest_of(data)}", data, Content_Type=MANIFEST)
    assert (told.status, told.headers["oci-subject"]) == (201, subject)
    return digest_of(data)


def test_no_referrers_is_an_empty_index_even_where_nothing_is(served: Asker) -> None:
    told = served.ask("GET", f"/v2/not/yet/there/referrers/{NOWHERE}")
    assert (told.status, told.headers["content-type"]) == (200, INDEX)
    assert told.json == {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    assert served.ask("GET", "/v2/a/referrers/sha256:bad").code == "DIGEST_INVALID"


def test_referrers_are_listed_and_filtered_also_without_their_subject(served: Asker) -> None:
    subject = served.image("a", "v1")
    one = attach(served, subject, "one", artifactType="application/one", annotations={"k": "v"})
    two = attach(served, subject, "two")
    told = served.ask("GET", f"/v2/a/referrers/{subject}")
    found = {entry["digest"]: entry for entry in told.json["manifests"]}
    assert found[one]["artifactType"] == "application/one"
    assert found[one]["annotations"] == {"k": "v"}
    assert found[one]["size"] == len(served.ask("GET", f"/v2/a/manifests/{one}").body)
    assert found[two]["artifactType"] == "application/vnd.oci.empty.v1+json"
    assert "annotations" not in found[two]
    told = served.ask("GET", f"/v2/a/referrers/{subject}?artifactType=application/one")
    assert told.headers["oci-filters-applied"] == "artifactType"
    assert [entry["digest"] for entry in told.json["manifests"]] == [one]
    assert served.ask("DELETE", f"/v2/a/manifests/{subject}").status == 202
    assert len(served.ask("GET", f"/v2/a/referrers/{subject}").json["manifests"]) == 2
    assert served.ask("DELETE", f"/v2/a/manifests/{one}").status == 202
    assert len(served.ask("GET", f"/v2/a/referrers/{subject}").json["manifests"]) == 1


def test_an_index_refers_too(served: Asker) -> None:
    about = {"mediaType": MANIFEST, "digest": NOWHERE, "size": 10}
    index = served.manifest("a", "v1", {"schemaVersion": 2, "manifests": [], "subject": about}, INDEX)
    found = served.ask("GET", f"/v2/a/referrers/{NOWHERE}").json["manifests"]
    assert [(entry["digest"], "artifactType" in entry) for entry in found] == [(index, False)]


def test_referrers_that_a_client_kept_under_a_tag_are_listed(served: Asker) -> None:
    child = served.image("a", None)
    entry = {"mediaType": MANIFEST, "digest": child, "size": 1, "artifactType": "application/old"}
    served.manifest("a", NOWHERE.replace(":", "-"), {"schemaVersion": 2, "manifests": [entry]}, INDEX)
    assert served.ask("GET", f"/v2/a/referrers/{NOWHERE}").json["manifests"] == [entry]


def pages(served: Asker, path: str, member: str) -> Iterator[list[str]]:
    for _ in range(20):
        told = served.ask("GET", path)
        yield told.json[member]
        if "link" not in told.headers:
            return
        assert told.headers["link"].endswith('; rel="next"')
        path = told.headers["link"].partition(">")[0].removeprefix("<")


def test_tags_are_sorted_and_come_in_pages(served: Asker) -> None:
    for tag in ("c", "a", "B", "d", "b"):
        served.image("a", tag)
    assert served.ask("GET", "/v2/a/tags/list").json == {"name": "a", "tags": ["B", "a", "b", "c", "d"]}
    assert list(pages(served, "/v2/a/tags/list?n=2", "tags")) == [["B", "a"], ["b", "c"], ["d"]]
    assert served.ask("GET", "/v2/a/tags/list?n=2&last=b").json["tags"] == ["c", "d"]
    assert served.ask("GET", "/v2/a/tags/list?last=bb").json["tags"] == ["c", "d"]
    none = served.ask("GET", "/v2/a/tags/list?n=0")
    assert (none.json["tags"], "link" in none.headers) == ([], False)
    assert served.ask("GET", "/v2/a/tags/list?n=x").status == 400


def test_a_long_list_is_cut_without_being_asked_to(served: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "MOST_AT_ONCE", 2)
    for tag in ("a", "b", "c"):
        served.image("a", tag)
    assert list(pages(served, "/v2/a/tags/list", "tags")) == [["a", "b"], ["c"]]
    for text in ("1", "2", "3"):
        attach(served, NOWHERE, text)
    got = list(pages(served, f"/v2/a/referrers/{NOWHERE}", "manifests"))
    assert [len(page) for page in got] == [2, 1]


def test_the_catalog_lists_repositories(served: Asker) -> None:
    assert served.ask("GET", "/v2/_catalog").json == {"repositories": []}
    for name in ("b", "a/x", "a", "blobs", "x/blobs/y", "x"):
        served.image(name, "v1")
    served.blob("only-a-blob", DATA)
    want = ["a", "a/x", "b", "blobs", "x", "x/blobs/y"]
    assert served.ask("GET", "/v2/_catalog").json["repositories"] == want
    assert [name for page in pages(served, "/v2/_catalog?n=4", "repositories") for name in page] == want


# Content management


def test_a_tag_is_deleted_and_its_manifest_stays(served: Asker) -> None:
    digest = served.image("a", "v1")
    assert served.ask("DELETE", "/v2/a/manifests/v1").status == 202
    assert served.ask("GET", "/v2/a/manifests/v1").status == 404
    assert served.ask("GET", f"/v2/a/manifests/{digest}").status == 200
    assert served.ask("GET", "/v2/a/tags/list").json["tags"] == []
    assert served.ask("DELETE", "/v2/a/manifests/v1").code == "MANIFEST_UNKNOWN"


def test_a_manifest_is_deleted_with_its_tags(served: Asker) -> None:
    digest, other = served.image("a", "v1"), served.image("a", "other", "other")
    assert served.image("a", "v2") == digest
    assert served.ask("DELETE", f"/v2/a/manifests/{digest}").status == 202
    for reference in (digest, "v1", "v2"):
        assert served.ask("HEAD", f"/v2/a/manifests/{reference}").status == 404
    assert served.ask("GET", "/v2/a/tags/list").json["tags"] == ["other"]
    assert served.ask("GET", f"/v2/a/manifests/{other}").status == 200
    assert served.ask("DELETE", f"/v2/a/manifests/{digest}").code == "MANIFEST_UNKNOWN"


def test_a_blob_is_deleted_at_once(served: Asker) -> None:
    digest = served.blob("a", DATA)
    assert served.ask("DELETE", f"/v2/a/blobs/{digest}").status == 202
    assert served.ask("HEAD", f"/v2/a/blobs/{digest}").status == 404
    assert served.ask("DELETE", f"/v2/a/blobs/{digest}").code == "BLOB_UNKNOWN"


def test_a_manifest_is_not_deleted_as_a_blob(served: Asker) -> None:
    digest = served.image("a", "v1")
    told = served.ask("DELETE", f"/v2/a/blobs/{digest}")
    assert (told.status, told.code) == (405, "UNSUPPORTED")


# Everything else


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/v2/"), ("POST", "/v2/a/tags/list"), ("PATCH", "/v2/a/manifests/v1"), ("POST", f"/v2/a/blobs/{NOWHERE}")],
)
def test_a_method_that_is_not_for_this_is_405(served: Asker, method: str, path: str) -> None:
    told = served.ask(method, path, b"")
    assert (told.status, told.code) == (405, "UNSUPPORTED")
    assert "GET" in told.headers["allow"]


@pytest.mark.parametrize("path", ["/", "/v1/", "/v2/a", "/v2/a/manifests", "/v2/a/manifests/v1/x", "/favicon.ico"])
def test_an_address_that_is_none_is_404(served: Asker, path: str) -> None:
    told = served.ask("GET", path)
    assert (told.status, told.headers["content-type"]) == (404, "application/json")
    assert told.headers["x-content-type-options"] == "nosniff"
    assert told.headers["content-security-policy"].startswith("default-src 'none'")
