"""Annotation keys. OCI image-spec, annotations.md "Pre-Defined Annotation Keys", and the neighbours' own."""

from __future__ import annotations

_OCI = "org.opencontainers.image."

CREATED = _OCI + "created"
AUTHORS = _OCI + "authors"
URL = _OCI + "url"
DOCUMENTATION = _OCI + "documentation"
SOURCE = _OCI + "source"
VERSION = _OCI + "version"
REVISION = _OCI + "revision"
VENDOR = _OCI + "vendor"
LICENSES = _OCI + "licenses"
REF_NAME = _OCI + "ref.name"
TITLE = _OCI + "title"
DESCRIPTION = _OCI + "description"

CONTAINERD_NAME = "io.containerd.image.name"
"""The full name containerd imports a layout's entry under; it goes before ref.name."""

WASM_VARIANT = "module.wasm.image/variant"
RUNTIME_TYPE = "module.wasm.runtime/type"
RUNTIME_ABI = "module.wasm.runtime/abi_version"
RUNWASI_UNIQUE = "containerd.runwasi.layers"
RUN_HANDLER = "run.oci.handler"
ATTESTATION_TYPE = "vnd.docker.reference.type"
ATTESTATION_DIGEST = "vnd.docker.reference.digest"
CONVERTED_FROM = "ocibuild.converted-from"
"""What a converted manifest was made from: `image registry/name@sha256:…`, or without a name where it was local."""
