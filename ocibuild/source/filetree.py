"""Trees of files to copy from and into: a folder of this machine, and what a stage has made so far."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from copy import copy
from pathlib import Path
from typing import Protocol, Self

from ocibuild.content import tar
from ocibuild.content.blob import File
from ocibuild.content.tar import Entry
from ocibuild.errors import InputError
from ocibuild.source.patterns import Patterns

ROOT = Entry("", "dir", 0o755)
_LINKS = 40  # as many as Linux follows


class Tree(Protocol):
    """Files by path: relative, clean, "" for the root. Links are not followed."""

    def look(self, path: str) -> Entry | None: ...
    def names(self, path: str) -> list[str]: ...


class Folder:
    """A folder of this machine, without what is ignored.

    Owners are 0 and modes 0755 or 0644: who checked a file out, and under which umask, must not reach the digest.
    What is written now, at `hidden`, is no part of it: a second build would find the first one's image.
    """

    def __init__(
        self, path: str | os.PathLike[str], ignored: Patterns | None = None, hidden: Path | None = None
    ) -> None:
        self.path = Path(path)
        self.ignored = ignored or Patterns()
        whole = self.path.resolve()
        inside = hidden is not None and hidden.resolve().is_relative_to(whole)
        self.hidden = hidden.resolve().relative_to(whole).as_posix() if hidden and inside else None

    def look(self, path: str) -> Entry | None:
        """See Tree. Raises InputError (`input-unreadable`, `input-special`), UsageError (`path-invalid`)."""
        if not path:
            return ROOT
        if path == self.hidden:
            return None
        entry = self._entry(path)
        if entry is not None and self.ignored.match(path):
            within = entry.kind == "dir" and self.ignored.take_back and self.names(path)
            return entry if within else None
        return entry

    def names(self, path: str) -> list[str]:
        """See Tree."""
        try:
            found = sorted(os.listdir(self.path / path))
        except OSError as error:
            raise InputError(f"{self.path / path} cannot be read: {error.strerror}", code="input-unreadable") from error
        return [name for name in found if self.look(f"{path}/{name}" if path else name) is not None]

    def _entry(self, path: str) -> Entry | None:
        place = self.path / path
        try:
            status = os.lstat(place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"{place} cannot be read: {error}", code="input-unreadable") from error
        if stat.S_ISDIR(status.st_mode):
            return Entry(path, "dir", 0o755)
        if stat.S_ISLNK(status.st_mode):
            return Entry(path, "symlink", 0o777, target=tar.checked_target(path, os.readlink(place)))
        if not stat.S_ISREG(status.st_mode):
            if self.ignored.match(path):
                return None
            raise InputError(
                f"{place} is neither a file nor a folder", code="input-special", hint="name it in .dockerignore"
            )
        mode = 0o755 if status.st_mode & 0o100 else 0o644
        return Entry(path, "file", mode, File(str(place), status.st_size, mtime_ns=status.st_mtime_ns))


class Rootfs:
    """What a stage has made so far."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.files: dict[str, Entry] = {}
        self._names: dict[str, set[str]] = {}
        for entry in entries:
            self.put(entry)

    def put(self, entry: Entry) -> None:
        """Set what is at a path."""
        self.files[entry.path] = entry
        self.note(entry.path)

    def note(self, path: str) -> None:
        """Count a path among the names in its folder."""
        folder, _, name = path.rpartition("/")
        self._names.setdefault(folder, set()).add(name)

    def copy(self) -> Self:
        """The same files, to go on from."""
        other = copy(self)
        other.files, other._names = dict(self.files), {folder: set(names) for folder, names in self._names.items()}
        return other

    def look(self, path: str) -> Entry | None:
        """See Tree."""
        return self.files.get(path) if path else ROOT

    def names(self, path: str) -> list[str]:
        """See Tree."""
        return sorted(self._names.get(path, ()))


def joined(folder: str, name: str) -> str:
    """A path in a tree."""
    return f"{folder}/{name}" if folder else name


def resolved(tree: Tree, path: str, *, last: bool = True) -> str:
    """`path` with links followed inside the tree, the last component's too with `last`; never out of the root.

    What is not there stays as it is written. Raises InputError (`link-loop`).
    """
    waiting, done, links = [part for part in path.split("/") if part][::-1], "", 0
    while waiting:
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        here = joined(done, part)
        entry = tree.look(here)
        if entry is None or entry.kind != "symlink" or not (waiting or last):
            done = here
            continue
        links += 1
        if links > _LINKS:
            raise InputError(f"the links at /{path} lead in a circle", code="link-loop", hint="mend the links")
        done = "" if entry.target.startswith("/") else done
        waiting += entry.target.split("/")[::-1]
    return done
