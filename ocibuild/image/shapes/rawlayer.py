"""Shape `wasm-layer`: runwasi's raw layer. The module itself is the layer; nothing is unpacked.

The shape that runs under Kubernetes with containerd's default settings. The tag must lead to this manifest, never to
an index: the shim parses the tag's target as a manifest, and falls back to the (empty) root file system where it is
not one. containerd 1.6.25, 1.7.7 or 2.0 and later. containerd/runwasi, oci-tar-builder.
"""

from __future__ import annotations

from ocibuild.image.plan import ImagePlan, Raw, RawLayerConfig
from ocibuild.image.shapes.request import Request
from ocibuild.record import replace
from ocibuild.spec import mediatype
from ocibuild.spec.config import ImageConfig

NAME = "wasm-layer"


def author(request: Request) -> ImagePlan:
    """A manifest with the raw module as its only layer; the config has no diff_ids and no layer history."""
    entrypoint = request.process.entrypoint or (f"/{request.name}",)
    config = ImageConfig(
        platform=request.platform,
        process=replace(request.process, entrypoint=entrypoint),
        created=request.created,
        author=request.author,
    )
    return ImagePlan(
        shape=NAME,
        layers=(Raw(request.content, mediatype.RUNWASI_LAYER),),
        config=RawLayerConfig(config),
        platform=request.platform,
        annotations=request.annotations,
        entry_annotations=request.entry_annotations,
    )
