"""Sources to programs: one module a language, each of which sees its tree and writes recipes for platforms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ocibuild.errors import InputError, UsageError
from ocibuild.source.toolchains import assemblyscript, clang, golang, javascript, python, rust, zig
from ocibuild.source.toolchains.bench import Bench
from ocibuild.source.toolchains.recipe import Recipe, Sources, Told
from ocibuild.spec.platform import Platform

AUTO = "auto"
"""The language that is seen from the tree."""


@dataclass(frozen=True)
class Language:
    """`seen` gives the file that shows the language in a folder; `recipes` how its program is made for platforms.

    `told` is what that depends on, known before it is made; it raises as `recipes` does.
    """

    name: str
    title: str
    seen: Callable[[Path], str | None]
    recipes: Callable[[Sources, Sequence[Platform], Bench], list[Recipe]]
    told: Callable[[Sources, Sequence[Platform], Bench], Told]


LANGUAGES: dict[str, Language] = {
    module.NAME: Language(module.NAME, module.TITLE, module.seen, module.recipes, module.told)
    for module in (rust, golang, zig, clang, assemblyscript, javascript, python)
}


def seen(folder: Path) -> dict[str, str]:
    """The languages of a folder, each with the file that shows it."""
    return {name: shown for name, language in LANGUAGES.items() if (shown := language.seen(folder)) is not None}


def language(folder: Path, name: str | None = None) -> Language:
    """The language of a folder, or the one of that name (`auto`: seen from the tree).

    Raises UsageError (`language-unknown`, `language-needed`), InputError (`sources-unknown`).
    """
    if name is not None and name != AUTO:
        if name not in LANGUAGES:
            raise UsageError(
                f"nothing is known about building {name!r}",
                code="language-unknown",
                hint=f"choose one of {', '.join(LANGUAGES)}, or build it yourself and pack the result: ocibuild pack FILE",
            )
        return LANGUAGES[name]
    found = seen(folder)
    if not found:
        raise InputError(
            f"{folder} has no sources of a language that is known here",
            code="sources-unknown",
            hint=f"known are {', '.join(LANGUAGES)}; build others yourself and pack the result: ocibuild pack FILE",
        )
    if len(found) > 1:
        shown = " and ".join(f"{LANGUAGES[one].title} ({file})" for one, file in found.items())
        raise UsageError(
            f"{folder} has sources in several languages: {shown}",
            code="language-needed",
            hint=f"choose one with --language, for example --language {next(iter(found))}",
        )
    return LANGUAGES[next(iter(found))]
