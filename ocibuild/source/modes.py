"""COPY --chmod: octal, or chmod's symbols, which change each file's own mode. POSIX.1-2017 chmod, "operation"; the
sticky bit is the user's, as in BSD's setmode and BuildKit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CLASSES = {"u": 0o5700, "g": 0o2070, "o": 0o0007}
_BITS = {"r": 0o444, "w": 0o222, "x": 0o111, "s": 0o6000, "t": 0o1000}
_CLAUSE = re.compile(r"([ugoa]*)((?:[-+=](?:[rwxXst]*|[ugo]))+)")
_STEP = re.compile(r"([-+=])([rwxXst]*|[ugo])(?=[-+=]|$)")


@dataclass(frozen=True)
class Mode:
    """What becomes of modes: all the same `octal` one, or each changed by `clauses` (who, operations)."""

    octal: int | None = None
    clauses: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, text: str) -> Mode:
        """Read `0755` or `u=rwX,go=rX`. Raises ValueError for anything else."""
        if re.fullmatch(r"[0-7]{1,5}", text):
            return cls(int(text, 8) & 0o7777)
        matches = [_CLAUSE.fullmatch(part) for part in text.split(",")]
        if not all(matches):
            raise ValueError(f"{text} is no mode")
        return cls(clauses=tuple((match[1], match[2]) for match in matches if match))

    def applied(self, mode: int, *, is_dir: bool) -> int:
        """The mode of a file that has `mode`."""
        if self.octal is not None:
            return self.octal
        for who, operations in self.clauses:
            classes = "ugo" if not who or "a" in who else who
            for sign, what in _STEP.findall(operations):
                mode = _changed(mode, classes, sign, what, is_dir=is_dir)
        return mode


def _changed(mode: int, classes: str, sign: str, what: str, *, is_dir: bool) -> int:
    if what in _CLASSES:
        three = mode >> {"u": 6, "g": 3, "o": 0}[what] & 0o7
        bits = three * 0o111
    else:
        bits = 0
        for letter in what:
            if letter == "X":
                bits |= 0o111 if is_dir or mode & 0o111 else 0
            else:
                bits |= _BITS[letter]
    mask = 0
    for one in set(classes):
        mask |= _CLASSES[one]
    bits &= mask
    if sign == "+":
        return mode | bits
    if sign == "-":
        return mode & ~bits
    return mode & ~mask | bits
