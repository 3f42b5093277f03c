"""The contract with oras: its own methods run through our transport, and code written for its class accepts ours.

When a new oras changes what is relied on here, these tests say so.
"""

import inspect
import json
import os
from pathlib import Path

import oras.auth
import oras.client
import oras.oci
import oras.provider
import pytest

from ocibuild.errors import AuthorizationError, ContentError, OcibuildError, RegistryError, UsageError
from ocibuild.registry.auth import Auth
from ocibuild.registry.client import Client
from ocibuild.registry.container import RegistryContainer
from ocibuild.registry.credentials import Credential
from ocibuild.registry.settings import Patience, Settings
from ocibuild.spec import mediatype
from ocibuild.spec.digest import Digest
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Scripted

QUICK = Settings(patience=Patience(attempts=2, first=0.01))


@pytest.fixture
def registry():
    with Registry() as running:
        yield running


@pytest.fixture
def client(registry):
    return Client(registry.host, insecure=True, settings=QUICK)


def test_it_is_an_oras_registry_with_our_auth(client):
    assert isinstance(client, oras.provider.Registry)
    assert isinstance(client.auth, oras.auth.auth_backends["ocibuild"])
    assert isinstance(client.auth, Auth)


OVERRIDDEN = [
    "do_request", "get_container", "blob_exists", "upload_blob", "put_upload", "chunked_upload", "upload_manifest",
    "get_manifest", "download_blob", "delete_tag", "_check_200_response", "_get_location", "_do_paginated_request",
]  # fmt: skip


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_every_override_has_orass_parameters(name):
    theirs = inspect.signature(inspect.unwrap(getattr(oras.provider.Registry, name))).parameters
    ours = inspect.signature(getattr(Client, name)).parameters
    assert list(ours)[: len(theirs)] == list(theirs)


@pytest.mark.parametrize("name", ["get_tags", "get_blob", "push", "delete_tags"])
def test_these_are_orass_own(name):
    assert getattr(Client, name) is getattr(oras.provider.Registry, name)


