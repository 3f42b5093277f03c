"""COPY and ADD: files from a tree into a stage, and the layer that comes of it.

Dockerfile reference, "COPY"; where it is silent, what BuildKit does (tests/vectors/buildkit).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from ocibuild.content import tar
from ocibuild.content.blob import Bytes
from ocibuild.content.tar import Entry
from ocibuild.errors import InputError, UsageError
from ocibuild.source import archive
from ocibuild.source.filetree import Rootfs, Tree, joined, resolved
from ocibuild.source.modes import Mode
from ocibuild.source.patterns import Patterns, wildcard


@dataclass(frozen=True)
class Manner:
    """How to copy: `mode` and `owner` (user, group) of what is written, None to keep the files' own.

    With `parents`, sources keep their folders; `exclude` counts below each source; `link` does not look at what is in
    the stage. `unpacks` is ADD, which unpacks archives: it gives the folder for what they are unpacked to.
    """

    mode: Mode | None = None
    owner: tuple[int, int] | None = None
    parents: bool = False
    exclude: Patterns = field(default_factory=Patterns)
    link: bool = False
    unpacks: Callable[[], Path] | None = None


class Writing:
    """One layer in the making: what is written goes into the stage's files as well."""

    def __init__(self, rootfs: Rootfs, manner: Manner) -> None:
        self.rootfs, self.manner = rootfs, manner
        self.seen = Rootfs() if manner.link else rootfs
        self._written: dict[str, Entry] = {}

    @contextmanager
    def told(self, manner: Manner) -> Iterator[None]:
        """Another manner until the block ends."""
        before, self.manner = self.manner, manner
        try:
            yield
        finally:
            self.manner = before

    def layer(self) -> tuple[Entry, ...]:
        """Everything that was written and the folders it stands in, parents first."""
        entries = dict(self._written)
        for path in self._written:
            while path := path.rpartition("/")[0]:
                above = self.seen.look(path)
                entries.setdefault(path, above if above is not None else Entry(path, "dir", 0o755))
        return tuple(sorted(entries.values(), key=lambda entry: entry.path.split("/")))

    def folder(self, path: str) -> None:
        """Make a folder and those above it, where they are not there. Raises UsageError (`path-duplicate`)."""
        for depth in range(1, path.count("/") + 2):
            here = "/".join(path.split("/")[:depth])
            there = self.seen.look(here)
            if here and there is None:
                self.put(self._made(Entry(tar.checked_path(here), "dir", 0o755), implied=True))
            elif there is not None and there.kind != "dir":
                raise _both(here)

    def put(self, entry: Entry) -> None:
        """Write one entry as it is. Raises UsageError (`path-duplicate`)."""
        there = self.seen.look(entry.path)
        if there is not None and (there.kind == "dir") != (entry.kind == "dir"):
            raise _both(entry.path)
        self._written[entry.path] = entry
        self.rootfs.put(entry)
        self.seen.put(entry)

    def file(self, source: Entry, path: str) -> None:
        """Write a source's entry to `path`, as the manner says."""
        self.folder(path.rpartition("/")[0])
        self.put(self._made(replace(source, path=tar.checked_path(path))))

    def _made(self, entry: Entry, *, implied: bool = False) -> Entry:
        uid, gid = self.manner.owner or (entry.uid, entry.gid)
        mode = entry.mode
        # Symbols change what is there; a folder that nobody copied only gets a mode that is said in full.
        if (
            self.manner.mode is not None
            and entry.kind != "symlink"
            and not (implied and self.manner.mode.octal is None)
        ):
            mode = self.manner.mode.applied(mode, is_dir=entry.kind == "dir")
        return replace(entry, uid=uid, gid=gid, mode=mode)


def _both(path: str) -> UsageError:
    return UsageError(
        f"/{path} is a file and a folder in one image", code="path-duplicate", hint="give one another place"
    )


