"""Mirrors and certificates with Debian's docker-registry, whose TLS is Go's."""

import json
import urllib.request

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import NetworkError, RegistryError
from ocibuild.registry.settings import Certificate, Patience, Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.manifest import Manifest
from ocibuild.spec.reference import Reference
from ocibuild.store.base import fetch
from ocibuild.store.copy import copy
from ocibuild.store.memory import MemoryStore
from tests.registry.authority import Authority
from tests.registry.test_real import running

pytestmark = pytest.mark.real

CONFIG = Blob.of(mediatype.CONFIG, b'{"architecture":"wasm","os":"wasip1"}')
LAYER = Blob.of(mediatype.LAYER, bytes(range(256)) * 4096)
MANIFEST = Blob.of(mediatype.MANIFEST, Manifest(CONFIG.descriptor, (LAYER.descriptor,)).to_bytes())


@pytest.fixture
def program(part):
    return part("docker-registry")


def folder(tmp_path, name: str):
    found = tmp_path / name
    found.mkdir()
    return found


def settings(tmp_path, **more) -> Settings:
    return Settings(**{"patience": Patience(attempts=1), "system": tmp_path / "etc", "home": tmp_path / "home", **more})


def push(host: str, known: Settings) -> None:
    store = RegistryStore(Reference.parse(f"{host}/team/a:1"), known)
    with Flow.open() as flow, store:
        for blob in (CONFIG, LAYER, MANIFEST):
            store.push(blob, flow)
        store.tag(MANIFEST.descriptor, "1")


def count(host: str) -> int:
    """How many repositories a registry has."""
    with urllib.request.urlopen(f"http://{host}/v2/_catalog", timeout=10) as answer:
        return len(json.load(answer)["repositories"])


def test_a_pull_through_a_mirror_that_has_half_of_it(program, tmp_path):
    """The mirror has the layer and no manifest: each comes from where it is."""
    with running(program, folder(tmp_path, "a")) as upstream, running(program, folder(tmp_path, "b")) as mirror:
        push(upstream, settings(tmp_path))
        assert count(mirror) == 0
        path = tmp_path / "etc/containerd/certs.d" / upstream / "hosts.toml"
        path.parent.mkdir(parents=True)
        path.write_text(f'[host."http://{mirror}"]\n')
        notes: list[str] = []
        store = RegistryStore(
            Reference.parse(f"{upstream}/team/a:1"),
            settings(tmp_path),
            mirrors=set(),
            observe=lambda event: notes.append(event.kind),
        )
        target = MemoryStore()
        with Flow.open() as flow, target:
            copy(store, store.resolve(), target, names=["1"], flow=flow)
        assert fetch(target, LAYER.descriptor) == LAYER.content.data
        assert notes == ["warning"]
        push(mirror, settings(tmp_path, system=None))
        store = RegistryStore(Reference.parse(f"{upstream}/team/a:1"), settings(tmp_path), mirrors=set())
        assert store.resolve() == MANIFEST.descriptor
        assert fetch(store, LAYER.descriptor) == LAYER.content.data


def test_a_registry_that_wants_client_certificates(program, part, tmp_path):
    authority = Authority(part("openssl"), tmp_path / "authority")
    other = Authority(part("openssl"), tmp_path / "other")
    certificate, key = authority.issue("server", "IP:127.0.0.1")
    lines = [
        "  tls:",
        f"    certificate: {certificate}",
        f"    key: {key}",
        f"    clientcas: [{authority.certificate}]",
    ]
    with running(program, folder(tmp_path, "a"), *lines) as host:
        known = {"plain_http": False, "ca_file": str(authority.certificate)}
        with pytest.raises(NetworkError) as caught:
            push(host, settings(tmp_path, **known))
        assert caught.value.code == "client-certificate-missing"
        stranger = {host: Certificate(*other.issue("eve"))}
        with pytest.raises(NetworkError) as caught:
            push(host, settings(tmp_path, **known, certificates=stranger))
        # Go names its authorities, so OpenSSL may show nothing at all rather than what they did not sign.
        assert caught.value.code in ("client-certificate-refused", "client-certificate-missing")
        push(host, settings(tmp_path, **known, certificates={host: Certificate(*authority.issue("ada"))}))


@pytest.mark.fault(8)
def test_plain_http_to_go_s_tls(program, part, tmp_path):
    authority = Authority(part("openssl"), tmp_path / "authority")
    certificate, key = authority.issue("server", "IP:127.0.0.1")
    lines = ["  tls:", f"    certificate: {certificate}", f"    key: {key}"]
    with running(program, folder(tmp_path, "a"), *lines) as host, pytest.raises(RegistryError) as caught:
        RegistryStore(Reference.parse(f"{host}/a:1"), settings(tmp_path)).resolve()
    assert caught.value.code == "https-expected"
