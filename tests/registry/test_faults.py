"""What a registry, or the network before it, can do to us, and what becomes of it."""

import gzip
import hashlib
import json
import os
import socket
import threading
import time

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Cancel, Flow
from ocibuild.errors import (
    AuthorizationError,
    Cancelled,
    ContentError,
    InputError,
    NetworkError,
    OcibuildError,
    RegistryError,
)
from ocibuild.registry.credentials import Credential
from ocibuild.registry.settings import Patience, Settings, Timeouts
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Pushed, fetch
from tests.registry.double import Registry
from tests.registry.scripted import PLANTED, Answer, Scripted

BLOB = Blob.of(mediatype.LAYER, os.urandom(1_000_000))
MANIFEST = Blob.of(mediatype.MANIFEST, b'{"schemaVersion":2,"config":{},"layers":[]}')
QUICK = Patience(attempts=4, first=0.01, longest=0.02, asked=2)

MISSING = {"HEAD /v2/a/blobs/.*": Answer(404)}
STARTED = {"POST /v2/a/blobs/uploads/": Answer(202, {"Location": "/v2/a/blobs/uploads/u1"})}
PUT = r"PUT /v2/a/blobs/uploads/u1\?digest=.*"
STORED = Answer(201, {"Docker-Content-Digest": BLOB.descriptor.digest})


def store(server, **settings) -> RegistryStore:
    return RegistryStore(Reference.parse(f"{server.host}/a:1"), Settings(**{"patience": QUICK, **settings}))


def push(server, blob=BLOB, observe=None, **settings) -> Pushed:
    with Flow.open(observe or (lambda event: None)) as flow:
        return store(server, **settings).push(blob, flow)


# Trouble that passes.


@pytest.mark.fault(78)
@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_trouble_at_the_put_is_met_with_the_whole_body_again(status):
    with Scripted({**MISSING, **STARTED, PUT: [Answer(status), STORED]}) as server:
        assert push(server) is Pushed.WRITTEN
        bodies = [request.body for request in server.requests("PUT")]
        assert bodies == [BLOB.content.data] * 2
        assert {request.headers["content-length"] for request in server.requests("PUT")} == {"1000000"}


@pytest.mark.fault(10)
def test_a_reset_in_the_middle_of_the_put():
    events = []
    with Scripted({**MISSING, **STARTED, PUT: [Answer(read=300_000, reset=True), STORED]}) as server:
        assert push(server, observe=events.append) is Pushed.WRITTEN
        assert server.requests("PUT")[-1].body == BLOB.content.data
    assert sum(event.amount for event in events if event.kind == "advance") == BLOB.descriptor.size
    assert any(event.kind == "retry" and "broke" in event.text for event in events)


@pytest.mark.fault(12, 52)
def test_a_put_whose_answer_was_lost_had_arrived():
    heads = [Answer(404), Answer(200, {"Content-Length": "1000000"})]
    script = {"HEAD /v2/a/blobs/.*": heads, **STARTED, PUT: Answer(read=1_000_000, reset=True)}
    with Scripted(script) as server:
        assert push(server) is Pushed.WRITTEN
        assert len(server.requests("PUT")) == 1


@pytest.mark.fault(10)
def test_a_put_that_breaks_every_time_ends():
    with Scripted({**MISSING, **STARTED, PUT: Answer(read=1000, reset=True)}) as server:
        with pytest.raises(NetworkError) as caught:
            push(server)
        assert caught.value.code == "connection-lost"
        assert len(server.requests("PUT")) == QUICK.attempts


@pytest.mark.fault(77)
def test_retry_after_is_obeyed():
    answers = [Answer(429, {"Retry-After": "1"}), Answer(404)]
    with Scripted({"HEAD /v2/a/blobs/.*": answers}) as server:
        started = time.monotonic()
        assert store(server).exists(BLOB.descriptor) is False
        assert 1 <= time.monotonic() - started < 3


