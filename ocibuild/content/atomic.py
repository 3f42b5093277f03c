"""Files that appear whole or not at all, and the locks that let processes share a folder.

Everything is written beside its final place and renamed. The only module that renames.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import IO, TYPE_CHECKING, Literal, Self

from ocibuild.errors import StoreError

if TYPE_CHECKING:
    pass

FULL = {errno.ENOSPC, errno.EDQUOT}
"""What the system says where no space is left."""


@contextmanager
def translated(path: str | os.PathLike[str]) -> Iterator[None]:
    """The operating system's complaints about writing `path`, in our words (`disk-full`, `not-writable`)."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StoreError(
                f"no space left on the disk that holds {path}",
                code="disk-full",
                hint="free some space and run the same command again; nothing half-written was left behind",
            ) from error
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}",
            code="not-writable",
            hint="choose another place with -o, or mend the folder's permissions",
        ) from error


class Incoming:
    """A file on its way: write, then `commit` renames it into place; leaving without it removes it.

    Raises StoreError (`disk-full`, `not-writable`).
    """

    def __init__(self, folder: str | os.PathLike[str], *, mode: int = 0o644) -> None:
        self.path = os.path.join(folder, f".{os.urandom(8).hex()}.part")
        self._mode = mode
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> Self:
        with translated(self.path):
            descriptor = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), self._mode
            )
        self._stream = os.fdopen(descriptor, "wb", buffering=0)
        return self

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Write all of `data`."""
        assert self._stream is not None
        view = memoryview(data).cast("B")
        written = 0
        with translated(self.path):
            while written < len(view):
                written += self._stream.write(view[written:])
        return written

    def commit(self, final: str | os.PathLike[str], *, durable: bool = False) -> None:
        """Close and rename to `final`, replacing what is there. `durable` waits for the disk, before it and after."""
        assert self._stream is not None
        with translated(final):
            if durable:
                os.fsync(self._stream.fileno())
            self._stream.close()
            os.replace(self.path, final)
        self._stream = None
        if durable:
            sync_folder(os.path.dirname(final) or ".")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            with suppress(OSError):
                self._stream.close()
            with suppress(OSError):
                os.unlink(self.path)


def write(path: str | os.PathLike[str], data: bytes, *, mode: int = 0o644, durable: bool = False) -> None:
    """Put `data` at `path`, whole or not at all. `durable` returns when the disk has it."""
    with Incoming(os.path.dirname(path) or ".", mode=mode) as incoming:
        incoming.write(data)
        incoming.commit(path, durable=durable)


def settle(path: str | os.PathLike[str], final: str | os.PathLike[str]) -> None:
    """Give a file that is written and synced its final name on the same disk, and return when the disk has that name.

    Raises StoreError (`disk-full`, `not-writable`).
    """
    with translated(final):
        os.replace(path, final)
    sync_folder(os.path.dirname(final) or ".")


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Return when the disk has the names in `folder` as they are now. Windows has no such call; there it is nothing."""
    if os.name == "nt":
        return
    with translated(folder):
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0))
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folders(folder: str | os.PathLike[str]) -> None:
    """Make `folder` and what it stands in, as far as it is not there, each name on the disk before this returns."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(os.path.abspath(folder))
    make_folders(above)
    with translated(folder), suppress(FileExistsError):
        os.mkdir(folder)
    sync_folder(above)


def is_leftover(name: str) -> bool:
    """True for the name of a file whose writer died before it was whole."""
    return name.startswith(".") and name.endswith(".part")


class FolderLock:
    """An advisory lock on a folder itself, shared or exclusive; no file is left by it.

    The kernel lets go of it when the process dies, however it dies. Where the file system knows no locks, or on
    Windows, it is no lock: one writer at a time is then the person's affair.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def acquire(self, mode: Literal["shared", "exclusive"], *, wait: bool = True) -> bool:
        """Take the lock, or change the mode it is held in. False where `wait` is False and another holds it."""
        if os.name == "nt":
            return True
        if self._descriptor is None:
            with translated(self._folder):
                self._descriptor = os.open(self._folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        return _flock(self._descriptor, mode, wait)

    def is_current(self) -> bool:
        """False where the folder that was locked is no longer the one of that name: another removed it meanwhile."""
        if self._descriptor is None:
            return True
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._folder))
        except OSError:
            return False

    def release(self) -> None:
        """Let go. Nothing happens where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _flock(descriptor: int, mode: str, wait: bool) -> bool:
    import fcntl  # not there on Windows

    operation = fcntl.LOCK_SH if mode == "shared" else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, operation if wait else operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
