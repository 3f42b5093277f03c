"""Shape `solo`: solo.io's OCI variant. Two layers: the runtime config, which is also the manifest's config, and the module.

Istio and Envoy Gateway accept it as their third choice. The key is `abiVersions`, as the property table of the
specification has it (its printed example says otherwise). solo-io/wasm, spec.md.
"""

from __future__ import annotations

from ocibuild.binary.wasm import WasmFacts
from ocibuild.content.blob import Bytes
from ocibuild.image.plan import FixedConfig, ImagePlan, Raw
from ocibuild.image.shapes.request import Request
from ocibuild.spec import annotation, jsonform, mediatype

NAME = "solo"
_RUNTIME = "envoy_proxy"


def author(request: Request) -> ImagePlan:
    """A manifest of exactly two layers; ABI versions are the proxy-wasm markers the module exports."""
    facts = request.artifact.facts
    assert isinstance(facts, WasmFacts)
    versions = [_version(export.name) for export in facts.exports if export.name.startswith(_MARKER)]
    data = jsonform.dump({"type": _RUNTIME, "abiVersions": versions, "config": {"root_ids": []}})
    config_title = ((annotation.TITLE, "runtime-config.json"),)
    runtime = [(annotation.RUNTIME_TYPE, _RUNTIME)]
    if versions:
        runtime.append((annotation.RUNTIME_ABI, versions[0]))
    return ImagePlan(
        shape=NAME,
        layers=(
            Raw(Bytes(data), mediatype.SOLO_CONFIG, config_title),
            Raw(request.content, mediatype.SOLO_LAYER, ((annotation.TITLE, "filter.wasm"),)),
        ),
        config=FixedConfig(mediatype.SOLO_CONFIG, data, config_title),
        annotations=(*request.annotations, *runtime),
        entry_annotations=request.entry_annotations,
    )


_MARKER = "proxy_abi_version_"


def _version(export: str) -> str:
    return export.removeprefix(_MARKER).replace("_", ".")
