"""oras 0.2.43's defects, by number: that they are there, with oras itself as the yardstick, and that ours does not have them.

Each test's docstring is a row of docs/oras.md: severity (S security, C corrupts or fails, R robustness, P performance,
U usability) and what oras does; then what ours does. Where oras gets well, a test says so, and an override may go.
"""

import base64
import gzip
import io
import json
import logging
import os
import re
import stat
import tarfile
import threading
import tomllib
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import jsonschema
import oras.auth.ecr
import oras.auth.utils
import oras.container
import oras.decorator
import oras.layout
import oras.oci
import oras.provider
import oras.utils
import oras.utils.fileio
import pytest
import requests
from requests.adapters import HTTPAdapter

from ocibuild.content.flow import Flow
from ocibuild.errors import (
    AuthorizationError,
    ContentError,
    NetworkError,
    NotFoundError,
    OcibuildError,
    RegistryError,
    UsageError,
)
from ocibuild.registry.client import Client
from ocibuild.registry.credentials import Credential
from ocibuild.registry.settings import Patience, Settings, Timeouts
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Manifest
from ocibuild.spec.reference import Reference
from ocibuild.store.copy import copy
from ocibuild.store.layout import LayoutStore
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Scripted, Seen, Server

QUICK = Settings(patience=Patience(attempts=2, first=0.01))
BYTES = b"\0asm\1\0\0\0" + bytes(range(256)) * 400
LAYER = {"mediaType": "application/wasm", "digest": Digest.of(BYTES), "size": len(BYTES)}
SLEEPS = [3, 5, 11, 29, 83]


@pytest.fixture(autouse=True)
def sleeps(monkeypatch, tmp_path):
    """What oras would sleep, in seconds; and a home without anybody's credentials."""
    slept: list[float] = []
    monkeypatch.setattr(oras.decorator, "time", SimpleNamespace(sleep=slept.append))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return slept


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "hello.wasm"
    path.write_bytes(BYTES)
    return str(path)


def theirs(server, **options):
    """oras's registry."""
    return oras.provider.Registry(server.host, insecure=True, **options)


def ours(server, settings=QUICK, **credentials):
    """Our registry; `user` and `password` are for this server."""
    if credentials:
        account = Credential(credentials["user"], credentials["password"])
        settings = replace(settings, credentials={server.host: account})
    return Client(server.host, insecure=True, settings=settings)


def authorizations(server, part=""):
    """The Authorization headers seen, "" for none."""
    return [request.headers.get("authorization", "") for request in server.seen if part in request.path]


class Guarded(Server):
    """Wants a bearer token, always SECRET, which its own /token gives to everybody; else `answer` decides."""

    def __init__(self, answer=lambda request: Answer(200, body=b'{"tags":["1"]}')):
        super().__init__()
        self.answer = answer

    def respond(self, request: Seen) -> Answer:
        if request.path.startswith("/token"):
            return Answer(200, body=b'{"token":"SECRET"}')
        if request.headers.get("authorization") != "Bearer SECRET":
            return Answer(401, {"WWW-Authenticate": f'Bearer realm="{self.url}/token",service="s",scope="x"'})
        return self.answer(request)


class Taking(Server):
    """Takes one upload at `path`, which it calls `location`; the blob is there once it was sent."""

    def __init__(self, location, path=""):
        super().__init__()
        self.location, self.path = location, path or location

    def respond(self, request: Seen) -> Answer:
        if request.method == "POST":
            return Answer(202, {"Location": self.location.format(host=self.host)})
        if request.method == "PUT" and request.path.startswith(self.path):
            return Answer(201)
        if request.method == "HEAD" and self.requests("PUT", self.path):
            return Answer(200, {"Content-Length": str(len(BYTES))})
        return Answer(404)


class Helper:
    """A credential helper on a PATH of its own, that answers `get` with a document."""

    def __init__(self, folder: Path, name: str, document: dict):
        self.path = f"{folder}:{os.environ['PATH']}"
        program = folder / f"docker-credential-{name}"
        program.write_text(f"#!/bin/sh\ncat >/dev/null\necho '{json.dumps(document)}'\n")
        program.chmod(0o755)


def dockerconfig(folder: Path, document: dict) -> Path:
    """A config.json in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(document))
    return folder


def auths(host: str, user: str, password: str) -> dict:
    return {"auths": {host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}}}


# The tests, by number.


def test_d01_every_scope_has_its_own_token(file):
    """C: one token for everything, also for a push after a pull.

    A token for each origin and set of scopes, asked for with what the request needs."""
    with Registry(user="ada", password="lovelace") as registry:
        plain = theirs(registry)
        plain.auth.set_basic_auth("ada", "lovelace")
        with pytest.raises(ValueError, match="session url"):
            plain.upload_blob(file, f"{registry.host}/hello:1", LAYER)
    with Registry(user="ada", password="lovelace") as registry:
        client = ours(registry, user="ada", password="lovelace")
        assert client.upload_blob(file, f"{registry.host}/hello:1", LAYER).status_code == 201
        assert registry.blobs["hello", LAYER["digest"]] == BYTES


def test_d02_a_token_stays_with_its_origin(file):
    """S: the token goes to whatever host a Location names.

    Authorization goes to the registry's own scheme, host and port, and nowhere else."""
    for make in (theirs, ours):
        with Scripted({"PUT .*": Answer(201)}) as other:

            def answer(request, other=other):
                if request.method == "POST":
                    return Answer(202, {"Location": f"{other.url}/elsewhere?signed=a%2Fb"})
                return Answer(200 if other.seen else 404, {"Content-Length": str(len(BYTES))})

            with Guarded(answer) as registry:
                client = make(registry)
                assert (
                    client.upload_blob(file, client.get_container(f"{registry.host}/hello:1"), LAYER).status_code == 201
                )
                assert "Bearer SECRET" in authorizations(registry)
            assert other.seen[0].body == BYTES
            assert authorizations(other) == (["Bearer SECRET"] if make is theirs else [""])


