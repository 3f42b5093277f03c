"""A registry in front of another one: what was pulled once is there, whatever becomes of the other."""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.serve import Served, Serving, serve
from ocibuild.api.upstream import Behind
from ocibuild.errors import UsageError
from ocibuild.serve.proxy import Proxy
from ocibuild.testing import Registry
from ocibuild.testing.plugin import oci_registry
from tests.serve.asking import INDEX, MANIFEST, Asker, digest_of
from tests.serve.test_serve import port_of, process

__all__ = ["oci_registry"]

LAYER = os.urandom(3_000_000)
DIGEST = digest_of(LAYER)


class Through(Asker):
    """A proxy that is asked."""

    def __init__(self, served: Served) -> None:
        super().__init__(int(served.address.rpartition(":")[2]), served.registry)
        self.served = served

    def tag(self, name: str = "a", reference: str = "1", method: str = "GET") -> Any:
        return self.ask(method, f"/v2/{name}/manifests/{reference}")

    def layer(self, digest: str = DIGEST, name: str = "a", method: str = "GET", **headers: str) -> Any:
        return self.ask(method, f"/v2/{name}/blobs/{digest}", **headers)


@contextmanager
def through(folder: Path, upstream: Registry, **said: Any) -> Iterator[Through]:
    serving = Serving(folder / "cache", port=0, proxy=upstream.url, **said)
    with serve(serving) as served:
        yield Through(served)


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


def test_an_image_is_pulled_through_and_again_without_upstream(tmp_path: Path, oci_registry: Registry) -> None:
    digest = oci_registry.image("team/a:1", LAYER, b"small")
    with through(tmp_path, oci_registry) as proxy:
        first = proxy.tag("team/a")
        assert (first.status, first.headers["docker-content-digest"], digest_of(first.body)) == (200, digest, digest)
        assert "warning" not in first.headers
        assert proxy.layer(name="team/a").body == LAYER
        assert proxy.layer(digest_of(b"small"), "team/a").body == b"small"
        with oci_registry.outage():
            again = proxy.tag("team/a")
            assert again.body == first.body
            assert again.headers["content-type"] == MANIFEST
            assert oci_registry.address in again.headers["warning"]
            assert again.headers["warning"].startswith('299 - "')
            assert int(again.headers["age"]) < 60
            assert proxy.layer(name="team/a").body == LAYER
            assert "warning" not in proxy.tag("team/a", digest).headers  # by digest nothing can be old
    # And after a start anew, too.
    with oci_registry.outage(), through(tmp_path, oci_registry) as proxy:
        assert proxy.tag("team/a").body == first.body
        assert proxy.layer(name="team/a", Range="bytes=10-19").body == LAYER[10:20]


def test_what_is_kept_is_a_layout_that_any_tool_reads(tmp_path: Path, oci_registry: Registry) -> None:
    digest = oci_registry.image("a:1", LAYER)
    with through(tmp_path, oci_registry) as proxy:
        proxy.tag()
        proxy.layer()
    index = json.loads((tmp_path / "cache/a/index.json").read_bytes())
    assert [(entry["digest"], entry["annotations"]) for entry in index["manifests"]] == [
        (digest, {"org.opencontainers.image.ref.name": "1"})
    ]
    assert (tmp_path / "cache/a/blobs/sha256" / DIGEST[7:]).read_bytes() == LAYER


def test_a_tag_that_moves_is_followed_and_one_that_stands_costs_a_head(tmp_path: Path, oci_registry: Registry) -> None:
    one = oci_registry.image("a:1", b"one")
    with through(tmp_path, oci_registry) as proxy:
        assert proxy.tag().headers["docker-content-digest"] == one
        before = len(oci_registry.requests)
        assert proxy.tag().headers["docker-content-digest"] == one
        assert [(seen.method, seen.path) for seen in oci_registry.requests[before:]] == [("HEAD", "/v2/a/manifests/1")]
        two = oci_registry.image("a:1", b"two")
        assert proxy.tag(method="HEAD").headers["docker-content-digest"] == two
        oci_registry.manifest("a:1", proxy.tag("a", one).body, MANIFEST)
        before = len(oci_registry.requests)
        assert proxy.tag().headers["docker-content-digest"] == one
        assert len(oci_registry.requests) == before + 1, "what is here need not be fetched to be tagged anew"
        assert proxy.ask("GET", "/v2/a/tags/list").json["tags"] == ["1"]


