"""What a bake is to make: the targets of a config file that were asked for, with what they need, resolved and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ocibuild.api.session import Session
from ocibuild.bake.engine import refuse_circles
from ocibuild.bake.job import Job
from ocibuild.content import codec
from ocibuild.errors import OcibuildError, UsageError
from ocibuild.image.shapes import shape
from ocibuild.pack import configfile, presets
from ocibuild.pack.configfile import ConfigFile
from ocibuild.pack.configlines import meant
from ocibuild.pack.options import Options, Sources, Target
from ocibuild.pack.plan import parse_created
from ocibuild.record import fields, record, replace
from ocibuild.spec.platform import Platform
from ocibuild.spec.reference import Reference, is_tag

PREFIX = "target:"
"""What stands before a target's name where an image could be named: in build contexts, and in COPY --from and FROM."""

DEFAULT = "default"
"""The group that is meant where nothing is asked for."""

_NAMED = re.compile(r"(?:--from=|^\s*FROM\s+(?:--\S+\s+)*)target:([A-Za-z0-9_][A-Za-z0-9._-]*)", re.M | re.I)
_MAX_DOCKERFILE = 1024 * 1024


@record
class Trouble:
    """What is wrong with a target."""

    target: str
    error: OcibuildError


@record
class BakePlan:
    """`targets` in the file's order; `asked` are those that were named, the others are needed by them.

    `troubles` are values that no target can have: it is looked at and shown all the same, and not made.
    """

    config: Path
    targets: tuple[Target, ...]
    asked: tuple[str, ...]
    troubles: tuple[Trouble, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """See schemas/bake-plan.schema.json. Paths are relative to the current folder."""
        targets = {target.name: _document(target) for target in self.targets}
        return {"config": str(self.config), "asked": list(self.asked), "targets": targets}


def plan(names: Sequence[str], config: str | os.PathLike[str], said: Mapping[str, str], session: Session) -> BakePlan:
    """The targets and groups of these names, and what they need; without any, the group `default`, or all there are.

    Raises UsageError: what reading the file raises, `config-target-unknown`, `config-target-missing`, `needs-circle`,
    `reference-twice`, `reference-invalid`.
    """
    return planned(names, configfile.read(config, said, session.surroundings.environ))


def planned(names: Sequence[str], file: ConfigFile) -> BakePlan:
    """The same of a file that was read."""
    asked = _asked(names, file)
    found: dict[str, Target] = {}
    pending = list(asked)
    while pending:
        name = pending.pop()
        if name in found:
            continue
        target = found[name] = _target(name, file)
        pending += target.needs
    asked = [name for name in asked if names or _is_whole(found[name])]
    targets = tuple(
        found[name] for name in file.targets if name in found and (name in asked or _is_needed(name, found))
    )
    if not targets:
        raise UsageError(
            f"{file.path} has nothing to bake",
            code="config-target-missing",
            hint='add a table [targets.NAME] with files = […] or build = "DIR"',
        )
    try:
        refuse_circles([Job(target.name, target.needs) for target in targets])
    except UsageError as error:
        raise type(error)(f"{file.path}: {error.message}", code=error.code, hint=error.hint) from error
    _refuse_shared_tags(targets, file)
    troubles = tuple(trouble for target in targets for trouble in _troubles(target, file))
    return BakePlan(file.path, targets, tuple(name for name in file.targets if name in asked), troubles)


def alone(name: str | None, file: ConfigFile, verb: str) -> Target:
    """A target that `verb` makes by itself. Raises what `plan` raises, UsageError (`usage`) where it takes files of another."""
    target = file.target(name)
    if target.sources is None:
        return target
    target = _target(target.name, file)
    assert target.sources is not None
    places = [text.partition("=")[2] for text in target.sources.build_context]
    other = next((place for place in places if place.startswith(PREFIX)), None)
    if other is not None:
        raise UsageError(
            f"target {target.name} takes files of {other}, and {verb} makes one target",
            code="usage",
            hint=f"ocibuild bake {target.name} makes both",
        )
    return target


def _is_needed(name: str, found: Mapping[str, Target]) -> bool:
    return any(name in target.needs for target in found.values())


def _is_whole(target: Target) -> bool:
    """False for a target that is there for others to inherit from."""
    return bool(target.files) or target.sources is not None


def _asked(names: Sequence[str], file: ConfigFile) -> list[str]:
    if not names:
        return list(file.groups.get(DEFAULT, file.targets))
    asked: dict[str, None] = {}
    for name in names:
        if name not in file.groups and name not in file.targets:
            known = (*file.targets, *file.groups)
            raise UsageError(
                f"{name!r} is no target and no group in {file.path}",
                code="config-target-unknown",
                hint=meant(name, known),
            )
        asked |= dict.fromkeys(file.groups.get(name, (name,)))
    return list(asked)


def _target(name: str, file: ConfigFile) -> Target:
    table = file.table(name)
    if not is_tag(name):
        file.place.fail(
            f"is called {name!r}", ("targets", table), hint="a name is letters, digits, dots, dashes and underscores"
        )
    target = _with_named(file.target(name), file)
    for other in target.needs:
        if other not in file.targets:
            several = f"a group of {len(file.groups[other])}" if other in file.groups else "no target"
            key = "needs" if file.has(name, "needs") else "build-context"
            file.place.fail(
                f"names {other!r}, which is {several}", ("targets", table, key), hint=meant(other, file.targets)
            )
    for tag in target.tags:
        try:
            Reference.parse(tag)
        except UsageError as error:
            file.place.fail(f"are wrong: {error.message}", file.origin(table, "tags"), error.code, error.hint)
    return target


def _troubles(target: Target, file: ConfigFile) -> Iterator[Trouble]:
    for key, judge, value in _judged(target):
        try:
            try:
                judge(value)
            except UsageError as error:
                at = file.origin(file.table(target.name), key)
                file.place.fail(f"is wrong: {error.message}", at, error.code, error.hint)
        except UsageError as error:
            yield Trouble(target.name, error)


def _judged(target: Target) -> Iterator[tuple[str, Callable[[str], object], str]]:
    """What is said of a target and can be judged without its files: keys, who judges, and values."""
    options, sources = target.options, target.sources
    yield from (("platform", Platform.parse, one) for text in options.platform for one in text.split(","))
    single: list[tuple[str, Callable[[str], object], str | None]] = [
        ("format", shape, options.format),
        ("for", presets.preset, options.consumer),
        ("compression", codec.parse, options.compression),
        ("created", parse_created, options.created),
        ("language", _language, sources.language if sources is not None else None),
    ]
    yield from ((key, judge, value) for key, judge, value in single if value)


def _language(name: str) -> None:
    from ocibuild.source import toolchains

    toolchains.language(Path(), name if name != toolchains.AUTO else next(iter(toolchains.LANGUAGES)))


def _with_named(target: Target, file: ConfigFile) -> Target:
    """The target with what its Dockerfile takes from `target:NAME`."""
    sources = target.sources
    if sources is None or sources.language or sources.program:
        return target
    path = Path(sources.dockerfile or os.path.join(sources.build or ".", "Dockerfile"))
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_DOCKERFILE).decode("utf-8", "replace")
    except OSError:
        return target  # whoever builds it says what is wrong
    named = [name for name in dict.fromkeys(_NAMED.findall(text)) if name in file.targets]
    contexts = tuple(f"{PREFIX}{name}={PREFIX}{name}" for name in named)
    return replace(
        target,
        sources=replace(sources, build_context=(*sources.build_context, *contexts)),
        needs=tuple(dict.fromkeys((*target.needs, *named))),
    )


