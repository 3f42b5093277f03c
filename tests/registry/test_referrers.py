"""What refers to a manifest: by the API, and by the list under a tag; and everything that looks like one and is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import RegistryError
from ocibuild.registry import referrers as listing
from ocibuild.registry.client import Client
from ocibuild.registry.settings import Patience, Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import EMPTY, Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.spec.reference import Reference
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Scripted, Seen, Server

INDEX = "application/vnd.oci.image.index.v1+json"
QUICK = Settings(patience=Patience(attempts=2, first=0.01))
CONFIG = Blob.of(mediatype.CONFIG, b'{"os":"wasi"}')
IMAGE = Blob.of(mediatype.MANIFEST, Manifest(CONFIG.descriptor, ()).to_bytes())
NOTHING = Blob.of(EMPTY.media_type, b"{}")
# distribution-spec, "Referrers Tag Schema": the digest's colon becomes a dash.
TAG = "sha256-" + IMAGE.descriptor.digest[7:]


def on(subject: Descriptor, artifact_type: str | None = "text/x", note: str = "1") -> Blob:
    """An artifact whose subject is that."""
    config = NOTHING.descriptor if artifact_type else CONFIG.descriptor
    manifest = Manifest(config, (), {"note": note}, artifact_type, subject.bare)
    return Blob.of(mediatype.MANIFEST, manifest.to_bytes())


def store(server: Server, settings: Settings = QUICK) -> RegistryStore:
    return RegistryStore(Reference.parse(f"{server.host}/hello:1"), settings)


def push(server: Server, *blobs: Blob) -> None:
    with Flow.open() as flow, store(server) as target:
        for blob in (CONFIG, NOTHING, *blobs):
            target.push(blob, flow)


def kept(registry: Registry, tag: str = TAG) -> list[dict[str, object]]:
    """The list under the tag, as it lies in the registry."""
    kind, data = registry.manifests["hello", registry.tags["hello", tag]]
    document = json.loads(data)
    assert (kind, document["mediaType"], document["schemaVersion"]) == (INDEX, INDEX, 2)
    return list(document["manifests"])


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_SETTLE", 0.05)


@pytest.fixture
def plain() -> Iterator[Registry]:
    """A registry without the API."""
    with Registry() as registry:
        yield registry


@pytest.fixture
def modern() -> Iterator[Registry]:
    """A registry with the API."""
    with Registry(referrers=True) as registry:
        yield registry


# Pushing.


def test_a_registry_that_notes_the_subject_is_left_alone(modern: Registry) -> None:
    mine = on(IMAGE.descriptor)
    push(modern, IMAGE, mine)
    assert modern.tags == {}
    (found,) = store(modern).referrers(IMAGE.descriptor)
    assert (found.key, found.artifact_type, found.annotations) == (mine.descriptor.key, "text/x", {"note": "1"})


def test_without_oci_subject_the_list_is_kept_under_the_tag(plain: Registry) -> None:
    one, two = on(IMAGE.descriptor, "text/x"), on(IMAGE.descriptor, None, "2")
    push(plain, IMAGE, one)
    push(plain, two)
    assert kept(plain) == [
        {**one.descriptor.to_json(), "annotations": {"note": "1"}, "artifactType": "text/x"},
        # Without an artifact type it is the config's media type that says what it is.
        {**two.descriptor.to_json(), "annotations": {"note": "2"}, "artifactType": mediatype.CONFIG},
    ]
    assert [entry.digest for entry in store(plain).referrers(IMAGE.descriptor)] == [
        one.descriptor.digest,
        two.descriptor.digest,
    ]


def test_many_at_once_are_written_down_at_once(plain: Registry) -> None:
    push(plain, IMAGE, *(on(IMAGE.descriptor, note=str(n)) for n in range(20)))
    assert len(kept(plain)) == 20
    assert len(plain.requests("PUT", f"/manifests/{TAG}")) == 1


def test_pushing_again_lists_nothing_twice(plain: Registry) -> None:
    mine = on(IMAGE.descriptor)
    for _ in range(2):
        push(plain, IMAGE, mine)
    assert len(kept(plain)) == 1
    assert len(plain.requests("PUT", f"/manifests/{TAG}")) == 1


def test_one_that_was_pushed_and_never_listed_is_listed_by_the_next_push(plain: Registry) -> None:
    """Whoever pushed it died in between."""
    mine = on(IMAGE.descriptor)
    push(plain, IMAGE, mine)
    del plain.tags["hello", TAG]
    push(plain, mine)
    assert [entry["digest"] for entry in kept(plain)] == [mine.descriptor.digest]


def test_an_index_can_refer_too(plain: Registry) -> None:
    mine = Blob.of(mediatype.INDEX, Index((), {"a": "b"}, None, IMAGE.descriptor.bare).to_bytes())
    push(plain, IMAGE, mine)
    assert kept(plain) == [{**mine.descriptor.to_json(), "annotations": {"a": "b"}}]


def test_the_subject_need_not_be_there(plain: Registry) -> None:
    push(plain, on(IMAGE.descriptor))
    assert len(kept(plain)) == 1


def test_a_sha512_subject_has_a_tag_of_its_own() -> None:
    # distribution-spec: at most 32 characters of the algorithm and 64 of the digest.
    digest = Digest("sha512:" + "ab" * 64)
    assert listing.tag_of(digest) == "sha512-" + "ab" * 32


def test_what_others_wrote_into_the_list_stays(plain: Registry) -> None:
    first = on(IMAGE.descriptor, note="first")
    push(plain, IMAGE, first)
    document = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "annotations": {"by": "another"},
        "manifests": [{**first.descriptor.to_json(), "x-more": [1]}],
    }
    theirs = json.dumps(document).encode()
    plain.manifests["hello", Digest.of(theirs)] = (INDEX, theirs)
    plain.tags["hello", TAG] = Digest.of(theirs)
    push(plain, on(IMAGE.descriptor, note="second"))
    again = json.loads(plain.manifests["hello", plain.tags["hello", TAG]][1])
    assert (again["annotations"], again["manifests"][0]["x-more"], len(again["manifests"])) == (
        {"by": "another"},
        [1],
        2,
    )


def test_a_tag_that_is_something_else_is_not_written_over(plain: Registry) -> None:
    push(plain, IMAGE)
    other = Blob.of(mediatype.MANIFEST, Manifest(CONFIG.descriptor, (), {"an": "image"}).to_bytes())
    push(plain, other)
    plain.tags["hello", TAG] = other.descriptor.digest
    with pytest.raises(RegistryError) as caught:
        push(plain, on(IMAGE.descriptor))
    assert caught.value.code == "referrers-tag-taken"
    assert plain.tags["hello", TAG] == other.descriptor.digest
    with pytest.raises(RegistryError) as caught:
        store(plain).referrers(IMAGE.descriptor)
    assert caught.value.code == "referrers-tag-taken"


class GitLab(Registry):
    """Its tag sha256-<hex> is the manifest sha256:<hex> itself."""

    def _manifest(self, name: str, last: str) -> Answer:
        return super()._manifest(name, last.replace("sha256-", "sha256:"))


@pytest.mark.parametrize("subject", [IMAGE, Blob.of(mediatype.INDEX, Index((IMAGE.descriptor,)).to_bytes())])
def test_gitlabs_tag_that_is_the_subject_itself_is_never_written_over(subject: Blob) -> None:
    """An index is the worse case: it would look like a list."""
    with GitLab() as registry:
        push(registry, IMAGE, *([subject] if subject is not IMAGE else []))
        assert store(registry).referrers(subject.descriptor) == ()
        with pytest.raises(RegistryError) as caught:
            push(registry, on(subject.descriptor))
        assert caught.value.code == "referrers-unsupported"
        assert registry.tags == {}


def test_orass_own_push_keeps_the_list_as_well(plain: Registry) -> None:
    push(plain, IMAGE)
    mine = on(IMAGE.descriptor)
    client = Client(plain.host, insecure=True)
    client.upload_manifest(json.loads(mine.content.data), client.get_container(f"{plain.host}/hello:sbom"))  # type: ignore[attr-defined]
    assert [entry["digest"] for entry in kept(plain)] == [mine.descriptor.digest]


# Races (fault 84).


class Racing(Registry):
    """Loses updates: between our reading the list and our writing it, and after, another client has its turn."""

    def __init__(self, other: Blob, times: int) -> None:
        super().__init__()
        self.other, self.times = other, times
        self.manifests["hello", other.descriptor.digest] = (mediatype.MANIFEST, on(IMAGE.descriptor).content.data)  # type: ignore[attr-defined]

    def respond(self, request: Seen) -> Answer:
        answer = super().respond(request)
        if request.method == "PUT" and request.path.endswith(TAG) and self.times:
            # It had read what we read, and writes over us.
            self.times -= 1
            entry = {**self.other.descriptor.to_json(), "artifactType": "text/x"}
            body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
            self.manifests["hello", Digest.of(body)] = (INDEX, body)
            self.tags["hello", TAG] = Digest.of(body)
        return answer


@pytest.mark.fault(84)
@pytest.mark.parametrize("times", [1, 4])
def test_a_lost_update_is_seen_and_made_again(times: int) -> None:
    mine, other = on(IMAGE.descriptor, note="mine"), on(IMAGE.descriptor, note="other")
    with Racing(other, times) as registry:
        push(registry, IMAGE, mine)
        assert {entry["digest"] for entry in kept(registry)} == {mine.descriptor.digest, other.descriptor.digest}


@pytest.mark.fault(84)
def test_a_list_that_never_keeps_our_entry_is_given_up() -> None:
    mine, other = on(IMAGE.descriptor, note="mine"), on(IMAGE.descriptor, note="other")
    with Racing(other, 10_000) as registry:
        with pytest.raises(RegistryError) as caught:
            push(registry, IMAGE, mine)
        assert caught.value.code == "referrers-lost"
        assert len(registry.requests("PUT", TAG)) <= 20
        assert ("hello", mine.descriptor.digest) in registry.manifests


class Tagged(Registry):
    """Gives ETags to manifests, and keeps to If-Match: RFC 9110, section 13.1.1."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = threading.Lock()
        self.refused = 0

    def respond(self, request: Seen) -> Answer:
        with self.turn:
            wanted = request.headers.get("if-match")
            if request.method == "PUT" and wanted and wanted != f'"{self.tags.get(("hello", TAG))}"':
                self.refused += 1
                return Answer(412)
            answer = super().respond(request)
            digest = answer.headers.get("Docker-Content-Digest")
            return Answer(answer.status, {**answer.headers, "ETag": f'"{digest}"'}, answer.body) if digest else answer


