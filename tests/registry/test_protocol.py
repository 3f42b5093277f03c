"""HTTP that is hardly HTTP, and what the specification leaves open: other ways to say yes, no lengths, no mercy."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import ocibuild
from ocibuild.api import transfer
from ocibuild.api.session import Session
from ocibuild.content import atomic
from ocibuild.content.blob import Blob
from ocibuild.content.flow import Cancel, Flow
from ocibuild.errors import (
    AuthorizationError,
    Cancelled,
    ContentError,
    InputError,
    NetworkError,
    NotFoundError,
    RegistryError,
    StoreError,
)
from ocibuild.registry.credentials import Credential
from ocibuild.registry.settings import Patience, Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Pushed, fetch
from ocibuild.store.copy import copy
from ocibuild.store.graph import walk
from ocibuild.store.layout import LayoutStore
from ocibuild.store.memory import MemoryStore
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Raw, Scripted, Seen

BLOB = Blob.of(mediatype.LAYER, os.urandom(300_000))
SIZE = BLOB.descriptor.size
QUICK = Patience(attempts=3, first=0.01, longest=0.02, asked=2)
ROOT = Path(__file__).parents[2]


def store(server, **settings) -> RegistryStore:
    return RegistryStore(Reference.parse(f"{server.host}/a:1"), Settings(**{"patience": QUICK, **settings}))


def raw(head: str, body: bytes = b"") -> bytes:
    return head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body


# What is no HTTP.


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    "answer",
    [
        raw("HTTP/1.1 200 OK\nX: " + "y" * 70_000),
        raw("HTTP/1.1 200 OK\n" + "\n".join(f"X-{n}: y" for n in range(150))),
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\n",
    ],
    ids=["a header too long", "too many headers", "ssh", "tls"],
)
def test_an_answer_that_is_no_http_is_said_to_be_none(answer):
    with Raw(answer) as server, pytest.raises(NetworkError) as caught:
        store(server).exists(BLOB.descriptor)
    assert caught.value.code == "protocol-error"
    assert server.connections == 1, "it would say the same again"


@pytest.mark.fault(21)
@pytest.mark.parametrize(
    "answer",
    [
        raw("HTTP/1.1 200 OK\nContent-Length: 300000\nTransfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n"),
        raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", b"zz\r\nhello\r\n0\r\n\r\n"),
    ],
    ids=["two lengths", "a malformed chunk"],
)
def test_lengths_that_cannot_be_are_an_error(answer):
    with Raw(answer) as server, pytest.raises(NetworkError) as caught:
        fetch(store(server), BLOB.descriptor)
    assert caught.value.code in ("protocol-error", "connection-lost")


# What is, all the same.


@pytest.mark.fault(19)
def test_a_blob_without_a_length_is_read_to_its_size():
    data = BLOB.content.data
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (data[:1000], data[1000:])) + b"0\r\n\r\n"
    with Raw(raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked", chunks)) as server:
        assert fetch(store(server), BLOB.descriptor) == data
    with Raw(raw("HTTP/1.1 200 OK\nConnection: close", data)) as server:
        assert fetch(store(server), BLOB.descriptor) == data


@pytest.mark.fault(19)
def test_a_blob_without_a_length_that_is_too_long_or_too_short_is_refused():
    with Raw(raw("HTTP/1.1 200 OK\nConnection: close", BLOB.content.data + b"x")) as server:
        with pytest.raises(ContentError) as caught:
            fetch(store(server), BLOB.descriptor)
        assert caught.value.code == "size-mismatch"
    with Raw(raw("HTTP/1.1 200 OK\nConnection: close", BLOB.content.data[:-1])) as server:
        with pytest.raises(NetworkError) as lost:
            fetch(store(server), BLOB.descriptor)
        assert lost.value.code == "connection-lost"


@pytest.mark.fault(22)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_connection_for_every_answer(version):
    class Closing(Registry):
        def respond(self, request: Seen) -> Answer:
            answer = super().respond(request)
            return Answer(answer.status, {**answer.headers, "Connection": "close"}, answer.body)

    with Closing() as registry, Flow.open() as flow:
        target = store(registry)
        assert target.push(BLOB, flow) is Pushed.WRITTEN
        assert fetch(target, BLOB.descriptor) == BLOB.content.data
    head = f"{version} 200 OK\nContent-Length: {SIZE}\nDocker-Content-Digest: {BLOB.descriptor.digest}"
    with Raw(raw(head, BLOB.content.data)) as server:
        assert fetch(store(server), BLOB.descriptor) == BLOB.content.data
        assert fetch(store(server), BLOB.descriptor) == BLOB.content.data


@pytest.mark.fault(23)
def test_closing_twice_and_early_and_after_a_cancel_is_harmless():
    cancel = Cancel()
    with Registry() as registry:
        registry.blobs["a", BLOB.descriptor.digest] = BLOB.content.data
        source = RegistryStore(Reference.parse(f"{registry.host}/a:1"), Settings(patience=QUICK), cancel)
        opened = source.open(BLOB.descriptor)
        stream = opened.__enter__()
        assert stream.read(10) == BLOB.content.data[:10]
        opened.__exit__(None, None, None)
        opened.__exit__(None, None, None)
        opened = source.open(BLOB.descriptor)
        stream = opened.__enter__()
        stream.read(10)
        cancel.set()
        with pytest.raises(Cancelled):
            shutil.copyfileobj(stream, io.BytesIO())
        opened.__exit__(None, None, None)
        source.__exit__(None, None, None)
        source.__exit__(None, None, None)


@pytest.mark.fault(54)
@pytest.mark.parametrize("posted", [200, 202, 204])
@pytest.mark.parametrize("put", [200, 201, 202, 204])
def test_other_kinds_of_yes(posted, put):
    class Odd(Registry):
        def respond(self, request: Seen) -> Answer:
            answer = super().respond(request)
            statuses = {"POST": posted, "PUT": put}
            return Answer(statuses.get(request.method, answer.status), answer.headers, answer.body)

    with Odd() as registry, Flow.open() as flow:
        assert store(registry).push(BLOB, flow) is Pushed.WRITTEN
        assert registry.blobs["a", BLOB.descriptor.digest] == BLOB.content.data


@pytest.mark.fault(25, 24)
def test_another_port_is_another_origin():
    with Registry() as other:
        other.blobs["a", BLOB.descriptor.digest] = BLOB.content.data

        class Redirecting(Registry):
            def _blob(self, request, name, digest):
                return Answer(307, {"Location": f"{other.url}/v2/{name}/blobs/{digest}"})

        with Redirecting(user="ada", password="lovelace") as registry:
            known = store(registry, credentials={registry.host: Credential("ada", "lovelace")})
            assert fetch(known, BLOB.descriptor) == BLOB.content.data
            assert all("authorization" not in request.headers for request in other.seen)
            other.blobs["a", BLOB.descriptor.digest] = bytes(SIZE)
            with pytest.raises(ContentError):
                fetch(known, BLOB.descriptor)


# Content.


@pytest.mark.fault(61)
def test_a_blob_of_other_bytes_is_read_once_more():
    class Flipping(Registry):
        times = 1

        def _blob(self, request, name, digest):
            answer = super()._blob(request, name, digest)
            if request.method == "GET" and self.times and digest == BLOB.descriptor.digest:
                self.times -= 1
                return Answer(200, answer.headers, bytes([answer.body[0] ^ 1]) + answer.body[1:])
            return answer

    for times, succeeds in ((1, True), (2, False)):
        with Flipping() as registry, Flow.open() as flow, MemoryStore("memory") as target:
            root = image(registry)
            registry.times = times
            if succeeds:
                copy(store(registry), root, target, flow=flow)
                assert target.blobs[BLOB.descriptor.digest] == BLOB.content.data
            else:
                with pytest.raises(ContentError) as caught:
                    copy(store(registry), root, target, flow=flow)
                assert caught.value.code == "digest-mismatch"


def image(registry, repository: str = "a") -> Descriptor:
    """A small image put into the registry's store behind its back."""
    config = Blob.of(mediatype.CONFIG, b"{}")
    document = (
        f'{{"schemaVersion":2,"mediaType":"{mediatype.MANIFEST}","config":{described(config.descriptor)},'
        f'"layers":[{described(BLOB.descriptor)}]}}'
    )
    manifest = Blob.of(mediatype.MANIFEST, document.encode())
    for blob in (config, BLOB):
        registry.blobs[repository, blob.descriptor.digest] = blob.content.data
    registry.manifests[repository, manifest.descriptor.digest] = (mediatype.MANIFEST, manifest.content.data)
    registry.tags[repository, "1"] = manifest.descriptor.digest
    return manifest.descriptor


