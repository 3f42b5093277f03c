"""The Dockerfile as it is written: directives, instructions with their flags and here-documents, line by line.

Nothing is expanded and nothing looked up here. Dockerfile reference (docs.docker.com/reference/dockerfile); where it is
silent, what BuildKit does (tests/vectors/buildkit).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ocibuild.errors import InputError
from ocibuild.source.expansion import expand

# The flags that each instruction knows; those of RUN are read by whoever runs it.
_FLAGS: dict[str, tuple[str, ...] | None] = {
    "ADD": ("chmod", "chown", "link", "exclude", "checksum", "keep-git-dir", "unpack"),
    "ARG": (), "CMD": (),
    "COPY": ("chmod", "chown", "from", "link", "parents", "exclude"),
    "ENTRYPOINT": (), "ENV": (), "EXPOSE": (),
    "FROM": ("platform",),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
    "LABEL": (), "MAINTAINER": (), "ONBUILD": (),
    "RUN": None,
    "SHELL": (), "STOPSIGNAL": (), "USER": (), "VOLUME": (), "WORKDIR": (),
}  # fmt: skip
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_DIRECTIVES = ("escape", "syntax", "check")
_SYNTAX = re.compile(r"(?:docker\.io/)?docker/dockerfile(?:-upstream)?(?:[:@].*)?")
_HEREDOC = re.compile(r"\d*<<(-?)([^<]+)")
_BLANKS = re.compile(r"[\t\v\f\r ]+")
_WITH_HEREDOCS = ("ADD", "COPY", "RUN")


@dataclass(frozen=True)
class HereDocument:
    """Text that follows an instruction; `expands` unless its name was quoted."""

    name: str
    text: str
    expands: bool


@dataclass(frozen=True)
class Instruction:
    """One instruction. `word` is upper-case, `rest` what follows its flags, `at` names file and line for messages.

    `line` is the number of its first line. A flag without a value has the value "". `inner` is what ONBUILD holds back.
    """

    word: str
    rest: str
    at: str
    flags: tuple[tuple[str, str], ...] = ()
    documents: tuple[HereDocument, ...] = ()
    inner: Instruction | None = None
    line: int = 0

    def flag(self, name: str) -> str | None:
        """The flag's last value, None where it was not given."""
        return next((value for key, value in reversed(self.flags) if key == name), None)

    def array(self) -> tuple[str, ...] | None:
        """The JSON array of strings, None for the shell form. Raises InputError for an array of something else."""
        if not self.rest.startswith("["):
            return None
        try:
            words = json.loads(self.rest)
        except (ValueError, RecursionError):
            return None
        if not all(isinstance(word, str) for word in words):
            raise invalid(self.at, f"{self.word} takes strings in its array", 'write ["word", "word"]')
        return tuple(words)

    def words(self) -> tuple[str, ...]:
        """The array's, or else what white space separates."""
        array = self.array()
        # Blanks of other alphabets are letters to BuildKit.
        return tuple(_BLANKS.split(self.rest)) if array is None else array


@dataclass(frozen=True)
class Dockerfile:
    """All instructions in order, the character that escapes, and the lines they were read from."""

    instructions: tuple[Instruction, ...]
    escape: str = "\\"
    lines: tuple[str, ...] = ()


def invalid(at: str, said: str, hint: str | None = None) -> InputError:
    """The error for what no Dockerfile may say."""
    return InputError(f"{at}: {said}", code="dockerfile-invalid", hint=hint)


def unsupported(at: str, said: str, hint: str) -> InputError:
    """The error for what is right in a Dockerfile and cannot be done here."""
    return InputError(f"{at}: {said}", code="dockerfile-unsupported", hint=hint)


