"""`inspect`: what a program file, a layout, an archive or a registry's image is, as one document.

The document is what `--json` prints; its published schema is `schemas/inspect.schema.json`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ocibuild.api import places
from ocibuild.api.picking import pick
from ocibuild.api.session import Session
from ocibuild.binary import artifact
from ocibuild.binary.artifact import Artifact
from ocibuild.binary.elf import ElfFacts
from ocibuild.binary.entity import Import
from ocibuild.binary.wasm import WasmFacts
from ocibuild.content.blob import BLOCK
from ocibuild.errors import OcibuildError
from ocibuild.image.rootfs import LayerFacts, Member, RootFs
from ocibuild.image.shapes import SHAPES
from ocibuild.image.shapes.recognise import find_program, has_rootfs, raw_layer, recognise
from ocibuild.spec import mediatype
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.store import names
from ocibuild.store.archive import ArchiveReader
from ocibuild.store.base import Source, fetch
from ocibuild.store.graph import node
from ocibuild.store.layout import LayoutStore

Document = dict[str, Any]

LOOK_LIMIT = 64 * 1024 * 1024
"""Bytes of layers that are read without being asked; beyond, files and programs are left out of the account."""

PROGRAM_LIMIT = 256 * 1024 * 1024
"""Bytes of the largest program that is looked into inside an image; it is held in memory for that."""


def is_program(text: str) -> bool:
    """True where `text` names a file that is no tar archive, so that it can only be meant as a program."""
    path = Path(text)
    if not path.exists() or path.is_dir():
        return False
    if not path.is_file():
        return True
    with path.open("rb") as stream:
        return stream.read(262)[257:] != b"ustar"


def inspect(
    what: str, *, platform: str | None = None, contents: bool | None = None, session: Session | None = None
) -> Document:
    """Describe a program file, or the image at a place.

    `contents` says whether layers are read for their files and the program in them; by default where they have up to
    LOOK_LIMIT bytes. Raises InputError, NotFoundError, ContentError, StoreError, NetworkError.
    """
    if is_program(what):
        return file_document(artifact.inspect(what, allow_dynamic=True))
    place = places.parse(what)
    store = (session or Session()).begin().source(place)
    if isinstance(store, LayoutStore | ArchiveReader) and not place.name and len(_images(store)) != 1:
        roots = list(store.roots())
        return {"kind": "layout", "place": store.place, "images": [_root(name, root) for name, root in roots]}
    root = store.resolve(place.reference.target if place.reference is not None else place.name)
    if platform is not None:
        root, _ = pick(store, root, platform)
    return {"place": store.place, **_image(store, root, contents)}


def _images(store: LayoutStore | ArchiveReader) -> set[Digest]:
    return {root.digest for _, root in names.images(store)}


def _root(name: str | None, root: Descriptor) -> Document:
    return {"name": name, "digest": str(root.digest), "mediaType": root.media_type, "size": root.size}


# --- files --------------------------------------------------------------------------------------------------------


def file_document(found: Artifact) -> Document:
    """A program file."""
    hasher = hashlib.sha256()
    with open(found.path, "rb") as stream:
        while piece := stream.read(BLOCK):
            hasher.update(piece)
    return {
        "kind": "file",
        "path": found.path,
        "size": found.size,
        "digest": str(Digest.from_hasher(hasher)),
        "program": program_document(found),
    }


def program_document(found: Artifact) -> Document:
    """What a program's headers say."""
    match found.facts:
        case WasmFacts() as facts:
            return _wasm(facts)
        case ElfFacts() as elf:
            return _elf(elf)


def _wasm(facts: WasmFacts) -> Document:
    metadata = facts.metadata
    texts = {
        key: getattr(metadata, key)
        for key in (*("name", "version", "description", "licenses", "source", "homepage", "revision", "authors"),)
    }
    producers = {
        name: [{"name": tool, "version": version} for tool, version in tools] for name, tools in metadata.producers
    }
    return {
        "type": facts.kind,
        "wasi": facts.wasi,
        "role": facts.role,
        "imports": by_interface(facts.imports),
        "exports": [{"name": export.name, "kind": export.kind} for export in facts.exports],
        "memories": [
            {
                "initial": memory.initial,
                "maximum": memory.maximum,
                "pageSize": memory.page_size,
                "shared": memory.shared,
                "memory64": memory.is_64,
            }
            for memory in facts.memories
        ],
        "features": list(facts.features),
        "targetFeatures": list(facts.target_features),
        "embeddedWorlds": list(facts.embedded_worlds),
        "metadata": {**{key: text for key, text in texts.items() if text is not None}, "producers": producers},
        "customSections": [
            {"name": section.name or "", "size": section.size} for section in facts.sections if section.kind == "custom"
        ],
        "modules": len(facts.modules),
        "unread": list(facts.unread),
    }


