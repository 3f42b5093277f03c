"""Whereabouts: which repositories of a registry were seen to have a blob, so that others can take it over from there."""

from __future__ import annotations

import threading

from ocibuild.spec.digest import Digest


class Whereabouts:
    """What one session has seen. Of every blob the last repository is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, Digest], str] = {}

    def note(self, registry: str, repository: str, digest: Digest) -> None:
        """The repository has it."""
        with self._lock:
            self._seen[registry, digest] = repository

    def find(self, registry: str, digest: Digest) -> str | None:
        """A repository that has it."""
        with self._lock:
            return self._seen.get((registry, digest))