def described(descriptor: Descriptor) -> str:
    return f'{{"mediaType":"{descriptor.media_type}","digest":"{descriptor.digest}","size":{descriptor.size}}}'


@pytest.mark.fault(67, 79)
@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("what", ["manifest", "token"])
def test_a_web_page_is_told_with_its_title(what, status):
    page = Answer(status, {"Content-Type": "text/html"}, b"<html><title>Sign in to Example</title><p>...")
    with Scripted({"GET /token.*": page}) as server:
        challenge = Answer(401, {"WWW-Authenticate": f'Bearer realm="{server.url}/token",service="s"'})
        server._script["GET /v2/.*"] = server._script["HEAD /v2/.*"] = [page if what == "manifest" else challenge]
        with pytest.raises(RegistryError) as caught:
            store(server).resolve("1")
    if status == 200:
        assert caught.value.code == "not-a-registry"
    assert "Sign in to Example" in caught.value.message or what == "token"


@pytest.mark.fault(68)
@pytest.mark.parametrize(
    "body, code",
    [
        (b'{"schemaVersion":2,"mediaType":"%s","manifests":[]}' % mediatype.INDEX.encode(), "media-type-mismatch"),
        (b'{"schemaVersion":1,"name":"a","tag":"1","fsLayers":[]}', "document-invalid"),
        (b'{"schemaVersion":3,"config":{},"layers":[]}', "document-invalid"),
        (b'{"schemaVersion":2,"schemaVersion":2,"config":{},"layers":[]}', "json-invalid"),
        (b'{"schemaVersion":NaN,"config":{},"layers":[]}', "json-invalid"),
        (b"[" * 100_000, "json-invalid"),
        (b'{"a":' * 100_000, "json-invalid"),
    ],
)
def test_manifests_that_contradict_themselves(body, code):
    with Scripted(
        {"HEAD .*": Answer(404), "GET .*": Answer(200, {"Content-Type": mediatype.MANIFEST}, body)}
    ) as server:
        source = store(server)
        root = source.resolve("1")
        with pytest.raises(ContentError) as caught:
            list(walk(source, root))
    assert caught.value.code == code


