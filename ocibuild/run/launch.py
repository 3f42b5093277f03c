"""What the caller asks of a run, beside the image: arguments, environment, folders, limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from ocibuild.errors import UsageError

_READ_ONLY = ":ro"


@dataclass(frozen=True)
class Folder:
    """A folder of the host, `host`, that the program sees as `guest`."""

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


@dataclass(frozen=True)
class Launch:
    """`arguments` replace the image's; `entrypoint` replaces its entrypoint and arguments, as `docker run` has it.

    env       `KEY=VALUE`, over the image's; `KEY` alone takes the caller's own variable where it is set
    folders   what of the host a Wasm program may see, and nothing else
    timeout   seconds until the program is ended; memory in bytes, for each of a Wasm program's memories
    """

    arguments: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    folders: tuple[Folder, ...] = ()
    entrypoint: tuple[str, ...] = ()
    workdir: str | None = None
    timeout: float | None = None
    memory: int | None = None

    def variables(self, image: tuple[str, ...], environ: Mapping[str, str]) -> dict[str, str]:
        """The image's variables under those asked for. Raises UsageError (`pair-invalid`)."""
        found = dict(pair.split("=", 1) for pair in image if "=" in pair)
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
