"""Shapes recognised by media types, as formats of other makers have them."""

from __future__ import annotations

import pytest

from ocibuild.errors import ContentError
from ocibuild.image.shapes.recognise import candidates, has_rootfs, raw_layer, recognise
from ocibuild.spec.config import ImageConfig, Process
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Manifest
from ocibuild.spec.platform import WASI

OCI = "application/vnd.oci.image.config.v1+json"
DOCKER = "application/vnd.docker.container.image.v1+json"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
CONTENT = "application/vnd.wasm.content.layer.v1+wasm"


def manifest(config: str, *layers: str, **members: str) -> Manifest:
    described = tuple(Descriptor.of(media_type, bytes([n])) for n, media_type in enumerate(layers))
    annotations = {"module.wasm.image/variant": "compat"} if members.get("variant") else {}
    return Manifest(
        Descriptor.of(config, b"{}"), described, annotations=annotations, artifact_type=members.get("artifact_type")
    )


@pytest.mark.parametrize(
    "document, shape",
    [
        (manifest(OCI, GZIP), "image"),
        (manifest(DOCKER, "application/vnd.docker.image.rootfs.diff.tar.gzip"), "image"),
        (manifest(OCI, GZIP, variant="compat"), "compat"),
        (manifest(OCI, "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"), "wasm-layer"),
        (manifest(OCI, "application/wasm"), "wasm-layer"),
        (manifest("application/vnd.wasm.config.v0+json", "application/wasm"), "artifact"),
        (manifest("application/vnd.wasm.config.v1+json", CONTENT), "wasm-to-oci"),
        (
            manifest(
                "application/vnd.module.wasm.config.v1+json",
                "application/vnd.module.wasm.config.v1+json",
                "application/vnd.module.wasm.content.layer.v1+wasm",
            ),
            "solo",
        ),
        (manifest(OCI, CONTENT, "application/vnd.fermyon.spin.application.v1+config"), "spin"),
        (manifest(OCI, "application/vnd.in-toto+json"), "attestation"),
        (
            manifest(
                "application/vnd.oci.empty.v1+json",
                "application/vnd.in-toto+json",
                artifact_type="application/vnd.docker.attestation.manifest.v1+json",
            ),
            "attestation",
        ),
        (manifest("application/vnd.cncf.helm.config.v1+json", "application/tar+gzip"), "other"),
        (manifest(OCI, "application/x-strange"), "other"),
    ],
)
def test_shapes(document: Manifest, shape: str) -> None:
    assert recognise(document) == shape
    assert has_rootfs(document) == (shape in ("image", "compat"))


def test_two_programs_are_not_guessed_between() -> None:
    with pytest.raises(ContentError) as caught:
        raw_layer(manifest(OCI, "application/wasm", "application/wasm"))
    assert caught.value.code == "program-ambiguous"


def test_a_chart_has_no_program() -> None:
    with pytest.raises(ContentError) as caught:
        raw_layer(manifest("application/vnd.cncf.helm.config.v1+json", "application/tar+gzip"))
    assert caught.value.code == "program-missing"


def test_where_a_runtime_looks() -> None:
    config = ImageConfig(WASI, Process(env=("PATH=/a:/b",), working_dir="/w"))
    assert candidates("/x.wasm#go", config)[0] == "/x.wasm"
    assert candidates("bin/x", config) == ["/w/bin/x"]
    assert candidates("x", config) == ["/a/x", "/b/x", "/w/x"]
