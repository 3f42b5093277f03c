"""The JSON Schema of ocibuild.toml, made from the facts of its keys: editors complete and check what the command line knows."""

from __future__ import annotations

from typing import Any

from ocibuild.pack.configkeys import LISTS, VARIABLE, facts, words
from ocibuild.pack.options import About

_STRINGS = {"type": "array", "items": {"type": "string"}}
_SCALAR = {"type": ["string", "integer"]}
_MEANING = {
    "files": "What is packed, as FILE or FILE=PLATFORM, relative to this file; patterns and URLs too.",
    "tags": "References the image is named by.",
    "inherits": "Targets this one goes over.",
    "needs": "Targets that are made before this one.",
    "matrix": "One target of every combination: ${matrix.NAME} stands for its values.",
    "each": "One target a file that fits the pattern: ${path}, ${name} and ${stem} stand for it.",
    "default": "The value where none is said.",
    "env": "The variable of the environment that has the value.",
    "description": "What it is for.",
}


def document() -> dict[str, Any]:
    """The schema, draft 2020-12. `schemas/ocibuild.schema.json` holds it; scripts/regen writes it there."""
    options = {key: _option(entry, key) for key, entry in facts().items()}
    shared = {key: options[key] for key in facts(shared=True)}
    target = {key: {**_STRINGS, "description": _MEANING[key]} for key in LISTS} | _spread() | options
    variable = _closed({key: {"type": "string", "description": _MEANING[key]} for key in VARIABLE}, "A variable.")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:ocibuild:schema:ocibuild",
        "title": "ocibuild.toml, or [tool.ocibuild] in pyproject.toml",
        "description": "Made from ocibuild.pack.options and configkeys; ${NAME} in a string stands for a variable of [vars].",
        "type": "object",
        "required": ["schema"],
        "additionalProperties": False,
        "properties": {
            "schema": {"const": 1, "description": "The version of this format."},
            "vars": _table({"anyOf": [{"type": "string"}, variable]}, "Variables, used as ${NAME}."),
            "defaults": _closed(shared, "Options of every target."),
            "targets": _table(_closed(target, "One image."), "The images, by name."),
            "groups": _table(_STRINGS, "Names for several targets, and groups of them."),
        },
    }


def _spread() -> dict[str, Any]:
    axis = {"type": "array", "items": _SCALAR, "minItems": 1}
    return {
        "matrix": {"type": "object", "additionalProperties": axis, "description": _MEANING["matrix"]},
        "each": {"anyOf": [{"type": "string"}, _STRINGS], "description": _MEANING["each"]},
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