@pytest.mark.fault(77)
def test_a_retry_after_that_is_too_long_is_told():
    with Scripted({"HEAD /v2/a/blobs/.*": Answer(429, {"Retry-After": "99999"})}) as server:
        with pytest.raises(RegistryError) as caught:
            store(server).exists(BLOB.descriptor)
        assert caught.value.code == "rate-limited"
        assert "99999" in caught.value.message
        assert len(server.seen) == 1


@pytest.mark.fault(9)
def test_a_connection_the_server_closed_meanwhile_is_no_fault():
    answers = [Answer(200, {"Connection": "close"}), Answer(reset=True), Answer(404)]
    with Scripted({"HEAD /v2/a/blobs/.*": answers}) as server:
        known = store(server)
        assert known.exists(BLOB.descriptor) is False  # 200 of another size
        assert known.exists(BLOB.descriptor) is False


@pytest.mark.fault(51)
def test_an_uploaded_session_that_is_forgotten_is_opened_again():
    body = b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"gone"}]}'
    with Scripted({**MISSING, **STARTED, PUT: [Answer(404, body=body), STORED]}) as server:
        assert push(server) is Pushed.WRITTEN
        assert len(server.requests("POST")) == 2


@pytest.mark.fault(77)
def test_a_put_that_asks_to_wait_is_given_the_time():
    answers = [Answer(503, {"Retry-After": "1"}), STORED]
    with Scripted({**MISSING, **STARTED, PUT: answers}) as server:
        started = time.monotonic()
        assert push(server) is Pushed.WRITTEN
    assert 1 <= time.monotonic() - started < 3


@pytest.mark.fault(53)
def test_bytes_the_registry_finds_damaged_are_sent_once_more_and_no_oftener():
    body = b'{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}'
    with Scripted({**MISSING, **STARTED, PUT: Answer(400, body=body)}) as server:
        with pytest.raises(RegistryError) as caught:
            push(server)
        assert len(server.requests("PUT")) == 2
    assert caught.value.code == "digest-mismatch"


@pytest.mark.fault(11, 57)
def test_an_answer_that_comes_before_the_body_s_end_is_the_one_that_counts():
    large = Blob.of(mediatype.LAYER, bytes(20_000_000))
    early = Answer(413, {"Connection": "close"}, b"too large", read=1000)
    script = {**MISSING, **STARTED, PUT: early, "PATCH .*": early}
    with Scripted(script) as server, pytest.raises(RegistryError) as caught:
        push(server, large)
    assert caught.value.code == "too-large"
    assert len(server.requests("PUT")) == 1
    lengths = [int(request.headers["content-length"]) for request in server.requests("PATCH")]
    assert lengths == [10_000_000, 5_000_000, 2_500_000, 1_250_000, 1024 * 1024]


@pytest.mark.fault(35)
def test_a_login_that_lapsed_at_the_put_is_met_with_the_whole_body_again():
    events = []
    with Scripted({**MISSING, **STARTED, PUT: [CHALLENGE, STORED]}) as server:
        assert push(server, observe=events.append, **basic(server)) is Pushed.WRITTEN
        assert [request.body for request in server.requests("PUT")] == [BLOB.content.data] * 2
        assert "authorization" in server.requests("PUT")[1].headers
    assert sum(event.amount for event in events if event.kind == "advance") == BLOB.descriptor.size


# Names and proxies.


@pytest.mark.fault(1, 2)
@pytest.mark.parametrize(
    "number, code, looks", [(socket.EAI_NONAME, "dns-failed", 1), (socket.EAI_AGAIN, "dns-unavailable", QUICK.attempts)]
)
def test_a_host_nobody_knows(monkeypatch, number, code, looks):
    asked = []

    def lookup(host, port, **more):
        asked.append(host)
        raise socket.gaierror(number, "no")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    with pytest.raises(NetworkError) as caught:
        RegistryStore(Reference.parse("r.example/a:1"), Settings(patience=QUICK)).exists(BLOB.descriptor)
    assert caught.value.code == code
    assert asked == ["r.example"] * looks


