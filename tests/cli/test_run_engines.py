"""`run --engine`: what docker, podman and ctr are asked, by stand-ins that write it down; and real podman and containerd."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ocibuild
from ocibuild.api import places
from ocibuild.content.flow import Cancel
from ocibuild.errors import Cancelled
from ocibuild.run.engine import host
from ocibuild.spec import annotation
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.manifest import Manifest
from ocibuild.store.base import fetch
from ocibuild.store.graph import node
from tests.cli.conftest import Ran
from tests.registry.double import Registry

Run = Callable[..., Ran]
Engines = Callable[..., Path]
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
HELLO = str(SAMPLES / "hello.wasm")
COMPONENT = str(SAMPLES / "hello-command.wasm")
NATIVE = str(SAMPLES / "hello-linux-amd64")

# Writes down each of its calls, keeps the archive it is to load, and speaks for the program where it is to run one.
STAND_IN = """#!/bin/sh
{{ for word; do printf '%s\\037' "$word"; done; printf '\\n'; }} >>{log}
case "$1 $2" in
"load --input") cp "$3" {log}.tar ;;
"images import") cp "$4" {log}.tar ;;
"info --format") printf '%s\\n' '{runtimes}' ;;
"run --rm") {program} ;;
esac
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engines:
    """`engines("docker", program="exit 3")`: that client alone is on PATH; the file its calls are written to."""
    folder = tmp_path / "engines"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for tool in ("cp", "sleep", "cat"):
        (folder / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin") or tool)

    def make(client: str, program: str = "exit 0", runtimes: object = None, **others: str) -> Path:
        log = tmp_path / f"{client}.log"
        text = STAND_IN.format(log=log, program=program, runtimes=json.dumps(runtimes))
        for name, script in {client: text, **{other.replace("_", "-"): said for other, said in others.items()}}.items():
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)
        return log

    return make


def calls(log: Path) -> list[list[str]]:
    return [line.split("\037")[:-1] for line in log.read_text().splitlines()]


def loaded(log: Path) -> tuple[str, ImageConfig, Manifest]:
    """The name, config and manifest of the image that a stand-in was given."""
    store = places.source(places.parse(f"oci-archive:{log}.tar"))
    root = store.resolve("")
    manifest = node(store, root)
    assert isinstance(manifest, Manifest)
    return root.annotations[annotation.CONTAINERD_NAME], ImageConfig.parse(fetch(store, manifest.config)), manifest


def flags(line: list[str], name: str) -> list[str]:
    return [value for key, value in itertools.pairwise(line) if key == name]


@pytest.mark.parametrize("engine, client", [("docker", "docker"), ("podman", "podman")])
def test_a_native_program_is_loaded_run_and_forgotten(run: Run, engines: Engines, engine: str, client: str) -> None:
    log = engines(client, program="echo out; echo err >&2; exit 7")
    run("pack", NATIVE, "-o", "a.oci", "--cmd", "from-the-image", "--env", "A=image")
    ran = run(
        "run", "a.oci", "--engine", engine, "-e", "A=1", "-e", "KEY", "-w", "/tmp", "--memory", "64MiB", "--", "x", "-y"
    )
    assert (ran.status, ran.out) == (7, "out\n")
    assert "err\n" in ran.err
    load, started, forgotten = calls(log)
    name, config, _ = loaded(log)
    assert load[:2] == ["load", "--input"]
    assert started[:3] == ["run", "--rm", "--interactive"]
    assert flags(started, "--env") == ["A=1", "KEY"], "a value that we were not given is on no command line"
    assert flags(started, "--platform") == ["linux/amd64"] == [str(config.platform)]
    assert flags(started, "--pull") == ["never"]
    assert flags(started, "--network") == ["none"]
    assert flags(started, "--memory") == [str(64 * 1024 * 1024)]
    assert flags(started, "--workdir") == ["/tmp"]
    assert flags(started, "--runtime") == flags(started, "--annotation") == []
    assert started[started.index("--entrypoint") :] == ["--entrypoint", "/hello", name, "x", "-y"]
    assert forgotten == ["image", "rm", "--force", name]


