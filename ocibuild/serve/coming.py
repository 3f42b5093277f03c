"""Blobs on their way from upstream: fetched once, kept, and read by everybody who wants them while they come.

The last byte is held back until the whole is verified and kept; of a blob of other bytes nobody ever has all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import RawIOBase
from typing import BinaryIO

from ocibuild.serve.refusal import Refusal
from ocibuild.serve.uploads import Upload
from ocibuild.serve.wire import Broken
from ocibuild.spec.digest import Digest

_PIECE = 256 * 1024
_AT_ONCE = 64 * 1024
"""Bytes that are waited for together: whoever follows a slow one sees it move."""

_TURN = 1.0


class Coming:
    """One blob. `fetch` is run on a thread of its own: it writes to `upload`, and reports with `advanced`."""

    def __init__(self, digest: Digest, size: int, upload: Upload, fetch: Callable[[Coming], None]) -> None:
        self.digest = digest
        self.size = size
        self.upload = upload
        self._fetch = fetch
        self._changed = threading.Condition()
        self._is_kept = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="ocibuild-fetch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for its end."""
        self._thread.join(seconds)

    def advanced(self) -> None:
        """More of it may be there."""
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        error: Exception | None = None
        try:
            self._fetch(self)
        except Exception as failed:
            error = failed
        with self._changed:
            self._is_kept = error is None
            self._error = error
            self._changed.notify_all()

    def beyond(self, position: int) -> int:
        """Wait until there is more than `position` bytes to be had, and say how many. Raises what went wrong."""
        with self._changed:
            while True:
                have = self.size if self._is_kept else min(self.upload.offset, self.size - 1)
                if have > position or (self._is_kept and have >= position):
                    return have
                if self._error is not None:
                    raise self._error
                self._changed.wait(_TURN)

    def body(self, start: int, size: int) -> ComingBody | None:
        """The bytes from `start` on, `size` of them, as they come; None where all of it is kept by now.

        Raises Refusal where nothing came at all.
        """
        stream = None
        with suppress(FileNotFoundError):  # it has ended, well or not
            stream = open(self.upload.path, "rb", buffering=0)  # noqa: SIM115 - closed with the answer
        try:
            self.beyond(0 if stream is not None else self.size)
        except Exception as error:
            if stream is not None:
                stream.close()
            if isinstance(error, Refusal):
                raise
            raise Refusal("UNKNOWN", "the registry behind this one does not give it", status=502) from error
        return ComingBody(self, stream, start, size) if stream is not None else None


class ComingBody:
    """An answer's body that follows a blob on its way. A WSGI iterable."""

    def __init__(self, coming: Coming, stream: RawIOBase, start: int, size: int) -> None:
        self._coming = coming
        self._stream = stream
        self._position = start
        self._end = start + size

    def __iter__(self) -> Iterator[bytes]:
        self._stream.seek(self._position)
        while self._position < self._end:
            try:
                have = self._coming.beyond(self._position)
            except Exception as error:
                # What was sent cannot be taken back: the connection ends before the body does.
                raise Broken(f"{self._coming.digest.short} did not come whole") from error
            piece = self._stream.read(min(_PIECE, min(have, self._end) - self._position))
            if not piece:
                raise Broken(f"{self._coming.digest.short} ends early")
            self._position += len(piece)
            yield piece

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._stream.close()


class Source:
    """What comes from upstream, as the body of an upload: no more than the blob has."""

    def __init__(self, stream: BinaryIO, coming: Coming) -> None:
        self._stream = stream
        self._coming = coming
        self.ended = False

    def readinto(self, view: memoryview, /) -> int:
        """See ocibuild.serve.wire.Body."""
        self._coming.advanced()  # what was given before is written by now
        data = self._stream.read(min(len(view), _AT_ONCE, self._coming.size - self._coming.upload.offset))
        view[: len(data)] = data
        self.ended = not data
        return len(data)

    def read(self, size: int = -1) -> bytes:
        """See ocibuild.serve.wire.Body."""
        return self._stream.read(size)