def test_a_plain_proxy_is_asked_for_the_whole_address():
    with Scripted({"HEAD http://r.example/v2/a/blobs/.*": Answer(200, {"Content-Length": "1000000"})}) as proxy:
        settings = Settings(
            plain_http=True, patience=QUICK, environ={"http_proxy": proxy.url, "NO_PROXY": "other.example"}
        )
        assert RegistryStore(Reference.parse("r.example/a:1"), settings).exists(BLOB.descriptor)
        assert proxy.seen[0].headers["host"] == "r.example"


@pytest.mark.fault(16)
def test_a_proxy_that_refuses_is_named_and_its_password_is_not():
    with Scripted({}) as proxy:
        environ = {"HTTPS_PROXY": f"http://ada:{PLANTED}@{proxy.host}"}
        with pytest.raises(NetworkError) as caught:
            RegistryStore(Reference.parse("r.example/a:1"), Settings(patience=QUICK, environ=environ)).resolve()
    assert caught.value.code == "proxy-refused"
    assert PLANTED not in repr(caught.value)


# Refusals, in words.


@pytest.mark.parametrize(
    "status, body, kind, code",
    [
        (403, b'{"errors":[{"code":"DENIED","message":"quota exceeded"}]}', AuthorizationError, "forbidden"),
        (413, b"<html><title>413 Request Entity Too Large</title></html>", RegistryError, "too-large"),
        (409, b"", RegistryError, "registry-refused"),
    ],
)
def test_a_refused_put_is_final(status, body, kind, code):
    headers = {"Content-Type": "text/html" if b"html" in body else "application/json"}
    with Scripted({**MISSING, **STARTED, PUT: Answer(status, headers, body)}) as server:
        with pytest.raises(kind) as caught:
            push(server)
        assert caught.value.code == code
        assert str(status) in caught.value.message
        assert len(server.requests("PUT")) == 1
    if b"quota" in body:
        assert "quota exceeded" in caught.value.message


@pytest.mark.fault(93)
def test_a_repository_that_must_be_created_first():
    body = b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}'
    with Scripted({**MISSING, "POST .*": Answer(404, body=body)}) as server, pytest.raises(RegistryError) as caught:
        push(server)
    assert caught.value.code == "repository-unknown"
    assert "create" in str(caught.value.hint)


@pytest.mark.fault(95, 46)
def test_escapes_and_signed_queries_do_not_reach_the_terminal():
    body = json.dumps(
        {
            "errors": [
                {"code": "DENIED", "message": "\x1b[31mred\x07 see https://s3.example/x?X-Amz-Signature=" + PLANTED}
            ]
        }
    )
    with (
        Scripted({**MISSING, "POST .*": Answer(400, body=body.encode())}) as server,
        pytest.raises(RegistryError) as caught,
    ):
        push(server)
    assert "red" in caught.value.message
    assert "\x1b" not in caught.value.message
    assert PLANTED not in caught.value.message


@pytest.mark.fault(31)
def test_an_upload_without_a_location():
    with Scripted({**MISSING, "POST .*": Answer(202)}) as server, pytest.raises(RegistryError) as caught:
        push(server)
    assert caught.value.code == "location-missing"


@pytest.mark.fault(67)
def test_a_login_page_is_no_manifest():
    page = Answer(200, {"Content-Type": "text/html"}, b"<html><title>Sign in to Example</title></html>")
    with Scripted({"HEAD .*": page, "GET .*": page}) as server, pytest.raises(RegistryError) as caught:
        store(server).resolve("1")
    assert caught.value.code == "not-a-registry"
    assert "Sign in to Example" in caught.value.message


