"""The store against the double, and against the registry that the wheel ships for tests: what is pushed is there, what is there is read back, byte for byte."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import AuthorizationError, ContentError, NotFoundError, RegistryError
from ocibuild.registry.credentials import Credential
from ocibuild.registry.settings import Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Mounts, Pushed, fetch
from tests.registry.double import Registry
from tests.registry.ours import Ours

CONFIG = Blob.of(mediatype.CONFIG, b'{"os":"wasi"}')
LAYER = Blob.of(mediatype.LAYER, os.urandom(700_001))
NOTHING = Blob.of(mediatype.LAYER, b"")
# Its members stand in another order than ours: what is copied must not be re-written.
MANIFEST = Blob.of(
    mediatype.MANIFEST,
    b'{ "layers": [], "config": %b,\n "mediaType": "%b", "schemaVersion": 2 }'
    % (json.dumps(CONFIG.descriptor.to_json()).encode(), mediatype.MANIFEST.encode()),
)
ADA = Credential("ada", "love:lace")


def store(registry: Registry | Ours, name: str = "hello:1", **settings) -> RegistryStore:
    return RegistryStore(Reference.parse(f"{registry.host}/{name}"), Settings(**settings))


@pytest.fixture(params=[Registry, Ours])
def kind(request):
    return request.param


@pytest.fixture
def registry(kind):
    with kind() as running:
        yield running


@pytest.fixture
def flow():
    with Flow.open() as opened:
        yield opened


def test_push_tag_resolve_and_read_back(registry, flow):
    with store(registry) as target:
        assert [target.push(blob, flow) for blob in (CONFIG, LAYER, NOTHING, MANIFEST)] == [Pushed.WRITTEN] * 4
        target.tag(MANIFEST.descriptor, "1")
    assert registry.manifests["hello", MANIFEST.descriptor.digest] == (mediatype.MANIFEST, MANIFEST.content.data)
    source = store(registry)
    assert source.resolve("").key == source.resolve("1").key == MANIFEST.descriptor.key
    assert source.resolve(MANIFEST.descriptor.digest).key == MANIFEST.descriptor.key
    for blob in (CONFIG, LAYER, NOTHING, MANIFEST):
        assert source.exists(blob.descriptor)
        assert fetch(source, blob.descriptor) == blob.content.data


def test_a_second_push_sends_nothing(registry, flow):
    for expected in (Pushed.WRITTEN, Pushed.EXISTED):
        with store(registry) as target:
            assert [target.push(blob, flow) for blob in (CONFIG, MANIFEST)] == [expected] * 2
            target.tag(MANIFEST.descriptor, "1")
    assert len(registry.requests("PUT", "/blobs/")) == 1
    assert len(registry.requests("PUT", "/manifests/")) == 2  # by digest, and the tag


def test_a_manifest_of_an_earlier_push_is_tagged_without_its_bytes_at_hand(registry, flow):
    with store(registry) as target:
        target.push(CONFIG, flow)
        target.push(MANIFEST, flow)
    with store(registry) as target:
        target.tag(MANIFEST.descriptor, "again")
    assert registry.tags["hello", "again"] == MANIFEST.descriptor.digest


def test_an_index_is_pushed_as_one(registry, flow):
    index = Blob.of(mediatype.INDEX, Index((MANIFEST.descriptor,)).to_bytes())
    with store(registry) as target:
        for blob in (CONFIG, MANIFEST, index):
            target.push(blob, flow)
        target.tag(index.descriptor, "1")
    assert store(registry).resolve().key == index.descriptor.key


def test_read_from_the_middle(registry, flow):
    with store(registry) as target:
        target.push(LAYER, flow)
    with store(registry).open(LAYER.descriptor, 700_000) as stream:
        assert stream.read() == LAYER.content.data[-1:]


def test_what_is_not_there(registry):
    source = store(registry)
    assert not source.exists(LAYER.descriptor)
    with pytest.raises(NotFoundError) as caught:
        source.resolve("2")
    assert "hello has no 2" in caught.value.message
    with pytest.raises(NotFoundError), source.open(LAYER.descriptor):
        pass


def test_content_that_is_not_its_descriptors_is_not_committed(registry, flow):
    lie = Blob(LAYER.descriptor, Blob.of(mediatype.LAYER, bytes(700_001)).content)
    with pytest.raises(ContentError) as caught:
        store(registry).push(lie, flow)
    assert caught.value.code == "digest-mismatch"
    assert registry.blobs == {}


def test_a_manifest_whose_blobs_are_missing_is_refused_in_the_registrys_words(registry, flow):
    with pytest.raises(RegistryError) as caught:
        store(registry).push(MANIFEST, flow)
    assert caught.value.code == "blob-unknown"


@pytest.mark.parametrize("mounts", [True, False])
def test_mount_from_a_repository_of_the_same_registry(flow, mounts):
    with Registry(mounts=mounts) as registry:
        source, target = store(registry, "one:1"), store(registry, "two:1")
        source.push(LAYER, flow)
        assert isinstance(target, Mounts)
        assert target.mount(LAYER.descriptor, source) is mounts
        assert target.push(LAYER, flow) is (Pushed.EXISTED if mounts else Pushed.WRITTEN)
        assert registry.blobs["two", LAYER.descriptor.digest] == LAYER.content.data
        # The upload that a refused mount opened is the one that is used.
        assert len(registry.requests("POST", "/v2/two/")) == 1


def test_no_mount_from_elsewhere(kind, registry, flow):
    with kind() as other:
        source = store(other, "one:1")
        source.push(LAYER, flow)
        assert store(registry).mount(LAYER.descriptor, source) is False
        assert store(other, "one:2").mount(LAYER.descriptor, source) is False
    assert registry.seen == []


def test_progress_adds_up_to_the_size(registry):
    events = []
    with Flow.open(events.append) as flow:
        store(registry).push(LAYER, flow)
    assert events[0].kind == "start"
    assert sum(event.amount for event in events if event.kind == "advance") == LAYER.descriptor.size


def test_eight_threads_push_fifty_blobs_with_one_token_a_scope(kind):
    blobs = [Blob.of(mediatype.LAYER, b"%d" % number) for number in range(50)]
    with kind(user="ada", password="love:lace") as registry:
        target = store(registry, credentials={registry.host: ADA})
        with Flow.open() as flow, ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda blob: target.push(blob, flow), blobs))
        assert results == [Pushed.WRITTEN] * 50
        assert len(registry.blobs) == 50
        assert len(registry.requests("GET", "/token")) == 1  # to look is to open an upload


@pytest.mark.parametrize("basic", [True, False])
def test_push_and_pull_with_a_login(kind, flow, basic):
    with kind(user="ada", password="love:lace", basic=basic) as registry:
        with store(registry, credentials={registry.host: ADA}) as target:
            target.push(CONFIG, flow)
            target.push(MANIFEST, flow)
            target.tag(MANIFEST.descriptor, "1")
        source = store(registry, credentials={registry.host: ADA})
        assert fetch(source, source.resolve("1")) == MANIFEST.content.data


@pytest.mark.parametrize("basic", [True, False])
def test_a_wrong_password_is_said_and_not_shown(kind, flow, basic):
    with kind(user="ada", password="love:lace", basic=basic) as registry:
        given = {registry.host: Credential("ada", "hunter2", source="the test")}
        with pytest.raises(AuthorizationError) as caught:
            store(registry, credentials=given).push(CONFIG, flow)
    assert "the test" in caught.value.message
    assert "hunter2" not in repr(caught.value) + str(caught.value.hint)
    assert len(registry.seen) <= 3


def test_no_credentials_at_all(kind, flow):
    with kind(user="ada", password="x", basic=True) as registry, pytest.raises(AuthorizationError) as caught:
        store(registry).push(CONFIG, flow)
    assert caught.value.code == "credentials-missing"
    assert registry.host in str(caught.value.hint)


def test_credentials_of_another_host_stay_home(kind, flow):
    with kind(user="ada", password="love:lace", basic=True) as registry, pytest.raises(AuthorizationError):
        store(registry, credentials={"other.example": ADA}).push(CONFIG, flow)
    assert not any("authorization" in request.headers for request in registry.seen)


def test_a_token_that_is_void_is_renewed_in_the_middle(kind, flow):
    with kind(user="ada", password="love:lace") as registry:
        target = store(registry, credentials={registry.host: ADA})
        target.push(CONFIG, flow)
        registry.revoke()
        assert target.push(LAYER, flow) is Pushed.WRITTEN
        assert registry.blobs["hello", LAYER.descriptor.digest] == LAYER.content.data


def test_a_tag_that_is_none_is_refused_before_anything_is_sent(registry):
    with pytest.raises(RegistryError):
        store(registry).tag(MANIFEST.descriptor, "no tag")
    store(registry).tag(MANIFEST.descriptor, None)
    assert registry.seen == []


def test_a_manifest_too_large_is_not_sent(registry, flow):
    large = Descriptor(mediatype.MANIFEST, Digest.of(b"x"), 5 * 1024 * 1024)
    with pytest.raises(ContentError) as caught:
        store(registry).push(Blob(large, LAYER.content), flow)
    assert caught.value.code == "document-too-large"


def test_place_is_what_commands_accept(registry):
    assert Reference.parse(store(registry).place).name == f"{registry.host}/hello"


def test_importing_the_store_brings_no_requests():
    code = "import sys, ocibuild.registry.store; print(sorted({'requests', 'oras', 'jsonschema'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_manifest_built_by_us_goes_through_as_well(registry, flow):
    built = Blob.of(mediatype.MANIFEST, Manifest(CONFIG.descriptor, (LAYER.descriptor,)).to_bytes())
    with store(registry) as target:
        for blob in (CONFIG, LAYER, built):
            target.push(blob, flow)
    assert fetch(store(registry), built.descriptor) == built.content.data
