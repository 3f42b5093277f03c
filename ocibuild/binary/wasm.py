"""A WebAssembly file: core module or component, walked by its sections without loading a body.

WebAssembly Core Specification, "Binary Format > Modules"; component-model, Binary.md. Sections and features that came
later are walked over and named in `WasmFacts.unread`: a runtime that knows them must not be kept from running them.
Only sizes, counts and numbers that cannot be true are errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from ocibuild.binary.entity import (
    CoreImports,
    Export,
    Import,
    MemoryLimits,
    Unknown,
    read_component_exports,
    read_component_imports,
    read_core_exports,
    read_memories,
    skip_table_type,
    skip_value_type,
)
from ocibuild.binary.extent import Budget, Cursor, Extent
from ocibuild.binary.metadata import Metadata, read_metadata, read_target_features
from ocibuild.errors import InputError

MAGIC = b"\0asm"

Kind = Literal["module", "component"]
Role = Literal["command", "reactor", "http", "proxy-wasm", "library"]

_CORE_SECTIONS = {
    0: "custom", 1: "type", 2: "import", 3: "function", 4: "table", 5: "memory", 6: "global", 7: "export", 8: "start",
    9: "element", 10: "code", 11: "data", 12: "data count", 13: "tag",
}  # fmt: skip
_COMPONENT_SECTIONS = {
    0: "custom", 1: "core module", 2: "core instance", 3: "core type", 4: "component", 5: "instance", 6: "alias",
    7: "type", 8: "canonical function", 9: "start", 10: "import", 11: "export", 12: "value",
}  # fmt: skip

_MAX_NESTING = 16
_MAX_CHILDREN = 4096
_MAX_NOTES = 100
_TYPES_LOOKED_AT = 64 * 1024
_WASI_CORE = {"cli", "clocks", "filesystem", "http", "io", "random", "sockets"}
_WASI_NAME = re.compile(r"wasi:([a-z0-9-]+)/[a-z0-9-]+@([0-9]{1,9}\.[0-9]{1,9}\.[0-9]{1,9}(?:[-+][0-9A-Za-z.+-]*)?)")


@dataclass(frozen=True, slots=True)
class Section:
    """One section: its kind in words, the name of a custom one, and where its contents stand in the file, in bytes."""

    kind: str
    name: str | None
    offset: int
    size: int


@dataclass(frozen=True)
class WasmFacts:
    """What a module or component shows of itself.

    wasi             `none`, `unstable`, `preview1`, or the version of the interfaces it names (`0.2.3`), the newest one
    role             what starts it: `command` (`_start`, wasi:cli/run), `reactor`, `http` (wasi:http/incoming-handler,
                     0.3's wasi:http/handler), `proxy-wasm`, `library` (nothing)
    memories         of a module: imported and own; of a component: those of the modules in it
    features         proposals beyond WebAssembly 1.0 that headers prove; bodies are not read
    target_features  what the toolchain declares, by LLVM's names, used or not
    embedded_worlds  WIT worlds that a module carries for `wasm-tools component new`: it is not a component yet
    modules          the modules and components inside a component
    unread           what this reader did not understand, in words
    """

    kind: Kind
    imports: tuple[Import, ...] = ()
    exports: tuple[Export, ...] = ()
    wasi: str = "none"
    role: Role = "library"
    metadata: Metadata = field(default_factory=Metadata)
    memories: tuple[MemoryLimits, ...] = ()
    features: tuple[str, ...] = ()
    target_features: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()
    embedded_worlds: tuple[str, ...] = ()
    modules: tuple[WasmFacts, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def world_imports(self) -> tuple[str, ...]:
        """The keys of what a component's world imports, in the file's order; empty for a module."""
        return tuple(entry.name for entry in self.imports) if self.kind == "component" else ()

    @property
    def world_exports(self) -> tuple[str, ...]:
        """The keys of what a component's world exports, in the file's order; empty for a module."""
        return tuple(entry.name for entry in self.exports) if self.kind == "component" else ()

    def has_section(self, name: str) -> bool:
        """True when there is a custom section of that name."""
        return any(section.name == name for section in self.sections)


def read_wasm(extent: Extent) -> WasmFacts:
    """Read a file that begins with Wasm's magic.

    Raises InputError: `file-truncated`, `wasm-malformed`, `wasm-version-unknown`, `wasm-object`.
    """
    facts = _Walk(extent, 0, extent.size, Budget(), 0).facts()
    if facts.has_section("linking") and not facts.exports:
        raise InputError(
            f"{extent.name} is a WebAssembly object file, not yet a module",
            code="wasm-object",
            hint="link it first: wasm-ld, or the compiler without -c",
        )
    return facts


def read_header(extent: Extent, offset: int = 0) -> Kind:
    """Module or component, from the eight bytes at `offset`. Raises as `read_wasm` does."""
    header = extent.read_at(offset, 8)
    if len(header) < 8:
        raise InputError(
            f"{extent.name} ends inside WebAssembly's header, after {len(header)} bytes",
            code="file-truncated",
            hint="build or download it again",
        )
    version, layer = int.from_bytes(header[4:6], "little"), int.from_bytes(header[6:8], "little")
    if (version, layer) == (1, 0):
        return "module"
    if (version, layer) == (0x0D, 1):
        return "component"
    what = {0: "core module", 1: "component"}.get(layer, "file of an unknown layer")
    known = {0: "version 1", 1: "version 13"}.get(layer, "layers 0 (modules) and 1 (components)")
    raise InputError(
        f"{extent.name} is a WebAssembly {what}, version {version}, layer {layer}; known here: {known}",
        code="wasm-version-unknown",
        hint="build it with a current toolchain; if yours is newer than this ocibuild, update ocibuild",
    )


class _Walk:
    """One module or component between two offsets, on its way to facts."""

    def __init__(self, extent: Extent, start: int, end: int, budget: Budget, depth: int) -> None:
        self.extent = extent
        self.kind = read_header(extent, start)
        self.cursor = Cursor(extent, start + 8, end, budget)
        self.budget = budget
        self.depth = depth
        self.core = CoreImports()
        self.imports: list[Import] = []
        self.exports: list[Export] = []
        self.features: set[str] = set()
        self.target_features: tuple[str, ...] = ()
        self.metadata = Metadata()
        self.sections: list[Section] = []
        self.worlds: list[str] = []
        self.modules: list[WasmFacts] = []
        self.unread: list[str] = []

    def facts(self) -> WasmFacts:
        names = _CORE_SECTIONS if self.kind == "module" else _COMPONENT_SECTIONS
        while self.cursor.left:
            self._section(names)
        imports = self.core.entries if self.kind == "module" else self.imports
        memories = self.core.memories + [memory for module in self.modules for memory in module.memories]
        features = self.features | self.core.features | {name for module in self.modules for name in module.features}
        features |= _memory_features(self.core.memories) | _async_features(imports, self.exports)
        return WasmFacts(
            kind=self.kind,
            imports=tuple(imports),
            exports=tuple(self.exports),
            wasi=_wasi_level(imports, self.exports),
            role=_component_role(self.exports) if self.kind == "component" else _module_role(self.exports),
            metadata=self.metadata,
            memories=tuple(memories),
            features=tuple(sorted(features)),
            target_features=self.target_features,
            sections=tuple(self.sections),
            embedded_worlds=tuple(self.worlds),
            modules=tuple(self.modules),
            unread=tuple(self.unread),
        )

    def _section(self, names: dict[int, str]) -> None:
        start = self.cursor.offset
        code, size = self.cursor.byte(), self.cursor.u32()
        if size > self.cursor.left:
            raise InputError(
                f"{self.extent.name} is cut short: the section at byte {start:#x} has {size} bytes, "
                f"{self.cursor.left} are there",
                code="file-truncated",
                hint="build or download it again",
            )
        self.cursor.keep()
        offset, body = self.cursor.offset, self.cursor.part(size)
        kind = names.get(code)
        name = body.name() if code == 0 else None
        self.sections.append(Section(kind or f"section {code}", name, offset, size))
        if kind is None:
            self._note(f"section {code}")
        elif name is not None:
            try:
                self._custom(name, body)
            except (InputError, Unknown) as problem:
                # An engine may ignore a custom section it cannot make sense of; so do we, and say so.
                self._note(f"section {name!r}: {problem}")
        elif self.kind == "module":
            self._core(kind, body)
        else:
            self._component(kind, body)

    def _custom(self, name: str, body: Cursor) -> None:
        if name == "target_features":
            self.target_features = read_target_features(body)
        elif name == "component-type" or name.startswith("component-type:"):
            # A world is stored as a component of its own whose one export carries the world's name.
            self.worlds += [export.name for export in self._inside(body).exports]
        else:
            self.metadata = read_metadata(name, body, self.metadata)

    def _core(self, kind: str, body: Cursor) -> None:
        try:
            match kind:
                case "import":
                    self.core.read(body)
                case "memory":
                    self.core.memories += read_memories(body)
                case "export":
                    self.exports += read_core_exports(body)
                case "type" | "table":
                    self.features |= _look_at_types(kind, body)
                case "data count":
                    self.features.add("bulk-memory")
                case "tag":
                    self.features.add("exceptions")
        except Unknown as problem:
            self._note(f"{kind} section: {problem}")

    def _component(self, kind: str, body: Cursor) -> None:
        try:
            match kind:
                case "import":
                    read_component_imports(body, self.imports)
                case "export":
                    read_component_exports(body, self.exports)
                case "core module" | "component":
                    if len(self.modules) >= _MAX_CHILDREN:
                        raise Unknown("too many to look into")
                    self.modules.append(self._inside(body))
        except Unknown as problem:
            self._note(f"{kind} section: {problem}")

    def _inside(self, body: Cursor) -> WasmFacts:
        if self.depth >= _MAX_NESTING:
            raise Unknown("too deep to look into")
        if body.left < 8:
            raise body.wrong(f"a module of {body.left} bytes")
        return _Walk(self.extent, body.offset, body.end, self.budget, self.depth + 1).facts()

    def _note(self, text: str) -> None:
        if len(self.unread) < _MAX_NOTES:
            self.unread.append(text)


def _look_at_types(kind: str, body: Cursor) -> set[str]:
    # Types are looked at for the features they show, nothing else: a part is enough, and what is new ends the look.
    features: set[str] = set()
    body = body.part(min(body.left, _TYPES_LOOKED_AT))
    try:
        for _ in range(body.u32()):
            if kind == "type":
                _skip_type(body, features)
            else:
                _skip_table(body, features)
    except (InputError, Unknown):
        pass
    return features


def _skip_table(cursor: Cursor, features: set[str]) -> None:
    if cursor.left and cursor.peek() == 0x40:  # a table with an initial value, whose length only its code tells
        features.add("function-references")
        raise Unknown("table with an expression")
    skip_table_type(cursor, features)


def _skip_type(cursor: Cursor, features: set[str]) -> None:
    if cursor.peek() != 0x4E:
        return _skip_subtype(cursor, features)
    cursor.byte()
    features.add("gc")
    for _ in range(cursor.u32()):
        _skip_subtype(cursor, features)


def _skip_subtype(cursor: Cursor, features: set[str]) -> None:
    form = cursor.byte()
    if form in (0x50, 0x4F):
        features.add("gc")
        for _ in range(cursor.u32()):
            cursor.u32()
        form = cursor.byte()
    if form == 0x60:
        for position in (0, 1):
            count = cursor.u32()
            if position and count > 1:
                features.add("multi-value")
            for _ in range(count):
                skip_value_type(cursor, features)
    elif form in (0x5E, 0x5F):
        features.add("gc")
        for _ in range(1 if form == 0x5E else cursor.u32()):
            skip_value_type(cursor, features)
            cursor.byte()
    else:
        raise Unknown(f"type form {form:#x}")


def _memory_features(memories: list[MemoryLimits]) -> set[str]:
    features = set()
    if len(memories) > 1:
        features.add("multi-memory")
    for memory in memories:
        if memory.shared:
            features.add("threads")
        if memory.is_64:
            features.add("memory64")
        if memory.page_size != 65536:
            features.add("custom-page-sizes")
    return features


def _async_features(imports: list[Import], exports: list[Export]) -> set[str]:
    # The canonical ABI's names for asynchronous functions (component-model, CanonicalABI.md and wit-component).
    marks = ("[async-lift]", "[async-lower]", "[task-return]", "[async]", "[async method]", "[async static]")
    names = [entry.name for entry in imports] + [entry.name for entry in exports]
    return {"component-model-async"} if any(name.startswith(marks) for name in names) else set()


def _wasi_level(imports: list[Import], exports: list[Export]) -> str:
    names = {entry.module or entry.name for entry in imports} | {entry.name for entry in exports}
    found = [match.groups() for name in names if (match := _WASI_NAME.match(name))]
    # The packages of WASI itself carry its version; proposals on their way (wasi:nn, wasi:keyvalue) have their own.
    versions = [version for package, version in found if package in _WASI_CORE] or [version for _, version in found]
    if versions:
        return max(versions, key=_version_order)
    if "wasi_snapshot_preview1" in names:
        return "preview1"
    return "unstable" if "wasi_unstable" in names else "none"


def _version_order(version: str) -> tuple[tuple[int, ...], bool, str]:
    # SemVer's order as far as WASI needs it: a pre-release comes before its release.
    release, _, rest = version.partition("-")
    numbers = tuple(int(part) for part in release.partition("+")[0].split("."))
    return numbers, not rest, rest


def _module_role(exports: list[Export]) -> Role:
    names = {entry.name for entry in exports if entry.kind == "func"}
    # Proxy-Wasm first: its SDKs also export _start or _initialize, which its hosts call before anything else.
    if any(name.startswith("proxy_abi_version_") for name in names):
        return "proxy-wasm"
    if "_start" in names:
        return "command"
    return "reactor" if "_initialize" in names else "library"


def _component_role(exports: list[Export]) -> Role:
    names = {entry.name.partition("@")[0] for entry in exports}
    # HTTP first, as runwasi's wasmtime shim chooses.
    if names & {"wasi:http/incoming-handler", "wasi:http/handler"}:
        return "http"
    if "wasi:cli/run" in names:
        return "command"
    return "reactor" if any(entry.kind in ("func", "instance") for entry in exports) else "library"
