"""Manifests and indexes. OCI image-spec, manifest.md and image-index.md.

Both are views: the bytes they were read from, or will be written as, are what a digest is of. `parse` is for looking;
nothing that was parsed is ever written back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ocibuild.errors import ContentError
from ocibuild.record import field, record
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.jsonform import Reader

_MAX_CHILDREN = 10_000


@record
class Manifest:
    """An image or artifact: one config and its layers."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None
    subject: Descriptor | None = None
    media_type: str = mediatype.MANIFEST

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What must be stored before this manifest is. The subject is not a child."""
        return (self.config, *self.layers)

    @property
    def kind(self) -> str:
        """The artifact type, or the config's media type where there is none (as the referrers API says it)."""
        return self.artifact_type or self.config.media_type

    def to_bytes(self) -> bytes:
        """The bytes to store."""
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        document["config"] = self.config.to_json()
        document["layers"] = [layer.to_json() for layer in self.layers]
        if self.subject:
            document["subject"] = self.subject.to_json()
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return jsonform.dump(document)


@record
class Index:
    """Manifests side by side, usually one a platform."""

    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str | None = None
    subject: Descriptor | None = None
    media_type: str = mediatype.INDEX

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What must be stored before this index is."""
        return self.manifests

    def to_bytes(self) -> bytes:
        """The bytes to store."""
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": self.media_type}
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        document["manifests"] = [entry.to_json() for entry in self.manifests]
        if self.subject:
            document["subject"] = self.subject.to_json()
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        return jsonform.dump(document)


def parse(
    data: bytes,
    media_type: str,
    what: str = "manifest",
    limit: int = jsonform.MAX_DOCUMENT,
    children: int = _MAX_CHILDREN,
) -> Manifest | Index:
    """Read the document that a descriptor of `media_type` points at, up to `limit` bytes and `children` of it.

    Raises ContentError: `json-invalid`, `document-invalid`, and `media-type-mismatch` where the body's own mediaType,
    or its shape, contradicts the descriptor's (distribution-spec asks clients to refuse that).
    """
    reader = Reader(jsonform.load(data, what, limit), what)
    version = reader.integer("schemaVersion")
    if version != 2:
        raise ContentError(f"{what} has schemaVersion {version}; only 2 is read", code="document-invalid")
    own = reader.string("mediaType", media_type)
    if own != media_type:
        raise ContentError(f"{what} calls itself {own} but is described as {media_type}", code="media-type-mismatch")
    if mediatype.is_index(media_type):
        return _index(reader, media_type, children)
    if mediatype.is_manifest(media_type):
        return _manifest(reader, media_type, children)
    raise ContentError(f"{what} is of type {media_type}, neither a manifest nor an index", code="media-type-mismatch")


def _manifest(reader: Reader, media_type: str, children: int) -> Manifest:
    if "manifests" in reader.document:
        raise ContentError(f"{reader.at} is described as a manifest but lists manifests", code="media-type-mismatch")
    return Manifest(
        config=Descriptor.from_json(reader.object("config"), reader.path("config")),
        layers=_descriptors(reader, "layers", children),
        media_type=media_type,
        **_common(reader),
    )


def _index(reader: Reader, media_type: str, children: int) -> Index:
    if "layers" in reader.document or "config" in reader.document:
        raise ContentError(f"{reader.at} is described as an index but has layers", code="media-type-mismatch")
    return Index(manifests=_descriptors(reader, "manifests", children), media_type=media_type, **_common(reader))


def _common(reader: Reader) -> dict[str, Any]:
    subject = reader.object("subject", None)
    return {
        "annotations": reader.string_map("annotations"),
        "artifact_type": reader.string("artifactType", None) or None,
        "subject": Descriptor.from_json(subject, reader.path("subject")) if subject is not None else None,
    }


def _descriptors(reader: Reader, name: str, limit: int) -> tuple[Descriptor, ...]:
    entries = reader.array(name)
    if len(entries) > limit:
        raise ContentError(f"{reader.path(name)} has {len(entries)} entries; {limit} are read", code="document-invalid")
    return tuple(Descriptor.from_json(entry, f"{reader.path(name)}[{n}]") for n, entry in enumerate(entries))
