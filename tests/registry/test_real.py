"""Against Debian's docker-registry (CNCF distribution 2.8), plain, with htpasswd, and over TLS."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocibuild.content.blob import Blob, File
from ocibuild.content.flow import Cancel, Event, Flow
from ocibuild.errors import AuthorizationError, Cancelled, NetworkError, NotFoundError
from ocibuild.registry.client import Client
from ocibuild.registry.credentials import Credential
from ocibuild.registry.settings import Patience, Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Pushed, fetch
from tests.e2e.servers import port_of, self_signed
from tests.registry.scripted import Answer, Scripted

pytestmark = pytest.mark.real

CONFIG = Blob.of(mediatype.CONFIG, b'{"architecture":"wasm","os":"wasip1"}')
LAYER = Blob.of(mediatype.LAYER, os.urandom(3_000_000))
NOTHING = Blob.of(mediatype.LAYER, b"")
MANIFEST = Blob.of(mediatype.MANIFEST, Manifest(CONFIG.descriptor, (LAYER.descriptor, NOTHING.descriptor)).to_bytes())
INDEX = Blob.of(mediatype.INDEX, Index((MANIFEST.descriptor,)).to_bytes())
QUICK = Patience(attempts=2, first=0.05)


@contextmanager
def started(program: str, folder: Path, *lines: str):
    """Host and process of a registry, until the block ends. It takes a port of the system's own choice."""
    config = folder / "config.yml"
    text = ["version: 0.1", "storage:", f"  filesystem: {{rootdirectory: {folder / 'data'}}}", "http:"]
    config.write_text("\n".join([*text, "  addr: 127.0.0.1:0", *lines]) + "\n")
    with open(folder / "log", "wb") as output:
        process = subprocess.Popen([program, "serve", str(config)], stdout=output, stderr=output)
    try:
        yield f"127.0.0.1:{port_of(process)}", process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(10)


@contextmanager
def running(program: str, folder: Path, *lines: str):
    """The host of a registry, until the block ends."""
    with started(program, folder, *lines) as (host, _):
        yield host


@pytest.fixture
def program(part):
    return part("docker-registry")


@pytest.fixture
def host(program, tmp_path):
    with running(program, tmp_path) as found:
        yield found


def store(host: str, name: str, **settings) -> RegistryStore:
    return RegistryStore(Reference.parse(f"{host}/{name}"), Settings(**{"patience": QUICK, **settings}))


def push_all(target: RegistryStore, *names: str) -> list[Pushed]:
    with Flow.open() as flow, target:
        pushed = [target.push(blob, flow) for blob in (CONFIG, LAYER, NOTHING, MANIFEST, INDEX)]
        for name in names:
            target.tag(INDEX.descriptor, name)
    return pushed


def test_push_and_pull(host):
    target = store(host, "team/hello:1")
    assert push_all(target, "1", "latest") == [Pushed.WRITTEN] * 5
    assert push_all(target, "1", "latest") == [Pushed.EXISTED] * 5
    source = store(host, "team/hello:1")
    assert source.resolve().key == source.resolve("latest").key == INDEX.descriptor.key
    for blob in (CONFIG, LAYER, NOTHING, MANIFEST, INDEX):
        assert fetch(source, blob.descriptor) == blob.content.data
    with source.open(LAYER.descriptor, 2_999_999) as stream:
        assert stream.read() == LAYER.content.data[-1:]
    # The registry's own word for it, through a client that is not ours.
    request = urllib.request.Request(f"http://{host}/v2/team/hello/manifests/1", headers={"Accept": mediatype.INDEX})
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.headers["Docker-Content-Digest"] == INDEX.descriptor.digest
        assert response.read() == INDEX.content.data


def test_mount(host):
    source, target = store(host, "mount/from:1"), store(host, "mount/to:1")
    with Flow.open() as flow:
        source.push(LAYER, flow)
        assert target.mount(LAYER.descriptor, source)
        assert target.push(LAYER, flow) is Pushed.EXISTED
        absent = Descriptor.of(mediatype.LAYER, b"absent")
        assert not target.mount(absent, source)
        assert target.push(Blob.of(mediatype.LAYER, b"absent"), flow) is Pushed.WRITTEN


def test_what_is_missing(host):
    with pytest.raises(NotFoundError):
        store(host, "none/such:1").resolve()


def test_two_hundred_blobs_by_eight_threads(host):
    blobs = [Blob.of(mediatype.LAYER, b"many %d" % number) for number in range(200)]
    target = store(host, "many:1")
    with Flow.open() as flow, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda blob: target.push(blob, flow), blobs)) == [Pushed.WRITTEN] * 200
        assert list(pool.map(lambda blob: target.exists(blob.descriptor), blobs)) == [True] * 200


