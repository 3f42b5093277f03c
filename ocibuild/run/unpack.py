"""Files out of an image into a private temporary folder, for as long as the program runs.

Nothing is written through a link: folders and files come first, links last, and what stands below something that is no
folder is left out. Owners, devices and set-id bits are not made.
"""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ocibuild.content import atomic
from ocibuild.content.blob import BLOCK
from ocibuild.image.rootfs import Member, RootFs
from ocibuild.image.shapes.recognise import Program


@contextmanager
def private() -> Iterator[Path]:
    """A folder that only this user can look into, removed afterwards. Raises StoreError (`disk-full`, `not-writable`)."""
    with atomic.translated(tempfile.gettempdir()):
        folder = tempfile.TemporaryDirectory(prefix="ocibuild-run-", ignore_cleanup_errors=True)
    with folder as path:
        yield Path(path)


def program(program: Program, path: Path) -> None:
    """One program as an executable file, verified while it is read. Raises StoreError, ContentError, InputError."""
    with program.open() as stream, atomic.translated(path), open(path, "xb") as out:
        while piece := stream.read(BLOCK):
            out.write(piece)
    os.chmod(path, 0o700)


def rootfs(rootfs: RootFs, folder: Path) -> None:
    """All files of an image. Raises StoreError (`disk-full`, `not-writable`), ContentError as reading layers does."""
    folder.mkdir(mode=0o755)
    members = [member for member in rootfs.files.values() if _grounded(rootfs, member.path)]
    for member in members:
        with atomic.translated(folder / member.path):
            parent = member.path if member.kind == "dir" else posixpath.dirname(member.path)
            (folder / parent).mkdir(mode=0o755, parents=True, exist_ok=True)
    for member, stream in rootfs.contents(member for member in members if member.kind == "file"):
        with atomic.translated(folder / member.path), open(folder / member.path, "xb") as out:
            while piece := stream.read(BLOCK):
                out.write(piece)
        os.chmod(folder / member.path, 0o755 if member.mode & 0o111 else 0o644)
    for member in members:
        if member.kind == "hardlink":
            _hardlink(rootfs, member, folder)
    for member in members:
        if member.kind == "symlink":
            with atomic.translated(folder / member.path):
                os.symlink(member.target, folder / member.path)


def _grounded(rootfs: RootFs, path: str) -> bool:
    """True where everything above a path is a folder."""
    above = posixpath.dirname(path)
    while above:
        found = rootfs.files.get(above)
        if found is not None and found.kind != "dir":
            return False
        above = posixpath.dirname(above)
    return True


def _hardlink(rootfs: RootFs, member: Member, folder: Path) -> None:
    found = rootfs.resolve(member.path)
    if found is not None and found.kind == "file" and _grounded(rootfs, found.path):
        with atomic.translated(folder / member.path):
            os.link(folder / found.path, folder / member.path)
