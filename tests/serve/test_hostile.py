"""Clients that are slow, wrong or mean: none hurts another, and none leaves the folder."""

from __future__ import annotations

import re
import resource
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from ocibuild.serve.access import Access
from ocibuild.serve.app import App
from ocibuild.serve.limits import Limits
from ocibuild.serve.registry import Registry
from ocibuild.serve.server import Server
from ocibuild.serve.wire import Broken, FileBody
from tests.registry.authority import Authority
from tests.serve.asking import Asker, answering, digest_of

HASTY = Limits(header_time=0.5, idle=0.5, rest=0.5, slowest=1000)
GET = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def connected(served: Asker, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", served.port))) for _ in range(count)]


def head(method: str, path: str, *lines: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


def status(said: bytes) -> int:
    match = re.match(rb"HTTP/1\.1 (\d{3}) ", said)
    assert match, said
    return int(match[1])


def quick(served: Asker) -> None:
    """Others are served meanwhile, and soon."""
    for _ in range(5):
        began = time.monotonic()
        assert served.ask("GET", "/v2/").status == 200
        assert time.monotonic() - began < 2


def upload(served: Asker) -> str:
    return served.ask("POST", "/v2/a/blobs/uploads/", b"").headers["location"]


# Slow


def test_two_hundred_who_dribble_their_headers_hold_nobody_up(tmp_path: Path) -> None:
    before = threading.active_count()
    with answering(tmp_path, limits=Limits(workers=4)) as served, connected(served, 200) as slow:
        for piece in (b"GET", b" /v2/", b" HTTP/1.1\r\nX: "):
            for client in slow:
                client.sendall(piece)
            quick(served)
        assert threading.active_count() - before < 10
        slow[0].sendall(b"y\r\nHost: x\r\n\r\n")
        assert slow[0].recv(15) == b"HTTP/1.1 200 OK"


def test_over_tls_those_who_dribble_are_cut_the_sooner_the_more_they_are(
    part: Callable[[str], str], tmp_path: Path
) -> None:
    authority = Authority(part("openssl"), tmp_path / "authority")
    server = Server(
        App(Registry(tmp_path, clock=time.time)), limits=Limits(workers=4), tls=authority.serving("IP:127.0.0.1")
    )
    server.begin()
    try:
        with ExitStack() as stack:
            for _ in range(5):  # one of them waits for a worker
                slow = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                slow.sendall(b"\x16\x03\x01\x02\x00\x01")
                time.sleep(0.02)
            assert server.patience == 2
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as plain:
                trust = ssl.create_default_context(cafile=authority.certificate)
                began = time.monotonic()
                with trust.wrap_socket(plain, server_hostname="127.0.0.1") as honest:
                    honest.sendall(GET)
                    assert honest.recv(15) == b"HTTP/1.1 200 OK"
                assert time.monotonic() - began < 4.5
    finally:
        server.end()


def test_two_hundred_who_dribble_a_body_hold_nobody_up(tmp_path: Path) -> None:
    with answering(tmp_path) as served, connected(served, 200) as slow:
        path = upload(served)
        for client in slow:
            client.sendall(head("PATCH", path, "Content-Length: 1000") + b"x")
        quick(served)


def test_headers_that_do_not_end_are_cut(tmp_path: Path) -> None:
    with answering(tmp_path, limits=HASTY) as served:
        began = time.monotonic()
        served.raw(b"GET /v2/ HTTP/1.1\r\nX: y\r\n", seconds=5)
        assert 0.4 < time.monotonic() - began < 3


def test_a_client_that_says_nothing_is_cut(tmp_path: Path) -> None:
    with answering(tmp_path, limits=HASTY) as served:
        began = time.monotonic()
        assert served.raw(seconds=5) == b""
        assert time.monotonic() - began < 3
        assert served.raw(GET, seconds=5).startswith(b"HTTP/1.1 200")


def test_a_body_that_stops_is_cut_and_what_came_stays(tmp_path: Path) -> None:
    with answering(tmp_path, limits=HASTY) as served:
        path = upload(served)
        said = served.raw(head("PATCH", path, "Content-Length: 1000") + b"hello", seconds=5)
        assert status(said) == 408
        assert served.ask("GET", path).headers["range"] == "0-4"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_trickles_is_cut(tmp_path: Path, chunked: bool) -> None:
    with answering(tmp_path, limits=HASTY) as served:
        path = upload(served)
        how = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1000"
        piece = b"1\r\nx\r\n" if chunked else b"x"
        began = time.monotonic()
        with connected(served, 1) as (client,):
            client.sendall(head("PATCH", path, how))
            for _ in range(80):
                client.sendall(piece)
                if select.select([client], [], [], 0.1)[0]:
                    break
            assert status(client.recv(100)) == 408
        assert time.monotonic() - began < 5


def test_a_client_that_does_not_read_its_answer_is_cut(tmp_path: Path) -> None:
    with answering(tmp_path, limits=HASTY) as served:
        digest = served.blob("a", bytes(32 * 1024 * 1024))
        with connected(served, 1) as (client,):
            client.sendall(head("GET", f"/v2/a/blobs/{digest}"))
            time.sleep(3)
            client.settimeout(5)
            got = 0
            with suppress(ConnectionError):
                while piece := client.recv(1 << 20):
                    got += len(piece)
            assert got < 32 * 1024 * 1024


def test_more_than_may_connect_are_told_so(tmp_path: Path) -> None:
    with answering(tmp_path, limits=Limits(connections=5)) as served, connected(served, 5) as clients:
        for client in clients:
            client.sendall(GET)
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert status(served.raw(GET)) == 503
        for client in clients:
            client.close()
        time.sleep(0.5)
        quick(served)


def test_more_uploads_than_may_be_open_are_told_so(tmp_path: Path) -> None:
    with answering(tmp_path, limits=Limits(uploads=3)) as served:
        paths = [upload(served) for _ in range(3)]
        told = served.ask("POST", "/v2/a/blobs/uploads/", b"")
        assert (told.status, told.code) == (429, "TOOMANYREQUESTS")
        assert "retry-after" in told.headers
        served.ask("DELETE", paths[0])
        upload(served)


# Wrong


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Content-Length: -5",),
        ("Content-Length: +5",),
        ("Content-Length: 5_0",),
        ("Content-Length: 5, 5",),
        ("Content-Length: 99999999999999999999",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: gzip",),
        ("Bad Name: x",),
        ("no colon",),
        ("X: a\0b",),
        (" folded: x",),
        *[tuple(f"X-{n}: y" for n in range(200))],
        ("X: " + "y" * 100_000,),
    ],
)
def test_headers_that_are_not_clear_are_refused(served: Asker, lines: tuple[str, ...]) -> None:
    said = served.raw(head("PATCH", upload(served), *lines) + b"5\r\nhello\r\n0\r\n\r\n")
    assert status(said) in (400, 413, 501), said
    assert said.count(b"HTTP/1.1 ") == 1
    quick(served)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"GET",
        b"GET /v2/",
        b"GET /v2/ HTTP/9.9",
        b"GET /v2/ SPDY/1",
        b"get /v2/ HTTP/1.1",
        b"GET  /v2/ HTTP/1.1",
        b"\x16\x03\x01",
    ],
)
def test_request_lines_that_are_none_are_refused(served: Asker, line: bytes) -> None:
    said = served.raw(line + b"\r\nHost: x\r\n\r\n", seconds=2)
    assert not said or status(said) in (400, 505)
    quick(served)