@pytest.mark.fault(3)
def test_nobody_listens():
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{reserved.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(NetworkError) as caught:
            RegistryStore(Reference.parse(f"{host}/a:1"), Settings(patience=QUICK)).resolve()
    assert caught.value.code == "connection-refused"
    assert host in caught.value.message
    assert time.monotonic() - started < 3


@pytest.mark.fault(8)
def test_plain_http_where_tls_was_expected():
    with Scripted({}) as server, pytest.raises(NetworkError) as caught:
        store(server, plain_http=False).resolve()
    assert caught.value.code == "tls-expected"
    assert "--plain-http" in str(caught.value.hint)


def test_silence_has_a_bound():
    with Scripted({"HEAD .*": Answer(stall=True)}) as server:
        started = time.monotonic()
        with pytest.raises(NetworkError) as caught:
            store(server, timeouts=Timeouts(reply=0.3)).resolve()
    assert caught.value.code == "timeout"
    assert time.monotonic() - started < 3


@pytest.mark.fault(15)
def test_a_peer_that_stops_reading_has_a_bound():
    large = Blob.of(mediatype.LAYER, bytes(30_000_000))
    with Scripted({**MISSING, **STARTED, PUT: Answer(stall=True)}) as server:
        started = time.monotonic()
        with pytest.raises(NetworkError):
            push(server, large, timeouts=Timeouts(write=0.3), patience=Patience(attempts=1))
    assert time.monotonic() - started < 5


# Where things are sent.


@pytest.mark.fault(32, 33)
def test_a_location_is_resolved_and_kept_to_the_byte():
    locations = ["?_state=a%2Fb&empty=&x=1&x=2", "/v2/a/blobs/uploads/u?q=%20", "../../b/up", "/up?sig=%7Ea%2Bb+c"]
    expected = [
        "/v2/a/blobs/uploads/?_state=a%2Fb&empty=&x=1&x=2&digest=",
        "/v2/a/blobs/uploads/u?q=%20&digest=",
        "/v2/a/b/up?digest=",
        "/up?sig=%7Ea%2Bb+c&digest=",
    ]
    for location, path in zip(locations, expected, strict=True):
        script = {**MISSING, "POST .*": Answer(202, {"Location": location}), "PUT .*": STORED}
        with Scripted(script) as server:
            push(server)
            assert server.requests("PUT")[0].path.startswith(path)
            assert server.requests("PUT")[0].path.endswith(BLOB.descriptor.digest.replace(":", "%3A"))


def basic(server, **more):
    server.entrusted = True
    return {"credentials": {server.host: Credential("ada", PLANTED)}, **more}


CHALLENGE = Answer(401, {"WWW-Authenticate": 'Basic realm="x"'})


@pytest.mark.fault(24)
def test_a_redirect_to_another_origin_carries_no_credentials():
    data = b"from the other"
    descriptor = Descriptor.of(mediatype.LAYER, data)
    with Scripted({"GET /cdn.*": Answer(200, body=data)}) as other:
        answers = [CHALLENGE, Answer(307, {"Location": f"{other.url}/cdn?sig=1"})]
        with Scripted({"GET /v2/a/blobs/.*": answers}) as server:
            assert fetch(store(server, **basic(server)), descriptor) == data
            assert "authorization" in server.seen[-1].headers
        assert other.seen[0].path == "/cdn?sig=1"
        assert "authorization" not in other.seen[0].headers


@pytest.mark.fault(34)
def test_an_upload_to_another_origin_carries_the_bytes_and_no_credentials():
    with Scripted({"PUT .*": STORED}) as other:
        posts = [CHALLENGE, Answer(202, {"Location": f"{other.url}/up?sig=1"})]
        with Scripted({**MISSING, "POST .*": posts}) as server:
            assert push(server, **basic(server)) is Pushed.WRITTEN
        assert other.seen[0].body == BLOB.content.data
        assert "authorization" not in other.seen[0].headers


@pytest.mark.fault(24)
def test_another_origin_that_asks_for_a_login_gets_none():
    with Scripted({"GET .*": CHALLENGE}) as other:
        answers = [CHALLENGE, Answer(307, {"Location": f"{other.url}/cdn"})]
        with Scripted({"GET /v2/a/blobs/.*": answers}) as server, pytest.raises(AuthorizationError):
            fetch(store(server, **basic(server)), BLOB.descriptor)
        assert not any(PLANTED in str(request.headers) or "authorization" in request.headers for request in other.seen)


@pytest.mark.fault(38)
def test_another_origin_cannot_name_the_realm_our_password_goes_to():
    with Scripted({"GET /token.*": Answer(200, body=b'{"token":"t"}')}) as other:
        other._script["GET /cdn"] = [Answer(401, {"WWW-Authenticate": f'Bearer realm="{other.url}/token"'})]
        script = {
            "HEAD .*": [CHALLENGE, Answer(404)],
            "GET /v2/a/blobs/.*": Answer(307, {"Location": f"{other.url}/cdn"}),
        }
        with Scripted(script) as server:
            known = store(server, **basic(server))
            assert known.exists(BLOB.descriptor) is False  # from now on the password is sent unasked
            with pytest.raises(AuthorizationError):
                fetch(known, BLOB.descriptor)
            assert "authorization" in server.requests("GET")[0].headers
        assert {request.path for request in other.seen} == {"/cdn"}
        assert not any("authorization" in request.headers for request in other.seen)


@pytest.mark.fault(27)
def test_a_redirect_without_end():
    script = {"GET .*": Answer(307, {"Location": "/v2/a/blobs/again"})}
    with Scripted(script) as server, pytest.raises(RegistryError) as caught:
        fetch(store(server), BLOB.descriptor)
    assert caught.value.code == "location-refused"
    assert len(server.seen) <= 11


@pytest.mark.fault(28)
@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://example.com/x", "http://user:pw@example.com/"])
def test_addresses_that_nothing_is_sent_to(location):
    script = {**MISSING, "POST .*": Answer(202, {"Location": location})}
    with Scripted(script) as server, pytest.raises(RegistryError) as caught:
        push(server)
    assert caught.value.code == "location-refused"


# Who asks.


def test_a_token_is_fetched_for_the_scopes_of_each_kind_of_request():
    with Registry(user="ada", password=PLANTED) as server:
        push(server, **basic(server))
        asked = [request.path for request in server.requests("GET", "/token")]
    assert [path.split("scope=")[1].split("&")[0] for path in asked] == [
        "repository%3Aa%3Apull",
        "repository%3Aa%3Apull%2Cpush",
    ]


def test_a_challenge_widens_what_is_asked_for_our_repository_and_no_other():
    challenge = 'Bearer realm="{}/token",scope="repository:a:pull,push repository:other:push"'
    with Scripted({"GET /token.*": Answer(200, body=b'{"token":"t"}')}) as server:
        server._script["HEAD .*"] = [Answer(401, {"WWW-Authenticate": challenge.format(server.url)}), Answer(404)]
        assert store(server, **basic(server)).exists(BLOB.descriptor) is False
        asked = server.requests("GET", "/token")[0].path
    assert asked.count("scope=") == 2
    assert "repository%3Aa%3Apull%2Cpush" in asked
    assert "other" not in asked


@pytest.mark.fault(36)
def test_a_registry_that_is_never_content_is_asked_twice_and_no_more():
    script = {"GET /token.*": Answer(200, body=b'{"token":"t"}')}
    with Scripted(script) as server:
        server._script["HEAD .*"] = [Answer(401, {"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})]
        with pytest.raises(AuthorizationError) as caught:
            store(server, **basic(server)).exists(BLOB.descriptor)
        assert len(server.requests("HEAD")) == 2
        assert len(server.requests("GET")) == 1
    assert "repository:a:pull" in caught.value.message


@pytest.mark.fault(37, 41)
@pytest.mark.parametrize(
    "answer, code",
    [
        (Answer(401), "token-refused"),
        (Answer(403), "token-refused"),
        (Answer(503), "token-failed"),
        (Answer(200, {"Content-Type": "text/html"}, b"<title>hi</title>"), "not-a-registry"),
        (Answer(200, body=b'{"token":""}'), "not-a-registry"),
        (Answer(200, body=b'{"token":"a\\nb"}'), "not-a-registry"),
        (Answer(200, body=b" " * 1_000_000), "answer-too-large"),
        (Answer(302, {"Location": "/elsewhere"}), "token-failed"),
    ],
)
def test_a_token_service_that_gives_none(answer, code):
    with Scripted({"GET /token.*": answer}) as server:
        server._script["HEAD .*"] = [Answer(401, {"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})]
        with pytest.raises(RegistryError) as caught:
            store(server, **basic(server)).exists(BLOB.descriptor)
    assert caught.value.code == code
    assert PLANTED not in caught.value.message


def test_an_identity_token_is_traded_and_not_sent_to_the_registry():
    with Scripted({"POST /token": Answer(200, body=b'{"access_token":"short","expires_in":"300"}')}) as server:
        server._script["HEAD .*"] = [
            Answer(401, {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="s"'}),
            Answer(404),
        ]
        server.entrusted = True
        known = Credential(identity_token=PLANTED)
        assert store(server, credentials={server.host: known}).exists(BLOB.descriptor) is False
        assert f"refresh_token={PLANTED}" in server.requests("POST")[0].body.decode()
        assert server.requests("HEAD")[1].headers["authorization"] == "Bearer short"


@pytest.mark.fault(40)
def test_a_401_without_a_challenge():
    with Scripted({"HEAD .*": Answer(401)}) as server, pytest.raises(AuthorizationError):
        store(server, **basic(server)).exists(BLOB.descriptor)


# What comes down.


@pytest.mark.fault(61)
def test_a_blob_of_other_bytes():
    wrong = bytes([BLOB.content.data[0] ^ 1]) + BLOB.content.data[1:]
    with Scripted({"GET .*": Answer(200, body=wrong)}) as server, pytest.raises(ContentError) as caught:
        fetch(store(server), BLOB.descriptor)
    assert caught.value.code == "digest-mismatch"


@pytest.mark.fault(20)
@pytest.mark.parametrize("body", [BLOB.content.data + b"x", BLOB.content.data[:-1]])
def test_a_blob_of_another_length(body):
    with Scripted({"GET .*": Answer(200, body=body)}) as server, pytest.raises(ContentError) as caught:
        fetch(store(server), BLOB.descriptor)
    assert caught.value.code == "size-mismatch"


@pytest.mark.fault(62)
def test_a_blob_that_breaks_off():
    with (
        Scripted({"GET .*": Answer(200, body=BLOB.content.data, cut=1000)}) as server,
        pytest.raises(NetworkError) as caught,
    ):
        fetch(store(server), BLOB.descriptor)
    assert caught.value.code == "connection-lost"


def test_a_manifest_of_other_bytes():
    name = Digest.of(b"another")
    script = {"GET .*": Answer(200, {"Content-Type": mediatype.MANIFEST}, MANIFEST.content.data)}
    with Scripted(script) as server, pytest.raises(ContentError) as caught:
        store(server).resolve(name)
    assert caught.value.code == "digest-mismatch"


@pytest.mark.fault(73)
def test_a_registry_that_lies_about_the_digest_of_a_tag():
    headers = {"Content-Type": mediatype.MANIFEST, "Docker-Content-Digest": Digest.of(b"another")}
    script = {"HEAD .*": Answer(404), "GET .*": Answer(200, headers, MANIFEST.content.data)}
    with Scripted(script) as server, pytest.raises(ContentError) as caught:
        store(server).resolve("1")
    assert caught.value.code == "digest-mismatch"


@pytest.mark.fault(73)
def test_a_registry_without_digests_and_without_head():
    kind = {"Content-Type": mediatype.MANIFEST + "; charset=utf-8"}
    for head in (Answer(405), Answer(200, kind), Answer(403)):
        with Scripted({"HEAD .*": head, "GET .*": Answer(200, kind, MANIFEST.content.data)}) as server:
            assert store(server).resolve("1").key == MANIFEST.descriptor.key


@pytest.mark.fault(66)
def test_a_manifest_without_end_is_not_read_to_its_end():
    page = Answer(200, {"Content-Type": mediatype.MANIFEST}, bytes(6_000_000))
    with Scripted({"HEAD .*": Answer(405), "GET .*": page}) as server, pytest.raises(RegistryError) as caught:
        store(server).resolve("1")
    assert caught.value.code == "answer-too-large"


def test_sha512_is_checked_by_sha512():
    name = "sha512:" + hashlib.sha512(MANIFEST.content.data).hexdigest()
    script = {
        "HEAD .*": Answer(405),
        "GET .*": Answer(200, {"Content-Type": mediatype.MANIFEST}, MANIFEST.content.data),
    }
    with Scripted(script) as server:
        assert store(server).resolve(name).digest == name


@pytest.mark.fault(63)
def test_ranges_ignored_are_skipped_by_us():
    script = {"GET .*": Answer(200, body=BLOB.content.data)}
    with Scripted(script) as server, store(server).open(BLOB.descriptor, 999_990) as stream:
        assert stream.read(100) == BLOB.content.data[-10:]


@pytest.mark.fault(64)
def test_a_wrong_range_is_refused():
    script = {"GET .*": Answer(206, {"Content-Range": "bytes 0-9/10"}, b"0123456789")}
    with (
        Scripted(script) as server,
        pytest.raises(RegistryError) as caught,
        store(server).open(BLOB.descriptor, 5),
    ):
        pass
    assert caught.value.code == "range-invalid"


@pytest.mark.fault(64)
def test_a_wrong_range_is_followed_by_a_request_for_the_whole():
    answers = [Answer(206, {"Content-Range": "bytes 0-9/10"}, b"0123456789"), Answer(200, body=BLOB.content.data)]
    with Scripted({"GET .*": answers}) as server, store(server).open(BLOB.descriptor, 999_990) as stream:
        assert stream.read(100) == BLOB.content.data[-10:]
        assert [request.headers.get("range") for request in server.seen] == ["bytes=999990-999999", None]


@pytest.mark.fault(20, 62, 63)
@pytest.mark.parametrize("resumed", [206, 200, 416])
def test_a_blob_that_breaks_off_is_read_on(resumed):
    data, size = BLOB.content.data, BLOB.descriptor.size
    answers = [Answer(200, body=data, cut=400_000)]
    if resumed == 206:
        for start, cut in ((400_000, 300_000), (700_000, None)):
            answers.append(Answer(206, {"Content-Range": f"bytes {start}-{size - 1}/{size}"}, data[start:], cut=cut))
    else:
        answers += [Answer(416), Answer(200, body=data)] if resumed == 416 else [Answer(200, body=data)]
    with Scripted({"GET .*": answers}) as server:
        assert fetch(store(server), BLOB.descriptor) == data
        assert server.seen[1].headers["range"] == "bytes=400000-999999"


@pytest.mark.fault(62)
def test_a_blob_that_never_brings_more_is_given_up():
    answers = [Answer(200, body=BLOB.content.data, cut=400_000), Answer(200, body=BLOB.content.data, cut=0)]
    with Scripted({"GET .*": answers}) as server:
        with pytest.raises(NetworkError) as caught:
            fetch(store(server), BLOB.descriptor)
        assert len(server.seen) == QUICK.attempts
    assert caught.value.code == "connection-lost"


@pytest.mark.fault(65)
def test_a_coding_that_nobody_asked_for_is_undone():
    coded = gzip.compress(BLOB.content.data, 1)
    script = {"GET .*": Answer(200, {"Content-Encoding": "gzip"}, coded)}
    with Scripted(script) as server:
        assert fetch(store(server), BLOB.descriptor) == BLOB.content.data


@pytest.mark.fault(65)
def test_a_blob_that_is_called_coded_and_is_a_gzip_file_is_left_alone():
    coded = gzip.compress(BLOB.content.data, 1)
    script = {"GET .*": Answer(200, {"Content-Encoding": "gzip"}, coded)}
    with Scripted(script) as server:
        assert fetch(store(server), Descriptor.of(mediatype.LAYER, coded)) == coded


@pytest.mark.fault(29)
def test_a_signed_address_that_lapsed_is_signed_again():
    with Scripted({"GET .*sig=new": Answer(200, body=BLOB.content.data), "GET .*": Answer(403)}) as other:
        answers = [Answer(307, {"Location": f"{other.url}/x?sig={age}"}) for age in ("old", "new")]
        with Scripted({"GET /v2/.*": answers}) as server:
            assert fetch(store(server), BLOB.descriptor) == BLOB.content.data
            assert len(server.seen) == 2


@pytest.mark.fault(30)
def test_an_address_signed_for_get_alone_still_tells_whether_a_blob_is_there():
    with Scripted({"HEAD .*": Answer(403), "GET .*": Answer(206, body=b"x")}) as other:
        redirect = Answer(307, {"Location": f"{other.url}/x?sig=1"})
        with Scripted({"HEAD .*": redirect, "GET .*": redirect}) as server:
            assert store(server).exists(BLOB.descriptor)
            assert other.requests("GET")[0].headers["range"] == "bytes=0-0"


@pytest.mark.fault(81)
def test_what_a_registry_warns_of_is_told_once():
    lines = [("Warning", '299 - "this tag is \\"old\\"\x1b[31m"'), ("Warning", "garbage")]
    events = []
    script = {"HEAD .*": Answer(200, {"Content-Length": str(BLOB.descriptor.size)}, lines=lines)}
    with Scripted(script) as server, Flow.open(events.append) as flow:
        known = store(server)
        assert [known.push(BLOB, flow) for _ in range(3)] == [Pushed.EXISTED] * 3
    notes = [event.text for event in events if event.kind == "warning"]
    assert len(notes) == 1
    assert notes[0].endswith('this tag is "old"')


def test_cookies_are_not_kept():
    with Scripted({"HEAD .*": Answer(404, {"Set-Cookie": "csrf=1; Path=/"})}) as server:
        known = store(server)
        known.exists(BLOB.descriptor)
        known.exists(BLOB.descriptor)
        assert "cookie" not in server.seen[-1].headers


# The content's own faults.


class Unreadable:
    size = BLOB.descriptor.size

    def open(self, offset=0):
        class Broken:
            def __enter__(self):
                return self

            def __exit__(self, *exception):
                return None

            def read(self, amount=-1):
                raise OSError(5, "Input/output error")

        return Broken()


@pytest.mark.fault(59)
def test_content_that_cannot_be_read_is_not_taken_for_the_network():
    with Scripted({**MISSING, **STARTED, PUT: STORED}) as server, pytest.raises(InputError) as caught:
        push(server, Blob(BLOB.descriptor, Unreadable()))
    assert caught.value.code == "input-unreadable"


# Calling it off.


def called_off(script, act, after=0.3) -> float:
    """Seconds from the cancel to the end of `act(store, flow)`, which has to raise Cancelled."""
    with Scripted(script) as server:
        cancel = Cancel()
        target = RegistryStore(Reference.parse(f"{server.host}/a:1"), Settings(patience=QUICK), cancel)
        caught: list[BaseException] = []
        with Flow.open(cancel=cancel) as flow:

            def run() -> None:
                try:
                    act(target, flow)
                except OcibuildError as error:
                    caught.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            time.sleep(after)
            assert thread.is_alive()
            started = time.monotonic()
            cancel.set()
            thread.join(10)
            lasted = time.monotonic() - started
        assert [type(error) for error in caught] == [Cancelled]
    return lasted


@pytest.mark.fault(85)
def test_cancel_ends_a_put_the_peer_does_not_read():
    large = Blob.of(mediatype.LAYER, bytes(64_000_000))
    assert called_off({**MISSING, **STARTED, PUT: Answer(stall=True)}, lambda s, flow: s.push(large, flow)) < 1


@pytest.mark.fault(85)
def test_cancel_ends_a_put_whose_answer_does_not_come():
    script = {**MISSING, **STARTED, PUT: Answer(read=1_000_000, stall=True)}
    assert called_off(script, lambda s, flow: s.push(BLOB, flow)) < 1


def test_cancel_ends_a_wait_for_headers():
    assert called_off({"HEAD .*": Answer(stall=True)}, lambda s, flow: s.resolve("1")) < 1


def test_cancel_ends_a_pause():
    script = {"HEAD .*": Answer(503, {"Retry-After": "2"})}
    assert called_off(script, lambda s, flow: s.resolve("1")) < 1


def test_after_a_cancel_nothing_more_is_sent():
    cancel = Cancel()
    cancel.set()
    with Scripted({}) as server:
        with pytest.raises(Cancelled):
            RegistryStore(Reference.parse(f"{server.host}/a:1"), Settings(), cancel).resolve()
        assert server.seen == []
