"""The shapes a program can be shipped in: one module a shape, each with the facts people choose by."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ocibuild.errors import UsageError
from ocibuild.record import record
from ocibuild.spec import mediatype

if TYPE_CHECKING:
    from ocibuild.image.plan import ImagePlan
    from ocibuild.image.shapes.request import Request


@record
class Shape:
    """`indexable`: may stand in an index beside other platforms. `files`: has a root file system to add files to.

    `module` is the module here that writes it.
    """

    name: str
    module: str
    config_type: str
    layer_type: str
    indexable: bool
    files: bool
    wasm_only: bool
    consumers: str

    @property
    def runnable(self) -> bool:
        """True where the config is an image config: it has a platform, and says what to start."""
        return self.config_type == mediatype.CONFIG

    def author(self, request: Request) -> ImagePlan:
        """The plan of an image of this shape."""
        plan: ImagePlan = import_module(f"{__name__}.{self.module}").author(request)
        return plan


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape(
            "image", "tarball", mediatype.CONFIG, mediatype.LAYER_GZIP, True, True, False,
            "docker, containerd with runwasi, podman and CRI-O with crun, youki; natives: everything",
        ),
        Shape(
            "wasm-layer", "rawlayer", mediatype.CONFIG, mediatype.RUNWASI_LAYER, False, False, True,
            "Kubernetes and containerd with runwasi's shims",
        ),
        Shape(
            "artifact", "artifact", mediatype.WASM_CONFIG, mediatype.WASM_LAYER, False, False, True,
            "wkg, wash and wasmCloud, spin, runwasi (the Pod gives the command)",
        ),
        Shape(
            "compat", "compat", mediatype.CONFIG, mediatype.LAYER_GZIP, False, True, True,
            "Istio and Envoy Gateway (WasmPlugin, EnvoyExtensionPolicy)",
        ),
        Shape(
            "solo", "solo", mediatype.SOLO_CONFIG, mediatype.SOLO_LAYER, False, False, True,
            "wasme; Istio and Envoy Gateway as their last choice",
        ),
        Shape(
            "wasm-to-oci", "wasm_to_oci", mediatype.WASM_TO_OCI_CONFIG, mediatype.WASM_TO_OCI_LAYER,
            False, False, True, "Kubewarden, wasm-to-oci, Krustlet",
        ),
    )
}  # fmt: skip


def shape(name: str) -> Shape:
    """The shape of that name. Raises UsageError (`shape-unknown`)."""
    if name not in SHAPES:
        raise UsageError(
            f"format {name!r} is not known",
            code="shape-unknown",
            hint=f"choose one of {', '.join(SHAPES)}; ocibuild formats explains them",
        )
    return SHAPES[name]
