"""Which shape a manifest has, and where the program is in it: the way back from what the shapes' authors write.

Recognised by media types, as the shapes' consumers do it; images of other makers (BuildKit, wkg, oci-tar-builder,
wasm-to-oci, wasme, spin) are recognised by the same rules.
"""

from __future__ import annotations

import posixpath
from contextlib import AbstractContextManager
from typing import BinaryIO, Literal

from ocibuild.content.blob import Content
from ocibuild.errors import ContentError
from ocibuild.image.rootfs import Inside, Member, RootFs
from ocibuild.record import record
from ocibuild.spec import annotation, mediatype
from ocibuild.spec.config import DEFAULT_PATH, ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Manifest
from ocibuild.store.base import Source, Stored, fetch

ShapeName = Literal["image", "compat", "wasm-layer", "artifact", "solo", "wasm-to-oci", "spin", "attestation", "other"]
PLUGIN = "plugin.wasm"
SPIN_APPLICATION = "application/vnd.fermyon.spin.application.v1+config"
_IN_TOTO = "application/vnd.in-toto+json"
_RAW: dict[str, frozenset[str]] = {
    "wasm-layer": frozenset({mediatype.RUNWASI_LAYER, mediatype.WASM_LAYER}),
    "artifact": frozenset({mediatype.WASM_LAYER}),
    "solo": frozenset({mediatype.SOLO_LAYER}),
    "wasm-to-oci": frozenset({mediatype.WASM_TO_OCI_LAYER}),
    "spin": frozenset({mediatype.WASM_TO_OCI_LAYER, mediatype.WASM_LAYER}),
}
_BY_CONFIG: dict[str, ShapeName] = {
    mediatype.WASM_CONFIG: "artifact",
    mediatype.WASM_TO_OCI_CONFIG: "wasm-to-oci",
    mediatype.SOLO_CONFIG: "solo",
}


def recognise(manifest: Manifest) -> ShapeName:
    """The manifest's shape; `other` for what is none of ours: a chart, a signature, an SBOM."""
    types = {layer.media_type for layer in manifest.layers}
    if manifest.artifact_type == mediatype.ATTESTATION or types == {_IN_TOTO}:
        return "attestation"
    if manifest.config.media_type in _BY_CONFIG:
        return _BY_CONFIG[manifest.config.media_type]
    if manifest.config.media_type not in mediatype.IMAGE_CONFIGS:
        return "other"
    if SPIN_APPLICATION in types:
        return "spin"
    if types & _RAW["wasm-layer"]:
        return "wasm-layer"
    if not all(mediatype.tar_compression(media_type) for media_type in types):
        return "other"
    return "compat" if manifest.annotations.get(annotation.WASM_VARIANT) == "compat" else "image"


def has_rootfs(manifest: Manifest) -> bool:
    """True where all layers are tars of an image config: there is a file system to look into."""
    return recognise(manifest) in ("image", "compat")


@record
class Program:
    """The program in an image. `path` is where it stands there, or would; `mode` is None where the shape has no files."""

    path: str
    size: int
    mode: int | None
    content: Content
    digest: Digest | None = None

    @property
    def name(self) -> str:
        """The path's last part."""
        return posixpath.basename(self.path)

    def open(self) -> AbstractContextManager[BinaryIO]:
        """Its bytes."""
        return self.content.open()


def raw_layer(manifest: Manifest) -> Descriptor:
    """The layer that is the program. Raises ContentError (`program-missing`, `program-ambiguous`)."""
    shape = recognise(manifest)
    found = [layer for layer in manifest.layers if layer.media_type in _RAW.get(shape, ())]
    if len(found) > 1:
        raise ContentError(
            f"it holds {len(found)} programs: {', '.join(str(layer.digest) for layer in found[:8])}",
            code="program-ambiguous",
            hint="take one of them with ocibuild blob PLACE DIGEST",
        )
    if not found:
        raise _missing(f"a manifest of shape {shape} with the config {manifest.config.media_type} has no Wasm layer")
    return found[0]


def find_program(source: Source, manifest: Manifest, rootfs: RootFs | None = None) -> Program:
    """The program in an image of any shape. Raises ContentError (`program-missing`, `program-ambiguous`)."""
    if not has_rootfs(manifest):
        layer = raw_layer(manifest)
        path = posixpath.basename(layer.annotations.get(annotation.TITLE, "")) or "program.wasm"
        if recognise(manifest) == "wasm-layer":
            words = _words(ImageConfig.parse(fetch(source, manifest.config)))
            path = (words[0].partition("#")[0].strip("/") if words else "") or path
        return Program(path, layer.size, None, Stored(source, layer), layer.digest)
    rootfs = rootfs or RootFs.read(source, manifest.layers)
    if recognise(manifest) == "compat":
        member = plugin(rootfs)
    else:
        member = entry(rootfs, ImageConfig.parse(fetch(source, manifest.config)))
    return Program(member.path, member.size, member.mode, Inside(rootfs, member), member.digest)


def plugin(rootfs: RootFs) -> Member:
    """What Istio and Envoy Gateway take: the last layer's first file of the name plugin.wasm."""
    for member in rootfs.layers[-1].members if rootfs.layers else ():
        if member.kind == "file" and posixpath.basename(member.path) == PLUGIN:
            return member
    raise _missing(f"the last layer has no {PLUGIN}")


def entry(rootfs: RootFs, config: ImageConfig) -> Member:
    """The file that the entrypoint names: absolute, from the working directory, or along PATH."""
    words = _words(config)
    if not words:
        files = [member for member in rootfs.files.values() if member.kind == "file"]
        if len(files) == 1:
            return files[0]
        raise _missing(f"its config has no entrypoint, and there are {len(files)} files")
    for candidate in candidates(words[0], config):
        member = rootfs.resolve(candidate)
        if member is not None and member.kind == "file":
            return member
    raise _missing(f"its entrypoint {words[0]!r} is no file in it")


def candidates(word: str, config: ImageConfig) -> list[str]:
    """Where a runtime looks for the program that `word` names; runwasi's `#function` is cut off."""
    path = word.partition("#")[0]
    if path.startswith("/"):
        return [path, word]
    workdir = config.process.working_dir or "/"
    here = posixpath.join(workdir, path)
    if "/" in path:
        return [here]
    search = next((pair[5:] for pair in config.process.env if pair.startswith("PATH=")), DEFAULT_PATH)
    return [*(posixpath.join(folder, path) for folder in search.split(":") if folder), here]


def _words(config: ImageConfig) -> tuple[str, ...]:
    return config.process.entrypoint or config.process.cmd


def _missing(why: str) -> ContentError:
    return ContentError(
        f"there is no program to give back: {why}", code="program-missing", hint="ocibuild inspect shows what is there"
    )