def test_d03_an_account_stays_with_its_host(tmp_path):
    """S: one slot for credentials; those of one host go to the next host's realm.

    Credentials are looked up for the host that is asked, when it asks."""
    basic = "Basic " + base64.b64encode(b"ada:lovelace").decode()
    manifest = Answer(200, {"Content-Type": mediatype.INDEX}, b'{"manifests":[]}')
    with Scripted({"GET .*": manifest}) as known, Guarded(lambda request: manifest) as stranger:
        dockerconfig(tmp_path / "home" / ".docker", auths(known.host, "ada", "lovelace"))
        plain = theirs(known)
        plain.get_manifest(f"{known.host}/a")
        plain.get_manifest(f"{stranger.host}/a")
        assert authorizations(stranger, "/token") == [basic]
    with Guarded() as known, Guarded() as stranger:
        client = ours(known, user="ada", password="lovelace")
        assert client.get_tags(f"{known.host}/a") == client.get_tags(f"{stranger.host}/a") == ["1"]
        assert basic in authorizations(known, "/token")
        assert authorizations(stranger, "/token") == [""]


def test_d04_a_realm_is_looked_at_before_it_is_told_a_secret():
    """S: user name and password go to any realm, over plain http too.

    A realm that is neither https nor as near as the registry itself is refused (`realm-refused`)."""
    told = []

    class Realm(HTTPAdapter):
        def send(self, request, **options):
            told.append(request.headers.get("Authorization"))
            raise requests.ConnectionError("this far and no further")

    challenge = Answer(401, {"WWW-Authenticate": 'Bearer realm="http://realm.example/token",service="s"'})
    with Scripted({"GET .*": challenge}) as registry:
        plain = theirs(registry)
        plain.auth.set_basic_auth("ada", "lovelace")
        plain.session.mount("http://realm.example", Realm())
        with pytest.raises(requests.ConnectionError):
            plain.get_tags(f"{registry.host}/a")
        assert "Basic " in told[0]
        told.clear()
        client = ours(registry, user="ada", password="lovelace")
        client.session.mount("http://realm.example", Realm())
        with pytest.raises(RegistryError) as caught:
            client.get_tags(f"{registry.host}/a")
        assert caught.value.code == "realm-refused"
        assert not told


def test_d05_headers_given_are_not_written_to():
    """S: the token is written into the object's own headers, and stays there.

    Headers are copied; Authorization is never kept in them."""
    with Guarded() as registry:
        plain, client, given = theirs(registry), ours(registry), {"Accept": "application/json"}
        plain.get_tags(f"{registry.host}/a")
        plain.get_tags(f"{registry.host}/a")
        assert plain.headers == {"Authorization": "Bearer SECRET"}
        client.get_tags(f"{registry.host}/a")
        client.do_request(f"{registry.url}/v2/a/tags/list", headers=given)
        client.do_request(f"{registry.url}/v2/a", "POST", headers=given, json={})
        assert client.headers == {}
        assert given == {"Accept": "application/json"}
        assert "Authorization" not in client.session.headers


def test_d06_a_refusal_is_final(sleeps):
    """C: every exception is tried six times over 131 seconds: wrong passwords, 403, misspelt hosts.

    Only what may pass is tried again; the rest is told at once."""
    body = b'{"errors":[{"code":"DENIED","message":"not yours"}]}'
    with Scripted({"GET .*": Answer(403, body=body)}) as registry:
        with pytest.raises(ValueError, match="authentication"):
            theirs(registry).get_tags(f"{registry.host}/a")
        assert sleeps == SLEEPS
        assert len(registry.seen) == 6
        registry.seen.clear()
        with pytest.raises(AuthorizationError):
            ours(registry).get_tags(f"{registry.host}/a")
        assert len(registry.seen) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
def test_d07_what_may_pass_is_tried_again(status):
    """C: of all answers only 500 is tried again, and Retry-After is not read.

    408, 425, 429, 500, 502, 503 and 504 are tried again; Retry-After is obeyed, for all threads."""
    script = {"GET .*": [Answer(status, {"Retry-After": "0"}), Answer(200, body=b'{"tags":["1"]}')]}
    with Scripted(script) as registry, pytest.raises(ValueError, match="Issue with"):
        theirs(registry).get_tags(f"{registry.host}/a")
    with Scripted(script) as registry:
        assert ours(registry).get_tags(f"{registry.host}/a") == ["1"]


def test_d08_a_body_sent_again_is_whole(file):
    """C: a file sent a second time is at its end, and is sent as nothing.

    A body is opened anew for every attempt."""
    for make in (theirs, ours):
        with Scripted({"PUT .*": [Answer(500), Answer(201)]}) as server, open(file, "rb") as stream:
            make(server).do_request(f"{server.url}/v2/x", "PUT", data=stream)
            assert [request.body for request in server.seen] == [BYTES, b"" if make is theirs else BYTES]