def test_a_tag_is_believed_for_as_long_as_was_said(tmp_path: Path, oci_registry: Registry) -> None:
    one = oci_registry.image("a:1", b"one")
    with through(tmp_path, oci_registry, proxy_fresh=0.6) as proxy:
        assert proxy.tag().headers["docker-content-digest"] == one
        two = oci_registry.image("a:1", b"two")
        assert proxy.tag().headers["docker-content-digest"] == one
        time.sleep(0.7)
        assert proxy.tag().headers["docker-content-digest"] == two


def test_content_by_digest_is_asked_for_once(tmp_path: Path, oci_registry: Registry) -> None:
    digest = oci_registry.image("a:1", LAYER)
    with through(tmp_path, oci_registry) as proxy:
        proxy.tag("a", digest)
        proxy.layer()
        before = len(oci_registry.requests)
        assert proxy.tag("a", digest).status == proxy.layer().status == proxy.layer(method="HEAD").status == 200
        assert len(oci_registry.requests) == before


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_an_upstream_in_trouble_is_one_that_is_gone(tmp_path: Path, oci_registry: Registry, status: int) -> None:
    digest = oci_registry.image("a:1", b"one")
    with through(tmp_path, oci_registry) as proxy:
        proxy.tag()
        with oci_registry.refuse(status, retry_after=100 if status == 429 else None, times=None):
            told = proxy.tag()
            assert told.headers["docker-content-digest"] == digest
            assert "warning" in told.headers
            none = proxy.tag("a", "2")
            assert none.status == (429 if status == 429 else 502)
            assert none.headers["retry-after"]
            assert proxy.layer(digest_of(b"one")).status == none.status


def test_an_upstream_that_was_silent_is_not_waited_for_at_every_pull(
    tmp_path: Path, oci_registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    oci_registry.image("a:1", b"one")
    with through(tmp_path, oci_registry) as proxy:
        proxy.tag()
        with oci_registry.drop(times=None) as fault:
            proxy.tag()
            met = fault.met
            began = time.monotonic()
            for _ in range(10):
                assert "warning" in proxy.tag().headers
            assert time.monotonic() - began < 1
            assert fault.met == met
        assert isinstance(proxy.registry, Proxy)
        proxy.registry._resting = None
        assert "warning" not in proxy.tag().headers
    said = [record.getMessage() for record in caplog.records if record.name == "ocibuild.serve"]
    assert sum("does not answer; serving what is here" in line for line in said) == 1
    assert sum("answers again" in line for line in said) == 1
    assert sum("a:1 is what it was" in line for line in said) == 11


def test_what_is_not_there_is_not_there_and_may_come(tmp_path: Path, oci_registry: Registry) -> None:
    with through(tmp_path, oci_registry) as proxy:
        assert (proxy.tag().status, proxy.tag().code) == (404, "MANIFEST_UNKNOWN")
        assert (proxy.layer().status, proxy.layer().code) == (404, "BLOB_UNKNOWN")
        assert proxy.ask("GET", "/v2/a/tags/list").status == 404
        digest = oci_registry.image("a:1", LAYER)
        assert proxy.tag().headers["docker-content-digest"] == digest
        assert proxy.layer().body == LAYER
        asker = Asker(int(oci_registry.address.rpartition(":")[2]))
        assert asker.ask("DELETE", "/v2/a/manifests/1").status == 202
        assert proxy.tag().status == 404, "a tag that was taken away is not kept alive"


# Blobs on their way


def test_a_blob_streams_while_it_comes(tmp_path: Path, oci_registry: Registry) -> None:
    oci_registry.blob("a", LAYER)
    oci_registry.slow(rate=2_000_000, method="GET", path="/blobs/")
    with through(tmp_path, oci_registry) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        began = time.monotonic()
        connection.request("GET", f"/v2/a/blobs/{DIGEST}")
        answer = connection.getresponse()
        assert answer.headers["Content-Length"] == str(len(LAYER))
        first = answer.read(100_000)
        assert time.monotonic() - began < 1
        assert first + answer.read() == LAYER
        assert time.monotonic() - began > 1.3
        connection.close()


def test_many_who_want_one_blob_fetch_it_once(tmp_path: Path, oci_registry: Registry) -> None:
    oci_registry.image("a:1", LAYER)
    oci_registry.slow(rate=4_000_000, method="GET", path="/blobs/")
    with through(tmp_path, oci_registry) as proxy, ThreadPoolExecutor(12) as pool:
        tags = list(pool.map(lambda _: proxy.tag().status, range(12)))
        whole = [pool.submit(proxy.layer) for _ in range(8)]
        time.sleep(0.3)
        late = [pool.submit(proxy.layer, Range="bytes=2999990-") for _ in range(4)]
        assert tags == [200] * 12
        assert all(one.result().body == LAYER for one in whole)
        assert all(one.result().body == LAYER[-10:] for one in late)
        assert oci_registry.count("GET", "/blobs/") == 1
        assert oci_registry.count("GET", "/manifests/") == 1


def test_who_leaves_does_not_end_it_for_the_others(tmp_path: Path, oci_registry: Registry) -> None:
    oci_registry.blob("a", LAYER)
    oci_registry.slow(rate=6_000_000, method="GET", path="/blobs/")
    with through(tmp_path, oci_registry) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=20)
        connection.request("GET", f"/v2/a/blobs/{DIGEST}")
        connection.getresponse().read(10)
        connection.close()
        assert proxy.layer().body == LAYER
        assert oci_registry.count("GET", "/blobs/") == 1