def test_a_request_line_without_an_end_is_refused(served: Asker) -> None:
    said = served.raw(b"GET /v2/" + b"a" * 100_000, seconds=5)
    assert not said or status(said) == 414
    quick(served)


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5_0\r\nhello\r\n",
        b"\r\n",
        b"fffffffffffffffff\r\n",
        b"5\r\nhello!\r\n",
        b"5;" + b"x" * 100_000,
        b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    ],
)
def test_chunks_that_are_none_are_refused(served: Asker, body: bytes) -> None:
    path = upload(served)
    said = served.raw(head("PATCH", path, "Transfer-Encoding: chunked") + body, seconds=5)
    assert status(said) == 400
    assert served.ask("GET", path).status == 204
    quick(served)


def test_a_chunk_of_four_gibibytes_takes_no_memory(served: Asker) -> None:
    path = upload(served)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    piece = bytes(1024 * 1024)
    served.raw(head("PATCH", path, "Transfer-Encoding: chunked") + b"ffffffff\r\n", *[piece] * 64, seconds=1)
    assert served.ask("GET", path).headers["range"] == f"0-{64 * 1024 * 1024 - 1}"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


@pytest.mark.parametrize("how", ["sized", "chunked"])
@pytest.mark.parametrize(
    ("method", "path", "want"),
    [
        ("PUT", "/v2/a/manifests/v1", 413),
        ("POST", "/v2/a/tags/list", 405),
        ("PATCH", "/v2/a/blobs/uploads/0123456789abcdef0123456789abcdef", 404),
        ("PUT", "/v2/A/manifests/v1", 400),
    ],
)
def test_a_refusal_is_read_by_who_still_sends(served: Asker, method: str, path: str, want: int, how: str) -> None:
    piece = bytes(1024 * 1024)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if how == "sized":
        pieces = [head(method, path, f"Content-Length: {32 * len(piece)}"), *[piece] * 32]
    else:
        pieces = [
            head(method, path, "Transfer-Encoding: chunked"),
            *[b"100000\r\n" + piece + b"\r\n"] * 32,
            b"0\r\n\r\n",
        ]
    said = served.raw(*pieces, seconds=10)
    assert status(said) == want
    assert b"Connection: close" in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 * 1024  # KiB


