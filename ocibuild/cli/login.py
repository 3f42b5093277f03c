"""`ocibuild login REGISTRY`, `ocibuild login --list`"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import click

from ocibuild.api import login as accounts
from ocibuild.api.session import Session
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, password_from_stdin, registry_options, session
from ocibuild.cli.verbs import verb
from ocibuild.errors import UsageError
from ocibuild.spec.reference import registry_of

Command = TypeVar("Command", bound=Callable[..., Any])


def authfile_option(command: Command) -> Command:
    """`--authfile`."""
    said = "The file of logins to use before all others.  [default: $REGISTRY_AUTH_FILE, or docker's config.json]"
    return click.option("--authfile", metavar="FILE", help=said)(command)


@verb("login")
@click.argument("registry", required=False)
@registry_options
@authfile_option
@click.option("--list", "listing", is_flag=True, help="List the logins that are known, and where they are.")
@json_option
def login_command(
    registry: str | None,
    username: str | None,
    password_stdin: bool,
    authfile: str | None,
    listing: bool,
    as_json: bool,
    quiet: bool,
    **reach: Any,
) -> None:
    """Prove a name and a password, or access token, to REGISTRY, and keep them.

    They are kept where docker and podman look too: in the credential helper that docker's config.json names, or in that
    file. Without --password-stdin they are asked for on the terminal.

    \b
    printf %s "$TOKEN" | ocibuild login ghcr.io -u me --password-stdin
    """
    if listing:
        _list(authfile, as_json)
        return
    if registry is None:
        raise UsageError("login needs a registry", hint="ocibuild login ghcr.io; --list shows the logins there are")
    host = registry_of(registry)
    username, password = _asked(username, password_stdin)
    with session(host, username=None, password_stdin=False, quiet=quiet, **reach) as current:
        done = accounts.login(host, username, password, authfile=authfile, session=current)
    if not quiet:
        if done.is_plain:
            show.note(f"warning: the password is kept unencrypted in {done.where}; a credential helper keeps it safer")
        if not done.is_proven:
            show.note(f"warning: {done.registry} did not ask for a login, so it is not known whether this one is right")
        if done.shadowed:
            show.note(f"warning: {done.shadowed} knows {done.registry} too, and goes before {done.where}")
    if as_json:
        show.result_json({_JSON.get(name, name): value for name, value in asdict(done).items()})
    else:
        show.result(f"logged in to {done.registry}")


_JSON = {"is_plain": "unencrypted", "is_proven": "proven"}


def _asked(username: str | None, password_stdin: bool) -> tuple[str, str]:
    if password_stdin:
        if not username:
            raise UsageError(
                "--password-stdin needs --username", hint='printf %s "$TOKEN" | ocibuild login HOST -u NAME …'
            )
        return username, password_from_stdin()
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask for the password on",
            hint='printf %s "$TOKEN" | ocibuild login HOST --username NAME --password-stdin',
        )
    username = username or click.prompt("Username", err=True)
    return str(username), str(click.prompt("Password", hide_input=True, err=True))


def _list(authfile: str | None, as_json: bool) -> None:
    found, notes = accounts.logins(authfile=authfile, session=Session())
    for text in notes:
        show.note(f"warning: {text}")
    if as_json:
        show.result_json([asdict(login) for login in found])
        return
    for login in found:
        user = f" of {login.username}" if login.username else ""
        show.result(show.plain(f"{login.host}  {login.kind}{user}  {login.source}"))
