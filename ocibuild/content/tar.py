"""Tar layers, written header by header so that nothing of the machine leaks into them.

ustar with blank device fields; PAX records only where ustar cannot say it (long names, other alphabets, 8 GiB and
more); owner and group 0 without names unless asked; one time for all entries; two zero blocks at the end and no
padding to tape records. POSIX.1-2001 pax, "ustar Interchange Format"; OCI image-spec, layer.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from ocibuild.content.blob import Bytes, Content
from ocibuild.errors import UsageError
from ocibuild.record import record

RECORD = 512
END = bytes(2 * RECORD)
CAPABILITY = "SCHILY.xattr.security.capability"
"""The PAX record of a file's capabilities, the one extended attribute that layers carry between engines."""

_USTAR_SIZE = 8**11 - 1
_USTAR_TIME = 8**11 - 1
_TYPES = {"file": b"0", "dir": b"5", "symlink": b"2"}


@record
class Entry:
    """A member of a layer. `path` is relative, with `/`, no trailing slash; `content` has a known size.

    `capability` is the file's `security.capability`, as setcap writes it.
    """

    path: str
    kind: Literal["file", "dir", "symlink"]
    mode: int
    content: Content | None = None
    target: str = ""
    uid: int = 0
    gid: int = 0
    capability: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of content."""
        return (self.content.size or 0) if self.content else 0


def checked_path(path: str) -> str:
    """`path` as a layer says it: relative and clean. Raises UsageError (`path-invalid`).

    Refused: leaving the root, empty components, control characters, and names that begin with `.wh.`, which mean a
    deletion in a layer (layer.md "Whiteouts").
    """
    clean = path.strip("/")
    parts = clean.split("/")
    if not clean or any(part in ("", ".", "..") for part in parts):
        raise UsageError(f"{path!r} is no path inside an image", code="path-invalid", hint="write it as /dir/name")
    if any(part.startswith(".wh.") for part in parts):
        raise UsageError(
            f"{path!r} has a component that begins with .wh., which means a deletion in a layer",
            code="path-invalid",
            hint="give the file another name in the image: SRC:/other-name",
        )
    if not _is_text(clean):
        raise UsageError(
            f"{path!r} is not UTF-8, and every reader would guess another name",
            code="path-invalid",
            hint="rename the file",
        )
    if any(ord(character) < 32 or ord(character) == 127 for character in clean):
        raise UsageError(f"{path!r} has a control character in it", code="path-invalid", hint="rename the file")
    return clean


def _is_text(name: str) -> bool:
    # The operating system's names are bytes; Python keeps what is no UTF-8 in them as lone surrogates.
    return not any(0xD800 <= ord(character) <= 0xDFFF for character in name)


def checked_target(path: str, target: str) -> str:
    """What the symbolic link at `path` points to, as it is. Raises UsageError (`path-invalid`) unless it is text."""
    if not target or not _is_text(target) or "\0" in target:
        raise UsageError(
            f"the symbolic link {path!r} leads to {target!r}, which is not UTF-8",
            code="path-invalid",
            hint="make the link anew",
        )
    return target


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """`entries` with the folders they stand in, each once, parents first. Raises UsageError (`path-duplicate`)."""
    given = list(entries)
    folders = {entry.path: entry for entry in given if entry.kind == "dir"}
    files = {entry.path for entry in given if entry.kind != "dir"}
    done: dict[str, Entry] = {}
    for entry in given:
        parts = entry.path.split("/")
        for depth in range(1, len(parts)):
            parent = "/".join(parts[:depth])
            if parent in files:
                raise _both(parent)
            done.setdefault(parent, folders.get(parent) or Entry(parent, "dir", 0o755))
        if entry.path in done:
            if entry.kind == "dir" and entry.path not in files:
                continue
            if entry.path in folders:
                raise _both(entry.path)
            raise UsageError(
                f"two files want to be /{entry.path} in the image", code="path-duplicate", hint="give one another place"
            )
        done[entry.path] = entry
    return list(done.values())


def _both(path: str) -> UsageError:
    return UsageError(
        f"/{path} is a file and a folder in one image", code="path-duplicate", hint="give one another place"
    )


def size(entries: Iterable[Entry], mtime: int = 0) -> int:
    """Bytes of the tar that `pieces` makes."""
    return sum(len(header(entry, mtime)) + _padded(entry.size) for entry in entries) + len(END)


def pieces(entries: Iterable[Entry], mtime: int = 0) -> Iterator[Content]:
    """The tar, piece by piece: headers and padding at hand, files to be opened."""
    for entry in entries:
        yield Bytes(header(entry, mtime))
        if entry.content is not None and entry.size:
            yield entry.content
            if padding := -entry.size % RECORD:
                yield Bytes(bytes(padding))
    yield Bytes(END)


def header(entry: Entry, mtime: int = 0) -> bytes:
    """The entry's header: one ustar record, with a PAX header of records before it where ustar cannot say it."""
    name = entry.path + ("/" if entry.kind == "dir" else "")
    records: dict[str, str | bytes] = {}
    prefix, short = _split(name)
    if short is None:
        records["path"] = name
        prefix, short = "", _ascii(name)[:100]
    link = entry.target
    if len(link.encode()) > 100 or not link.isascii():
        records["linkpath"] = link
        link = _ascii(link)[:100]
    if entry.size > _USTAR_SIZE:
        records["size"] = str(entry.size)
    if not 0 <= mtime <= _USTAR_TIME:
        records["mtime"] = str(mtime)
    for key, value in (("uid", entry.uid), ("gid", entry.gid)):
        if value > 8**7 - 1:
            records[key] = str(value)
    if entry.capability:
        records[CAPABILITY] = entry.capability
    main = _ustar(
        entry, short, prefix, link, entry.size if "size" not in records else 0, 0 if "mtime" in records else mtime
    )
    return _pax(records) + main if records else main


