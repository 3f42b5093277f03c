"""What a module or component imports, exports and remembers: the sections that name things.

WebAssembly Core Specification, "Binary Format > Modules"; component-model, Binary.md. Kinds that came after those
texts (compact import groups, exact functions) are read as WebAssembly's proposals define them.
"""

from __future__ import annotations

from ocibuild.binary.extent import Cursor
from ocibuild.record import record


@record
class Import:
    """`module` and `name` of a core import; a component's import has a name alone (`wasi:io/streams@0.2.0`)."""

    module: str
    name: str
    kind: str


@record
class Export:
    """The name, with its version where it is an interface's, and what stands behind it (`func`, `instance`…)."""

    name: str
    kind: str


@record
class MemoryLimits:
    """Pages of `page_size` bytes at the start and at most (`None`: as many as addresses reach)."""

    initial: int
    maximum: int | None
    shared: bool = False
    is_64: bool = False
    page_size: int = 65536


class Unknown(Exception):
    """A kind that this reader has never heard of; what follows it in the section cannot be found."""


_CORE_KINDS = {0: "func", 1: "table", 2: "memory", 3: "global", 4: "tag", 0x20: "func"}
_CORE_SORTS = {**_CORE_KINDS, 0x10: "type", 0x11: "module", 0x12: "instance"}
_SORTS = {1: "func", 2: "value", 3: "type", 4: "component", 5: "instance"}


# --- core modules -------------------------------------------------------------------------------------------------


class CoreImports:
    """The import section. `entries`, `memories` and `features` hold what was read, also when Unknown is raised."""

    def __init__(self) -> None:
        self.entries: list[Import] = []
        self.memories: list[MemoryLimits] = []
        self.features: set[str] = set()

    def read(self, cursor: Cursor) -> None:
        """Read a whole section. Raises Unknown at a kind that is not known."""
        for _ in range(cursor.count()):
            module, name = cursor.name(), cursor.name()
            kind = cursor.byte()
            if name == "" and kind in (0x7E, 0x7F):
                self._group(cursor, module, kind)
            else:
                self._entry(cursor, module, name, kind)

    def _group(self, cursor: Cursor, module: str, form: int) -> None:
        # Compact import section proposal: one module name for many imports (0x7f), or one type too (0x7e).
        self.features.add("compact-imports")
        if form == 0x7F:
            for _ in range(cursor.count()):
                name = cursor.name()
                self._entry(cursor, module, name, cursor.byte())
            return
        kind = cursor.byte()
        memories = len(self.memories)
        self._type(cursor, kind)
        shared_type = self.memories[memories:]
        del self.memories[memories:]
        for _ in range(cursor.count()):
            cursor.keep()
            self.entries.append(Import(module, cursor.name(), _CORE_KINDS[kind]))
            self.memories += shared_type

    def _entry(self, cursor: Cursor, module: str, name: str, kind: int) -> None:
        if kind not in _CORE_KINDS:
            raise Unknown(f"import kind {kind:#x}")
        cursor.keep()
        self._type(cursor, kind)
        self.entries.append(Import(module, name, _CORE_KINDS[kind]))

    def _type(self, cursor: Cursor, kind: int) -> None:
        if kind in (0x00, 0x20):
            cursor.u32()
        elif kind == 0x01:
            skip_table_type(cursor, self.features)
        elif kind == 0x02:
            self.memories.append(read_memory(cursor))
        elif kind == 0x03:
            skip_value_type(cursor, self.features)
            if cursor.byte() & 0x02:
                self.features.add("shared-everything-threads")
        elif kind == 0x04:
            cursor.byte()
            cursor.u32()
            self.features.add("exceptions")
        else:
            raise Unknown(f"import kind {kind:#x}")


def read_core_exports(cursor: Cursor) -> list[Export]:
    """The export section of a core module."""
    exports = []
    for _ in range(cursor.count()):
        cursor.keep()
        name, kind = cursor.name(), cursor.byte()
        cursor.u32()
        exports.append(Export(name, _CORE_KINDS.get(kind, f"kind-{kind:#x}")))
    return exports


def read_memories(cursor: Cursor) -> list[MemoryLimits]:
    """The memory section."""
    memories = []
    for _ in range(cursor.count()):
        cursor.keep()
        memories.append(read_memory(cursor))
    return memories


def read_memory(cursor: Cursor) -> MemoryLimits:
    """A memory type: flags, limits, and the size of a page where the custom-page-sizes proposal is used."""
    flags = cursor.u32()
    if flags > 0x0F:
        raise Unknown(f"memory flags {flags:#x}")
    initial = cursor.u64()
    maximum = cursor.u64() if flags & 0x01 else None
    page_size = 65536
    if flags & 0x08:
        exponent = cursor.u32()
        if exponent > 63:
            raise cursor.wrong(f"a page size of 2^{exponent} bytes")
        page_size = 1 << exponent
    return MemoryLimits(initial, maximum, bool(flags & 0x02), bool(flags & 0x04), page_size)


