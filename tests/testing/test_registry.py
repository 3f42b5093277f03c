"""The registry for other people's tests: whole where nothing is wrong, and wrong in the way that was asked for."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ocibuild.testing import Registry
from tests.serve.asking import Asker, digest_of

BLOB = bytes(range(256)) * 4000
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()


def asker(registry: Registry) -> Asker:
    return Asker(int(registry.address.rpartition(":")[2]))


def test_it_is_a_whole_registry(oci_registry: Registry) -> None:
    served = asker(oci_registry)
    digest = served.image("team/a", "v1")
    told = served.ask("GET", "/v2/team/a/manifests/v1")
    assert told.status == 200
    assert told.headers["docker-content-digest"] == digest == digest_of(told.body)
    assert served.ask("GET", "/v2/team/a/tags/list").json == {"name": "team/a", "tags": ["v1"]}
    assert oci_registry.reference("team/a:v1") == f"{oci_registry.address}/team/a:v1"
    assert oci_registry.url == f"http://{oci_registry.address}"


def test_what_is_put_there_without_a_request_is_there(oci_registry: Registry) -> None:
    digest = oci_registry.image("a:v1", b"one", b"two", annotations={"x": "y"})
    assert oci_registry.requests == ()
    told = asker(oci_registry).ask("GET", "/v2/a/manifests/v1")
    assert digest_of(told.body) == digest
    assert [layer["digest"] for layer in told.json["layers"]] == [digest_of(b"one"), digest_of(b"two")]
    assert asker(oci_registry).ask("GET", f"/v2/a/blobs/{digest_of(b'two')}").body == b"two"
    assert oci_registry.manifest("a", told.body) == digest


def test_every_request_is_kept_with_what_became_of_it(oci_registry: Registry) -> None:
    served = asker(oci_registry)
    served.blob("a", BLOB)
    served.ask("GET", f"/v2/a/blobs/{DIGEST}", Range="bytes=0-9")
    served.ask("HEAD", "/v2/a/manifests/none", Accept="a/b")
    post, get, head = oci_registry.requests
    assert (post.method, post.path, post.status) == ("POST", f"/v2/a/blobs/uploads/?digest={DIGEST}", 201)
    assert post.received == len(BLOB)
    assert (get.status, get.sent, get.headers["range"]) == (206, 10, "bytes=0-9")
    assert (head.method, head.status, head.headers["accept"]) == ("HEAD", 404, "a/b")
    assert oci_registry.count("GET|HEAD", "^/v2/a/") == 2


def test_a_refusal_is_for_those_it_was_meant_for(oci_registry: Registry) -> None:
    oci_registry.image("a:1")
    fault = oci_registry.refuse(429, retry_after=7, method="GET", path="/manifests/", times=2, skip=1)
    served = asker(oci_registry)

    def get(path: str = "/v2/a/manifests/1", method: str = "GET") -> int:
        return served.ask(method, path).status

    assert [get(), get(method="HEAD"), get("/v2/"), get()] == [200, 200, 200, 429]
    assert served.ask("GET", "/v2/a/manifests/1").headers["retry-after"] == "7"
    assert get() == 200
    assert fault.met == 2
    with oci_registry.refuse(503, times=None):
        assert [get(), get(), get()] == [503] * 3
    assert get() == 200
    oci_registry.refuse(500, times=None)
    oci_registry.clear()
    assert get() == 200


def test_faults_that_end_a_request_come_one_after_the_other(oci_registry: Registry) -> None:
    oci_registry.refuse(500, times=2)
    oci_registry.refuse(404)
    oci_registry.slow(delay=0.01)
    assert [asker(oci_registry).ask("GET", "/v2/").status for _ in range(4)] == [500, 500, 404, 200]


def test_a_connection_drops_before_the_request_is_looked_at(oci_registry: Registry) -> None:
    oci_registry.drop(method="PUT")
    served = asker(oci_registry)
    location = served.ask("POST", "/v2/a/blobs/uploads/").headers["location"]
    with pytest.raises((ConnectionError, http.client.BadStatusLine)):
        served.ask("PUT", f"{location}?digest={DIGEST}", BLOB)
    assert oci_registry.requests[-1].status == 0
    assert served.ask("PUT", f"{location}?digest={DIGEST}", BLOB).status == 201


def test_an_answer_is_lost_after_the_work_is_done(oci_registry: Registry) -> None:
    oci_registry.drop("answer", method="POST", path="digest=")
    served = asker(oci_registry)
    with pytest.raises((ConnectionError, http.client.BadStatusLine)):
        served.blob("a", BLOB)
    assert served.ask("GET", f"/v2/a/blobs/{DIGEST}").body == BLOB


def test_an_upload_breaks_in_the_middle_and_what_came_is_kept(oci_registry: Registry) -> None:
    oci_registry.drop(received=300_000, method="PATCH")
    served = asker(oci_registry)
    location = served.ask("POST", "/v2/a/blobs/uploads/").headers["location"]
    began = time.monotonic()
    with pytest.raises((ConnectionError, http.client.BadStatusLine)):
        served.ask("PATCH", location, BLOB * 20)
    assert time.monotonic() - began < 1
    assert served.ask("GET", location).headers["range"] == "0-299999"
    assert served.ask("PUT", f"{location}?digest={DIGEST}", BLOB[300_000:]).status == 201


def test_a_download_breaks_in_the_middle(oci_registry: Registry) -> None:
    oci_registry.blob("a", BLOB)
    oci_registry.drop(sent=100_000, method="GET")
    served = asker(oci_registry)
    with pytest.raises(http.client.IncompleteRead) as caught:
        served.ask("GET", f"/v2/a/blobs/{DIGEST}")
    assert caught.value.partial == BLOB[:100_000]
    assert served.ask("GET", f"/v2/a/blobs/{DIGEST}").body == BLOB


def test_a_body_is_cut_short_as_if_that_were_all(oci_registry: Registry) -> None:
    oci_registry.blob("a", BLOB)
    oci_registry.truncate(100, path="/blobs/")
    told = asker(oci_registry).ask("GET", f"/v2/a/blobs/{DIGEST}")
    assert (told.headers["content-length"], told.body) == ("100", BLOB[:100])
    oci_registry.truncate(10_000_000, path="/blobs/")
    assert asker(oci_registry).ask("GET", f"/v2/a/blobs/{DIGEST}").body == BLOB
    oci_registry.truncate(0, path="/blobs/")
    assert asker(oci_registry).ask("GET", f"/v2/a/blobs/{DIGEST}").body == b""


def test_a_fault_that_cannot_be_is_told_when_it_is_planned(oci_registry: Registry) -> None:
    with pytest.raises(ValueError, match="one byte"):
        oci_registry.drop(sent=0)
    with pytest.raises(re.error):
        oci_registry.refuse(503, path="(")


def test_a_body_is_of_other_bytes(oci_registry: Registry) -> None:
    oci_registry.blob("a", BLOB)
    oci_registry.damage(path="/blobs/")
    told = asker(oci_registry).ask("GET", f"/v2/a/blobs/{DIGEST}")
    assert len(told.body) == len(BLOB)
    assert digest_of(told.body) != DIGEST
    assert asker(oci_registry).ask("GET", f"/v2/a/blobs/{DIGEST}").body == BLOB


def test_the_digest_header_lies(oci_registry: Registry) -> None:
    digest = oci_registry.image("a:1")
    oci_registry.lie()
    assert asker(oci_registry).ask("HEAD", "/v2/a/manifests/1").headers["docker-content-digest"] == digest_of(b"")
    assert asker(oci_registry).ask("HEAD", "/v2/a/manifests/1").headers["docker-content-digest"] == digest


def test_it_is_slow(oci_registry: Registry) -> None:
    oci_registry.blob("a", BLOB[:50_000])
    path = f"/v2/a/blobs/{digest_of(BLOB[:50_000])}"
    with oci_registry.slow(delay=0.3):
        began = time.monotonic()
        asker(oci_registry).ask("GET", "/v2/")
        assert time.monotonic() - began >= 0.3
    with oci_registry.slow(rate=100_000, method="GET|POST"):
        began = time.monotonic()
        assert asker(oci_registry).ask("GET", path).body == BLOB[:50_000]
        middle = time.monotonic()
        asker(oci_registry).blob("b", BLOB[:50_000])
        assert middle - began >= 0.4
        assert time.monotonic() - middle >= 0.4


def test_it_knows_no_ranges_and_no_referrers(tmp_path: Path) -> None:
    with Registry(tmp_path, ranges=False, referrers=False) as registry:
        served = asker(registry)
        digest = registry.image("a:1")
        registry.blob("a", BLOB)
        told = served.ask("GET", f"/v2/a/blobs/{DIGEST}", Range="bytes=5-9")
        assert (told.status, told.body) == (200, BLOB)
        assert "accept-ranges" not in told.headers
        registry.clear()
        assert served.ask("GET", f"/v2/a/referrers/{digest}").status == 404
        document = json.dumps({**served.document("a"), "subject": {"mediaType": "a/b", "digest": digest, "size": 1}})
        told = served.ask("PUT", "/v2/a/manifests/2", document.encode())
        assert told.status == 201
        assert "oci-subject" not in told.headers


def test_it_goes_away_and_comes_back_where_it_was(oci_registry: Registry) -> None:
    digest = oci_registry.image("a:1")
    before = oci_registry.address
    with oci_registry.outage(), pytest.raises(ConnectionRefusedError):
        asker(oci_registry).ask("GET", "/v2/")
    assert oci_registry.address == before
    assert asker(oci_registry).ask("HEAD", "/v2/a/manifests/1").headers["docker-content-digest"] == digest


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_tokens_are_for_scopes_and_lapse(tmp_path: Path) -> None:
    with Registry(tmp_path, user="ada", password="lovelace", token_uses=2) as registry:
        served = asker(registry)
        digest = registry.image("a:1")

        def token(scope: str) -> str:
            told = served.ask("GET", f"/token?service=x&scope={scope}", Authorization=basic("ada", "lovelace"))
            return f"Bearer {told.json['token']}"

        def head(authorization: str = "", method: str = "HEAD") -> int:
            headers = {"Authorization": authorization} if authorization else {}
            return served.ask(method, f"/v2/a/manifests/{digest}", **headers).status

        told = served.ask("GET", "/v2/a/tags/list")
        assert told.status == 401
        realm = f'Bearer realm="{registry.url}/token",service="ocibuild-testing",scope="repository:a:pull"'
        assert told.headers["www-authenticate"] == realm
        assert served.ask("GET", "/token", Authorization=basic("ada", "wrong")).status == 401
        good = token("repository:a:pull")
        assert [head(good), head(good), head(good)] == [200, 200, 401]
        assert head(token("repository:b:pull")) == 401
        assert head(token("repository:a:pull"), "DELETE") == 401
        revoked = token("repository:a:pull,delete")
        registry.revoke()
        assert head(revoked, "DELETE") == 401
        assert head(token("repository:a:pull,delete"), "DELETE") == 202
        assert registry.tokens == 5


def test_basic_asks_for_the_name_and_the_password_themselves(tmp_path: Path) -> None:
    with Registry(tmp_path, user="ada", password="lovelace", basic=True) as registry:
        served = asker(registry)
        assert served.ask("GET", "/v2/").headers["www-authenticate"].startswith("Basic")
        assert served.ask("GET", "/v2/", Authorization=basic("ada", "x")).status == 401
        assert served.ask("GET", "/v2/", Authorization=basic("ada", "lovelace")).status == 200


def test_nothing_of_it_stays(tmp_path: Path) -> None:
    with Registry() as registry:
        folder, address = registry.folder, registry.address
        registry.image("a:1")
        registry.slow(delay=30)
        waiting = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=10)
        waiting.sendall(b"GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n")
        time.sleep(0.2)
        began = time.monotonic()
    with waiting:
        assert time.monotonic() - began < 2, "a slow answer holds the end of a test up"
    assert not folder.exists()


def test_the_package_costs_little_until_it_is_used() -> None:
    source = "import sys, ocibuild.testing; print(sorted({'pytest', 'cheroot', 'requests'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
