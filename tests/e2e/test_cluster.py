"""`ocibuild bake` on a cluster that shares nothing but an S3 store and a registry: its workers have the logins, and die."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import many
from tests.e2e.cluster import Store, cluster, s3
from tests.e2e.line import Line
from tests.e2e.servers import Ocibuild, Part, Running, Served, finished, serving
from tests.test_docs import Block, blocks, commands, shown

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
# What `htpasswd -Bbn ada love:lace` of Apache 2.4 prints.
HTPASSWD = "ada:$2y$05$N.PyR4Pvktyl0OkEoUCRDudewdI.VqtgLULuoTYnr1CKFRwSGBPLK\n"
AT_WORKERS, AT_HOME, IN_S3 = "love:lace", "hopper-keeps-it", "turing/+key="
WAY = 0.01
"""Seconds to the registry, so that there is a middle to be killed in on a quick machine too."""
FILE = """
schema = 1

[vars]
host = "localhost"
where = "inputs"

[targets.module]
matrix = {{ n = {numbers} }}
files = ["${{where}}/${{matrix.n}}.wasm"]
tags = ["${{host}}/module-${{matrix.n}}:1"]
label = {{ number = "${{matrix.n}}" }}

[targets.everywhere]
files = ["${{where}}/1.wasm", "${{where}}/hello-linux-amd64", "${{where}}/hello-linux-arm64"]
add = ["${{where}}/words.txt:/etc/words.txt"]
tags = ["${{host}}/everywhere:1", "${{host}}/everywhere:latest"]
"""


def basic(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def log_in(home: Path, host: str, login: str) -> None:
    """As docker keeps it."""
    (home / ".docker").mkdir(parents=True)
    (home / ".docker/config.json").write_text(json.dumps({"auths": {host: {"auth": login}}}))


def inputs(folder: Path, count: int) -> None:
    """Distinct modules, two binaries, and a file that is added."""
    many.make(folder, count)
    for machine in ("amd64", "arm64"):
        shutil.copy(SAMPLES / f"hello-linux-{machine}", folder)
    (folder / "words.txt").write_text("of a file beside the program\n")


def digests(out: str) -> dict[str, str]:
    return {name: one["containerimage.digest"] for name, one in json.loads(out)["targets"].items()}


def tags(registry: Served) -> dict[str, str]:
    """What its storage says: a digest for each `repository:tag`."""
    root = registry.folder / "data/docker/registry/v2/repositories"
    found = {}
    for link in root.glob("*/_manifests/tags/*/current/link"):
        found[f"{link.relative_to(root).parts[0]}:{link.parts[-3]}"] = link.read_text()
    return found


def until(look: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for it, while the process runs."""
    for _ in range(2400):
        if look():
            return
        assert process.poll() is None, f"it ended too early:\n{process.communicate(timeout=10)[1][-3000:]}"
        time.sleep(0.02)
    raise TimeoutError("it does not come so far")


