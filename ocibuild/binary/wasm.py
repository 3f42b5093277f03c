"""A WebAssembly file: core module or component, walked by its sections without loading a body.

WebAssembly Core Specification, "Binary Format > Modules"; component-model, Binary.md. Sections and features that came
later are walked over and named in `WasmFacts.unread`: a runtime that knows them must not be kept from running them.
Only sizes, counts and numbers that cannot be true are errors.
"""

from __future__ import annotations

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
)
from ocibuild.binary.extent import Budget, Cursor, Extent
from ocibuild.binary.features import features_of_memories, features_of_names, features_of_types
from ocibuild.binary.metadata import Metadata, read_metadata, read_target_features
from ocibuild.binary.world import Role, component_role, module_role, wasi_level
from ocibuild.errors import InputError
from ocibuild.record import field, record

MAGIC = b"\0asm"

Kind = Literal["module", "component"]

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


@record
class Section:
    """One section: its kind in words, the name of a custom one, and where its contents stand in the file, in bytes."""

    kind: str
    name: str | None
    offset: int
    size: int


@record
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

    @property
    def is_wit_package(self) -> bool:
        """True for WIT in binary form: interfaces and worlds to build against, nothing to run."""
        exports = [entry.kind for entry in self.exports]
        return self.kind == "component" and not self.imports and bool(exports) and set(exports) == {"type"}

    def has_section(self, name: str) -> bool:
        """True when there is a custom section of that name."""
        return any(section.name == name for section in self.sections)


def read_wasm(extent: Extent, budget: Budget | None = None) -> WasmFacts:
    """Read a file that begins with Wasm's magic, keeping no more than `budget` (by default, more than programs have).

    Raises InputError: `file-truncated`, `wasm-malformed`, `wasm-version-unknown`, `wasm-object`.
    """
    facts = _Walk(extent, 0, extent.size, budget or Budget(), 0).facts()
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
        features |= features_of_memories(self.core.memories) | self._asynchronous()
        return WasmFacts(
            kind=self.kind,
            imports=tuple(imports),
            exports=tuple(self.exports),
            wasi=wasi_level(imports, self.exports),
            role=component_role(self.exports) if self.kind == "component" else module_role(self.exports),
            metadata=self.metadata,
            memories=tuple(memories),
            features=tuple(sorted(features)),
            target_features=self.target_features,
            sections=tuple(self.sections),
            embedded_worlds=tuple(self.worlds),
            modules=tuple(self.modules),
            unread=tuple(self.unread),
        )

    def _asynchronous(self) -> set[str]:
        # Only inside a component are the canonical ABI's names more than names.
        if self.kind == "module":
            return set()
        inside: list[Import | Export] = []
        for module in self.modules:
            inside += [*module.imports, *module.exports]
        return features_of_names([*self.imports, *self.exports, *inside])

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
                    self.features |= features_of_types(kind, body)
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
        try:
            walk = _Walk(self.extent, body.offset, body.end, self.budget, self.depth + 1)
        except InputError as problem:
            raise Unknown(problem.message) from problem  # a version of tomorrow inside is for the runtime to judge
        return walk.facts()

    def _note(self, text: str) -> None:
        if len(self.unread) < _MAX_NOTES:
            self.unread.append(text)
