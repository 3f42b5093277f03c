"""The file a person gives: looked at, recognised, and described. Headers alone are read; no digest is taken yet."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Literal

from ocibuild.binary import wasm
from ocibuild.binary.extent import Descriptor, Extent, Memory
from ocibuild.binary.wasm import WasmFacts
from ocibuild.errors import InputError
from ocibuild.record import record

if TYPE_CHECKING:
    from ocibuild.binary.elf import ElfFacts
    from ocibuild.spec.platform import Platform

HEAD = 512
"""Bytes that a file is recognised by; a tar archive's mark is the deepest, at 257."""


@record
class Stamp:
    """What tells whether a path still holds the same file; sizes in bytes, times in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Stamp:
        """The stamp of what `os.stat` or `os.fstat` found."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@record
class Artifact:
    """A compiled program: the path as it was given, its last part, its size in bytes, and what its headers say."""

    path: str
    name: str
    size: int
    stamp: Stamp
    facts: WasmFacts | ElfFacts

    @property
    def kind(self) -> Literal["module", "component", "elf"]:
        """A core module, a component, or a native program."""
        return self.facts.kind if isinstance(self.facts, WasmFacts) else "elf"

    @property
    def platform(self) -> Platform | None:
        """A native program's platform; None for Wasm, whose platform the shape of the image decides."""
        return None if isinstance(self.facts, WasmFacts) else self.facts.platform


def inspect(path: str | os.PathLike[str], *, allow_dynamic: bool = False) -> Artifact:
    """Recognise the file at `path`. Symbolic links are followed.

    Raises InputError: `file-…` for what cannot be read, `format-…` for what is no program of ours, `wasm-…` and `elf-…`
    for what is damaged or of the wrong kind, `dynamic-binary` for a program that needs a loader or libraries, unless
    `allow_dynamic`.
    """
    given = os.fspath(path)
    name = os.path.basename(given) or given
    fd = _open(given)
    try:
        status = os.fstat(fd)
        _refuse_special(given, status.st_mode)  # once more: the path may have changed hands
        facts = _facts(Descriptor(given, fd, status.st_size), allow_dynamic)
    finally:
        os.close(fd)
    return Artifact(given, name, status.st_size, Stamp.of(status), facts)


def inspect_bytes(data: bytes, name: str, *, allow_dynamic: bool = False) -> Artifact:
    """The same for bytes in memory, under a name for messages; the stamp is zeros and the size. Raises as `inspect`."""
    facts = _facts(Memory(name, data), allow_dynamic)
    return Artifact(name, os.path.basename(name), len(data), Stamp(0, 0, len(data), 0), facts)


def inspect_extent(extent: Extent, *, allow_dynamic: bool = False) -> Artifact:
    """The same for bytes that can be read in places, such as a program inside an image. Raises as `inspect`."""
    facts = _facts(extent, allow_dynamic)
    return Artifact(extent.name, extent.name, extent.size, Stamp(0, 0, extent.size, 0), facts)


def _facts(extent: Extent, allow_dynamic: bool) -> WasmFacts | ElfFacts:
    head = extent.read_at(0, HEAD)
    if not head:
        raise InputError(f"{extent.name} is empty", code="file-empty", hint="the build that made it may have failed")
    if head.startswith(wasm.MAGIC):
        return wasm.read_wasm(extent)
    if head.startswith(b"\x7fELF"):
        from ocibuild.binary import elf

        facts = elf.read_elf(extent)
        if not allow_dynamic:
            elf.refuse_dynamic(extent.name, facts)
        return facts
    from ocibuild.binary import sniff

    raise sniff.refusal(extent.name, head)


def _open(path: str) -> int:
    # Looked at before it is opened: opening a device can do things, and opening a FIFO waits for its writer.
    try:
        _refuse_special(path, os.stat(path).st_mode)
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        return os.open(path, flags)
    except FileNotFoundError as error:
        hint = "check the path, and that the build wrote it"
        raise InputError(f"there is no file {path}", code="file-not-found", hint=hint) from error
    except PermissionError as error:
        hint = f"look at its permissions: ls -l {path}"
        raise InputError(f"{path} may not be read", code="file-unreadable", hint=hint) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path} cannot be opened: {reason}", code="file-unreadable") from error


def _refuse_special(path: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a directory", code="file-is-directory", hint="give the program inside it")
    kinds = ((stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"), (stat.S_ISCHR, "device"), (stat.S_ISBLK, "disk"))
    what = next((what for test, what in kinds if test(mode)), "special file")
    raise InputError(
        f"{path} is a {what}, not a file",
        code="file-is-special",
        hint="write the program to a file first: it is read more than once",
    )
