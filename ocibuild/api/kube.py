"""`kube`: the Kubernetes objects that run an image, and what will not run there by containerd's default settings."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from typing import Any

from ocibuild.api import places
from ocibuild.api.inspecting import is_program
from ocibuild.api.picking import entries, pick
from ocibuild.api.run import refuse_missing
from ocibuild.api.session import Session
from ocibuild.binary import artifact
from ocibuild.binary.wasm import WasmFacts
from ocibuild.errors import UsageError
from ocibuild.image.look import Look
from ocibuild.image.shapes.recognise import Program, find_program, recognise
from ocibuild.record import record
from ocibuild.run import engine, pod
from ocibuild.run.launch import Launch
from ocibuild.run.pod import KINDS, Kind, RuntimeClass, Workload
from ocibuild.spec import mediatype
from ocibuild.spec.config import ImageConfig, Process
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.spec.platform import Platform
from ocibuild.store.base import Source, fetch
from ocibuild.store.graph import node

HANDLER = "wasmtime"
"""runwasi's shim io.containerd.wasmtime.v1, as its documentation configures it."""
_HTTP_PORT = 8080
"""Where runwasi's wasmtime shim answers for an HTTP component (WASMTIME_HTTP_PROXY_SOCKET_ADDR)."""
_ANNOTATED = ("crun", "youki")
"""Handlers that want to be told; crun under the name crun-wasm does not."""


@record
class Kube:
    """The objects, in the order to apply them; `notes` are what keeps them from running, and the cure."""

    documents: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    def to_yaml(self) -> str:
        """One stream of documents."""
        return pod.yaml_of(self.documents)

    def to_json(self) -> dict[str, Any]:
        """A v1 List, which kubectl takes as it does the stream."""
        return {"apiVersion": "v1", "kind": "List", "items": list(self.documents)}


@record
class _Chosen:
    """The manifest that a node will run, under the digest that a Pod is to name."""

    pinned: Descriptor
    manifest: Manifest
    config: ImageConfig | None
    program: Program
    wasm: WasmFacts | None
    single: bool


def kube(
    reference: str,
    arguments: Sequence[str] = (),
    *,
    kind: str = "Pod",
    name: str | None = None,
    namespace: str | None = None,
    env: Iterable[str] = (),
    entrypoint: Sequence[str] = (),
    ports: Iterable[int] = (),
    memory: int | None = None,
    cpu: str | None = None,
    platform: str | None = None,
    runtime_class: str | None = None,
    handler: str | None = None,
    with_runtime_class: bool = True,
    session: Session | None = None,
) -> Kube:
    """The objects that run the image at a registry reference, named by its digest.

    A Wasm image gets a `runtimeClassName`, and the RuntimeClass itself unless `with_runtime_class` is False: `handler`
    is what containerd's configuration calls its Wasm runtime, wasmtime by default, and `runtime_class` the object's
    name, the handler's by default. Of an index the native entry runs, unless `platform` says another. `entrypoint` and
    `arguments` go over the image's, `env` (`KEY=VALUE`) over its variables.

    Raises UsageError (`reference-needed`, `kind-unknown`, `name-invalid`, `quantity-invalid`, `pair-invalid`),
    InputError (`not-a-command`), ContentError (`program-missing`, `program-ambiguous`), and what a registry raises.
    """
    current = (session or Session()).begin()
    chosen_kind = _kind(kind)
    where = _reference(reference)
    assert where.reference is not None
    store, root = current.found(where)
    chosen, notes = _chosen(store, root, platform)
    handler = pod.checked_subdomain(handler, "--handler") if handler is not None else None
    runtime = _runtime(chosen, runtime_class, handler)
    if chosen.wasm is not None and chosen.wasm.role != "http":
        function = entrypoint[0].partition("#")[2] if entrypoint else ""
        engine.refuse_others(chosen.program.name, chosen.wasm, function)
    remark = _remark(chosen, runtime, str(where.reference))
    notes += [remark] if remark else []
    process = chosen.config.process if chosen.config is not None else Process()
    command = tuple(entrypoint)
    if not command and not process.entrypoint and not process.cmd:
        command = (f"/{chosen.program.path}",)
    exposed = tuple((port, "TCP") for port in ports) or _exposed(process)
    http = chosen.wasm is not None and chosen.wasm.role == "http"
    workload = Workload(
        name=pod.checked_label(name, "--name")
        if name is not None
        else pod.label(posixpath.basename(where.reference.name)),
        image=f"{where.reference.name}@{chosen.pinned.digest}",
        kind=chosen_kind,
        namespace=pod.checked_label(namespace, "--namespace") if namespace is not None else None,
        command=command,
        args=tuple(arguments),
        env=Launch(env=tuple(env)).asked(current.surroundings.environ),
        ports=exposed or (((_HTTP_PORT, "TCP"),) if http else ()),
        memory=memory,
        cpu=pod.checked_cpu(cpu),
        annotations={"run.oci.handler": "wasm"} if runtime is not None and runtime.handler in _ANNOTATED else {},
        nodes=_nodes(chosen),
        runtime=runtime.name if runtime is not None else None,
        serves=http or bool(exposed),
    )
    documents = [runtime.document()] if runtime is not None and with_runtime_class else []
    if chosen_kind == "Job" and workload.serves:
        notes.append("it answers requests and does not end, so the Job never completes: --kind Deployment suits it")
    if chosen_kind == "Deployment" and chosen.wasm is not None and not workload.serves:
        notes.append("it is a command that ends, and a Deployment starts it again and again: --kind Job suits it")
    return Kube((*documents, workload.document()), tuple(notes))