def test_d09_a_refusal_keeps_its_words():
    """C: 403 is taken for a question about who asks, and its text is lost.

    403 is an answer; the registry's words are in the error."""
    body = b'{"errors":[{"code":"DENIED","message":"quota exceeded"}]}'
    with Scripted({"GET .*": Answer(403, body=body)}) as server:
        with pytest.raises(ValueError) as lost:
            theirs(server).get_tags(f"{server.host}/a")
        assert "quota" not in str(lost.value)
        with pytest.raises(AuthorizationError, match="quota exceeded"):
            ours(server).get_tags(f"{server.host}/a")


CHALLENGES = [
    ["Bearer realm={url}/token,service=s"],
    ['bearer REALM = "{url}/token", service="s"'],
    ['Negotiate, Bearer realm="{url}/token",service="s", Basic realm="x"'],
    ['Bearer realm="{url}/token",service="s"', 'Basic realm="x"'],
    ['Bearer realm="{url}/t\\oken",service="s"'],
]


@pytest.mark.parametrize("lines", CHALLENGES)
def test_d10_challenges_are_read_as_rfc_9110_has_them(lines):
    """C: a regular expression for challenges: no schemes, no unquoted values, any empty value misread.

    RFC 9110 section 11: many challenges, any case, tokens and quoted strings, every header line."""

    class Challenging(Guarded):
        def respond(self, request):
            answer = super().respond(request)
            if answer.status != 401:
                return answer
            return Answer(401, lines=[("WWW-Authenticate", line.format(url=self.url)) for line in lines])

    with Challenging() as server:
        with pytest.raises((AttributeError, ValueError, requests.RequestException)):
            theirs(server).get_tags(f"{server.host}/a")
        assert ours(server).get_tags(f"{server.host}/a") == ["1"]
    broken = oras.auth.utils.parse_auth_header(
        'Bearer realm="https://r.example/t",service="",scope="repository:a:pull"'
    )
    assert broken.scope is None


def test_d11_basic_where_basic_is_wanted(file):
    """C: a Basic challenge is answered with a request to the realm "Registry Realm".

    The scheme that is asked for is the one that is used."""
    with Registry(user="ada", password="lovelace", basic=True) as registry:
        plain = theirs(registry)
        plain.auth.set_basic_auth("ada", "lovelace")
        with pytest.raises(requests.RequestException):
            plain.get_tags(f"{registry.host}/hello")
        client = ours(registry, user="ada", password="lovelace")
        assert client.upload_blob(file, f"{registry.host}/hello:1", LAYER).status_code == 201


def test_d12_a_body_is_sent_once(file):
    """P: with Basic every request is refused first, and every body sent twice.

    Who is known to want Basic gets it unasked."""
    for make in (theirs, ours):
        with Registry(user="ada", password="lovelace", basic=True) as registry:
            if make is theirs:
                client = theirs(registry, auth_backend="basic")
                client.auth.set_basic_auth("ada", "lovelace")
            else:
                client = ours(registry, user="ada", password="lovelace")
            client.upload_blob(file, client.get_container(f"{registry.host}/hello:1"), LAYER)
            assert len(registry.requests("PUT")) == (2 if make is theirs else 1)


def test_d13_no_account_is_told_as_that(sleeps):
    """R: Basic without credentials is an AttributeError, after 131 seconds.

    `credentials-missing`, with what to do."""
    with Registry(user="ada", password="lovelace", basic=True) as registry:
        with pytest.raises(AttributeError):
            theirs(registry, auth_backend="basic").get_tags(f"{registry.host}/hello")
        assert sleeps == SLEEPS
        with pytest.raises(AuthorizationError) as caught:
            ours(registry).get_tags(f"{registry.host}/hello")
        assert caught.value.code == "credentials-missing"
        assert caught.value.hint


def test_d14_no_wait_without_an_end(monkeypatch):
    """R: no timeout anywhere.

    Every wait has one: to connect, for a block to go out, for an answer, for every further byte."""
    given = []
    real = HTTPAdapter.send
    monkeypatch.setattr(
        HTTPAdapter,
        "send",
        lambda self, *args, **options: given.append(options["timeout"]) or real(self, *args, **options),
    )
    with Scripted({"GET .*": Answer(200, body=b'{"tags":["1"]}')}) as server:
        theirs(server).get_tags(f"{server.host}/a")
        assert given == [None]
    settings = Settings(timeouts=Timeouts(reply=0.3), patience=Patience(attempts=1))
    with Scripted({"GET .*": Answer(stall=True)}) as server, pytest.raises(NetworkError) as caught:
        ours(server, settings).get_tags(f"{server.host}/a")
    assert caught.value.code == "timeout"


