"""Where things stand in a TOML text: tomllib gives values without lines, and errors for people name them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ocibuild.errors import UsageError

_POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def parse(text: str, name: str) -> dict[str, Any]:
    """The document. Raises UsageError (`config-invalid`) with the line where TOML's grammar ends."""
    import tomllib  # only who has a config file pays for it

    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        position = _POSITION.search(str(error))
        line = f":{position[1] or len(text.splitlines())}" if position else ""
        raise UsageError(
            f"{name}{line}: this is not TOML: {_POSITION.sub('', str(error))}",
            code="config-invalid",
            hint="strings stand in quotes, tables in [brackets]",
        ) from error


class Place:
    """A config file, as errors name it: its path, and the line of the key they are about."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self._text = text
        self._prefix = ("tool", "ocibuild") if path.name == "pyproject.toml" else ()

    def at(self, *key: str) -> str:
        """`ocibuild.toml:7`, or the path alone where the line is not found."""
        line = line_of(self._text, (*self._prefix, *key)) if key else None
        return f"{self.path}:{line}" if line else str(self.path)

    def told(self, what: str, at: tuple[str, ...]) -> str:
        """A message about the key, that begins with where it stands."""
        return f"{self.at(*at)}: {'.'.join(at)} {what}"

    def fail(self, what: str, at: tuple[str, ...], code: str = "config-invalid", hint: str | None = None) -> NoReturn:
        """Raises UsageError about the key."""
        raise UsageError(self.told(what, at), code=code, hint=hint)


def meant(word: str, known: Sequence[str]) -> str | None:
    """A hint for who wrote a word that is not known: the nearest there is, or all where they are few."""
    import difflib

    near = difflib.get_close_matches(word.replace("_", "-"), known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    if len(known) == 1:
        return f"there is only {known[0]}"
    return f"there are {', '.join(known)}" if 0 < len(known) < 10 else None


def line_of(text: str, path: Sequence[str]) -> int | None:
    """The line, from 1, where the key at `path` begins; None where the text does not have it.

    The text is parsed up to each line that mentions the key: the first time the key is in the result, that was its line.
    """
    lines = [line + "\n" for line in text.split("\n")]
    for start, line in enumerate(lines):
        if path[-1] in line and _has(_first_whole(lines, start + 1), path):
            return start + 1
    return None


def _first_whole(lines: Sequence[str], end: int) -> Any:
    """The shortest document that has the first `end` lines: a value may go on over several."""
    import tomllib

    for length in range(end, len(lines) + 1):
        try:
            return tomllib.loads("".join(lines[:length]))
        except tomllib.TOMLDecodeError:
            continue
    return {}


def _has(document: Any, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True
