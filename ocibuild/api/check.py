"""`check`: does a program file, or an image, fit who will run it? Findings with stable codes, listed in docs/checks.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Literal

from ocibuild.api import places
from ocibuild.api.inspecting import is_program
from ocibuild.api.session import Session
from ocibuild.binary import artifact
from ocibuild.binary.artifact import Artifact
from ocibuild.binary.elf import ElfFacts
from ocibuild.binary.wasm import WasmFacts
from ocibuild.content.blob import BLOCK
from ocibuild.errors import ContentError, InputError, NotFoundError
from ocibuild.image.rootfs import RootFs
from ocibuild.image.shapes.recognise import (
    ShapeName,
    candidates,
    find_program,
    has_rootfs,
    raw_layer,
    recognise,
)
from ocibuild.pack.presets import Preset, preset
from ocibuild.record import record
from ocibuild.spec import annotation, jsonform, mediatype
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.store.base import Source, fetch
from ocibuild.store.graph import node, walk

Severity = Literal["error", "warning", "info"]
_NODE_OS = "linux"
_FOR_NODES = (
    "pack the Wasm with --format wasm-layer under a tag of its own, or list it for the nodes with --also linux/amd64"
)
_LOOKED_INTO = 256 * 1024 * 1024
_DEBUG_SHARE = 4
_SHAPES: dict[str, frozenset[ShapeName]] = {
    "image": frozenset({"image", "compat"}),
    "wasm-layer": frozenset({"wasm-layer", "artifact", "image", "compat"}),  # runwasi's shims take them all
    "compat": frozenset({"compat", "image", "solo"}),  # what counts is plugin.wasm, which is looked for
    "artifact": frozenset({"artifact"}),
    "wasm-to-oci": frozenset({"wasm-to-oci"}),
}


@record
class Finding:
    """`where` is the file or the platform's image; `cure` says what to do."""

    code: str
    severity: Severity
    where: str
    message: str
    cure: str

    def to_json(self) -> dict[str, Any]:
        """As `schemas/check.schema.json` has it."""
        return dict(vars(self))


def check(what: str, *, consumer: str | None = None, session: Session | None = None) -> tuple[Finding, ...]:
    """Lint a program file or the image at a place, for a consumer that `ocibuild formats` lists where one is named.

    Raises UsageError (`consumer-unknown`), and InputError, NotFoundError or NetworkError where there is nothing to look
    at; what is wrong with it is a finding, not an error.
    """
    chosen = preset(consumer) if consumer else None
    if is_program(what):
        return tuple(_file(what, chosen))
    store, root = (session or Session()).begin().found(places.parse(what))
    broken = tuple(_blobs(store, root))
    return broken or tuple(_root(store, root, chosen))


# --- programs -----------------------------------------------------------------------------------------------------


def _file(path: str, chosen: Preset | None) -> Iterator[Finding]:
    try:
        found = artifact.inspect(path, allow_dynamic=True)
    except InputError as error:
        if error.code.startswith("file-") and error.code not in ("file-truncated", "file-empty"):
            raise
        yield Finding(error.code, "error", path, error.message, error.hint or "build it again")
        return
    yield from _program(path, found, chosen)


def _program(at: str, found: Artifact, chosen: Preset | None) -> Iterator[Finding]:
    reason = chosen and (chosen.refuse(found) or _native(found, chosen))
    if chosen and reason:
        yield Finding(
            "consumer-refuses", "error", at, f"{chosen.name}: {reason}", "ocibuild formats lists who reads what"
        )
    match found.facts:
        case ElfFacts() as elf:
            if not elf.static:
                wants = ", ".join(filter(None, (elf.interpreter, *elf.needed)))
                yield Finding("dynamic-binary", "error", at, f"it needs {wants}", "link it statically")
            if not elf.stripped:
                yield Finding("not-stripped", "info", at, "it carries its symbol table", "strip it to make it smaller")
        case WasmFacts() as facts:
            yield from _wasm(at, facts, found.size)


def _native(found: Artifact, chosen: Preset) -> str | None:
    return "it runs Wasm only, and this is a native binary" if found.kind == "elf" and not chosen.natives else None


