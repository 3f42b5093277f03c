"""`ocibuild.testing.Registry` as the tests of this folder speak of a registry, so that they run against it as well."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from ocibuild.spec.digest import Digest
from ocibuild.testing import Registry
from ocibuild.testing.faults import Seen


class Ours:
    """See tests.registry.double.Registry, whose words these are."""

    def __init__(self, *, user: str = "", password: str = "", basic: bool = False) -> None:
        # What it holds is looked at after it has stopped, too.
        folder = Path(tempfile.mkdtemp(prefix="ours-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.inner = Registry(folder, user=user, password=password, basic=basic)
        self.blobs: Mapping[tuple[str, str], bytes] = _Blobs(self.inner)
        self.manifests = _Manifests(self.inner)
        self.tags = _Tags(self.inner)

    @property
    def host(self) -> str:
        return self.inner.address

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def seen(self) -> list[Seen]:
        return list(self.inner.requests)

    def requests(self, method: str, part: str = "") -> list[Seen]:
        return [seen for seen in self.inner.requests if seen.method == method and part in seen.path]

    def revoke(self) -> None:
        self.inner.revoke()

    def __enter__(self) -> Self:
        self.inner.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self.inner.stop()


class _Blobs(Mapping[tuple[str, str], bytes]):
    """The blobs that are there, by repository and digest."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getitem__(self, key: tuple[str, str]) -> bytes:
        held = self._registry.content.storage.repository(key[0]).blob(Digest(key[1]))
        if held is None:
            raise KeyError(key)
        return held.path.read_bytes()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for path in self._registry.folder.rglob("blobs/*/*"):
            name = path.parent.parent.parent.relative_to(self._registry.folder).as_posix()
            yield name, f"{path.parent.name}:{path.name}"

    def __len__(self) -> int:
        return sum(1 for _ in self)


class _Manifests:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getitem__(self, key: tuple[str, str]) -> tuple[str, bytes]:
        held = self._registry.content.manifest(key[0], Digest(key[1]))
        return held.media_type, held.path.read_bytes()


class _Tags:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getitem__(self, key: tuple[str, str]) -> str:
        return self._registry.content.manifest(*key).digest


class Breaking(Ours):
    """See the one of tests.registry.test_upload."""

    def __init__(self, *after: int, method: str = "PUT") -> None:
        super().__init__()
        for size in after:
            self.inner.drop(received=size, method=method, path="/blobs/uploads/")

    @property
    def uploads(self) -> list[object]:
        folder = self.inner.folder / ".uploads"
        return list(folder.iterdir()) if folder.exists() else []