def _refuse_shared_tags(targets: Sequence[Target], file: ConfigFile) -> None:
    taken: dict[str, str] = {}
    for target in targets:
        for tag in target.tags:
            reference = str(Reference.parse(tag))
            other = taken.setdefault(reference, target.name)
            if other != target.name:
                where = file.place.at("targets", file.table(target.name), "tags")
                raise UsageError(
                    f"{where}: {other} and {target.name} would both be {reference}",
                    code="reference-twice",
                    hint="have ${target} in the tag, or ${stem}, or ${matrix.NAME}",
                )


def _document(target: Target) -> dict[str, Any]:
    document: dict[str, Any] = {"files": list(target.files), "tags": list(target.tags), "needs": list(target.needs)}
    document["options"] = _said(target.options, Options(), configfile.keys())
    if target.sources is not None:
        document["sources"] = _said(target.sources, Sources(), configfile.keys(Sources))
    return document


def _said(value: Options | Sources, plain: Options | Sources, keys: Mapping[str, str]) -> dict[str, Any]:
    """What differs from the default, by the file's keys; tables as tables."""
    said: dict[str, Any] = {}
    forms = {entry.name: entry.metadata["about"].form for entry in fields(type(value))}
    for key, name in keys.items():
        item = getattr(value, name)
        if item == getattr(plain, name):
            continue
        if forms[name] == "table":
            said[key] = {pair.partition("=")[0]: pair.partition("=")[2] for pair in item}
        else:
            said[key] = list(item) if isinstance(item, tuple) else item
    return said


def check(made: BakePlan, session: Session) -> tuple[Trouble, ...]:
    """Look at every input: files are there and are programs, options fit them and each other. Nothing is written.

    What a compiler or an engine would say is not known before they run.
    """
    found = list(made.troubles)
    wrong = {trouble.target for trouble in found}
    for target in (target for target in made.targets if target.name not in wrong):
        try:
            _check(target, session)
        except OcibuildError as error:
            found.append(Trouble(target.name, error))
    return tuple(found)


def _check(target: Target, session: Session) -> None:
    from ocibuild.api.baking import plan_of

    if target.sources is None:
        if not any("://" in file for file in target.files):
            plan_of(target, session)
        return
    from ocibuild.api.build import check as check_build

    sources = target.sources
    check_build(
        sources.build or ".",
        file=sources.dockerfile,
        language=sources.language,
        program=sources.program,
        options=replace(target.options, platform=()),
    )
