"""A cluster of Dask's on loopback: a real scheduler and real workers, each a process, some of which are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Seen

ROOT = Path(__file__).parents[2]
MODULE = b"\0asm\1\0\0\0"
COUNT = 24


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "cluster").mkdir()
    made = Cluster(tmp_path / "cluster")
    try:
        made.start()
        yield made
    finally:
        made.end()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Many small modules and one index, which no worker can read from here: their paths are relative."""
    work = tmp_path / "work"
    work.mkdir()
    for number in range(COUNT):
        name = str(number).encode()
        section = bytes([len(name)]) + name
        (work / f"m{number}.wasm").write_bytes(MODULE + b"\0" + bytes([len(section)]) + section)
    for machine in ("amd64", "arm64"):
        (work / f"app-linux-{machine}").write_bytes((ROOT / f"samples/hello-linux-{machine}").read_bytes())
    (work / "ocibuild.toml").write_text(
        'schema = 1\n[vars]\nhost = {}\n[targets."${stem}"]\neach = "m*.wasm"\ntags = ["${host}/${stem}:1"]\n'
        '[targets.app]\nfiles = ["m0.wasm", "app-linux-*"]\ntags = ["${host}/app:1", "${host}/app:2"]\n'
    )
    return work


def bake(folder: Path, *words: str) -> subprocess.Popen[str]:
    environ = {**os.environ, "XDG_CACHE_HOME": str(folder.parent / "cache"), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "ocibuild", "bake", "--json", *words],
        cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def digests(process: subprocess.Popen[str]) -> dict[str, str]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return {name: one["containerimage.digest"] for name, one in json.loads(out)["targets"].items()}


class Slow(Registry):
    """Takes a moment for each manifest, so that there is a middle to be killed in."""

    def respond(self, request: Seen) -> Answer:
        if request.method == "PUT" and "/manifests/" in request.path:
            time.sleep(0.1)
        return super().respond(request)


def test_the_same_images_on_threads_processes_and_a_cluster_that_loses_workers(cluster: Cluster, folder: Path) -> None:
    with Registry() as registry, Registry() as other, Slow() as third:
        expected = digests(bake(folder, "--push", "--set", f"host={registry.host}"))
        assert len(expected) == COUNT + 1
        by_processes = bake(folder, "--push", "--executor", "process", "--set", f"host={other.host}")
        assert digests(by_processes) == expected
        first, second = cluster.work(), cluster.work()
        baking = bake(folder, "--push", "--executor", cluster.address, "--set", f"host={third.host}")
        wait_for(lambda: str(list(third.tags)[2:][0]) if len(third.tags) > 2 else str(int("not yet")))
        first.kill()
        cluster.work()
        time.sleep(0.5)
        second.kill()
        assert digests(baking) == expected
        assert third.tags == registry.tags == other.tags
        assert set(third.manifests) == set(registry.manifests)
        assert third.manifests["app", expected["app"]] == registry.manifests["app", expected["app"]]
        again = bake(folder, "--push", "--executor", cluster.address, "--set", f"host={third.host}", "--no-cache")
        assert digests(again) == expected


def test_workers_have_their_own_logins_and_nothing_secret_travels(cluster: Cluster, folder: Path) -> None:
    with Registry(user="ada", password="lovelace-secret", basic=True) as registry:
        home = cluster.folder / "home" / ".docker"
        home.mkdir()
        auth = "YWRhOmxvdmVsYWNlLXNlY3JldA=="  # base64 of ada:lovelace-secret
        (home / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        cluster.environ["DOCKER_CONFIG"] = str(home)
        cluster.work()
        assert (
            len(digests(bake(folder, "m1", "--push", "--executor", cluster.address, "--set", f"host={registry.host}")))
            == 1
        )
        assert ("m1", "1") in registry.tags
    log = (cluster.folder / "log").read_text()
    assert "lovelace" not in log
    assert auth not in log


def test_a_target_that_fails_on_a_worker_is_named(cluster: Cluster, folder: Path) -> None:
    cluster.work()
    (folder / "m1.wasm").write_bytes(b"no program")
    with Registry() as registry:
        process = bake(
            folder, "-k", "--push", "--executor", cluster.address, "--set", f"host={registry.host}", "m0", "m1"
        )
        out, err = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "m1: " in err
        assert {name: one["state"] for name, one in json.loads(out)["targets"].items()} == {
            "m0": "made",
            "m1": "failed",
        }
        assert set(registry.tags) == {("m0", "1")}


def test_a_scheduler_that_is_started_again_ends_in_the_same_images(cluster: Cluster, folder: Path) -> None:
    with Registry() as registry, Slow() as other:
        expected = digests(bake(folder, "--push", "--set", f"host={registry.host}"))
        cluster.work()
        baking = bake(folder, "--push", "--executor", cluster.address, "--set", f"host={other.host}")
        wait_for(lambda: str(list(other.tags)[2:][0]) if len(other.tags) > 2 else str(int("not yet")))
        cluster.again()
        cluster.work()
        assert digests(baking) == expected
        assert other.tags == registry.tags


class Held(Registry):
    """Takes no manifest before it is `released`, and notes whose it was asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def respond(self, request: Seen) -> Answer:
        if request.method == "PUT" and "/manifests/" in request.path:
            self.released.wait(60)
        return super().respond(request)


def asked(registry: Registry) -> list[str]:
    """The manifests that were sent so far."""
    return [request.path for request in registry.seen if request.method == "PUT" and "/manifests/" in request.path]


def test_called_off_nothing_more_is_begun_there_and_what_goes_on_is_named(cluster: Cluster, folder: Path) -> None:
    cluster.work()
    cluster.work()
    with Held() as registry:
        process = bake(folder, "--push", "--executor", cluster.address, "--set", f"host={registry.host}")
        wait_for(lambda: str(int("not yet")) if len(asked(registry)) < 2 else "two")
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        took = time.monotonic() - began
        registry.released.set()
        assert process.returncode == 130, err
        assert took < 5, "it takes less than a second where nobody shares the machine"
        told = re.search("end by themselves: (.*);", err)
        assert told is not None, err
        going = set(told[1].split(", "))
        assert len(going) == 2, "one a worker"
        for _ in range(100):
            if {name for name, _ in registry.tags} >= going:
                break
            time.sleep(0.1)
        time.sleep(1)
        assert {name for name, _ in registry.tags} == going, "what nobody had begun was taken back"
        again = bake(folder, "--push", "--executor", cluster.address, "--set", f"host={registry.host}")
        assert len(digests(again)) == COUNT + 1
