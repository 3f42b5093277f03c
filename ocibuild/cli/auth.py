"""`ocibuild auth explain REGISTRY[/REPOSITORY]`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ocibuild.api.explain import explain, registry_named
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.login import authfile_option
from ocibuild.cli.verbs import verb


@verb("auth")
@click.argument("action", type=click.Choice(["explain"]))
@click.argument("registry", metavar="REGISTRY[/REPOSITORY]")
@registry_options
@authfile_option
@click.option("--offline", is_flag=True, help="Do not ask the registry.")
@json_option
def auth_command(
    action: str, registry: str, authfile: str | None, offline: bool, as_json: bool, quiet: bool, **reach: Any
) -> int:
    """Say where a login for REGISTRY is looked for, what each place has, and which one wins.

    Unless --offline, the registry is asked as every other command would ask it: how it wants to be logged in to, where its
    tokens come from, for what, and whether it is content. No secret is shown.

    \b
    ocibuild auth explain ghcr.io/me/hello
    """
    with session(registry_named(registry), quiet=quiet, **reach) as current:
        account = explain(registry, offline=offline, authfile=authfile, session=current)
    if as_json:
        show.result_json(account)
    else:
        for line in _lines(account):
            show.result(show.plain(line))
    problem = (account["ping"] or {}).get("problem")
    return int(problem["status"]) if problem else 0


def _lines(account: dict[str, Any]) -> Iterator[str]:
    repository = f"/{account['repository']}" if account["repository"] else ""
    yield f"{account['registry']}{repository}"
    width = max(len(look["source"]) for look in account["looked"])
    for look in account["looked"]:
        yield f"  {'>' if look['used'] else ' '} {look['source']:<{width}}  {look['said']}"
    used = account["used"]
    if used:
        user = f" of {used['username']}" if used["username"] else ""
        yield f"used      the {used['kind']}{user} from {used['source']}: the first place that has the host"
    else:
        yield "used      nothing: requests are anonymous"
    for purpose, scopes in account["scopes"].items():
        if scopes:
            yield f"to {purpose:<6} {' '.join(scopes)}"
    if account["ping"]:
        yield from _ping(account["ping"])
    for note in account["notes"]:
        yield f"note      {note}"


def _ping(ping: dict[str, Any]) -> Iterator[str]:
    yield f"asked     {ping['url']}"
    if "scheme" in ping:
        yield f"wants     {ping['scheme']}"
        yield f"realm     {ping['realm'] or 'not named'}"
        if ping["service"]:
            yield f"service   {ping['service']}"
        if ping["scopes"]:
            yield f"scopes    {' '.join(ping['scopes'])}"
    if problem := ping.get("problem"):
        yield f"refused   {problem['message']} [{problem['code']}]"
        if problem["hint"]:
            yield f"hint      {problem['hint']}"
    elif "scheme" in ping:
        yield "accepted  yes"
    else:
        yield "accepted  yes, and it asked for no login"
    for note in ping["notes"]:
        yield f"note      {note}"