def test_d15_netrc_is_not_read(tmp_path, monkeypatch):
    """S: what ~/.netrc says of a host replaces the token.

    The environment is not asked by the session; proxies are looked up for each URL."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login netuser password netsecret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with Guarded() as server:
        plain = theirs(server)
        plain.auth.token = "SECRET"
        with suppress(Exception):
            plain.get_tags(f"{server.host}/a")
        assert authorizations(server)[0].startswith("Basic ")
        server.seen.clear()
        assert ours(server).get_tags(f"{server.host}/a") == ["1"]
        assert set(authorizations(server)) == {"", "Bearer SECRET"}


def test_d16_a_file_is_never_in_memory_whole(file, monkeypatch):
    """P: a blob is read into memory whole before it is sent.

    Blobs are streamed in blocks of 256 KiB, whatever their size."""
    bodies = []
    real = requests.Session.send
    monkeypatch.setattr(
        requests.Session,
        "send",
        lambda self, request, **options: bodies.append(request.body) or real(self, request, **options),
    )
    for make in (theirs, ours):
        with Taking("/v2/u") as server:
            client = make(server)
            client.put_upload(file, client.get_container(f"{server.host}/hello:1"), LAYER)
            assert (BYTES in bodies) == (make is theirs)
            assert server.requests("PUT")[0].body == BYTES
            bodies.clear()


def test_d17_a_refused_upload_is_told_in_words(file):
    """C: the answer to the first request is not looked at; an HTML page is a JSONDecodeError.

    An error with the registry's host, its status and its words."""
    page = Answer(404, {"Content-Type": "text/html"}, b"<title>No such project</title>")
    with Scripted({"POST .*": page, "HEAD .*": Answer(404)}) as server:
        plain = theirs(server)
        place = plain.get_container(f"{server.host}/hello:1")
        with pytest.raises(requests.JSONDecodeError):
            plain.put_upload(file, place, LAYER)
        with pytest.raises(RegistryError, match="No such project"):
            ours(server).put_upload(file, f"{server.host}/hello:1", LAYER)


LOCATIONS = [
    ("abc?state=1", "/v2/hello/blobs/uploads/abc?state=1"),
    ("?state=1", "/v2/hello/blobs/uploads/?state=1"),
    ("//{host}/v2/u", "/v2/u"),
    ("HTTP://{host}/v2/u", "/v2/u"),
]


@pytest.mark.parametrize("location, path", LOCATIONS)
def test_d18_a_location_is_relative_to_where_it_was_given(location, path, file):
    """C: a relative Location is glued to the host's name.

    RFC 3986 section 5: relative to the request's own URL; a step down from https is refused."""
    for make in (theirs, ours):
        with Taking(location, path) as server:
            client = make(server)
            with suppress(requests.RequestException):
                client.put_upload(file, client.get_container(f"{server.host}/hello:1"), LAYER)
            arrived = [request.body for request in server.requests("PUT") if request.path.startswith(path)]
            assert arrived == ([] if make is theirs else [BYTES])


def test_d19_a_signed_address_stays_as_it_is(file):
    """C: an upload's query is taken apart and written anew, and a signature no longer fits.

    The digest is put behind it; not a byte before is touched."""
    signed = "/v2/u?empty=&x=1&x=2&sig=a%20b%2fc%7Ed"
    for make in (theirs, ours):
        with Taking(signed) as server:
            client = make(server)
            client.put_upload(file, client.get_container(f"{server.host}/hello:1"), LAYER)
            path = server.requests("PUT")[0].path
            assert path.startswith(f"{signed}&digest=") == (make is ours)


def test_d20_chunks_as_the_registry_wants_them(file):
    """C: chunks of one size; ranges, minimum lengths and 204 are not understood.

    Range, OCI-Chunk-Min-Length, 416 and every kind of yes are heeded; the address moves on with every answer."""

    class NoContent(Registry):
        def _append(self, request, name, upload):
            answer = super()._append(request, name, upload)
            return replace(answer, status=204) if answer.status == 202 else answer

    with NoContent(shortest=40_000) as registry:
        plain = theirs(registry)
        with pytest.raises(ValueError, match="Issue with"):
            plain.chunked_upload(file, plain.get_container(f"{registry.host}/hello:1"), LAYER, chunk_size=40_000)
    with NoContent(shortest=40_000) as registry:
        ours(registry).upload_blob(file, f"{registry.host}/hello:1", LAYER, do_chunked=True, chunk_size=10_000)
        assert registry.blobs["hello", LAYER["digest"]] == BYTES
        assert [len(request.body) for request in registry.requests("PATCH")] == [40_000, 40_000, len(BYTES) - 80_000]


def test_d21_a_manifest_arrives_as_it_was_built():
    """C: indexes are refused, manifests re-written on their way, and always called image manifests.

    Bytes go as they are, under their own media type, to the digest they have."""
    index = {"schemaVersion": 2, "mediaType": mediatype.INDEX, "manifests": []}
    data = json.dumps(
        {"schemaVersion": 2, "mediaType": mediatype.MANIFEST, "config": {}, "layers": []}, indent=3
    ).encode()
    with Registry() as registry:
        plain = theirs(registry)
        place = plain.get_container(f"{registry.host}/hello:1")
        with pytest.raises(jsonschema.ValidationError):
            plain.upload_manifest(index, place)
    with Scripted({"PUT .*": Answer(201)}) as server:
        plain = theirs(server)
        plain.upload_manifest(json.loads(data), plain.get_container(f"{server.host}/hello:1"))
        ours(server).upload_manifest(data, f"{server.host}/hello:1")
        assert [request.body == data for request in server.seen] == [False, True]
    with Registry() as registry:
        client = ours(registry)
        client.upload_manifest(index, f"{registry.host}/hello:1")
        assert client.fetch_manifest(f"{registry.host}/hello:1")[0].media_type == mediatype.INDEX
        with pytest.raises(ContentError) as caught:
            client.upload_manifest(index, f"{registry.host}/hello@{Digest.of(b'other')}")
        assert caught.value.code == "digest-mismatch"


