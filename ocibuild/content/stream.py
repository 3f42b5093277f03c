"""Streams of our own: a class says how `read` works, and all other ways of reading follow from that."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Stream(io.RawIOBase):
    """A stream over `read`, which gives what there is without a copy. Both ways of reading raise what that raises."""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into `buffer`."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        assert data is not None  # ours wait
        view[: len(data)] = data
        return len(data)
