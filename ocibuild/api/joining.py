"""`index`: images that separate jobs pushed become one index under one tag."""

from __future__ import annotations

from collections.abc import Sequence

from ocibuild.api import places
from ocibuild.api.session import Session
from ocibuild.api.transfer import Transferred, send
from ocibuild.content.blob import Blob
from ocibuild.errors import UsageError
from ocibuild.spec import mediatype
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.store.base import Source, fetch
from ocibuild.store.graph import node
from ocibuild.store.memory import MemoryStore
from ocibuild.store.overlay import OverlayStore


def join(*references: str, tag: str, session: Session | None = None) -> Transferred:
    """One index of all images (and of the entries of indexes) named, pushed or written to `tag`.

    Platforms are read from the images' own configs. Raises UsageError (`platform-twice`, `not-runnable`) where two are
    for one platform, or one is an artifact that has none.
    """
    session = (session or Session()).begin()
    found = [session.found(places.parse(text)) for text in references]
    if not found:
        raise UsageError("index needs images to join", code="usage", hint="ocibuild index REF… -t REGISTRY/NAME:TAG")
    entries = [
        entry for (store, root), text in zip(found, references, strict=True) for entry in _entries(store, root, text)
    ]
    ordered = tuple(sorted({(entry.digest, entry.platform): entry for entry in entries}.values(), key=_rank))
    _refuse_doubles(ordered)
    made = Blob.of(mediatype.INDEX, Index(ordered).to_bytes())
    destination = places.parse(tag, writing=True)
    memory = MemoryStore()
    with session.flow() as flow:
        memory.push(made, flow)
        source = OverlayStore(memory, *{store.place: store for store, _ in found}.values())
        return send(source, made.descriptor, destination, session, flow)


def _entries(store: Source, root: Descriptor, text: str) -> Sequence[Descriptor]:
    document = node(store, root)
    if isinstance(document, Index):
        return [
            entry
            for child in document.manifests
            for entry in ([child] if child.platform else _entries(store, child, text))
        ]
    return [_entry(store, root, document, text)]


def _entry(store: Source, root: Descriptor, manifest: Manifest, text: str) -> Descriptor:
    if manifest.config.media_type not in mediatype.IMAGE_CONFIGS or not all(
        mediatype.tar_compression(layer.media_type) for layer in manifest.layers
    ):
        raise UsageError(
            f"{text} cannot stand in an index: its consumers read it only as a manifest at a tag",
            code="not-runnable",
            hint="pack it with --format image for an index, and keep this shape under a tag of its own",
        )
    config = ImageConfig.parse(fetch(store, manifest.config))
    if not config.platform.os or not config.platform.architecture:
        raise UsageError(f"{text} does not say its platform", code="not-runnable", hint="rebuild it with --platform")
    return root.bare.with_platform(config.platform)


def _rank(entry: Descriptor) -> tuple[bool, bool, str]:
    assert entry.platform is not None
    return entry.platform.os == "unknown", entry.platform.is_wasm, str(entry.platform)


def _refuse_doubles(entries: Sequence[Descriptor]) -> None:
    seen: dict[object, Descriptor] = {}
    for entry in entries:
        if entry.platform and entry.platform.os != "unknown" and entry.platform in seen:
            raise UsageError(
                f"{seen[entry.platform].digest} and {entry.digest} are both for {entry.platform}",
                code="platform-twice",
                hint="name one of them",
            )
        seen[entry.platform] = entry
