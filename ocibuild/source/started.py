"""The programs in a stage: what it starts, and for which platform that was built."""

from __future__ import annotations

from ocibuild.binary import elf, wasm
from ocibuild.binary.artifact import Artifact, inspect, inspect_bytes
from ocibuild.content.blob import File
from ocibuild.content.tar import Entry
from ocibuild.errors import InputError
from ocibuild.source.filetree import Rootfs, resolved
from ocibuild.spec.config import Process


def started(process: Process, rootfs: Rootfs) -> Entry | None:
    """The file that is started, None where nothing is or it is not in the image."""
    words = (*process.entrypoint, *process.cmd)
    if not words:
        return None
    path = resolved(rootfs, f"{'' if words[0].startswith('/') else process.working_dir}/{words[0]}")
    entry = rootfs.look(path) if path else None
    return entry if entry is not None and entry.kind == "file" else None


def programs(process: Process, rootfs: Rootfs) -> tuple[Artifact, ...]:
    """The program that is started; where that is none, all there are, by path."""
    first = started(process, rootfs)
    found = program(first) if first is not None else None
    if found is not None:
        return (found,)
    entries = [rootfs.files[path] for path in sorted(rootfs.files)]
    return tuple(found for entry in entries if (found := program(entry)) is not None)


def program(entry: Entry) -> Artifact | None:
    """What the file is, None where it is no program that can be read."""
    if entry.content is None or entry.size < 4:
        return None
    with entry.content.open() as stream:
        if stream.read(4) not in (wasm.MAGIC, elf.MAGIC):
            return None
    try:
        if isinstance(entry.content, File):
            return inspect(entry.content.path, allow_dynamic=True)
        with entry.content.open() as stream:
            return inspect_bytes(stream.read(), entry.path, allow_dynamic=True)
    except InputError:
        return None  # whoever starts it will say what is wrong with it