def test_who_asks_before_sending_is_told_only_if_it_is_wanted(tmp_path: Path) -> None:
    access = Access(tokens=("x" * 20,))
    with answering(tmp_path, access=access) as served:
        lines = ("Content-Length: 5", "Expect: 100-continue")
        said = served.raw(head("POST", f"/v2/a/blobs/uploads/?digest={digest_of(b'hello')}", *lines), seconds=1)
        assert status(said) == 401
        with connected(served, 1) as (client,):
            client.settimeout(5)
            client.sendall(
                head(
                    "POST",
                    f"/v2/a/blobs/uploads/?digest={digest_of(b'hello')}",
                    *lines,
                    f"Authorization: Bearer {'x' * 20}",
                )
            )
            assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"hello")
            assert client.recv(20).startswith(b"HTTP/1.1 201 ")


def test_requests_share_a_connection_also_sent_together(served: Asker) -> None:
    with connected(served, 1) as (client,):
        client.settimeout(5)
        for _ in range(3):
            client.sendall(GET)
            assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
    said = served.raw(GET + GET + head("GET", "/v2/", "Connection: close"))
    assert said.count(b"HTTP/1.1 200 OK") == 3


def test_an_old_client_is_answered(served: Asker) -> None:
    assert b"200 OK" in served.raw(b"GET /v2/ HTTP/1.0\r\n\r\n")


def test_a_client_that_ends_its_half_is_answered(served: Asker) -> None:
    with connected(served, 1) as (client,):
        client.settimeout(5)
        client.sendall(GET)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(15) == b"HTTP/1.1 200 OK"


# Out of the folder

NAMES = [
    "..", "../up", "a/../../up", "a/..", ".", "a/./b", "%2e%2e", "%2e%2e/up", "a/%2e%2e/%2e%2e/up", "..%2fup", "a%2f..%2f..%2fup",
    "/etc", "//etc", "a//b", "a/", "%00", "a%00b", "A", "a b", "a%0ab", "%c3%a9", "%ff", "a\\b", "..\\up", "-a", "a-", "a..b", "a___b",
    ".uploads", ".uploads/x", "a" * 256, "/".join(["a"] * 200), "a%252e", "~root", "$HOME", "*", "a:b", "a@b", "con?x",
]  # fmt: skip
REFERENCES = [
    "..", "../v1", "%2e%2e", "..%2f..%2fup", "%00", "v1%00", "", "-v1", ".v1", "a" * 129, "a" * 10_000, "v 1", "v1%0a", "%ff",
    "sha256:", "sha256:..", "sha256:../../../up", "sha256:" + "a" * 63, "sha256:" + "A" * 64, "sha256:" + "g" * 64, "sha512:" + "a" * 64,
    "SHA256:" + "a" * 64, "md5:" + "a" * 32, "sha256:" + "a" * 64 + "/..", "sha256:%2e%2e", ":", "a:b",
]  # fmt: skip


def untouched(tmp_path: Path) -> None:
    found = [path for path in tmp_path.rglob("*") if path != tmp_path / "registry"]
    assert [path for path in found if path.name != ".uploads"] == []


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_none_reach_no_file(served: Asker, tmp_path: Path, name: str) -> None:
    for method, path in (
        ("GET", f"/v2/{name}/tags/list"),
        ("PUT", f"/v2/{name}/manifests/v1"),
        ("POST", f"/v2/{name}/blobs/uploads/"),
        ("POST", f"/v2/{name}/blobs/uploads/?digest={digest_of(b'{}')}"),
        ("GET", f"/v2/{name}/blobs/{digest_of(b'{}')}"),
        ("DELETE", f"/v2/{name}/manifests/v1"),
        ("POST", f"/v2/a/blobs/uploads/?mount={digest_of(b'{}')}&from={name}"),
    ):
        said = served.raw(head(method, path, "Content-Length: 2", "Connection: close") + b"{}", seconds=5)
        if "from=" in path:
            assert status(said) in (202, 400), (path, said)
        else:
            assert status(said) in (400, 404, 405), (path, said)
    untouched(tmp_path)


@pytest.mark.parametrize("reference", REFERENCES)
def test_references_that_are_none_reach_no_file(served: Asker, tmp_path: Path, reference: str) -> None:
    for method, path in (
        ("GET", f"/v2/a/manifests/{reference}"),
        ("PUT", f"/v2/a/manifests/{reference}"),
        ("DELETE", f"/v2/a/manifests/{reference}"),
        ("GET", f"/v2/a/blobs/{reference}"),
        ("DELETE", f"/v2/a/blobs/{reference}"),
        ("GET", f"/v2/a/referrers/{reference}"),
        ("PATCH", f"/v2/a/blobs/uploads/{reference}"),
        ("DELETE", f"/v2/a/blobs/uploads/{reference}"),
        ("PUT", f"/v2/a/blobs/uploads/{reference}?digest={digest_of(b'{}')}"),
    ):
        said = served.raw(head(method, path, "Content-Length: 2", "Connection: close") + b"{}", seconds=5)
        assert status(said) in (400, 404, 405), (path, said)
    untouched(tmp_path)


def test_a_file_that_shrinks_while_it_goes_out_is_no_whole_answer(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    with (tmp_path / "file").open("rb") as stream:
        assert b"".join(FileBody(stream, 1, 4)) == b"2345"
    with (tmp_path / "file").open("rb") as stream, pytest.raises(Broken):
        list(FileBody(stream, 1, 5))
