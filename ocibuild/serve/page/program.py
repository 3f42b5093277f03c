"""What a program says of itself, as a page shows it: in words, and cut to what a page can hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ocibuild.binary import elf, wasm
from ocibuild.binary.elf import ElfFacts
from ocibuild.binary.entity import Import, MemoryLimits
from ocibuild.binary.extent import Budget, Descriptor, Extent
from ocibuild.binary.wasm import WasmFacts
from ocibuild.errors import InputError
from ocibuild.record import record
from ocibuild.serve.page.shown import size

_NAMES = 400
"""Names that are shown of a list; a component's interfaces are few, a module's exports can be thousands."""

_BUDGET = (60_000, 1024 * 1024)
_TEXT = 1024
_WASI = {"none": "no WASI", "unstable": "WASI unstable", "preview1": "WASI preview 1"}
_ROLES = {
    "command": "a command", "reactor": "a reactor", "http": "an HTTP handler", "proxy-wasm": "a proxy-wasm filter",
    "library": "a library: nothing starts it",
}  # fmt: skip


@record
class Group:
    """Names that come from one module or interface. `total` counts those that are not shown too."""

    name: str
    members: tuple[str, ...]
    total: int


@record
class Program:
    """A program in an image. `kind` is in words; `tags` are the few facts that people look for first, `facts` the others.

    `problem` says why there are none. `imports` and `exports` are cut; `import_count` and `export_count` are not.
    """

    path: str
    size: int
    kind: str = ""
    tags: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    imports: tuple[Group, ...] = ()
    import_count: int = 0
    exports: tuple[tuple[str, str], ...] = ()
    export_count: int = 0
    problem: str = ""
    is_entry: bool = False

    @property
    def is_wasm(self) -> bool:
        """True for a module or a component that was read."""
        return self.kind in ("WebAssembly module", "WebAssembly component")


def read_file(path: Path, name: str) -> Program:
    """The program that is a blob of its own; the file is read in places."""
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            return _read(Descriptor(name, stream.fileno(), status.st_size), is_entry=True)
    except OSError:
        return Program(name, 0, problem="it is not here")


class _Held:
    """An extent over memory that is not copied whole."""

    def __init__(self, name: str, data: memoryview) -> None:
        self.name = name
        self.size = len(data)
        self._data = data

    def read_at(self, offset: int, length: int) -> bytes:
        """See Extent."""
        return bytes(self._data[offset : offset + length])


def read_held(data: memoryview, name: str, *, is_entry: bool = False) -> Program:
    """The same for a program in memory."""
    return _read(_Held(name, data), is_entry=is_entry)


def _read(extent: Extent, *, is_entry: bool) -> Program:
    try:
        if extent.read_at(0, 4) == elf.MAGIC:
            return _native(extent, elf.read_elf(extent), is_entry)
        return _wasm(extent, wasm.read_wasm(extent, Budget(*_BUDGET)), is_entry)
    except InputError as error:
        return Program(extent.name, extent.size, problem=error.message[:_TEXT], is_entry=is_entry)


def _wasm(extent: Extent, facts: WasmFacts, is_entry: bool) -> Program:
    level = _WASI.get(facts.wasi, f"WASI {facts.wasi}")
    role = "a WIT package: interfaces to build against" if facts.is_wit_package else _ROLES[facts.role]
    known = facts.metadata
    pairs = [
        ("Role", role),
        ("Name", known.name or ""),
        ("Version", known.version or ""),
        ("Description", known.description or ""),
        ("Licenses", known.licenses or ""),
        ("Source", known.source or ""),
        ("Homepage", known.homepage or ""),
        ("Authors", known.authors or ""),
        ("Memory", "; ".join(map(_memory, facts.memories[:8]))),
        ("Features", ", ".join(facts.features)),
        ("Inside", f"{len(facts.modules)} modules and components" if len(facts.modules) > 1 else ""),
        ("Worlds", ", ".join(facts.embedded_worlds)),
        *((name, ", ".join(f"{tool} {version}".strip() for tool, version in tools)) for name, tools in known.producers),
        ("Not understood", "; ".join(facts.unread[:8])),
    ]
    return Program(
        path=extent.name,
        size=extent.size,
        kind=f"WebAssembly {facts.kind}",
        tags=(facts.kind, level, *((facts.role,) if facts.role != "library" else ())),
        facts=_cut(pairs),
        imports=_groups(facts.imports),
        import_count=len(facts.imports),
        exports=tuple((entry.name[:_TEXT], entry.kind) for entry in facts.exports[:_NAMES]),
        export_count=len(facts.exports),
        is_entry=is_entry,
    )


def _memory(memory: MemoryLimits) -> str:
    least = size(memory.initial * memory.page_size)
    most = f"up to {size(memory.maximum * memory.page_size)}" if memory.maximum is not None else "no upper bound"
    return (
        f"{least} at the start, {most}" + (", shared" if memory.shared else "") + (", 64-bit" if memory.is_64 else "")
    )


def _groups(imports: Sequence[Import]) -> tuple[Group, ...]:
    groups: dict[str, list[str]] = {}
    for entry in imports[:_NAMES]:
        names = groups.setdefault(entry.module or entry.name, [])
        if entry.module:
            names.append(f"{entry.name} ({entry.kind})" if entry.kind != "func" else entry.name)
    return tuple(
        Group(name[:_TEXT], tuple(member[:_TEXT] for member in members), len(members))
        for name, members in groups.items()
    )


def _cut(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name[:_TEXT], text[:_TEXT]) for name, text in pairs if text)[:40]


def _native(extent: Extent, facts: ElfFacts, is_entry: bool) -> Program:
    go = facts.go
    linked = "static, position-independent" if facts.static_pie else "static" if facts.static else "dynamic"
    pairs = [
        ("Machine", f"{facts.machine}, {facts.bits} bits, {facts.byte_order} endian"),
        ("Linked", linked),
        ("Loader", facts.interpreter or ""),
        ("Libraries", ", ".join(facts.needed)),
        ("Symbols", "stripped" if facts.stripped else "there"),
        ("Toolchain", facts.toolchain if facts.toolchain != "unknown" else ""),
        ("Go", " ".join(filter(None, (go.version, go.path))) if go else ""),
        ("Compilers", "; ".join(facts.comments[:8])),
    ]
    return Program(
        path=extent.name,
        size=extent.size,
        kind="Native program",
        tags=("native", str(facts.platform), "static" if facts.static else "dynamic"),
        facts=_cut(pairs),
        is_entry=is_entry,
    )
