"""Shape `artifact`: the CNCF Wasm OCI artifact, which wkg, wash, wasmCloud, spin and runwasi read.

One `application/wasm` layer and a config that lists what a component imports and exports. No artifactType: the
specification names none and its implementations write none. cncf/tag-runtime, wasm-oci-artifact.
"""

from __future__ import annotations

from ocibuild.binary.wasm import WasmFacts
from ocibuild.image.plan import ImagePlan, Raw, WasmConfig, World
from ocibuild.image.shapes.request import Request
from ocibuild.spec import annotation, mediatype

NAME = "artifact"


def author(request: Request) -> ImagePlan:
    """The artifact's `os` comes from the file, as its specification says: wasip1 for modules, wasip2 for components."""
    facts = request.artifact.facts
    assert isinstance(facts, WasmFacts)
    component = facts.kind == "component"
    title = request.name.rpartition("/")[2]
    return ImagePlan(
        shape=NAME,
        layers=(Raw(request.content, mediatype.WASM_LAYER, ((annotation.TITLE, title),)),),
        config=WasmConfig(
            created=request.created,
            os="wasip2" if component else "wasip1",
            author=request.author,
            component=World(facts.world_exports, facts.world_imports) if component else None,
        ),
        annotations=request.annotations,
        entry_annotations=request.entry_annotations,
    )
