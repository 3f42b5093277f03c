"""Bytes that are looked at in places: a file, or memory, read at offsets and never whole.

A reader of strangers' files needs two promises: memory stays flat whatever the file claims, and every number that
leads somewhere is checked before it is followed. `Cursor` keeps both: it holds one small window, it cannot leave its
bounds, and what its callers keep is paid for from a `Budget`.
"""

from __future__ import annotations

import os
from typing import Protocol

from ocibuild.errors import InputError
from ocibuild.record import record

_WINDOW = 16 * 1024


class Extent(Protocol):
    """`size` bytes, any of which can be read."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`; fewer only where the extent ends."""
        ...


@record
class Memory:
    """An extent that is in memory already."""

    name: str
    data: bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.data)

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`."""
        return self.data[offset : offset + length]


@record
class Descriptor:
    """An extent that is an open file; the owner of `fd` closes it."""

    name: str
    fd: int
    size: int

    def read_at(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`. Raises InputError (`file-unreadable`) when the disk fails."""
        length = max(0, min(length, self.size - offset))
        parts: list[bytes] = []
        try:
            while length:
                part = _pread(self.fd, length, offset)
                if not part:
                    break
                parts.append(part)
                offset += len(part)
                length -= len(part)
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror}", code="file-unreadable") from error
        return b"".join(parts)


def _pread(fd: int, length: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, length, offset)
    os.lseek(fd, offset, os.SEEK_SET)
    return os.read(fd, length)


class Budget:
    """What one inspection may keep in memory, whatever the file says: `items` entries and `text` bytes of names.

    The largest real modules known have some ten thousand exports; the limits leave room for ten times that.
    """

    def __init__(self, items: int = 200_000, text: int = 16 * 1024 * 1024) -> None:
        self.items = items
        self.text = text


class Cursor:
    """A place between `start` and `end` of an extent; reads numbers and names as WebAssembly's binary format has them.

    Everything that does not fit raises InputError (`wasm-malformed`) with the offset from the start of the file.
    """

    def __init__(self, extent: Extent, start: int, end: int, budget: Budget) -> None:
        self._extent = extent
        self._budget = budget
        self._base = start
        self._window = b""
        self._at = 0  # position inside the window
        self._until = 0  # how much of the window is inside the bounds
        self.end = end

    @property
    def offset(self) -> int:
        """Where the next byte stands, from the start of the extent."""
        return self._base + self._at

    @property
    def left(self) -> int:
        """Bytes up to the end."""
        return self.end - self._base - self._at

    def wrong(self, problem: str, at: int | None = None) -> InputError:
        """The error for bytes that cannot be what they should be."""
        place = self.offset if at is None else at
        return InputError(
            f"{self._extent.name} is damaged: {problem} at byte {place:#x}",
            code="wasm-malformed",
            hint="build or download the file again; `wasm-tools validate` tells more",
        )

    def _fill(self) -> None:
        here = self.offset
        if here >= self.end:
            raise self.wrong("a part ends too early", here)
        self._window = self._extent.read_at(here, min(_WINDOW, self.end - here))
        self._base, self._at, self._until = here, 0, len(self._window)
        if not self._window:
            raise self.wrong("the file ends too early", here)

    def byte(self) -> int:
        """The next byte."""
        if self._at >= self._until:
            self._fill()
        value = self._window[self._at]
        self._at += 1
        return value

    def peek(self) -> int:
        """The next byte, which stays the next."""
        value = self.byte()
        self._at -= 1
        return value

    def _leb(self, bits: int) -> int:
        start = self.offset
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= bits:
                raise self.wrong(f"a number is longer than {bits} bits", start)
        if value >> bits:
            raise self.wrong(f"a number is larger than {bits} bits", start)
        return value

    def u32(self) -> int:
        """An unsigned LEB128 number of 32 bits."""
        return self._leb(32)

    def u64(self) -> int:
        """An unsigned LEB128 number of 64 bits."""
        return self._leb(64)

    def s33(self) -> int:
        """A signed LEB128 number of 33 bits, the form of type indices and heap types."""
        start = self.offset
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift >= 35:
                raise self.wrong("a number is longer than 33 bits", start)
        return value - (1 << shift) if byte & 0x40 else value

    def skip(self, length: int) -> None:
        """Go `length` bytes further, without reading them."""
        if length > self.left:
            raise self.wrong(f"{length} bytes are announced where {self.left} are left")
        self._at += length
        if self._at > self._until:
            self._base, self._at, self._until, self._window = self.offset, 0, 0, b""

    def take(self, length: int) -> bytes:
        """The next `length` bytes, paid for as text."""
        if length > self.left:
            raise self.wrong(f"{length} bytes are announced where {self.left} are left")
        self._budget.text -= length
        if self._budget.text < 0:
            raise self._too_much("names and texts")
        part = self._window[self._at : self._at + length]
        if len(part) < length:
            part = self._extent.read_at(self.offset, length)
            if len(part) < length:
                raise self.wrong("the file ends too early")
        self.skip(length)
        return part

    def name(self) -> str:
        """A length and that much UTF-8."""
        start = self.offset
        data = self.take(self.u32())
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self.wrong("a name is not UTF-8", start) from error

    def count(self) -> int:
        """The length of a vector. Every element takes a byte at least, so more than the bytes left is a lie."""
        start = self.offset
        count = self.u32()
        if count > self.left:
            raise self.wrong(f"{count} entries are announced where {self.left} bytes are left", start)
        return count

    def keep(self, entries: int = 1) -> None:
        """Pay for entries that the caller is about to keep."""
        self._budget.items -= entries
        if self._budget.items < 0:
            raise self._too_much("entries")

    def part(self, length: int) -> Cursor:
        """A cursor over the next `length` bytes; this one goes on behind them."""
        inner = Cursor(self._extent, self._base, self.offset + length, self._budget)
        inner._window, inner._at = self._window, self._at
        inner._until = min(self._until, inner.end - inner._base)
        self.skip(length)
        return inner

    def _too_much(self, what: str) -> InputError:
        return InputError(
            f"{self._extent.name} has more {what} than any program; reading stopped at byte {self.offset:#x}",
            code="wasm-malformed",
            hint="if this is a real program, report it: the limit is meant for damaged and hostile files",
        )