@pytest.mark.fault(69)
def test_graphs_too_deep_and_too_wide_are_bounded():
    with Registry() as registry:
        inner = image(registry)
        for _ in range(12):
            document = f'{{"schemaVersion":2,"mediaType":"{mediatype.INDEX}","manifests":[{described(inner)}]}}'
            outer = Blob.of(mediatype.INDEX, document.encode())
            registry.manifests["a", outer.descriptor.digest] = (mediatype.INDEX, outer.content.data)
            inner = outer.descriptor
        with pytest.raises(ContentError) as caught:
            list(walk(store(registry), inner))
        assert caught.value.code == "graph-too-deep"
        children = ",".join([described(inner)] * 20_000)
        wide = Blob.of(mediatype.INDEX, f'{{"schemaVersion":2,"manifests":[{children}]}}'.encode())
        registry.manifests["a", wide.descriptor.digest] = (mediatype.INDEX, wide.content.data)
        began = time.monotonic()
        with pytest.raises(ContentError):
            list(walk(store(registry), wide.descriptor))
        assert time.monotonic() - began < 10


@pytest.mark.fault(70)
@pytest.mark.parametrize(
    "entry",
    [
        {"size": -1},
        {"size": 2**63},
        {"size": "17"},
        {"digest": "sha256:" + "A" * 64},
        {"digest": "md5:" + "0" * 32},
        {"digest": "sha256:../../etc/passwd"},
    ],
)
def test_descriptors_that_cannot_be(entry):
    layer = {"mediaType": mediatype.LAYER, "digest": BLOB.descriptor.digest, "size": SIZE, **entry}
    config = {"mediaType": mediatype.CONFIG, "digest": BLOB.descriptor.digest, "size": SIZE}
    body = json.dumps({"schemaVersion": 2, "config": config, "layers": [layer]}).encode()
    with Scripted(
        {"HEAD .*": Answer(404), "GET .*": Answer(200, {"Content-Type": mediatype.MANIFEST}, body)}
    ) as server:
        source = store(server)
        root = source.resolve("1")
        with pytest.raises(ContentError):
            list(walk(source, root))


