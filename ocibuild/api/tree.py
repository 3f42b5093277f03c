"""`tree`: what an image is made of and what is attached to it, as one document.

The document is what `--json` prints; its published schema is `schemas/tree.schema.json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ocibuild.api import places
from ocibuild.api.session import Session
from ocibuild.errors import ContentError, NotFoundError, OcibuildError
from ocibuild.spec import mediatype
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.store import names
from ocibuild.store.archive import ArchiveReader
from ocibuild.store.base import Referrers, Source, fetch
from ocibuild.store.graph import node
from ocibuild.store.layout import LayoutStore

Document = dict[str, Any]

MAX_DEPTH = 16
"""How deep indexes and referrers of referrers are followed, together."""


def tree(place: str, *, referrers: bool = True, session: Session | None = None) -> Document:
    """Describe the graph at a place: index, manifests, configs, layers and, unless declined, referrers.

    A layout or archive with several images is described whole. What the place lacks is said to be `missing`; what was
    shown before is `seen`, without its children. Raises NotFoundError, ContentError (`graph-too-deep`), and what stores and registries raise.
    """
    where = places.parse(place)
    store = (session or Session()).begin().source(where)
    grown = _Tree(store, referrers)
    if isinstance(store, LayoutStore | ArchiveReader) and not where.name:
        roots = names.images(store)
    else:
        name = where.reference.target if where.reference is not None else where.name
        roots = [((where.reference.tag if where.reference is not None else where.name) or None, store.resolve(name))]
    trees = [{"name": name, **grown.node(root)} for name, root in roots]
    return {"place": store.place, "roots": trees, "blobs": len(grown.sizes), "totalSize": sum(grown.sizes.values())}


class _Tree:
    """One walk. `sizes` are bytes by digest, each once."""

    def __init__(self, store: Source, referrers: bool) -> None:
        self._store = store
        self._referrers = referrers
        self._shown: set[Digest] = set()
        self.sizes: dict[Digest, int] = {}

    def node(self, descriptor: Descriptor, depth: int = 0) -> Document:
        """A manifest or index with everything below and on it."""
        if depth > MAX_DEPTH:
            raise ContentError(f"{self._store.place} is nested deeper than {MAX_DEPTH} levels", code="graph-too-deep")
        if not mediatype.is_node(descriptor.media_type):
            return self._leaf("other", descriptor)
        kind = "index" if mediatype.is_index(descriptor.media_type) else "manifest"
        if descriptor.digest in self._shown:
            return {**_described(kind, descriptor), "seen": True}
        try:
            document = node(self._store, descriptor)
        except NotFoundError:
            return {**_described(kind, descriptor), "missing": True}
        self._shown.add(descriptor.digest)
        self.sizes[descriptor.digest] = descriptor.size
        made = _described(kind, descriptor)
        made["artifactType"] = document.artifact_type or descriptor.artifact_type
        made["annotations"] = dict(document.annotations)
        if isinstance(document, Manifest):
            made["platform"] = made["platform"] or self._platform(document)
        made["subject"] = str(document.subject.digest) if document.subject else None
        made["children"] = list(self._children(document, depth))
        made["referrers"] = list(self._attached(descriptor, depth))
        return made

    def _children(self, document: Manifest | Index, depth: int) -> Iterator[Document]:
        if isinstance(document, Index):
            yield from (self.node(entry, depth + 1) for entry in document.manifests)
        else:
            yield self._leaf("config", document.config)
            yield from (self._leaf("layer", layer) for layer in document.layers)

    def _attached(self, descriptor: Descriptor, depth: int) -> Iterator[Document]:
        if self._referrers and isinstance(self._store, Referrers):
            yield from (self.node(entry, depth + 1) for entry in self._store.referrers(descriptor))

    def _leaf(self, kind: str, descriptor: Descriptor) -> Document:
        self.sizes[descriptor.digest] = descriptor.size
        return _described(kind, descriptor)

    def _platform(self, manifest: Manifest) -> str | None:
        if manifest.config.media_type not in mediatype.IMAGE_CONFIGS:
            return None
        try:
            platform = ImageConfig.parse(fetch(self._store, manifest.config)).platform
        except OcibuildError:
            return None  # a tree is shown of damaged images too
        return str(platform) if platform.os and platform.architecture else None


def _described(kind: str, descriptor: Descriptor) -> Document:
    return {
        "kind": kind,
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size,
        "platform": str(descriptor.platform) if descriptor.platform else None,
        "artifactType": descriptor.artifact_type,
        "annotations": dict(descriptor.annotations),
    }
