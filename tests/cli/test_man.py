"""Manual pages: every command and flag has its place, and what reads manual pages has nothing to say against them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from ocibuild.cli.verbs import cli
from tests.cli.conftest import Ran

Run = Callable[..., Ran]
CONTEXT = click.Context(cli, info_name="ocibuild", **cli.context_settings)


@pytest.fixture
def pages(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    ran = run("man", "--into", "share/man1")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.split() == [f"share/man1/{name}" for name in sorted(os.listdir("share/man1"), key=ran.out.index)]
    return folder / "share/man1"


def test_every_command_has_a_page_with_every_flag(pages: Path) -> None:
    names = cli.list_commands(CONTEXT)
    assert {path.name for path in pages.iterdir()} == {"ocibuild.1", *(f"ocibuild-{name}.1" for name in names)}
    index = (pages / "ocibuild.1").read_text()
    for name in names:
        verb = cli.get_command(CONTEXT, name)
        assert verb is not None
        text = (pages / f"ocibuild-{name}.1").read_text()
        flags = [flag for one in verb.params if isinstance(one, click.Option) for flag in one.opts]
        assert [flag for flag in flags if "\\fB" + flag.replace("-", "\\-") + "\\fR" not in text] == []
        assert f"ocibuild\\-{name}\\fR(1)" in index


def test_the_day_is_the_one_that_was_said(pages: Path) -> None:
    first = (pages / "ocibuild-pack.1").read_text().splitlines()[0]
    assert re.fullmatch(r'\.TH OCIBUILD\\-PACK 1 "1970-01-02" "ocibuild [0-9.]+" "ocibuild"', first)


@pytest.mark.real
def test_mandoc_finds_nothing_and_reads_what_was_written(pages: Path, part: Callable[[str], str]) -> None:
    found = subprocess.run(
        [part("mandoc"), "-Tlint", "-Wstyle", *sorted(map(str, pages.iterdir()))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (found.returncode, found.stdout) == (0, "")
    shown = subprocess.run(
        [part("mandoc"), "-Tutf8", str(pages / "ocibuild-kube.1")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    text = re.sub(r".\x08", "", shown.stdout)
    assert "--runtime-class NAME" in text
    assert "ocibuild kube [OPTIONS] REFERENCE [-- ARGUMENT...]" in text


@pytest.mark.real
def test_mandoc_would_have_found_something(part: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "x.1").write_text('.TH X 1 "1970-01-02"\n.SH NAME\nx\n.nonsense\n')
    done = subprocess.run([part("mandoc"), "-Tlint", "-Wstyle", str(tmp_path / "x.1")], capture_output=True, timeout=60)
    assert done.returncode != 0


def test_one_page_is_printed(run: Run, folder: Path) -> None:
    ran = run("man", "pack")
    assert (ran.status, ran.err) == (0, "")
    assert "\nocibuild\\-pack \\- Pack programs into one image\n" in ran.out
    assert json.loads(run("man", "pack", "--json").out) == {"page": "ocibuild-pack.1", "text": ran.out}
    assert "COMMANDS" in run("man").out


def test_what_cannot_be_meant_is_refused(run: Run, folder: Path) -> None:
    assert "[usage]" in run("man", "nonsense").err
    assert "[usage]" in run("man", "pack", "--into", "x").err
    (folder / "file").touch()
    assert run("man", "--into", "file/x").status == 1
