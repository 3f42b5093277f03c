"""A target's files, brought to where it is made: out of its task, or from behind a URL."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from tempfile import TemporaryDirectory

from ocibuild.errors import InputError, ToolError
from ocibuild.pack.options import Target
from ocibuild.record import record, replace


@record
class Inline:
    """A small file that travels in the task, under the path that the target names it by."""

    path: str
    data: bytes
    executable: bool = False


def fetched(target: Target, inline: Sequence[Inline], stack: ExitStack) -> Target:
    """The target with its files on this machine: those in the task are written down, those behind URLs are fetched."""
    inlined = {one.path: one for one in inline}
    if not inlined and not any("://" in text for text in (*target.files, *target.options.add)):
        return target
    folder = stack.enter_context(TemporaryDirectory(prefix="ocibuild-bake-", ignore_cleanup_errors=True))
    placed: dict[str, str] = {}

    def local(path: str) -> str:
        if path not in inlined and "://" not in path:
            return path
        if path not in placed:
            # A folder each: its name in the image is the file's own.
            room = os.path.join(folder, str(len(placed)))
            os.mkdir(room)
            placed[path] = os.path.join(room, path.rpartition("/")[2].partition("?")[0] or "file")
            if path in inlined:
                with open(placed[path], "wb") as stream:
                    stream.write(inlined[path].data)
                if inlined[path].executable:
                    os.chmod(placed[path], 0o755)
            else:
                _fetch(path, placed[path])
        return placed[path]

    files = tuple(_relocated(text, local) for text in target.files)
    add = tuple(_readdressed(text, local) for text in target.options.add)
    return replace(target, files=files, options=replace(target.options, add=add))


def _relocated(text: str, local: object) -> str:
    """`FILE[=PLATFORM]` with the file where it is here."""
    assert callable(local)
    path, equals, platform = text.rpartition("=")
    if equals and ("/" in platform or not path) and local(path) != path:
        return f"{local(path)}={platform}"
    return str(local(text))


def _readdressed(text: str, local: object) -> str:
    """`SRC:DEST[:MODE]`, where SRC may be a URL."""
    assert callable(local)
    head, scheme, rest = text.partition("://") if "://" in text else ("", "", text)
    source, colon, destination = rest.partition(":")
    return f"{local(f'{head}{scheme}{source}')}{colon}{destination}"


def _fetch(url: str, path: str) -> None:
    """A URL's content in a file. Raises InputError (`url-unreadable`), ToolError (`extra-missing`)."""
    scheme = url.partition("://")[0]
    try:
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        system, inner = url_to_fs(url)
    except ImportError as error:  # of fsspec, or of what it reads this scheme with
        raise ToolError(
            f"this Python cannot read {scheme}:// URLs: {error}",
            code="extra-missing",
            hint=f"pip install 'ocibuild[{'s3' if scheme == 's3' else 'dask'}]' where the target is made,"
            " or the package that the scheme needs",
        ) from error
    except Exception as error:
        raise _unreadable(url, error) from error
    try:
        # Not opened and read: S3 would be asked for the size before each.
        system.get_file(inner, path)
    except Exception as error:  # each of its file systems raises what it likes
        raise _unreadable(url, error) from error


def _unreadable(url: str, error: Exception) -> InputError:
    return InputError(
        f"{url.partition('?')[0]} cannot be read: {type(error).__name__}: {error}",
        code="url-unreadable",
        hint=f"look at the address and at the login for {url.partition('://')[0]} of the machine that reads it",
    )
