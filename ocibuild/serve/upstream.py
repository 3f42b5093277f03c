"""The seam for a registry behind this one: asked for what is not here, or may be older here than there."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Protocol

from ocibuild.record import record
from ocibuild.spec.digest import Digest


@record
class Fetched:
    """A manifest from upstream, whole. Where a digest was asked for, it is that."""

    media_type: str
    data: bytes


class Absent(Exception):
    """Upstream says that there is no such thing."""


class Unavailable(Exception):
    """Upstream does not say. `code` and `status` are those of the answer where nothing is held here instead.

    `lasting`: whatever else it is asked now will end like this.
    """

    def __init__(self, message: str, *, code: str = "UNKNOWN", status: int = 502, lasting: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.status = status
        self.lasting = lasting


class Upstream(Protocol):
    """Another registry, as its own client sees it: nothing of who asks here reaches it.

    Names of repositories are those that `name` gives. Every method but `name` raises Absent and Unavailable.
    """

    place: str
    """What people call it: docker.io."""

    def name(self, repository: str) -> str:
        """The full name of a repository there: `library/alpine` for `alpine` of Docker Hub."""

    def look(self, repository: str, tag: str) -> Digest:
        """What a tag stands for now."""

    def manifest(self, repository: str, digest: Digest) -> Fetched:
        """A manifest, verified."""

    def size(self, repository: str, digest: Digest) -> int:
        """How many bytes a blob has."""

    def blob(self, repository: str, digest: Digest, size: int) -> AbstractContextManager[BinaryIO]:
        """A blob's bytes as they come, which may be wrong ones or too many: who keeps them hashes them."""

    def referrers(self, repository: str, subject: Digest) -> list[dict[str, Any]]:
        """Descriptors of what refers to a manifest."""

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository."""

    def close(self) -> None:
        """Break off whatever is under way."""