def test_a_head_fetches_nothing(tmp_path: Path, oci_registry: Registry) -> None:
    oci_registry.blob("a", LAYER)
    with through(tmp_path, oci_registry) as proxy:
        told = proxy.layer(method="HEAD")
        assert (told.status, told.headers["content-length"]) == (200, str(len(LAYER)))
        assert oci_registry.count("GET") == 0
    with Registry() as other, through(tmp_path / "b", other) as proxy:
        other.blob("a", LAYER)
        other.refuse(405, method="HEAD", times=None)
        assert proxy.layer().body == LAYER


def test_an_upstream_that_breaks_off_is_read_on(tmp_path: Path, oci_registry: Registry) -> None:
    oci_registry.blob("a", LAYER)
    oci_registry.drop(sent=1_000_000, method="GET", path="/blobs/", times=2)
    with through(tmp_path, oci_registry) as proxy:
        assert proxy.layer().body == LAYER
    assert [seen.sent for seen in oci_registry.seen("GET", "/blobs/")] == [1_000_000] * 3


@pytest.mark.parametrize("fault", ["damage", "truncate", "drop"])
def test_wrong_bytes_are_never_kept_nor_given_whole(tmp_path: Path, oci_registry: Registry, fault: str) -> None:
    oci_registry.blob("a", LAYER)
    with through(tmp_path, oci_registry) as proxy:
        if fault == "damage":
            planned = oci_registry.damage(path="/blobs/", times=None)
        elif fault == "truncate":
            planned = oci_registry.truncate(2_000_000, path="/blobs/", times=None)
        else:
            # It breaks, and nobody is there any more.
            planned = oci_registry.drop(sent=2_000_000, method="GET", path="/blobs/")
            oci_registry.refuse(503, method="GET", path="/blobs/", times=None, skip=0)
        try:
            told = proxy.layer()
            assert told.status == 502
        except http.client.IncompleteRead as error:
            assert len(error.partial) < len(LAYER)
        assert planned.met
        assert not (tmp_path / "cache/a/blobs/sha256" / DIGEST[7:]).exists()
        assert eventually(lambda: not list((tmp_path / "cache/.uploads").iterdir()))
        oci_registry.clear()
        assert proxy.layer().body == LAYER


def test_an_outage_in_the_middle_of_a_blob(tmp_path: Path, oci_registry: Registry) -> None:
    oci_registry.blob("a", LAYER)
    oci_registry.slow(rate=1_000_000, method="GET", path="/blobs/")
    with through(tmp_path, oci_registry) as proxy:
        threading.Timer(0.5, oci_registry.stop).start()
        with pytest.raises(http.client.IncompleteRead) as caught:
            proxy.layer()
        assert 0 < len(caught.value.partial) < len(LAYER)
        oci_registry.clear()
        oci_registry.start()
        assert proxy.layer().body == LAYER


def test_a_manifest_of_other_bytes_is_not_kept(tmp_path: Path, oci_registry: Registry) -> None:
    digest = oci_registry.image("a:1", b"one")
    oci_registry.damage(path="/manifests/", times=None)
    with through(tmp_path, oci_registry) as proxy:
        assert proxy.tag().status == 502
        assert proxy.tag("a", digest).status == 502
        oci_registry.clear()
        assert digest_of(proxy.tag().body) == digest


def test_the_smallest_blobs(tmp_path: Path, oci_registry: Registry) -> None:
    with through(tmp_path, oci_registry) as proxy:
        for data in (b"", b"x"):
            oci_registry.blob("a", data)
            assert proxy.layer(digest_of(data)).body == data
            assert proxy.layer(digest_of(data)).body == data