def skip_value_type(cursor: Cursor, features: set[str]) -> None:
    """Read over a value type, noting the features it takes."""
    code = cursor.byte()
    if code in (0x7F, 0x7E, 0x7D, 0x7C):
        return
    if code == 0x7B:
        features.add("simd")
    elif code in (0x70, 0x6F):
        features.add("reference-types")
    elif code in (0x63, 0x64):
        features.add("function-references")
        _skip_heap_type(cursor, features)
    elif code == 0x65:  # (shared absheaptype), shared-everything-threads
        features.add("shared-everything-threads")
        cursor.byte()
    elif code in (0x69, 0x74):
        features.add("exceptions")
    elif 0x6A <= code <= 0x73:
        features.add("gc")
    elif code in (0x75, 0x68):
        features.add("stack-switching")
    elif code in (0x78, 0x77):  # packed i8 and i16, fields of structures and arrays
        features.add("gc")
    else:
        raise Unknown(f"value type {code:#x}")


def _skip_heap_type(cursor: Cursor, features: set[str]) -> None:
    heap = cursor.s33()
    if heap == -0x1E:  # 0x62: exact type, custom-descriptors
        features.add("custom-descriptors")
        cursor.u32()
    elif heap == -0x1B:  # 0x65: shared
        features.add("shared-everything-threads")
        cursor.byte()
    elif -0x16 <= heap <= -0x0D and heap not in (-0x10, -0x11):
        features.add("gc")


def skip_table_type(cursor: Cursor, features: set[str]) -> None:
    """Read over a table type: element type, flags, limits."""
    found: set[str] = set()
    if cursor.peek() == 0x70:
        cursor.byte()  # a table of functions is what WebAssembly 1.0 has; anything else came with reference types
    else:
        skip_value_type(cursor, found)
    start = cursor.offset
    flags = cursor.u32()
    if flags > 0x07:
        raise Unknown(f"table flags {flags:#x} at {start:#x}")
    if flags & 0x04:
        found.add("memory64")
    if flags & 0x02:
        found.add("shared-everything-threads")
    cursor.u64()
    if flags & 0x01:
        cursor.u64()
    features |= found


# --- components ---------------------------------------------------------------------------------------------------


def read_component_imports(cursor: Cursor, entries: list[Import]) -> None:
    """An import section of a component, appended to `entries`. Raises Unknown at a kind that is not known."""
    for _ in range(cursor.count()):
        cursor.keep()
        name = _extern_name(cursor)
        entries.append(Import("", name, _extern_type(cursor)))


def read_component_exports(cursor: Cursor, entries: list[Export]) -> None:
    """An export section of a component, appended to `entries`. Raises Unknown at a kind that is not known."""
    for _ in range(cursor.count()):
        cursor.keep()
        name = _extern_name(cursor)
        kind = _sort(cursor)
        cursor.u32()
        entries.append(Export(name, kind))
        ascribed = cursor.byte()
        if ascribed == 0x01:
            _extern_type(cursor)
        elif ascribed != 0x00:
            raise Unknown(f"export ascription {ascribed:#x}")


def _extern_name(cursor: Cursor) -> str:
    form = cursor.byte()
    if form > 0x02:
        raise Unknown(f"name form {form:#x}")
    name = cursor.name()
    if form == 0x02:  # a name with options: what it implements, the rest of its version, an external id
        for _ in range(cursor.count()):
            option = cursor.byte()
            text = cursor.name()
            if option == 0x01:
                name += text
    return name


def _sort(cursor: Cursor) -> str:
    code = cursor.byte()
    if code == 0x00:
        core = cursor.byte()
        return _CORE_SORTS.get(core, f"core-sort-{core:#x}")
    return _SORTS.get(code, f"sort-{code:#x}")


def _extern_type(cursor: Cursor) -> str:
    code = cursor.byte()
    if code == 0x00:
        cursor.byte()
        cursor.u32()
        return "module"
    if code in (0x02, 0x03):
        bound = cursor.byte()
        if code == 0x03 and bound == 0x01:  # (sub resource)
            return "type"
        if bound > 0x01:
            raise Unknown(f"bound {bound:#x}")
        cursor.s33()
        return _SORTS[code]
    if code not in _SORTS:
        raise Unknown(f"import kind {code:#x}")
    cursor.u32()
    return _SORTS[code]
