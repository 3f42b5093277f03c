"""Stages: where each begins, what it is made from, which are needed, and the words that ARG gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocibuild.errors import InputError, UsageError
from ocibuild.source.base import Base
from ocibuild.source.dockerfile import Dockerfile, Instruction, invalid, split_words
from ocibuild.source.engine import ENGINES, Order, Staged
from ocibuild.source.expansion import expand
from ocibuild.source.filetree import Tree
from ocibuild.spec.platform import Platform

_MOST = 100
"""Stages that are read: each may begin where the one before it ends, and takes it onto the stack."""

_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_OF_TARGET = ("TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT")
_OF_BUILD = ("BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT")
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
"""Arguments that need no ARG. Dockerfile reference, "Predefined ARGs"."""

_MENTION = re.compile(r"\b(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT)\b")


@dataclass(frozen=True)
class Asked:
    """What is asked of a Dockerfile: `context` is where COPY takes from, `contexts` are trees by name, `images` places.

    `platform` None means that the programs in the image shall say; a Dockerfile that asks for it first cannot be built.
    `image` reads a place for a platform, and where it has nothing for that and the flag is set, for the machine's own.
    `make` has an engine build a stage; None where there is no engine. `room` gives a folder for what has to be unpacked
    until the image is written; without it archives stay as they are.
    """

    context: Tree
    contexts: Mapping[str, Tree] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None
    platform: Platform | None = None
    room: Callable[[], Path] | None = None
    images: Mapping[str, str] = field(default_factory=dict)
    image: Callable[[str, Platform | None, bool], Base] | None = None
    make: Callable[[Order], Staged] | None = None


@dataclass(frozen=True)
class Stage:
    """FROM and what follows it. `base` and `platform` are as written."""

    index: int
    start: Instruction
    base: str
    name: str
    instructions: tuple[Instruction, ...]

    @property
    def called(self) -> str:
        """The name for messages and for --build-context."""
        return self.name or str(self.index)


@dataclass(frozen=True)
class Stages:
    """All stages, the ARG lines before the first, and the lines of the file."""

    before: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    escape: str
    lines: tuple[str, ...] = ()

    @classmethod
    def of(cls, dockerfile: Dockerfile) -> Stages:
        """Cut a Dockerfile at each FROM. Raises InputError (`dockerfile-invalid`)."""
        before: list[Instruction] = []
        cut: list[list[Instruction]] = []
        for instruction in dockerfile.instructions:
            if instruction.word == "FROM":
                cut.append([instruction])
            elif cut:
                cut[-1].append(instruction)
            elif instruction.word == "ARG":
                before.append(instruction)
            else:
                raise invalid(instruction.at, f"{instruction.word} stands before FROM", "begin with FROM scratch")
        if not cut:
            raise invalid(before[-1].at, "there is no FROM in this file", "begin with FROM scratch")
        if len(cut) > _MOST:
            raise invalid(cut[_MOST][0].at, f"there are more than {_MOST} stages", "cut the file in two")
        stages = tuple(_stage(index, part[0], tuple(part[1:])) for index, part in enumerate(cut))
        return cls(tuple(before), stages, dockerfile.escape, dockerfile.lines)

    def target(self, name: str | None) -> Stage:
        """The stage that was asked for, or the last. Raises UsageError (`target-unknown`)."""
        if name is None:
            return self.stages[-1]
        found = self.before_stage(name, len(self.stages))
        if found is None:
            names = ", ".join(stage.called for stage in self.stages)
            there = "there is only" if len(self.stages) == 1 else "there are"
            raise UsageError(f"--target {name}: there is no such stage", code="target-unknown", hint=f"{there} {names}")
        return found

    def before_stage(self, name: str, index: int) -> Stage | None:
        """The stage of that name or number that stands before the one with this index."""
        earlier = self.stages[:index]
        for stage in reversed(earlier):
            if stage.name and stage.name == name.lower():
                return stage
        return earlier[int(name)] if name.isascii() and name.isdigit() and int(name) < len(earlier) else None

    def until(self, stage: Stage) -> str:
        """The file up to the end of a stage: what follows is nothing that an engine need understand."""
        following = self.stages[stage.index + 1 : stage.index + 2]
        end = following[0].start.line - 1 if following else len(self.lines)
        return "".join(f"{line}\n" for line in self.lines[:end])

    def needed(self, stage: Stage) -> tuple[Stage, ...]:
        """A stage and those before it that it names, in order."""
        found, waiting = {stage.index: stage}, [stage]
        while waiting:
            one = waiting.pop()
            for name in named(one):
                earlier = self.before_stage(name, one.index)
                if earlier is not None and earlier.index not in found:
                    found[earlier.index] = earlier
                    waiting.append(earlier)
        return tuple(found[index] for index in sorted(found))


def named(stage: Stage) -> Iterator[str]:
    """What a stage names as a place of files: stages before it, contexts and images, as written."""
    yield stage.base
    for instruction in stage.instructions:
        for name, value in instruction.flags:
            if name == "from":
                yield value
            elif name == "mount":
                yield from (part[5:] for part in value.split(",") if part.startswith("from="))


def _stage(index: int, start: Instruction, instructions: tuple[Instruction, ...]) -> Stage:
    words = start.rest.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise invalid(start.at, f"FROM {start.rest} cannot be read", "write FROM IMAGE or FROM IMAGE AS NAME")
    name = words[2].lower() if len(words) == 3 else ""
    if name and (not _NAME.fullmatch(name) or name in ("scratch", "context")):
        raise invalid(
            start.at, f"{words[2]} is no name for a stage", "begin it with a letter, go on with a-z 0-9 . _ -"
        )
    return Stage(index, start, words[0], name, instructions)


def automatic(asked: Asked) -> dict[str, str]:
    """The ARGs that need no value: the target's platform and stage."""
    values = {"TARGETSTAGE": asked.target or "default"}
    if (platform := asked.platform) is not None:
        parts = (str(platform), platform.os, platform.architecture, platform.variant)
        values |= dict(zip(_OF_TARGET, parts, strict=True))
    return values


