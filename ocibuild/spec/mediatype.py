"""Media types by name, and the few questions asked of them. OCI image-spec, media-types.md.

The Wasm ones come from three places: the CNCF Wasm OCI artifact, runwasi's layer images, and the older wasm-to-oci and
solo.io pairs that Kubewarden, Istio and Envoy Gateway still read.
"""

from __future__ import annotations

import re

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = LAYER + "+gzip"
LAYER_ZSTD = LAYER + "+zstd"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYOUT_HEADER = "application/vnd.oci.layout.header.v1+json"

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = DOCKER_LAYER + ".gzip"
DOCKER_LAYER_ZSTD = DOCKER_LAYER + ".zstd"

WASM_CONFIG = "application/vnd.wasm.config.v0+json"
WASM_LAYER = "application/wasm"
RUNWASI_LAYER = "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"
WASM_TO_OCI_CONFIG = "application/vnd.wasm.config.v1+json"
WASM_TO_OCI_LAYER = "application/vnd.wasm.content.layer.v1+wasm"
SOLO_CONFIG = "application/vnd.module.wasm.config.v1+json"
SOLO_LAYER = "application/vnd.module.wasm.content.layer.v1+wasm"
ATTESTATION = "application/vnd.docker.attestation.manifest.v1+json"

MANIFESTS = frozenset({MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({INDEX, DOCKER_INDEX})
IMAGE_CONFIGS = frozenset({CONFIG, DOCKER_CONFIG})
RAW_WASM = frozenset({WASM_LAYER, RUNWASI_LAYER, WASM_TO_OCI_LAYER, SOLO_LAYER})

_GRAMMAR = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_COMPRESSION = {
    LAYER: "none", LAYER_GZIP: "gzip", LAYER_ZSTD: "zstd",
    DOCKER_LAYER: "none", DOCKER_LAYER_GZIP: "gzip", DOCKER_LAYER_ZSTD: "zstd",
}  # fmt: skip


def is_valid(media_type: str) -> bool:
    """True for what RFC 6838 section 4.2 allows."""
    return re.fullmatch(_GRAMMAR, media_type) is not None


def is_manifest(media_type: str) -> bool:
    """An image manifest, OCI's or Docker's."""
    return media_type in MANIFESTS


def is_index(media_type: str) -> bool:
    """An image index, or Docker's manifest list."""
    return media_type in INDEXES


def is_node(media_type: str) -> bool:
    """A document with children: the kind a registry keeps under /manifests/."""
    return media_type in MANIFESTS or media_type in INDEXES


def tar_compression(media_type: str) -> str | None:
    """`none`, `gzip` or `zstd` for a tar layer; None for a layer that is no tar."""
    return _COMPRESSION.get(media_type)
