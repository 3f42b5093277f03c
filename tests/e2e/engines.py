"""Real engines for a test: containerd 2 with everything of its own in a short temporary folder, and a Docker engine beside it.

    with containerd(part) as engine:
        engine.ctr("images", "import", "--all-platforms", "hello.tar")
        with docker(part, engine) as daemon:
            daemon.docker("run", "--rm", "hello:1")

`scripts/parts --engines` builds them. They need root. Whatever is started here is ended by its process id, what it
mounted is unmounted, and every call has an end: some of them hang when they are unhappy.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.servers import START_SECONDS, Part, Said, stop

TIMED_OUT = -1
"""The status of a call that was ended because it did not end."""
_SECONDS = 60.0
_TRIES = 4
_UNMOUNTED = "failed to prepare rootfs"


PAUSE = "localhost/pause:1"
"""The image that holds a Pod's namespaces open: our own, packed by ocibuild."""


@dataclass(frozen=True)
class Pod:
    """How a Pod of one container went, as tests/e2e/cri says: `step` is done, or where it failed with `error`."""

    runtime: str
    step: str
    log: str
    error: str = ""
    image: str = ""
    status: int | None = None


@dataclass(frozen=True)
class Containerd:
    """A containerd 2. `environ` makes `ctr`, and whoever calls it, find it; `certs` is where its hosts.toml files are."""

    folder: Path
    socket: Path
    certs: Path
    environ: Mapping[str, str]

    def ctr(self, *words: str | Path, seconds: float = _SECONDS) -> Said:
        """Call ctr, in the namespace `default` unless told otherwise."""
        return call("ctr", *words, environ=self.environ, seconds=seconds)

    def pod(
        self,
        image: str,
        *,
        handler: str = "",
        command: Sequence[str] = (),
        args: Sequence[str] = (),
        annotations: Mapping[str, str] = {},
    ) -> Pod:
        """Run a container in a Pod of its own to its end, through CRI; all of it is removed again.

        Where cgroups are of version 1, the library of the Wasm shims fails now and then to mount them while others come
        and go: seen in one of thirty Pods, whatever the image. That Pod is tried again, as a kubelet does.
        """
        for _ in range(_TRIES):
            pod = self._pod(image, handler, command, args, annotations)
            if _UNMOUNTED not in pod.error:
                break
        return pod

    def _pod(
        self, image: str, handler: str, command: Sequence[str], args: Sequence[str], annotations: Mapping[str, str]
    ) -> Pod:
        name = f"pod-{uuid.uuid4().hex[:12]}"  # cgroups are the machine's
        words = ["--socket", str(self.socket), "--handler", handler, "--image", image, "--name", name]
        words += [f"--annotation={key}={value}" for key, value in annotations.items()]
        words += [f"--arg={argument}" for argument in args]
        said = call("cri", *words, "--", *command, environ=self.environ, seconds=_SECONDS * 2)
        assert said.status == 0, said
        pod = Pod(**json.loads(said.out))
        assert not said.err, f"{said.err}\n{pod}"
        return pod

    def plain_http(self, host: str) -> None:
        """A registry without TLS."""
        folder = self.certs / host
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(f'server = "http://{host}"\n')


@dataclass(frozen=True)
class Docker:
    """A Docker engine with the containerd image store; `docker buildx` is there, and builds with the engine's BuildKit."""

    folder: Path
    socket: Path
    environ: Mapping[str, str]

    def docker(self, *words: str | Path, seconds: float = _SECONDS) -> Said:
        """Call docker."""
        return call("docker", *words, environ=self.environ, seconds=seconds)


