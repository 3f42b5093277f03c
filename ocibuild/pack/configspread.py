"""One table, many targets: a matrix makes one of every combination, `each` one of every file that is there."""

from __future__ import annotations

import glob
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ocibuild.errors import UsageError
from ocibuild.pack.configlines import Place
from ocibuild.pack.configvars import Variables
from ocibuild.record import record


@record
class Spread:
    """A target as it came of a table: its name, the table's, and what `${…}` stands for in it."""

    name: str
    table: str
    own: Mapping[str, str]

    @property
    def path(self) -> str | None:
        """The file of `each`, as the config file would name it."""
        return self.own.get("path")


def spread(
    tables: Mapping[str, Any], variables: Variables, place: Place, patterns: dict[str, None]
) -> dict[str, Spread]:
    """Every target by its name, in the file's order; the patterns that were looked for go into `patterns`. Raises UsageError (`config-invalid`, `config-glob-empty`)."""
    found: dict[str, Spread] = {}
    for key, table in tables.items():
        several = "matrix" in table or "each" in table
        for own in _combinations(key, table, variables, place, patterns) if several else [{}]:
            name = _name(key, own, variables)
            if name in found:
                other = found[name].table
                whose = "twice of this table" if other == key else f"of targets.{other} too"
                place.fail(f"makes a target {name!r}, which comes {whose}", ("targets", key))
            found[name] = Spread(name, key, {**own, "target": name})
    return found


def _name(key: str, own: Mapping[str, str], variables: Variables) -> str:
    """The table's name as a template; where it is none, what tells this target from its siblings stands behind it."""
    filled = variables.fill(key, ("targets", key), own)
    if filled != key or not own:
        return filled
    return "-".join([key, *(value for name, value in own.items() if name.startswith("matrix.") or name == "stem")])


def _combinations(
    key: str, table: Mapping[str, Any], variables: Variables, place: Place, patterns: dict[str, None]
) -> Iterator[dict[str, str]]:
    at = ("targets", key, "matrix")
    axes = [
        [(f"matrix.{name}", variables.fill(str(item), (*at, name))) for item in items]
        for name, items in table.get("matrix", {}).items()
    ]
    for values in itertools.product(*axes):
        own = dict(values)
        if "each" not in table:
            yield own
            continue
        at_each = ("targets", key, "each")
        given = [table["each"]] if isinstance(table["each"], str) else table["each"]
        asked = [variables.fill(text, at_each, own) for text in given]
        patterns |= dict.fromkeys(asked)
        for path in _each(asked, place, at_each):
            name = os.path.basename(path)
            yield {**own, "path": path, "name": name, "stem": name.rpartition(".")[0] or name}


def _each(patterns: list[str], place: Place, at: tuple[str, ...]) -> list[str]:
    found: dict[str, None] = {}
    for pattern in patterns:
        matched = matching(pattern, place.path.parent)
        if not matched:
            raise nothing_fits(pattern, at, place)
        found |= dict.fromkeys(matched)
    return list(found)


def matching(pattern: str, folder: Path) -> list[str]:
    """What is there of a pattern, sorted, as paths relative to `folder`; `**` goes into folders, `NAME/` are folders."""
    found = glob.glob(pattern, root_dir=folder, recursive=True)
    return sorted(path.rstrip("/").replace(os.sep, "/") for path in found)


def nothing_fits(pattern: str, at: tuple[str, ...], place: Place) -> UsageError:
    """The error for a pattern that finds nothing."""
    return UsageError(
        place.told(f"finds nothing that fits {pattern}", at),
        code="config-glob-empty",
        hint="build the files first; the pattern is relative to this file",
    )


def is_pattern(text: str) -> bool:
    """True for text that names no file as it is, and may mean several."""
    return glob.has_magic(text)
