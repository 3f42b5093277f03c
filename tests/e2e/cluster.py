"""A cluster on loopback: a scheduler of Dask's, its workers, and a store that speaks S3, each a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.servers import Part, port_of, stop

ROOT = Path(__file__).parents[2]
REGION = "us-east-1"


class Cluster:
    """A scheduler, and workers that come and go. `environ` is what they see: a home of their own."""

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        (folder / "home").mkdir()
        self.environ = {**os.environ, "HOME": str(folder / "home"), "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
        self.environ.update(environ or {})

    def start(self, port: str = "0") -> None:
        """Start the scheduler, on a port that the system gives."""
        where = self.folder / "scheduler.json"
        where.unlink(missing_ok=True)
        self.scheduler = self.begin(
            "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard", "--scheduler-file", str(where)
        )
        self.address = re.sub("^tcp", "dask", wait_for(lambda: json.loads(where.read_bytes())["address"]))

    @property
    def host(self) -> str:
        """127.0.0.1:port, where the scheduler listens."""
        return self.address.removeprefix("dask://")

    def again(self) -> None:
        """Kill the scheduler and all its workers, and start it where it was."""
        for process in (self.scheduler, *self.workers):
            process.kill()
            process.wait(10)
        self.start(self.address.rpartition(":")[2])

    def work(self, scheduler: str = "", threads: int = 1) -> subprocess.Popen[bytes]:
        """One more worker, of this scheduler at another `host:port` where one is given."""
        worker = self.begin(
            "worker", f"tcp://{scheduler or self.host}", "--nthreads", str(threads), "--no-nanny", "--no-dashboard",
            "--host", "127.0.0.1", "--local-directory", str(self.folder),
        )  # fmt: skip
        self.workers.append(worker)
        return worker

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a program of Dask's, which ends with the rest."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *words], stdout=log, stderr=log, env=self.environ, cwd=self.folder
            )
        self.processes.append(process)
        return process

    def end(self) -> None:
        """End all of it."""
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def wait_for(look: Callable[[], str]) -> str:
    for _ in range(600):
        try:
            return look()
        except (OSError, ValueError, KeyError):
            time.sleep(0.05)
    raise TimeoutError("the cluster did not come up")


@contextmanager
def cluster(
    folder: Path, workers: int = 0, threads: int = 1, environ: Mapping[str, str] | None = None
) -> Iterator[Cluster]:
    """A scheduler with so many workers until the block ends."""
    folder.mkdir()
    made = Cluster(folder, environ)
    try:
        made.start()
        for _ in range(workers):
            made.work(threads=threads)
        yield made
    finally:
        made.end()


@dataclass(frozen=True)
class Store:
    """An S3 store that answers at `host`: below `data` a folder is a bucket, and a file an object. `log` is what was asked."""

    host: str
    data: Path
    log: Path
    access: str
    secret: str

    def log_in(self, home: Path) -> None:
        """Have whoever lives there know the address and the login, as the AWS SDKs look for them."""
        (home / ".aws").mkdir(parents=True)
        (home / ".aws/config").write_text(f"[default]\nregion = {REGION}\nendpoint_url = http://{self.host}\n")
        login = f"aws_access_key_id = {self.access}\naws_secret_access_key = {self.secret}\n"
        (home / ".aws/credentials").write_text(f"[default]\n{login}")


@contextmanager
def s3(part: Part, folder: Path, secret: str) -> Iterator[Store]:
    """Versity's S3 gateway over a folder until the block ends; every request has to be signed with this secret."""
    data, log = folder / "data", folder / "log"
    data.mkdir(parents=True)
    words = [part("versitygw"), "--port", "127.0.0.1:0", "--region", REGION, "--access-log", str(log)]
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "ROOT_ACCESS_KEY": "worker", "ROOT_SECRET_KEY": secret}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen([*words, "--quiet", "posix", str(data)], stdout=said, stderr=said, env=environ)
    try:
        yield Store(f"127.0.0.1:{port_of(process)}", data, log, "worker", secret)
    finally:
        stop(process)