def test_d22_a_manifest_is_verified_and_its_bytes_are_had():
    """C: a manifest is a dict: its bytes, media type and digest are lost, and nothing is verified.

    `fetch_manifest` gives descriptor and bytes; whatever is asked for by digest has that digest."""
    data = b'{ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] }'
    with Scripted({"GET .*": Answer(200, {"Content-Type": mediatype.INDEX}, data)}) as server:
        wrong = f"{server.host}/hello@{Digest.of(b'another')}"
        assert theirs(server).get_manifest(wrong) == json.loads(data)
        with pytest.raises(ContentError) as caught:
            ours(server).get_manifest(wrong)
        assert caught.value.code == "digest-mismatch"
        descriptor, found = ours(server).fetch_manifest(f"{server.host}/hello:1")
        assert (descriptor, found) == (Descriptor.of(mediatype.INDEX, data), data)


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_d23_not_knowing_is_not_missing(status):
    """R: any answer but 200 means that a blob is missing, and it is sent.

    200 is yes, 404 no; anything else is an error, or tried again."""
    with Scripted({"HEAD .*": Answer(status), "GET .*": Answer(status)}) as server:
        plain = theirs(server)
        with suppress(ValueError):
            assert plain.blob_exists(LAYER, plain.get_container(f"{server.host}/hello")) is False
        with pytest.raises(OcibuildError):
            ours(server).blob_exists(LAYER, f"{server.host}/hello")


def test_d24_nothing_is_a_blob_too(tmp_path):
    """C: when the empty blob fails to arrive, success is reported; when it fails to come, /dev/null is.

    The empty blob is sent, stored and read like any other."""
    (tmp_path / "empty").touch()
    empty = {"mediaType": "application/octet-stream", "digest": Digest.of(b""), "size": 0}
    script = {
        "POST .*": Answer(202, {"Location": "/v2/u"}),
        "PUT .*": Answer(507),
        "HEAD .*": Answer(404),
        "GET .*": Answer(404),
    }
    with Scripted(script) as server:
        plain, place = theirs(server), f"{server.host}/hello:1"
        assert plain.upload_blob(str(tmp_path / "empty"), place, empty).status_code == 200
        assert plain.download_blob(place, empty["digest"], str(tmp_path / "out")) == os.devnull
        with pytest.raises(RegistryError):
            ours(server).upload_blob(str(tmp_path / "empty"), place, empty)
        with pytest.raises(NotFoundError):
            ours(server).download_blob(place, empty["digest"], str(tmp_path / "out"))
    with Registry() as registry:
        client = ours(registry)
        client.upload_blob(str(tmp_path / "empty"), f"{registry.host}/hello:1", empty)
        assert registry.blobs["hello", empty["digest"]] == b""
        assert (
            Path(client.download_blob(f"{registry.host}/hello", empty["digest"], str(tmp_path / "o"))).read_bytes()
            == b""
        )


def test_d25_a_download_is_verified_and_whole_or_not_there(tmp_path):
    """C: downloads are not verified, decoded on the way, and half there when they break.

    Verified while read, resumed where broken, never decoded, renamed into place when whole."""
    with Scripted({"GET .*": Answer(200, {}, b"abc"), "HEAD .*": Answer(200, {"Content-Length": "3"})}) as server:
        wrong, out = Digest.of(b"xyz"), tmp_path / "new" / "out"
        theirs(server).download_blob(f"{server.host}/hello", wrong, str(out))
        assert out.read_bytes() == b"abc"
        out.unlink()
        with pytest.raises(ContentError):
            ours(server).download_blob(f"{server.host}/hello", wrong, str(out))
        assert list(out.parent.iterdir()) == []
    squeezed = gzip.compress(BYTES)

    def answer(request):
        # A file that was gzip to begin with, from a server that says so.
        headers = {"Content-Encoding": "gzip"} if "gzip" in request.headers.get("accept-encoding", "") else {}
        return Answer(200, headers, squeezed)

    with Server(answer) as server:
        place, digest = f"{server.host}/hello", Digest.of(squeezed)
        assert Path(theirs(server).download_blob(place, digest, str(tmp_path / "a"))).read_bytes() != squeezed
        assert Path(ours(server).download_blob(place, digest, str(tmp_path / "b"))).read_bytes() == squeezed


def test_d26_deleting_a_tag_leaves_the_manifest():
    """C: deleting a tag deletes the manifest, and every other tag of it.

    The tag is deleted and no more; a manifest only by `delete_manifest`."""
    digest = Digest.of(b"m")
    script = {"HEAD .*": Answer(200, {"Docker-Content-Digest": digest}), "DELETE .*": Answer(202)}
    for make, deleted in ((theirs, digest), (ours, "1")):
        with Scripted(script) as server:
            assert make(server).delete_tag(f"{server.host}/hello", "1") is True
            assert [request.path for request in server.requests("DELETE")] == [f"/v2/hello/manifests/{deleted}"]


NEW = [
    "ping", "catalog", "resolve", "head_manifest", "fetch_manifest", "mount_blob", "start_upload", "upload_status",
    "cancel_upload", "delete_manifest", "delete_blob", "subject",
]  # fmt: skip


def test_d27_what_oras_does_not_have():
    """C: no mounting, no resolving, no status and end of uploads, no catalogue, no referrers, no name in User-Agent.

    All of it is there; the registry is told who asks."""
    assert [name for name in NEW if hasattr(oras.provider.Registry, name)] == []
    assert [name for name in NEW if not callable(getattr(Client, name, None))] == []
    with Registry() as registry:
        theirs(registry).get_blob(f"{registry.host}/hello", Digest.of(b"x"))
        ours(registry).get_blob(f"{registry.host}/hello", Digest.of(b"x"))
        agents = [request.headers["user-agent"] for request in registry.seen]
        assert agents[0].startswith("python-requests/")
        assert agents[1].startswith("ocibuild/")