def declared(
    instruction: Instruction, asked: Asked, values: Mapping[str, str], given: Mapping[str, str], escape: str
) -> list[tuple[str, str | None]]:
    """What one ARG line declares: names and values, None where there is none.

    A value comes from --build-arg, else from the line, else from `given`. Raises InputError (`dockerfile-invalid`),
    UsageError (`platform-needed`).
    """
    found: list[tuple[str, str | None]] = []
    for word in split_words(instruction.rest, escape):
        name, equals, default = word.partition("=")
        name = expanded(instruction, name, values, escape)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name):
            raise invalid(instruction.at, f"{name!r} is no name for an ARG", "write ARG NAME or ARG NAME=VALUE")
        if name in asked.arguments:
            found.append((name, asked.arguments[name]))
        elif equals:
            found.append((name, expanded(instruction, default, values, escape)))
        else:
            if name not in given:
                refuse_unknown_platform(instruction, name, asked)
            found.append((name, given.get(name)))
    return found


def refuse_unknown_platform(instruction: Instruction, text: str, asked: Asked) -> None:
    """Raises UsageError (`platform-needed`) where `text` asks for a platform that nobody said."""
    for name in _MENTION.findall(text):
        if name in asked.arguments or (name in _OF_TARGET and asked.platform is not None):
            continue
        hint = "say --platform, for example --platform linux/amd64"
        if name in _OF_BUILD:
            hint = f"the image must not depend on this machine; where it shall, say --build-arg {name}=VALUE"
        raise UsageError(f"{instruction.at}: the value of {name} is not known", code="platform-needed", hint=hint)


def expanded(
    instruction: Instruction, text: str, values: Mapping[str, str], escape: str, *, quotes: bool = True
) -> str:
    """See expansion.expand. Raises InputError (`dockerfile-invalid`)."""
    try:
        return expand(text, values, escape, quotes=quotes)
    except ValueError as error:
        raise invalid(instruction.at, str(error), "escape the character if it is meant as it stands") from error


def unbuilt(at: str, said: str, name: str) -> InputError:
    """The error for files that only an engine could make."""
    return InputError(
        f"{at}: {said}, and there is none",
        code="stage-unbuilt",
        hint=f"install {', '.join(ENGINES[:-1])} or {ENGINES[-1]}, which then builds that stage; or build it elsewhere "
        f"and hand its files over: --build-context {name}=DIR, where DIR is its root",
    )


def order(stages: Stages, stage: Stage, at: str, asked: Asked) -> tuple[Order, frozenset[str]]:
    """What an engine is told of a stage, and the names of the arguments that it takes.

    For a Wasm target build stages are the machine's own: no base image is for wasi/wasm. Their TARGETPLATFORM and its
    family say the target all the same. Raises UsageError (`platform-needed`).
    """
    text, needed = stages.until(stage), stages.needed(stage)
    lines = [*stages.before, *(one for part in needed for one in part.instructions if one.word == "ARG")]
    names = set[str]()
    for line in lines:
        for word in split_words(line.rest, stages.escape):
            name, equals, _ = word.partition("=")
            names.add(name)
            if not equals and name in _OF_TARGET:
                refuse_unknown_platform(line, name, asked)
    for part in needed:
        written = f"{part.base} {part.start.flag('platform') or ''}"
        if "$TARGET" in written or "${TARGET" in written:
            refuse_unknown_platform(part.start, written, asked)
    is_wasm = asked.platform is not None and asked.platform.is_wasm
    mentioned = set(_MENTION.findall(text))
    arguments = {name: value for name, value in automatic(asked).items() if is_wasm and name in mentioned}
    arguments |= {name: value for name, value in asked.arguments.items() if name in names or name.lower() in _PROXIES}
    return Order(
        text=text,
        stage=stage.called,
        target=stage.start.rest.split()[-1] if stage.name else stage.called,
        at=at,
        arguments=arguments,
        platform=None if is_wasm else asked.platform,
    ), frozenset(names)
