"""How blobs are sent when one PUT does not do: continued, cut into chunks, told how far they are, or lied to."""

import os
from dataclasses import replace
from itertools import pairwise

import pytest

from ocibuild.content.blob import Blob, Bytes
from ocibuild.content.flow import Flow
from ocibuild.errors import ContentError, NetworkError, RegistryError
from ocibuild.registry.limits import MIB
from ocibuild.registry.settings import Patience, Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Pushed, fetch
from ocibuild.store.copy import copy
from ocibuild.store.memory import MemoryStore
from tests.registry import ours
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Seen

BLOB = Blob.of(mediatype.LAYER, os.urandom(5 * MIB + 17))
SIZE = BLOB.descriptor.size
QUICK = Patience(attempts=4, first=0.01, longest=0.02, asked=2)


class Breaking(Registry):
    """Breaks the connection after so many bytes of a body; what came until then is kept, as distribution does it."""

    def __init__(self, *after: int, method: str = "PUT", keeps: bool = True, **kinds) -> None:
        super().__init__(**kinds)
        self.after, self.method, self.keeps = list(after), method, keeps

    def early(self, method: str, path: str) -> Answer | None:
        if method == self.method and "/blobs/uploads/" in path and self.after:
            return Answer(read=self.after.pop(0), reset=True)
        return None

    def keep(self, request: Seen) -> None:
        super().keep(request)
        upload = request.path.rpartition("/")[2].partition("?")[0]
        length = int(request.headers.get("content-length") or 0)
        if self.keeps and len(request.body) < length and upload in self.uploads:
            self.uploads[upload] += request.body


class Changing(Registry):
    """A registry whose answers to PATCH are not what they should be: `change` makes others of them, `times` in all."""

    def __init__(self, change, times: int = 1_000, **kinds) -> None:
        super().__init__(**kinds)
        self.change, self.times = change, times

    def respond(self, request: Seen) -> Answer:
        answer = super().respond(request)
        if request.method != "PATCH" or not self.times:
            return answer
        self.times -= 1
        return self.change(answer, request, self)


def store(registry, repository="a", **settings) -> RegistryStore:
    return RegistryStore(
        Reference.parse(f"{registry.host}/{repository}:1"), Settings(**{"patience": QUICK, **settings})
    )


def push(registry, blob=BLOB, observe=None, **settings) -> Pushed:
    with Flow.open(observe or (lambda event: None)) as flow:
        return store(registry, **settings).push(blob, flow)


def arrived(registry, blob=BLOB) -> bool:
    return registry.blobs.get(("a", blob.descriptor.digest)) == blob.content.data


def ranges(registry) -> list[str]:
    return [request.headers["content-range"] for request in registry.requests("PATCH")]


# A connection that breaks.


@pytest.fixture(params=[Breaking, ours.Breaking])
def breaking(request):
    return request.param


@pytest.mark.fault(10, 12)
def test_a_broken_put_is_continued_from_what_the_registry_has(breaking):
    events = []
    with breaking(2_000_000) as registry:
        assert push(registry, observe=events.append) is Pushed.WRITTEN
        assert arrived(registry)
        assert ranges(registry) == [f"2000000-{SIZE - 1}"]
        assert len(registry.requests("POST")) == 1
    assert sum(event.amount for event in events if event.kind == "advance") == SIZE
    assert any("on from byte 2000000" in event.text for event in events if event.kind == "retry")


@pytest.mark.fault(10)
def test_a_broken_put_of_which_nothing_was_kept_is_sent_again():
    with Breaking(2_000_000, keeps=False) as registry:
        assert push(registry) is Pushed.WRITTEN
        assert arrived(registry)
        assert [len(request.body) for request in registry.requests("PUT")] == [2_000_000, SIZE]
        assert not ranges(registry)


@pytest.mark.fault(10)
def test_every_break_that_brings_something_may_be_followed_by_another(breaking):
    # More breaks than attempts: what counts is that each one left more with the registry.
    with breaking(*[700_000] * 6, method="PATCH") as registry:
        assert push(registry, chunk_size=SIZE) is Pushed.WRITTEN
        assert arrived(registry)
        assert [request.headers["content-range"] for request in registry.requests("PATCH")] == [
            f"{n * 700_000}-{SIZE - 1}" for n in range(7)
        ]


def test_breaks_that_bring_nothing_end(breaking):
    with breaking(*[0] * 50) as registry, pytest.raises(NetworkError) as caught:
        push(registry)
    assert caught.value.code == "connection-lost"
    assert len(registry.requests("PUT")) == QUICK.attempts


def test_an_upload_given_up_is_taken_back(breaking):
    with breaking(*[0] * 50) as registry:
        with pytest.raises(NetworkError):
            push(registry)
        assert registry.requests("DELETE")
        assert len(registry.uploads) < len(registry.requests("POST"))