WHOLE = [
    ("ubuntu", "registry-1.docker.io/library/ubuntu:latest"),
    ("localhost/app:1", "localhost/app:1"),
]
WRONG = ["r.example//app", "https://r.example/app", "u:p@r.example/app", "r.example/../../etc", "r.example/a:bad tag",
         "r.example/UPPER", "r.example/a?x=1", "r.example/a@sha256:xyz", f"r.example/a:{'t' * 129}", "r.example/a\n"]  # fmt: skip


def test_d28_references_are_read_whole_or_refused():
    """C: a reference is searched for what fits, and the rest is dropped: schemes, users, steps up.

    distribution-spec's grammar, Docker Hub's names, and a refusal that says what was meant."""
    for name, expected in WHOLE:
        assert oras.container.Container(name).uri != expected
        assert Client().get_container(name).uri == expected
    for name in WRONG:
        oras.container.Container(name)
        with pytest.raises(UsageError) as caught:
            Client().get_container(name)
        assert caught.value.code == "reference-invalid"


def test_d29_every_place_of_credentials_is_searched(tmp_path, file, monkeypatch):
    """C: DOCKER_CONFIG, auth.json and keys that are URLs are not read; broken JSON raises.

    The places docker and podman use, in their order; what cannot be read is told and passed over."""
    with Registry(user="ada", password="lovelace") as registry:
        document = auths(f"https://{registry.host}/v1/", "ada", "lovelace")
        folder = dockerconfig(tmp_path / "docker", document)
        monkeypatch.setenv("DOCKER_CONFIG", str(folder))
        plain = theirs(registry)
        plain.auth.load_configs(plain.get_container(f"{registry.host}/hello:1"))
        assert not hasattr(plain.auth, "_basic_auth")
        client = ours(registry, replace(QUICK, environ={"DOCKER_CONFIG": str(folder)}))
        assert client.upload_blob(file, f"{registry.host}/hello:1", LAYER).status_code == 201


def test_d30_an_identity_token_is_traded(tmp_path, monkeypatch):
    """C: a helper's identity token is sent as a password; a helper that hangs or babbles hangs or breaks everything.

    Identity tokens are traded by POST for access tokens; helpers have a time limit and their answers are checked."""

    class Trading(Guarded):
        def respond(self, request):
            if request.path.startswith("/token"):
                fields = parse_qs(request.body.decode())
                is_right = request.method == "POST" and fields["refresh_token"] == ["identity"]
                return Answer(200, body=b'{"access_token":"SECRET"}') if is_right else Answer(401)
            return super().respond(request)

    with Trading() as server:
        helper = Helper(tmp_path, "test", {"Username": "<token>", "Secret": "identity"})
        folder = dockerconfig(tmp_path / "home" / ".docker", {"credHelpers": {server.host: "test"}})
        monkeypatch.setenv("PATH", helper.path)
        plain = theirs(server)
        plain.auth.load_configs(plain.get_container(f"{server.host}/a"))
        assert base64.b64decode(plain.auth._basic_auth) == b"<token>:identity"
        environ = {"PATH": helper.path, "DOCKER_CONFIG": str(folder)}
        assert ours(server, replace(QUICK, environ=environ)).get_tags(f"{server.host}/a") == ["1"]


def test_d31_amazons_registries_by_their_helper(tmp_path, file):
    """C: Amazon's registries need boto3, and those in China, dual-stack or public are not known.

    docker-credential-ecr-login is a helper like any other; every host that it knows works."""
    for host in ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "123456789012.dkr-ecr.eu-west-1.on.aws"):
        assert not oras.auth.ecr.EcrAuth.AWS_ECR_PATTERN.fullmatch(host)
    with Registry(user="AWS", password="twelve-hours", basic=True) as registry:
        helper = Helper(tmp_path, "ecr-login", {"Username": "AWS", "Secret": "twelve-hours"})
        folder = dockerconfig(tmp_path / "docker", {"credHelpers": {registry.host: "ecr-login"}})
        client = ours(registry, replace(QUICK, environ={"PATH": helper.path, "DOCKER_CONFIG": str(folder)}))
        assert client.upload_blob(file, f"{registry.host}/hello:1", LAYER).status_code == 201
        assert len(registry.requests("PUT")) == 1
        with pytest.raises(RegistryError) as caught:
            Client(registry.host, auth_backend="ecr")
        assert "ecr-login" in caught.value.hint


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_d32_a_connection_is_given_back():
    """R: a streamed answer that was a question is not closed, and its connection lost.

    Answers that are not handed on are read or closed; one connection does for both."""
    challenge = b'{"errors":[' + b" " * 200_000 + b"]}"

    class Wordy(Guarded):
        def respond(self, request):
            answer = super().respond(request)
            return replace(answer, body=challenge) if answer.status == 401 else answer

    for make in (theirs, ours):
        with Wordy() as server:
            client = make(server)
            with closing(client.get_blob(f"{server.host}/a", Digest.of(b"x"), stream=True)):
                pass
            pools = client.session.get_adapter(server.url).poolmanager.pools
            assert [pools[key].num_connections for key in pools.keys()] == [2 if make is theirs else 1]  # noqa: SIM118
            client.session.close()


