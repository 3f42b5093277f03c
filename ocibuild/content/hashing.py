"""A digest that is computed beside the work: hashing, reading and writing of one stream on as many cores as there are."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ocibuild.content.flow import Flow
from ocibuild.spec.digest import Digest

if TYPE_CHECKING:
    from concurrent.futures import Future

_WORTH_A_THREAD = 256 * 1024
"""Bytes that take longer to hash than a thread takes to wake up."""


class Hashing:
    """The sha256 of pieces in their order; at most one of them is being hashed, on the flow's pool for moving.

    So it must not be used on that pool.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._hasher = hashlib.sha256()
        self._pending: Future[None] | None = None

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Begin to hash `data`, which must stay as it is, once what came before is hashed."""
        self._settle()
        if len(data) < _WORTH_A_THREAD:
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
