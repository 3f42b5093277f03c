"""The published JSON Schemas (draft 2020-12), and validation against them.

OCI's documents (`descriptor`, `manifest`, `index`, `config`, `layout`) and our own (`ocibuild`: the config file;
`inspect`, `check`, `tree`: what these verbs print with --json). They ship with the package; nothing is fetched.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocibuild.errors import ContentError, UsageError

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

_SUFFIX = ".schema.json"
_REFERENCED = "descriptor"


def names() -> list[str]:
    """The schemas there are."""
    return sorted(entry.name.removesuffix(_SUFFIX) for entry in _folder().iterdir() if entry.name.endswith(_SUFFIX))


@cache
def load(name: str) -> dict[str, Any]:
    """The schema of that name. Raises UsageError (`schema-unknown`)."""
    if name not in names():
        raise UsageError(f"there is no schema {name!r}", code="schema-unknown", hint=f"there are {', '.join(names())}")
    document: dict[str, Any] = json.loads((_folder() / f"{name}{_SUFFIX}").read_text(encoding="utf-8"))
    return document


def validate(document: Any, name: str) -> None:
    """Hold a parsed document against a schema.

    Raises ContentError (`schema-violated`), which names the member that is wrong and what was expected of it, and
    UsageError (`schema-unknown`).
    """
    from jsonschema.exceptions import best_match

    error = best_match(_validator(name).iter_errors(document))
    if error is not None:
        where = error.json_path.removeprefix("$").removeprefix(".") or "the document"
        raise ContentError(f"this is no valid {name}: {where}: {error.message[:300]}", code="schema-violated")


@cache
def _validator(name: str) -> Validator:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    shared: Resource[Any] = Resource.from_contents(load(_REFERENCED))
    registry: Registry[Any] = Registry().with_resource(load(_REFERENCED)["$id"], shared)
    return Draft202012Validator(load(name), registry=registry)


def _folder() -> Traversable:
    # Inside the package once it is installed; at the top of a checkout.
    installed = files("ocibuild") / "schemas"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "schemas"
