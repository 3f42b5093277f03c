"""Additions: files that stand beside the program. Read here, before planning, so that the plan itself does no I/O."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ocibuild.content import tar
from ocibuild.content.blob import Bytes, File
from ocibuild.content.tar import Entry
from ocibuild.errors import InputError, UsageError
from ocibuild.pack.options import NONROOT, Options, parse_mode

if TYPE_CHECKING:
    from pathlib import Path

_PASSWD = f"root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:{NONROOT}:{NONROOT}:nonroot:/home/nonroot:/sbin/nologin\n"
_GROUP = f"root:x:0:\nnonroot:x:{NONROOT}:\n"
_CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_ZONEINFO = "usr/share/zoneinfo"


def entries(options: Options) -> tuple[Entry, ...]:
    """Everything `--add`, `--ca-certs`, `--tzdata` and `--nonroot` ask for.

    Raises UsageError (`add-invalid`, `path-invalid`, `mode-invalid`) and InputError (`input-missing`, `input-unreadable`,
    `tzdata-missing`).
    """
    found: list[Entry] = []
    if options.nonroot:
        found += _nonroot()
    if options.ca_certs:
        found.append(_ca_certs())
    if options.tzdata:
        found += _tzdata()
    for text in options.add:
        found += _added(text)
    return tuple(found)


def _added(text: str) -> Iterator[Entry]:
    from pathlib import Path

    source, destination, mode = _split(text)
    path = Path(source)
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{source} cannot be added: {error.strerror}", code="input-missing") from error
    if destination.endswith("/") and not stat.S_ISDIR(status.st_mode):
        destination += path.name
    if destination.strip("/") or not stat.S_ISDIR(status.st_mode):
        destination = tar.checked_path(destination)
    yield from _tree(path, destination.strip("/"), mode)


def _split(text: str) -> tuple[str, str, int | None]:
    source, colon, rest = text.partition(":")
    if len(source) == 1 and source.isalpha() and rest.startswith(("\\", "/")) and ":" in rest:
        drive = source  # a Windows drive letter
        source, colon, rest = rest.partition(":")
        source = f"{drive}:{source}"
    destination, _, mode = rest.partition(":")
    if not colon or not source or not destination:
        raise UsageError(
            f"--add {text!r} is not SRC:DEST[:MODE]",
            code="add-invalid",
            hint="for example conf/app.toml:/etc/app.toml:0644",
        )
    return source, destination, parse_mode(mode) if mode else None


def _tree(path: Path, destination: str, mode: int | None) -> Iterator[Entry]:
    try:
        status = path.lstat() if path.is_symlink() and destination else path.stat()
        if stat.S_ISLNK(status.st_mode):
            yield Entry(destination, "symlink", 0o777, target=tar.checked_target(destination, os.readlink(path)))
        elif stat.S_ISDIR(status.st_mode):
            if destination:
                yield Entry(destination, "dir", 0o755)
            for child in sorted(path.iterdir(), key=lambda child: child.name):
                yield from _tree(child, tar.checked_path(f"{destination}/{child.name}"), mode)
        elif stat.S_ISREG(status.st_mode):
            yield _file(str(path), destination, status, mode)
        else:
            raise InputError(f"{path} is neither a file nor a folder", code="input-special")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", code="input-unreadable") from error


def _file(path: str, destination: str, status: os.stat_result, mode: int | None) -> Entry:
    # The machine's mode says only whether it is meant to be run: umask must not reach the digest.
    chosen = mode if mode is not None else 0o755 if status.st_mode & 0o100 else 0o644
    return Entry(destination, "file", chosen, File(path, status.st_size, mtime_ns=status.st_mtime_ns))


def _nonroot() -> list[Entry]:
    return [
        Entry("etc/passwd", "file", 0o644, Bytes(_PASSWD.encode())),
        Entry("etc/group", "file", 0o644, Bytes(_GROUP.encode())),
        Entry("home", "dir", 0o755),
        Entry("home/nonroot", "dir", 0o700, uid=NONROOT, gid=NONROOT),
        Entry("tmp", "dir", 0o1777),
    ]


def _ca_certs() -> Entry:
    from pathlib import Path

    import certifi

    return Entry(_CA_BUNDLE, "file", 0o644, Bytes(Path(certifi.where()).read_bytes()))


def _tzdata() -> list[Entry]:
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("tzdata")
    places = [Path(place) / "zoneinfo" for place in (spec.submodule_search_locations or [])] if spec else []
    for place in (*places, Path("/usr/share/zoneinfo")):
        if (place / "UTC").exists():
            return [
                entry
                for entry in _tree(place, _ZONEINFO, 0o644)
                if not entry.path.endswith((".py", "__pycache__", ".pyc"))
            ]
    raise InputError(
        "this machine has no time zone database to add", code="tzdata-missing", hint="install the PyPI package tzdata"
    )
