"""Content that can be opened again, and blobs: content with its descriptor.

A stream is not held, the recipe for one is: a retry opens the content anew, from any thread, and never sends an
empty body.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, Protocol

from ocibuild.errors import InputError
from ocibuild.record import record
from ocibuild.spec.descriptor import Descriptor

BLOCK = 1024 * 1024
"""Bytes moved at a time."""


class Content(Protocol):
    """Bytes that open as often as asked. `size` is in bytes, None where only reading can tell."""

    @property
    def size(self) -> int | None: ...
    def open(self, offset: int = 0) -> AbstractContextManager[BinaryIO]: ...


@record
class Bytes:
    """Content at hand."""

    data: bytes

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def open(self, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """A stream from `offset` on."""
        return io.BytesIO(self.data[offset:] if offset else self.data)


@record
class File:
    """`size` bytes of a file from `start` on; the file is opened at each use.

    With `mtime_ns`, opening raises InputError (`input-changed`) where the file is no longer the one that was looked at.
    """

    path: str
    size: int
    start: int = 0
    mtime_ns: int | None = None

    @contextmanager
    def open(self, offset: int = 0) -> Iterator[BinaryIO]:
        """A stream from `offset` on. Raises InputError (`input-unreadable`, `input-changed`)."""
        try:
            stream = open(self.path, "rb", buffering=0)  # noqa: SIM115 - closed below
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}", code="input-unreadable") from error
        with stream:
            status = os.fstat(stream.fileno())
            if self.mtime_ns is not None and (status.st_mtime_ns, status.st_size) != (self.mtime_ns, self.size):
                raise changed(self.path)
            stream.seek(self.start + offset)
            yield stream


def changed(path: str) -> InputError:
    """The error for a file that is not what it was when it was looked at."""
    return InputError(
        f"{path} changed while it was being packed",
        code="input-changed",
        hint="let the compiler finish, then pack again",
    )


@record
class Blob:
    """Content and what it must turn out to be."""

    descriptor: Descriptor
    content: Content

    @classmethod
    def of(cls, media_type: str, data: bytes) -> Blob:
        """A blob of bytes at hand."""
        return cls(Descriptor.of(media_type, data), Bytes(data))
