"""Layers upon each other: what later ones take away and bring. OCI image-spec, layer.md "Whiteouts"."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocibuild.image.rootfs import LayerFacts, Member

OPAQUE = ".wh..wh..opq"
WHITEOUT = ".wh."
_DEEP = 32
"""Folders of a path that are known one by one; what lies deeper stands below the last of them."""


class Merged:
    """Layers upon each other. What lies below a path is known, so that a new file does not look at all others."""

    def __init__(self) -> None:
        self.files: dict[str, Member] = {}
        self._below: dict[str, dict[str, None]] = {}

    def apply(self, layer: LayerFacts) -> None:
        """The next layer: what it takes away, then what it brings."""
        for member in layer.members:
            folder, _, name = member.path.rpartition("/")
            if name == OPAQUE:
                self._remove(folder, member.layer, itself=False)
            elif name.startswith(WHITEOUT):
                gone = name.removeprefix(WHITEOUT)
                self._remove(f"{folder}/{gone}" if folder else gone, member.layer, itself=True)
        for member in layer.members:
            if posixpath.basename(member.path).startswith(WHITEOUT) or not member.path:
                continue
            if member.kind != "dir":
                self._remove(member.path, member.layer, itself=True)
            self.files[member.path] = member
            self._enter(member.path)

    def _enter(self, path: str) -> None:
        while path:
            folder = _folder(path)
            known = self._below.setdefault(folder, {})
            if path in known:
                return
            known[path] = None
            path = folder

    def _remove(self, path: str, layer: int, *, itself: bool) -> None:
        """Take away what layers below `layer` have at `path`."""
        old = self.files.get(path)
        found = [path]
        if not itself or old is None or old.kind == "dir":
            prefix = f"{path}/" if path else ""
            if prefix.count("/") > _DEEP:
                found += [near for near in self._below.get(_folder(path), ()) if near.startswith(prefix)]
            else:
                for each in found:  # it grows
                    found += self._below.get(each, ())
        for each in reversed(found if itself else found[1:]):
            member = self.files.get(each)
            if member is not None and member.layer < layer:
                del self.files[each]
                member = None
            folder = _folder(each)
            if member is None and each not in self._below and each in self._below.get(folder, ()):
                del self._below[folder][each]
                if not self._below[folder]:
                    del self._below[folder]


def _folder(path: str) -> str:
    """The folder that a path is known to lie below."""
    if path.count("/") > _DEEP:
        return "/".join(path.split("/", _DEEP)[:_DEEP])
    return path.rpartition("/")[0]
