"""Times and sizes: coreutils' words for sizes (held against the program itself), and one grammar for every option."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

import click
import pytest

from ocibuild.cli.common import seconds_of, size_of

CONTEXT, OPTION = click.Context(click.Command("x")), click.Option(["--x"])


@pytest.mark.parametrize("text", ["16M", "16MiB", "16MB", "2G", "2GB", "3TiB", "3TB", "2048K", "2048KiB", "2000000"])
def test_sizes_are_those_of_coreutils(text: str) -> None:
    program = shutil.which("numfmt")
    assert program is not None
    if text.endswith("iB"):
        words = ["--from=iec-i", text[:-1]]
    elif text.endswith("B"):
        words = ["--from=si", text[:-1]]
    else:
        words = ["--from=iec", text]
    said = subprocess.run([program, *words], capture_output=True, text=True, check=True).stdout
    assert size_of(CONTEXT, OPTION, text) == int(said)
    assert size_of(CONTEXT, OPTION, text.lower()) == int(said)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("500ms", 0.5), ("1.5s", 1.5), ("10", 10), ("2m", 120), ("12h", 43200), ("1d", 86400)],
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(CONTEXT, OPTION, text) == seconds


@pytest.mark.parametrize("read", [seconds_of, size_of])
@pytest.mark.parametrize("text", ["", "0", "-1s", "1w", "much", "1e3", "0x10", "1MiBB", "1iB", " 5s", "٣s"])
def test_what_is_no_amount(read: Callable[..., object], text: str) -> None:
    with pytest.raises(click.BadParameter, match="write a "):
        read(CONTEXT, OPTION, text)


def test_an_option_that_is_not_given_has_none() -> None:
    assert seconds_of(CONTEXT, OPTION, None) is None
    assert size_of(CONTEXT, OPTION, None) is None
