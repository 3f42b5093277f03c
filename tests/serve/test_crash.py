"""Killed at any moment, out of space, or collecting: what was acknowledged is there, and what was not is no harm."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocibuild.content import atomic
from ocibuild.errors import StoreError
from ocibuild.serve.limits import Limits
from ocibuild.spec.digest import Digest
from ocibuild.store.layout import LayoutStore
from tests.serve.asking import INDEX, MANIFEST, Asker, answering, digest_of

ROOT = Path(__file__).parents[2]
KILLS = 100


class Pushing(threading.Thread):
    """Pushes one image after the other, each of its own bytes, and remembers what was acknowledged."""

    def __init__(self, port: int, name: str, seed: int) -> None:
        super().__init__()
        self.served = Asker(port)
        self.name_ = name
        self.acknowledged: list[str] = []
        self.tags: dict[str, str] = {}
        self._random = random.Random(seed)

    def run(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
            for number in range(1000):
                data = self._random.randbytes(self._random.choice((10, 1000, 300_000)))
                document = {
                    "schemaVersion": 2,
                    "config": {
                        "mediaType": "application/vnd.oci.empty.v1+json",
                        "digest": self._blob(b"{}"),
                        "size": 2,
                    },
                    "layers": [{"mediaType": "text/plain", "digest": self._blob(data), "size": len(data)}],
                }
                tag = f"t{number % 5}"
                digest = self.served.manifest(self.name_, tag, document)
                self.acknowledged.append(digest)
                self.tags[tag] = digest

    def _blob(self, data: bytes) -> str:
        if self._random.random() < 0.5:
            digest = self.served.blob(self.name_, data)
        else:
            path = self.served.ask("POST", f"/v2/{self.name_}/blobs/uploads/", b"").headers["location"]
            half = len(data) // 2
            assert self.served.ask("PATCH", path, data[:half]).status == 202
            digest = digest_of(data)
            assert self.served.ask("PUT", f"{path}?digest={digest}", data[half:]).status == 201
        self.acknowledged.append(digest)
        return digest


@contextmanager
def running(folder: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ocibuild", "serve", str(folder), "--port", str(port), "--quiet"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline().partition(":")[2])
    finally:
        process.kill()
        process.communicate(timeout=10)


# One process that is killed in the middle of its work, again and again: its children are, by a parent that stays.
FORKING = """
import os, sys, time
from pathlib import Path
from ocibuild.serve.app import App
from ocibuild.serve.registry import Registry
from ocibuild.serve.server import Server
for line in sys.stdin:
    child = os.fork()
    if not child:
        server = Server(App(Registry(Path(sys.argv[1]), clock=time.time)))
        server.begin()
        print(os.getpid(), server.port, flush=True)
        time.sleep(60)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_killed_a_hundred_times_it_loses_nothing_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    chance = random.Random(1)
    acknowledged: dict[str, set[str]] = {"one": set(), "two/deep": set()}
    tags: dict[str, dict[str, set[str]]] = {name: {} for name in acknowledged}
    try:
        for round_ in range(KILLS):
            parent.stdin.write("go\n")
            parent.stdin.flush()
            number, port = map(int, parent.stdout.readline().split())
            pushing = [Pushing(port, name, 2 * round_ + at) for at, name in enumerate(acknowledged)]
            for thread in pushing:
                thread.start()
            time.sleep(chance.uniform(0.01, 0.15))
            os.kill(number, 9)
            for thread in pushing:
                thread.join(20)
                acknowledged[thread.name_].update(thread.acknowledged)
                for tag, digest in thread.tags.items():
                    tags[thread.name_].setdefault(tag, set()).add(digest)
            assert parent.stdout.readline() == "ended\n"
    finally:
        parent.stdin.close()
        parent.kill()
        parent.wait(10)
        parent.stdout.close()
    assert sum(map(len, acknowledged.values())) > KILLS
    for name, digests in acknowledged.items():
        path = folder / name
        for digest in digests:
            algorithm, _, value = digest.partition(":")
            assert digest_of((path / "blobs" / algorithm / value).read_bytes()) == digest
        for file in (path / "blobs" / "sha256").iterdir():
            assert atomic.is_leftover(file.name) or digest_of(file.read_bytes()) == f"sha256:{file.name}"
        # What stands in index.json is whole, down to its last layer, for every reader.
        store = LayoutStore(path)
        roots = dict(store.roots())
        assert set(tags[name]) <= set(roots)
        for root in store.index().manifests:
            document = json.loads((path / "blobs" / "sha256" / root.digest.hex).read_bytes())
            for child in (document["config"], *document["layers"]):
                assert (path / "blobs" / "sha256" / Digest(child["digest"]).hex).stat().st_size == child["size"]
    with answering(folder) as served:
        for name, digests in acknowledged.items():
            for digest in list(digests)[:50]:
                assert served.ask("HEAD", f"/v2/{name}/blobs/{digest}").status == 200


