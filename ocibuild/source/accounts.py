"""Users and groups as COPY --chown and USER name them: numbers, or names that /etc/passwd and /etc/group of the stage know."""

from __future__ import annotations

from ocibuild.source.filetree import Rootfs, resolved

_LARGEST = 2**32 - 2


def owner(text: str, rootfs: Rootfs) -> tuple[int, int]:
    """Numbers for `USER[:GROUP]`; without a group it is the number of the user. Raises ValueError."""
    user, colon, group = text.partition(":")
    uid = _number(user, "etc/passwd", rootfs) if user else 0
    return uid, _number(group, "etc/group", rootfs) if colon and group else uid


def _number(name: str, file: str, rootfs: Rootfs) -> int:
    if name.isascii() and name.isdigit():
        if int(name) > _LARGEST:
            raise ValueError(f"{name} is larger than any user's number")
        return int(name)
    path = resolved(rootfs, file)
    entry = rootfs.look(path) if path else None
    if entry is not None and entry.content is not None:
        with entry.content.open() as stream:
            lines = stream.read(1024 * 1024).decode("utf-8", "replace").splitlines()
        for line in lines:
            fields = line.split(":")
            if len(fields) > 2 and fields[0] == name and fields[2].isdigit():
                return int(fields[2])
    raise ValueError(f"/{file} in this stage does not know {name!r}")
