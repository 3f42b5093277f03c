"""What a registry must know of a manifest that it keeps: enough to check, list and find it, and no more.

Fields that the specification does not know are left alone; the bytes are kept as they came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ocibuild.errors import ContentError
from ocibuild.record import field, record
from ocibuild.serve.refusal import Refusal
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.digest import Digest

_NOT_DISTRIBUTED = ("nondistributable", "foreign")


@record
class Document:
    """A manifest in short. `needed` are the blobs, `manifests` the manifests that must be there before it; `optional` are
    blobs that may be elsewhere.
    """

    media_type: str
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)
    subject: Digest | None = None
    needed: tuple[Digest, ...] = ()
    manifests: tuple[Digest, ...] = ()
    optional: tuple[Digest, ...] = ()


def read(data: bytes, media_type: str | None, limit: int) -> Document:
    """Read a manifest that is said to be of `media_type`; None: of the type that it says itself, or its shape does.

    Raises Refusal (MANIFEST_INVALID): no JSON object, too deep, fields of another kind than the specification's, a
    type that contradicts its own.
    """
    try:
        reader = jsonform.Reader(jsonform.load(data, "the manifest", limit))
        own = reader.string("mediaType", None)
        if media_type is None:
            media_type = own or _shape(reader.document)
        elif own not in (None, media_type):
            raise ContentError(f"the manifest calls itself {own[:160]} but was sent as {media_type}")
        if not mediatype.is_valid(media_type):
            raise ContentError("the manifest's media type is none")
        if reader.integer("schemaVersion", 2) != 2:
            raise ContentError("only schemaVersion 2 is kept")
        return _document(reader, media_type)
    except ContentError as error:
        raise Refusal("MANIFEST_INVALID", error.message) from error


def _document(reader: jsonform.Reader, media_type: str) -> Document:
    config = reader.object("config", None)
    config_type = ""
    needed: list[Digest] = []
    optional: list[Digest] = []
    if config is not None:
        inner = jsonform.Reader(config, "config")
        config_type = inner.string("mediaType", "")
        needed.append(inner.digest("digest"))
    for name in ("layers", "blobs"):
        for position, entry in enumerate(reader.array(name, [])):
            inner = jsonform.Reader(entry, f"{name}[{position}]")
            kind = inner.string("mediaType", "")
            digest = inner.digest("digest")
            is_elsewhere = inner.strings("urls") or any(word in kind for word in _NOT_DISTRIBUTED)
            (optional if is_elsewhere else needed).append(digest)
    manifests = [
        jsonform.Reader(entry, f"manifests[{position}]").digest("digest")
        for position, entry in enumerate(reader.array("manifests", []))
    ]
    if mediatype.is_manifest(media_type) and (config is None or manifests):
        raise ContentError("an image manifest has a config and no manifests")
    if mediatype.is_index(media_type) and (config is not None or "manifests" not in reader.document):
        raise ContentError("an index has manifests and no config")
    subject = reader.object("subject", None)
    return Document(
        media_type=media_type,
        artifact_type=reader.string("artifactType", None) or config_type or None,
        annotations=dict(reader.string_map("annotations")),
        subject=jsonform.Reader(subject, "subject").digest("digest") if subject is not None else None,
        needed=tuple(dict.fromkeys(needed)),
        manifests=tuple(dict.fromkeys(manifests)),
        optional=tuple(dict.fromkeys(optional)),
    )


def _shape(document: Mapping[str, Any]) -> str:
    if isinstance(document.get("manifests"), list):
        return mediatype.INDEX
    if isinstance(document.get("config"), dict) and isinstance(document.get("layers"), list):
        return mediatype.MANIFEST
    raise ContentError("this is no manifest")
