"""What a person and a script get to see: the result on stdout, everything else on stderr."""

from __future__ import annotations

import json
from typing import Any

import click

from ocibuild.errors import OcibuildError

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: float) -> str:
    """`1.5 MiB`."""
    for unit in _UNITS[:-1]:
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"


def result(text: str) -> None:
    """One line of result."""
    click.echo(text)


def result_json(document: Any) -> None:
    """The result for scripts."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def note(text: str) -> None:
    """One line for the person."""
    click.echo(plain(text), err=True)


def plain(text: str) -> str:
    """Text of strangers, without what would steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in text)


def failed(error: OcibuildError, as_json: bool) -> int:
    """Say what went wrong, and give the exit status."""
    if as_json:
        document: dict[str, Any] = {"error": {"code": error.code, "message": plain(error.message)}}
        if error.hint:
            document["error"]["hint"] = plain(error.hint)
        click.echo(json.dumps(document, ensure_ascii=False), err=True)
    else:
        click.echo(f"{click.style('error', fg='red')}: {plain(error.message)} [{error.code}]", err=True)
        if error.hint:
            click.echo(f"  {click.style('hint', fg='cyan')}: {plain(error.hint)}", err=True)
    return error.exit_status
