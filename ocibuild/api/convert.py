"""`convert`: one Wasm shape into another, without rebuilding. The program's bytes stay what they are.

Every decision about the new manifest is the shape's author's, the one that packing asks too; here is only what an index
means, and what goes along with the new manifest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from ocibuild.api import places, transfer
from ocibuild.api.picking import pick
from ocibuild.api.places import Place
from ocibuild.api.session import Session
from ocibuild.api.transfer import Transferred
from ocibuild.binary.artifact import inspect_extent
from ocibuild.content.blob import Blob
from ocibuild.content.flow import Event, Flow
from ocibuild.errors import ContentError, UsageError
from ocibuild.image import made
from ocibuild.image.look import Look
from ocibuild.image.made import MadeStore
from ocibuild.image.shapes import Shape, carry, shape
from ocibuild.image.shapes.recognise import recognise
from ocibuild.pack import presets
from ocibuild.pack.describe import described
from ocibuild.record import record
from ocibuild.spec import annotation, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.spec.platform import WASI, Platform
from ocibuild.store.base import Source
from ocibuild.store.graph import node
from ocibuild.store.memory import MemoryStore
from ocibuild.store.overlay import OverlayStore

_LONG = 32 * 1024 * 1024
"""Bytes that take long enough to read for a person to be told why nothing moves yet."""

_CONVERTIBLE = ("image", "compat", "wasm-layer", "artifact", "solo", "wasm-to-oci")


@record
class _Wish:
    """What the new image is to be."""

    shape: Shape
    preset: presets.Preset | None
    name: str | None
    subject: bool
    epoch: int
    origin: str


@record
class _Outcome:
    """Where the image is to be read, its root, and what is to be said."""

    source: Source
    root: Descriptor
    notes: tuple[str, ...] = ()


def convert(
    source: str,
    destination: str,
    *,
    format: str | None = None,
    consumer: str | None = None,
    platform: str | None = None,
    name: str | None = None,
    subject: bool = False,
    session: Session | None = None,
    out: BinaryIO | None = None,
) -> Transferred:
    """Copy an image into another shape: `format`, or the one that `consumer` reads.

    What the new shape has a place for is carried over; the result's `notes` tell what it has not. An image of that
    shape already is copied as it is. Of an index, an index of the shape `image` is made, natives untouched; for the
    other shapes, which are read from a manifest at the tag only, `platform` picks the entry. `name` is the program's
    path in the new image. With `subject` the new manifest has the original as its subject, which is copied too.

    Raises UsageError (`shape-conflict`, `platform-needed`, `consumer-refuses`), ContentError (`not-convertible`,
    `program-missing`, `program-ambiguous`), and what stores and registries raise.
    """
    session = (session or Session()).begin()
    preset = presets.preset(consumer) if consumer else None
    if not format and preset is None:
        raise UsageError("a conversion needs a shape", code="usage", hint="say --format SHAPE or --for CONSUMER")
    target = shape(format or (preset.shape if preset else ""))
    begin, end = places.parse(source), places.parse(destination, writing=True)
    store, root = session.found(begin)
    origin = f"{begin.reference.name}@" if begin.reference is not None else ""
    wish = _Wish(target, preset, name, subject, session.surroundings.source_date_epoch() or 0, origin)
    if platform is not None or not target.indexable:
        root, _ = pick(store, root, platform)
    with session.flow() as flow:
        outcome = _converted(store, root, wish, flow)
        if outcome.root.digest != root.digest:
            _note_blobs(session, begin, store, root)
        originals = [root.bare] if subject and outcome.root.digest != root.digest else []
        ref = root.annotations.get(annotation.REF_NAME) or (begin.reference.tag if begin.reference is not None else "")
        named = outcome.root.bare.with_annotations({annotation.REF_NAME: ref} if ref else {})
        done = transfer.send(outcome.source, named, end, session, flow, out, before=(store, originals))
    return replace(done, notes=outcome.notes)


def _converted(store: Source, root: Descriptor, wish: _Wish, flow: Flow) -> _Outcome:
    document = node(store, root)
    if isinstance(document, Manifest):
        return _image(store, root, document, wish, flow)
    return _index(store, document, root, wish, flow)


def _note_blobs(session: Session, place: Place, store: Source, root: Descriptor) -> None:
    """Let the target's registry take over what stays as it is from the repository where it stands."""
    if place.reference is None:
        return
    for child in node(store, root).children:
        if mediatype.is_node(child.media_type):
            _note_blobs(session, place, store, child)
        else:
            session.whereabouts.note(place.reference.registry, place.reference.repository, child.digest)