def test_ctr_is_told_all_words_since_its_own_replace_the_entrypoint(run: Run, engines: Engines) -> None:
    log = engines("ctr", program="exit 4")
    Path("data").mkdir()
    run("pack", NATIVE, "-o", "a.oci", "--entrypoint", "/hello first")
    said = ("--net", "--dir", "data::/data:ro", "--memory", "64MiB", "-w", "/tmp", "-e", "A=1")
    assert run("run", "a.oci", "--engine", "containerd", *said, "--", "x").status == 4
    load, started, forgotten = calls(log)
    name, _, _ = loaded(log)
    assert load[:3] == ["images", "import", "--all-platforms"]
    assert started[:2] == ["run", "--rm"]
    assert "--net-host" in started
    assert flags(started, "--env") == ["A=1"]
    assert flags(started, "--mount") == [f"type=bind,src={os.getcwd()}/data,dst=/data,options=rbind:ro"]
    assert flags(started, "--memory-limit") == [str(64 * 1024 * 1024)]
    assert flags(started, "--cwd") == ["/tmp"]
    assert started[started.index(name) :] == [name, f"ocibuild-{name.partition(':')[2]}", "/hello", "first", "x"]
    assert forgotten == ["images", "rm", name]


def test_the_images_own_arguments_where_none_are_given(run: Run, engines: Engines) -> None:
    log = engines("docker")
    run("pack", NATIVE, "-o", "a.oci", "--entrypoint", "/hello first", "--cmd", "second")
    run("run", "a.oci", "--engine", "docker")
    run("run", "a.oci", "--engine", "docker", "--entrypoint", "/hello a")
    one, other = (line for line in calls(log) if line[0] == "run")
    assert one[one.index("--entrypoint") + 1] == "/hello"
    assert one[-2:] == ["first", "second"]
    assert other[other.index("--entrypoint") + 1] == "/hello"
    assert other[-2:] == [loaded(log)[0], "a"]


WASM = ["--annotation", "run.oci.handler=wasm"]
YOUKI = {"runc": {"path": "runc"}, "youki": {"path": "/usr/local/bin/youki"}, "io.containerd.runc.v2": {"path": "runc"}}
SHIM = {"runc": {"path": "runc"}, "io.containerd.wasmtime.v1": {}}
ALIAS = {"runc": {"path": "runc"}, "tides": {"runtimeType": "io.containerd.wasmtime.v1"}}
NONE = "#!/bin/sh\nexit 0\n"
CRUN = "#!/bin/sh\necho 'crun version 1.20'\necho '+SYSTEMD {} +YAJL'\n"


@pytest.mark.parametrize(
    "engine, runtimes, others, wanted",
    [
        ("docker", YOUKI, {}, ["--runtime", "youki", *WASM]),
        ("docker", SHIM, {}, ["--runtime", "io.containerd.wasmtime.v1"]),
        ("docker", ALIAS, {}, ["--runtime", "tides"]),
        ("docker", YOUKI | SHIM, {}, ["--runtime", "io.containerd.wasmtime.v1"]),
        ("docker", {}, {"containerd_shim_wasmtime_v1": NONE}, ["--runtime", "io.containerd.wasmtime.v1"]),
        ("containerd", None, {"containerd_shim_wasmedge_v1": NONE}, ["--runtime", "io.containerd.wasmedge.v1"]),
        ("containerd", None, {"youki": NONE}, ["--runc-binary", "{}/youki", *WASM]),
        ("containerd", None, {"crun": CRUN.format("+WASM:wasmedge")}, ["--runc-binary", "{}/crun", *WASM]),
        ("containerd", None, {"crun_wasm": NONE}, ["--runc-binary", "{}/crun-wasm"]),
        ("podman", None, {"crun": CRUN.format("+WASM:wasmtime")}, ["--runtime", "{}/crun", *WASM]),
        ("podman", None, {"crun_wasm": NONE, "youki": NONE}, ["--runtime", "{}/crun-wasm"]),
    ],
)
def test_what_starts_wasm_is_found(
    run: Run, engines: Engines, engine: str, runtimes: object, others: dict[str, str], wanted: list[str]
) -> None:
    client = {"containerd": "ctr"}.get(engine, engine)
    log = engines(client, runtimes=runtimes, **others)
    ran = run("run", HELLO, "--engine", engine, "--", "x")
    assert ran.status == 0, ran.err
    started = next(line for line in calls(log) if line[0] == "run")
    _, config, _ = loaded(log)
    assert flags(started, "--platform") == ["wasi/wasm"] == [str(config.platform)]
    after = started[started.index("--platform") + 2 :]
    expected = [word.format(log.parent / "engines") for word in wanted]
    assert after[: len(expected)] == expected
    assert "--annotation" not in after[len(expected) :]
    assert started[-1] == "x"
    assert "/hello.wasm" in started