def _wasm(at: str, facts: WasmFacts, size: int) -> Iterator[Finding]:
    if facts.wasi == "unstable":
        cure = "build it with a current toolchain: wasm32-wasip1"
        yield Finding("wasi-unstable", "warning", at, "it imports wasi_unstable, which few runtimes still have", cure)
    if facts.role == "library":
        cure = "build it as a program (a main function), or name the export: --entrypoint '/x.wasm#export'"
        yield Finding("no-entry-point", "warning", at, "nothing in it can be started", cure)
    if facts.embedded_worlds and facts.kind == "module":
        cure = "wasm-tools component new makes the component"
        yield Finding("not-yet-a-component", "warning", at, "it carries a WIT world but is a core module", cure)
    debug = sum(section.size for section in facts.sections if (section.name or "").startswith(".debug"))
    if debug * _DEBUG_SHARE > size:
        yield Finding("debug-sections", "info", at, f"{debug} of {size} bytes are debug sections", "wasm-tools strip")
    if facts.unread:
        yield Finding("not-understood", "info", at, f"not read: {', '.join(facts.unread[:4])}", "update ocibuild")


# --- images -------------------------------------------------------------------------------------------------------


def _blobs(store: Source, root: Descriptor) -> Iterator[Finding]:
    """Every byte of every blob, held against its descriptor."""
    cure = "copy or push the image again from where it is whole"
    try:
        for each in walk(store, root):
            with store.open(each) as stream:
                while stream.read(BLOCK):
                    pass
    except (ContentError, NotFoundError) as error:
        yield Finding("blob-invalid", "error", str(root.digest), error.message, cure)


def _root(store: Source, root: Descriptor, chosen: Preset | None) -> Iterator[Finding]:
    document = node(store, root)
    if isinstance(document, Index):
        yield from _index(store, document, chosen)
    else:
        yield from _image("image", store, document, chosen, None)


def _index(store: Source, index: Index, chosen: Preset | None) -> Iterator[Finding]:
    runnable = [entry for entry in index.manifests if entry.platform is None or entry.platform.os != "unknown"]
    wasm = [bool(entry.platform and entry.platform.is_wasm) for entry in runnable]
    if wasm != sorted(wasm):
        message = "a Wasm entry stands before a native one"
        yield Finding("index-order", "warning", "index", message, "natives first: ocibuild index writes them so")
    if len(runnable) == 1 and all(wasm):
        message = "a lone Wasm image stands in an index, which Kubernetes and wkg do not look into"
        yield Finding("index-of-one", "warning", "index", message, "leave --index out (buildx: --provenance=false)")
    for entry in runnable:
        at = str(entry.platform or entry.digest)
        if entry.platform is None:
            message = "the entry has no platform: some clients take it for linux/amd64, others for anything"
            yield Finding("entry-without-platform", "error", at, message, "write it anew with ocibuild index")
        document = node(store, entry)
        if isinstance(document, Manifest):
            yield from _image(at, store, document, chosen, entry)
    if chosen is not None and chosen.cri:
        yield from _on_nodes(store, runnable, chosen)


def _on_nodes(store: Source, runnable: list[Descriptor], chosen: Preset) -> Iterator[Finding]:
    """What the nodes of a cluster make of an index: each takes the entry of its own platform, whatever the Pod says."""
    layers: dict[bool, set[Digest]] = {True: set(), False: set()}
    for entry in runnable:
        document = node(store, entry)
        if isinstance(document, Manifest) and entry.platform is not None:
            layers[entry.platform.os == _NODE_OS].update(layer.digest for layer in document.layers)
    if not any(entry.platform and entry.platform.os == _NODE_OS for entry in runnable):
        message = (
            f"{chosen.name}: nodes look for {_NODE_OS} entries, and there is none: no match for platform in manifest"
        )
        yield Finding("index-not-for-nodes", "error", "index", message, _FOR_NODES)
    elif not layers[False] <= layers[True]:
        message = f"{chosen.name}: nodes take the entry of their own platform, so the Wasm one is not run from this tag"
        yield Finding("index-native-chosen", "warning", "index", message, _FOR_NODES)