@pytest.mark.fault(74)
def test_a_tag_that_moves_is_read_by_its_first_digest():
    class Moving(Registry):
        def respond(self, request: Seen) -> Answer:
            answer = super().respond(request)
            if request.method == "HEAD" and request.path.endswith("/manifests/1"):
                self.tags["a", "1"] = "sha256:" + "0" * 64
            return answer

    with Moving() as registry, Flow.open() as flow, MemoryStore("memory") as target:
        root = image(registry)
        source = store(registry)
        found = source.resolve("1")
        copy(source, found, target, flow=flow)
        assert found.digest == root.digest
        assert target.blobs[BLOB.descriptor.digest] == BLOB.content.data


@pytest.mark.fault(75)
@pytest.mark.parametrize("missing", ["blobs", "manifests"])
def test_a_child_that_is_missing_is_named(missing):
    with Registry() as registry, Flow.open() as flow:
        root = image(registry)
        if missing == "manifests":
            document = f'{{"schemaVersion":2,"mediaType":"{mediatype.INDEX}","manifests":[{described(root)}]}}'
            outer = Blob.of(mediatype.INDEX, document.encode())
            registry.manifests = {("a", outer.descriptor.digest): (mediatype.INDEX, outer.content.data)}
            lost, root = root, outer.descriptor
        else:
            del registry.blobs["a", BLOB.descriptor.digest]
            lost = BLOB.descriptor
        with pytest.raises(NotFoundError) as caught, MemoryStore("memory") as target:
            copy(store(registry), root, target, flow=flow)
    assert lost.digest in caught.value.message


@pytest.mark.fault(87)
def test_the_first_cause_is_told_and_no_manifest_is_pushed():
    class Refusing(Registry):
        def _start(self, name, query):
            time.sleep(0.05)
            return super()._start(name, query)

        def _finish(self, request, name, upload, digest):
            if digest == BLOB.descriptor.digest:
                body = b'{"errors":[{"code":"DENIED","message":"quota exceeded"}]}'
                return Answer(403, {"Content-Type": "application/json"}, body)
            return super()._finish(request, name, upload, digest)

    with Registry() as origin, Refusing() as registry, Flow.open() as flow:
        root = image(origin)
        with pytest.raises(AuthorizationError) as caught:
            copy(store(origin), root, store(registry), names=["1"], flow=flow)
        assert "quota exceeded" in caught.value.message
        assert not registry.manifests
        assert not registry.tags


@pytest.mark.fault(59)
def test_content_that_cannot_be_read_takes_the_upload_back():
    class Broken:
        size = SIZE

        def open(self, offset=0):
            class Stream(io.BytesIO):
                def read(self, amount=-1):
                    raise OSError(5, "Input/output error")

            return Stream()

    with Registry() as registry, Flow.open() as flow:
        with pytest.raises(InputError) as caught:
            store(registry).push(Blob(BLOB.descriptor, Broken()), flow)
        assert caught.value.code == "input-unreadable"
        assert not registry.uploads
        assert not registry.blobs


@pytest.mark.fault(76)
def test_a_full_disk_while_pulling_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    with Registry() as registry, Flow.open() as flow:
        root = image(registry)
        monkeypatch.setattr(atomic.Incoming, "write", full)
        with pytest.raises((StoreError, OSError)) as caught, LayoutStore(tmp_path / "out.oci") as target:
            copy(store(registry), root, target, flow=flow)
        assert "No space left" in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > 1000]


