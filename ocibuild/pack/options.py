"""Options: one dataclass that makes the command line's flags, the library's keyword arguments and the config file's keys.

Each field carries its own help; `cli` reads it to build flags, `configfile` to read tables.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from ocibuild.errors import UsageError
from ocibuild.record import field, fields, record

NONROOT = 65532
"""The uid and gid of the user `nonroot` in Google's and Chainguard's images, which cluster policies know."""

_OCTAL = r"0{0,4}[0-7]{1,4}"

Form = Literal["text", "switch", "list", "table"]


@record
class About:
    """What a field is to a person: its flags, the form of its value, and one sentence."""

    help: str
    form: Form
    metavar: str = ""
    flags: tuple[str, ...] = ()


def _text(help: str, metavar: str, *flags: str) -> Any:
    return field(default=None, metadata={"about": About(help, "text", metavar, flags)})


def _switch(help: str, *flags: str) -> Any:
    return field(default=False, metadata={"about": About(help, "switch", "", flags)})


def _list(help: str, metavar: str, *flags: str) -> Any:
    return field(default=(), metadata={"about": About(help, "list", metavar, flags)})


def _table(help: str, metavar: str, *flags: str) -> Any:
    return field(default=(), metadata={"about": About(help, "table", metavar, flags)})


@record
class Options:
    """What may be said about an image. Tables are held as `key=value` lines; everything is text until it is planned."""

    format: str | None = _text(
        "The shape to write; `ocibuild formats` lists them.  [default: image]", "SHAPE", "-f", "--format"
    )
    consumer: str | None = _text("Who will run it; chooses shape and platform.", "NAME", "--for")
    platform: tuple[str, ...] = _list(
        "The platform, where detection cannot know it (repeatable).", "OS/ARCH[/VARIANT]", "--platform"
    )
    also: tuple[str, ...] = _list(
        "List the Wasm image under these platforms too (comma-separated).", "PLATFORM,…", "--also"
    )
    index: bool = _switch("Write an index even for a single platform.", "--index")
    name: str | None = _text("The program's path in the image.", "PATH", "--name")
    mode: str | None = _text("The program's mode, octal.  [default: 0755]", "MODE", "--mode")
    entrypoint: str | None = _text(
        "What is started: words as a shell splits them, or a JSON array.", "WORDS", "--entrypoint"
    )
    cmd: str | None = _text("Default arguments: words as a shell splits them, or a JSON array.", "WORDS", "--cmd")
    env: tuple[str, ...] = _table("An environment variable (repeatable).", "KEY=VALUE", "-e", "--env")
    label: tuple[str, ...] = _table("A label of the image config (repeatable).", "KEY=VALUE", "-l", "--label")
    annotation: tuple[str, ...] = _table(
        "An annotation (repeatable); manifest:, index: or descriptor: before the key says where.",
        "[WHERE:]KEY=VALUE",
        "--annotation",
    )
    user: str | None = _text(
        "User and group the program runs as; numeric for Kubernetes' runAsNonRoot.", "UID[:GID]", "--user"
    )
    workdir: str | None = _text("The working directory.  [default: /]", "PATH", "--workdir")
    expose: tuple[str, ...] = _list("A port it listens on (repeatable).", "PORT[/PROTOCOL]", "--expose")
    volume: tuple[str, ...] = _list("A path meant for a volume (repeatable).", "PATH", "--volume")
    stop_signal: str | None = _text("The signal that asks it to stop.", "SIGNAL", "--stop-signal")
    author: str | None = _text("The image's author.", "NAME", "--author")
    created: str | None = _text(
        "Creation time, RFC 3339 or seconds.  [default: SOURCE_DATE_EPOCH, else 1970]", "TIME", "--created"
    )
    add: tuple[str, ...] = _list("A file or folder to add (repeatable).", "SRC:DEST[:MODE]", "--add")
    ca_certs: bool = _switch("Add Mozilla's CA certificates.", "--ca-certs")
    tzdata: bool = _switch("Add the time zone database.", "--tzdata")
    nonroot: bool = _switch("Run as 65532:65532, with passwd and group entries, a home and /tmp.", "--nonroot")
    compression: str | None = _text(
        "gzip[:1-12], gzip-single[:1-12], zstd[:1-22] or none.  [default: gzip:1]", "NAME[:LEVEL]", "--compression"
    )
    git: bool = _switch("Annotate with git's revision, source and version.", "--git")
    allow_dynamic: bool = _switch("Pack a dynamically linked binary all the same.", "--allow-dynamic")


@record
class Sources:
    """What a build is told besides: a folder, and what is done with it. Tables are held as `key=value` lines."""

    build: str | None = _text("The folder to build: its Dockerfile, or else its sources.", "DIR", "--build")
    dockerfile: str | None = _text("The Dockerfile, where it is not the folder's own.", "FILE", "--dockerfile")
    target: str | None = _text("The stage to build.  [default: the last]", "STAGE", "--target")
    build_arg: tuple[str, ...] = _table("A value for ARG.", "NAME=VALUE", "--build-arg")
    build_context: tuple[str, ...] = _table(
        "The files of a stage that was built elsewhere: a folder, an image, or target:NAME.",
        "NAME=DIR|IMAGE",
        "--build-context",
    )
    engine: str | None = _text("Who builds stages with RUN.", "ENGINE", "--engine")
    secret: tuple[str, ...] = _list("For RUN --mount=type=secret: id=ID,src=FILE.", "SECRET", "--secret")
    ssh: tuple[str, ...] = _list("For RUN --mount=type=ssh: default, or ID=SOCKET|KEY.", "SSH", "--ssh")
    language: str | None = _text("Build the folder's sources; auto sees their language.", "LANGUAGE", "--language")
    program: str | None = _text("Which of the sources' programs.", "NAME", "--program")
    tool_arg: tuple[str, ...] = _list("Handed to the toolchain.", "ARG", "--tool-arg")


@record
class Target:
    """What to pack or build: files as `FILE[=PLATFORM]`, references, and what is said about the image.

    With `sources` it is built from them and has no files. It is made after all those it `needs`.
    """

    files: tuple[str, ...]
    tags: tuple[str, ...]
    options: Options
    sources: Sources | None = None
    needs: tuple[str, ...] = ()
    name: str = ""


def about(kind: type[Options] | type[Sources] = Options) -> dict[str, About]:
    """Each field's name and what it is to a person, in order."""
    return {entry.name: entry.metadata["about"] for entry in fields(kind)}


def parse_mode(text: str) -> int:
    """An octal mode. Raises UsageError (`mode-invalid`)."""
    if not re.fullmatch(_OCTAL, text):
        raise UsageError(f"mode {text!r} is not octal digits up to 7777", code="mode-invalid", hint="for example 0755")
    return int(text, 8)