def _image(
    at: str, store: Source, manifest: Manifest, chosen: Preset | None, entry: Descriptor | None
) -> Iterator[Finding]:
    shape = recognise(manifest)
    if entry is not None and shape not in ("image", "compat"):
        message = f"a {shape} image in an index is never run: its consumers read a manifest at the tag"
        yield Finding("raw-in-index", "error", at, message, "give it a tag of its own, or pack it with --format image")
    if chosen is not None and not _is_native(manifest, store) and shape not in _SHAPES[chosen.shape]:
        message = f"{chosen.name} does not read the format {shape}: {chosen.why}"
        yield Finding("consumer-shape", "error", at, message, f"pack it with --for {chosen.name}")
    if annotation.RUN_HANDLER in manifest.annotations:
        message = f"{annotation.RUN_HANDLER} is baked in, which crun-wasm refuses to start"
        yield Finding("handler-baked", "error", at, message, "leave the annotation to whoever runs the image")
    if shape == "artifact" and len(manifest.layers) != 1:
        message = f"a Wasm artifact has {len(manifest.layers)} layers where exactly one is read"
        yield Finding("artifact-layers", "error", at, message, "ocibuild pack --format artifact")
    if shape == "artifact" and chosen is not None and chosen.cri:
        message = f"{chosen.name}: an artifact says not what to start, and a Pod without a command fails"
        yield Finding(
            "artifact-without-command",
            "warning",
            at,
            message,
            "set command in the Pod, or pack it with --format wasm-layer",
        )
    if manifest.config.media_type in mediatype.IMAGE_CONFIGS and shape not in ("attestation", "other", "spin"):
        config = ImageConfig.parse(fetch(store, manifest.config))
        yield from _config(at, manifest, config, entry)
        if (
            chosen is not None
            and chosen.cri
            and entry is None
            and has_rootfs(manifest)
            and config.platform.os != _NODE_OS
        ):
            message = f"{chosen.name}: containerd unpacks no tar layer for {config.platform}, and the container is never created"
            yield Finding("layer-not-unpacked", "error", at, message, _FOR_NODES)
        if has_rootfs(manifest):
            yield from _files(at, store, manifest, config, chosen)
            return
    if shape in ("artifact", "wasm-layer", "solo", "wasm-to-oci"):
        yield from _raw(at, store, manifest, chosen)


def _is_native(manifest: Manifest, store: Source) -> bool:
    if manifest.config.media_type not in mediatype.IMAGE_CONFIGS:
        return False
    architecture = jsonform.load(fetch(store, manifest.config)).get("architecture")
    return architecture not in ("wasm", "wasm32", "wasm64")


def _config(at: str, manifest: Manifest, config: ImageConfig, entry: Descriptor | None) -> Iterator[Finding]:
    platform = config.platform
    if not platform.os or not platform.architecture:
        yield Finding("config-incomplete", "error", at, "its config names no os or architecture", "pack it again")
    if platform.architecture in ("wasm32", "wasm64"):
        message = f"architecture {platform.architecture}: runwasi looks for wasm exactly"
        yield Finding("platform-wasm32", "warning", at, message, "pack it for wasi/wasm")
    if (platform.os, platform.architecture) == ("linux", "wasm"):
        message = "linux/wasm is what --platform wasm means by accident: podman and docker look for wasi/wasm"
        yield Finding("platform-linux-wasm", "warning", at, message, "pack it for wasi/wasm")
    if (
        entry is not None
        and entry.platform
        and (entry.platform.os, entry.platform.architecture)
        != (
            platform.os,
            platform.architecture,
        )
    ):
        message = f"the index says {entry.platform}, the config {platform}"
        yield Finding("platform-differs", "error", at, message, "join the images anew with ocibuild index")
    layers = len(manifest.layers) if has_rootfs(manifest) else 0
    if len(config.diff_ids) != layers:
        message = f"{len(config.diff_ids)} diff_ids for {layers} tar layers: containerd refuses that"
        yield Finding("diff-id-count", "error", at, message, "pack it again")
    made = sum(not line.empty_layer for line in config.history)
    if config.history and made != layers:
        message = f"{made} history entries for {layers} layers"
        yield Finding("history-count", "warning", at, message, "pack it again")
    if (config.created or "").startswith("1970-01-01"):
        message = "created in 1970: clean-up rules of registries that go by age would take it"
        yield Finding("created-1970", "info", at, message, "set SOURCE_DATE_EPOCH or --created")


