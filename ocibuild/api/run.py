"""`run`: the program of an image of any shape, or a bare one, started here."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence

from ocibuild.api import places
from ocibuild.api.inspecting import is_program
from ocibuild.api.picking import entries, pick, same
from ocibuild.api.session import Session
from ocibuild.binary import artifact
from ocibuild.binary.artifact import Artifact
from ocibuild.binary.wasm import WasmFacts
from ocibuild.content.blob import File
from ocibuild.content.flow import Event
from ocibuild.errors import InputError, UsageError
from ocibuild.image.look import Look
from ocibuild.image.shapes.recognise import Program
from ocibuild.run import child, command, serving, unpack
from ocibuild.run import engine as starting
from ocibuild.run.child import Outcome
from ocibuild.run.command import Command
from ocibuild.run.launch import Folder, Launch
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.store.base import Source
from ocibuild.store.graph import node

_FILES = (".wasm", ".oci", ".tar")


def run(
    place: str | os.PathLike[str],
    arguments: Sequence[str] = (),
    *,
    platform: str | None = None,
    env: Iterable[str] = (),
    dirs: Iterable[str] = (),
    mounts: Iterable[str] = (),
    net: bool = False,
    listen: str | None = None,
    entrypoint: Sequence[str] = (),
    workdir: str | None = None,
    timeout: float | None = None,
    memory: int | None = None,
    engine: str | None = None,
    runtime: str | None = None,
    engine_args: Iterable[str] = (),
    session: Session | None = None,
) -> int:
    """Run a program and return its exit status: its own; 134 where it trapped, 124 where `timeout` (seconds) ended it.

    It has this process's stdin, stdout and stderr. A Wasm program sees of this machine what `dirs`
    (`HOST[::GUEST][:ro]`), `mounts` (docker's `type=bind,source=…,target=…`), `net` and `env` (`KEY=VALUE`) say, and may
    grow each memory to `memory` bytes; a native one is in no sandbox. `arguments` replace the image's, `entrypoint`
    both. Of an index, the entry for `platform`, the Wasm one, or the one for this machine is taken.

    An HTTP component is served at `listen` (`IP:PORT`, 127.0.0.1:8080) until it is ended.

    With `engine`, docker, podman or containerd runs it in a container, started by `runtime` or what is found to start
    it there; `engine_args` are further words for the engine.

    Raises UsageError (`dir-invalid`, `mount-invalid`, `pair-invalid`, `path-invalid`, `platform-needed`,
    `sandbox-wasm-only`, `listen-invalid`, `engine-unknown`), InputError (`file-not-found`, `not-a-command`, `net-unsupported`,
    `not-startable`, `platform-foreign`), ToolError (`engine-missing`, `engine-failed`, `engine-unreachable`,
    `runtime-missing`, `load-failed`), ContentError (`program-missing`, `program-ambiguous`) and what reading an image
    raises.
    """
    launch = Launch(
        arguments=tuple(arguments),
        env=tuple(env),
        folders=(*(Folder.parse(text) for text in dirs), *(Folder.mount(text) for text in mounts)),
        entrypoint=tuple(entrypoint),
        workdir=workdir,
        net=net,
        listen=listen,
        timeout=timeout,
        memory=memory,
    )
    if engine is not None:
        from ocibuild.api import contained

        handover = contained.Handover(engine, runtime, tuple(engine_args))
        ended = contained.perform(os.fspath(place), launch, handover, platform=platform, session=session)
        return ended.status
    return perform(os.fspath(place), launch, platform=platform, session=session).status


def perform(place: str, launch: Launch, *, platform: str | None = None, session: Session | None = None) -> Outcome:
    """The same, told how it ended. Raises as `run`."""
    refuse_timeout(launch)
    launch = launch.distinct()
    current = (session or Session()).begin()
    called, found = _bare(place, launch, current) if is_program(place) else _packed(place, launch, platform, current)
    facts = found.facts
    serves = isinstance(facts, WasmFacts) and facts.role == "http"
    if launch.listen is not None and not serves:
        serving.refuse_listening(found)
    if not isinstance(facts, WasmFacts) and (called.rootfs is not None or launch.net):
        network = ", with this machine's network as it is" if launch.net else ""
        current.observe(Event("note", text=f"{found.name} is a native program: it runs here in no sandbox{network}"))
    environ = current.surroundings.environ
    with unpack.private() as folder:
        path, root = folder / "program", None
        unpack.program(called.program, path)
        if called.rootfs is not None:
            root = folder / "root"
            unpack.rootfs(called.rootfs, root)
        if serves:
            start, said, warned = serving.serve(found, called, launch, path, root, environ)
            current.observe(Event("warning" if warned else "note", text=said))
        elif isinstance(facts, WasmFacts):
            start = starting.wasm(found, called, launch, path, root, environ.get("PATH", os.defpath))
        else:
            start = starting.native(found, called, launch, path, root)
        return child.run(start, launch.timeout, current.cancel)


def refuse_timeout(launch: Launch) -> None:
    """Raises UsageError where no time is left."""
    if launch.timeout is not None and not (math.isfinite(launch.timeout) and launch.timeout > 0):
        raise UsageError(f"a timeout of {launch.timeout} seconds cannot be meant")


def refuse_missing(place: str) -> None:
    """Raises InputError (`file-not-found`) where `place` names a file that is not there."""
    if is_missing(place):
        hint = "check the path, and that the build wrote it"
        raise InputError(f"there is no file {place}", code="file-not-found", hint=hint)


def is_missing(text: str) -> bool:
    """True where `text` names a file that is not there: `./a`, `/a`, or `a.wasm` without a registry before it, which
    nobody calls a repository.
    """
    first, slash, _ = text.partition("/")
    registry = ":" in first or (bool(slash) and ("." in first or first == "localhost"))
    path = text.startswith((".", "/")) or (text.endswith(_FILES) and not registry)
    return path and not os.path.lexists(text.partition("@")[0])


def _bare(place: str, launch: Launch, current: Session) -> tuple[Command, Artifact]:
    found = artifact.inspect(place, allow_dynamic=True)
    content = File(place, found.size, mtime_ns=found.stamp.mtime_ns)
    return command.bare(Program(found.name, found.size, None, content), launch, current.surroundings.environ), found


def _packed(place: str, launch: Launch, platform: str | None, current: Session) -> tuple[Command, Artifact]:
    refuse_missing(place)
    store, root = current.found(places.parse(place))
    _, manifest = chosen(store, root, platform)
    called = command.of_image(store, manifest, launch, current.surroundings.environ)
    with Look(called.program) as look:
        found = artifact.inspect_extent(look, allow_dynamic=True)
    return called, found


def chosen(store: Source, root: Descriptor, platform: str | None) -> tuple[Descriptor, Manifest]:
    """The manifest of the entry asked for, the Wasm one, or where there is none the one for this machine."""
    index = node(store, root)
    if platform is None and isinstance(index, Index):
        platforms = [entry.platform for entry in entries(store, index) if entry.platform is not None]
        here = starting.host()
        if not any(each.is_wasm for each in platforms) and any(same(each, here) for each in platforms):
            platform = str(here)
    return pick(store, root, platform, prefer_wasm=True)
