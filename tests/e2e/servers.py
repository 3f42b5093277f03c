"""Servers for a test: loopback, ports the system gives, ended by their process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 30
KINDS = ("docker-registry", "distribution", "ggcr", "ocibuild")
"""Debian's docker-registry 2.8, CNCF distribution v3, go-containerregistry's registry, and our own."""

Run = Callable[..., str]
Part = Callable[[str], str]


@dataclass(frozen=True)
class Running:
    """A registry that answers at `host`; `log` is what it prints."""

    host: str
    log: Path


class Served:
    """A registry of one of KINDS over a folder. It may be killed and started again: same port, same storage."""

    def __init__(self, kind: str, part: Part, folder: Path, config: Sequence[str] = (), *, delete: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.kind = kind
        self.folder = folder
        self.log = folder / "log"
        self._program = sys.executable if kind == "ocibuild" else part("crane" if kind == "ggcr" else kind)
        self._lines = list(config)
        self._delete = delete
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """127.0.0.1:port, as a reference begins."""
        return f"127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def pid(self) -> int:
        """Its process, while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, on the port it had before. Raises TimeoutError with the end of its log when it does not listen."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command(), stdout=log, stderr=log, env=_environment(self.folder))
        try:
            self._port = port_of(self._process)
        except TimeoutError as error:
            self.end()
            raise TimeoutError(f"{error}: {self.log.read_text(errors='replace')[-2000:]}") from None

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def end(self) -> None:
        """End it, kindly first."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            stop(self._process)

    def _command(self) -> list[str]:
        data = self.folder / "data"
        if self.kind == "ocibuild":
            return [self._program, "-m", "ocibuild", "serve", str(data), "--port", str(self._port)]
        if self.kind == "ggcr":
            data.mkdir(exist_ok=True)
            address = f"127.0.0.1:{self._port}"
            return [self._program, "registry", "serve", "--address", address, "--disk", str(data)]
        storage = f"{{filesystem: {{rootdirectory: {data}}}, delete: {{enabled: {str(self._delete).lower()}}}}}"
        text = ["version: 0.1", "log: {level: info}", f"storage: {storage}"]
        text += ["http:", f"  addr: 127.0.0.1:{self._port}", "  relativeurls: true", *self._lines]
        config = self.folder / "config.yml"
        config.write_text("\n".join(text) + "\n")
        return [self._program, "serve", str(config)]


@contextmanager
def serving(
    kind: str, part: Part, folder: Path, config: Sequence[str] = (), *, delete: bool = True
) -> Iterator[Served]:
    """A registry until the block ends; `config` are further lines of its file, within `http:` first."""
    served = Served(kind, part, folder, config, delete=delete)
    try:
        served.start()
        yield served
    finally:
        served.end()
        shutil.rmtree(folder / "data", ignore_errors=True)


@contextmanager
def nginx(part: Part, folder: Path, upstream: str, *lines: str, tls: tuple[Path, Path]) -> Iterator[str]:
    """nginx with TLS before a registry, until the block ends: its host.

    `lines` stand in its `server` block; what belongs in `http` begins with "http:".
    """
    folder.mkdir(parents=True, exist_ok=True)
    outer = [line.removeprefix("http:") for line in lines if line.startswith("http:")]
    inner = [line for line in lines if not line.startswith("http:")]
    config = folder / "nginx.conf"
    temporary = "".join(
        f"  {name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    port = free_port()
    config.write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;\nevents {{}}\n"
        f"http {{\n  access_log {folder}/access.log;\n{temporary}  {' '.join(outer)}\n"
        f"  server {{\n    listen 127.0.0.1:{port} ssl;\n"
        f"    ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]};\n    {' '.join(inner)}\n"
        f"    location / {{\n      proxy_pass http://{upstream}; proxy_request_buffering off; proxy_buffering off;\n"
        "      proxy_http_version 1.1;\n"
        "      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https;\n    }\n  }\n}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([part("nginx"), "-c", str(config), "-p", str(folder)], stdout=log, stderr=log)
    try:
        if not _listens(port, process):
            raise TimeoutError(f"nginx does not listen: {(folder / 'log').read_text()[-1000:]}")
        yield f"127.0.0.1:{port}"
    finally:
        stop(process)


def self_signed(openssl: str, folder: Path, name: str = "tls") -> tuple[Path, Path]:
    """Certificate and key for 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return certificate, key


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    status: int
    out: str
    err: str
    seconds: float


class Ocibuild:
    """`ocibuild` as people run it: a process of its own, with a home of its own."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self._environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "dumb"}
        self._environment["PYTHONPATH"] = str(Path(__file__).parents[2])
        self._home = home

    def begin(self, *words: str | Path, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """Start it and do not wait."""
        command = [sys.executable, "-m", "ocibuild", *map(str, words)]
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
            cwd=self._home,
        )

    def run(self, *words: str | Path, seconds: float = 120, stdin: str | None = None) -> Said:
        """Run it to its end, whatever that is; killed after `seconds`."""
        started = time.monotonic()
        process = self.begin(*words, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        return finished(process, started, seconds, stdin)

    def __call__(self, *words: str | Path, seconds: float = 120, stdin: str | None = None) -> str:
        """Run it; a failure shows what it said. Gives stdout."""
        said = self.run(*words, seconds=seconds, stdin=stdin)
        assert said.status == 0, f"ocibuild {' '.join(map(str, words))} ended with {said.status}:\n{said.err[-3000:]}"
        return said.out


def finished(
    process: subprocess.Popen[str], started: float | None = None, seconds: float = 120, stdin: str | None = None
) -> Said:
    """Wait for a process; one that does not end is killed and fails the test."""
    started = time.monotonic() if started is None else started
    try:
        out, err = process.communicate(stdin, timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate(timeout=10)
        raise AssertionError(f"still running after {seconds} s: {process.args}\n{err[-2000:]}") from None
    return Said(process.returncode, out, err, time.monotonic() - started)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_of(process: subprocess.Popen[bytes]) -> int:
    """The port a process listens on, out of Linux's own table: a registry does not say which it was given.

    Raises TimeoutError when it ended, or START_SECONDS are over.
    """
    pid, deadline = process.pid, time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        inodes = set()
        try:
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    inodes.add(os.readlink(entry))
                except FileNotFoundError:
                    continue
            for table in ("tcp", "tcp6"):
                for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                    fields = line.split()
                    if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                        return int(fields[1].rpartition(":")[2], 16)
        except OSError:
            pass  # it is ending
        time.sleep(0.05)
    raise TimeoutError("the server does not listen")


def stop(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End a process by its id, kindly first."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """True once the server answers; False when it ended, or START_SECONDS are over."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    return False


def _listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 2).close()
            return True
        except OSError:
            time.sleep(0.05)
    return False


def _environment(home: Path) -> dict[str, str]:
    # Registries take settings out of the environment (REGISTRY_…); traces would be sent to a collector that is not there.
    return {"PATH": os.environ["PATH"], "HOME": str(home), "OTEL_TRACES_EXPORTER": "none"}
