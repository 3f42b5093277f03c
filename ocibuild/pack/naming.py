"""Names: what the program is called in the image, and what a file on the command line says about its platform."""

from __future__ import annotations

import os
import re

from ocibuild.content.tar import checked_path
from ocibuild.spec.platform import Platform

_OS = r"(?:linux|wasi|wasip1|wasip2)"
_MACHINE = (
    r"(?:amd64|x86[_-]64|x64|arm64|aarch64|arm(?:32)?[_-]?v?[567]?(?:hf)?|armhf|armel|386|i[3-6]86|x86|riscv64(?:gc)?|ppc64le|powerpc64le"
    r"|s390x|loong(?:arch)?64|mips64(?:le|el)|wasm(?:32)?)"
)
_TAIL = rf"[-_.](?:{_OS}[-_.]{_MACHINE}|{_MACHINE}[-_.](?:unknown[-_.])?{_OS}|{_MACHINE})(?:[-_.](?:gnu|musl)\w*)?$"


_IN_MACHINES = ("64", "86", "arm", "s390x", "wasm")
"""Every machine's name has one of these in it: a name without needs no pattern, whose compilation takes a millisecond."""


def program_name(file_name: str) -> str:
    """The file's name without a platform at its end: `app-linux-amd64` is `app`, `app.wasm` stays.

    A name that is nothing but a platform stays too.
    """
    stem, dot, suffix = file_name.rpartition(".")
    if dot and suffix in ("wasm", "exe") and stem:
        return f"{_shorter(stem)}.{suffix}"
    return _shorter(file_name)


def _shorter(stem: str) -> str:
    if not any(word in stem for word in _IN_MACHINES) or re.fullmatch(_TAIL, f"-{stem}"):
        return stem
    return re.sub(_TAIL, "", stem)


def in_image(name: str) -> str:
    """A program's path in the image, relative and clean. Raises UsageError (`path-invalid`)."""
    return checked_path(name)


def split_input(argument: str) -> tuple[str, Platform | None]:
    """`FILE[=PLATFORM]`. A file that is really called so goes first. Raises UsageError (`platform-invalid`)."""
    path, equals, platform = argument.rpartition("=")
    if not equals or not path or os.path.lexists(argument):
        return argument, None
    return path, Platform.parse(platform)


def layout_name(file_name: str) -> str:
    """The layout's default name: `hello.wasm` and `hello-linux-amd64` make `hello.oci`."""
    return program_name(file_name).removesuffix(".wasm") + ".oci"


def repository(file_name: str) -> str:
    """What an image is called where nobody named it: `Hello World.wasm` makes `hello-world`."""
    stem = program_name(file_name).removesuffix(".wasm").lower()
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-") or "image"
