"""`ocibuild bake [TARGET…]`"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click

from ocibuild.api import bakeplan
from ocibuild.api.bake import Baked, Image, baked
from ocibuild.api.bakeplaces import LAYOUT
from ocibuild.api.bakeplan import BakePlan
from ocibuild.api.session import Session
from ocibuild.cli import output as show
from ocibuild.cli import ovens
from ocibuild.cli.account import metadata, metadata_option
from ocibuild.cli.common import chunk_option, json_option, registry_options, say, session
from ocibuild.cli.ovens import Oven
from ocibuild.cli.verbs import verb
from ocibuild.content import atomic
from ocibuild.errors import FindingsError, OcibuildError, UsageError
from ocibuild.spec.reference import Reference


@verb("bake")
@click.argument("targets", nargs=-1, metavar="[TARGET…]")
@click.option("--config", metavar="FILE", default=".", help="The file, or its folder.  [default: the current one]")
@click.option("--set", "said", multiple=True, metavar="NAME=VALUE", help="A value for a variable (repeatable).")
@click.option("--push", is_flag=True, help="Push each to its tags.")
@click.option(
    "-o",
    "--output",
    metavar="PLACE",
    help=f"oci:DIR, one layout for all, or a folder with a layout for each.  [default: oci:{LAYOUT}, or none with --push]",
)
@click.option("-j", "--jobs", type=click.IntRange(1, 1024), help="How many at a time.")
@click.option("-k", "--keep-going", is_flag=True, help="After a failure go on with what does not need it.")
@click.option("--no-cache", is_flag=True, help="Make all, up to date or not.")
@click.option(
    "--executor",
    default="threads",
    metavar="NAME",
    help="threads, process, or the scheduler of a Dask cluster: dask://HOST:PORT.  [default: threads]",
)
@click.option("--print", "printing", is_flag=True, help="Print what would be made, as JSON, and make nothing.")
@click.option("--check", "checking", is_flag=True, help="Look at the file and every input, and make nothing.")
@click.option("--watch", is_flag=True, help="Go on, and make again what changes, until Ctrl-C.")
@metadata_option
@registry_options
@chunk_option
@json_option
def bake_command(
    targets: tuple[str, ...],
    config: str,
    said: tuple[str, ...],
    push: bool,
    output: str | None,
    jobs: int | None,
    keep_going: bool,
    no_cache: bool,
    executor: str,
    printing: bool,
    checking: bool,
    watch: bool,
    metadata_file: str | None,
    as_json: bool,
    **reach: Any,
) -> None:
    """Make the targets of an ocibuild.toml, side by side: those named, the group default, or all.

    A TARGET may be a group. What is up to date is not made again. The digest references stand on stdout, one a line, in
    the file's order.

    \b
    ocibuild bake
    ocibuild bake edge --set version=1.3 --push
    ocibuild bake --check
    ocibuild bake --push --executor dask://scheduler:8786
    """
    variables = _variables(said)
    if watch and (printing or checking):
        raise UsageError("--watch goes on making, and --print and --check make nothing", hint="leave one of them out")
    if printing and checking:
        raise UsageError("--print and --check answer two questions", hint="ask one after the other")
    if metadata_file and not Path(metadata_file).absolute().parent.is_dir():
        raise UsageError(
            f"--metadata-file {metadata_file}: there is no folder {Path(metadata_file).parent}",
            hint="make it first: nothing was baked yet",
        )
    if watch and as_json:
        raise UsageError("--watch has no end that --json could tell of", hint="--progress json tells of each target")
    with session(None, **_without_login(reach), choose=ovens.choose) as current:
        made = None if watch else bakeplan.plan(targets, config, variables, current)
        if made is not None and printing:
            show.result_json(made.to_json())
            return
        if made is not None and checking:
            _check(made, current, as_json=as_json)
            return
        oven = cast(Oven, current.observe)

        def again(plan: BakePlan) -> Baked:
            return baked(
                plan,
                push=push,
                output=output,
                executor=executor,
                jobs=jobs,
                keep_going=keep_going,
                no_cache=no_cache,
                session=current,
                observe=oven.happened,
            )

        if made is None:
            _watch(targets, config, variables, current, again, metadata_file)
            return
        began = time.monotonic()
        done = again(made)
        oven.close()
        for note in _notes(done):
            say(current, note)
        say(current, f"{_account(done)} in {time.monotonic() - began:.1f} s")
    if metadata_file:
        _write_metadata(metadata_file, done)
    if as_json:
        show.result_json({"targets": {image.name: _document(image, done.plan) for image in done.images}})
    else:
        for image in done.asked:
            if image.references:
                show.result(image.references[0])
    _raise(done)


def _variables(said: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in said]
    for text, (name, equals, _) in zip(said, pairs, strict=True):
        if not equals or not name:
            raise UsageError(f"--set {text!r} is not NAME=VALUE", code="pair-invalid", hint="write --set version=1.2.0")
    return {name: value for name, _, value in pairs}


def _without_login(reach: dict[str, Any]) -> dict[str, Any]:
    for flag in ("username", "password_stdin", "cert", "key"):
        if reach[flag]:
            raise UsageError(
                f"--{flag.replace('_', '-')} is for one registry, and targets may go to several",
                hint="log in first: ocibuild login",
            )
    return reach


def _check(made: BakePlan, current: Session, *, as_json: bool) -> None:
    troubles = bakeplan.check(made, current)
    if as_json:
        listed = [
            {"target": one.target, "code": one.error.code, "message": one.error.message, "hint": one.error.hint}
            for one in troubles
        ]
        show.result_json({"targets": [target.name for target in made.targets], "findings": listed})
    for trouble in troubles:
        if not as_json:
            show.note(f"{trouble.target}: {trouble.error.message} [{trouble.error.code}]")
            if trouble.error.hint:
                show.note(f"  hint: {trouble.error.hint}")
    if troubles:
        names = ", ".join(dict.fromkeys(trouble.target for trouble in troubles))
        raise FindingsError(f"{len(troubles)} of {len(made.targets)} targets cannot be made: {names}")
    say(current, f"{len(made.targets)} targets of {made.config} can be made")


def _watch(
    targets: tuple[str, ...],
    config: str,
    variables: dict[str, str],
    current: Session,
    again: Callable[[BakePlan], Baked],
    metadata_file: str | None,
) -> None:
    from ocibuild.api.bakewatch import Watched

    watched = Watched(config)
    for number in itertools.count(1):
        began, account = time.monotonic(), "nothing made"
        try:
            done = again(watched.plan(targets, config, variables, current))
            for note in _notes(done):
                say(current, note)
            for image in done.asked:
                if image.references and image.state == "made":
                    show.result(image.references[0])
            for image in done.failed:
                if image.error is not None:
                    show.failed(_told(image, image.error), as_json=False)
            if metadata_file and any(image.state == "made" for image in done.images):
                _write_metadata(metadata_file, done)
            account = f"{_account(done)} in {time.monotonic() - began:.1f} s"
        except OcibuildError as error:
            if error.exit_status == 130 or (number == 1 and error.code != "config-glob-empty"):
                raise
            show.failed(error, as_json=False)
        # With its number, since what is said twice is shown once.
        say(current, f"bake {number}: {account}; watching {watched.count} files until Ctrl-C")
        watched.wait(current.cancel)


def _notes(done: Baked) -> list[str]:
    return [*(f"{image.name}: {note}" for image in done.images for note in image.notes), *done.notes]


def _account(done: Baked) -> str:
    made = sum(image.state == "made" for image in done.images)
    cached = sum(image.state == "cached" for image in done.images)
    said = f"{made} made, {cached} up to date"
    return f"{said}, {len(done.failed)} not made" if done.failed else said


def _document(image: Image, plan: BakePlan) -> dict[str, Any]:
    document: dict[str, Any] = {"state": image.state, "cached": image.state == "cached"}
    target = next(target for target in plan.targets if target.name == image.name)
    if image.descriptor is not None:
        names = [str(Reference.parse(tag)) for tag in target.tags]
        document |= {"references": list(image.references), **metadata(image.descriptor, names)}
        document |= {"seconds": round(image.seconds, 3), "sent": image.sent}
    if image.notes:
        document["notes"] = list(image.notes)
    if image.error is not None:
        document["error"] = {"code": image.error.code, "message": show.plain(image.error.message)}
    return document


def _write_metadata(file: str, done: Baked) -> None:
    document = {image.name: _document(image, done.plan) for image in done.images}
    atomic.write(Path(file), json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n")


def _told(image: Image, error: OcibuildError) -> OcibuildError:
    return type(error)(f"{image.name}: {error.message}", code=error.code, hint=error.hint)


def _raise(done: Baked) -> None:
    """Where something failed: one as itself, several by their names."""
    failed = [(image, image.error) for image in done.failed if image.error is not None]
    if len(failed) == 1:
        raise _told(*failed[0])
    if failed:
        for image, error in failed:
            show.note(f"{image.name}: {error.message} [{error.code}]")
        names = ", ".join(image.name for image, _ in failed)
        raise OcibuildError(
            f"{len(failed)} of {len(done.images)} targets failed: {names}",
            code="targets-failed",
            hint="each is told above; what is there already is not made again the next time",
        )