def test_d33_nothing_is_silenced_for_the_whole_process():
    """R: tls_verify=False silences urllib3's warnings everywhere, and verification is one switch for all hosts.

    A TLS context for each client; other code's warnings are left alone."""
    for make, silenced in ((Client, False), (oras.provider.Registry, True)):
        with warnings.catch_warnings():
            before = list(warnings.filters)
            make("r.example", tls_verify=False)
            assert (list(warnings.filters) != before) == silenced


def test_d34_connections_for_every_thread(caplog):
    """R: ten connections, whatever the number of threads; the rest are thrown away after each request.

    As many as there are threads let through, with blocks of 256 KiB."""
    for make in (theirs, ours):
        with Scripted({"GET .*": Answer(200, body=b'{"tags":["1"]}', after=0.3)}) as server:
            client, together = make(server), threading.Barrier(16)

            def ask(number, client=client, together=together, server=server):
                together.wait(10)
                return client.get_tags(f"{server.host}/a")

            caplog.clear()
            with caplog.at_level(logging.WARNING, "urllib3"), ThreadPoolExecutor(16) as pool:
                assert list(pool.map(ask, range(16))) == [["1"]] * 16
            assert any("pool is full" in record.message for record in caplog.records) == (make is theirs)
            client.session.close()


def test_d35_an_archive_stays_in_its_folder(tmp_path):
    """S: an archive's entries are written beside the folder, and links followed.

    `pull` writes files and folders below its own, and refuses an artifact that wants otherwise, before it writes."""
    out = tmp_path / "out"
    assert oras.utils.fileio.is_within_directory(str(out), str(tmp_path / "outside" / "evil"))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as entries:
        entry = tarfile.TarInfo("../outside/evil")
        entry.size = 4
        entries.addfile(entry, io.BytesIO(b"evil"))
    layer = {
        "mediaType": mediatype.LAYER_GZIP,
        "digest": Digest.of(archive.getvalue()),
        "size": len(archive.getvalue()),
    }
    with Registry() as registry:
        put_artifact(
            registry, [({**layer, "annotations": {"org.opencontainers.image.title": "in"}}, archive.getvalue())]
        )
        with pytest.raises(ContentError) as caught:
            ours(registry).pull(f"{registry.host}/hello:1", outdir=str(out))
        assert caught.value.code == "name-refused"
        assert not (tmp_path / "outside").exists()
        assert list(out.iterdir()) == []


def put_artifact(registry, layers):
    """An artifact as hello:1 of a double."""
    config = {"mediaType": "application/vnd.unknown.config.v1+json", "digest": Digest.of(b"{}"), "size": 2}
    registry.blobs["hello", config["digest"]] = b"{}"
    for layer, data in layers:
        registry.blobs["hello", layer["digest"]] = data
    document = {
        "schemaVersion": 2,
        "mediaType": mediatype.MANIFEST,
        "config": config,
        "layers": [layer for layer, _ in layers],
    }
    data = json.dumps(document).encode()
    registry.manifests["hello", Digest.of(data)] = (mediatype.MANIFEST, data)
    registry.tags["hello", "1"] = Digest.of(data)


def test_d36_a_login_writes_no_file(tmp_path, monkeypatch):
    """S: a login writes config.json in place, readable by all, and fails where it has no `auths`.

    The client's login is tried at the registry and lives as long as the client."""
    monkeypatch.setattr(oras.utils, "get_docker_client", lambda **options: 1 / 0)
    config = tmp_path / "config.json"
    old = os.umask(0o022)
    try:
        with Registry(user="ada", password="lovelace") as registry:
            plain = theirs(registry)
            plain.login("ada", "lovelace", hostname=registry.host, config_path=str(config))
            assert stat.S_IMODE(config.stat().st_mode) & 0o044
            config.write_text('{"credsStore":"secretservice"}')
            with pytest.raises(KeyError):
                plain.login("ada", "lovelace", hostname=registry.host, config_path=str(config))
            client = ours(registry)
            with pytest.raises(AuthorizationError):
                client.login("ada", "wrong")
            with pytest.raises(AuthorizationError):
                client.ping()
            assert client.login("ada", "lovelace")["Status"] == "Login Succeeded"
            assert client.ping()
            client.logout(registry.host)
            with pytest.raises(AuthorizationError):
                client.ping()
    finally:
        os.umask(old)
    assert config.read_text() == '{"credsStore":"secretservice"}'