def _kind(text: str) -> Kind:
    for kind in KINDS:
        if text.lower() == kind.lower():
            return kind
    raise UsageError(
        f"{text!r} is no kind that is known", code="kind-unknown", hint=f"choose one of {', '.join(KINDS)}"
    )


def _reference(text: str) -> places.Place:
    if is_program(text):
        raise _unpushed(text, f"ocibuild pack {text} --for kubernetes -t REGISTRY/NAME:TAG --push")
    refuse_missing(text)
    where = places.parse(text)
    if where.reference is None:
        raise _unpushed(text, f"ocibuild push {text} REGISTRY/NAME:TAG")
    return where


def _unpushed(text: str, cure: str) -> UsageError:
    return UsageError(
        f"{text} is on this machine, and a cluster pulls from a registry",
        code="reference-needed",
        hint=f"{cure}, and give that reference",
    )


def _chosen(store: Source, root: Descriptor, platform: str | None) -> tuple[_Chosen, list[str]]:
    """What a node will run. Where it would not choose the entry by itself, the entry's own digest is pinned."""
    document = node(store, root)
    if isinstance(document, Manifest):
        return _looked(store, root, *pick(store, root, platform), single=True), []
    assert isinstance(document, Index)
    found = entries(store, document)
    native = next((each for each in found if each.platform and not _needs_pinning(each.platform)), None)
    if platform is None and native is not None:
        manifest = node(store, native)
        assert isinstance(manifest, Manifest)
        chosen = _looked(store, root, native, manifest, single=len({each.digest for each in found}) == 1)
        notes = []
        if chosen.wasm is None and any(each.platform and each.platform.is_wasm for each in found):
            notes = ["nodes run the native entry of this index; --platform wasi/wasm names the Wasm one by its digest"]
        return chosen, notes
    picked, manifest = pick(store, root, platform, prefer_wasm=True)
    return _looked(store, picked, picked, manifest, single=True), []


def _needs_pinning(platform: Platform) -> bool:
    """True for what no node asks an index for: nodes ask for their own os and architecture."""
    return platform.is_wasm or platform.os == "unknown"


def _looked(store: Source, pinned: Descriptor, descriptor: Descriptor, manifest: Manifest, *, single: bool) -> _Chosen:
    program = find_program(store, manifest)
    with Look(program) as look:
        facts = artifact.inspect_extent(look, allow_dynamic=True).facts
    config = None
    if manifest.config.media_type in mediatype.IMAGE_CONFIGS:
        config = ImageConfig.parse(fetch(store, manifest.config))
    return _Chosen(pinned, manifest, config, program, facts if isinstance(facts, WasmFacts) else None, single)


def _runtime(chosen: _Chosen, name: str | None, handler: str | None) -> RuntimeClass | None:
    if chosen.wasm is None and name is None and handler is None:
        return None
    name = pod.checked_subdomain(name, "--runtime-class") if name is not None else None
    return RuntimeClass(name or handler or HANDLER, handler or name or HANDLER)


def _remark(chosen: _Chosen, runtime: RuntimeClass | None, reference: str) -> str | None:
    """What keeps a Wasm image of this shape from running, as it was measured with containerd's CRI and read in crun."""
    if chosen.wasm is None or runtime is None:
        return None
    shape = recognise(chosen.manifest)
    tar = shape in ("image", "compat")
    cure = f"ocibuild copy {reference} {reference} --format"
    if runtime.handler == "youki":
        return (
            "youki takes the Pod's own sandbox for Wasm as well, and the Pod never starts: use crun or runwasi's shim"
        )
    if runtime.handler.startswith(_ANNOTATED):
        if chosen.wasm.kind == "component":
            return f"{runtime.handler} starts core modules only, and this is a component: use runwasi's wasmtime shim"
        return None if tar else f"{runtime.handler} starts files, and this {shape} has none: {cure} image cures it"
    if tar and chosen.config is not None and chosen.config.platform.os != "linux":
        why = f"containerd 2.3 and later never unpacks a tar layer for {chosen.config.platform} by its default settings"
        return f"{why}, and the Pod fails at create: {cure} wasm-layer cures it"
    if not tar and shape not in ("wasm-layer", "artifact"):
        return f"runwasi reads no {shape}: {cure} wasm-layer cures it"
    return None


def _exposed(process: Process) -> tuple[tuple[int, str], ...]:
    found = []
    for text in process.exposed_ports:
        port, _, protocol = text.partition("/")
        if port.isdigit() and 0 < int(port) < 65536:
            found.append((int(port), (protocol or "tcp").upper()))
    return tuple(found)


def _nodes(chosen: _Chosen) -> dict[str, str]:
    """A single native image runs on one kind of node."""
    if chosen.wasm is not None or not chosen.single or chosen.config is None:
        return {}
    platform = chosen.config.platform
    return {"kubernetes.io/os": platform.os, "kubernetes.io/arch": platform.architecture}