def parse(data: bytes, name: str = "Dockerfile") -> Dockerfile:
    """Read a Dockerfile; `name` is for messages.

    Raises InputError (`dockerfile-invalid`, `dockerfile-unsupported`) with the line that is wrong.
    """
    try:
        # Not splitlines(), for which a line also ends at U+2028 and its like.
        lines = data.decode("utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise invalid(f"{name} line {line}", "this is not UTF-8", "save the file as UTF-8") from error
    escape = _directives(lines, name)
    instructions = tuple(_instructions(lines, escape, name))
    if not instructions:
        raise invalid(name, "there are no instructions in it", "begin with FROM scratch")
    return Dockerfile(instructions, escape, tuple(lines))


def _directives(lines: Sequence[str], name: str) -> str:
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None or match[1].lower() not in _DIRECTIVES:
            break
        at, key, value = f"{name} line {number}", match[1].lower(), match[2]
        if key in found:
            raise invalid(at, f"a second # {key}= line", "keep one of them")
        if key == "escape" and value not in ("\\", "`"):
            raise invalid(at, f"# escape={value} is neither \\ nor `", "write # escape=` or leave the line out")
        if key == "syntax" and not _SYNTAX.fullmatch(value):
            raise unsupported(
                at, f"# syntax={value} is another language", "Dockerfiles of docker/dockerfile are built here"
            )
        found[key] = value
    return found.get("escape", "\\")


def _instructions(lines: Sequence[str], escape: str, name: str) -> Iterator[Instruction]:
    sign = re.escape(escape)
    continued = re.compile(rf"(?:(?<!{sign})){sign}[ \t]*$")
    number = 0
    while number < len(lines):
        start, text, begun = number, "", False
        while number < len(lines):
            line = lines[number].rstrip("\r")
            number += 1
            bare = line.strip()
            if bare.startswith("#") or (begun and not bare):
                continue
            line, begun = line if text else line.lstrip(), True
            text += continued.sub("", line)
            if not continued.search(line):
                break
        if text.strip():
            line_number = _first(lines, start) + 1
            at = f"{name} line {line_number}"
            documents, number = _documents(text, lines, number, at)
            yield replace(_instruction(text.strip(), at, documents), line=line_number)


def _first(lines: Sequence[str], start: int) -> int:
    return next(n for n in range(start, len(lines)) if lines[n].strip() and not lines[n].lstrip().startswith("#"))


def _instruction(text: str, at: str, documents: tuple[HereDocument, ...]) -> Instruction:
    first, _, rest = text.partition(" ") if " " in text.split("\t")[0] else text.partition("\t")
    word, rest = first.upper(), rest.strip()
    if word not in _FLAGS:
        raise invalid(at, f"unknown instruction {first}", _nearest(word, tuple(_FLAGS)))
    if not rest:
        raise invalid(at, f"{word} says nothing", f"write what {word} is for, or take the line out")
    if word == "ONBUILD":
        second = rest.split()[0].upper()
        if second in ("ONBUILD", "FROM", "MAINTAINER"):
            raise invalid(at, f"{second} cannot stand behind ONBUILD", "take one of the two out")
        inner = _instruction(rest, at, documents)
        return Instruction(word, rest, at, inner=inner)
    flags, rest = _flags(word, rest, at)
    if not rest:
        raise invalid(at, f"{word} says nothing behind its flags", f"write what {word} is for, or take the line out")
    return Instruction(word, rest, at, flags, documents)


def _flags(word: str, rest: str, at: str) -> tuple[tuple[tuple[str, str], ...], str]:
    known = _FLAGS[word]
    flags: list[tuple[str, str]] = []
    while rest.startswith("--"):
        flag, rest = _flag(rest)
        if flag == "--":
            break
        name, _, value = flag[2:].partition("=")
        if known is not None and name not in known:
            raise invalid(at, f"{word} has no flag --{name}", _nearest(name, known, "--"))
        flags.append((name, value))
    return tuple(flags), rest


def _flag(text: str) -> tuple[str, str]:
    """The word that a text begins with, without its quotes and escapes, and what follows it."""
    word, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        position += 1
        if character == quote:
            quote = ""
        elif quote == "" and character in "\"'":
            quote = character
        elif character == "\\":
            word += text[position : position + 1]
            position += 1
        elif quote == "" and character.isspace():
            break
        else:
            word += character
    return word, text[position:].lstrip()


def _nearest(word: str, known: Sequence[str], before: str = "") -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, 1)
    if not known:
        return "take it out, or put quotes around it"
    return f"did you mean {before}{near[0]}?" if near else f"there are {', '.join(before + one for one in known)}"


def _documents(text: str, lines: Sequence[str], number: int, at: str) -> tuple[tuple[HereDocument, ...], int]:
    """The here-documents that an instruction announces, and the number of the line after them."""
    words = text.split()
    verb = words[1] if words[0].upper() == "ONBUILD" and len(words) > 1 else words[0]
    if verb.upper() not in _WITH_HEREDOCS:
        return (), number
    documents, split = [], split_words(text)  # these are a shell's words, whatever # escape= says
    if _unquoted(split[-1]) is None:
        return (), number  # a quote that is not closed: shells would read on, BuildKit sees no here-document
    for word in split:
        match = _HEREDOC.fullmatch(word)
        name = _unquoted(match[2]) if match is not None else None
        if match is None or name is None:
            continue
        body: list[str] = []
        while True:
            if number >= len(lines):
                raise invalid(at, f"the here-document {name} has no end", f"end it with a line that is {name} alone")
            line = lines[number].lstrip("\t") if match[1] else lines[number]
            number += 1
            if line.rstrip("\r") == name:
                break
            body.append(line + "\n")
        documents.append(HereDocument(name, "".join(body), expands=not re.search(r"[\"'\\]", match[2])))
    return tuple(documents), number


def _unquoted(word: str) -> str | None:
    """A here-document's name without quotes; None where it is no word, and so no here-document."""
    try:
        return expand(word.replace("$", "\\$"), {})
    except ValueError:
        return None


def split_words(text: str, escape: str = "\\") -> list[str]:
    """Words as ENV and LABEL have them: white space separates, unless it is quoted or escaped. Quotes stay."""
    words, word, quote, position = [], "", "", 0
    while position < len(text):
        character = text[position]
        if character == escape and position + 1 < len(text):
            word += text[position : position + 2]
            position += 2
            continue
        position += 1
        if not quote and character.isspace():
            words += [word] if word else []
            word = ""
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        word += character
    return [*words, word] if word else words


def is_heredoc(word: str) -> bool:
    """Whether a word of COPY or ADD announces a here-document."""
    match = _HEREDOC.fullmatch(word)
    return match is not None and _unquoted(match[2]) is not None
