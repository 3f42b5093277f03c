"""Our own client against the registry for tests, with the faults of the catalogue switched on."""

from __future__ import annotations

import os
import time

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import AuthorizationError, ContentError, NetworkError, RegistryError
from ocibuild.registry.credentials import Credential
from ocibuild.registry.settings import Patience, Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Pushed, fetch
from ocibuild.testing import Registry

BLOB = Blob.of(mediatype.LAYER, os.urandom(1_000_000))
QUICK = Patience(attempts=4, first=0.01, longest=0.02, asked=2)


def store(registry: Registry, **settings: object) -> RegistryStore:
    said: dict[str, object] = {"patience": QUICK, **settings}
    return RegistryStore(Reference.parse(registry.reference("a:1")), Settings(**said))  # type: ignore[arg-type]


def push(registry: Registry, **settings: object) -> Pushed:
    with Flow.open() as flow:
        return store(registry, **settings).push(BLOB, flow)


def arrived(registry: Registry) -> bool:
    held = registry.content.storage.repository("a").blob(BLOB.descriptor.digest)
    return held is not None and held.path.read_bytes() == BLOB.content.data  # type: ignore[attr-defined]


@pytest.mark.fault(78)
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_trouble_that_passes(oci_registry: Registry, status: int, method: str) -> None:
    fault = oci_registry.refuse(status, method=method, times=3)
    assert push(oci_registry) is Pushed.WRITTEN
    assert fault.met == 3
    assert arrived(oci_registry)


@pytest.mark.fault(78)
def test_trouble_that_stays(oci_registry: Registry) -> None:
    fault = oci_registry.refuse(503, times=None)
    with pytest.raises(RegistryError):
        push(oci_registry)
    assert fault.met == QUICK.attempts


@pytest.mark.fault(77)
def test_retry_after_is_obeyed(oci_registry: Registry) -> None:
    oci_registry.refuse(429, retry_after=1)
    began = time.monotonic()
    assert push(oci_registry) is Pushed.WRITTEN
    assert 1 <= time.monotonic() - began < 3


@pytest.mark.fault(10, 12)
@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT"])
@pytest.mark.parametrize("at", ["request", "answer"])
def test_a_connection_that_drops(oci_registry: Registry, method: str, at: str) -> None:
    fault = oci_registry.drop(at, method=method)  # type: ignore[arg-type]
    assert push(oci_registry) in (Pushed.WRITTEN, Pushed.EXISTED)
    assert fault.met == 1
    assert arrived(oci_registry)


@pytest.mark.fault(10, 47)
def test_a_chunk_that_breaks_goes_on_after_what_came(oci_registry: Registry) -> None:
    oci_registry.drop(received=150_000, method="PATCH", skip=1)
    assert push(oci_registry, chunk_size=400_000) is Pushed.WRITTEN
    assert arrived(oci_registry)
    assert "550000-949999" in [seen.headers.get("content-range") for seen in oci_registry.seen("PATCH")]


@pytest.mark.fault(62)
@pytest.mark.parametrize("ranges", [True, False])
def test_a_blob_that_breaks_off_is_read_on(ranges: bool) -> None:
    with Registry(ranges=ranges) as registry:
        registry.blob("a", BLOB.content.data)  # type: ignore[attr-defined]
        registry.drop(sent=400_000, method="GET", times=2)
        assert fetch(store(registry), BLOB.descriptor) == BLOB.content.data  # type: ignore[attr-defined]
        sent = [seen.sent for seen in registry.seen("GET", "/blobs/")]
        assert sent == ([400_000, 400_000, 200_000] if ranges else [400_000, 400_000, 1_000_000])


@pytest.mark.fault(61)
def test_a_blob_of_other_bytes_is_refused(oci_registry: Registry) -> None:
    oci_registry.blob("a", BLOB.content.data)  # type: ignore[attr-defined]
    oci_registry.damage(path="/blobs/", times=None)
    with pytest.raises(ContentError) as caught:
        fetch(store(oci_registry), BLOB.descriptor)
    assert caught.value.code == "digest-mismatch"


@pytest.mark.fault(20)
def test_a_blob_that_ends_early_is_refused(oci_registry: Registry) -> None:
    oci_registry.blob("a", BLOB.content.data)  # type: ignore[attr-defined]
    oci_registry.truncate(999_999, path="/blobs/", times=None)
    with pytest.raises(ContentError) as caught:
        fetch(store(oci_registry), BLOB.descriptor)
    assert caught.value.code == "size-mismatch"


@pytest.mark.fault(73)
def test_a_digest_header_that_lies_is_found_out(oci_registry: Registry) -> None:
    digest = oci_registry.image("a:1")
    oci_registry.lie(method="GET", times=None)
    source = store(oci_registry)
    found = source.resolve(digest)
    with pytest.raises(ContentError) as caught:
        fetch(source, found)
    assert caught.value.code == "digest-mismatch"


@pytest.mark.fault(30)
@pytest.mark.parametrize("status", [403, 405])
def test_a_registry_that_refuses_head(oci_registry: Registry, status: int) -> None:
    digest = oci_registry.image("a:1", b"layer")
    oci_registry.refuse(status, method="HEAD", times=None)
    source = store(oci_registry)
    assert source.resolve("1").digest == digest
    assert push(oci_registry) is Pushed.WRITTEN
    assert source.exists(BLOB.descriptor)


@pytest.mark.fault(35)
def test_tokens_that_lapse_are_renewed() -> None:
    with Registry(user="ada", password="lovelace", token_uses=1) as registry:
        credentials = {registry.address: Credential("ada", "lovelace")}
        assert push(registry, credentials=credentials) is Pushed.WRITTEN
        assert arrived(registry)
        assert registry.tokens >= 3
        assert registry.count("PUT", "/blobs/uploads/") == 2


@pytest.mark.fault(36)
def test_a_registry_that_is_never_content() -> None:
    with Registry(user="ada", password="lovelace", token_uses=0) as registry:
        with pytest.raises(AuthorizationError):
            push(registry, credentials={registry.address: Credential("ada", "lovelace")})
        assert registry.count("HEAD", "/blobs/") == 2


@pytest.mark.fault(3)
def test_a_registry_that_is_gone_for_a_while(oci_registry: Registry) -> None:
    oci_registry.image("a:1")
    source = store(oci_registry)
    with oci_registry.outage(), pytest.raises(NetworkError) as caught:
        source.resolve("1")
    assert caught.value.code == "connection-refused"
    assert isinstance(source.resolve("1").digest, Digest)
