"""Watching files by looking at them: no service of the system's is needed, and network file systems work too."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

from ocibuild.content.flow import Cancel

_EVERY = 0.15
_MOST = 20_000
"""Files looked at below a folder; the others are not watched."""

_PASSED = (".git", "target", "node_modules", "__pycache__", ".cache", "zig-out", "zig-cache", ".zig-cache")
"""Folders in which tools write while they build."""

Seen = Mapping[str, tuple[int, int, int]]


def look(paths: Iterable[str]) -> Seen:
    """What is there now of files, and of what is below folders: times in nanoseconds, sizes, inodes."""
    seen: dict[str, tuple[int, int, int]] = {}
    for path in paths:
        for file in _files(path):
            try:
                status = os.stat(file)
            except OSError:
                seen[file] = (0, -1, 0)  # it was there, or will be
            else:
                seen[file] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return seen


def wait(paths: Iterable[str], before: Seen, cancel: Cancel, seconds: float | None = None) -> bool:
    """Wait until something is otherwise than it was `before`, and rests again. False after `seconds` without a change.

    Raises Cancelled.
    """
    given, waited = list(paths), 0.0
    while True:
        cancel.wait(_EVERY)
        waited += _EVERY
        now = look(given)
        if now != before:
            while True:
                cancel.wait(_EVERY)
                later = look(given)
                if later == now:
                    return True
                now = later
        if seconds is not None and waited >= seconds:
            return False


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    count = 0
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name not in _PASSED and not name.endswith(".oci")]
        for name in names:
            count += 1
            if count > _MOST:
                return
            yield os.path.join(folder, name)
