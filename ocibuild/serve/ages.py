"""How long ago each blob of a folder of layouts was asked for: its file's time of change, which a cache renews."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ocibuild.record import record
from ocibuild.serve import naming
from ocibuild.serve.storage import Storage
from ocibuild.spec import layout


@record
class Aged:
    """A blob's file: when it was last asked for, in seconds since 1970, its bytes, and the repositories it stands in."""

    asked: float
    size: int
    places: list[tuple[str, Path]]


def oldest(storage: Storage) -> list[Aged]:
    """Every blob once, also of repositories that have no manifest yet; first what was not asked for the longest."""
    found: dict[tuple[int, int], Aged] = {}
    for path in storage.root.glob(f"**/{layout.BLOBS}/sha*/*"):
        name = storage.alone or naming.named(path.parents[2].relative_to(storage.root))
        with suppress(OSError):
            status = os.stat(path)
            if name is not None:
                blob = found.setdefault((status.st_dev, status.st_ino), Aged(status.st_mtime, status.st_size, []))
                blob.places.append((name, path))
    return sorted(found.values(), key=lambda blob: blob.asked)