def test_d37_a_layer_that_looks_like_a_manifest_is_a_layer(tmp_path):
    """C: a layout's blobs are read whole and guessed at: a JSON layer with a mediaType is sent as a manifest.

    `copy` goes by descriptors: what a manifest calls a layer is sent as a blob."""
    layer = jsonform.dump({"schemaVersion": 2, "mediaType": mediatype.INDEX, "manifests": []})
    blobs = {Digest.of(data).hex: data for data in (layer, b"{}")}
    parts = [Descriptor.of(mediatype.CONFIG, b"{}"), Descriptor.of("application/json", layer)]
    manifest = Manifest(parts[0], (parts[1],)).to_bytes()
    folder = tmp_path / "layout" / "blobs" / "sha256"
    folder.mkdir(parents=True)
    for name, data in {**blobs, Digest.of(manifest).hex: manifest}.items():
        (folder / name).write_bytes(data)
    entry = {
        **Descriptor.of(mediatype.MANIFEST, manifest).to_json(),
        "annotations": {"org.opencontainers.image.ref.name": "1"},
    }
    (tmp_path / "layout" / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (tmp_path / "layout" / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    with Registry() as registry:
        with suppress(Exception):
            layout = oras.layout.Layout(str(tmp_path / "layout"))
            layout.push_to_registry(provider=ours(registry), target=f"{registry.host}/hello:1", tag="1")
        assert ("hello", Digest.of(layer)) not in registry.blobs
        assert ("hello", Digest.of(layer)) in registry.manifests
    with Registry() as registry, Flow.open() as flow, LayoutStore(tmp_path / "layout") as source:
        target = RegistryStore(Reference.parse(f"{registry.host}/hello:1"), QUICK)
        copy(source, source.resolve("1"), target, names=["1"], flow=flow)
        assert registry.blobs["hello", Digest.of(layer)] == layer


def test_d38_a_subject_is_what_the_registry_has():
    """C: a subject's digest is that of a manifest written anew, which no registry has.

    `subject` describes the very bytes."""
    data = json.dumps({"schemaVersion": 2, "mediaType": mediatype.INDEX, "manifests": []}, indent=1).encode()
    with Registry() as registry:
        client = ours(registry)
        client.upload_manifest(data, f"{registry.host}/hello:1")
        assert oras.oci.Subject.from_manifest(json.loads(data)).digest != Digest.of(data)
        assert client.subject(f"{registry.host}/hello:1") == oras.oci.Subject(
            mediatype.INDEX, Digest.of(data), len(data)
        )


def test_d39_beside_the_folder_is_not_inside(tmp_path, monkeypatch):
    """U: a file counts as inside the working folder where its path contains that folder's name.

    It is inside where its real path is."""
    inside, beside = tmp_path / "out", tmp_path / "outside"
    for folder in (inside, beside):
        folder.mkdir()
        (folder / "f").write_text("f")
    monkeypatch.chdir(inside)
    script = {"HEAD .*": Answer(404), "POST .*": Answer(202, {"Location": "/v2/u"}), "PUT .*": Answer(201)}
    with Scripted(script) as server:
        theirs(server).push(f"{server.host}/hello:1", files=[str(beside / "f")])
        assert b"f" in [request.body for request in server.requests("PUT")]
    with Registry() as registry:
        with pytest.raises(ValueError, match="present working directory"):
            ours(registry).push(f"{registry.host}/hello:2", files=[str(beside / "f")])
        assert ours(registry).push(f"{registry.host}/hello:2", files=["f"]).status_code == 201


def test_d40_nothing_is_printed(tmp_path, file, monkeypatch, capsys):
    """U: until 0.2.41 a push prints to stdout.

    0.2.43 is the least that is accepted, and a push through ours prints nothing."""
    assert tuple(int(part) for part in version("oras").split(".")) >= (0, 2, 43)
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert [line for line in project["dependencies"] if line.startswith("oras")] == ["oras>=0.2.43,<0.3"]
    monkeypatch.chdir(tmp_path)
    with Registry() as registry:
        ours(registry).push(f"{registry.host}/hello:1", files=["hello.wasm"])
    assert capsys.readouterr().out == ""


def test_d41_an_error_says_what_the_registry_said():
    """U: an error has the status's name; what the registry said goes to a log.

    The registry's codes and words are in the message, cleaned, with what to do next."""
    body = b'{"errors":[{"code":"NAME_UNKNOWN","message":"no repository hello\\u001b[31m"}]}'
    with Scripted({"GET .*": Answer(404, body=body)}) as server:
        with pytest.raises(ValueError) as bare:
            theirs(server).get_tags(f"{server.host}/hello")
        assert "NAME_UNKNOWN" not in str(bare.value)
        with pytest.raises(RegistryError, match="NAME_UNKNOWN: no repository hello") as caught:
            ours(server).get_tags(f"{server.host}/hello")
        assert "\x1b" not in caught.value.message
        assert caught.value.hint


def test_d42_many_threads_and_hosts_do_not_mix():
    """R: token, credentials and headers are one unguarded slot each, for all threads and hosts.

    State is kept by host and scope under locks; sixteen threads on two hosts get and send the right ones."""
    with Registry(user="ada", password="1") as one, Registry(user="bob", password="2") as two:
        accounts = {one.host: Credential("ada", "1"), two.host: Credential("bob", "2")}
        client = Client(one.host, insecure=True, settings=replace(QUICK, credentials=accounts))

        def push(number):
            data = f"blob {number}".encode()
            host = (one, two)[number % 2].host
            described = {
                "schemaVersion": 2,
                "mediaType": mediatype.INDEX,
                "manifests": [],
                "annotations": {"n": data.decode()},
            }
            return client.upload_manifest(described, f"{host}/team{number % 4}/hello:{number}").status_code

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(push, range(64))) == [201] * 64
        assert len(one.tags) == len(two.tags) == 32
        assert not set(one.tokens) & {given.removeprefix("Bearer ") for given in authorizations(two)}
        assert not set(two.tokens) & {given.removeprefix("Bearer ") for given in authorizations(one)}
    with Guarded() as one, Guarded() as two:
        plain = theirs(one)
        plain.get_tags(f"{one.host}/a")
        plain.get_tags(f"{two.host}/a")
        assert authorizations(two)[0] == "Bearer SECRET"
        assert authorizations(two)[0] in authorizations(one)


def test_every_defect_has_its_test_in_order():
    names = [name for name in globals() if re.match(r"test_d\d\d_", name)]
    assert [int(name[6:8]) for name in names] == list(range(1, 43))
    assert all(re.match(r"[SCRPU]: [^\n]+\.\n\n", globals()[name].__doc__) for name in names)
