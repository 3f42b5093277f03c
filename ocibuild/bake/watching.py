"""Watching files by looking at them: no service of the system's is needed, and network file systems work too."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from ocibuild.content.flow import Cancel

_EVERY = 0.15
_LONGEST = 0.4
"""Seconds between two looks. What is built has to be there within one."""

_SHARE = 30
"""A look that takes long is taken less often, so that it costs a processor one part in so many."""

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


def wait(paths: Callable[[], Iterable[str]], before: Seen, cancel: Cancel, seconds: float | None = None) -> bool:
    """Wait until something is otherwise than it was `before`, and rests again. False after `seconds` without a change.

    `paths` are asked for at each look: they may become more, and fewer. Raises Cancelled.
    """
    waited, pause = 0.0, _EVERY
    changed: Seen | None = None
    while True:
        cancel.wait(pause)
        waited += pause
        began = time.monotonic()
        now = look(paths())
        pause = min(max(_EVERY, _SHARE * (time.monotonic() - began)), _LONGEST)
        if changed is not None and now == changed:
            return True
        if changed is not None or now != before:
            changed, pause = now, _EVERY
        elif seconds is not None and waited >= seconds:
            return False


def _files(path: str) -> Iterator[str]:
    if not os.path.isdir(path):
        yield path
        return
    count = 0
    for folder, folders, names in os.walk(path):
        if "oci-layout" in names:
            folders.clear()
            continue  # images: a bake writes them
        folders[:] = [name for name in folders if name not in _PASSED]
        for name in names:
            count += 1
            if count > _MOST:
                return
            yield os.path.join(folder, name)
