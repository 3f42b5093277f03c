"""Shape `wasm-to-oci`: the oldest pair, still what Kubewarden pushes and pulls, and Krustlet pulled.

A config of `{}` and one raw layer. engineerd/wasm-to-oci; kubewarden/policy-fetcher.
"""

from __future__ import annotations

from ocibuild.image.plan import FixedConfig, ImagePlan, Raw
from ocibuild.image.shapes.request import Request
from ocibuild.spec import annotation, mediatype
from ocibuild.spec.descriptor import EMPTY_BYTES

NAME = "wasm-to-oci"


def author(request: Request) -> ImagePlan:
    """A manifest with an empty config and the module."""
    title = request.name.rpartition("/")[2]
    return ImagePlan(
        shape=NAME,
        layers=(Raw(request.content, mediatype.WASM_TO_OCI_LAYER, ((annotation.TITLE, title),)),),
        config=FixedConfig(mediatype.WASM_TO_OCI_CONFIG, EMPTY_BYTES),
        annotations=request.annotations,
        entry_annotations=request.entry_annotations,
    )