def test_orass_push_get_manifest_tags_and_blob_through_ours(registry, client, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.wasm").write_bytes(b"\0asm\1\0\0\0" + os.urandom(300_000))
    (tmp_path / "empty").write_bytes(b"")
    target = f"{registry.host}/team/hello:1"
    pushed = client.push(target, files=["hello.wasm:application/wasm", "empty"], quiet=True)
    assert pushed.status_code == 201
    assert pushed.headers["Docker-Content-Digest"] == registry.tags["team/hello", "1"]
    manifest = client.get_manifest(target)
    assert [layer["size"] for layer in manifest["layers"]] == [300_008, 0]
    assert client.get_tags(target) == ["1"]
    layer = manifest["layers"][0]
    assert client.get_blob(target, layer["digest"]).content == (tmp_path / "hello.wasm").read_bytes()
    with client.get_blob(target, layer["digest"], stream=True) as response:
        assert b"".join(response.iter_content(65536)) == (tmp_path / "hello.wasm").read_bytes()
    assert client.get_blob(target, layer["digest"], head=True).status_code == 200
    saved = client.download_blob(target, layer["digest"], str(tmp_path / "new" / "out.wasm"))
    assert Path(saved).read_bytes() == (tmp_path / "hello.wasm").read_bytes()


def test_orass_push_with_a_login(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    with Registry(user="ada", password="lovelace") as registry:
        settings = Settings(credentials={registry.host: Credential("ada", "lovelace")})
        client = Client(registry.host, insecure=True, settings=settings)
        client.push(f"{registry.host}/hello:1", files=["a.txt"], quiet=True)
        assert client.get_tags(f"{registry.host}/hello") == ["1"]
        # oras keeps headers on the object and lets tokens leak into them
        assert client.headers == {}
        assert "Authorization" not in client.session.headers


def test_orass_layout_pushes_through_ours(registry, client, tmp_path):
    from oras.layout import Layout

    config, blobs = b"{}", tmp_path / "layout" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / Digest.of(config).hex).write_bytes(config)
    described = {"mediaType": mediatype.CONFIG, "digest": Digest.of(config), "size": 2}
    manifest = json.dumps(
        {"schemaVersion": 2, "mediaType": mediatype.MANIFEST, "config": described, "layers": []}
    ).encode()
    (blobs / Digest.of(manifest).hex).write_bytes(manifest)
    entry = {
        "mediaType": mediatype.MANIFEST,
        "digest": Digest.of(manifest),
        "size": len(manifest),
        "annotations": {"org.opencontainers.image.ref.name": "1"},
    }
    (tmp_path / "layout" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (tmp_path / "layout" / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    Layout(str(tmp_path / "layout")).push_to_registry(provider=client, target=f"{registry.host}/hello:1", tag="1")
    assert ("hello", Digest.of(config)) in registry.blobs
    assert ("hello", "1") in registry.tags


def test_a_manifest_given_as_bytes_stays_as_it_is(registry, client):
    data = b'{ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] }'
    client.upload_manifest(data, f"{registry.host}/hello:1")
    descriptor, found = client.fetch_manifest(f"{registry.host}/hello:1")
    assert found == data
    assert descriptor.media_type == mediatype.INDEX


def test_a_file_that_was_sent_once_is_sent_whole_again(tmp_path):
    (tmp_path / "f").write_bytes(b"x" * 100_000)
    with Scripted({"PUT .*": [Answer(500), Answer(201)]}) as server, open(tmp_path / "f", "rb") as stream:
        client = Client(server.host, insecure=True, settings=QUICK)
        assert client.do_request(f"{server.url}/v2/x", "PUT", data=stream).status_code == 201
        assert [len(request.body) for request in server.seen] == [100_000, 100_000]


def test_any_status_is_an_answer_and_403_keeps_its_words():
    body = b'{"errors":[{"code":"DENIED","message":"quota exceeded"}]}'
    with Scripted({"GET .*": Answer(403, body=body)}) as server:
        client = Client(server.host, insecure=True, settings=QUICK)
        response = client.do_request(f"{server.url}/v2/x")
        assert response.status_code == 403
        with pytest.raises(AuthorizationError) as caught:
            client._check_200_response(response)
    assert "quota exceeded" in caught.value.message
    assert len(server.seen) == 1


def test_blob_exists_is_no_guess(registry, client):
    layer = {"digest": Digest.of(b"x"), "size": 1}
    assert client.blob_exists(layer, client.get_container(f"{registry.host}/hello")) is False
    with Scripted({"HEAD .*": Answer(403), "GET .*": Answer(403)}) as server, pytest.raises(AuthorizationError):
        Client(server.host, insecure=True, settings=QUICK).blob_exists(layer, f"{server.host}/hello")


def test_deleting_a_tag_deletes_the_tag_and_no_manifest():
    with Scripted({"DELETE /v2/hello/manifests/1": [Answer(202), Answer(404), Answer(405)]}) as server:
        client = Client(server.host, insecure=True, settings=QUICK)
        assert client.delete_tag(f"{server.host}/hello", "1") is True
        assert client.delete_tag(f"{server.host}/hello", "1") is False
        with pytest.raises(RegistryError):
            client.delete_tag(f"{server.host}/hello", "1")
        assert {request.path for request in server.seen} == {"/v2/hello/manifests/1"}


def test_pages_of_tags_are_followed_and_end():
    pages = [
        Answer(200, {"Link": '</v2/hello/tags/list?last=a&n=1>; rel="next"'}, b'{"tags":["a"]}'),
        Answer(200, {}, b'{"tags":["b"]}'),
    ]
    with Scripted({"GET /v2/hello/tags/list.*": pages}) as server:
        assert Client(server.host, insecure=True, settings=QUICK).get_tags(f"{server.host}/hello") == ["a", "b"]
    endless = Answer(200, {"Link": '</v2/hello/tags/list>; rel="next"'}, b'{"tags":["a"]}')
    with Scripted({"GET .*": endless}) as server, pytest.raises(RegistryError):
        Client(server.host, insecure=True, settings=QUICK).get_tags(f"{server.host}/hello")
    away = Answer(200, {"Link": '<http://127.0.0.1:1/v2/>; rel="next"'}, b'{"tags":["a"]}')
    with Scripted({"GET .*": away}) as server, pytest.raises(RegistryError):
        Client(server.host, insecure=True, settings=QUICK).get_tags(f"{server.host}/hello")


def test_a_download_of_other_bytes_leaves_no_file(tmp_path):
    with Scripted({"HEAD .*": Answer(200, {"Content-Length": "3"}), "GET .*": Answer(200, body=b"abc")}) as server:
        client = Client(server.host, insecure=True, settings=QUICK)
        with pytest.raises(ContentError):
            client.download_blob(f"{server.host}/hello", Digest.of(b"xyz"), str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name, expected",
    [
        ("ubuntu", "registry-1.docker.io/library/ubuntu:latest"),
        ("localhost/app:1", "localhost/app:1"),
        ("[::1]:5000/a/b:1", "[::1]:5000/a/b:1"),
        ("r.example/a@sha256:" + "0" * 64, "r.example/a@sha256:" + "0" * 64),
    ],
)
def test_references_are_read_by_our_grammar(name, expected):
    assert RegistryContainer(name).uri == expected


@pytest.mark.parametrize(
    "name", ["r.example//app", "https://r.example/app", "u:p@r.example/app", "r.example/../../etc"]
)
def test_references_that_are_refused(name):
    with pytest.raises(UsageError):
        RegistryContainer(name)


def test_a_host_of_its_own_is_the_default():
    assert RegistryContainer("a/b:1", registry="r.example:5000").uri == "r.example:5000/a/b:1"
    assert RegistryContainer("other.example/b:1", registry="r.example:5000").uri == "other.example/b:1"


def test_what_is_not_offered_says_so(client):
    for act in (lambda: Client(auth_backend="ecr"), lambda: client.auth.set_basic_auth("a", "b")):
        with pytest.raises(OcibuildError) as caught:
            act()
        assert caught.value.hint
