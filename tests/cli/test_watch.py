"""`bake --watch`: what comes, changes and goes is seen within a second, and waiting costs next to nothing."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

MODULE = b"\0asm\1\0\0\0"
EACH = """
schema = 1
[targets."${stem}"]
each = "modules/*.wasm"
"""


def module(name: str) -> bytes:
    """A module with a custom section (core specification, 5.5.3)."""
    data = bytes([len(name)]) + name.encode()
    return MODULE + b"\0" + bytes([len(data)]) + data


class Watching:
    """The command, in a folder of its own, and the lines that it says."""

    def __init__(self, folder: Path, *words: str) -> None:
        source = f"import sys; sys.path[:0] = {sys.path!r}; from ocibuild.cli import main; main()"
        environ = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
        command = [sys.executable, "-c", source, "bake", "--watch", *words]
        self.folder = folder / "here"
        self.process = subprocess.Popen(
            command, cwd=self.folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.readers = [
            threading.Thread(target=self._read, args=(stream,)) for stream in (self.process.stdout, self.process.stderr)
        ]
        for reader in self.readers:
            reader.start()

    def end(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait(20)
        for reader in self.readers:
            reader.join(20)

    def _read(self, stream: IO[bytes] | None) -> None:
        assert stream is not None
        with stream:
            for line in stream:
                self.lines.put(line.decode())

    def until(self, text: str) -> list[str]:
        """What is said until a line has the text in it."""
        said: list[str] = []
        for _ in range(3000):
            said.append(self.lines.get(timeout=60))
            if text in said[-1]:
                return said
        raise AssertionError(said[-20:])

    def rests(self, count: int) -> list[str]:
        """What is said until so many files are watched and nothing happens."""
        return self.until(f"watching {count} file")

    def seconds(self) -> float:
        """Processors' seconds until now."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here" / "modules").mkdir(parents=True)
    (tmp_path / "here" / "ocibuild.toml").write_text(EACH)
    for name in ("a", "b"):
        (tmp_path / "here" / "modules" / f"{name}.wasm").write_bytes(module(name))
    return tmp_path


@pytest.fixture
def watching(here: Path) -> Iterator[Watching]:
    found = Watching(here)
    try:
        yield found
    finally:
        found.end()


def names(folder: Path) -> set[str]:
    document = json.loads((folder / "bake.oci" / "index.json").read_text())
    return {entry["annotations"]["org.opencontainers.image.ref.name"] for entry in document["manifests"]}


def test_files_that_come_and_go_and_the_file_itself(watching: Watching) -> None:
    watching.rests(3)
    modules = watching.folder / "modules"
    (modules / "c.wasm").write_bytes(module("c"))
    assert any("c: made" in line for line in watching.rests(4))
    assert names(watching.folder) == {"a", "b", "c"}
    (modules / "a.wasm").unlink()
    assert not any(": made" in line for line in watching.rests(3)), "nothing is made of what is gone"
    (modules / "b.wasm").rename(modules / "d.wasm")
    assert any("d: made" in line for line in watching.rests(3))
    config = watching.folder / "ocibuild.toml"
    config.write_text(EACH + 'label = { of = "another" }\n')
    again = watching.rests(3)
    assert any("c: made" in line for line in again)
    assert any("d: made" in line for line in again)
    config.write_text(EACH + "label = {\n")
    assert any("ocibuild.toml" in line and "error" in line.lower() for line in watching.rests(3))
    config.write_text(EACH)
    assert any("c: made" in line for line in watching.rests(3))


def test_what_is_missing_at_first_is_waited_for(here: Path) -> None:
    for path in (here / "here" / "modules").iterdir():
        path.unlink()
    watching = Watching(here)
    try:
        assert any("config-glob-empty" in line or "nothing that fits" in line for line in watching.rests(1))
        (watching.folder / "modules" / "a.wasm").write_bytes(module("a"))
        assert any("a: made" in line for line in watching.rests(2))
        (watching.folder / "modules" / "a.wasm").unlink()
        assert any("nothing that fits" in line for line in watching.until("watching"))
        (watching.folder / "modules" / "b.wasm").write_bytes(module("b"))
        assert any("b: made" in line for line in watching.rests(2))
        watching.process.send_signal(signal.SIGINT)
        assert watching.process.wait(20) == 130
    finally:
        watching.end()


@pytest.mark.skipif(sys.platform != "linux", reason="processors' time is read from /proc")
def test_a_thousand_files_are_seen_soon_and_cost_little(here: Path) -> None:
    for n in range(1000):
        (here / "here" / "modules" / f"m{n}.wasm").write_bytes(module(str(n)))
    watching = Watching(here)
    try:
        watching.rests(1003)
        before, began = watching.seconds(), time.monotonic()
        time.sleep(3)
        share = (watching.seconds() - before) / (time.monotonic() - began)
        assert share < 0.12
        took = []
        for n in range(5):
            spent, wrote = watching.seconds(), time.monotonic()
            (watching.folder / "modules" / "m7.wasm").write_bytes(module(f"again {n}"))
            watching.until("m7: made")
            took.append((time.monotonic() - wrote, watching.seconds() - spent))
            watching.until("watching")
        assert min(spent for _, spent in took) < 1
        assert min(seconds for seconds, _ in took) < 5, "it takes less than one where nobody shares the machine"
    finally:
        watching.end()


def test_the_metadata_file_is_written_each_time(here: Path) -> None:
    watching = Watching(here, "--metadata-file", "meta.json")
    try:
        watching.rests(3)
        first = json.loads((watching.folder / "meta.json").read_text())
        (watching.folder / "modules" / "a.wasm").write_bytes(module("c"))
        watching.rests(3)
        second = json.loads((watching.folder / "meta.json").read_text())
    finally:
        watching.end()
    assert {name: one["state"] for name, one in first.items()} == {"a": "made", "b": "made"}
    assert {name: one["state"] for name, one in second.items()} == {"a": "made", "b": "cached"}
