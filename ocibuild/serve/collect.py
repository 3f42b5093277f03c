"""Removing what nobody names any more, while everything goes on.

A blob is kept while a manifest of its repository needs it, and for a grace time after it came or was asked for again, since
blobs are pushed before the manifest that names them. Nobody can be between looking for a blob and naming it meanwhile: that
is done under a shared lock of blobs/, and this holds it alone. Where others write without a pause, the next round does it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from time import sleep

from ocibuild.content import atomic
from ocibuild.errors import StoreError
from ocibuild.record import record
from ocibuild.serve.repository import Repository
from ocibuild.spec import layout, mediatype
from ocibuild.spec.digest import Digest

_ATTEMPTS = 20
_PAUSE = 0.05


@record
class Collected:
    """What went: how many blobs, and their bytes. A blob that another repository has too frees nothing yet."""

    blobs: int = 0
    size: int = 0


def collect(repository: Repository, *, before: float) -> Collected:
    """Remove the blobs that no manifest needs and that are older than `before`, in seconds since 1970.

    An index.json that cannot be read stops it: then nothing is known to be free. Raises StoreError.
    """
    folder = repository.path / layout.BLOBS
    if not repository.exists or not folder.is_dir():
        return Collected()
    lock = atomic.FolderLock(folder)
    try:
        for _ in range(_ATTEMPTS):
            if lock.acquire("exclusive", wait=False):
                return _collect(repository, folder, before)
            sleep(_PAUSE)
    finally:
        lock.release()
    return Collected()


def _collect(repository: Repository, folder: Path, before: float) -> Collected:
    needed = _needed(repository)
    blobs = size = 0
    for algorithm in ("sha256", "sha512"):
        with suppress(FileNotFoundError):
            for entry in os.scandir(folder / algorithm):
                with suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    is_old = max(status.st_mtime, status.st_ctime) < before
                    if is_old and f"{algorithm}:{entry.name}" not in needed and not entry.is_dir():
                        os.unlink(entry.path)
                        blobs, size = blobs + 1, size + status.st_size
            atomic.sync_folder(folder / algorithm)
    # What a writer left that died while it wrote index.json.
    with suppress(OSError):
        for entry in os.scandir(repository.path):
            if atomic.is_leftover(entry.name) and entry.stat().st_mtime < before:
                os.unlink(entry.path)
    return Collected(blobs, size)


def _needed(repository: Repository) -> set[str]:
    """Every digest that is named. A manifest that is here and cannot be read stops it: what it needs is not known."""
    pending = repository.current().roots
    roots = frozenset(pending)
    needed: set[str] = set(roots)
    while pending:
        digest = Digest(pending.pop())
        held = repository.manifest(digest) or repository.blob(digest)
        if held is None:
            continue
        short = repository.document(held)
        if short is None:
            if digest in roots and not mediatype.is_node(held.media_type):
                continue
            raise StoreError(
                f"{digest} in {repository.path} cannot be read as a manifest, so nothing is removed there",
                code="layout-invalid",
                hint="remove that manifest, or mend its file",
            )
        pending += [child for child in short.manifests if child not in needed]
        needed.update(short.manifests, short.needed, short.optional)
    return needed
