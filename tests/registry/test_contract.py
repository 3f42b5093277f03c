"""A registry keeps the contract of every store, but for its roots: it does not list what was never tagged."""

from pathlib import Path

import pytest

from ocibuild.content.flow import Flow
from ocibuild.registry.store import RegistryStore
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Target
from ocibuild.testing import StoreContract
from ocibuild.testing.contract import image
from tests.registry.double import Registry
from tests.registry.ours import Ours


class TestRegistry(StoreContract):
    kind = Registry

    @pytest.fixture(autouse=True)
    def _running(self):
        with self.kind() as registry:
            self.host = registry.host
            yield

    def make(self, folder: Path) -> Target:
        return RegistryStore(Reference.parse(f"{self.host}/team/hello:1"))

    def test_several_roots_are_told_apart(self, tmp_path: Path, flow: Flow) -> None:
        """The empty name is the reference's own."""
        one, two = image(b"a"), image(b"b")
        with self.filled(tmp_path, flow, ("1", one), ("2", two)) as store:
            assert store.resolve("2").digest == two[-1].descriptor.digest
            assert store.resolve("").digest == store.resolve("1").digest == one[-1].descriptor.digest

    def test_an_untagged_root_is_found(self, tmp_path: Path, flow: Flow) -> None:
        """By its digest alone."""
        blobs = image(b"a")
        with self.filled(tmp_path, flow, (None, blobs)) as store:
            assert store.resolve(blobs[-1].descriptor.digest).key == blobs[-1].descriptor.key


class TestOurRegistry(TestRegistry):
    kind = Ours