# Registries that do not take it in one.


@pytest.mark.fault(57)
def test_a_body_too_large_for_the_registry_goes_in_chunks():
    with Registry(largest=2 * MIB) as registry:
        assert push(registry) is Pushed.WRITTEN
        assert arrived(registry)
        assert max(len(request.body) for request in registry.requests("PATCH")[-2:]) <= 2 * MIB


def test_what_was_learned_holds_for_the_next_blob():
    other = Blob.of(mediatype.LAYER, os.urandom(3 * MIB))
    with Registry(largest=2 * MIB) as registry, Flow.open() as flow:
        target = store(registry)
        target.push(BLOB, flow)
        refused = len(registry.requests("PUT"))
        target.push(other, flow)
        assert arrived(registry, other)
        assert [len(request.body) for request in registry.requests("PUT")[refused:]] == [0]


@pytest.mark.fault(57)
def test_less_than_a_mebibyte_is_too_little():
    with Registry(largest=MIB - 1) as registry, pytest.raises(RegistryError) as caught:
        push(registry)
    assert caught.value.code == "too-large"
    assert "proxy" in (caught.value.hint or "")


@pytest.mark.fault(60)
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_chunks_on_request(extra):
    chunk = (SIZE + 2) // 3 + extra
    with Registry() as registry:
        assert push(registry, chunk_size=chunk) is Pushed.WRITTEN
        assert arrived(registry)
        bounds = [tuple(map(int, text.split("-"))) for text in ranges(registry)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == SIZE - 1
    assert all(later[0] == earlier[1] + 1 for earlier, later in pairwise(bounds))
    assert all(last - first + 1 == chunk for first, last in bounds[:-1])


@pytest.mark.fault(60)
@pytest.mark.parametrize("size", [0, 1])
def test_the_smallest_blobs_in_chunks(size):
    blob = Blob.of(mediatype.LAYER, b"x" * size)
    with Registry() as registry:
        push(registry, blob, chunk_size=1)
        assert arrived(registry, blob)


@pytest.mark.fault(56)
def test_the_registry_says_how_long_a_chunk_must_be():
    with Registry(shortest=2 * MIB) as registry:
        assert push(registry, chunk_size=MIB) is Pushed.WRITTEN
        assert arrived(registry)
        assert [len(request.body) for request in registry.requests("PATCH")] == [2 * MIB, 2 * MIB, SIZE - 4 * MIB]


@pytest.mark.fault(56)
@pytest.mark.parametrize("said", ["-5", "many", "1e3", "٣"])
def test_a_minimum_that_is_no_number_is_passed_over(said):
    class Odd(Registry):
        def _start(self, name, query):
            answer = super()._start(name, query)
            return replace(answer, headers={**answer.headers, "OCI-Chunk-Min-Length": said.encode().decode("latin-1")})

    with Odd() as registry:
        push(registry, chunk_size=4 * MIB)
        assert len(registry.requests("PATCH")) == 2


@pytest.mark.fault(56)
def test_a_minimum_beyond_reason_is_refused():
    with Registry(shortest=10 * 1024 * MIB) as registry, pytest.raises(RegistryError) as caught:
        push(registry, chunk_size=MIB)
    assert caught.value.code == "chunks-refused"


# What a registry says of how far it is.


@pytest.mark.fault(47)
def test_a_registry_that_took_less_gets_the_rest():
    def half(answer, request, registry):
        upload = request.path.rpartition("/")[2].partition("?")[0]
        registry.uploads[upload] = registry.uploads[upload][: -MIB // 2]
        return registry._uploading("a", upload)

    with Changing(half, times=1) as registry:
        assert push(registry, chunk_size=2 * MIB) is Pushed.WRITTEN
        assert arrived(registry)
        assert ranges(registry)[1].startswith(f"{2 * MIB - MIB // 2}-")


def without(name):
    return lambda answer, request, registry: replace(
        answer, headers={key: value for key, value in answer.headers.items() if key != name}
    )


def saying(text):
    return lambda answer, request, registry: replace(answer, headers={**answer.headers, "Range": text})


@pytest.mark.fault(48)
def test_no_range_means_all_of_it():
    with Changing(without("Range")) as registry:
        assert push(registry, chunk_size=2 * MIB) is Pushed.WRITTEN
        assert arrived(registry)
        assert not registry.requests("GET", "uploads")


@pytest.mark.fault(48)
@pytest.mark.parametrize("said", ["bytes 5", "0-999999999", "", "0-99999999999999999999999", "2097152-3000000"])
def test_a_range_that_cannot_be_is_asked_about(said):
    with Changing(saying(said), times=1) as registry:
        assert push(registry, chunk_size=2 * MIB) is Pushed.WRITTEN
        assert arrived(registry)
        assert len(registry.requests("GET", "uploads")) == 1


@pytest.mark.fault(49)
def test_a_range_that_does_not_move_is_asked_about_once_and_then_the_digest_tells():
    # As Amazon's registry was seen to do: it has the bytes, and goes on naming the first chunk's end.
    class Stuck(Changing):
        def respond(self, request):
            answer = super().respond(request)
            if request.method in ("PATCH", "GET") and "/uploads/" in request.path and "Range" in answer.headers:
                return replace(answer, headers={**answer.headers, "Range": f"0-{2 * MIB - 1}"})
            return answer

    with Stuck(lambda answer, request, registry: answer) as registry:
        assert push(registry, chunk_size=2 * MIB) is Pushed.WRITTEN
        assert arrived(registry)


@pytest.mark.fault(54)
@pytest.mark.parametrize("status", [201, 204, 200])
def test_other_kinds_of_yes_to_a_patch(status):
    with Changing(lambda answer, request, registry: replace(answer, status=status)) as registry:
        assert push(registry, chunk_size=2 * MIB) is Pushed.WRITTEN
        assert arrived(registry)


@pytest.mark.fault(31)
def test_an_answer_without_a_location_leaves_the_address_as_it_was():
    class Fixed(Changing):
        def _uploading(self, name, upload):
            answer = super()._uploading(name, upload)
            return replace(answer, headers={**answer.headers, "Location": f"/v2/{name}/blobs/uploads/{upload}?s=1"})

        def _upload(self, request, name, upload, query):
            state = f"_state=a%2Fb{len(self.uploads.get(upload, b''))}&empty="
            return super()._upload(replace(request, path=request.path.replace("s=1", state)), name, upload, query)

    with Fixed(without("Location")) as registry:
        assert push(registry, chunk_size=2 * MIB) is Pushed.WRITTEN
        assert arrived(registry)


@pytest.mark.fault(50)
def test_an_offset_the_registry_does_not_share_is_asked_for():
    class Behind(Registry):
        turns = 0

        def _append(self, request, name, upload):
            Behind.turns += 1
            return Answer(416) if Behind.turns == 2 else super()._append(request, name, upload)

    with Behind() as registry:
        assert push(registry, chunk_size=2 * MIB) is Pushed.WRITTEN
        assert arrived(registry)
        assert ranges(registry) == [f"0-{2 * MIB - 1}", *[f"{2 * MIB}-{4 * MIB - 1}"] * 2, f"{4 * MIB}-{SIZE - 1}"]


@pytest.mark.fault(51)
def test_an_upload_forgotten_in_the_middle_is_begun_anew():
    class Forgetful(Registry):
        turns = 0

        def _append(self, request, name, upload):
            Forgetful.turns += 1
            if Forgetful.turns == 2:
                del self.uploads[upload]
                return Answer(404, body=b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
            return super()._append(request, name, upload)

    with Forgetful() as registry:
        assert push(registry, chunk_size=2 * MIB) is Pushed.WRITTEN
        assert arrived(registry)
        assert len(registry.requests("POST")) == 2


# What is believed afterwards.


@pytest.mark.fault(55)
def test_a_registry_that_says_yes_and_has_nothing_is_found_out():
    class Liar(Registry):
        def _finish(self, request, name, upload, digest):
            super()._finish(request, name, upload, digest)
            self.blobs.clear()
            return Answer(201)

    with Liar() as registry, pytest.raises(RegistryError) as caught:
        push(registry)
    assert caught.value.code == "blob-unknown"


@pytest.mark.fault(55)
def test_a_blob_that_was_lost_before_the_manifest_came_is_sent_again():
    class Losing(Registry):
        lost = False

        def _put_manifest(self, request, name, last):
            if not self.lost:
                self.lost = True
                self.blobs.pop((name, BLOB.descriptor.digest))
            return super()._put_manifest(request, name, last)

    memory = MemoryStore("memory")
    config = Blob.of(mediatype.CONFIG, b"{}")
    manifest = Blob.of(
        mediatype.MANIFEST,
        b'{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}'
        % (mediatype.MANIFEST.encode(), described(config.descriptor), described(BLOB.descriptor)),
    )
    with Losing() as registry, Flow.open() as flow:
        for blob in (config, BLOB, manifest):
            memory.push(blob, flow)
        copied = copy(memory, manifest.descriptor, store(registry), names=["1"], flow=flow)
        assert arrived(registry)
        assert registry.tags["a", "1"] == copied.root.digest


def described(descriptor: Descriptor) -> bytes:
    text = f'{{"mediaType":"{descriptor.media_type}","digest":"{descriptor.digest}","size":{descriptor.size}}}'
    return text.encode()


# What is sent.


@pytest.mark.fault(59)
@pytest.mark.parametrize("chunk_size", [None, 2 * MIB])
@pytest.mark.parametrize("data", [BLOB.content.data[:-1], BLOB.content.data + b"x", b"", bytes(SIZE)])
def test_content_that_is_not_the_descriptors_is_never_committed(data, chunk_size):
    with Registry() as registry, pytest.raises(ContentError):
        push(registry, Blob(BLOB.descriptor, Bytes(data)), chunk_size=chunk_size)
    assert not registry.blobs
    assert not registry.uploads, "the upload is taken back"


@pytest.mark.fault(53, 59)
def test_content_that_changes_between_two_attempts_is_found_out():
    class Fickle:
        size = SIZE
        opened = 0

        def open(self, offset=0):
            self.opened += 1
            data = BLOB.content.data if self.opened == 1 else BLOB.content.data[:-1] + b"!"
            return Bytes(data).open(offset)

    with Breaking(2_000_000) as registry, pytest.raises(ContentError) as caught:
        push(registry, Blob(BLOB.descriptor, Fickle()))
    assert caught.value.code == "digest-mismatch"
    assert not registry.blobs


# Blobs that are elsewhere already.


def test_a_second_repository_takes_blobs_over_from_the_first():
    with Registry() as registry, Flow.open() as flow:
        first = store(registry)
        first.push(BLOB, flow)
        second = RegistryStore(Reference.parse(f"{registry.host}/b:1"), first.settings, whereabouts=first._whereabouts)
        assert second.mount(BLOB.descriptor, MemoryStore("memory"))
        assert ("b", BLOB.descriptor.digest) in registry.blobs
        assert fetch(second, BLOB.descriptor, limit=SIZE) == BLOB.content.data


@pytest.mark.fault(58)
@pytest.mark.parametrize("status", [202, 400, 401, 403, 404, 405, 500])
def test_a_mount_refused_costs_one_request(status):
    class Unwilling(Registry):
        def _start(self, name, query):
            if "mount" not in query or status == 202:
                return super()._start(name, {})
            return Answer(status)

    with Unwilling() as registry, Flow.open() as flow:
        first = store(registry)
        first.push(BLOB, flow)
        before = len(registry.seen)
        second = RegistryStore(Reference.parse(f"{registry.host}/b:1"), first.settings, whereabouts=first._whereabouts)
        assert not second.mount(BLOB.descriptor, MemoryStore("memory"))
        assert second.push(BLOB, flow) is Pushed.WRITTEN
        asked = [request.method for request in registry.seen[before:]]
    assert asked == ["POST", "HEAD", "PUT"] if status == 202 else ["POST", "HEAD", "POST", "PUT"]


@pytest.mark.fault(83)
def test_one_blob_pushed_by_many_threads_is_sent_once():
    with Registry() as registry, Flow.open() as flow:
        target = store(registry)
        done = [future.result(30) for future in [flow.io.submit(target.push, BLOB, flow) for _ in range(8)]]
        assert done.count(Pushed.WRITTEN) == 1
        assert len(registry.requests("PUT")) == 1


@pytest.mark.fault(55)
def test_a_registry_slow_to_show_what_it_took_is_given_a_moment():
    class Slow(Registry):
        asked = 0

        def _put_manifest(self, request, name, last):
            self.asked += 1
            if self.asked == 1:
                # docker-registry 2.8, while it writes the link to a blob: two errors, of which the first misleads.
                said = b'{"errors":[{"code":"DIGEST_INVALID"},{"code":"MANIFEST_BLOB_UNKNOWN"}]}'
                return Answer(400, {"Content-Type": "application/json"}, said)
            return super()._put_manifest(request, name, last)

    manifest = Blob.of(mediatype.MANIFEST, b'{"schemaVersion":2,"config":%s,"layers":[]}' % described(BLOB.descriptor))
    with Slow() as registry, Flow.open() as flow:
        target = store(registry)
        target.push(BLOB, flow)
        assert target.push(manifest, flow) is Pushed.WRITTEN
        assert registry.asked == 2


@pytest.mark.fault(57)
def test_finding_the_size_of_a_chunk_takes_no_patience_away():
    class Failing(Registry):
        left = QUICK.attempts - 2

        def _append(self, request, name, upload):
            if self.left:
                self.left -= 1
                return Answer(503)
            return super()._append(request, name, upload)

    with Failing(largest=MIB) as registry:  # three refusals come before the first chunk that fits
        assert push(registry) is Pushed.WRITTEN
        assert arrived(registry)
