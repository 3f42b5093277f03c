"""Presets: who will run it decides the shape and the platform, and what cannot work there is refused with the reason.

The facts behind each line were read in the consumers' source, and those about containerd, docker and youki measured.
"""

from __future__ import annotations

from collections.abc import Callable

from ocibuild.binary.artifact import Artifact
from ocibuild.binary.wasm import WasmFacts
from ocibuild.errors import UsageError
from ocibuild.record import record
from ocibuild.spec.platform import WASI, Platform

Refusal = Callable[[Artifact], str | None]


@record
class Preset:
    """`refuse` gives the reason why an artifact cannot work there, or None.

    With `cri` it is containerd's CRI that pulls: it takes the entry of the node's own platform, and unpacks no other's.
    """

    name: str
    shape: str
    why: str
    refuse: Refusal
    platform: Platform = WASI
    natives: bool = False
    cri: bool = False


def _wasm(artifact: Artifact) -> WasmFacts | None:
    return artifact.facts if isinstance(artifact.facts, WasmFacts) else None


def _anything(artifact: Artifact) -> str | None:
    return None


def _modules_only(artifact: Artifact) -> str | None:
    facts = _wasm(artifact)
    if facts and facts.kind == "component":
        return "it loads core modules only, and this is a component"
    return None


def _components_only(artifact: Artifact) -> str | None:
    facts = _wasm(artifact)
    if facts and facts.kind == "module":
        return "it loads components only, and this is a core module (wasm-tools component new makes one)"
    return None


def _proxy_wasm(artifact: Artifact) -> str | None:
    facts = _wasm(artifact)
    if facts and facts.role != "proxy-wasm":
        return "it loads proxy-wasm modules only: nothing named proxy_abi_version_… is exported"
    return None


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("docker", "image", "needs the containerd image store and a Wasm runtime", _anything, natives=True),
        Preset("containerd", "image", "ctr run --platform wasi/wasm --runtime io.containerd.wasmtime.v1", _anything, natives=True),
        Preset("kubernetes", "wasm-layer", "containerd's CRI never unpacks a wasi/wasm tar layer", _anything, natives=True, cri=True),
        Preset("runwasi", "wasm-layer", "the shim takes the layer as it is", _anything, natives=True),
        Preset("podman", "image", "wasi/wasm selects crun-wasm", _modules_only, natives=True),
        Preset("cri-o", "image", "with crun, and the Pod annotation run.oci.handler: wasm", _modules_only, natives=True),
        Preset("crun", "image", "with the annotation run.oci.handler: wasm", _modules_only, natives=True),
        Preset("youki", "image", "with the annotation run.oci.handler: wasm", _modules_only, natives=True),
        Preset("istio", "compat", "WasmPlugin reads plugin.wasm from the last gzip layer", _proxy_wasm),
        Preset("envoy-gateway", "compat", "EnvoyExtensionPolicy reads plugin.wasm from the last gzip layer", _proxy_wasm),
        Preset("wkg", "artifact", "exactly one application/wasm layer", _anything),
        Preset("wasmcloud", "artifact", "exactly one application/wasm layer", _components_only),
        Preset("spin", "artifact", "spin up -f takes a single application/wasm layer", _anything),
        Preset("kubewarden", "wasm-to-oci", "policies are pushed and pulled under the wasm-to-oci types", _modules_only),
    )
}  # fmt: skip


def preset(name: str) -> Preset:
    """The preset for a consumer. Raises UsageError (`consumer-unknown`)."""
    if name not in PRESETS:
        raise UsageError(
            f"nothing is known about running on {name!r}",
            code="consumer-unknown",
            hint=f"--for takes one of {', '.join(PRESETS)}; or choose a shape with --format",
        )
    return PRESETS[name]


def refuse_unfit(chosen: Preset, artifact: Artifact) -> None:
    """Raises UsageError (`consumer-refuses`) where the artifact cannot work there."""
    if artifact.kind == "elf" and not chosen.natives:
        reason: str | None = "it runs Wasm only, and this is a native binary"
    else:
        reason = chosen.refuse(artifact)
    if reason:
        raise UsageError(
            f"{artifact.path} cannot run on {chosen.name}: {reason}",
            code="consumer-refuses",
            hint="ocibuild formats lists who reads what",
        )