@pytest.mark.real
def test_a_trace_shows_the_disk_is_waited_for_before_the_answer(part: Callable[[str], str], tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    process = subprocess.Popen(
        [
            part("strace"), "-D", "-f", "-y", "-s", "64", "-o", str(trace), "-e", "trace=fsync,rename,renameat,renameat2,link,linkat,sendto,openat",
            sys.executable, "-m", "ocibuild", "serve", str(tmp_path / "registry"), "--port", "0", "--quiet",
        ],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        served = Asker(int(process.stdout.readline().partition(":")[2]))
        digest = served.blob("one", b"hello")
        manifest = served.manifest("one", "v1", {"schemaVersion": 2, "manifests": []}, INDEX)
        assert served.ask("POST", f"/v2/two/blobs/uploads/?mount={digest}&from=one", b"").status == 201
        process.terminate()
        for _ in range(200):
            if f"{process.pid} +++ exited" in trace.read_text():
                break
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate(timeout=20)
    lines = [line.partition(" ")[2].strip() for line in trace.read_text().splitlines()]
    created = [at for at, line in enumerate(lines) if line.startswith("sendto") and "201 CREATED" in line]
    assert len(created) == 3
    blob, put, mount = created
    blobs = re.escape(str(tmp_path / "registry" / "one" / "blobs" / "sha256"))
    layout = re.escape(str(tmp_path / "registry" / "one"))
    value = digest.partition(":")[2]
    in_order(lines[:blob], r"fsync\(\d+<.*/\.uploads/", rf"rename.*/{value}", rf"fsync\(\d+<{blobs}>")
    in_order(
        lines[blob:put],
        rf"fsync\(\d+<{blobs}/\..*part>", rf"rename.*/{manifest.partition(':')[2]}", rf"fsync\(\d+<{blobs}>",
        rf"fsync\(\d+<{layout}/\..*part>", r"rename.*/index\.json", rf"fsync\(\d+<{layout}>",
    )  # fmt: skip
    in_order(lines[put:mount], rf"link.*/{value}", rf"fsync\(\d+<{blobs.replace('one', 'two')}>")


def in_order(lines: list[str], *patterns: str) -> None:
    """Each of the calls is there and succeeded, one after the other."""
    at = 0
    for pattern in patterns:
        found = [n for n in range(at, len(lines)) if re.match(pattern, lines[n]) and lines[n].endswith("= 0")]
        assert found, f"no {pattern} in:\n" + "\n".join(lines[at:])
        at = found[0] + 1


# Out of space


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = shutil.which("mount")
    if (
        not mount
        or subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False).returncode
    ):
        pytest.skip("a tmpfs can be mounted by root only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_recovered_from(tiny: Path) -> None:
    with answering(tiny) as served:
        kept = served.image("a", "v1")
        data = os.urandom(6 * 1024 * 1024)
        told = served.ask("POST", f"/v2/a/blobs/uploads/?digest={digest_of(data)}", data)
        assert (told.status, told.code) == (507, "DENIED")
        path = served.ask("POST", "/v2/a/blobs/uploads/", b"").headers["location"]
        told = served.ask("PATCH", path, data)
        assert told.status == 507
        # Nothing can be pushed now, everything can be pulled, and what was there stays as it was.
        full = served.ask("PUT", "/v2/a/manifests/v2", full_manifest(), Content_Type=INDEX)
        assert full.status == 507
        assert served.ask("GET", "/v2/a/tags/list").json["tags"] == ["v1"]
        assert served.ask("GET", "/v2/a/manifests/v1").headers["docker-content-digest"] == kept
        assert str(tiny) not in told.body.decode()
        end = int(served.ask("GET", path).headers["range"].removeprefix("0-")) + 1
        assert 0 < end < len(data)
        assert served.ask("DELETE", path).status == 204
        served.image("a", "v2", "room again")
        assert served.ask("GET", "/v2/a/tags/list").json["tags"] == ["v1", "v2"]


def full_manifest() -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": [], "annotations": {"a": "x" * 100_000}}).encode()


# Collecting

NO_GRACE = Limits(grace=-1)


def test_a_collection_takes_what_nobody_names(tmp_path: Path) -> None:
    with answering(tmp_path, limits=NO_GRACE) as served:
        assert served.registry is not None
        kept, gone = served.image("a", "kept", "kept"), served.image("a", "gone", "gone")
        child = served.image("a", None, "child")
        entry = {"mediaType": MANIFEST, "digest": child, "size": 1}
        served.manifest("a", "index", {"schemaVersion": 2, "manifests": [entry]}, INDEX)
        about = {"mediaType": MANIFEST, "digest": kept, "size": 1}
        signature = served.manifest("a", None, served.document("a", "signature", subject=about))
        loose = served.blob("a", b"loose")
        served.ask("DELETE", f"/v2/a/manifests/{gone}")
        done = served.registry.collect()
        assert (done.blobs, done.size) == (2, len(b"loose") + len(b"gone"))
        for digest in (loose, digest_of(b"gone")):
            assert served.ask("HEAD", f"/v2/a/blobs/{digest}").status == 404
        for text in (b"kept", b"child", b"signature", b"{}"):
            assert served.ask("GET", f"/v2/a/blobs/{digest_of(text)}").body == text
        for digest in (kept, child, signature):
            assert served.ask("HEAD", f"/v2/a/manifests/{digest}").status == 200
        assert served.registry.collect().blobs == 0


def test_a_collection_takes_what_a_killed_server_left(tmp_path: Path) -> None:
    with answering(tmp_path, limits=NO_GRACE) as served:
        assert served.registry is not None
        served.image("a", "v1")
        for folder in (tmp_path / "a", tmp_path / "a" / "blobs" / "sha256"):
            (folder / ".0123.part").write_bytes(b"half of it")
        served.registry.collect()
        assert [path for path in tmp_path.rglob("*") if path.name.endswith(".part")] == []
        assert served.ask("GET", "/v2/a/manifests/v1").status == 200


def test_a_blob_that_a_client_asked_for_is_not_collected(tmp_path: Path) -> None:
    with answering(tmp_path) as served:
        assert served.registry is not None
        served.image("a", "v1")
        asked, other = served.blob("a", b"asked for"), served.blob("a", b"not asked for")
        for digest in (asked, other):
            file = tmp_path / "a" / "blobs" / "sha256" / digest.partition(":")[2]
            os.utime(file, (0, 0))
        assert served.ask("HEAD", f"/v2/a/blobs/{asked}").status == 200
        hour_ago = time.time() - 3600
        assert (tmp_path / "a/blobs/sha256" / asked.partition(":")[2]).stat().st_mtime > hour_ago
        assert (tmp_path / "a/blobs/sha256" / other.partition(":")[2]).stat().st_mtime == 0


def test_what_came_lately_is_not_collected(tmp_path: Path) -> None:
    with answering(tmp_path) as served:
        assert served.registry is not None
        digest = served.blob("a", b"about to be named")
        served.image("a", "v1")
        assert served.registry.collect().blobs == 0
        assert served.ask("HEAD", f"/v2/a/blobs/{digest}").status == 200


def test_a_collection_stops_where_it_cannot_read(tmp_path: Path) -> None:
    with answering(tmp_path, limits=NO_GRACE) as served:
        assert served.registry is not None
        digest = served.image("a", "v1")
        served.blob("a", b"loose")
        (tmp_path / "a" / "blobs" / "sha256" / digest.partition(":")[2]).write_bytes(b"no manifest")
        served.registry.storage.repository("a")._documents.clear()  # as after a restart
        with pytest.raises(StoreError) as caught:
            served.registry.collect()
        assert caught.value.code == "layout-invalid"
        assert served.ask("HEAD", f"/v2/a/blobs/{digest_of(b'loose')}").status == 200
        assert served.ask("HEAD", f"/v2/a/blobs/{digest_of(b'hello')}").status == 200


def test_uploads_that_rest_too_long_are_swept(tmp_path: Path) -> None:
    with answering(tmp_path, limits=Limits(upload_rest=-1)) as served:
        assert served.registry is not None
        path = served.ask("POST", "/v2/a/blobs/uploads/", b"").headers["location"]
        served.registry.collect()
        assert served.ask("GET", path).status == 404
        assert list((tmp_path / ".uploads").iterdir()) == []


def test_collections_while_many_push_leave_nothing_incomplete(tmp_path: Path) -> None:
    """The grace time is none: whoever is told 201 for a manifest has all of it, whoever is not is told what is missing."""
    with answering(tmp_path, limits=NO_GRACE) as served:
        assert served.registry is not None
        ended = threading.Event()
        told: list[int] = []

        def push(number: int) -> None:
            for turn in range(15):
                text = f"{number} {turn}"
                document = json.dumps(served.document("a", text)).encode()
                answer = served.ask("PUT", f"/v2/a/manifests/t{number}-{turn}", document, Content_Type=MANIFEST)
                told.append(answer.status)
                if answer.status == 201:
                    assert served.ask("GET", f"/v2/a/blobs/{digest_of(text.encode())}").body == text.encode()

        def collect() -> None:
            while not ended.wait(0.005):
                served.registry.collect()  # type: ignore[union-attr]

        threads = [threading.Thread(target=push, args=(number,)) for number in range(4)]
        collecting = threading.Thread(target=collect)
        for thread in (*threads, collecting):
            thread.start()
        for thread in threads:
            thread.join(60)
        ended.set()
        collecting.join(20)
        assert len(told) == 60
        assert set(told) <= {201, 404}
        for tag in served.registry.tags("a"):
            held = served.registry.manifest("a", tag)
            for layer in json.loads(held.path.read_bytes())["layers"]:
                assert served.registry.blob("a", Digest(layer["digest"])).size == layer["size"]
