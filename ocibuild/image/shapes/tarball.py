"""Shape `image`: the program as a file in a tar layer, for natives and for Wasm alike.

What `FROM scratch` with COPY and ENTRYPOINT makes. Docker, containerd with runwasi, podman and CRI-O with crun, and
everything else that runs containers reads it. OCI image-spec; `wasi/wasm` as Docker's Wasm workloads wrote it.
"""

from __future__ import annotations

from ocibuild.image.plan import ImagePlan, TarConfig
from ocibuild.image.shapes.request import Request
from ocibuild.record import replace
from ocibuild.spec.config import ImageConfig

NAME = "image"


def author(request: Request) -> ImagePlan:
    """A manifest with one tar layer and an image config."""
    entrypoint = request.process.entrypoint or (f"/{request.name}",)
    request = replace(request, process=replace(request.process, entrypoint=entrypoint))
    config = ImageConfig(
        platform=request.platform,
        process=request.process,
        history=request.history(),
        created=request.created,
        author=request.author,
    )
    return ImagePlan(
        shape=NAME,
        layers=(request.layer(),),
        config=TarConfig(config),
        platform=request.platform,
        annotations=request.annotations,
        entry_annotations=request.entry_annotations,
    )
