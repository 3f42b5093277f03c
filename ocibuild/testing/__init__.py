"""What the wheel offers to other people's tests. docs/testing.md.

registry  Registry   a registry in this process, which fails as it is told
plugin    the fixture `oci_registry`, for `pytest_plugins = ["ocibuild.testing.plugin"]`
contract  StoreContract   what every store must do, as a suite
programs  the smallest programs there are, whole files
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocibuild.testing.contract import StoreContract
    from ocibuild.testing.registry import Registry

__all__ = ["Registry", "StoreContract"]


def __getattr__(name: str) -> Any:
    # Each is loaded when it is asked for: who wants the one need not have what the other is built on.
    if name == "StoreContract":
        from ocibuild.testing.contract import StoreContract

        return StoreContract
    if name == "Registry":
        from ocibuild.testing.registry import Registry

        return Registry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
