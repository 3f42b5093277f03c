"""The JSON Schema of ocibuild.toml, made from Options: editors complete and check what the command line knows."""

from __future__ import annotations

from typing import Any

from ocibuild.pack.configfile import LISTS, keys, words
from ocibuild.pack.options import About, about

_STRINGS = {"type": "array", "items": {"type": "string"}}
_SCALAR = {"type": ["string", "integer"]}
_MEANING = {
    "files": "What is packed, as FILE or FILE=PLATFORM, relative to this file.",
    "tags": "References the image is named by.",
    "inherits": "Targets this one goes over.",
}


def document() -> dict[str, Any]:
    """The schema, draft 2020-12. `schemas/ocibuild.schema.json` holds it; scripts/regen writes it there."""
    options = {key: _option(about()[name], key) for key, name in keys().items()}
    target = {key: {**_STRINGS, "description": _MEANING[key]} for key in LISTS} | options
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:ocibuild:schema:ocibuild",
        "title": "ocibuild.toml, or [tool.ocibuild] in pyproject.toml",
        "description": "Made from ocibuild.pack.options; ${NAME} in a string stands for a variable of [vars].",
        "type": "object",
        "required": ["schema"],
        "additionalProperties": False,
        "properties": {
            "schema": {"const": 1, "description": "The version of this format."},
            "vars": _table({"type": "string"}, "Variables, used as ${NAME}."),
            "defaults": _closed(options, "Options of every target."),
            "targets": _table(_closed(target, "One image."), "The images, by name."),
            "groups": _table(_STRINGS, "Names for several targets."),
        },
    }


def _option(entry: About, key: str) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": "string"}
    if entry.form == "switch":
        kind = {"type": "boolean"}
    elif entry.form == "list":
        kind = {"type": "array", "items": _SCALAR}
    elif entry.form == "table":
        kind = {"type": "object", "additionalProperties": _SCALAR}
    elif key in words():
        kind = {"anyOf": [kind, _STRINGS]}
    return {**kind, "description": entry.help}


def _table(items: dict[str, Any], description: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": items, "description": description}


def _closed(properties: dict[str, Any], description: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties, "description": description}