@pytest.mark.fault(84)
def test_an_etag_that_was_seen_is_held_to() -> None:
    with Tagged() as registry:
        push(registry, IMAGE, on(IMAGE.descriptor, note="first"))
        threads = [threading.Thread(target=push, args=(registry, on(IMAGE.descriptor, note=str(n)))) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(kept(registry)) == 5
        writes = registry.requests("PUT", f"/manifests/{TAG}")
        assert all("if-match" in request.headers for request in writes[1:])


@pytest.mark.fault(84)
def test_eight_clients_at_once_are_all_listed(plain: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_SETTLE", 0.5)  # as it is; the machine may be busy
    push(plain, IMAGE)
    mine = [on(IMAGE.descriptor, note=str(n)) for n in range(8)]
    threads = [threading.Thread(target=push, args=(plain, blob)) for blob in mine]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {entry["digest"] for entry in kept(plain)} == {blob.descriptor.digest for blob in mine}


# Asking.


def entry(n: int, artifact_type: str | None = None) -> dict[str, object]:
    found: dict[str, object] = Blob.of(mediatype.MANIFEST, b"%d" % n).descriptor.to_json()
    return {**found, "artifactType": artifact_type} if artifact_type else found


def answer(*entries: dict[str, object], **headers: str) -> Answer:
    body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(entries)}).encode()
    return Answer(200, {"Content-Type": INDEX, **headers}, body)