@pytest.mark.parametrize(
    "engine, runtimes, others, why",
    [
        ("containerd", None, {}, ""),
        ("podman", None, {"crun": CRUN.format("")}, "built without Wasm"),
        ("docker", {"runc": {"path": "runc"}}, {}, ""),
    ],
)
def test_where_nothing_starts_wasm_it_is_said(
    run: Run, engines: Engines, engine: str, runtimes: object, others: dict[str, str], why: str
) -> None:
    log = engines({"containerd": "ctr"}.get(engine, engine), runtimes=runtimes, **others)
    ran = run("run", HELLO, "--engine", engine)
    assert ran.status == 1
    assert "[runtime-missing]" in ran.err
    assert why in ran.err
    assert "--runtime" in ran.err
    assert not Path(f"{log}.tar").exists(), "nothing was loaded"


def test_a_component_is_not_given_to_what_starts_modules_only(run: Run, engines: Engines) -> None:
    log = engines("ctr", youki=NONE, crun_wasm=NONE)
    ran = run("run", COMPONENT, "--engine", "containerd")
    assert ran.status == 1
    assert "youki starts core modules only" in ran.err
    assert "[runtime-missing]" in ran.err
    engines("ctr", youki=NONE, containerd_shim_wasmtime_v1=NONE)
    assert run("run", COMPONENT, "--engine", "containerd").status == 0
    started = next(line for line in calls(log) if line[0] == "run")
    assert flags(started, "--runtime") == ["io.containerd.wasmtime.v1"]


def test_an_http_component_is_told_where_to_listen(run: Run, engines: Engines) -> None:
    log = engines("ctr", containerd_shim_wasmtime_v1=NONE, youki=NONE)
    http = str(SAMPLES / "hello-http.wasm")
    assert run("run", http, "--engine", "containerd", "--net", "--listen", ":8081").status == 0
    started = next(line for line in calls(log) if line[0] == "run")
    assert flags(started, "--env") == ["WASMTIME_HTTP_PROXY_SOCKET_ADDR=0.0.0.0:8081"]
    assert "--net-host" in started
    assert "[listen-invalid]" in run("run", HELLO, "--engine", "containerd", "--listen", ":8081").err


@pytest.mark.parametrize(
    "engine, named, wanted",
    [
        ("containerd", "wasmtime", ["--runtime", "io.containerd.wasmtime.v1"]),
        ("containerd", "io.containerd.spin.v2", ["--runtime", "io.containerd.spin.v2"]),
        ("containerd", "/opt/containerd-shim-mine-v1", ["--runtime", "/opt/containerd-shim-mine-v1"]),
        ("containerd", "/opt/youki", ["--runc-binary", "/opt/youki", *WASM]),
        ("docker", "wasmedge", ["--runtime", "io.containerd.wasmedge.v1"]),
        ("docker", "youki", ["--runtime", "youki", *WASM]),
        ("podman", "/usr/bin/crun-wasm", ["--runtime", "/usr/bin/crun-wasm"]),
        ("podman", "crun", ["--runtime", "crun", *WASM]),
    ],
)
def test_a_runtime_that_is_named_is_not_looked_for(
    run: Run, engines: Engines, engine: str, named: str, wanted: list[str]
) -> None:
    log = engines({"containerd": "ctr"}.get(engine, engine))
    assert run("run", HELLO, "--engine", engine, "--runtime", named).status == 0
    started = next(line for line in calls(log) if line[0] == "run")
    after = started[started.index("--platform") + 2 :]
    assert after[: len(wanted)] == wanted
    assert run("run", NATIVE, "--engine", engine, "--runtime", named).status == 0
    native = [line for line in calls(log) if line[0] == "run"][-1]
    assert "--annotation" not in native


def test_of_an_index_the_wasm_entry_alone_is_loaded(run: Run, engines: Engines) -> None:
    log = engines("docker", runtimes=YOUKI)
    run("pack", HELLO, NATIVE, str(SAMPLES / "hello-linux-arm64"), "-o", "many.oci")
    for platform, said in (("wasi/wasm", ()), ("linux/arm64", ("--platform", "linux/arm64"))):
        assert run("run", "many.oci", "--engine", "docker", *said).status == 0
        assert str(loaded(log)[1].platform) == platform
        assert flags([line for line in calls(log) if line[0] == "run"][-1], "--platform") == [platform]


