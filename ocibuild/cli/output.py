"""What a person and a script get to see: the result on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
import threading
import time
from typing import Any

import click

from ocibuild.content.flow import Event
from ocibuild.errors import OcibuildError
from ocibuild.spec.digest import Digest

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_INTERVAL = 0.1


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


class Progress:
    """Follows a flow's events. A line that rewrites itself on a terminal, warnings everywhere; nothing when quiet."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shown = sys.stderr.isatty() and not quiet
        self._lock = threading.Lock()
        self._moved = 0
        self._total = 0
        self._planned: set[Digest] = set()
        self._began = time.monotonic()
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        """Take an event, from any thread."""
        if not self._shown:
            if event.kind == "warning" and not self._quiet:
                note(event.text)
            return
        with self._lock:
            if event.kind == "plan" and event.descriptor and event.descriptor.digest not in self._planned:
                self._planned.add(event.descriptor.digest)
                self._total += event.descriptor.size
            elif event.kind in ("exists", "mounted") and event.descriptor:
                self._total -= event.descriptor.size
            self._moved += event.amount
            now = time.monotonic()
            if event.kind in ("retry", "warning"):
                click.echo(f"\r\033[K{plain(event.text)}", err=True)
            elif self._total > 0 and now - self._last > _INTERVAL:
                self._last = now
                rate = self._moved / max(now - self._began, 0.001)
                click.echo(f"\r\033[K{size(self._moved)} of {size(self._total)}, {size(rate)}/s", err=True, nl=False)

    def close(self) -> None:
        """Take the line away."""
        if self._shown and self._last:
            click.echo("\r\033[K", err=True, nl=False)