def copy(
    writing: Writing, tree: Tree, sources: tuple[str, ...], documents: tuple[tuple[str, str], ...], to: str
) -> int:
    """Copy `sources` of `tree` and here-documents (name, text) to `to`, an absolute path; a slash at its end counts.

    Returns how many sources there were. Raises InputError (`copy-missing`, `archive-add`), UsageError (`path-invalid`,
    `path-duplicate`).
    """
    chosen = [found for source in sources for found in _found(tree, source, parents=writing.manner.parents)]
    if sources and not chosen:
        raise _missing(sources[0])
    for path, base in chosen:
        _one(writing, tree, path, base, to)
    for name, text in documents:
        writing.file(Entry(name, "file", 0o644, Bytes(text.encode())), _target(writing, to, name))
    return len(chosen) + len(documents)


def _missing(source: str) -> InputError:
    return InputError(
        f"there is no /{source.strip('/')} to copy",
        code="copy-missing",
        hint="check the path, that it was built, and that .dockerignore does not leave it out",
    )


def _found(tree: Tree, source: str, *, parents: bool) -> Iterator[tuple[str, str]]:
    """The paths that a source means, each with the path it keeps with --parents."""
    before, pivot, _ = source.partition("/./")
    root = posixpath.normpath("/" + before).strip("/") if parents and pivot else ""
    clean = posixpath.normpath("/" + source).strip("/")
    if not re.search(r"[*?\[\\]", clean):
        path = resolved(tree, clean)
        if path and tree.look(path) is None:
            raise _missing(clean)
        yield path, clean.removeprefix(root).strip("/")
        return
    for path in _matching(tree, "", clean.split("/"), deep=parents):
        yield resolved(tree, path), path.removeprefix(root).strip("/")


def _matching(tree: Tree, folder: str, pattern: list[str], *, deep: bool) -> Iterator[str]:
    first, rest = pattern[0], pattern[1:]
    if first == "**" and deep:
        yield from _matching(tree, folder, rest, deep=deep) if rest else iter([folder])
        for name in tree.names(folder):
            entry = tree.look(joined(folder, name))
            if entry is not None and entry.kind == "dir":
                yield from _matching(tree, entry.path, pattern, deep=deep)
        return
    expression = re.compile(wildcard(first.replace("**", "*")), re.DOTALL)
    for name in tree.names(folder):
        if not expression.fullmatch(name):
            continue
        path = joined(folder, name)
        if not rest:
            yield path
            continue
        inside = resolved(tree, path)
        entry = tree.look(inside) if inside else None
        if entry is not None and entry.kind == "dir":
            yield from _matching(tree, inside, rest, deep=deep)


def _target(writing: Writing, to: str, name: str) -> str:
    """Where a file called `name` goes: into `to` if that is a folder, or is meant to be one."""
    inside = resolved(writing.seen, to)
    entry = writing.seen.look(inside) if inside else None
    if not inside or to.endswith(("/", "/.")) or (entry is not None and entry.kind == "dir"):
        return joined(inside, name)
    return inside


def _one(writing: Writing, tree: Tree, path: str, base: str, to: str) -> None:
    entry = tree.look(path)
    if entry is None:
        raise _missing(path)
    name = base.rpartition("/")[2]
    manner = writing.manner
    if entry.kind != "dir":
        if manner.exclude.match(name):
            return
        if manner.unpacks is not None and (files := archive.opened(entry, manner.unpacks)) is not None:
            target = resolved(writing.seen, to)
            with writing.told(replace(manner, mode=None)):  # --chmod is not for what is unpacked
                writing.folder(target)
                _inside(writing, files, "", "", target)
            return
        kept = base if manner.parents else name
        writing.file(entry, _target(writing, f"{to}/" if manner.parents else to, kept))
        return
    target = resolved(writing.seen, to)
    target = joined(target, base) if manner.parents and base else target
    writing.folder(target)
    _inside(writing, tree, path, "", target)


def _inside(writing: Writing, tree: Tree, top: str, below: str, target: str) -> None:
    """What is in a folder, one by one; a folder that is left out is made if something in it is not."""
    manner = writing.manner
    for name in tree.names(joined(top, below) if below else top):
        relative = joined(below, name)
        entry = tree.look(joined(top, relative))
        if entry is None:
            continue
        excluded = manner.exclude.match(relative)
        if entry.kind != "dir":
            if not excluded:
                writing.file(entry, joined(target, relative))
            continue
        if not excluded:
            writing.file(entry, joined(target, relative))
        elif not manner.exclude.take_back:
            continue
        _inside(writing, tree, top, relative, target)
