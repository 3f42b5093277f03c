"""Fingerprints: what an image's digest depends on, in one line, known before the image is made.

A plan holds every decision, so its fingerprint is that of the plan with its contents' digests in place of their files,
and of whatever else decides bytes: this version of ocibuild, and the compressors'. Two plans of one fingerprint make
the same image.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from ocibuild import __version__
from ocibuild.content import codec
from ocibuild.content.blob import BLOCK, Bytes, Content, File
from ocibuild.image.plan import Existing, Files, Plan, Tar
from ocibuild.record import record

FORM = 2
"""Raised when fingerprints mean something else than they did."""

_SMALL = 1024 * 1024
_DOUBT = 2_000_000_000
"""Nanoseconds. A file that changed so shortly before its digest was kept may have changed again with the same times."""


@record
class Hint:
    """A file's digest as it was, and what tells whether the file may be another: times in nanoseconds."""

    path: str
    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int
    digest: str

    def fits(self, status: os.stat_result) -> bool:
        """True where the file looks the same."""
        seen = (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
        return seen == (self.size, self.mtime_ns, self.inode, self.ctime_ns)


class Digests:
    """Digests of files, each read once; large ones not even that, where a hint fits that is beyond doubt.

    `kept_ns` is when the hints were written, by the clock of the file system that holds them: a file that changed just
    before is read again.
    """

    def __init__(self, hints: Iterable[Hint] = (), kept_ns: int = 0) -> None:
        self._hints = {hint.path: hint for hint in hints if hint.ctime_ns < kept_ns - _DOUBT}
        self._lock = threading.Lock()
        self._known: dict[str, Hint] = {}
        self.read = 0

    @property
    def learned(self) -> tuple[Hint, ...]:
        """What is worth keeping: large files that were asked for."""
        with self._lock:
            return tuple(hint for hint in self._known.values() if hint.size >= _SMALL)

    def of(self, file: File) -> str:
        """The SHA-256 of a file's content, in hex. Raises InputError (`input-unreadable`, `input-changed`)."""
        path = os.path.abspath(file.path)
        with self._lock:
            known = self._known.get(path) or self._hints.get(path)
        if known is not None and not file.start:
            try:
                status = os.stat(path)
            except OSError:
                status = None  # opening it says what is wrong
            if status is not None and known.fits(status):
                with self._lock:
                    self._known[path] = known
                return known.digest
        hashing = hashlib.sha256()
        with file.open() as stream:
            status = os.fstat(stream.fileno())
            left = file.size
            while left and (piece := stream.read(min(BLOCK, left))):
                hashing.update(piece)
                left -= len(piece)
        digest = hashing.hexdigest()
        with self._lock:
            self.read += 1
            if not file.start and status.st_size == file.size:
                seen = (status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)
                self._known[path] = Hint(path, *seen, digest)
        return digest


def of(value: Plan | object, digests: Digests) -> str:
    """The fingerprint of a plan, or of any value made of records, in hex. Raises what reading its files raises."""
    pieces = [f"{FORM} {__version__}\n".encode()]
    _add(value, pieces, digests)
    return hashlib.sha256(b"".join(pieces)).hexdigest()


def _add(value: Any, pieces: list[bytes], digests: Digests) -> None:
    # Every piece says its kind and its length, so that no two values read the same.
    kind: Any = type(value)
    if kind is str or isinstance(value, str):
        data = value.encode("utf-8", "surrogateescape")
        pieces += (b"s%d:" % len(data), data)
    elif kind is tuple or kind is list:
        pieces.append(b"l%d:" % len(value))
        for item in value:
            _add(item, pieces, digests)
    elif value is None or kind is bool or kind is int:
        pieces.append(b"%r;" % value)
    elif kind is bytes:
        pieces += (b"b%d:" % len(value), value)
    elif kind is File:
        pieces.append(b"c%d:%s;" % (value.size, digests.of(value).encode()))
    elif kind is Bytes:
        pieces.append(b"c%d:%s;" % (value.size, hashlib.sha256(value.data).hexdigest().encode()))
    elif kind is dict or isinstance(value, Mapping):
        pieces.append(b"m%d:" % len(value))
        for key, item in value.items():
            _add(key, pieces, digests)
            _add(item, pieces, digests)
    elif kind is Existing:
        _add((value.descriptor, str(value.diff_id)), pieces, digests)  # its digest is known
    elif callable(getattr(value, "open", None)):
        pieces.append(b"c%d:%s;" % (value.size, _digest_of(value).encode()))
    else:
        name, fields_of = _record(kind)
        pieces.append(name)
        values = value.__dict__
        for entry in fields_of:
            item = values[entry]
            if item is None:  # most fields say nothing
                pieces.append(b"None;")
            elif item == ():
                pieces.append(b"l0:")
            else:
                _add(item, pieces, digests)
        if kind is Files or kind is Tar:
            _add(codec.parse(value.compression).identity, pieces, digests)


def _digest_of(content: Content) -> str:
    """The SHA-256 of content that is no file of its own, in hex."""
    hashing = hashlib.sha256()
    with content.open() as stream:
        while piece := stream.read(BLOCK):
            hashing.update(piece)
    return hashing.hexdigest()


@cache
def _record(kind: Any) -> tuple[bytes, tuple[str, ...]]:
    """A record's name, and its fields."""
    name = str(kind.__name__)
    if not dataclasses.is_dataclass(kind):
        raise TypeError(f"a plan holds a {name}, which has no fingerprint")
    return b"r%s:" % name.encode(), tuple(entry.name for entry in dataclasses.fields(kind))
