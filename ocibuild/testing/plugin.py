"""The pytest plugin: `pytest_plugins = ["ocibuild.testing.plugin"]` in the conftest.py at the top."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ocibuild.testing.registry import Registry

__all__ = ["oci_registry"]


@pytest.fixture
def oci_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An empty OCI registry on a loopback port for one test: `.address`, `.reference("hello:1")`, and its faults."""
    from ocibuild.testing.registry import Registry

    with Registry(tmp_path_factory.mktemp("oci-registry")) as registry:
        yield registry
