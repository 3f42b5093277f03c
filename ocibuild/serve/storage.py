"""The folder that is served: one layout a repository, or one layout that is the only repository.

A repository's name is its layout's path below the folder, so a folder of layouts that any tool wrote is served as it is.
Content that two repositories have stands in both by hard link, and each shows its own.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from ocibuild.serve import naming
from ocibuild.serve.refusal import Refusal
from ocibuild.serve.repository import Repository
from ocibuild.spec import layout
from ocibuild.spec.digest import Digest

UPLOADS = ".uploads"
"""The folder of unfinished uploads; no repository's name begins with a dot."""

_OPEN = 1024
_REMEMBERED = 1 << 16
"""Places, by digest, that know the repository of the last blob that came there. Whoever looks makes sure that it has his."""
_DEPTH = 32


class Storage:
    """Finds repositories. `alone` is the name of the only one, where the folder itself is a layout."""

    def __init__(self, root: Path, *, alone: str | None, manifest_limit: int) -> None:
        self.root = root
        self.alone = alone
        self._manifest_limit = manifest_limit
        self._lock = threading.Lock()
        self._repositories: OrderedDict[str, Repository] = OrderedDict()
        self._whereabouts = [""] * _REMEMBERED

    @classmethod
    def over(cls, root: Path, *, name: str | None, manifest_limit: int) -> Storage:
        """The storage over a folder: a layout is one repository, called `name` or as its folder is."""
        if (root / layout.INDEX_FILE).is_file() and (root / layout.HEADER_FILE).is_file():
            return cls(root, alone=name or naming.guessed(root), manifest_limit=manifest_limit)
        return cls(root, alone=None, manifest_limit=manifest_limit)

    @property
    def uploads(self) -> Path:
        """Where unfinished uploads stand."""
        return self.root / UPLOADS

    def repository(self, name: str) -> Repository:
        """The repository of a checked name, there or not. Raises Refusal (NAME_UNKNOWN) where only another is served."""
        if self.alone is not None and name != self.alone:
            raise Refusal("NAME_UNKNOWN", f"one layout is served here, and its name is {self.alone}")
        with self._lock:
            found = self._repositories.get(name)
            if found is None:
                path = self.root if self.alone is not None else naming.folder(self.root, name)
                found = self._repositories[name] = Repository(name, path, manifest_limit=self._manifest_limit)
                if len(self._repositories) > _OPEN:
                    self._repositories.popitem(last=False)
            else:
                self._repositories.move_to_end(name)
        return found

    def names(self) -> list[str]:
        """The names of the repositories that are there, sorted."""
        if self.alone is not None:
            return [self.alone]
        return sorted(self._names(self.root, Path(), 0))

    def _names(self, folder: Path, relative: Path, depth: int) -> Iterator[str]:
        try:
            entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
        except OSError:
            return
        is_layout = any(entry.name == layout.INDEX_FILE for entry in entries)
        if is_layout and depth and (name := naming.named(relative)) is not None:
            yield name
        if depth >= _DEPTH:
            return
        for entry in entries:
            if entry.name != layout.BLOBS and entry.is_dir():
                yield from self._names(folder / entry.name, relative / entry.name, depth + 1)

    def remember(self, digest: Digest, name: str) -> None:
        """Note that a repository has a blob, for mounts that do not say where from."""
        self._whereabouts[_place(digest)] = sys.intern(name)

    def known(self, digest: Digest) -> Repository | None:
        """A repository that may have the blob: it had it, or another of the same place, when that was last seen."""
        name = self._whereabouts[_place(digest)]
        return self.repository(name) if name else None

    def whereabouts(self, digest: Digest) -> Repository | None:
        """A repository that has the blob, among all of them."""
        known = self.known(digest)
        if known is not None and known.blob(digest) is not None:
            return known
        for name in self.names():
            repository = self.repository(name)
            if repository.blob(digest) is not None:
                self.remember(digest, name)
                return repository
        return None


def _place(digest: Digest) -> int:
    return int(digest.hex[:8], 16) % _REMEMBERED
