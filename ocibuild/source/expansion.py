"""Variables in a Dockerfile's words: `$X`, `${X}` and its operators, quotes and escapes.

Dockerfile reference, "Environment replacement".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ocibuild.source.patterns import wildcard

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!$-]")
_OPERATOR = re.compile(r":[-+?]|[-+?]|##?|%%?|//?")

_DEEPEST = 50


def expand(text: str, values: Mapping[str, str], escape: str = "\\", *, quotes: bool = True) -> str:
    """One word with its variables replaced and, unless it is a here-document, its quotes taken off.

    Raises ValueError that says what is wrong with the text.
    """
    return _Reading(text, values, escape, quotes).until("")


class _Reading:
    def __init__(self, text: str, values: Mapping[str, str], escape: str, quotes: bool) -> None:
        self.text, self.values, self.escape, self.quotes, self.position = text, values, escape, quotes, 0
        self.depth = 0

    def until(self, stop: str) -> str:
        """Everything up to one of the characters of `stop`, which stays to be read."""
        out = []
        while (character := self._peek()) and character not in stop:
            if self.quotes and character == "'":
                out.append(self._single())
            elif self.quotes and character == '"':
                out.append(self._double())
            elif character == "$":
                out.append(self._variable())
            else:
                self.position += 1
                if character == self.escape and self._peek():
                    character = self._peek()
                    self.position += 1
                elif character == self.escape and self.quotes:
                    continue
                out.append(character)
        return "".join(out)

    def _peek(self) -> str:
        return self.text[self.position : self.position + 1]

    def _single(self) -> str:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            raise ValueError(f"a single quote is not closed in {self.text!r}")
        inside = self.text[self.position + 1 : end]
        self.position = end + 1
        return inside

    def _double(self) -> str:
        self.position += 1
        out = []
        while (character := self._peek()) != '"':
            if not character:
                raise ValueError(f"a double quote is not closed in {self.text!r}")
            if character == "$":
                out.append(self._variable())
                continue
            self.position += 1
            if character == self.escape and self._peek() in ('"', "$", self.escape):
                character = self._peek()
                self.position += 1
            out.append(character)
        self.position += 1
        return "".join(out)

    def _variable(self) -> str:
        self.position += 1
        if self._peek() != "{":
            match = _NAME.match(self.text, self.position)
            if match is None:
                return "$"
            self.position = match.end()
            return self.values.get(match[0], "")
        match = _NAME.match(self.text, self.position + 1)
        if match is None:
            raise ValueError(f"there is no name behind ${{ in {self.text!r}")
        self.position = match.end()
        operator = _OPERATOR.match(self.text, self.position)
        value = self.values.get(match[0])
        if operator is not None:
            self.position = operator.end()
            self.depth += 1
            if self.depth > _DEEPEST:
                raise ValueError(f"${{ stands in ${{ more than {_DEEPEST} times")
            value = self._operated(match[0], value, operator[0])
            self.depth -= 1
        if self._peek() != "}":
            raise ValueError(f"${{{match[0]} is not closed, or has an operator that is not known, in {self.text!r}")
        self.position += 1
        return value or ""

    def _operated(self, name: str, value: str | None, operator: str) -> str:
        if operator in ("/", "//"):
            pattern = re.compile(wildcard(self.until("/}"), across=True))
            if self._peek() == "/":
                self.position += 1
            new = self.until("}")
            return pattern.sub(lambda _: new, value or "", count=1 if operator == "/" else 0)
        word = self.until("}")
        if operator[0] in "#%":
            return _trimmed(value or "", word, operator)
        there = bool(value) if operator[0] == ":" else value is not None
        match operator[-1]:
            case "-":
                return value or "" if there else word
            case "+":
                return word if there else ""
        if not there:
            raise ValueError(f"{name} is not set: {word or 'it has to be'}")
        return value or ""


def _trimmed(value: str, word: str, operator: str) -> str:
    pattern = re.compile(wildcard(word, across=True), re.DOTALL)
    cuts = range(len(value) + 1)
    if operator[0] == "#":
        ends = [cut for cut in cuts if pattern.fullmatch(value[:cut])]
        return value[(max(ends) if operator == "##" else min(ends)) :] if ends else value
    starts = [cut for cut in cuts if pattern.fullmatch(value[cut:])]
    return value[: (min(starts) if operator == "%%" else max(starts))] if starts else value
