"""WWW-Authenticate, read as RFC 9110 section 11 has it: many challenges a line, tokens or quoted strings, any case."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ocibuild.record import field, record

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^ \t,"]*))', re.DOTALL)
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@record
class Challenge:
    """One scheme (lower case) with its parameters (names in lower case)."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse(lines: Iterable[str]) -> list[Challenge]:
    """Every challenge of all header lines, in order. What cannot be read is passed over, never misread."""
    return [challenge for line in lines for challenge in _challenges(line)]


def _challenges(line: str) -> list[Challenge]:
    found: list[tuple[str, dict[str, str]]] = []
    at = 0
    while at < len(line):
        if line[at] in " \t,":
            at += 1
        elif (match := _PARAMETER.match(line, at)) and found:
            quoted, bare = match[2], match[3]
            found[-1][1].setdefault(match[1].lower(), _ESCAPE.sub(r"\1", quoted) if quoted is not None else bare)
            at = match.end()
        elif match := _SCHEME.match(line, at):
            found.append((match[1].lower(), {}))
            at = match.end()
            # "Negotiate dG9rZW4=" carries a token68, which is no parameter of anything.
            if line[at : at + 1] == " " and (blob := _TOKEN68.match(line, at + 1)):
                at = blob.end()
        else:
            at = _next_comma(line, at)
    return [Challenge(scheme, parameters) for scheme, parameters in found]


def _next_comma(line: str, at: int) -> int:
    comma = line.find(",", at)
    return len(line) if comma < 0 else comma + 1