def _split(name: str) -> tuple[str, str | None]:
    """ustar's prefix and name, or None where the name does not fit."""
    if not name.isascii():
        return "", None
    if len(name) <= 100:
        return "", name
    cut = name.rfind("/", 0, min(156, len(name) - 1))
    while cut > 0:
        if cut <= 155 and len(name) - cut - 1 <= 100:
            return name[:cut], name[cut + 1 :]
        cut = name.rfind("/", 0, cut)
    return "", None


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("?", "_")


def _pax(records: dict[str, str | bytes]) -> bytes:
    body = b"".join(_pax_record(key, value) for key, value in records.items())
    entry = Entry("pax", "file", 0o644, Bytes(body))
    head = _ustar(entry, "PaxHeaders/entry", "", "", len(body), 0, kind=b"x")
    return head + body + bytes(-len(body) % RECORD)


def _pax_record(key: str, value: str | bytes) -> bytes:
    rest = b" %s=%s\n" % (key.encode(), value.encode() if isinstance(value, str) else value)
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def _ustar(
    entry: Entry, name: str, prefix: str, link: str, length: int, mtime: int, kind: bytes | None = None
) -> bytes:
    fields = (
        name.encode().ljust(100, b"\0"),
        _octal(entry.mode & 0o7777, 8),
        _octal(entry.uid if entry.uid < 8**7 else 0, 8),
        _octal(entry.gid if entry.gid < 8**7 else 0, 8),
        _octal(length, 12),
        _octal(mtime, 12),
        b" " * 8,
        kind or _TYPES[entry.kind],
        link.encode().ljust(100, b"\0"),
        b"ustar\0" + b"00",
        bytes(64),
        bytes(16),
        prefix.encode().ljust(155, b"\0"),
        bytes(12),
    )
    record = b"".join(fields)
    return record[:148] + b"%06o\0 " % sum(record) + record[156:]


def _octal(number: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, number)


def _padded(length: int) -> int:
    return length + -length % RECORD
