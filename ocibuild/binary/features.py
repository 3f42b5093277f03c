"""Proposals beyond WebAssembly 1.0 that the headers of a file prove it uses; bodies are not read.

The names are those of WebAssembly's proposals. A feature is listed only where the file cannot be had without it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ocibuild.binary.entity import Export, Import, MemoryLimits, Unknown, skip_table_type, skip_value_type
from ocibuild.binary.extent import Cursor
from ocibuild.errors import InputError

_LOOKED_AT = 64 * 1024


def features_of_types(kind: str, body: Cursor) -> set[str]:
    """What a `type` or `table` section shows in its first 64 KiB. What is new there ends the look, and is no error."""
    features: set[str] = set()
    body = body.part(min(body.left, _LOOKED_AT))
    try:
        count = body.u32()
        if kind == "table" and count > 1:
            features.add("reference-types")
        for _ in range(count):
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
    elif form == 0x5D:
        features.add("stack-switching")
        cursor.s33()
    elif form in (0x5E, 0x5F):
        features.add("gc")
        for _ in range(1 if form == 0x5E else cursor.u32()):
            skip_value_type(cursor, features)
            cursor.byte()
    else:
        raise Unknown(f"type form {form:#x}")


def features_of_memories(memories: list[MemoryLimits]) -> set[str]:
    """What the limits of all memories of a module show."""
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


def features_of_names(entries: Iterable[Import | Export]) -> set[str]:
    """What the canonical ABI's names for asynchronous functions show (component-model, CanonicalABI.md)."""
    marks = ("[async-lift]", "[async-lower]", "[task-return]", "[async]", "[async method]", "[async static]")
    return {"component-model-async"} if any(entry.name.startswith(marks) for entry in entries) else set()
