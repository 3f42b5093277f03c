"""What a registry takes in one request: known of a few by name, learned of all others when they say 413.

Known by name are GitHub's registry, which takes chunks of 4 MiB at the most, and Google's, which take none; both take
a blob of any size in one request. docs/decisions.md says where the figures come from.
"""

from __future__ import annotations

import threading

MIB = 1024 * 1024
SMALLEST = 1 * MIB
"""A registry, or a proxy before it, that takes less than this is not one to push to."""

LARGEST_MINIMUM = 1024 * MIB
"""A minimum length of chunks beyond this is a mistake."""


_USUAL = 16 * MIB
_CHUNKS: dict[str, int | None] = {"ghcr.io": 4 * MIB, "gcr.io": None, "pkg.dev": None}
"""The largest chunk in bytes, None where chunks are not taken at all; the names stand for what is below them too."""


class Limits:
    """Of one host. `forced` is a length of chunks in bytes that was asked for.

    `mounts_own` turns False for a registry that will not hear of a blob being mounted from the very repository.
    """

    def __init__(self, host: str, forced: int | None = None) -> None:
        self.mounts_own = True
        self._lock = threading.Lock()
        self._piece = forced or _known(host)
        self._whole = 0 if forced else None  # the largest body that may go in one

    def piece(self, size: int) -> int | None:
        """The length of chunks a blob of `size` bytes is to be sent in; None: in one."""
        with self._lock:
            return None if self._whole is None or size <= self._whole else self._piece

    def refused(self, length: int) -> int | None:
        """A body of `length` bytes was too large: the length of chunks to try instead, None when there is none."""
        with self._lock:
            if self._piece is None or length <= SMALLEST:
                return None
            self._piece = max(SMALLEST, min(self._piece, length // 2))
            self._whole = min(self._whole or self._piece, self._piece)
            return self._piece


def _known(host: str) -> int | None:
    name = host.partition(":")[0].lower()
    return next((most for end, most in _CHUNKS.items() if name == end or name.endswith(f".{end}")), _USUAL)