# Processes.


@pytest.mark.fault(89)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_shares_no_connection():
    with Registry() as registry:
        registry.blobs["a", BLOB.descriptor.digest] = BLOB.content.data
        source = store(registry)
        assert source.exists(BLOB.descriptor)
        child = os.fork()
        if not child:
            ok = all(fetch(source, BLOB.descriptor) == BLOB.content.data for _ in range(5))
            os._exit(0 if ok else 1)
        mine = all(fetch(source, BLOB.descriptor) == BLOB.content.data for _ in range(5))
        deadline = time.monotonic() + 20
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.02)
        if done == (0, 0):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert mine
        assert os.waitstatus_to_exitcode(done[1]) == 0


@pytest.mark.fault(85)
def test_a_cancelled_upload_is_taken_back_within_a_second():
    class Silent(Registry):
        def _finish(self, request, name, upload, digest):
            self.ended.wait(20)
            return Answer(500)

    cancel = Cancel()
    with Silent() as registry:
        threading.Timer(0.3, cancel.set).start()
        began = time.monotonic()
        with pytest.raises(Cancelled), Flow.open(cancel=cancel) as flow:
            store(registry).push(BLOB, flow)
        assert time.monotonic() - began < 1.3
        assert registry.requests("DELETE")
        assert not registry.uploads


@pytest.mark.fault(86)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_push_cleanly(tmp_path, number):
    transfer_from = tmp_path / "hello.oci"
    subprocess.run(
        [sys.executable, "-m", "ocibuild", "pack", ROOT / "samples/hello.wasm", "-o", transfer_from],
        check=True,
        capture_output=True,
        cwd=ROOT,
        timeout=60,
    )

    class Silent(Registry):
        def _finish(self, request, name, upload, digest):
            self.ended.wait(20)
            return Answer(500)

    with Silent() as registry:
        process = subprocess.Popen(
            [sys.executable, "-m", "ocibuild", "push", transfer_from, f"{registry.host}/a:1"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 30
        while not registry.requests("POST") and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.2)
        process.send_signal(number)
        began = time.monotonic()
        out, err = process.communicate(timeout=20)
        assert time.monotonic() - began < 2
        assert process.returncode == 130
        assert out == b""
        assert err.split() == [b"cancelled"]
        assert not registry.tags


@pytest.mark.fault(86)
def test_a_closed_stdout_is_no_traceback(tmp_path):
    layout = tmp_path / "hello.oci"
    command = [sys.executable, "-m", "ocibuild", "pack", ROOT / "samples/hello.wasm", "-o", layout]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, cwd=ROOT, timeout=60, check=False)
    finally:
        os.close(write)
    assert b"Traceback" not in done.stderr
    assert (layout / "index.json").exists()


# What does not matter.


@pytest.mark.fault(42, 96)
def test_a_registrys_clock_does_not_reach_a_digest(tmp_path):
    class Old(Registry):
        def respond(self, request: Seen) -> Answer:
            answer = super().respond(request)
            lines = (*answer.lines, ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Last-Modified", "x"))
            return Answer(answer.status, answer.headers, answer.body, lines)

    digests = set()
    for kind in (Old, Registry):
        with kind() as registry:
            packed = ocibuild.pack(str(ROOT / "samples/hello.wasm"), tags=[f"{registry.host}/a:1"], push=True)
            copied = transfer.copy(f"{registry.host}/a:1", str(tmp_path / f"{kind.__name__}.oci"), session=Session())
            digests |= {packed.digest, copied.descriptor.digest}
    assert len(digests) == 1


@pytest.mark.fault(80)
def test_few_requests_left_are_noted_for_debugging(caplog):
    with Scripted({"HEAD .*": Answer(404, {"RateLimit-Remaining": "3;w=21600"})}) as server:
        store(server).exists(BLOB.descriptor)
    assert any("3;w=21600" in record.getMessage() for record in caplog.records)
