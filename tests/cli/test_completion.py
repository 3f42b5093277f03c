"""Completion, by real shells on a terminal: what is typed, a tab, and what the shell made of it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocibuild import pack
from ocibuild.cli import completing
from tests.cli.conftest import Ran
from tests.registry.double import Registry

Run = Callable[..., Ran]
Part = Callable[[str], str]
ROOT = Path(__file__).parents[2]
FILE = """
schema = 1
[vars]
mode = "x"
[targets."${stem}"]
each = "*.wasm"
[targets.everything]
files = ["hello.wasm"]
[groups]
edges = ["hello"]
"""


@pytest.fixture
def registry(folder: Path) -> Iterator[str]:
    """The host of a registry with two repositories."""
    with Registry() as registry:
        for name in ("team/hello:1.0-first", "team/hello:2.0-second", "other:9"):
            pack("hello.wasm", tags=[f"{registry.host}/{name}"], push=True)
        yield registry.host


@pytest.fixture
def offered(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """`offered("ocibuild bake ")`: what a shell is told, each with its kind."""
    (folder / "ocibuild.toml").write_text(FILE)

    def ask(line: str) -> list[str]:
        monkeypatch.setenv("_OCIBUILD_COMPLETE", "bash_complete")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        ran = run()
        assert (ran.status, ran.err) == (0, "")
        return ran.out.split()

    return ask


@pytest.mark.parametrize(
    "line, answers",
    [
        ("ocibuild ba", ["plain,bake"]),
        ("ocibuild bake e", ["plain,everything", "plain,edges"]),
        ("ocibuild bake everything e", ["plain,edges"]),
        ("ocibuild bake --config nowhere e", []),
        ("ocibuild pack --config ocibuild.toml --target h", ["plain,hello"]),
        ("ocibuild pack --target e", ["plain,everything"]),
        ("ocibuild pack --for kuber", ["plain,kubernetes"]),
        ("ocibuild copy --format wasm-t", ["plain,wasm-to-oci"]),
        ("ocibuild build --language as", ["plain,assemblyscript"]),
        ("ocibuild pull --progress j", ["plain,json"]),
        ("ocibuild pack he", ["file,he"]),
        ("ocibuild pack -o oci:he", ["plain,oci:hello.wasm"]),
        ("ocibuild init ", ["dir,"]),
        ("ocibuild completion f", ["plain,fish"]),
        ("ocibuild inspect ./he", ["file,./he"]),
        ("ocibuild nonsense x", []),
    ],
)
def test_each_value_is_offered_what_it_can_be(
    line: str, answers: list[str], offered: Callable[[str], list[str]]
) -> None:
    assert offered(line) == answers


def test_a_broken_file_has_no_targets_and_no_complaint(offered: Callable[[str], list[str]], folder: Path) -> None:
    (folder / "ocibuild.toml").write_text("schema = \n")
    assert offered("ocibuild bake ") == []


def test_the_names_in_a_layout_are_offered(offered: Callable[[str], list[str]], folder: Path) -> None:
    pack("hello.wasm", tags=["localhost:5000/x:tagged"], output="here.oci")
    names = offered("ocibuild inspect oci:here.oci:")
    assert names
    assert all(name.startswith("plain,oci:here.oci:") and name.endswith("tagged") for name in names)


def test_tags_and_repositories_are_the_registrys(offered: Callable[[str], list[str]], registry: str) -> None:
    assert offered(f"ocibuild pull {registry}/team/hello:") == [
        f"plain,{registry}/team/hello:1.0-first",
        f"plain,{registry}/team/hello:2.0-second",
    ]
    assert offered(f"ocibuild pull docker://{registry}/team/hello:2") == [
        f"plain,docker://{registry}/team/hello:2.0-second"
    ]
    assert offered(f"ocibuild tags {registry}/te") == [f"plain,{registry}/team/hello"]
    assert offered(f"ocibuild tags {registry}/team/hello:") == []


def test_a_registry_that_says_nothing_is_not_waited_for(
    offered: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completing, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        assert offered(f"ocibuild pull {host}/hello:") == [f"file,{host}/hello:"]
        assert time.monotonic() - began < 5
    for thread in threading.enumerate():
        if thread.daemon and thread is not threading.current_thread():
            thread.join(5)


def test_one_that_wants_a_login_has_no_tags_and_prompts_for_none(offered: Callable[[str], list[str]]) -> None:
    with Registry(user="ada", password="love:lace", basic=True) as registry:
        assert offered(f"ocibuild pull {registry.host}/hello:") == [f"file,{registry.host}/hello:"]


@pytest.mark.parametrize("shell", completing.SHELLS)
def test_the_script_is_printed(shell: str, run: Run) -> None:
    ran = run("completion", shell)
    assert (ran.status, ran.err) == (0, "")
    assert "_OCIBUILD_COMPLETE" in ran.out
    assert json.loads(run("completion", shell, "--json").out) == {"shell": shell, "script": ran.out}
    assert run("completion", "csh").status == 2


class Terminal:
    """A shell at a terminal; `typed` gives the words of a line after a tab behind it."""

    def __init__(self, shell: str, program: str, folder: Path) -> None:
        tools = folder / "tools"
        tools.mkdir()
        source = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from ocibuild.cli import main; main()"
        (tools / "ocibuild").write_text(f'#!/bin/sh\nexec {sys.executable} -P -c "{source}" "$@"\n')
        (tools / "ocibuild").chmod(0o755)
        words = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"], "fish": ["--no-config", "-i"]}[shell]
        environ = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(folder), "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execve(program, [shell, *words], environ)
        begin = {
            "bash": "source <(ocibuild completion bash)\n",
            "zsh": "bindkey -e; unsetopt beep; autoload -U compinit; compinit -D; source <(ocibuild completion zsh)\n",
            "fish": "ocibuild completion fish | source\n",
        }[shell]
        os.write(self._fd, begin.encode())
        os.write(self._fd, b"printf '<%s>\\n' rea''dy\n")
        self._until(rb"<ready>")

    def typed(self, line: str) -> list[str]:
        os.write(self._fd, line.encode() + b"\t")
        time.sleep(0.1)
        # To the begin of the line, and print its words instead of running it.
        os.write(self._fd, b"\x01printf '<%s>' \x05 e''nd\n")
        found = self._until(rb"(<ocibuild>[^\r\n]*)<end>")
        return re.findall(r"<([^<>]*)>", found.decode())

    def _until(self, pattern: bytes) -> bytes:
        seen = b""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if select.select([self._fd], [], [], 1)[0]:
                seen += os.read(self._fd, 4096)
                if match := re.search(pattern, seen):
                    return match[match.re.groups]
        raise AssertionError(f"the shell said {seen[-2000:]!r}")

    def close(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._fd)


@pytest.fixture(
    params=["bash", pytest.param("zsh", marks=pytest.mark.real), pytest.param("fish", marks=pytest.mark.real)]
)
def terminal(request: pytest.FixtureRequest, part: Part, folder: Path) -> Iterator[Terminal]:
    (folder / "ocibuild.toml").write_text(FILE)
    made = Terminal(request.param, part(request.param), folder)
    try:
        yield made
    finally:
        made.close()


def test_a_shell_completes_what_is_typed(terminal: Terminal, registry: str) -> None:
    assert terminal.typed("ocibuild resol") == ["ocibuild", "resolve"]
    assert terminal.typed("ocibuild bake everyth") == ["ocibuild", "bake", "everything"]
    assert terminal.typed("ocibuild pack --metad") == ["ocibuild", "pack", "--metadata-file"]
    assert terminal.typed("ocibuild pack compone") == ["ocibuild", "pack", "component.wasm"]
    assert terminal.typed(f"ocibuild pull {registry}/team/hello:2") == [
        "ocibuild",
        "pull",
        f"{registry}/team/hello:2.0-second",
    ]
    assert terminal.typed(f"ocibuild pull --no-mirrors {registry}/oth") == [
        "ocibuild",
        "pull",
        "--no-mirrors",
        f"{registry}/other",
    ]