@contextmanager
def containerd(
    part: Part, *, pods: bool = False, runtimes: Mapping[str, str] = {}, images: Sequence[str] = ()
) -> Iterator[Containerd]:
    """A containerd until the block ends.

    With `pods` it is ready for CRI: `runtimes` are the runtime handlers, a type (`io.containerd.wasmtime.v1`) or the
    path of an OCI runtime, which is then given `run.oci.handler` of its Pod; `images` are lines of CRI's settings.
    """
    program = part("engines/containerd")
    programs = Path(program).parent
    part("engines/runc")
    part("engines/containerd-shim-runc-v2")
    with _folder() as folder:
        socket, config = folder / "containerd.sock", folder / "config.toml"
        config.write_text(_config(folder, socket, runtimes, images))
        environ = environment(folder, programs) | {"CONTAINERD_ADDRESS": str(socket)}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log, env=environ)
        engine = Containerd(folder, socket, folder / "certs.d", environ)
        try:
            _answers(process, folder / "log", lambda: engine.ctr("version", seconds=5))
            if pods:
                kubernetes = {**environ, "CONTAINERD_NAMESPACE": "k8s.io"}
                part("engines/cri")
                loaded = ocibuild(
                    "pack", part("engines/pause"), "-t", PAUSE, "--load", "containerd", environ=kubernetes
                )
                assert loaded.status == 0, loaded.err
            yield engine
        finally:
            _empty(engine)
            stop(process)
            _end_of(str(socket))