def _files(at: str, store: Source, manifest: Manifest, config: ImageConfig, chosen: Preset | None) -> Iterator[Finding]:
    if (
        chosen
        and chosen.shape == "compat"
        and manifest.layers
        and not manifest.layers[-1].media_type.endswith(("+gzip", ".gzip"))
    ):
        message = f"{chosen.name} reads a gzip layer only, not {manifest.layers[-1].media_type}"
        yield Finding("compression-refused", "error", at, message, f"pack it with --for {chosen.name}")
    try:
        rootfs = RootFs.read(store, manifest.layers)
    except ContentError as error:
        yield Finding(error.code, "error", at, error.message, error.hint or "pack it again")
        return
    for number, layer in enumerate(rootfs.layers):
        if number < len(config.diff_ids) and layer.diff_id != config.diff_ids[number]:
            message = f"layer {number} unpacks to {layer.diff_id}, the config says {config.diff_ids[number]}"
            yield Finding("diff-id-mismatch", "error", at, message, "pack it again")
        for problem in layer.problems:
            message = f"layer {number}: {problem.path!r} is {problem.code}"
            yield Finding(f"layer-path-{problem.code}", "error", at, message, "make the layer anew")
    if (
        chosen
        and chosen.shape == "compat"
        and not any(
            PurePosixPath(member.path).name == "plugin.wasm"
            for member in (rootfs.layers[-1].members if rootfs.layers else ())
        )
    ):
        message = f"{chosen.name} looks for plugin.wasm in the last layer, and it is not there"
        yield Finding("plugin-missing", "error", at, message, f"pack it with --for {chosen.name}")
    yield from _entrypoint(at, store, manifest, rootfs, config, chosen)


def _entrypoint(
    at: str, store: Source, manifest: Manifest, rootfs: RootFs, config: ImageConfig, chosen: Preset | None
) -> Iterator[Finding]:
    words = config.process.entrypoint or config.process.cmd
    if not words:
        yield Finding("entrypoint-missing", "error", at, "nothing says what to start", "pack it with --entrypoint")
        return
    if not words[0].startswith("/"):
        message = f"the entrypoint {words[0]!r} is relative, which runwasi looks up on the host"
        yield Finding("entrypoint-relative", "warning", at, message, "write it with a leading slash")
    resolved = (rootfs.resolve(path) for path in candidates(words[0], config))
    member = next((each for each in resolved if each is not None and each.kind == "file"), None)
    if member is None:
        message = f"the entrypoint {words[0]!r} is no file in the image"
        yield Finding("entrypoint-not-found", "error", at, message, "name the program's path in the image")
        return
    is_wasm, is_elf = member.head.startswith(b"\0asm"), member.head.startswith(b"\x7fELF")
    if not is_wasm and not is_elf:
        message = f"/{member.path} is neither Wasm nor ELF"
        yield Finding("entrypoint-not-program", "warning", at, message, "an image from scratch has no interpreter")
        return
    if is_elf and not member.mode & 0o001:
        message = f"/{member.path} has the mode {member.mode:04o}: others may not execute it"
        yield Finding("not-executable", "error", at, message, "pack it with --mode 0755")
    if member.size <= _LOOKED_INTO:
        with rootfs.open(member) as stream:
            yield from _content(at, member.path, stream.read(), config, chosen)


def _content(at: str, path: str, data: bytes, config: ImageConfig | None, chosen: Preset | None) -> Iterator[Finding]:
    try:
        found = artifact.inspect_bytes(data, path, allow_dynamic=True)
    except InputError as error:
        yield Finding(error.code, "error", at, error.message, error.hint or "build it again")
        return
    native = found.platform
    if config is not None and native is not None and native.architecture != config.platform.architecture:
        message = f"/{path} is for {native}, the config says {config.platform}"
        yield Finding("machine-mismatch", "error", at, message, "pack the binary that was built for it")
    yield from _program(at, found, chosen)


def _raw(at: str, store: Source, manifest: Manifest, chosen: Preset | None) -> Iterator[Finding]:
    try:
        raw_layer(manifest)
        program = find_program(store, manifest)
    except ContentError as error:
        yield Finding(error.code, "error", at, error.message, error.hint or "pack it again")
        return
    if program.size <= _LOOKED_INTO:
        with program.open() as stream:
            data = b"".join(iter(lambda: stream.read(BLOCK), b""))
        yield from _content(at, program.name, data, None, chosen)