@pytest.mark.parametrize("shape", ["artifact", "wasm-layer", "wasm-to-oci", "solo"])
@pytest.mark.parametrize("engine", ["docker", "containerd"])
def test_what_an_engine_cannot_start_is_converted(run: Run, engines: Engines, shape: str, engine: str) -> None:
    log = engines({"containerd": "ctr"}.get(engine, engine), runtimes=SHIM, containerd_shim_wasmtime_v1=NONE)
    run("pack", HELLO, "-o", "a.oci", "--format", shape)
    ran = run("run", "a.oci", "--engine", engine)
    assert ran.status == 0, ran.err
    _, config, manifest = loaded(log)
    raw = (shape, engine) == ("wasm-layer", "containerd")  # runwasi reads the layer itself
    assert (manifest.layers[0].media_type == "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm") == raw
    assert ("converted" in ran.err) != raw
    assert str(config.platform) == "wasi/wasm"


def test_print_gives_the_command_line_and_runs_nothing(run: Run, engines: Engines) -> None:
    log = engines("docker", runtimes=YOUKI)
    with Registry() as registry:
        name = f"{registry.host}/hello:1"
        pushed = run("pack", HELLO, "-t", name, "--push").out.strip()
        ran = run("run", name, "--engine", "docker", "--print", "-e", "A=b c", "--", "it's")
    assert ran.status == 0
    assert ran.out == (
        f"docker run --rm --interactive --pull missing --name {shlex.split(ran.out)[7]} --network none --platform wasi/wasm --runtime youki "
        f"--annotation run.oci.handler=wasm --env 'A=b c' --entrypoint /hello.wasm {pushed} 'it'\"'\"'s'\n"
    )
    assert [line[0] for line in calls(log)] == ["info"]
    (name,) = json.loads(run("run", HELLO, "--engine", "docker", "--print", "--json").out).values()
    assert shlex.split(name)[0] == "docker"


def test_the_command_line_is_told_without_the_values_of_variables(run: Run, engines: Engines) -> None:
    engines("ctr")
    ran = run("run", NATIVE, "--engine", "containerd", "-e", "TOKEN=abc123")
    assert "TOKEN=…" in ran.err
    assert "abc123" not in ran.err
    assert run("run", NATIVE, "--engine", "containerd", "-q").err == ""


def test_further_words_go_to_the_engine(run: Run, engines: Engines) -> None:
    log = engines("podman")
    extra = ("--engine-arg", "--cap-drop=all", "--engine-arg", "--network=bridge")
    assert run("run", NATIVE, "--engine", "podman", *extra).status == 0
    started = next(line for line in calls(log) if line[0] == "run")
    assert "--cap-drop=all" in started
    assert started.count("--network") == 0, "the person's own stands alone"


def test_docker_starts_a_shim_on_the_hosts_network(run: Run, engines: Engines) -> None:
    log = engines("docker", runtimes=SHIM)
    ran = run("run", HELLO, "--engine", "docker")
    assert "without --net" in ran.err
    assert flags([line for line in calls(log) if line[0] == "run"][-1], "--network") == ["host"]
    assert "without --net" not in run("run", HELLO, "--engine", "docker", "--net").err
    ran = run("run", HELLO, "--engine", "docker", "--engine-arg", "--network=bridge")
    assert "without --net" not in ran.err
    assert flags([line for line in calls(log) if line[0] == "run"][-1], "--network") == []


def test_mounts_in_each_engines_words(run: Run, engines: Engines) -> None:
    Path("a,b").mkdir()
    Path("file").write_text("")
    here = os.getcwd()
    said = ("--mount", 'type=bind,"src=a,b",dst=/x,ro', "--mount", "type=bind,source=file,target=/etc/file")
    said += ("--mount", "type=tmpfs,destination=/tmp")
    log = engines("docker")
    assert run("run", NATIVE, "--engine", "docker", *said).status == 0
    assert flags(next(line for line in calls(log) if line[0] == "run"), "--mount") == [
        f'type=bind,"source={here}/a,b",target=/x,readonly',
        f"type=bind,source={here}/file,target=/etc/file",
        "type=tmpfs,target=/tmp",
    ]
    log = engines("ctr")
    assert run("run", NATIVE, "--engine", "containerd", *said).status == 0
    assert flags(next(line for line in calls(log) if line[0] == "run"), "--mount") == [
        f'type=bind,"src={here}/a,b",dst=/x,options=rbind:ro',
        f"type=bind,src={here}/file,dst=/etc/file,options=rbind:rw",
        "type=tmpfs,src=tmpfs,dst=/tmp,options=rw",
    ]
    ran = run("run", NATIVE, "--engine", "docker", "--dir", "a,b")
    assert ran.status == 2
    assert "[mount-invalid]" in ran.err


