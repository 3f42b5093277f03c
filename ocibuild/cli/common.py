"""Options that several verbs share, and the session they make."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ocibuild.cli import collector
from ocibuild.errors import UsageError

if TYPE_CHECKING:
    from ocibuild.api.session import Session
    from ocibuild.cli.progress import Progress

MODES = ("auto", "tty", "plain", "json", "none")
"""What `--progress` takes."""

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LEAST = 1024 * 1024

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def referrers_option(command: Command) -> Command:
    """`--referrers`."""
    option = click.option("--referrers", is_flag=True, help="Take along what is attached to it, and what to that.")
    return option(command)


def registry_options(command: Command) -> Command:
    """How to reach a registry."""
    options = (
        click.option("--plain-http", is_flag=True, help="Speak http to the registry (loopback ones need no asking)."),
        click.option("--insecure", is_flag=True, help="Accept any certificate of the registry."),
        click.option("--ca-file", metavar="FILE", help="Trust these certificate authorities too (PEM)."),
        click.option("--cert", metavar="FILE", help="Our own certificate for the registry (PEM)."),
        click.option("--key", metavar="FILE", help="The key to it (PEM), where FILE does not hold it too."),
        click.option("--no-mirrors", is_flag=True, help="Read from the registry itself, not from its mirrors."),
        click.option("-u", "--username", metavar="NAME", help="Log in to the registry with this name."),
        click.option("--password-stdin", is_flag=True, help="Read the password from stdin."),
        click.option("-q", "--quiet", is_flag=True, help="Say nothing but the result and errors."),
        click.option(
            "--progress",
            type=click.Choice(MODES),
            default="auto",
            help="Bars (tty), lines (plain), JSON events (json) on stderr, or none.  [default: auto]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def password_from_stdin() -> str:
    """All of stdin but the line's end: a key file, which is a password to some registries, has many lines."""
    return sys.stdin.read().rstrip("\r\n")


def chunk_option(command: Command) -> Command:
    """`--chunk-size`."""
    words = "Push blobs in chunks of this size, as in 16MiB.  [default: each in one, in chunks where it must be]"
    return click.option("--chunk-size", metavar="SIZE", callback=size_of, help=words)(command)


def seconds_of(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """An option's time in seconds: `1.5s`, `500ms`, `12h`; a number alone is seconds."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(|ms|s|m|h|d)", text)
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if seconds <= 0:
        raise click.BadParameter("write a time such as 10s, 500ms, 2m, 12h or 1d", context, parameter)
    return seconds


def size_of(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """An option's size in bytes, 1 MiB at least. As coreutils: `16MiB` and `16M` are powers of 1024, `16MB` of 1000."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,12})\s*(?:([KMGT])(i?B)?|B?)", text, re.IGNORECASE)
    size = 0
    if match is not None:
        base = 1000 if (match[3] or "").upper() == "B" else 1024
        size = int(match[1]) * base ** " KMGT".index((match[2] or " ").upper())
    if size < _LEAST:
        raise click.BadParameter("write a size of 1MiB or more, as in 16MiB or 20GB", context, parameter)
    return size


@contextmanager
def session(
    host: str | None,
    *,
    plain_http: bool,
    insecure: bool,
    ca_file: str | None,
    cert: str | None,
    key: str | None,
    no_mirrors: bool,
    username: str | None,
    password_stdin: bool,
    quiet: bool,
    progress: str = "auto",
    chunk_size: int | None = None,
    choose: Callable[..., Progress] | None = None,
) -> Iterator[Session]:
    """The session those options mean; `host` is the registry that an explicit login is for, and no other.

    `choose` gives what is shown for `--progress`, where it is not the bars and lines of blobs.
    """
    from ocibuild import ambient
    from ocibuild.api.session import Session

    if choose is None:
        from ocibuild.cli import progress as following

        choose = following.choose
    credentials = {}
    if username or password_stdin:
        if not (username and password_stdin):
            raise UsageError(
                "--username and --password-stdin go together",
                hint='printf %s "$TOKEN" | ocibuild … --username NAME --password-stdin',
            )
        if host is None:
            raise UsageError("--username is for a registry, and none is named")
        from ocibuild.registry.settings import Credential

        credentials[host] = Credential(username, password_from_stdin(), source="--username")
    certificates = {}
    if cert or key:
        if not cert:
            raise UsageError("--key goes with --cert", hint="give both: --cert FILE --key FILE")
        if host is None:
            raise UsageError("--cert is for a registry, and none is named")
        from pathlib import Path

        from ocibuild.registry.settings import Certificate

        certificates[host] = Certificate(Path(cert), Path(key or cert))
    surroundings = ambient.read()
    shown = choose(progress, surroundings, quiet=quiet)
    collector.work()
    try:
        with Session(
            plain_http=True if plain_http else None,
            insecure=insecure,
            ca_file=ca_file,
            credentials=credentials,
            certificates=certificates,
            mirrors=not no_mirrors,
            chunk_size=chunk_size,
            observe=shown,
            surroundings=surroundings,
        ) as made:
            yield made
    finally:
        shown.close()


def say(current: Session, text: str) -> None:
    """One line for the person, in the form that --progress asks for; none with --quiet."""
    from ocibuild.content.flow import Event

    current.observe(Event("note", text=text))
