"""Building itself: side by side, called off, and looked at afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.build import build
from ocibuild.content.flow import Cancel
from ocibuild.errors import Cancelled, InputError, ToolError
from ocibuild.source.toolchains import making
from ocibuild.source.toolchains.recipe import Recipe
from ocibuild.spec.platform import Platform
from ocibuild.testing import programs
from tests.source.toolchains.fakes import GO, Fakes, module

ROOT = Path(__file__).parents[3]


def failing(fakes: Fakes, folder: Path, *platforms: str, **said: Any) -> ToolError | InputError:
    with pytest.raises((ToolError, InputError)) as caught:
        build(folder, platforms=platforms, session=fakes.session(), **said)
    return caught.value


def test_what_toolchains_print_is_told_line_by_line(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    build(folder, session=fakes.session(), dry_run=True)
    assert fakes.output == ["# compiling"]
    fakes.events.clear()
    build(folder, platforms=["linux/amd64", "wasi/wasm"], session=fakes.session(), dry_run=True)
    assert sorted(fakes.output) == ["linux/amd64 | # compiling", "wasi/wasm | # compiling"]


def test_colours_and_bars_are_not_told(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    drawn = r'print("\x1b[1m\x1b[31merror\x1b[0m: no\x1b]8;;x\x07\n\n 10%\r 90%\rdone")'
    fakes.program("go", f'if words[0] == "build": {drawn}\n' + GO)
    build(folder, session=fakes.session(), dry_run=True)
    assert fakes.output == ["error: no", "done", "# compiling"]


def test_a_server_that_a_toolchain_leaves_behind_is_not_waited_for(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    source = f"""
import subprocess
if words[0] == "build":
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    (pathlib.Path({str(tmp_path)!r}) / "left").write_text(str(left.pid))
"""
    fakes.program("go", source + GO)
    begun = time.monotonic()
    try:
        build(folder, session=fakes.session(), dry_run=True)
    finally:
        os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)
    assert time.monotonic() - begun < 30


def test_targets_are_built_side_by_side(fakes: Fakes, tmp_path: Path) -> None:
    """Each waits for the other to have begun: one after the other, the first would never end well."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one processor builds one target at a time")
    folder = module(fakes, tmp_path / "a")
    meet = f"""
if words[0] == "build":
    here = pathlib.Path({str(tmp_path)!r})
    (here / ("begun-" + env["GOARCH"])).touch()
    end = time.monotonic() + 30
    while len(list(here.glob("begun-*"))) < 2:
        if time.monotonic() > end: sys.exit("alone")
        time.sleep(0.01)
"""
    fakes.program("go", meet + GO)
    build(folder, platforms=["linux/amd64,wasi/wasm"], session=fakes.session(), dry_run=True)


