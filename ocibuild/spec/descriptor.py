"""Content descriptors: what a blob is, how large, and under which digest. OCI image-spec, descriptor.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ocibuild.errors import ContentError
from ocibuild.record import field, record, replace
from ocibuild.spec import mediatype
from ocibuild.spec.digest import Digest
from ocibuild.spec.jsonform import Reader
from ocibuild.spec.platform import Platform

EMPTY_BYTES = b"{}"


@record
class Descriptor:
    """A pointer to content. `size` is in bytes. Two descriptors of the same content compare equal by `key`."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    artifact_type: str | None = None
    data: bytes | None = None
    urls: tuple[str, ...] = ()

    @classmethod
    def of(cls, media_type: str, data: bytes, **members: Any) -> Descriptor:
        """Describe bytes at hand."""
        return cls(media_type, Digest.of(data), len(data), **members)

    @property
    def key(self) -> tuple[str, Digest, int]:
        """What makes it the same content, whatever stands around it."""
        return self.media_type, self.digest, self.size

    @property
    def bare(self) -> Descriptor:
        """The same content without annotations, platform and inline data."""
        return Descriptor(self.media_type, self.digest, self.size)

    def with_platform(self, platform: Platform | None) -> Descriptor:
        """A copy that says where it runs."""
        return replace(self, platform=platform)

    def with_annotations(self, annotations: Mapping[str, str]) -> Descriptor:
        """A copy with these annotations over its own."""
        return replace(self, annotations={**self.annotations, **annotations})

    def to_json(self) -> dict[str, Any]:
        """Members in the order of the specification's examples, absent ones left out."""
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.urls:
            document["urls"] = list(self.urls)
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.data is not None:
            import base64

            document["data"] = base64.b64encode(self.data).decode()
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.platform:
            document["platform"] = self.platform.to_json()
        return document

    @classmethod
    def from_json(cls, document: Any, at: str = "descriptor") -> Descriptor:
        """Read a stranger's descriptor. Raises ContentError (`document-invalid`, `digest-invalid`) naming the member."""
        reader = Reader(document, at)
        media_type = reader.string("mediaType")
        if not mediatype.is_valid(media_type):
            raise ContentError(
                f"{reader.path('mediaType')} is {media_type[:160]!r}, no media type", code="document-invalid"
            )
        platform = reader.object("platform", None)
        return cls(
            media_type=media_type,
            digest=reader.digest("digest"),
            size=reader.integer("size"),
            annotations=dict(reader.string_map("annotations")),
            platform=Platform.from_json(platform, reader.path("platform")) if platform is not None else None,
            artifact_type=reader.string("artifactType", None) or None,
            data=_inline(reader),
            urls=tuple(reader.strings("urls")),
        )


def _inline(reader: Reader) -> bytes | None:
    text = reader.string("data", None)
    if text is None:
        return None
    import base64

    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ContentError(f"{reader.path('data')} is not base64", code="document-invalid") from error


EMPTY = Descriptor.of(mediatype.EMPTY, EMPTY_BYTES)
"""The descriptor of `{}`, for manifests without a config. OCI image-spec, manifest.md "Guidance for an Empty Descriptor"."""
