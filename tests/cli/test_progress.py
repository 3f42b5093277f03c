"""What moves is shown: bars on a terminal, lines in a log, events for a program. The terminal is a real one, of the kernel's."""

from __future__ import annotations

import io
import json
import os
import random
import re
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ocibuild.ambient import Ambient
from ocibuild.cli import progress
from ocibuild.content.flow import Event
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.schema import validate
from tests.cli.conftest import Ran
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Seen

Run = Callable[..., Ran]
SOURCE = f"import sys; sys.path[:0] = {sys.path!r}; from ocibuild.cli import main; main()"
SIZE = 3 * 1024 * 1024
TIMEOUT = 30


class Slow(Registry):
    """Takes a large body only once it is `released`: so the bars are up for as long as a test looks at them."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived, self.released = threading.Event(), threading.Event()

    def respond(self, request: Seen) -> Answer:
        if len(request.body) > 1024 * 1024:
            self.arrived.set()
            self.released.wait(TIMEOUT)
        return super().respond(request)


@pytest.fixture
def registry() -> Iterator[Slow]:
    with Slow() as server:
        yield server
        server.released.set()


@pytest.fixture
def large(run: Run, folder: Path) -> str:
    """A layout whose layer is notable and does not compress."""
    (folder / "data").write_bytes(os.urandom(SIZE))
    assert run("pack", "hello.wasm", "-o", "large.oci", "--add", "data:/data", "-q").status == 0
    return "large.oci"


class Terminal:
    """A command in a pseudo-terminal of 24 rows; `text` is all it wrote there."""

    def __init__(self, *words: str, columns: int = 100, **environ: str) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.text = ""
        self.status: int | None = None
        ready, go = os.pipe()
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.close(go)
            os.read(ready, 1)
            known = {key: value for key, value in os.environ.items() if key not in ("CI", "NO_COLOR", "COLUMNS")}
            os.execve(sys.executable, [sys.executable, "-c", SOURCE, *words], {**known, "TERM": "xterm", **environ})
        os.close(ready)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        os.write(go, b"x")
        os.close(go)

    def until(self, what: str | None) -> str:
        """Read until `what` was written, None: until its end."""
        end = time.monotonic() + TIMEOUT
        while what is None or not re.search(what, self.text):
            assert time.monotonic() < end, self.text[-2000:]
            if not select.select([self._fd], [], [], 0.1)[0]:
                continue
            try:
                data = os.read(self._fd, 65536)
            except OSError:  # Linux says so when the other side has closed
                data = b""
            if not data:
                break
            self.text += data.decode(errors="replace")
        if what is None:
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._fd)
        return self.text

    def type(self, keys: bytes) -> None:
        os.write(self._fd, keys)


def shown(text: str) -> list[str]:
    """What stands on the screen at the end: a screen that knows the few movements that are made on it."""
    lines, row = [""], 0
    for piece in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if piece == "\n":
            row += 1
            lines += [""] * (row - len(lines) + 1)
        elif piece.endswith("A") and piece.startswith("\x1b"):
            row = max(0, row - int(piece[2:-1] or 1))
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif not piece.startswith("\x1b") and piece != "\r":
            lines[row] += piece
    return [line for line in lines if line]


def test_bars_are_shown_and_gone_at_the_end(registry: Slow, large: str) -> None:
    terminal = Terminal("push", large, f"{registry.host}/a:1")
    terminal.until(r"[0-9a-f]{12} .*3\.0/3\.0 MiB")
    assert re.search(r"1/3 blobs|0/3 blobs", terminal.text)
    registry.released.set()
    last = shown(terminal.until(None))
    assert terminal.status == 0
    assert len(last) == 2, last
    assert re.fullmatch(r"uploaded 3\.0 MiB \(3 blobs\)", last[0])
    assert re.fullmatch(rf"{registry.host}/a@sha256:[0-9a-f]{{64}}", last[1])


@pytest.mark.parametrize("columns", [20, 40, 300])
def test_no_line_is_wider_than_the_terminal(columns: int, registry: Slow, large: str) -> None:
    terminal = Terminal("push", large, f"{registry.host}/a:1", columns=columns, NO_COLOR="1")
    terminal.until(r"MiB" if columns > 20 else r"blobs")
    registry.released.set()
    terminal.until(None)
    moving = terminal.text.partition("uploaded")[0]
    plain = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", moving)
    assert max(len(line) for line in re.split(r"[\r\n]", plain)) <= columns
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", moving), "there are colours"


def test_ctrl_c_leaves_a_clean_line(registry: Slow, large: str) -> None:
    terminal = Terminal("push", large, f"{registry.host}/a:1")
    terminal.until(r"3\.0/3\.0 MiB")
    terminal.type(b"\x03")
    last = shown(terminal.until(None))
    assert terminal.status == 130
    assert [line for line in last if line != "^C"] == ["cancelled"]
    assert "\x1b[?25h" in terminal.text, "the cursor stays hidden"


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"CI": "true"}])
def test_a_terminal_that_cannot_move_and_one_in_ci_get_lines(
    environ: dict[str, str], registry: Slow, large: str
) -> None:
    registry.released.set()
    terminal = Terminal("push", large, f"{registry.host}/a:1", **environ)
    lines = terminal.until(None).splitlines()
    assert "\x1b[2K" not in terminal.text
    assert re.fullmatch(r"[0-9a-f]{12} 3\.0 MiB: begun", lines[0])
    assert re.fullmatch(r"[0-9a-f]{12} 3\.0 MiB: done in [0-9.]+ s, [0-9.]+ \w+/s", lines[1])
    assert len(lines) == 4


def test_quiet_says_nothing(registry: Slow, large: str) -> None:
    registry.released.set()
    terminal = Terminal("push", large, f"{registry.host}/a:1", "--quiet")
    assert re.fullmatch(rf"{registry.host}/a@sha256:[0-9a-f]{{64}}\r\n", terminal.until(None))


def test_events_are_one_json_document_a_line(registry: Slow, large: str, run: Run) -> None:
    registry.released.set()
    ran = run("push", large, f"{registry.host}/a:1", "--progress", "json")
    events = [json.loads(line) for line in ran.err.splitlines()]
    for event in events:
        validate(event, "progress")
    by_kind = [event["event"] for event in events]
    assert by_kind.count("plan") == by_kind.count("done") == 3
    layer = max((event for event in events if event["event"] == "advance"), key=lambda event: event["moved"])
    assert layer["moved"] == layer["size"] >= SIZE
    assert events[-1]["text"] == "uploaded 3.0 MiB (3 blobs)"
    again = run("push", large, f"{registry.host}/a:1", "--progress", "json")
    assert [json.loads(line)["event"] for line in again.err.splitlines()].count("exists") == 3


def test_what_is_fetched_is_followed_too(registry: Slow, large: str, run: Run) -> None:
    registry.released.set()
    run("push", large, f"{registry.host}/a:1")
    ran = run("pull", f"{registry.host}/a:1", "-o", "back.oci", "--progress", "json")
    moved = [event["moved"] for line in ran.err.splitlines() if (event := json.loads(line))["event"] == "advance"]
    assert max(moved) >= SIZE
    again = run("pull", f"{registry.host}/a:1", "-o", "back.oci")
    assert re.search(r"^[0-9a-f]{12} 3\.0 MiB: already there$", again.err, re.M)
    assert "fetched 0 B (0 blobs), 3.0 MiB (3 blobs) already there" in again.err


def test_none_shows_the_account_alone(registry: Slow, large: str, run: Run) -> None:
    registry.released.set()
    assert run("push", large, f"{registry.host}/a:1", "--progress", "none").err == "uploaded 3.0 MiB (3 blobs)\n"


def test_rich_is_not_loaded_where_no_bar_is_shown(registry: Slow, large: str, folder: Path) -> None:
    import subprocess

    registry.released.set()
    source = SOURCE.replace("main()", "\ntry: main()\nfinally: print('rich' in sys.modules)")
    command = [sys.executable, "-c", source, "push", large, f"{registry.host}/a:1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False", done.stderr


# --- without a process --------------------------------------------------------------------------------------------


class Watched(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def blob(number: int, size: int) -> Descriptor:
    return Descriptor("application/octet-stream", Digest(f"sha256:{number:064x}"), size)


def ambient(**environ: str) -> Ambient:
    return Ambient({"TERM": "xterm", **environ}, Path(), datetime.now(UTC))


def test_thousands_of_blobs_make_few_lines() -> None:
    stream, now = io.StringIO(), [0.0]
    lines = progress.Lines(stream, lambda: now[0])
    blobs = [blob(number, 2 * progress.NOTABLE) for number in range(2000)]
    for one in blobs:
        lines(Event("plan", one))
    for one in blobs:
        for kind, amount in (("start", 0), ("advance", one.size), ("done", 0)):
            lines(Event(kind, one, amount))  # type: ignore[arg-type]
        now[0] += 0.1
    text = stream.getvalue().splitlines()
    assert len(text) <= 50 + 200 / 5
    assert re.fullmatch(r"3\.8 GiB of 3\.9 GiB, 19\d\d of 2000 blobs, 20\.0 MiB/s", text[-1])


def test_a_layer_that_is_made_is_told_and_its_manifest_is_not() -> None:
    stream, now = io.StringIO(), [0.0]
    lines = progress.Lines(stream, lambda: now[0])
    for second in range(1, 13):
        now[0] = float(second)
        lines(Event("packed", amount=1024 * 1024, total=12 * 1024 * 1024))
    one = blob(1, 100)
    lines(Event("start", one))
    now[0] = 60.0
    lines(Event("advance", one, 100))
    assert stream.getvalue().splitlines() == [
        "packed 5.0 MiB of 12.0 MiB, 1.0 MiB/s",
        "packed 10.0 MiB of 12.0 MiB, 1.0 MiB/s",
    ]


def test_packing_something_large_is_shown_on_a_terminal(folder: Path, run: Run) -> None:
    (folder / "data").write_bytes(random.Random(5).randbytes(24 * 1024 * 1024))
    terminal = Terminal("pack", "hello.wasm", "-o", "large.oci", "--add", "data:/data", "--progress", "tty")
    assert "packing" in terminal.until(None)
    assert terminal.status == 0
    assert shown(terminal.text)[-1].startswith("oci:large.oci@sha256:")

    told = run("pack", "hello.wasm", "-o", "json.oci", "--add", "data:/data", "--progress", "json").err
    events = [json.loads(line) for line in told.splitlines() if line.startswith("{")]
    for event in events:
        validate(event, "progress")
    packed = [event for event in events if event["event"] == "packed"]
    assert [event["moved"] for event in packed] == sorted(event["moved"] for event in packed)
    assert packed[-1]["moved"] == packed[-1]["size"] > 24 * 1024 * 1024


def test_eight_bars_at_most() -> None:
    stream = Watched()
    bars = progress.Bars(stream, ambient(COLUMNS="100", LINES="40"), 0.0)
    for number in range(1000):
        bars(Event("plan", blob(number, 1 << 20)))
    for number in range(1000):
        bars(Event("start", blob(number, 1 << 20)))
    assert bars._display is not None
    assert len(bars._display.tasks) == 1 + 8
    for number in range(1000):
        bars(Event("done", blob(number, 1 << 20)))
    assert len(bars._display.tasks) == 1
    bars.close()


def test_a_retry_is_told_above_the_bars_and_a_warning_once() -> None:
    stream = Watched()
    bars = progress.Bars(stream, ambient(), 0.0)
    bars(Event("plan", blob(1, 1 << 20)))
    bars(Event("start", blob(1, 1 << 20)))
    bars(Event("retry", text="[bold]trying again\x1b[2J"))
    for _ in range(2):
        bars(Event("note", text="moved to another host"))
    bars.close()
    assert stream.getvalue().count("moved to another host") == 1
    assert "[bold]trying again" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue()


def test_nothing_is_shown_for_what_is_done_at_once() -> None:
    stream, now = Watched(), [0.0]
    bars = progress.Bars(stream, ambient(), 0.2, lambda: now[0])
    for kind in ("plan", "start", "advance", "done"):
        bars(Event(kind, blob(1, 1 << 20)))  # type: ignore[arg-type]
    bars.close()
    assert stream.getvalue() == ""


def test_a_blob_sent_again_is_counted_once() -> None:
    tally = progress.Tally()
    one = blob(1, 100)
    for kind, amount in (("plan", 0), ("advance", 60), ("advance", -60), ("advance", 100), ("done", 0)):
        tally.add(Event(kind, one, amount), one)  # type: ignore[arg-type]
    tally.add(Event("plan", blob(2, 50)), blob(2, 50))
    tally.add(Event("exists", blob(2, 50)), blob(2, 50))
    assert str(tally) == "100 B of 100 B, 2 of 2 blobs"