def test_it_ends_in_the_middle_of_a_fetch(tmp_path: Path, oci_registry: Registry) -> None:
    oci_registry.blob("a", LAYER)
    oci_registry.slow(rate=100_000, method="GET", path="/blobs/")
    with through(tmp_path, oci_registry) as proxy:

        def wait() -> None:
            with suppress(http.client.HTTPException, OSError):
                assert proxy.layer().status != 200

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert eventually(lambda: oci_registry.count("GET", "/blobs/") == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    waiting.join(10)
    assert not list((tmp_path / "cache/.uploads").iterdir())


def test_another_repositorys_copy_is_as_good_where_upstream_lets_it_be_read(
    tmp_path: Path, oci_registry: Registry
) -> None:
    oci_registry.blob("a", LAYER)
    oci_registry.blob("b", LAYER)
    with through(tmp_path, oci_registry) as proxy:
        assert proxy.layer().body == LAYER
        assert proxy.layer(name="b").body == LAYER
        assert oci_registry.count("GET", "/blobs/") == 1
        assert proxy.layer(name="c").status == 404, "a repository shows what upstream shows in it"


# What else is asked


def test_referrers_are_upstreams_and_what_is_here_without_it(tmp_path: Path, oci_registry: Registry) -> None:
    digest = oci_registry.image("a:1", b"one")
    subject = {"mediaType": MANIFEST, "digest": digest, "size": 1}
    kinds = {oci_registry.image("a", b"s", subject=subject, artifactType=kind): kind for kind in ("x/sbom", "x/sig")}
    with through(tmp_path, oci_registry) as proxy:
        told = proxy.ask("GET", f"/v2/a/referrers/{digest}")
        assert told.headers["content-type"] == INDEX
        assert {entry["digest"]: entry["artifactType"] for entry in told.json["manifests"]} == kinds
        one = proxy.ask("GET", f"/v2/a/referrers/{digest}?artifactType=x/sig")
        assert [entry["artifactType"] for entry in one.json["manifests"]] == ["x/sig"]
        proxy.tag("a", next(iter(kinds)))
        with oci_registry.outage():
            assert proxy.ask("GET", f"/v2/a/referrers/{digest}").json == told.json
    with oci_registry.outage(), through(tmp_path, oci_registry) as proxy:
        found = proxy.ask("GET", f"/v2/a/referrers/{digest}").json["manifests"]
        assert [entry["digest"] for entry in found] == [next(iter(kinds))], "of those, what was pulled"


def test_tags_are_upstreams_and_those_here_without_it(tmp_path: Path, oci_registry: Registry) -> None:
    for tag in ("1", "2", "3"):
        oci_registry.image(f"a:{tag}", b"one")
    with through(tmp_path, oci_registry) as proxy:
        proxy.tag("a", "2")
        assert proxy.ask("GET", "/v2/a/tags/list?n=2").json["tags"] == ["1", "2"]
        with oci_registry.outage():
            assert proxy.ask("GET", "/v2/a/tags/list").json["tags"] == ["2"]
            assert proxy.ask("GET", "/v2/b/tags/list").status == 502


def test_nothing_is_pushed_or_deleted_through_it(tmp_path: Path, oci_registry: Registry) -> None:
    digest = oci_registry.image("a:1", LAYER)
    with through(tmp_path, oci_registry) as proxy:
        proxy.tag()
        proxy.layer()
        for method, path in (
            ("POST", "/v2/a/blobs/uploads/"),
            ("POST", f"/v2/a/blobs/uploads/?digest={DIGEST}"),
            ("POST", f"/v2/b/blobs/uploads/?mount={DIGEST}&from=a"),
            ("PUT", "/v2/a/manifests/2"),
            ("DELETE", "/v2/a/manifests/1"),
            ("DELETE", f"/v2/a/manifests/{digest}"),
            ("DELETE", f"/v2/a/blobs/{DIGEST}"),
        ):
            body = b"{}" if method == "PUT" else None
            told = proxy.ask(method, path, body)
            assert (told.status, told.code) == (405, "UNSUPPORTED"), path
        assert "push to" in told.json["errors"][0]["message"]
        assert oci_registry.count("POST|PUT|DELETE") == 0


# Who asks


def test_the_servers_own_credentials_are_used_and_the_clients_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import base64

    users = tmp_path / "tokens"
    users.write_text("the-token-of-the-proxy-itself\n")
    with Registry(user="ada", password="lovelace", token_uses=1) as upstream:
        auth = base64.b64encode(b"ada:lovelace").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {upstream.address: {"auth": auth}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        digest = upstream.image("a:1", LAYER)
        with through(tmp_path, upstream, token_file=users) as proxy:
            assert proxy.tag().status == 401
            mine = {"Authorization": "Bearer the-token-of-the-proxy-itself"}
            assert proxy.ask("GET", "/v2/a/manifests/1", **mine).headers["docker-content-digest"] == digest
            assert proxy.layer(**mine).body == LAYER
        sent = " ".join(seen.headers.get("authorization", "") for seen in upstream.requests)
        assert sent.strip()
        assert "the-token-of" not in sent


def test_an_upstream_that_does_not_let_the_proxy_in(tmp_path: Path) -> None:
    with Registry(user="ada", password="lovelace") as upstream, through(tmp_path, upstream) as proxy:
        upstream.image("a:1")
        told = proxy.tag()
        assert (told.status, told.code) == (403, "DENIED")


def test_an_upstream_that_lets_the_proxy_in_no_longer(tmp_path: Path, oci_registry: Registry) -> None:
    digest = oci_registry.image("a:1")
    with through(tmp_path, oci_registry) as proxy:
        proxy.tag()
        oci_registry.refuse(403, times=None)
        told = proxy.tag()
        assert told.headers["docker-content-digest"] == digest
        assert "does not let this proxy in" in told.headers["warning"]


def test_names_of_docker_hubs_own_images_are_below_library() -> None:
    hub, other = Behind("docker.io"), Behind("https://ghcr.io")
    assert [hub.name("alpine"), hub.name("library/alpine"), hub.name("team/a")] == [
        "library/alpine",
        "library/alpine",
        "team/a",
    ]
    assert other.name("alpine") == "alpine"
    assert (hub.place, other.place) == ("docker.io", "ghcr.io")


def test_what_cannot_be_a_proxy_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        serve(Serving(tmp_path, proxy="localhost:1", read_only=True))
    with pytest.raises(UsageError):
        serve(Serving(tmp_path, proxy="http://localhost:5000"))
    with pytest.raises(UsageError) as caught:
        serve(Serving(tmp_path, proxy="not a host"))
    assert caught.value.code == "reference-invalid"


@pytest.mark.parametrize(
    "words", [("--proxy-limit", "5"), ("--proxy-limit", "0GB"), ("--proxy-fresh", "soon"), ("--gc", "0s")]
)
def test_bounds_that_are_none_are_told(tmp_path: Path, words: tuple[str, str]) -> None:
    with process(tmp_path, "--port", "0", "--proxy", "localhost:1", *words) as running:
        assert running.wait(20) == 2


def test_the_command_says_what_it_serves_and_logs_an_outage(tmp_path: Path, oci_registry: Registry) -> None:
    oci_registry.image("a:1")
    words = ("--port", "0", "--proxy", oci_registry.url, "--proxy-limit", "1GiB", "--proxy-fresh", "1s")
    with process(tmp_path, *words) as running:
        proxy = Asker(port_of(running))
        assert proxy.ask("GET", "/v2/a/manifests/1").status == 200
        time.sleep(1.1)
        with oci_registry.outage():
            assert "warning" in proxy.ask("GET", "/v2/a/manifests/1").headers
        running.terminate()
        assert running.wait(10) == 0
        assert running.stderr is not None
        said = running.stderr.read()
    assert f"serving {oci_registry.url} through {tmp_path}" in said
    assert f"{oci_registry.address} does not answer; a:1 is what it was, seen 1 s ago" in said
    assert "Traceback" not in said


# How much


def test_what_was_not_asked_for_the_longest_goes_first(tmp_path: Path, oci_registry: Registry) -> None:
    blobs = [os.urandom(100_000) for _ in range(10)]
    for data in blobs:
        oci_registry.blob("a", data)
    with through(tmp_path, oci_registry, proxy_limit=500_000) as proxy:
        folder = tmp_path / "cache/a/blobs/sha256"

        def age(data: bytes, seconds: int) -> None:
            os.utime(folder / digest_of(data)[7:], (time.time() - seconds,) * 2)

        for number, data in enumerate(blobs[:5]):
            assert proxy.layer(digest_of(data)).body == data
            age(data, 1000 - number)
        assert len(list(folder.iterdir())) == 5
        proxy.layer(digest_of(blobs[0]))  # it is young again
        assert proxy.layer(digest_of(blobs[5])).body == blobs[5]
        assert eventually(lambda: len(list(folder.iterdir())) == 4)
        left = {path.name for path in folder.iterdir()}
        assert left == {digest_of(data)[7:] for data in (blobs[0], blobs[3], blobs[4], blobs[5])}
        assert proxy.layer(digest_of(blobs[1])).body == blobs[1], "what went comes again"
