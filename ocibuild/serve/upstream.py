"""The seam for a registry behind this one: asked for what is not here, or may be older here than there."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol

from ocibuild.record import record
from ocibuild.spec.digest import Digest


@record
class Fetched:
    """A manifest from upstream, whole. The caller verifies it where a digest was asked for."""

    media_type: str
    data: bytes


class Upstream(Protocol):
    """Another registry. Whatever it raises is answered as if it had nothing, and the request goes on with what is here."""

    def manifest(self, repository: str, reference: str, held: Digest | None) -> Fetched | None:
        """The manifest of a tag or a digest; `held` is what the tag stands for here. None: keep what is held."""

    def blob(self, repository: str, digest: Digest) -> AbstractContextManager[BinaryIO] | None:
        """The content, None where there is none. It is kept and verified here before it is served."""