# --- an index -----------------------------------------------------------------------------------------------------


def _index(store: Source, index: Index, root: Descriptor, wish: _Wish, flow: Flow) -> _Outcome:
    entries: list[Descriptor] = []
    sources: list[Source] = []
    notes: list[str] = []
    changed: set[str] = set()
    for entry in index.manifests:
        document = node(store, entry)
        if isinstance(document, Index):
            inner = _index(store, document, entry, wish, flow)
        elif _stays(entry, document, wish):
            inner = _Outcome(store, entry)
        else:
            inner = _image(store, entry, document, wish, flow)
        if inner.root.digest != entry.digest:
            changed.add(str(entry.digest))
            sources.append(inner.source)
            inner = replace(inner, root=replace(inner.root, annotations=entry.annotations))
        notes += [f"{entry.platform or entry.digest}: {note}" for note in inner.notes]
        entries.append(inner.root)
    if not changed:
        return _Outcome(store, root, (f"every entry has the shape {wish.shape.name} already; copied as it is",))
    about = [entry for entry in entries if entry.annotations.get(annotation.ATTESTATION_DIGEST) in changed]
    if about:
        notes.append(f"left out: attestations about manifests that were converted ({len(about)})")
    kept = tuple(entry for entry in entries if entry not in about)
    blob = Blob.of(mediatype.INDEX, replace(index, manifests=kept, media_type=mediatype.INDEX).to_bytes())
    memory = MemoryStore()
    memory.push(blob, flow)
    return _Outcome(OverlayStore(memory, *sources, store), blob.descriptor, tuple(dict.fromkeys(notes)))


def _stays(entry: Descriptor, manifest: Manifest, wish: _Wish) -> bool:
    """Natives have the only shape that an index holds; what runs nowhere is not a program."""
    is_wasm = entry.platform is None or entry.platform.is_wasm
    return not is_wasm or recognise(manifest) not in _CONVERTIBLE


# --- one manifest -------------------------------------------------------------------------------------------------


def _image(store: Source, root: Descriptor, manifest: Manifest, wish: _Wish, flow: Flow) -> _Outcome:
    found = recognise(manifest)
    if found not in _CONVERTIBLE:
        raise ContentError(
            f"{store.place} has the shape {found}, which is not one program in a shape of its own",
            code="not-convertible",
            hint="ocibuild inspect shows what it is",
        )
    if found == wish.shape.name and wish.preset is None:
        return _as_it_is(store, root, wish)
    if (length := sum(layer.size for layer in manifest.layers)) >= _LONG:
        flow.observe(Event("note", text=f"reading {length >> 20} MiB of {store.place} to learn the new digest"))
    original = carry.read(store, manifest)
    with Look(original.program) as look:
        artifact = inspect_extent(look, allow_dynamic=True)
    if wish.preset is not None:
        presets.refuse_unfit(wish.preset, artifact)
    if found == wish.shape.name:
        return _as_it_is(store, root, wish)
    if wish.shape.wasm_only and artifact.platform is not None:
        raise UsageError(
            f"format {wish.shape.name} is for Wasm, and {original.program.name} is a native binary",
            code="shape-conflict",
            hint="natives are shipped as image",
        )
    carried = carry.carry(
        original,
        artifact,
        wish.shape,
        facts=described(artifact),
        epoch=wish.epoch,
        name=wish.name,
        platform=_platform(wish, root),
    )
    plan = wish.shape.author(carried.request)
    if wish.subject:
        told = (annotation.CONVERTED_FROM, f"{found} {wish.origin}{root.digest}")
        plan = replace(plan, subject=root.bare, annotations=(*plan.annotations, told))
    source = MadeStore(plan, flow, made.raw(plan, original.program.digest))
    notes = [f"{found} becomes {wish.shape.name}"]
    if carried.lost:
        notes.append(f"{wish.shape.name} has no place for: {', '.join(carried.lost)}")
    return _Outcome(source, source.root, tuple(notes))


def _platform(wish: _Wish, root: Descriptor) -> Platform:
    return root.platform or (wish.preset.platform if wish.preset else WASI)


def _as_it_is(store: Source, root: Descriptor, wish: _Wish) -> _Outcome:
    notes = [f"it has the shape {wish.shape.name} already; copied as it is"]
    if wish.subject or wish.name:
        notes.append("a name or a subject would make it another image: they were left out")
    return _Outcome(store, root, tuple(notes))
