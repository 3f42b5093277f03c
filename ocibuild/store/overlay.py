"""Several sources read as one: each descriptor comes from the first that has it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO

from ocibuild.errors import NotFoundError
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store.base import Referrers, Source


class OverlayStore:
    """Read-only. Names are looked up in the order of the sources too."""

    def __init__(self, *sources: Source) -> None:
        self.sources = sources
        self.place = " + ".join(source.place for source in sources)

    def resolve(self, name: str) -> Descriptor:
        """See Source."""
        for source in self.sources:
            try:
                return source.resolve(name)
            except NotFoundError as error:
                if error.code == "ambiguous":
                    raise
        raise NotFoundError(f"{self.place} has no image {name!r}")

    def exists(self, descriptor: Descriptor) -> bool:
        """See Source."""
        return any(source.exists(descriptor) for source in self.sources)

    def open(self, descriptor: Descriptor, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        """See Source."""
        return self.holder(descriptor).open(descriptor, offset)

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> Sequence[Descriptor]:
        """What any of the sources that can tell knows of."""
        telling = [source for source in self.sources if isinstance(source, Referrers)]
        found = [entry for source in telling for entry in source.referrers(subject, artifact_type)]
        return tuple({entry.digest: entry for entry in found}.values())

    def holder(self, descriptor: Descriptor) -> Source:
        """The source that has the content. Raises NotFoundError (`blob-missing`)."""
        for source in self.sources:
            if source.exists(descriptor):
                return source
        raise NotFoundError(f"{self.place} does not have {descriptor.digest}", code="blob-missing")
