"""`attach` and `referrers`: files that belong to an image without being in it: SBOMs, signatures, reports, licences.

What is attached is an artifact of its own whose `subject` is the image; neither the image nor its digest changes.
OCI image-spec, manifest.md "Guidelines for Artifact Usage".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

from ocibuild.api import places
from ocibuild.api.picking import pick
from ocibuild.api.session import Session
from ocibuild.content.blob import BLOCK, Blob, Bytes, File
from ocibuild.content.flow import Event
from ocibuild.errors import InputError, UsageError
from ocibuild.pack.plan import parse_created, rfc3339
from ocibuild.record import record
from ocibuild.spec import annotation, mediatype
from ocibuild.spec.descriptor import EMPTY, EMPTY_BYTES, Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Manifest
from ocibuild.store.base import Referrers
from ocibuild.store.copy import Copied


@record
class Attached:
    """`descriptor` is the new manifest's, `reference` its name in a form every command accepts."""

    descriptor: Descriptor
    reference: str
    subject: Descriptor
    copied: Copied


def attach(
    *files: str | os.PathLike[str],
    to: str,
    artifact_type: str,
    annotations: Mapping[str, str] | None = None,
    platform: str | None = None,
    created: str | None = None,
    session: Session | None = None,
) -> Attached:
    """Attach files (`FILE` or `FILE:MEDIA/TYPE`) to the image at a place in a registry or a layout.

    Each file is a layer under its own name; its media type is the artifact's where none is said. With `platform` the
    subject is that entry of an index. The same files and options give the same digest: a time stands in it only where
    `created`, or SOURCE_DATE_EPOCH, says one. Raises UsageError (`media-type-invalid`, `path-duplicate`, `created-invalid`),
    InputError (`file-not-found`), NotFoundError, StoreError (`store-read-only`), and what registries raise.
    """
    session = (session or Session()).begin()
    if not mediatype.is_valid(artifact_type):
        raise _no_media_type(artifact_type)
    layers = [_layer(os.fspath(file), artifact_type) for file in files]
    _refuse_doubles(layers)
    if not layers and not annotations:
        raise UsageError("attach needs something to attach", hint="name a file, or say --annotation KEY=VALUE")
    notes = {**_time(created, session), **(annotations or {})}
    where = places.parse(to)
    store = session.changing(where)
    subject = store.resolve(where.reference.target if where.reference is not None else where.name)
    if platform is not None:
        subject, _ = pick(store, subject, platform)
    config = Blob(Descriptor(EMPTY.media_type, EMPTY.digest, EMPTY.size), Bytes(EMPTY_BYTES))
    manifest = Manifest(
        config=config.descriptor,
        # The specification wants one layer at least; where nothing is to be said, it is the empty one.
        layers=tuple(layer.descriptor for layer in layers) or (config.descriptor,),
        annotations=notes,
        artifact_type=artifact_type,
        subject=subject.bare,
    )
    blobs = [*layers, config, Blob.of(mediatype.MANIFEST, manifest.to_bytes())]
    root = blobs[-1].descriptor
    copied = Copied(root)
    with session.flow() as flow, store:
        for blob in blobs:
            flow.observe(Event("plan", blob.descriptor))
        for blob in blobs:
            copied.add(blob.descriptor, store.push(blob, flow))
        store.tag(root, None)
    return Attached(root, f"{store.place}@{root.digest}", subject.bare, copied)


def referrers(
    place: str, *, artifact_type: str | None = None, platform: str | None = None, session: Session | None = None
) -> tuple[Descriptor, ...]:
    """What is attached to the image at a place, with artifact types and annotations; of one type where that is given.

    Raises NotFoundError, RegistryError (`referrers-tag-taken`), and what stores and registries raise.
    """
    store, root = (session or Session()).begin().found(places.parse(place))
    if platform is not None:
        root, _ = pick(store, root, platform)
    assert isinstance(store, Referrers)
    return tuple(store.referrers(root, artifact_type))


def _layer(text: str, artifact_type: str) -> Blob:
    path, media_type = _split(text, artifact_type)
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            hasher, size = hashlib.sha256(), 0
            while piece := stream.read(BLOCK):
                hasher.update(piece)
                size += len(piece)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", code="file-not-found", hint="check the path") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", code="file-unreadable") from error
    title = {annotation.TITLE: os.path.basename(os.path.abspath(path))}
    descriptor = Descriptor(media_type, Digest.from_hasher(hasher), size, title)
    return Blob(descriptor, File(os.path.abspath(path), size, mtime_ns=status.st_mtime_ns))


def _split(text: str, artifact_type: str) -> tuple[str, str]:
    """`FILE:MEDIA/TYPE`; a file that is called so is a file."""
    path, colon, media_type = text.rpartition(":")
    if os.path.exists(text) or not colon or "/" not in media_type:
        return text, artifact_type
    if not mediatype.is_valid(media_type):
        raise _no_media_type(media_type)
    return path, media_type


def _no_media_type(text: str) -> UsageError:
    return UsageError(
        f"{text[:140]!r} is no media type", code="media-type-invalid", hint="write it as application/spdx+json"
    )


def _refuse_doubles(layers: Sequence[Blob]) -> None:
    titles = [layer.descriptor.annotations[annotation.TITLE] for layer in layers]
    for title in titles:
        if titles.count(title) > 1:
            raise UsageError(
                f"two files are called {title}", code="path-duplicate", hint="who pulls them could keep only one"
            )


def _time(created: str | None, session: Session) -> dict[str, str]:
    epoch = parse_created(created) if created is not None else session.surroundings.source_date_epoch()
    return {} if epoch is None else {annotation.CREATED: rfc3339(epoch)}
