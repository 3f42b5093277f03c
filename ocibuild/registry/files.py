"""The files of an ORAS artifact, put into a folder and nowhere else.

Names are a stranger's. All of them are checked before anything is written; archives of folders are read by the image
reader, which knows their tricks, and only files and folders of them are made. ORAS "Artifact Concepts" has the titles
and the two annotations.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, cast

import oras.defaults

from ocibuild.content import atomic
from ocibuild.content.blob import BLOCK
from ocibuild.errors import ContentError
from ocibuild.image.rootfs import read_layer
from ocibuild.record import record
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store.base import Source

Fetch = Callable[[str, Path], object]
"""Puts the blob of a digest, verified, into a file."""


_PROBLEMS = {
    "unsafe": "leads out of the folder",
    "duplicate": "stands there twice",
    "orphan": "lies below something that is no folder",
}


@record
class Item:
    """A layer and the name it is to have; `is_folder` for an archive of one, that is to be unpacked."""

    descriptor: Descriptor
    name: str
    is_folder: bool

    @classmethod
    def of(cls, layer: Mapping[str, Any]) -> Item:
        """Raises ContentError (`name-refused`) for a name that leads out of a folder."""
        descriptor = Descriptor.from_json(dict(layer))
        annotations = descriptor.annotations or {}
        is_folder = descriptor.media_type == oras.defaults.default_blob_dir_media_type
        return cls(descriptor, checked(annotations.get(oras.defaults.annotation_title) or descriptor.digest), is_folder)


def save(layers: Iterable[Mapping[str, Any]], folder: Path, fetch: Fetch, *, overwrite: bool = True) -> list[str]:
    """Write what `layers` describe into `folder`; the paths written, in order. Without `overwrite` files that are there stay.

    Raises ContentError (`name-refused`, `layer-invalid`, `layer-too-large`), StoreError, and what `fetch` raises.
    """
    items = [Item.of(layer) for layer in layers]
    with atomic.translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for item in items:
        final = _inside(folder, item.name)
        if final.is_dir() and not item.is_folder:
            raise _refused(item.name, "a folder of that name is there")
        if not overwrite and final.exists():
            continue
        if item.is_folder:
            with TemporaryDirectory(dir=folder, prefix=".") as aside:
                archive = Path(aside) / "archive"
                fetch(item.descriptor.digest, archive)
                _unpack(archive, item.descriptor, final.parent)
        else:
            fetch(item.descriptor.digest, final)
        written.append(str(final))
    return written


def checked(name: str) -> str:
    """A relative path without steps up, or ContentError (`name-refused`)."""
    path = PurePosixPath(name.replace("\\", "/"))
    if (
        not name.isprintable()
        or not path.parts
        or path.is_absolute()
        or ".." in path.parts
        or ":" in path.parts[0][1:2]
    ):
        raise _refused(name, "it is no relative path inside a folder")
    return name


def _inside(folder: Path, name: str) -> Path:
    """Where `name` is written. A link that leads out of the folder is not followed."""
    final = folder / name
    with atomic.translated(final):
        if not final.parent.resolve().is_relative_to(folder.resolve()):
            raise _refused(name, "a link on its way leads out of the folder")
        final.parent.mkdir(parents=True, exist_ok=True)
    return final


def _unpack(archive: Path, descriptor: Descriptor, folder: Path) -> None:
    facts = read_layer(
        cast(Source, _Aside(archive)), descriptor
    )  # bounded, and read to the end before anything is made
    if facts.problems:
        problem = facts.problems[0]
        raise _refused(problem.path, f"it is an entry of an archive, and {_PROBLEMS[problem.code]}")
    for member in facts.members:
        if member.kind not in ("file", "dir"):
            raise _refused(member.path, f"an archive's entry is a {member.kind}")
        checked(member.path or ".")
    with tarfile.open(archive, "r:gz") as entries:
        for entry in entries:
            if entry.isdir():
                _folder(folder, entry.name)
            elif content := entries.extractfile(entry):
                final = _inside(folder, checked(entry.name))
                with atomic.Incoming(final.parent, mode=0o755 if entry.mode & 0o100 else 0o644) as incoming:
                    while piece := content.read(BLOCK):
                        incoming.write(piece)
                    incoming.commit(final)


def _folder(folder: Path, name: str) -> None:
    final = folder / name
    with atomic.translated(final):
        if not final.resolve().is_relative_to(folder.resolve()):
            raise _refused(name, "a link on its way leads out of the folder")
        final.mkdir(parents=True, exist_ok=True)


@record
class _Aside:
    """The one blob the image reader asks for."""

    path: Path

    @contextmanager
    def open(self, descriptor: Descriptor, offset: int = 0) -> Iterator[BinaryIO]:
        with open(self.path, "rb") as stream:
            stream.seek(offset)
            yield stream


def _refused(name: str, why: str) -> ContentError:
    return ContentError(
        f"the artifact's file {name[:200]!r} is not written: {why}",
        code="name-refused",
        hint="whoever made this artifact must name its files differently; ocibuild copy takes it as it is",
    )
