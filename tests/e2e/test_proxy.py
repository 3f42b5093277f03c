"""`ocibuild serve --proxy` in front of CNCF distribution: pulled once, it is there when the other is not."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import layouts
from tests.e2e.servers import Ocibuild, Part, Run, Served, port_of, serving, stop
from tests.e2e.test_serve import CLIENTS
from tests.serve.asking import Asker, digest_of

pytestmark = pytest.mark.real

MIB = 1024 * 1024


@pytest.fixture
def upstream(part: Part, tmp_path: Path) -> Iterator[Served]:
    with serving("distribution", part, tmp_path / "upstream") as running:
        yield running


@pytest.fixture
def digest(ocibuild: Ocibuild, upstream: Served, image: tuple[Path, str]) -> str:
    """Of an index that upstream has as team/hello:1."""
    layout, root = image
    ocibuild("push", layout, f"{upstream.host}/team/hello:1")
    return root


@contextmanager
def proxy(folder: Path, upstream: Served, words: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """A proxy until the block ends: its host, and the number of its process."""
    command = [sys.executable, "-m", "ocibuild", "serve", str(folder / "cache"), "--port", "0"]
    command += ["--proxy", f"http://{upstream.host}", *words]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (folder / "proxy.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            yield f"127.0.0.1:{port_of(process)}", process.pid
        finally:
            stop(process)


def test_crane_and_our_client_pull_again_when_upstream_is_gone(
    part: Part, run: Run, ocibuild: Ocibuild, upstream: Served, digest: str, tmp_path: Path
) -> None:
    with proxy(tmp_path, upstream) as (host, _):
        reference = f"{host}/team/hello:1"
        for where in ("there", "gone"):
            run(part("crane"), "pull", "--insecure", "--format", "oci", reference, tmp_path / f"crane-{where}")
            assert run(part("crane"), "digest", "--insecure", reference).strip() == digest
            ocibuild("copy", reference, f"oci:{tmp_path}/ours-{where}.oci:1")
            assert layouts.root(tmp_path / f"ours-{where}.oci") == digest
            if where == "there":
                upstream.end()
        for kind in ("crane-{}", "ours-{}.oci"):
            there, gone = (
                {file.name for file in (tmp_path / kind.format(where)).glob("blobs/sha256/*")}
                for where in ("there", "gone")
            )
            assert there == gone
            assert len(there) >= 7
    assert f"127.0.0.1:{upstream.port} does not answer" in (tmp_path / "proxy.log").read_text()


def test_other_clients_pull_again_when_upstream_is_gone(
    part: Part, run: Run, upstream: Served, image: tuple[Path, str], digest: str, tmp_path: Path
) -> None:
    want = layouts.graph(image[0], digest)
    with proxy(tmp_path, upstream) as (host, _):
        for where in ("there", "gone"):
            for name, (_, pull) in CLIENTS.items():
                pull(part, run, f"{host}/team/hello:1", tmp_path / f"{name}-{where}")
                assert layouts.graph(tmp_path / f"{name}-{where}", digest) == want
            upstream.end()


def test_memory_stays_while_large_blobs_go_through(upstream: Served, tmp_path: Path) -> None:
    size, piece = 256 * MIB, os.urandom(MIB)
    digest = "sha256:" + hashlib.sha256(piece * (size // MIB)).hexdigest()
    there = Asker(upstream.port)
    location = there.ask("POST", "/v2/a/blobs/uploads/").headers["location"]
    path = location.partition(upstream.host)[2] or location
    for _ in range(4):
        told = there.ask("PATCH", path, piece * (size // MIB // 4), Content_Type="application/octet-stream")
        path = told.headers["location"].partition(upstream.host)[2] or told.headers["location"]
    assert there.ask("PUT", f"{path}&digest={digest}").status == 201
    with proxy(tmp_path, upstream) as (host, number):
        asker = Asker(int(host.rpartition(":")[2]))
        assert asker.ask("GET", f"/v2/a/blobs/{digest_of(b'none')}").status == 404  # what it loads, it has loaded
        before = peak(number)
        body = asker.ask("GET", f"/v2/a/blobs/{digest}", seconds=120).body
        assert hashlib.sha256(body).hexdigest() == digest[7:]
        assert peak(number) - before < 32 * MIB


def peak(number: int) -> int:
    """The most memory a process has had, in bytes."""
    text = Path(f"/proc/{number}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024
