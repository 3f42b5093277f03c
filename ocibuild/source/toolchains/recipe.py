"""The nouns of building sources: what is to be built, the recipe for one platform that a language makes of it, and what
it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ocibuild.errors import UsageError
from ocibuild.spec.platform import Platform


@dataclass(frozen=True)
class Sources:
    """A folder with sources, absolute. `chosen`: the language was said, and not seen from the tree.

    `program` names one where there are several, in the language's own way (a binary of Cargo's, a Go package, a file).
    `arguments` go to the toolchain as they are. `epoch` is the time in seconds that programs may see; with `git` they
    may see git's revision too.
    """

    folder: Path
    program: str | None = None
    arguments: tuple[str, ...] = ()
    epoch: int = 0
    git: bool = False
    chosen: bool = False


@dataclass(frozen=True)
class Step:
    """A command, the folder it runs in, and what it finds in the environment besides ours."""

    words: tuple[str, ...]
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How the program for one platform is made: steps one after the other, and the file or the folder they write.

    `name` is what the program is called, None where only the finished build tells. `cure` is what to do where the program turns
    out to be linked dynamically or, for Wasm, not to be one. `traced` is asked once it is built.
    """

    platform: Platform
    name: str | None
    steps: tuple[Step, ...]
    product: Path
    cure: str = ""
    traced: Callable[[], Traced] | None = None


@dataclass(frozen=True)
class Told:
    """What decides a build besides what is said to it: whole `folders`, and `words`, which are versions and settings.

    `left_out` is no part of the folders, for all that it stands there; `variables` are how the names of those variables
    begin that the toolchain reads. `doubt` says why this is not all; then nothing else is told.
    """

    folders: tuple[Path, ...] = ()
    words: tuple[str, ...] = ()
    left_out: tuple[Path, ...] = ()
    variables: tuple[str, ...] = ()
    doubt: str = ""


@dataclass(frozen=True)
class Traced:
    """What a toolchain says that it read in the end: files, and variables of the environment."""

    files: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()


def one_of(found: Mapping[str, str], asked: str | None, what: str, where: str) -> str:
    """The one program that is there, or the one that was asked for; `found` has what each is called in words.

    Raises UsageError (`program-needed`, `program-unknown`).
    """
    names = ", ".join(found)
    if asked is not None:
        if asked in found:
            return asked
        raise UsageError(
            f"there is no {what} {asked} in {where}",
            code="program-unknown",
            hint=f"there is {names}" if found else f"{where} has none at all",
        )
    if len(found) == 1:
        return next(iter(found))
    if not found:
        raise UsageError(
            f"there is no {what} in {where}: libraries make no image",
            code="program-unknown",
            hint="give the folder of the program",
        )
    raise UsageError(
        f"{where} has {len(found)} programs: {names}",
        code="program-needed",
        hint=f"choose one with --program, for example --program {next(iter(found))}",
    )


def unbuildable(language: str, platform: Platform, hint: str) -> UsageError:
    """The error for a platform that a toolchain does not build for."""
    return UsageError(f"{language} builds nothing for {platform} here", code="platform-unbuildable", hint=hint)