@contextmanager
def docker(
    part: Part, beside: Containerd, *, runtimes: Mapping[str, str] = {}, time_namespaces: bool = False
) -> Iterator[Docker]:
    """A Docker engine until the block ends; it keeps images and containers in the containerd beside it.

    With `time_namespaces`, Docker's default, it starts no container in a Wasm shim: their library does not know them yet.
    `runtimes` are names and paths of OCI runtimes. It builds no network: containers have their own loopback alone.
    """
    program, client = part("engines/dockerd"), part("docker")
    folder = beside.folder / "docker"
    plugins = folder / "client" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-buildx").symlink_to(part("engines/buildx"))
    (plugins.parent / "config.json").write_text("{}")
    settings = {
        "bridge": "none",
        "containerd": str(beside.socket),
        "data-root": str(folder / "root"),
        "exec-root": str(folder / "exec"),
        "features": {"containerd-snapshotter": True, "time-namespaces": time_namespaces},
        "hosts": [f"unix://{folder}/docker.sock"],
        "ip6tables": False,
        "iptables": False,
        "pidfile": str(folder / "pid"),
        "runtimes": {name: {"path": path} for name, path in runtimes.items()},
        "userland-proxy": False,
    }
    (folder / "daemon.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        command = [program, "--config-file", str(folder / "daemon.json")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=beside.environ)
    environ = {**beside.environ, "DOCKER_HOST": f"unix://{folder}/docker.sock", "DOCKER_CONFIG": str(plugins.parent)}
    environ["PATH"] = f"{environ['PATH']}:{Path(client).parent}"
    daemon = Docker(folder, folder / "docker.sock", environ)
    try:
        _answers(process, folder / "log", lambda: daemon.docker("version", seconds=5))
        yield daemon
    finally:
        ids = daemon.docker("ps", "--all", "--quiet", seconds=10).out.split()
        if ids and daemon.docker("rm", "--force", *ids, seconds=15).status == TIMED_OUT:
            _end_of(str(beside.socket))  # it waits for a shim that does not answer
        stop(process)


@dataclass(frozen=True)
class Podman:
    """podman with a store of its own. `environ` makes podman, and whoever calls it, use it."""

    folder: Path
    environ: Mapping[str, str]

    def podman(self, *words: str | Path, seconds: float = _SECONDS) -> Said:
        """Call podman."""
        return call("podman", *words, environ=self.environ, seconds=seconds)

    def plain_http(self, host: str) -> None:
        """A registry without TLS."""
        with (self.folder / "registries.conf").open("a") as out:
            out.write(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')


@contextmanager
def podman(part: Part, *, runtimes: Mapping[str, str] = {}) -> Iterator[Podman]:
    """podman until the block ends. The first of `runtimes`, names and paths of OCI runtimes, is the default."""
    part("podman")
    with _folder() as folder:
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n'
        )
        # Where CAP_SYS_RESOURCE is missing, its own defaults are above what may be set; so is a cgroup of both kinds
        # for Debian's crun.
        lines = [
            "[containers]",
            'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]',
            'netns = "none"',
            "[engine]",
        ]
        lines += [f'runtime = "{name}"' for name in list(runtimes)[:1]]
        lines += ["[engine.runtimes]", *(f'{name} = ["{path}"]' for name, path in runtimes.items())]
        (folder / "containers.conf").write_text("\n".join(lines) + "\n")
        environ = environment(folder, Path(part("podman")).parent)
        environ |= {"CONTAINERS_STORAGE_CONF": str(folder / "storage.conf")}
        environ |= {"CONTAINERS_CONF": str(folder / "containers.conf")}
        environ |= {"CONTAINERS_REGISTRIES_CONF": str(folder / "registries.conf")}
        (folder / "registries.conf").touch()
        engine = Podman(folder, environ)
        try:
            yield engine
        finally:
            engine.podman("rm", "--force", "--all", seconds=30)


def call(*words: str | Path, environ: Mapping[str, str], seconds: float = _SECONDS, cwd: Path | None = None) -> Said:
    """Run a program to its end, or end it and all it started: then the status is TIMED_OUT."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        # Files, not pipes: a grandchild that outlives the program would keep a pipe open.
        process = subprocess.Popen(
            [str(word) for word in words],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=dict(environ),
            cwd=cwd,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            status = TIMED_OUT
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return Said(status, texts[0], texts[1], time.monotonic() - started)


def ocibuild(*words: str | Path, environ: Mapping[str, str], seconds: float = _SECONDS) -> Said:
    """Call the command line in an engine's surroundings."""
    found = {**environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    return call(sys.executable, "-m", "ocibuild", *words, environ=found, seconds=seconds)


def environment(home: Path, programs: Path) -> dict[str, str]:
    """What an engine and its client see: the engines' programs first, and nothing of the user."""
    path = os.environ["PATH"]
    return {"PATH": f"{programs}:{path}:/usr/sbin:/sbin", "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home)}


def _config(folder: Path, socket: Path, runtimes: Mapping[str, str], settings: Sequence[str]) -> str:
    images, runtime = '[plugins."io.containerd.cri.v1.images"', '[plugins."io.containerd.cri.v1.runtime"'
    lines = [
        "version = 3",
        f'root = "{folder}/root"',
        f'state = "{folder}/state"',
        "imports = []",
        'disabled_plugins = ["io.containerd.nri.v1.nri"]',  # its socket has one place on a machine
        f'[grpc]\naddress = "{socket}"',
        f'[ttrpc]\naddress = "{socket}.ttrpc"',
        "\n".join([f"{images}]", *settings]),
        f'{images}.pinned_images]\nsandbox = "{PAUSE}"',
        f'{images}.registry]\nconfig_path = "{folder}/certs.d"',
        # A machine that may not lower the score of a process would start no Pod at all.
        f"{runtime}]\nrestrict_oom_score_adj = true",
    ]
    for name, what in runtimes.items():
        table = f"{runtime}.containerd.runtimes.{name}"
        if "/" in what:
            lines += [f'{table}]\nruntime_type = "io.containerd.runc.v2"\npod_annotations = ["run.oci.handler"]']
            lines += [f'{table}.options]\nBinaryName = "{what}"']
        else:
            lines.append(f'{table}]\nruntime_type = "{what}"')
    return "\n".join(lines) + "\n"


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder with a short name, for sockets' names are bounded; unmounted and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ob-"))
    try:
        yield folder
    finally:
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for place in sorted((each for each in mounted if each.startswith(f"{folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", place], check=False, timeout=20, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)


def _answers(process: subprocess.Popen[bytes], log: Path, ask: Callable[[], Said]) -> None:
    """Wait until the engine answers. Raises TimeoutError with the end of its log."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if ask().status == 0:
            return
        time.sleep(0.1)
    raise TimeoutError(f"the engine does not answer: {log.read_text(errors='replace')[-2000:]}")


def _empty(engine: Containerd) -> None:
    """End every task of every namespace, so that no shim stays."""
    for namespace in engine.ctr("namespaces", "list", "--quiet", seconds=20).out.split():
        for task in engine.ctr("--namespace", namespace, "tasks", "list", "--quiet", seconds=20).out.split():
            if engine.ctr("--namespace", namespace, "tasks", "rm", "--force", task, seconds=10).status == TIMED_OUT:
                return  # its shim does not answer, and is ended with the others


def _end_of(socket: str) -> None:
    """End the shims of one containerd that are still there, with what they run."""
    parents, shims = {}, set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                pid = int(entry.name)
                parents[pid] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if socket.encode() in (entry / "cmdline").read_bytes().split(b"\0") and pid != os.getpid():
                    shims.add(pid)
    for pid in parents:
        ancestors, at = set(), pid
        while at and at not in ancestors:
            ancestors.add(at)
            at = parents.get(at, 0)
        if ancestors & shims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
