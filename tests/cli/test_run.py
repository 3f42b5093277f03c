"""`run`: what the samples say they print, and what a sandbox lets through."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocibuild.run.engine import host
from tests.cli.conftest import Ran
from tests.registry.double import Registry
from tests.run import programs
from tests.run.programs import assembled

Run = Callable[..., Ran]
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "samples"
HELLO = str(SAMPLES / "hello.wasm")
COMMANDS = ["hello.wasm", "hello-c.wasm", "hello-command.wasm"]
NATIVES = {"amd64": str(SAMPLES / "hello-linux-amd64"), "arm64": str(SAMPLES / "hello-linux-arm64")}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def native() -> str:
    here = host()
    if here.os != "linux" or here.architecture not in NATIVES:
        pytest.skip(f"there is no sample for {here}")
    return NATIVES[here.architecture]


def started(*words: str) -> subprocess.Popen[bytes]:
    source = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from ocibuild.cli import main; main()"
    command = [sys.executable, "-c", source, "run", *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


# --- files without an image -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bare_program_gets_its_arguments_and_variables(run: Run, name: str) -> None:
    ran = run("run", str(SAMPLES / name), "--env", "GREETING=hej", "--", "one", "--json", "--debug", "")
    assert ran == Ran(0, "hej\nargument: one\nargument: --json\nargument: --debug\nargument: \n", "")


@pytest.mark.parametrize("name, status", [("hello.wasm", 3), ("hello-c.wasm", 3), ("hello-command.wasm", 1)])
def test_the_exit_status_is_the_programs(run: Run, name: str, status: int) -> None:
    # wasi:cli/exit of 0.2 knows success and failure, and no numbers.
    assert run("run", str(SAMPLES / name), "--", "--exit", "3") == Ran(status, "Hello, Docker!\n", "")


def test_every_status_of_a_byte_is_the_programs_own(run: Run) -> None:
    for status in (0, 1, 125, 126, 134, 200, 255):
        assert run("run", HELLO, "--", "--exit", str(status)) == Ran(status, "Hello, Docker!\n", "")
    assert run("run", HELLO, "--", "--exit", "-1").status == 255


def test_a_native_program(run: Run, native: str) -> None:
    ran = run("run", native, "-e", "GREETING=hej", "--", "a; b", "$HOME")
    assert ran == Ran(0, "hej\nargument: a; b\nargument: $HOME\n", "")
    assert run("run", native, "--", "--exit", "42").status == 42


def test_nothing_of_our_environment_reaches_the_program(run: Run, native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREETING", "ours")
    for program in (HELLO, str(SAMPLES / "hello-command.wasm"), native):
        assert run("run", program).out == "Hello, Docker!\n"
        assert run("run", program, "--env", "GREETING").out == "ours\n"
        assert run("run", program, "--env", "NOT_SET_ANYWHERE").out == "Hello, Docker!\n"


@pytest.mark.parametrize("text", ["=a", ""])
def test_a_variable_without_a_name(run: Run, text: str) -> None:
    ran = run("run", HELLO, "--env", text)
    assert ran.status == 2
    assert "[pair-invalid]" in ran.err


# --- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["image", "compat", "wasm-layer", "artifact", "solo", "wasm-to-oci"])
@pytest.mark.parametrize("output", ["a.oci", "a.tar"])
def test_every_shape_from_a_layout_and_an_archive(run: Run, shape: str, output: str) -> None:
    assert run("pack", HELLO, "-o", output, "--format", shape).status == 0
    assert run("run", output, "--", "x") == Ran(0, "Hello, Docker!\nargument: x\n", "")


@pytest.mark.parametrize("shape", ["image", "artifact"])
def test_a_component_in_an_image(run: Run, shape: str) -> None:
    run("pack", str(SAMPLES / "hello-command.wasm"), "-o", "a.oci", "--format", shape)
    assert run("run", "a.oci", "--", "x").out == "Hello, Docker!\nargument: x\n"


@pytest.mark.parametrize("shape", ["image", "wasm-layer"])
def test_the_config_is_read_as_docker_run_reads_it(run: Run, shape: str) -> None:
    said = ("--env", "GREETING=hoi", "--entrypoint", "/hello.wasm first", "--cmd", "second third")
    assert run("pack", HELLO, "-o", "a.oci", "--format", shape, *said).status == 0
    assert run("run", "a.oci").out == "hoi\nargument: first\nargument: second\nargument: third\n"
    assert run("run", "a.oci", "--", "mine").out == "hoi\nargument: first\nargument: mine\n"
    assert run("run", "a.oci", "--entrypoint", "/hello.wasm only").out == "hoi\nargument: only\n"
    assert run("run", "a.oci", "--entrypoint", "/hello.wasm", "--", "a", "b").out == "hoi\nargument: a\nargument: b\n"
    assert run("run", "a.oci", "-e", "GREETING=hej", "--", "--exit", "5") == Ran(
        0, "hej\nargument: first\nargument: --exit\nargument: 5\n", ""
    )


def test_the_entrypoint_may_be_another_file_of_the_image(run: Run) -> None:
    other = assembled(programs.NAMED, Path("other.wasm"))
    run("pack", HELLO, "-o", "a.oci", "--add", f"{other}:/bin/other.wasm")
    assert run("run", "a.oci", "--entrypoint", "/bin/other.wasm").status == 8
    assert run("run", "a.oci", "--entrypoint", "other.wasm").status == 8, "along PATH"
    assert run("run", "a.oci", "--entrypoint", "/bin/other.wasm#other").status == 7
    ran = run("run", "a.oci", "--entrypoint", "/bin/nothing")
    assert ran.status == 1
    assert "[program-missing]" in ran.err


def test_from_a_registry(run: Run) -> None:
    with Registry() as registry:
        name = f"{registry.host}/hello:1"
        assert run("pack", HELLO, "-t", name, "--push", "-o", "a.oci").status == 0
        assert run("run", name, "--", "x").out == "Hello, Docker!\nargument: x\n"
        ran = run("run", f"{registry.host}/other:1")
        assert (ran.status, ran.out) == (1, "")


def test_of_an_index_the_wasm_entry_unless_another_is_asked_for(run: Run, native: str) -> None:
    assembled(programs.NAMED, Path("named.wasm"))
    run("pack", "named.wasm", *NATIVES.values(), "-o", "many.oci")
    assert run("run", "many.oci").status == 8
    ran = run("run", "many.oci", "--platform", f"linux/{host().architecture}", "--", "x")
    assert (ran.status, ran.out) == (0, "Hello, Docker!\nargument: x\n")
    assert "no sandbox" in ran.err
    foreign = next(arch for arch in NATIVES if arch != host().architecture)
    ran = run("run", "many.oci", "--platform", f"linux/{foreign}")
    assert ran.status == 1
    assert "[platform-foreign]" in ran.err
    assert "[platform-missing]" in run("run", "many.oci", "--platform", "linux/s390x").err


def test_of_an_index_of_natives_the_one_for_this_machine(run: Run, native: str) -> None:
    run("pack", *NATIVES.values(), "-o", "natives.oci")
    assert run("run", "natives.oci", "-q") == Ran(0, "Hello, Docker!\n", "")


def test_a_damaged_layer_starts_nothing(run: Run) -> None:
    run("pack", HELLO, "-o", "a.oci", "--format", "artifact")
    blob = max(Path("a.oci/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)
    ran = run("run", "a.oci")
    assert (ran.status, ran.out) == (1, "")
    assert "[digest-mismatch]" in ran.err


# --- the sandbox ----------------------------------------------------------------------------------------------------


def test_a_program_alone_sees_no_folder(run: Run) -> None:
    Path("secret").write_text("secret")
    assembled(programs.opens("secret"), Path("a.wasm"))
    assert run("run", "a.wasm") == Ran(programs.BADF, "", "")


def test_files_of_the_image_can_be_read_and_not_written(run: Run, tmp_path: Path) -> None:
    Path("note").write_text("from the image\n")
    assembled(programs.opens("etc/note"), Path("read.wasm"))
    assembled(programs.opens("etc/new", rights=programs.WRITE, oflags=programs.CREATE), Path("write.wasm"))
    assembled(programs.opens(f"..{tmp_path}/note"), Path("out.wasm"))
    for name in ("read", "write", "out"):
        run("pack", f"{name}.wasm", "-o", f"{name}.oci", "--add", "note:/etc/note")
    assert run("run", "read.oci") == Ran(0, "from the image\n", "")
    assert run("run", "write.oci").status != 0
    assert run("run", "out.oci").status not in (0, programs.NOENT)


def test_a_folder_of_the_host(run: Run) -> None:
    Path("data").mkdir()
    Path("data/note").write_text("from the host\n")
    assembled(programs.opens("note"), Path("read.wasm"))
    assembled(programs.opens("new", rights=programs.WRITE, oflags=programs.CREATE), Path("write.wasm"))
    assert run("run", "read.wasm", "--dir", "data::/data:ro").out == "from the host\n"
    assert run("run", "write.wasm", "--dir", "data::/data:ro").status != 0
    assert not Path("data/new").exists()
    assert run("run", "write.wasm", "--dir", "data").status == 0
    assert Path("data/new").exists()
    # Beside the image's own files, which come first, and in their place.
    run("pack", "read.wasm", "-o", "read.oci")
    assembled(programs.opens("note", fd=4), Path("second.wasm"))
    run("pack", "second.wasm", "-o", "second.oci")
    assert run("run", "second.oci", "--dir", "data::/data:ro").out == "from the host\n"
    assert run("run", "read.oci", "--dir", "data::/:ro").out == "from the host\n"


@pytest.mark.parametrize("text", ["nowhere", "::/data", "data::", "a.wasm::/data", ":ro"])
def test_a_folder_that_is_none(run: Run, text: str) -> None:
    Path("data").mkdir()
    ran = run("run", HELLO, "--dir", text)
    assert ran.status == 2
    assert "[dir-invalid]" in ran.err


@pytest.mark.parametrize(
    "said", ["type=bind,source=data,target=/data", "source=data,dst=/data/,type=bind,readonly=false"]
)
def test_a_mount_is_dockers_word_for_a_folder(run: Run, said: str) -> None:
    assembled(programs.opens("note"), Path("read.wasm"))
    assembled(programs.opens("new", rights=programs.WRITE, oflags=programs.CREATE), Path("write.wasm"))
    Path("data").mkdir()
    Path("data/note").write_text("from the host\n")
    assert run("run", "read.wasm", "--mount", f"{said}") == Ran(0, "from the host\n", "")
    assert run(
        "run", "write.wasm", "--mount", said.replace("=false", "") + ",readonly" * ("readonly" not in said)
    ).status
    assert not Path("data/new").exists()
    assert run("run", "write.wasm", "--mount", said).status == 0
    assert Path("data/new").exists()


def test_a_tmpfs_is_empty_writable_and_gone_afterwards(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assembled(programs.opens("note"), Path("read.wasm"))
    assembled(programs.opens("new", rights=programs.WRITE, oflags=programs.CREATE), Path("write.wasm"))
    assert run("run", "write.wasm", "--mount", "type=tmpfs,target=/tmp").status == 0
    assert run("run", "read.wasm", "--mount", "type=tmpfs,target=/tmp").status == programs.NOENT
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    "said, why",
    [
        ("", "its type is volume"),
        ("source=data,target=/x", "its type is volume"),
        ("type=volume,target=/x", "its type is volume"),
        ("type=bind,source=data", "its target ''"),
        ("type=bind,source=data,target=x", "its target 'x'"),
        ("type=bind,source=data,target=/x/../y", "its target '/x/../y'"),
        ("type=bind,target=/x", "its source ''"),
        ("type=bind,source=nowhere,target=/x", "its source 'nowhere'"),
        ("type=bind,source=data,target=/x,bind-propagation=shared", "'bind-propagation' is no key"),
        ("type=bind,source=data,target=/x,readonly=maybe", "readonly is 'maybe'"),
        ("type=bind,source=data,src=data,target=/x", "source stands there twice"),
        ("type=bind,source,target=/x", "source has no value"),
        ('type=bind,"source=data,target=/x', "unexpected end of data"),
        ("type=tmpfs,source=data,target=/x", "a tmpfs has no source"),
        ("type=bind,source=a.wasm,target=/x", "a.wasm is a file"),
    ],
)
def test_a_mount_that_is_none(run: Run, said: str, why: str) -> None:
    Path("data").mkdir()
    Path("a.wasm").touch()
    ran = run("run", HELLO, "--mount", said)
    assert ran.status == 2
    assert why in ran.err
    assert "[mount-invalid]" in ran.err


def test_two_folders_for_one_place(run: Run) -> None:
    Path("data").mkdir()
    ran = run("run", HELLO, "--dir", "data::/x", "--mount", "type=tmpfs,target=/x")
    assert ran.status == 2
    assert "[mount-invalid]" in ran.err


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def test_without_net_a_component_connects_to_nothing(run: Run, listening: socket.socket) -> None:
    assembled(programs.connects(listening.getsockname()[1]), Path("a.wasm"))
    assert run("run", "a.wasm") == Ran(1, "", "")
    listening.settimeout(0.1)
    with pytest.raises(TimeoutError):
        listening.accept()


@pytest.mark.real
def test_with_net_a_component_connects(
    run: Run, listening: socket.socket, part: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(part("wasmtime")).parent))
    assembled(programs.connects(listening.getsockname()[1]), Path("a.wasm"))
    run("pack", "a.wasm", "-o", "a.oci")
    assert run("run", "a.oci", "--net") == Ran(0, "", "")
    listening.accept()[0].close()
    assert run("run", "a.oci").status == 1


def test_net_needs_the_wasmtime_program(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    ran = run("run", str(SAMPLES / "hello-command.wasm"), "--net")
    assert ran.status == 1
    assert "the embedded one opens no sockets" in ran.err
    assert "[engine-missing]" in ran.err


def test_a_module_of_preview_1_opens_no_connection(run: Run) -> None:
    ran = run("run", HELLO, "--net")
    assert ran.status == 1
    assert "wasm32-wasip2" in ran.err
    assert "[net-unsupported]" in ran.err


def test_a_native_program_has_the_network_anyway(run: Run, native: str) -> None:
    ran = run("run", native, "--net")
    assert (ran.status, ran.out) == (0, "Hello, Docker!\n")
    assert "this machine's network as it is" in ran.err


def test_a_component_that_could_ask_over_http_starts_and_cannot(run: Run) -> None:
    names = '(import "wasi:http/outgoing-handler@0.2.0" (instance $http (export "handle" (func))))'
    assembled(programs.COMPONENT_FAILS.replace("(component", f"(component {names}"), Path("a.wasm"))
    assert run("run", "a.wasm") == Ran(1, "", "")
    calls = programs.COMPONENT_FAILS.replace(
        "(component",
        f'(component {names} (core func $ask (canon lower (func $http "handle")))'
        '(core instance $host (export "ask" (func $ask)))',
    ).replace("(core module $m", '(core module $m (import "host" "ask" (func $ask))')
    calls = calls.replace("(i32.const 1)", "(call $ask) (i32.const 0)")
    assembled(calls.replace("(instantiate $m)", '(instantiate $m (with "host" (instance $host)))'), Path("b.wasm"))
    ran = run("run", "b.wasm")
    assert ran.status == 134
    assert "wasi:http/outgoing-handler" in ran.err


@pytest.mark.parametrize("flag", [("--dir", "."), ("--memory", "64MiB")])
def test_a_native_program_has_no_sandbox(run: Run, native: str, flag: tuple[str, str]) -> None:
    ran = run("run", native, *flag)
    assert ran.status == 2
    assert "[sandbox-wasm-only]" in ran.err


def test_a_working_directory_is_told_in_pwd(run: Run) -> None:
    assembled(programs.ENVIRON, Path("a.wasm"))
    run("pack", "a.wasm", "-o", "a.oci", "--env", "A=1", "--workdir", "/work")
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert sorted(run("run", "a.oci").out.split("\0")) == ["", "A=1", path, "PWD=/work"]
    assert "PWD=/other" in run("run", "a.oci", "--workdir", "/other").out
    assert "PWD=/mine" in run("run", "a.oci", "--env", "PWD=/mine").out
    assert run("run", "a.wasm").out == ""
    ran = run("run", "a.oci", "--workdir", "here")
    assert ran.status == 2
    assert "[path-invalid]" in ran.err


def test_a_native_program_starts_among_its_images_files(run: Run) -> None:
    Path("note").write_text("from the image\n")
    run("pack", "/bin/cat", "--allow-dynamic", "-o", "a.oci", "--add", "note:/etc/note", "--workdir", "/etc")
    assert run("run", "a.oci", "--", "note").out == "from the image\n"
    assert run("run", "a.oci", "--workdir", "/", "--", "etc/note").out == "from the image\n"
    assert run("run", "/bin/cat", "--", "note").out == "from the image\n", "a bare file starts where we are"


def test_memory_is_limited(run: Run) -> None:
    assembled(programs.GROW, Path("grow.wasm"))
    assembled(programs.LARGE, Path("large.wasm"))
    assert run("run", "grow.wasm").status == 0
    assert run("run", "grow.wasm", "--memory", "2MiB").status == 1
    assert run("run", "large.wasm", "--memory", "4MiB").status == 0
    ran = run("run", "large.wasm", "--memory", "2MiB")
    assert ran.status == 1
    assert "[not-startable]" in ran.err
    assert run("run", "large.wasm", "--memory", "much").status == 2


# --- how it ends ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [programs.TRAP, programs.COMPONENT_TRAPS], ids=["module", "component"])
def test_a_trap(run: Run, text: str) -> None:
    assembled(text, Path("a.wasm"))
    ran = run("run", "a.wasm")
    assert (ran.status, ran.out) == (134, "")
    assert "unreachable" in ran.err
    told = json.loads(run("run", "a.wasm", "--json").err)
    assert (told["status"], told["reason"]) == (134, "trap")


def test_a_component_that_says_it_failed(run: Run) -> None:
    assembled(programs.COMPONENT_FAILS, Path("a.wasm"))
    assert run("run", "a.wasm") == Ran(1, "", "")
    assert json.loads(run("run", "a.wasm", "--json").err) == {"status": 1, "reason": "exit", "text": ""}


def test_a_program_without_end_is_ended(run: Run) -> None:
    assembled(programs.ENDLESS, Path("a.wasm"))
    ran = run("run", "a.wasm", "--timeout", "800ms")
    assert (ran.status, ran.out) == (124, "here\n")
    assert "0.8 seconds" in ran.err


def test_a_program_that_waits_for_stdin_is_ended_too() -> None:
    assembled(programs.CAT, Path("a.wasm"))
    process = started("a.wasm", "--timeout", "1s")
    assert process.wait(60) == 124
    process.communicate(timeout=60)


def test_a_native_program_is_ended_even_where_it_does_not_listen(run: Run) -> None:
    ran = run("run", "/bin/sh", "--timeout", "500ms", "--", "-c", "trap '' TERM; while :; do :; done")
    assert (ran.status, ran.out) == (124, "")


def test_a_native_program_that_a_signal_ended(run: Run) -> None:
    ran = run("run", "/bin/sh", "--", "-c", "kill -9 $$")
    assert (ran.status, ran.out, ran.err) == (137, "", "the program broke off: it was ended by signal 9\n")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1w", "nan", "1.5 s"])
def test_a_timeout_that_is_none(run: Run, text: str) -> None:
    assert run("run", HELLO, "--timeout", text).status == 2


def test_stdin_goes_to_the_program() -> None:
    assembled(programs.CAT, Path("a.wasm"))
    data = os.urandom(100_000)
    process = started("a.wasm")
    assert process.communicate(data, timeout=60) == (data, b"")
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_program_and_gives_130(number: int) -> None:
    assembled(programs.ENDLESS, Path("a.wasm"))
    process = started("a.wasm")
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    process.send_signal(number)
    # stdout ends when the program is gone: it holds the other end too.
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told.strip()) == (130, b"cancelled")


def test_a_program_without_end_does_not_outlive_a_command_that_was_killed() -> None:
    assembled(programs.ENDLESS, Path("a.wasm"))
    process = started("a.wasm")
    assert process.stdout is not None
    assert process.stdout.readline() == b"here\n"
    process.kill()
    process.communicate(timeout=30)  # stdout ends when the program is gone: it holds the other end too
    assert process.returncode == -signal.SIGKILL


def test_nothing_stays_behind(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("pack", HELLO, "-o", "a.oci")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert run("run", "a.oci").status == 0
    assembled(programs.LIBRARY, Path("a.wasm"))
    assert run("run", "a.wasm").status == 1
    assert list((tmp_path / "temporary").iterdir()) == []


# --- HTTP components ------------------------------------------------------------------------------------------------

HTTP = str(SAMPLES / "hello-http.wasm")


def answer(process: subprocess.Popen[bytes]) -> tuple[str, bytes]:
    """What is said until it listens, and what it then answers."""
    assert process.stderr is not None
    said = ""
    while not (match := re.search(r"127\.0\.0\.1:([1-9][0-9]*)", said)):
        line = process.stderr.readline().decode()
        assert line, f"it ended, and said {said}"
        said += line
    connection = http.client.HTTPConnection("127.0.0.1", int(match[1]), timeout=30)
    for _ in range(200):
        try:
            connection.request("GET", "/")
            return said, connection.getresponse().read()
        except ConnectionRefusedError:
            time.sleep(0.1)
        finally:
            connection.close()
    pytest.fail("nothing answers")


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("server", ["wasmtime", pytest.param("jco", marks=pytest.mark.heavy)])
def test_an_http_component_is_served(
    run: Run, part: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: str, number: int
) -> None:
    (tmp_path / "bin").mkdir()
    for name in (server, *(("node",) if server == "jco" else ())):
        (tmp_path / "bin" / name).symlink_to(os.path.realpath(part(name)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    run("pack", HTTP, "-o", "a.oci")
    process = started("a.oci", "--listen", "127.0.0.1:0")
    said, body = answer(process)
    assert body == b"Hello, Docker!\n"
    assert f"{server} serves it" in said
    assert ("no sandbox" in said) == (server == "jco")
    process.send_signal(number)
    out, told = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert told.endswith(b"cancelled\n")


@pytest.mark.real
def test_a_served_component_ends_after_its_time(
    run: Run, part: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(part("wasmtime")).parent))
    ran = run(
        "run", HTTP, "--listen", "127.0.0.1:0", "--timeout", "1s", "--env", "A=1", "--memory", "64MiB", "--dir", "."
    )
    assert (ran.status, ran.out) == (124, "")
    assert "Serving HTTP on http://127.0.0.1:" in ran.err


def test_nothing_serves_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    ran = run("run", HTTP)
    assert (ran.status, ran.out) == (1, "")
    assert "[engine-missing]" in ran.err
    assert "npm install -g @bytecodealliance/jco" in ran.err


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[[], list[str]]]:
    """A stand-in for a server, alone on PATH: it writes its words and variables down, and ends."""

    def make(name: str) -> Callable[[], list[str]]:
        folder = tmp_path / "servers"
        folder.mkdir(exist_ok=True)
        script = f'#!/bin/sh\nfor word; do echo "$word"; done >{folder}/words\n/usr/bin/env >{folder}/variables\n'
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return lambda: (folder / "words").read_text().splitlines()

    return make


@pytest.mark.parametrize(
    "said, where",
    [
        ((), "127.0.0.1:8080"),
        (("--listen", ":80"), "0.0.0.0:80"),
        (("--listen", "localhost:0"), "127.0.0.1:0"),
        (("--listen", "[::1]:8080"), "[::1]:8080"),
    ],
)
def test_where_it_is_served(
    run: Run, recorder: Callable[[str], Callable[[], list[str]]], said: tuple[str, ...], where: str
) -> None:
    words = recorder("wasmtime")
    assert run("run", HTTP, *said, "-e", "A=1", "--net").status == 0
    serve, address, _, powers, env, path = words()
    assert (serve, address, env) == ("serve", f"--addr={where}", "--env=A=1")
    assert powers.startswith("cli,inherit-network")
    assert path.endswith("/program")
    assert run("run", HTTP).status == 0
    assert words()[3] == "cli"


def test_jco_is_told_of_nothing_but_what_was_asked(
    run: Run, recorder: Callable[[str], Callable[[], list[str]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = recorder("jco")
    monkeypatch.setenv("SECRET", "ours")
    ran = run("run", HTTP, "--listen", "127.0.0.1:0", "-e", "A=1")
    assert ran.status == 0
    assert "no sandbox" in ran.err
    assert words()[:4] == ["serve", "--host", "127.0.0.1", "--port"]
    assert int(words()[4]) > 0, "jco does not tell a port that it chose"
    variables = (tmp_path / "servers/variables").read_text()
    assert "A=1\n" in variables
    assert "SECRET" not in variables
    for flag in (("--dir", "."), ("--memory", "64MiB")):
        ran = run("run", HTTP, *flag)
        assert ran.status == 2
        assert "[sandbox-wasm-only]" in ran.err


def test_an_address_that_jco_could_not_listen_at(run: Run, recorder: Callable[[str], object]) -> None:
    recorder("jco")
    ran = run("run", HTTP, "--listen", "192.0.2.1:0")
    assert ran.status == 1
    assert "[not-startable]" in ran.err


@pytest.mark.parametrize(
    "text", ["", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "host:80", "1.2.3:80", "[::1:80"]
)
def test_an_address_that_is_none(run: Run, recorder: Callable[[str], object], text: str) -> None:
    recorder("wasmtime")
    ran = run("run", HTTP, "--listen", text)
    assert ran.status == 2
    assert "[listen-invalid]" in ran.err


def test_what_is_not_served(run: Run, native: str, recorder: Callable[[str], object]) -> None:
    recorder("wasmtime")
    for program in (HELLO, native):
        ran = run("run", program, "--listen", "127.0.0.1:0")
        assert ran.status == 2
        assert "[listen-invalid]" in ran.err
    ran = run("run", HTTP, "--", "argument")
    assert ran.status == 2
    assert "no arguments" in ran.err


# --- what is refused ------------------------------------------------------------------------------------------------


def test_what_nothing_starts(run: Run) -> None:
    assembled(programs.LIBRARY, Path("a.wasm"))
    ran = run("run", "a.wasm")
    assert ran.status == 1
    assert "[not-a-command]" in ran.err


def test_what_the_engine_does_not_start(run: Run) -> None:
    assembled(programs.STRANGE, Path("a.wasm"))
    ran = run("run", "a.wasm")
    assert ran.status == 1
    assert "unheard_of" in ran.err
    assert "[not-startable]" in ran.err


@pytest.mark.parametrize("content, code", [(b"#!/bin/sh\n", "format-script"), (b"", "file-empty")])
def test_what_is_no_program(run: Run, content: bytes, code: str) -> None:
    Path("a").write_bytes(content)
    assert f"[{code}]" in run("run", "a").err


@pytest.mark.parametrize("what", ["nowhere.wasm", "nowhere.oci", "target/a.wasm", "./nowhere", "/nowhere/a"])
def test_a_file_that_is_not_there_is_not_asked_for_at_a_registry(run: Run, what: str) -> None:
    ran = run("run", what)
    assert ran.status == 1
    assert "[file-not-found]" in ran.err


@pytest.mark.parametrize("form", ["oci:{}", "oci:{}@{digest}", "{}", "./{}", "{}@{digest}"])
def test_a_place_is_written_as_everywhere(run: Run, form: str) -> None:
    digest = run("pack", HELLO, "-o", "a.oci").out.strip().partition("@")[2]
    assert run("run", form.format("a.oci", digest=digest)) == Ran(0, "Hello, Docker!\n", "")


def test_a_repository_may_be_called_like_a_file(run: Run) -> None:
    with Registry() as registry:
        run("pack", HELLO, "-t", f"{registry.host}/hello.wasm:latest", "--push", "-o", "a.oci")
        assert run("run", f"{registry.host}/hello.wasm").out == "Hello, Docker!\n"


def test_without_an_engine_both_roads_are_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    monkeypatch.setenv("PATH", "")
    ran = run("run", HELLO)
    assert ran.status == 1
    assert "[engine-missing]" in ran.err
    assert "pip install 'ocibuild[run]'" in ran.err
    assert "wasmtime program on PATH" in ran.err


def test_an_engine_that_breaks_off_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A wasmtime that cannot be loaded, as after an update of the system's libraries.
    (tmp_path / "wasmtime.py").write_text("raise ImportError('libc is too old')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    ran = run("run", HELLO)
    assert ran.status == 1
    assert "libc is too old" in ran.err
    assert "[engine-failed]" in ran.err


# --- the other engine, and the judge --------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("arguments", [(), ("a", "b c"), ("--exit", "3")])
def test_the_embedded_engine_does_what_the_wasmtime_program_does(
    run: Run, name: str, arguments: tuple[str, ...], part: Callable[[str], str]
) -> None:
    command = [part("wasmtime"), "run", "--env=GREETING=hej", str(SAMPLES / name), *arguments]
    judge = subprocess.run(command, capture_output=True, text=True, timeout=60)
    ran = run("run", str(SAMPLES / name), "-e", "GREETING=hej", "--", *arguments)
    assert (ran.status, ran.out) == (judge.returncode, judge.stdout)


@pytest.mark.real
def test_the_wasmtime_program_is_used_where_nothing_is_embedded(
    run: Run, part: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Path(part("wasmtime")).parent
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    monkeypatch.setenv("PATH", str(found))
    Path("note").write_text("from the image\n")
    for name in COMMANDS:
        run("pack", str(SAMPLES / name), "-o", f"{name}.oci", "--env", "GREETING=hoi")
        assert run("run", f"{name}.oci", "--", "x").out == "hoi\nargument: x\n"
    assert run("run", HELLO, "--", "--exit", "9").status == 9
    ran = run("run", HELLO, "--dir", ".::/data:ro")
    assert ran.status == 2
    assert "[dir-read-only]" in ran.err


def test_the_wasmtime_on_path_cannot_show_a_folder_for_reading_only(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Refused before it is started, so any program of that name does.
    shutil.copy("/bin/true", tmp_path / "wasmtime")
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "[dir-read-only]" in run("run", HELLO, "--dir", ".::/data:ro").err
