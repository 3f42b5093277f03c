"""What the wheel offers to other people's tests."""

from ocibuild.testing.contract import StoreContract

__all__ = ["StoreContract"]