API = f"GET /v2/hello/referrers/{IMAGE.descriptor.digest}.*"
FALLBACK = f"GET /v2/hello/manifests/{TAG}"


def test_pages_of_the_api_are_followed() -> None:
    base = f"/v2/hello/referrers/{IMAGE.descriptor.digest}"
    first, second = answer(entry(1), Link=f'<{base}?next=2>; rel="next"'), answer(entry(1), entry(2))
    with Scripted({API: [first, second]}) as server:
        assert len(store(server).referrers(IMAGE.descriptor)) == 2
        assert server.seen[-1].path == f"{base}?next=2"


def test_pages_of_the_api_that_go_in_a_circle_end() -> None:
    base = f"/v2/hello/referrers/{IMAGE.descriptor.digest}"
    with Scripted({API: answer(entry(1), Link=f'<{base}>; rel="next"')}) as server:
        with pytest.raises(RegistryError) as caught:
            store(server).referrers(IMAGE.descriptor)
        assert caught.value.code == "list-endless"


def test_a_second_page_that_is_gone_is_no_short_list() -> None:
    base = f"/v2/hello/referrers/{IMAGE.descriptor.digest}"
    first = answer(entry(1), Link=f'<{base}?next=2>; rel="next"')
    with Scripted({API: [first, Answer(404)]}) as server, pytest.raises(RegistryError, match="only in part"):
        store(server).referrers(IMAGE.descriptor)


