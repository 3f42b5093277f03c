"""oras's container with our grammar of references: docker.io's short names, no scheme, no stray characters."""

from __future__ import annotations

import oras.defaults
from oras.container import Container

from ocibuild.spec.reference import Reference


class RegistryContainer(Container):  # type: ignore[misc]  # oras is untyped
    """A reference as oras's code takes it; oras builds every address from its parts."""

    def parse(self, name: str) -> None:
        """Raises UsageError (`reference-invalid`)."""
        default: str = self.registry
        is_whole = default == oras.defaults.registry.index_name or _has_host(name)
        reference = Reference.parse(name if is_whole else f"{default}/{name}")
        self.registry: str = reference.api_host
        self.namespace, _, self.repository = reference.repository.rpartition("/")
        self.tag = reference.tag
        self.digest = reference.digest


def named(container: Container) -> str:
    """The tag or digest a container stands for; the digest where it has both."""
    return str(container.digest or container.tag)


def _has_host(name: str) -> bool:
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")