def test_orass_own_push_and_tags(host, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    client = Client(host, insecure=True)
    client.push(f"{host}/oras/a:1", files=["a.txt:text/plain"], quiet=True)
    assert client.get_tags(f"{host}/oras/a") == ["1"]
    assert client.get_manifest(f"{host}/oras/a:1")["layers"][0]["mediaType"] == "text/plain"


def test_a_large_blob_in_little_memory(host, tmp_path):
    resource = pytest.importorskip("resource")
    size = 300_000_000
    path = tmp_path / "large"
    with open(path, "wb") as stream:
        stream.truncate(size)
    hasher = Digest.of(b"").hasher()
    for _ in range(size // 1_000_000):
        hasher.update(bytes(1_000_000))
    descriptor = Descriptor(mediatype.LAYER, Digest.from_hasher(hasher), size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Flow.open() as flow:
        target = store(host, "large:1")
        assert target.push(Blob(descriptor, File(str(path), size)), flow) is Pushed.WRITTEN
        with target.open(descriptor) as stream:
            total = 0
            while piece := stream.read(1_000_000):
                total += len(piece)
    assert total == size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024  # KiB


# What `htpasswd -Bbn ada love:lace` of Apache 2.4 prints.
HTPASSWD = "ada:$2y$05$N.PyR4Pvktyl0OkEoUCRDudewdI.VqtgLULuoTYnr1CKFRwSGBPLK\n"


def test_htpasswd(program, tmp_path):
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    with running(program, tmp_path, "auth:", f"  htpasswd: {{realm: here, path: {tmp_path / 'htpasswd'}}}") as host:
        good = {"credentials": {host: Credential("ada", "love:lace")}}
        assert push_all(store(host, "hello:1", **good), "1") == [Pushed.WRITTEN] * 5
        assert store(host, "hello:1", **good).resolve().key == INDEX.descriptor.key
        with pytest.raises(AuthorizationError):
            store(host, "hello:1", credentials={host: Credential("ada", "wrong")}).resolve()
        with pytest.raises(AuthorizationError):
            store(host, "hello:1").resolve()
        config = tmp_path / ".docker" / "config.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"auths": {host: {"auth": "YWRhOmxvdmU6bGFjZQ=="}}}))  # ada:love:lace
        assert store(host, "hello:1", home=tmp_path).resolve().key == INDEX.descriptor.key


def test_tls(program, part, tmp_path):
    certificate, key = self_signed(part("openssl"), tmp_path)
    with running(program, tmp_path, f"  tls: {{certificate: {certificate}, key: {key}}}") as host:
        known = {"plain_http": False, "ca_file": str(certificate)}
        assert push_all(store(host, "hello:1", **known), "1") == [Pushed.WRITTEN] * 5
        variable = {"plain_http": False, "environ": {"SSL_CERT_FILE": str(certificate)}}
        assert store(host, "hello:1", **variable).resolve().key == INDEX.descriptor.key
        assert store(host, "hello:1", plain_http=False, insecure=True).resolve().key == INDEX.descriptor.key
        with pytest.raises(NetworkError) as caught:
            store(host, "hello:1", plain_http=False).resolve()
        assert caught.value.code == "tls-untrusted"
        assert "--ca-file" in str(caught.value.hint)


def test_cancel_ends_an_upload_over_tls_to_a_registry_that_stopped(program, part, tmp_path):
    certificate, key = self_signed(part("openssl"), tmp_path)
    data = bytes(400_000_000)
    large = Blob.of(mediatype.LAYER, data)
    with started(program, tmp_path, f"  tls: {{certificate: {certificate}, key: {key}}}") as (host, process):
        cancel, sent = Cancel(), threading.Event()

        def observe(event: Event) -> None:
            if event.kind == "advance" and not sent.is_set():
                process.send_signal(signal.SIGSTOP)
                sent.set()

        target = store(host, "hello:1", plain_http=False, ca_file=str(certificate))
        with Flow.open(observe, cancel=cancel) as flow:
            future = flow.io.submit(target.push, large, flow)
            assert sent.wait(20)
            time.sleep(0.5)
            assert not future.done()
            started_at = time.monotonic()
            cancel.set()
            with pytest.raises(Cancelled):
                future.result(10)
            assert time.monotonic() - started_at < 1


def test_a_registry_that_dies_in_the_middle_is_an_error_of_the_network(program, tmp_path):
    large = Blob.of(mediatype.LAYER, bytes(200_000_000))
    with started(program, tmp_path) as (host, process):

        def observe(event: Event) -> None:
            if event.kind == "advance":
                process.kill()

        with Flow.open(observe) as flow, pytest.raises(NetworkError) as caught:
            store(host, "hello:1").push(large, flow)
    assert caught.value.code in ("connection-lost", "connection-refused")


STALLED = """
import sys
from ocibuild.content.blob import Blob, File
from ocibuild.content.flow import Flow
from ocibuild.registry.store import RegistryStore
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference

size = 1 << 30
blob = Blob(Descriptor("application/wasm", Digest.of(b""), size), File(sys.argv[2], size))
with Flow.open() as flow:
    store = RegistryStore(Reference.parse(sys.argv[1]))
    future = flow.io.submit(store.push, blob, flow)
    print("started", flush=True)
    while not future.done():
        try:
            future.result(0.2)
        except TimeoutError:
            pass
    future.result()
"""


def test_ctrl_c_ends_a_stalled_gibibyte_within_a_second(tmp_path):
    with open(tmp_path / "large", "wb") as stream:
        stream.truncate(1 << 30)
    script = {
        "HEAD .*": Answer(404),
        "POST .*": Answer(202, {"Location": "/up"}),
        "PUT .*": Answer(stall=True),
    }
    with Scripted(script) as server:
        command = [sys.executable, "-c", STALLED, f"{server.host}/a:1", str(tmp_path / "large")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout.readline() == b"started\n"
        deadline = time.monotonic() + 20
        while not server.requests("PUT") and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
        lasted = time.monotonic() - started
    assert b"KeyboardInterrupt" in complaint
    assert lasted < 1
