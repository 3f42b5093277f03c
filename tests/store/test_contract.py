"""Every store keeps the same contract."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ocibuild.spec.descriptor import Descriptor
from ocibuild.store.archive import ArchiveReader, ArchiveWriter
from ocibuild.store.base import Source, Target
from ocibuild.store.layout import LayoutStore
from ocibuild.store.memory import MemoryStore
from ocibuild.store.overlay import OverlayStore
from ocibuild.testing import StoreContract


class TestMemory(StoreContract):
    def make(self, folder: Path) -> Target:
        return MemoryStore()


class TestLayout(StoreContract):
    def make(self, folder: Path) -> Target:
        return LayoutStore(folder / "deep" / "hello.oci")


class TestArchive(StoreContract):
    def make(self, folder: Path) -> Target:
        return ArchiveWriter(str(folder / "hello.tar"))

    def reopened(self, store: Target, folder: Path) -> Source:
        return ArchiveReader(str(folder / "hello.tar"))


class _Rooted(OverlayStore):
    """An overlay that lists the roots of its second source."""

    def roots(self) -> Iterator[tuple[str | None, Descriptor]]:
        second = self.sources[1]
        assert isinstance(second, LayoutStore)
        return second.roots()


class TestOverlay(StoreContract):
    """Written through the layout below it; read as one with an empty memory before it."""

    def make(self, folder: Path) -> Target:
        return LayoutStore(folder / "hello.oci")

    def reopened(self, store: Target, folder: Path) -> Source:
        return _Rooted(MemoryStore(), store)