def test_an_engine_that_is_not_there_or_not_known(run: Run, engines: Engines) -> None:
    engines("ctr")
    ran = run("run", NATIVE, "--engine", "podman")
    assert ran.status == 1
    assert "[engine-missing]" in ran.err
    assert "apt-get install podman" in ran.err
    ran = run("run", NATIVE, "--engine", "rkt")
    assert ran.status == 2
    assert "[engine-unknown]" in ran.err
    assert "containerd, podman, docker" in ran.err


@pytest.mark.parametrize("said", [("--runtime", "youki"), ("--engine-arg", "-t"), ("--print",)])
def test_what_goes_with_an_engine_only(run: Run, said: tuple[str, ...]) -> None:
    ran = run("run", HELLO, *said)
    assert ran.status == 2
    assert "--engine" in ran.err


def test_docker_without_a_daemon(run: Run, engines: Engines) -> None:
    engines("docker")
    silent = "#!/bin/sh\necho null\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n"
    Path("engines/docker").write_text(silent)
    ran = run("run", HELLO, "--engine", "docker")
    assert ran.status == 1
    assert "Cannot connect to the Docker daemon" in ran.err
    assert "[engine-unreachable]" in ran.err


def test_what_is_refused_before_anything_is_loaded(run: Run, engines: Engines) -> None:
    log = engines("docker", runtimes=YOUKI)
    for words, code in (
        (("nowhere.wasm",), "file-not-found"),
        ((HELLO, "--env", "=a"), "pair-invalid"),
        ((HELLO, "--workdir", "here"), "path-invalid"),
        (("/bin/sh",), "dynamic-binary"),
        ((HELLO, "--platform", "wasm"), "platform-invalid"),
    ):
        ran = run("run", *words, "--engine", "docker")
        assert f"[{code}]" in ran.err
    assert not Path(f"{log}.tar").exists()


def test_a_load_that_fails_runs_nothing(run: Run, engines: Engines) -> None:
    log = engines("podman")
    Path("engines/podman").write_text(f"#!/bin/sh\necho \"$1\" >>{log}\necho 'no space left' >&2\nexit 1\n")
    ran = run("run", NATIVE, "--engine", "podman")
    assert ran.status == 1
    assert "no space left" in ran.err
    assert "[load-failed]" in ran.err
    assert log.read_text() == "load\nimage\n"


