"""The fixture that the wheel ships."""

from ocibuild.testing.plugin import oci_registry

__all__ = ["oci_registry"]
