"""A digest that is computed beside the work: hashing, reading and writing of one stream on as many cores as there are."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ocibuild.content.flow import Flow
from ocibuild.spec.digest import Digest

if TYPE_CHECKING:
    from concurrent.futures import Future

_WORTH_A_THREAD = 256 * 1024
"""Bytes of a piece that take longer to hash than a thread takes to wake up."""

_WORTH_A_POOL = 4 * 1024 * 1024
"""Bytes of a stream that take longer to hash than the first thread takes to load."""


class Hashing:
    """The sha256 of pieces in their order, about `size` bytes; at most one piece is being hashed, on the flow's pool for moving.

    So it must not be used on that pool. What is small is hashed where it stands.
    """

    def __init__(self, flow: Flow, size: int) -> None:
        self._flow = flow
        self._is_beside = size >= _WORTH_A_POOL
        self._hasher = hashlib.sha256()
        self._pending: Future[None] | None = None

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Begin to hash `data`, which must stay as it is, once what came before is hashed."""
        self._settle()
        if not self._is_beside or len(data) < _WORTH_A_THREAD:
            self._hasher.update(data)
        else:
            self._pending = self._flow.io.submit(self._hasher.update, data)

    def digest(self) -> Digest:
        """Of all pieces."""
        self._settle()
        return Digest.from_hasher(self._hasher)

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending.result()
            self._pending = None