def started_here(*words: str) -> subprocess.Popen[bytes]:
    source = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from ocibuild.cli import main; main()"
    command = [sys.executable, "-c", source, "run", *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize(
    "engine, ending",
    [
        ("docker", [["rm", "--force"]]),
        ("podman", [["rm", "--force"]]),
        ("containerd", [["tasks", "delete", "--force"], ["containers", "delete"]]),
    ],
)
@pytest.mark.parametrize("how", [signal.SIGINT, "timeout"])
def test_a_container_does_not_outlive_us(engines: Engines, engine: str, ending: list[list[str]], how: object) -> None:
    log = engines({"containerd": "ctr"}.get(engine, engine), program="trap '' TERM INT; echo here; exec sleep 60")
    process = started_here(NATIVE, "--engine", engine, *(("--timeout", "500ms") if how == "timeout" else ()))
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    if isinstance(how, signal.Signals):
        process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode == (124 if how == "timeout" else 130)
    name = loaded(log)[0]
    container = f"ocibuild-{name.partition(':')[2]}"
    *_, started = [line for line in calls(log) if line[0] == "run"]
    after = calls(log)[calls(log).index(started) + 1 :]
    assert after[:-1] == [[*words, container] for words in ending]
    assert after[-1][-1] == name, "the image is forgotten last"


def test_calling_off_the_session_ends_the_container(engines: Engines) -> None:
    log = engines("docker", program="trap '' TERM; exec sleep 60")
    cancel = Cancel()
    timer = threading.Timer(1.5, cancel.set)
    timer.start()
    with pytest.raises(Cancelled):
        ocibuild.run(NATIVE, engine="docker", session=ocibuild.Session(cancel=cancel))
    timer.join()
    assert [line[:2] for line in calls(log)][-2:] == [["rm", "--force"], ["image", "rm"]]


def test_the_library_runs_in_an_engine_too(engines: Engines) -> None:
    log = engines("docker", program="exit 3", runtimes=YOUKI)
    assert ocibuild.run(HELLO, ["x"], engine="docker", runtime="youki", engine_args=["--init"], net=True) == 3
    started = next(line for line in calls(log) if line[0] == "run")
    assert "--init" in started
    assert flags(started, "--network") == ["host"]


def test_stdin_reaches_the_program(engines: Engines) -> None:
    engines("docker", program="exec cat")
    process = started_here(NATIVE, "--engine", "docker", "-q")
    data = os.urandom(100_000)
    assert process.communicate(data, timeout=60) == (data, b"")


# --- real engines -----------------------------------------------------------------------------------------------------

# What podman's defaults ask for and a container without rights is refused: higher limits, and cgroups of version 2.
SMALL = ["--runtime", "runc", *(f"--engine-arg=--ulimit={name}=1024:1024" for name in ("nofile", "nproc"))]


@pytest.fixture
def podman(monkeypatch: pytest.MonkeyPatch, part: Callable[[str], str]) -> Iterator[str]:
    """podman with a store of its own, which wants a short path."""
    program = part("podman")
    part("runc")
    folder = Path(tempfile.mkdtemp(prefix="ob-"))
    config = folder / "storage.conf"
    config.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/root"\nrunroot = "{folder}/run"\n')
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(config))
    yield program
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def ctr(monkeypatch: pytest.MonkeyPatch, part: Callable[[str], str]) -> Iterator[str]:
    """ctr, and a containerd without its CRI plugin."""
    program, daemon = part("ctr"), part("containerd")
    folder = Path(tempfile.mkdtemp(prefix="ob-"))
    (folder / "config.toml").write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{folder}/socket"\n'
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([daemon, "-c", str(folder / "config.toml")], stdout=log, stderr=log)
    try:
        monkeypatch.setenv("CONTAINERD_ADDRESS", f"{folder}/socket")
        for _ in range(100):
            if not subprocess.run([program, "version"], capture_output=True, timeout=20).returncode:
                break
            time.sleep(0.1)
        else:
            pytest.fail((folder / "log").read_text()[-2000:])
        yield program
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def left(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.real
@pytest.mark.skipif(host().architecture != "amd64", reason="the sample is for amd64")
def test_real_podman_runs_it_and_keeps_nothing(run: Run, podman: str) -> None:
    run("pack", NATIVE, "-o", "a.oci", "--env", "GREETING=hoi", "--cmd", "image")
    ran = run("run", "a.oci", "--engine", "podman", *SMALL)
    assert (ran.status, ran.out) == (0, "hoi\nargument: image\n"), ran.err
    ran = run("run", "a.oci", "--engine", "podman", *SMALL, "-e", "GREETING=hej", "--", "a b", "-c")
    assert (ran.status, ran.out) == (0, "hej\nargument: a b\nargument: -c\n"), ran.err
    ran = run("run", NATIVE, "--engine", "podman", *SMALL, "--", "--exit", "42")
    assert (ran.status, ran.out) == (42, "Hello, Docker!\n"), ran.err
    assert left(podman, "images", "-q") == left(podman, "ps", "-aq") == ""


@pytest.mark.real
@pytest.mark.skipif(host().architecture != "amd64", reason="the sample is for amd64")
def test_real_containerd_runs_it_and_keeps_nothing(run: Run, ctr: str) -> None:
    run("pack", NATIVE, "-o", "a.oci", "--env", "GREETING=hoi", "--cmd", "image")
    ran = run("run", "a.oci", "--engine", "containerd")
    assert (ran.status, ran.out) == (0, "hoi\nargument: image\n"), ran.err
    ran = run("run", "a.oci", "--engine", "containerd", "-e", "GREETING=hej", "--", "a b", "--exit", "42")
    assert (ran.status, ran.out) == (0, "hej\nargument: a b\nargument: --exit\nargument: 42\n"), ran.err
    ran = run("run", NATIVE, "--engine", "containerd", "--", "--exit", "42")
    assert (ran.status, ran.out) == (42, "Hello, Docker!\n"), ran.err
    assert left(ctr, "images", "ls", "-q") == left(ctr, "containers", "ls", "-q") == ""


@pytest.mark.real
def test_a_real_container_is_ended_after_its_time(run: Run, ctr: str) -> None:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("there is no static busybox here")
    run("pack", busybox, "-o", "a.oci", "--entrypoint", "/busybox sleep 60", "--allow-dynamic")
    ran = run("run", "a.oci", "--engine", "containerd", "--timeout", "2s")
    assert ran.status == 124, ran.err
    assert left(ctr, "containers", "ls", "-q") == left(ctr, "tasks", "ls", "-q") == ""
