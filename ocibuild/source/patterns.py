"""Patterns of paths: .dockerignore and COPY --exclude, where a pattern counts for all that is below what it matches.

The rules of github.com/moby/patternmatcher: the last pattern that matches wins, `!` takes back, `**` stands for any
number of folders.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

_CLASS = re.compile(r"([!^]?)((?:\\.|[^\]\\])+)\]", re.DOTALL)


def wildcard(pattern: str, *, across: bool = False) -> str:
    """A regular expression for `*`, `?`, `[…]`, `\\x` and `**`; one star stays inside a folder unless `across`.

    Raises ValueError for a pattern that is none.
    """
    one = "." if across else "[^/]"
    out, position = "", 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if pattern.startswith("**", position - 1) and not across:
            position += 1
            if pattern.startswith("/", position):
                position += 1
            out += "(?:.*/)?" if position < len(pattern) else ".*"
        elif character == "*":
            out += f"{one}*"
        elif character == "?":
            out += one
        elif character == "[":
            match = _CLASS.match(pattern, position)
            if match is None:
                raise ValueError(f"[ is not closed in {pattern!r}")
            inside = re.sub(r"([\[&~|])", r"\\\1", match[2])
            out += f"[{'^' if match[1] else ''}{inside}]"
            position = match.end()
        elif character == "\\":
            if position == len(pattern):
                raise ValueError(f"nothing follows the last \\ of {pattern!r}")
            out += re.escape(pattern[position])
            position += 1
        else:
            out += re.escape(character)
    return out


@dataclass(frozen=True)
class Patterns:
    """Compiled patterns in order, each with whether it takes back."""

    rules: tuple[tuple[re.Pattern[str], bool], ...] = ()

    @classmethod
    def of(cls, lines: Iterable[str]) -> Patterns:
        """Compile patterns. Raises ValueError for one that is none."""
        rules = []
        for line in lines:
            text = line.strip()
            back = text.startswith("!")
            text = text[1:].strip() if back else text
            if not text:
                if back:
                    raise ValueError("! takes back nothing")
                continue
            clean = posixpath.normpath(text).lstrip("/")
            try:
                rules.append((re.compile(wildcard(clean), re.DOTALL), back))
            except re.error as error:
                raise ValueError(f"{text!r} is no pattern: {error}") from error
        return cls(tuple(rules))

    @classmethod
    def read(cls, text: str) -> Patterns:
        """The patterns of a .dockerignore: one a line, `#` begins a comment. Raises ValueError."""
        return cls.of(line for line in text.removeprefix("\ufeff").splitlines() if not line.startswith("#"))

    def match(self, path: str) -> bool:
        """Whether the path, relative and clean, is left out, by itself or by a folder above it."""
        parts = path.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        left_out = False
        for rule, back in self.rules:
            if left_out is back and any(rule.fullmatch(one) for one in above):
                left_out = not back
        return left_out

    @property
    def take_back(self) -> bool:
        """Whether something below a folder that is left out may still be in."""
        return any(back for _, back in self.rules)