def by_interface(imports: Iterable[Import]) -> list[Document]:
    """Imports under the module, or the component's interface, they come from, in the file's order."""
    groups: dict[str, list[str]] = {}
    for entry in imports:
        interface = entry.module or entry.name
        groups.setdefault(interface, [])
        if entry.module:
            groups[interface].append(entry.name)
    return [{"interface": interface, "names": names} for interface, names in groups.items()]


def _elf(facts: ElfFacts) -> Document:
    go = facts.go
    return {
        "type": "elf",
        "platform": str(facts.platform),
        "bits": facts.bits,
        "byteOrder": facts.byte_order,
        "machine": facts.machine,
        "static": facts.static,
        "staticPie": facts.static_pie,
        "stripped": facts.stripped,
        "interpreter": facts.interpreter,
        "needed": list(facts.needed),
        "toolchain": facts.toolchain,
        "go": go
        and {
            "version": go.version,
            "path": go.path,
            "module": go.module,
            "moduleVersion": go.module_version,
            "settings": dict(go.settings),
        },
        "comments": list(facts.comments),
    }


# --- images -------------------------------------------------------------------------------------------------------


def _image(store: Source, root: Descriptor, contents: bool | None) -> Document:
    document = node(store, root)
    common = {
        "kind": "index" if isinstance(document, Index) else "image",
        "digest": str(root.digest),
        "mediaType": root.media_type,
        "size": root.size,
        "annotations": dict(document.annotations),
    }
    if isinstance(document, Index):
        entries = [{**_platform(entry), **_image(store, entry, contents)} for entry in document.manifests]
        return {**common, "images": entries}
    return {**common, **_manifest(store, document, contents)}


def _platform(entry: Descriptor) -> Document:
    return {"platform": str(entry.platform) if entry.platform else None}


def _manifest(store: Source, manifest: Manifest, contents: bool | None) -> Document:
    shape = recognise(manifest)
    document: Document = {
        "format": shape,
        "consumers": SHAPES[shape].consumers if shape in SHAPES else None,
        "artifactType": manifest.artifact_type,
        "config": {
            "digest": str(manifest.config.digest),
            "mediaType": manifest.config.media_type,
            "size": manifest.config.size,
        },
    }
    config = None
    if manifest.config.media_type in mediatype.IMAGE_CONFIGS:
        config = ImageConfig.parse(fetch(store, manifest.config))
        document |= _config(config)
    total = sum(layer.size for layer in manifest.layers)
    look = contents if contents is not None else total <= LOOK_LIMIT
    rootfs = RootFs.read(store, manifest.layers) if look and has_rootfs(manifest) else None
    document["layers"] = [
        _layer(layer, rootfs.layers[n] if rootfs else None) for n, layer in enumerate(manifest.layers)
    ]
    document["totalSize"] = manifest.config.size + total
    document["contentsRead"] = look
    document["program"] = _program(store, manifest, rootfs) if look else None
    return document


def _config(config: ImageConfig) -> Document:
    process = config.process
    return {
        "platform": str(config.platform),
        "created": config.created,
        "author": config.author,
        "entrypoint": list(process.entrypoint),
        "cmd": list(process.cmd),
        "env": list(process.env),
        "user": process.user,
        "workingDir": process.working_dir,
        "exposedPorts": list(process.exposed_ports),
        "volumes": list(process.volumes),
        "stopSignal": process.stop_signal,
        "labels": dict(process.labels),
        "history": [line.created_by for line in config.history],
    }


def _layer(layer: Descriptor, facts: LayerFacts | None) -> Document:
    document: Document = {
        "digest": str(layer.digest),
        "mediaType": layer.media_type,
        "size": layer.size,
        "annotations": dict(layer.annotations),
    }
    if facts is not None:
        document |= {
            "diffId": str(facts.diff_id),
            "unpackedSize": facts.size,
            "files": [_file(member) for member in facts.members],
        }
    return document


def _file(member: Member) -> Document:
    document: Document = {
        "path": f"/{member.path}",
        "kind": member.kind,
        "mode": f"{member.mode & 0o7777:04o}",
        "uid": member.uid,
        "gid": member.gid,
        "size": member.size,
        "mtime": member.mtime,
    }
    return {**document, "target": member.target} if member.target else document


def _program(store: Source, manifest: Manifest, rootfs: RootFs | None) -> Document | None:
    try:
        if rootfs is None:
            raw_layer(manifest)
        program = find_program(store, manifest, rootfs)
        if program.size > PROGRAM_LIMIT:
            return {"problem": f"{program.name} has {program.size} bytes and was not read", "code": "program-too-large"}
        with program.open() as stream:
            data = bytearray()
            while piece := stream.read(BLOCK):
                data += piece
        found = artifact.inspect_bytes(bytes(data), program.name, allow_dynamic=True)
    except OcibuildError as error:
        return {"problem": error.message, "code": error.code}
    digest = str(Digest.of(data))
    return {"name": program.name, "size": program.size, "digest": digest, **program_document(found)}
