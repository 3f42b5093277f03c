"""`run --engine`: the program of an image of any shape, or a bare one, in a container of docker, podman or containerd."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ocibuild.api import engines, places
from ocibuild.api.convert import convert
from ocibuild.api.inspecting import is_program
from ocibuild.api.pack import pack
from ocibuild.api.picking import pick
from ocibuild.api.run import chosen, refuse_missing, refuse_timeout
from ocibuild.api.session import Session
from ocibuild.binary import artifact
from ocibuild.binary.artifact import Artifact
from ocibuild.binary.wasm import WasmFacts
from ocibuild.content.flow import Event
from ocibuild.image.look import Look
from ocibuild.image.shapes.recognise import find_program, recognise
from ocibuild.record import record
from ocibuild.run import child, command, container, engine, runtime, serving, unpack
from ocibuild.run.child import Outcome
from ocibuild.run.container import Container
from ocibuild.run.launch import Launch
from ocibuild.run.runtime import Engine, Runtime
from ocibuild.spec import annotation
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Manifest
from ocibuild.store.base import Source, fetch
from ocibuild.store.copy import copy
from ocibuild.store.layout import LayoutStore

_TARS = ("image", "compat")


@record
class Handover:
    """To whom a program is handed: `engine` is docker, podman or containerd; `runtime` what starts it there, looked for
    where it is None; `extra` are further words for the engine's own `run`.
    """

    engine: str
    runtime: str | None = None
    extra: tuple[str, ...] = ()


@record
class _Prepared:
    """A container to run, the layout that holds its image alone, and where an engine could pull that image from."""

    container: Container
    stage: LayoutStore
    published: str | None


@record
class _Found:
    """The manifest that holds the program, and what the program is. `place` names it for any command."""

    source: Source
    root: Descriptor
    manifest: Manifest
    artifact: Artifact
    place: str
    published: str | None = None


def perform(
    place: str, launch: Launch, handover: Handover, *, platform: str | None = None, session: Session | None = None
) -> Outcome:
    """Load the image into the engine under a name of its own, run it, and take container and image away again.

    Raises UsageError (`engine-unknown`, `mount-invalid`), ToolError (`engine-missing`, `engine-unreachable`,
    `runtime-missing`, `load-failed`), and what `run` raises for a place.
    """
    current = (session or Session()).begin()
    refuse_timeout(launch)
    with _prepared(place, launch, handover, platform, current) as prepared:
        start = prepared.container.start(current.surroundings.environ)
        if prepared.container.needs_network and not (launch.net or prepared.container.own_network):
            said = "docker starts a Wasm shim on this machine's network only, so the program has it without --net"
            current.observe(Event("warning", text=said))
        try:
            engines.load(prepared.container.engine, prepared.stage)
            current.cancel.check()
            current.observe(Event("note", text=container.shown(start.words, hidden=True)))
            return child.run(start, launch.timeout, current.cancel)
        finally:
            child.silently(prepared.container.forgetting())


def line(
    place: str, launch: Launch, handover: Handover, *, platform: str | None = None, session: Session | None = None
) -> str:
    """The command line that `perform` would start, for a shell; an image in a registry has its own name in it.

    Raises as `perform`.
    """
    current = (session or Session()).begin()
    with _prepared(place, launch, handover, platform, current) as prepared:
        asked = replace(prepared.container, client=runtime.PROGRAMS[prepared.container.engine])
        if prepared.published is not None:
            asked = replace(asked, image=prepared.published, pull="missing")
        return container.shown(asked.words(current.surroundings.environ), hidden=False)


@contextmanager
def _prepared(
    place: str, launch: Launch, handover: Handover, platform: str | None, current: Session
) -> Iterator[_Prepared]:
    environ = current.surroundings.environ
    search = environ.get("PATH", os.defpath)
    kind, client = runtime.engine(handover.engine, search)
    launch = _absolute(launch.distinct())
    token = os.urandom(4).hex()
    with unpack.private() as folder:
        found = _found(place, platform, folder / "packed", current)
        starter = _starter(kind, client, search, handover, found.artifact, launch)
        ready = _as_files(found, kind, starter, folder / "converted", current)
        if launch.listen is not None:
            # What runwasi's wasmtime shim reads; its own default is 0.0.0.0:8080.
            host, port = serving.address(launch.listen)
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            launch = replace(launch, env=(*launch.env, f"WASMTIME_HTTP_PROXY_SOCKET_ADDR={where}"))
        called = command.of_image(ready.source, ready.manifest, launch, environ)
        config = ImageConfig.parse(fetch(ready.source, ready.manifest.config))
        image = f"localhost/ocibuild-run:{token}"
        stage = LayoutStore(folder / "stage")
        with current.flow() as flow, stage:
            copy(ready.source, ready.root.bare, stage, flow=flow)
            stage.tag(ready.root.bare.with_annotations({annotation.CONTAINERD_NAME: image}), token)
        asked = Container(
            engine=kind,
            client=client,
            name=f"ocibuild-{token}",
            image=image,
            platform=str(config.platform),
            command=called,
            launch=launch,
            runtime=starter,
            extra=handover.extra,
        )
        yield _Prepared(asked, stage, found.published if ready is found else None)


def _found(place: str, platform: str | None, folder: Path, current: Session) -> _Found:
    if is_program(place):
        said = f"{place}={platform}" if platform is not None else place
        packed = pack(said, output=f"oci:{folder}", session=current)
        store = LayoutStore(folder)
        root, manifest = pick(store, packed.descriptor)
        return _Found(store, root, manifest, packed.artifacts[0], f"oci:{folder}")
    refuse_missing(place)
    where = places.parse(place)
    store_of, root = current.found(where)
    root, manifest = chosen(store_of, root, platform)
    with Look(find_program(store_of, manifest)) as look:
        what = artifact.inspect_extent(look, allow_dynamic=True)
    if where.reference is not None:
        published = f"{where.reference.name}@{root.digest}"
        return _Found(store_of, root, manifest, what, published, published)
    return _Found(store_of, root, manifest, what, f"{where.transport}:{where.path}@{root.digest}")


def _starter(kind: Engine, client: str, search: str, handover: Handover, program: Artifact, launch: Launch) -> Runtime:
    """The runtime that was named, the one that was found for a Wasm program, or the engine's own for a native one."""
    wasm = isinstance(program.facts, WasmFacts)
    serves = isinstance(program.facts, WasmFacts) and program.facts.role == "http"
    if launch.listen is not None and not serves:
        serving.refuse_listening(program)
    if isinstance(program.facts, WasmFacts) and not serves:
        function = launch.entrypoint[0].partition("#")[2] if launch.entrypoint else ""
        engine.refuse_others(program.name, program.facts, function)
    if handover.runtime is not None:
        return runtime.named(kind, handover.runtime, wasm=wasm)
    if not isinstance(program.facts, WasmFacts):
        return Runtime()
    return runtime.discovered(kind, client, search, component=program.facts.kind == "component")


def _as_files(found: _Found, kind: Engine, starter: Runtime, folder: Path, current: Session) -> _Found:
    """The image as this engine and runtime start it: as it is, or converted into one with a file system."""
    shape = recognise(found.manifest)
    if shape in _TARS or (shape == "wasm-layer" and starter.raw):
        return found
    current.observe(Event("note", text=f"{kind} starts files of a tar layer here, so this {shape} is converted first"))
    convert(found.place, f"oci:{folder}", format="image", session=current)
    store = LayoutStore(folder)
    root, manifest = pick(store, store.resolve(""))
    return replace(found, source=store, root=root, manifest=manifest)


def _absolute(launch: Launch) -> Launch:
    """Engines read paths from where their daemon stands."""
    folders = [replace(each, host=os.path.abspath(each.host)) if each.host else each for each in launch.folders]
    return replace(launch, folders=tuple(folders))