@pytest.mark.parametrize("filtered", [True, False])
def test_one_type_is_asked_for_whether_or_not_the_registry_filters(filtered: bool) -> None:
    """OCI-Filters-Applied tells whether it did."""
    entries = [entry(1, "text/x"), entry(2, "text/y")]

    def respond(request: Seen) -> Answer:
        asked = parse_qs(urlsplit(request.path).query)["artifactType"]
        assert asked == ["text/x"]
        if filtered:
            return answer(entries[0], **{"OCI-Filters-Applied": "artifactType"})
        return answer(*entries)

    with Server(respond) as server:
        (found,) = store(server).referrers(IMAGE.descriptor, "text/x")
        assert found.artifact_type == "text/x"


def test_the_list_under_a_tag_is_filtered_here(plain: Registry) -> None:
    push(plain, IMAGE, on(IMAGE.descriptor, "text/x"), on(IMAGE.descriptor, "text/y"))
    assert [found.artifact_type for found in store(plain).referrers(IMAGE.descriptor, "text/y")] == ["text/y"]


HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    "no",
    [
        Answer(404),
        Answer(400, {"Content-Type": "application/json"}, b'{"errors":[{"code":"UNSUPPORTED"}]}'),
        Answer(405),
        Answer(501),
        Answer(429),
        Answer(200, HTML, b"<title>a page</title>"),
        Answer(200, {"Content-Type": "application/json"}, b"{}"),
        Answer(303, {"Location": "/login"}),
        Answer(302, {"Location": "/login"}),
    ],
    ids=lambda no: f"{no.status} {no.headers.get('Content-Type', '')}",
)
def test_a_registry_without_the_api_is_asked_for_the_tag(no: Answer) -> None:
    with Scripted({API: no, FALLBACK: answer(entry(1))}) as server:
        assert [found.digest for found in store(server).referrers(IMAGE.descriptor)] == [entry(1)["digest"]]
        assert server.requests("GET", "/login") == []


def test_ghcrs_way_to_a_web_page_is_not_gone() -> None:
    with Scripted({"GET /.*": Answer(200, HTML, b"<title>GitHub</title>")}) as page:
        gone = Answer(303, {"Location": f"{page.url}/hello"})
        with Scripted({API: gone, FALLBACK: Answer(404)}) as server:
            assert store(server).referrers(IMAGE.descriptor) == ()
        assert page.seen == []


def test_a_redirect_that_keeps_the_question_is_followed() -> None:
    """Some registries are only the face of another."""
    with Scripted({"GET /elsewhere": answer(entry(1))}) as behind:
        with Scripted({API: Answer(307, {"Location": f"{behind.url}/elsewhere"})}) as server:
            assert len(store(server).referrers(IMAGE.descriptor)) == 1
        assert "authorization" not in behind.seen[0].headers


@pytest.mark.parametrize("status, code", [(403, "forbidden"), (500, "registry-failing")])
def test_a_refusal_is_no_empty_list(status: int, code: str) -> None:
    with Scripted({API: Answer(status)}) as server:
        with pytest.raises(RegistryError) as caught:
            store(server).referrers(IMAGE.descriptor)
        assert caught.value.code == code


def test_neither_api_nor_tag_is_nothing_attached(plain: Registry) -> None:
    assert store(plain).referrers(IMAGE.descriptor) == ()


# Deleting.


def test_a_deleted_referrer_leaves_the_list(plain: Registry) -> None:
    one, two = on(IMAGE.descriptor, note="1"), on(IMAGE.descriptor, note="2")
    push(plain, IMAGE, one, two)
    with store(plain) as target:
        target.delete(one.descriptor)
        target.delete(target.resolve(two.descriptor.digest))
    assert kept(plain) == []
    assert store(plain).referrers(IMAGE.descriptor) == ()


def test_a_deleted_referrer_of_a_registry_with_the_api_costs_no_list(modern: Registry) -> None:
    mine = on(IMAGE.descriptor)
    push(modern, IMAGE, mine)
    with store(modern) as target:
        target.delete(mine.descriptor)
    assert modern.requests("PUT", TAG) == []


def test_an_entry_that_is_gone_does_not_keep_others_from_being_listed(plain: Registry) -> None:
    """This double, as docker's registry, refuses an index with something in it that is not there."""
    one = on(IMAGE.descriptor, note="1")
    push(plain, IMAGE, one)
    del plain.manifests["hello", one.descriptor.digest]
    two = on(IMAGE.descriptor, note="2")
    push(plain, two)
    assert [found["digest"] for found in kept(plain)] == [two.descriptor.digest]