def test_a_failure_has_the_compilers_last_words_and_leaves_nothing(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    lines = 'if words[0] == "build":\n    print("main.go:3: undefined: x"); sys.exit(2)\n'
    fakes.program("go", lines + GO)
    error = failing(fakes, folder, "linux/amd64", "wasi/wasm")
    assert error.code == "build-failed"
    assert "go ended with status 2 when it built hello for " in error.message
    assert error.__notes__ == ["main.go:3: undefined: x"]
    assert list(tmp_path.glob("*.oci")) == []


def test_one_failure_ends_the_others(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    source = """
if words[0] == "build" and env["GOARCH"] == "amd64": time.sleep(60)
if words[0] == "build" and env["GOARCH"] == "wasm": sys.exit(2)
"""
    fakes.program("go", source + GO)
    begun = time.monotonic()
    error = failing(fakes, folder, "linux/amd64,wasi/wasm")
    assert "ended with status 2 when it built hello for wasi/wasm" in error.message
    assert time.monotonic() - begun < 30


def test_calling_off_ends_compilers_and_their_children(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    source = f"""
if words[0] == "build":
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    part = pathlib.Path({str(tmp_path)!r}) / "part"
    part.write_text(str(child.pid))
    part.rename(part.with_name("child"))
    time.sleep(60)
"""
    fakes.program("go", source + GO)
    cancel = Cancel()

    def call_off() -> None:
        end = time.monotonic() + 30
        while not (tmp_path / "child").exists() and time.monotonic() < end:
            time.sleep(0.02)
        cancel.set()

    watcher = threading.Thread(target=call_off)
    watcher.start()
    with pytest.raises(Cancelled):
        build(folder, session=fakes.session(cancel))
    watcher.join()
    assert ended(int((tmp_path / "child").read_text()))
    assert list(tmp_path.glob("*.oci")) == []


def ended(pid: int) -> bool:
    """True once there is no such process, or only what is left of one that nobody has waited for."""
    for _ in range(200):
        try:
            status = Path(f"/proc/{pid}/stat").read_text()
        except FileNotFoundError:
            return True
        if status.rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_ctrl_c_ends_it_with_130_and_leaves_nothing(fakes: Fakes, tmp_path: Path) -> None:
    folder = module(fakes, tmp_path / "a")
    source = """
if words[0] == "build":
    print("compiling", os.getpid(), flush=True)
    time.sleep(60)
"""
    fakes.program("go", source + GO)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    code = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from ocibuild.cli import main; main()"
    environ = {**fakes.session().surroundings.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-c", code, "build", str(folder)], env=environ, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if line.startswith("compiling"))
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert rest.splitlines()[-1] == "cancelled"
    assert ended(int(line.split()[1]))
    assert list(temporary.iterdir()) == []
    assert list(tmp_path.glob("*.oci")) == []


# -- what comes of it is looked at


def hands_out(fakes: Fakes, tmp_path: Path, content: bytes) -> Path:
    """A module whose build gives these bytes."""
    folder = module(fakes, tmp_path / "a")
    (tmp_path / "made").write_bytes(content)
    fakes.program("go", GO.replace('sample.get(env["GOARCH"], "hello-linux-amd64")', repr(str(tmp_path / "made"))))
    return folder


def test_a_dynamic_program_is_refused_with_the_cure(fakes: Fakes, tmp_path: Path) -> None:
    dynamic = programs.elf(interpreter=b"/lib64/ld-linux-x86-64.so.2")
    folder = hands_out(fakes, tmp_path, dynamic)
    error = failing(fakes, folder, "linux/amd64")
    assert error.code == "not-static"
    assert "needs /lib64/ld-linux-x86-64.so.2" in error.message
    assert "cgo" in (error.hint or "")
    build(folder, platforms=["linux/amd64"], session=fakes.session(), allow_dynamic=True, dry_run=True)


P2 = ("wasi:cli/stdout@0.2.3",), ("wasi:cli/run@0.2.3",)


@pytest.mark.parametrize(
    "platform, content, said",
    [
        ("linux/amd64", programs.elf("arm64"), "built for linux/amd64, and is a program for linux/arm64"),
        ("linux/amd64", programs.command(), "built for linux/amd64, and is a module of WASI none"),
        ("wasi/wasm", programs.elf(), "built for wasi/wasm, and is a program for linux/amd64"),
        ("wasip1/wasm", programs.component(*P2), "built for wasip1/wasm, and is a component of WASI 0.2.3"),
    ],
)
def test_a_program_for_something_else_is_refused(
    fakes: Fakes, tmp_path: Path, platform: str, content: bytes, said: str
) -> None:
    error = failing(fakes, hands_out(fakes, tmp_path, content), platform)
    assert error.code == "build-mismatch"
    assert said in error.message


@pytest.mark.parametrize(
    "content, is_taken",
    [
        (programs.component(*P2), True),
        (programs.component((), ("wasi:cli/run@0.3.0",)), False),
        (programs.command(), False),
    ],
)
def test_wasip2_is_a_component_of_that_level(tmp_path: Path, content: bytes, is_taken: bool) -> None:
    program = tmp_path / "a.wasm"
    program.write_bytes(content)
    recipe = Recipe(Platform("wasip2", "wasm"), "a", (), program)
    if is_taken:
        assert making.checked(program, recipe, dynamic=False).kind == "component"
        return
    with pytest.raises(ToolError) as caught:
        making.checked(program, recipe, dynamic=False)
    assert caught.value.code == "build-mismatch"


@pytest.mark.parametrize(
    "content, role", [(programs.MODULE, "library"), (programs.component((), ("a:b/c@1.0.0",)), "reactor")]
)
def test_what_nothing_starts_is_refused(fakes: Fakes, tmp_path: Path, content: bytes, role: str) -> None:
    error = failing(fakes, hands_out(fakes, tmp_path, content), "wasi/wasm")
    assert error.code == "not-a-command"
    assert f"is a {role}" in error.message


def test_a_component_that_serves_http_is_taken(fakes: Fakes, tmp_path: Path) -> None:
    folder = hands_out(fakes, tmp_path, programs.component((), ("wasi:http/incoming-handler@0.2.0",)))
    assert build(folder, session=fakes.session(), dry_run=True).artifacts[0].kind == "component"


def test_what_is_no_program_is_refused_as_pack_does(fakes: Fakes, tmp_path: Path) -> None:
    assert failing(fakes, hands_out(fakes, tmp_path, b"#!/bin/sh\n"), "wasi/wasm").code == "format-script"
