"""Uploads on their way: one file each, which grows as the bytes come and becomes a blob at their end.

A session is known by its number alone, whatever address a client kept. Its offset is the file's size, so that it goes on
after a restart; what was hashed before that is read again. Whoever sends last has the session: a client that comes back
takes it from its own broken connection.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ocibuild.content import atomic
from ocibuild.serve.refusal import Refusal
from ocibuild.spec.digest import Digest

_NUMBER = re.compile(r"[0-9a-f]{32}")
_PIECE = 64 * 1024


class Body(Protocol):
    """What a request brings."""

    def readinto(self, view: memoryview, /) -> int:
        """Fill some of `view`; 0 at the end. Raises ConnectionError where the client broke off."""


class Upload:
    """One session. `offset` is how many bytes are there."""

    def __init__(self, number: str, path: Path, repository: str | None) -> None:
        self.number = number
        self.path = path
        self.repository = repository
        self.offset = path.stat().st_size
        self._hasher = Digest.of(b"").hasher()
        self._hashed = 0
        self._lock = threading.Lock()
        self._owner: object = None
        self._finished = False

    def append(self, body: Body, buffer: memoryview, *, start: int | None, limit: int) -> None:
        """Write what `body` brings behind what is there; what came before a break stays.

        Raises Refusal: BLOB_UPLOAD_INVALID with 416 where `start` is not the offset, SIZE_INVALID beyond `limit` bytes,
        BLOB_UPLOAD_UNKNOWN where the session ended meanwhile; StoreError.
        """
        me = object()
        with self._lock:
            if self._finished:
                raise Refusal("BLOB_UPLOAD_UNKNOWN", "this upload has ended")
            if start is not None and start != self.offset:
                raise self.out_of_order()
            self._catch_up()
            self._owner = me
        with atomic.translated(self.path):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
        try:
            while count := body.readinto(buffer):
                with self._lock:
                    if self._owner is not me:
                        raise Refusal("BLOB_UPLOAD_UNKNOWN", "another request has taken this upload over, or ended it")
                    if self.offset + count > limit:
                        raise Refusal("SIZE_INVALID", f"a blob may have {limit} bytes here", status=413)
                    self._write(descriptor, buffer[:count])
        finally:
            os.close(descriptor)

    def _write(self, descriptor: int, piece: memoryview) -> None:
        done = 0
        try:
            with atomic.translated(self.path):
                while done < len(piece):
                    done += os.write(descriptor, piece[done:])
        finally:
            self._hasher.update(piece[:done])
            self._hashed += done
            self.offset += done

    def out_of_order(self) -> Refusal:
        """The answer to bytes that do not follow on what is there: 416, with what is there."""
        return Refusal(
            "BLOB_UPLOAD_INVALID",
            f"the next byte of this upload is {self.offset}",
            status=416,
            headers={"Range": self.range},
        )

    @property
    def range(self) -> str:
        """The Range header of this state; `0-0` for nothing, as the specification has no word for it."""
        return f"0-{max(self.offset - 1, 0)}"

    def _catch_up(self) -> None:
        if self._hashed == self.offset:
            return
        with open(self.path, "rb", buffering=0) as stream:
            stream.seek(self._hashed)
            while piece := stream.read(_PIECE):
                self._hasher.update(piece)
                self._hashed += len(piece)

    def finish(self, digest: Digest) -> Path:
        """The file, synced, once it is that digest's content. Nobody else writes to it afterwards.

        Raises Refusal (DIGEST_INVALID), StoreError.
        """
        with self._lock:
            self._owner = None
            if self._digest(digest.algorithm) != digest:
                raise Refusal(
                    "DIGEST_INVALID",
                    f"the {self.offset} bytes that came are not {digest}",
                    detail={"digest": str(digest), "received": self.offset},
                )
            with atomic.translated(self.path):
                descriptor = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
            self._finished = True
            return self.path

    def reopen(self) -> None:
        """Let it go on after all: its file could not be taken."""
        with self._lock:
            self._finished = False

    def _digest(self, algorithm: str) -> Digest:
        if algorithm == "sha256":
            self._catch_up()
            return Digest.from_hasher(self._hasher)
        # The other algorithm is known only now: the file is read again, in constant memory.
        import hashlib

        hasher = hashlib.new(algorithm)
        with open(self.path, "rb", buffering=0) as stream:
            while piece := stream.read(_PIECE):
                hasher.update(piece)
        return Digest.from_hasher(hasher, algorithm)

    def end(self) -> None:
        """Take the session away from whoever writes to it, and its file from the disk."""
        with self._lock:
            self._owner = None
            self._finished = True
            with suppress(OSError):
                self.path.unlink()


class Uploads:
    """All sessions, in a folder of their own. No more than `most` at a time; one that rests for `rest` seconds is swept."""

    def __init__(self, folder: Path, *, most: int, rest: float, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._most = most
        self._rest = rest
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, Upload] = {}

    def begin(self, repository: str) -> Upload:
        """A new, empty session. Raises Refusal (TOOMANYREQUESTS), StoreError."""
        number = os.urandom(16).hex()
        path = self._folder / number
        with self._lock:
            if len(self._open) >= self._most:
                self._sweep()
            if len(self._open) >= self._most:
                raise Refusal("TOOMANYREQUESTS", f"{self._most} uploads are open already", headers={"Retry-After": "5"})
            atomic.make_folders(self._folder)
            with atomic.translated(path):
                os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
            upload = self._open[number] = Upload(number, path, repository)
        return upload

    def find(self, repository: str, number: str) -> Upload:
        """A session by its number, also one from before a restart. Raises Refusal (BLOB_UPLOAD_UNKNOWN)."""
        unknown = Refusal("BLOB_UPLOAD_UNKNOWN", "there is no such upload; it may have ended, or rested too long")
        if not _NUMBER.fullmatch(number):
            raise unknown
        with self._lock:
            upload = self._open.get(number)
            if upload is None:
                try:
                    upload = self._open[number] = Upload(number, self._folder / number, repository)
                except OSError:
                    raise unknown from None
        if upload.repository != repository:
            raise unknown
        return upload

    def end(self, upload: Upload) -> None:
        """Forget a session, and remove its file if it is still there."""
        with self._lock:
            self._open.pop(upload.number, None)
        upload.end()

    def sweep(self) -> int:
        """End the sessions that rested too long, those of a server before this one too, and say how many."""
        with self._lock:
            return self._sweep()

    def _sweep(self) -> int:
        swept = 0
        now = self._clock()
        with suppress(OSError):
            for entry in os.scandir(self._folder):
                with suppress(OSError):
                    if _NUMBER.fullmatch(entry.name) and now - entry.stat().st_mtime > self._rest:
                        upload = self._open.pop(entry.name, None)
                        upload.end() if upload is not None else os.unlink(entry.path)
                        swept += 1
        return swept
