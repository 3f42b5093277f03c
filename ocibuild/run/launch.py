"""What the caller asks of a run, beside the image: arguments, environment, folders, network, limits."""

from __future__ import annotations

import csv
import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, Self

from ocibuild.errors import UsageError

_READ_ONLY = ":ro"
_KEYS = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_TRUTH = {"": True, "true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True)
class Folder:
    """A folder of the host, `host`, that the program sees as `guest`; an empty one in memory or of its own where
    `host` is "". An engine takes a single file too.
    """

    host: str
    guest: str
    read_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `HOST[::GUEST][:ro]`, as wasmtime writes it; without GUEST the program sees it under its host's name.

        Raises UsageError (`dir-invalid`) where HOST is no folder.
        """
        rest = text.removesuffix(_READ_ONLY)
        host, mark, guest = rest.partition("::")
        if not host or (mark and not guest) or not os.path.isdir(host):
            raise UsageError(
                f"--dir {text!r} names no folder of this machine",
                code="dir-invalid",
                hint="write HOST[::GUEST][:ro], as in --dir ./data::/data:ro",
            )
        return cls(host, guest or host, rest != text)

    @classmethod
    def mount(cls, text: str) -> Self:
        """Read `type=bind,source=HOST,target=GUEST[,readonly]` or `type=tmpfs,target=GUEST`, as docker writes them.

        https://docs.docker.com/engine/storage/bind-mounts/. Raises UsageError (`mount-invalid`).
        """
        said: dict[str, str] = {}
        for entry in _fields(text):
            key, equals, value = entry.partition("=")
            key = _KEYS.get(key.lower(), key.lower())
            if key not in ("type", "source", "target", "readonly"):
                _refuse(text, f"{key!r} is no key that is known here")
            if key in said:
                _refuse(text, f"{key} stands there twice")
            if not equals and key != "readonly":
                _refuse(text, f"{key} has no value")
            said[key] = value
        kind, source, target = said.get("type", "volume"), said.get("source", ""), said.get("target", "")
        if kind not in ("bind", "tmpfs"):
            _refuse(text, f"its type is {kind}, and there are bind and tmpfs here")
        if said.get("readonly", "") not in _TRUTH:
            _refuse(text, f"readonly is {said['readonly']!r}, and not true or false")
        if not target.startswith("/") or ".." in target.split("/"):
            _refuse(text, f"its target {target!r} is no absolute path in the image")
        if kind == "tmpfs" and (source or "readonly" in said):
            _refuse(text, "a tmpfs has no source, and is there to be written to")
        if kind == "bind" and not (source and os.path.exists(source)):
            _refuse(text, f"its source {source!r} is not on this machine")
        read_only = "readonly" in said and _TRUTH[said["readonly"]]
        return cls(source, posixpath.normpath(target), read_only)


def _fields(text: str) -> list[str]:
    """The entries between the commas; one with a comma in it is quoted, as in docker's."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        _refuse(text, str(error))
    return rows[0] if rows else []


def _refuse(text: str, why: str) -> NoReturn:
    raise UsageError(
        f"--mount {text!r} cannot be used: {why}",
        code="mount-invalid",
        hint="write --mount type=bind,source=./data,target=/data[,readonly] or --mount type=tmpfs,target=/tmp",
    )


@dataclass(frozen=True)
class Launch:
    """`arguments` replace the image's; `entrypoint` replaces its entrypoint and arguments, as `docker run` has it.

    env       `KEY=VALUE`, over the image's; `KEY` alone takes the caller's own variable where it is set
    folders   what of the host a Wasm program or a container may see, and nothing else
    net       whether it may use this machine's network
    listen    where an HTTP component answers, as IP:PORT
    timeout   seconds until the program is ended; memory in bytes, for each of a Wasm program's memories
    """

    arguments: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    folders: tuple[Folder, ...] = ()
    entrypoint: tuple[str, ...] = ()
    workdir: str | None = None
    net: bool = False
    listen: str | None = None
    timeout: float | None = None
    memory: int | None = None

    def variables(self, image: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
        """The image's variables under those asked for. Raises UsageError (`pair-invalid`)."""
        found = dict(pair.split("=", 1) for pair in image if "=" in pair)
        return found | self.asked(environ)

    def asked(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The variables asked for, with their values. Raises UsageError (`pair-invalid`)."""
        found = {}
        for text in self.env:
            key, equals, value = text.partition("=")
            if not key or "\0" in text:
                raise UsageError(
                    f"--env {text!r} is not KEY=VALUE", code="pair-invalid", hint="write --env KEY=VALUE, or --env KEY"
                )
            if equals:
                found[key] = value
            elif key in environ:
                found[key] = environ[key]
        return found

    def distinct(self) -> Launch:
        """Itself. Raises UsageError (`mount-invalid`) where two folders want one place."""
        seen: set[str] = set()
        for folder in self.folders:
            if folder.guest in seen:
                raise UsageError(
                    f"two folders are to stand at {folder.guest}",
                    code="mount-invalid",
                    hint="give one of --dir and --mount another place",
                )
            seen.add(folder.guest)
        return self
