"""Manual pages, made from the commands themselves: roff with the macros of man(7)."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from datetime import date

import click

from ocibuild import __version__

SECTION = 1

_STATUS = (
    ("0", "Done."),
    ("1", "Failed."),
    ("2", "Wrong usage."),
    ("3", "A check found something."),
    ("4", "Not authorised by a registry."),
    ("5", "The network or a registry did not answer."),
    ("130", "Called off by Ctrl-C."),
)
_ENVIRONMENT = (
    ("SOURCE_DATE_EPOCH", "The time, in seconds since 1970, that images and their files are given."),
    ("DOCKER_CONFIG, REGISTRY_AUTH_FILE", "Where logins are kept, as docker and podman have it."),
    ("HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "Proxies on the way to registries."),
    ("XDG_CACHE_HOME", "Where a bake remembers what it has made."),
    ("NO_COLOR", "No colours."),
)
_FILES = (
    ("ocibuild.toml", "Targets of a bake, and options that change an image's bytes or names."),
    ("pyproject.toml", "The same, below [tool.ocibuild]."),
)


def pages(cli: click.Group, day: date) -> dict[str, str]:
    """Every page, by its file's name: `ocibuild.1`, and `ocibuild-pack.1` for each verb; `day` stands below them."""
    context = click.Context(cli, info_name="ocibuild", **cli.context_settings)
    names = cli.list_commands(context)
    made = {f"ocibuild.{SECTION}": _whole(cli, context, names, day)}
    for name in names:
        verb = cli.get_command(context, name)
        assert verb is not None
        made[f"ocibuild-{name}.{SECTION}"] = _verb(context, name, verb, day)
    return made


def _whole(cli: click.Group, context: click.Context, names: list[str], day: date) -> str:
    lines = [*_head("ocibuild", _first(cli), day), *_synopsis(["ocibuild"], "[--debug] COMMAND [ARGUMENT]…")]
    lines += [".SH DESCRIPTION", *_described(cli), ".SH COMMANDS"]
    for name in names:
        verb = cli.get_command(context, name)
        assert verb is not None
        lines += [".TP", f"\\fBocibuild\\-{_escaped(name)}\\fR({SECTION})", *_paragraph(verb.get_short_help_str(200))]
    lines += [".SH OPTIONS", *_options(cli, context), *_listed("ENVIRONMENT", _ENVIRONMENT), *_listed("FILES", _FILES)]
    return "\n".join([*lines, *_listed("EXIT STATUS", _STATUS), ""])


def _verb(parent: click.Context, name: str, verb: click.Command, day: date) -> str:
    context = click.Context(verb, info_name=name, parent=parent)
    lines = _head(f"ocibuild-{name}", verb.get_short_help_str(200), day)
    lines += _synopsis(["ocibuild", name], " ".join(verb.collect_usage_pieces(context)))
    lines += [".SH DESCRIPTION", *_described(verb), ".SH OPTIONS", *_options(verb, context)]
    examples = inspect.cleandoc(verb.help or "").split("\b\n")[1:]
    if examples:
        lines += [".SH EXAMPLES"]
        for number, block in enumerate(examples):
            code = [_safe(_escaped(line)) for line in block.strip().splitlines()]
            lines += [*([".PP"] if number else []), ".RS", ".nf", *code, ".fi", ".RE"]
    lines += [*_listed("EXIT STATUS", _STATUS), ".SH SEE ALSO", f"\\fBocibuild\\fR({SECTION})"]
    return "\n".join([*lines, ""])


def _head(name: str, words: str, day: date) -> list[str]:
    return [
        f'.TH {_escaped(name.upper())} {SECTION} "{day.isoformat()}" "ocibuild {__version__}" "ocibuild"',
        ".SH NAME",
        *_wrapped(f"{_escaped(name)} \\- {_escaped(words.rstrip('.'))}"),
    ]


def _synopsis(words: list[str], pieces: str) -> list[str]:
    return [".SH SYNOPSIS", *_wrapped(f"\\fB{_escaped(' '.join(words))}\\fR {_escaped(pieces)}")]


def _first(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "").partition("\n\n")[0]


def _described(command: click.Command) -> Iterator[str]:
    text = inspect.cleandoc(command.help or "").split("\b\n")[0].strip()
    for number, block in enumerate(re.split(r"\n{2,}", text)):
        if number:
            yield ".PP"
        yield from _paragraph(block)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record:
            flags, words = record
            yield ".TP"
            # The flags are bold, what they take is not.
            yield re.sub(r"(?<![\w.])((?:\\-){1,2}[A-Za-z][\w.-]*(?:\\-\w+)*)", r"\\fB\1\\fR", _escaped(flags))
            yield from _paragraph(words)


def _listed(title: str, entries: tuple[tuple[str, str], ...]) -> list[str]:
    lines = [f".SH {title}"]
    for name, words in entries:
        lines += [".TP", f"\\fB{_escaped(name)}\\fR", *_paragraph(words)]
    return lines


def _paragraph(text: str) -> list[str]:
    """Running text: every sentence begins a line, as roff wants it."""
    sentences = re.split(r"(?<=[a-z)][.:])\s+(?=[A-Z])", " ".join(text.split()))
    return [line for sentence in sentences for line in _wrapped(_escaped(sentence))]


def _wrapped(escaped: str) -> list[str]:
    lines = textwrap.wrap(escaped, 78, break_long_words=False, break_on_hyphens=False)
    return [_safe(line) for line in lines]


def _safe(line: str) -> str:
    """A line that is not taken for a request."""
    return f"\\&{line}" if line.startswith((".", "'", " ")) else line


def _escaped(text: str) -> str:
    """Text for roff: a hyphen is a hyphen that can be copied, and every other sign what it is, on any terminal."""
    table = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}
    return "".join(table.get(sign, sign if sign.isascii() else f"\\[u{ord(sign):04X}]") for sign in text)