def read_by(store: Store) -> set[tuple[str, str]]:
    """Who read what: requester and key of the reads that its log has as done, in the fields of S3's own access logs."""
    found = set()
    for line in store.log.read_text().splitlines():
        _, _, _, _, _, requester, _, operation, key, _, status, *_ = [*line.split(), *[""] * 11]
        if operation == "s3_GetObject" and status in ("200", "206"):
            found.add((requester, key))
    return found


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.heavy)])
def test_workers_with_logins_of_their_own_read_from_s3_push_and_are_killed(
    count: int, part: Part, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    text = FILE.format(numbers=json.dumps([str(number) for number in range(1, count + 1)]))
    (here / "ocibuild.toml").write_text(text)
    inputs(here / "inputs", count)
    expected = digests(ocibuild("bake", "--config", here, "--json", "-o", f"oci:{tmp_path}/local.oci", seconds=300))
    assert len(expected) == count + 1
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    lines = ("auth:", f"  htpasswd: {{realm: here, path: {tmp_path / 'htpasswd'}}}")
    with (
        serving("distribution", part, tmp_path / "registry", lines) as registry,
        Line(registry.host, delay=WAY) as far,
        s3(part, tmp_path / "s3", IN_S3) as store,
        # Uncompressed, so that what passes can be read.
        cluster(tmp_path / "cluster", environ={"DASK_DISTRIBUTED__COMM__COMPRESSION": "false"}) as workers,
        Line(workers.host, keeps=True) as scheduler,
    ):
        # The workers' logins; and another one where the bake is started, which opens nothing and must not travel.
        shutil.move(here / "inputs", store.data / "builds")
        store.log_in(workers.folder / "home")
        log_in(workers.folder / "home", far.host, basic("ada", AT_WORKERS))
        log_in(tmp_path / "home", far.host, basic("grace", AT_HOME))
        there.mkdir()
        (there / "ocibuild.toml").write_text(text)
        killed = [workers.work(scheduler.host, threads) for threads in (1, 2, 4)]
        words = (
            "--set",
            f"host={far.host}",
            "--set",
            "where=s3://builds",
            "--executor",
            f"dask://{scheduler.host}",
        )
        baking = ocibuild.begin("bake", "--config", there, "--json", "--push", *words)
        for worker, share in zip(killed, (0.1, 0.3, 0.5), strict=True):
            until(lambda share=share: len(tags(registry)) > share * count, baking)  # type: ignore[misc]
            worker.kill()
            workers.work(scheduler.host, threads=2)
        assert len(tags(registry)) < len(expected)
        said = finished(baking, seconds=600)
        assert said.status == 0, said.err[-3000:]
        assert digests(said.out) == expected
        assert {name: target["state"] for name, target in json.loads(said.out)["targets"].items()} == dict.fromkeys(
            expected, "made"
        )
        modules = {f"{name}:1": digest for name, digest in expected.items()}
        assert tags(registry) == {**modules, "everywhere:latest": expected["everywhere"]}

        # What they are, another program says, which reads all blobs.
        crane = [part("crane"), "validate", "--remote"]
        for name in ("module-1", f"module-{count}", "everywhere"):
            environ = {**os.environ, "HOME": str(workers.folder / "home")}
            done = subprocess.run([*crane, f"{far.host}/{name}:1"], env=environ, capture_output=True, timeout=60)
            assert done.returncode == 0, done.stderr

        assert read_by(store) == {(store.access, path.name) for path in (store.data / "builds").iterdir()}

        # A task says where its input is, and what comes back is a digest; no more than that.
        passed = bytes(scheduler.kept)
        assert b"s3://builds/1.wasm" in passed
        assert expected["module-1"].removeprefix("sha256:").encode() in passed
        log = (workers.folder / "log").read_bytes()
        secrets = [AT_WORKERS, AT_HOME, IN_S3, basic("ada", AT_WORKERS), basic("grace", AT_HOME)]
        for secret in (one.encode() for one in secrets):
            assert secret not in passed
            assert secret not in log
            assert secret not in (said.out + said.err).encode()


def test_two_bakes_at_once_over_a_scheduler_that_is_killed_end_in_the_same_images(
    part: Part, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    here, count = tmp_path / "here", 40
    here.mkdir()
    text = FILE.format(numbers=json.dumps([str(number) for number in range(1, count + 1)]))
    (here / "ocibuild.toml").write_text(text)
    inputs(here / "inputs", count)
    expected = digests(ocibuild("bake", "--config", here, "--json", "-o", f"oci:{tmp_path}/local.oci"))
    with (
        serving("distribution", part, tmp_path / "registry") as registry,
        Line(registry.host, delay=WAY) as far,
        s3(part, tmp_path / "s3", IN_S3) as store,
        cluster(tmp_path / "cluster") as workers,
    ):
        shutil.move(here / "inputs", store.data / "builds")
        store.log_in(workers.folder / "home")
        workers.work(threads=2)
        words = ("--set", f"host={far.host}", "--set", "where=s3://builds", "--executor", workers.address)
        both = [ocibuild.begin("bake", "--config", here, "--json", "--push", "--no-cache", *words) for _ in range(2)]
        until(lambda: len(tags(registry)) > 3, both[0])
        workers.again()
        assert len(tags(registry)) < len(expected)
        workers.work(threads=2)
        for baking in both:
            said = finished(baking)
            assert said.status == 0, said.err[-3000:]
            assert digests(said.out) == expected
        modules = {f"{name}:1": digest for name, digest in expected.items()}
        assert tags(registry) == {**modules, "everywhere:latest": expected["everywhere"]}


def test_inputs_that_a_worker_may_not_read_or_does_not_find_are_named(
    part: Part, ocibuild: Ocibuild, registry: Running, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here/ocibuild.toml").write_text(FILE.format(numbers='["1", "2"]'))
    with s3(part, tmp_path / "s3", IN_S3) as store, cluster(tmp_path / "cluster", workers=1) as workers:
        inputs(store.data / "builds", 1)
        store.log_in(workers.folder / "home")
        words = (
            "bake",
            "--config",
            tmp_path / "here",
            "--json",
            "--push",
            "-k",
            "module",
            "--executor",
            workers.address,
        )
        words += ("--set", f"host={registry.host}", "--set", "where=s3://builds")
        said = ocibuild.run(*words)
        assert said.status == 1
        assert "module-2: s3://builds/2.wasm cannot be read" in said.err
        states = {name: target["state"] for name, target in json.loads(said.out)["targets"].items()}
        assert states == {"module-1": "made", "module-2": "failed"}

        workers.workers[0].kill()
        login = workers.folder / "home/.aws/credentials"
        login.write_text(login.read_text().replace(IN_S3, "another"))
        workers.work()
        said = ocibuild.run(*words, "--no-cache")
        assert said.status == 1
        assert "module-1: s3://builds/1.wasm cannot be read" in said.err
        assert "signature" in said.err  # in the words of S3
        assert {one["error"]["code"] for one in json.loads(said.out)["targets"].values()} == {"url-unreadable"}
        assert IN_S3 not in said.err + said.out


def test_the_cluster_of_bakes_page_does_what_the_page_says(
    part: Part, ocibuild: Ocibuild, registry: Running, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    with s3(part, tmp_path / "s3", IN_S3) as store, cluster(tmp_path / "cluster") as dask:
        store.log_in(dask.folder / "home")
        (store.data / "builds").mkdir()
        for name in ("hello.wasm", "hello-linux-amd64", "hello-linux-arm64"):
            shutil.copy(SAMPLES / name, store.data / "builds")
        for name in ("rate-limit", "rewrite", "tracing"):
            shutil.copy(SAMPLES / "hello.wasm", store.data / f"builds/{name}.wasm")

        def here(text: str) -> str:
            for there, host in (("scheduler:8786", dask.host), ("registry.example.com", registry.host)):
                text = text.replace(there, host)
            return text.replace("https://s3.example.com", f"http://{store.host}")

        page = blocks(ROOT / "docs/bake.md")
        file, settings = (one(page, kind, "s3") for kind in ("toml", "ini"))
        (tmp_path / "here/ocibuild.toml").write_text(file)
        (dask.folder / "home/.aws/config").write_text(here(settings))
        (said,) = (block for block in page if block.kind == "console" and "dask worker" in block.text)
        ran = []
        for line, expected in commands(said):
            words = here(line).split()
            if words[:2] == ["dask", "worker"]:
                dask.begin(*words[1:], "--no-dashboard", "--host", "127.0.0.1", "--local-directory", str(dask.folder))
            elif words[0] == "ocibuild":
                out = ocibuild(*words[1:], "--config", tmp_path / "here")
                assert len(expected) == len(out.splitlines())
                assert all(shown(here(wanted), out) for wanted in expected)
            ran.append(" ".join(words[:2]))
        assert ran == ["pip install", "dask scheduler", "dask worker", "ocibuild bake"]


def one(page: list[Block], kind: str, word: str) -> str:
    """The page's only block of that kind with that word."""
    (found,) = (block.text for block in page if block.kind == kind and word in block.text)
    return found
