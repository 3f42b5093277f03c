"""The custom sections in which a module or component describes itself.

tool-conventions: ProducersSection.md and the target features of Linking.md; the `name` section of the WebAssembly
Core Specification's appendix; the texts that wasm-metadata defines (`authors`, `description`, `licenses`, `source`,
`homepage`, `revision`, `version`), one UTF-8 string a section, whose keys are those of OCI's pre-defined annotations.
"""

from __future__ import annotations

from ocibuild.binary.extent import Cursor
from ocibuild.record import field, record, replace

TEXTS = frozenset({"authors", "description", "licenses", "source", "homepage", "revision", "version"})

_MAX_TEXT = 64 * 1024
_MAX_TOOLS = 1000


@record
class Metadata:
    """What the file says of itself; `None` where it says nothing.

    `producers` holds, in the file's order, `(field, ((tool, version), ...))` for the fields `language`,
    `processed-by` and `sdk`.
    """

    name: str | None = None
    version: str | None = None
    description: str | None = None
    licenses: str | None = None
    source: str | None = None
    homepage: str | None = None
    revision: str | None = None
    authors: str | None = None
    producers: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = field(default=())

    def produced(self, field_name: str) -> tuple[tuple[str, str], ...]:
        """The tools under one field of the producers section, with their versions."""
        return dict(self.producers).get(field_name, ())


def read_metadata(section: str, cursor: Cursor, known: Metadata) -> Metadata:
    """`known`, and what the custom section called `section` adds to it. Raises InputError where it is damaged."""
    if section in TEXTS:
        if cursor.left > _MAX_TEXT:
            raise cursor.wrong(f"a {section} of {cursor.left} bytes")
        text = cursor.take(cursor.left).decode("utf-8", "replace")
        return _with_text(known, section, text)
    if section in ("name", "component-name"):
        name = _read_name(cursor)
        return known if name is None else replace(known, name=name)
    if section == "producers":
        return replace(known, producers=_read_producers(cursor))
    return known


def _with_text(known: Metadata, section: str, text: str) -> Metadata:
    match section:
        case "authors":
            return replace(known, authors=text)
        case "description":
            return replace(known, description=text)
        case "licenses":
            return replace(known, licenses=text)
        case "source":
            return replace(known, source=text)
        case "homepage":
            return replace(known, homepage=text)
        case "revision":
            return replace(known, revision=text)
        case _:
            return replace(known, version=text)


def _read_name(cursor: Cursor) -> str | None:
    # Subsections stand in the order of their ids, and 0 is the name of the whole.
    if cursor.left and cursor.byte() == 0:
        return cursor.part(cursor.u32()).name()
    return None


def _read_producers(cursor: Cursor) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    fields: dict[str, tuple[tuple[str, str], ...]] = {}
    for _ in range(cursor.count()):
        name = cursor.name()
        count = cursor.count()
        if count > _MAX_TOOLS or len(fields) > _MAX_TOOLS:
            raise cursor.wrong(f"{count} tools in one list of producers")
        fields[name] = tuple((cursor.name(), cursor.name()) for _ in range(count))
    return tuple(fields.items())


def read_target_features(cursor: Cursor) -> tuple[str, ...]:
    """The features that a toolchain marked as used (`+`) or required (`=`), by LLVM's names."""
    features = []
    for _ in range(cursor.count()):
        cursor.keep()
        prefix, name = cursor.byte(), cursor.name()
        if prefix in (0x2B, 0x3D):
            features.append(name)
    return tuple(features)
