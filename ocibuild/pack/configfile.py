"""`ocibuild.toml`, or `[tool.ocibuild]` in pyproject.toml: what changes an image's bytes or names, kept in a file.

    schema = 1

    [vars]
    version = "1.2.0"

    [defaults]
    label = { team = "edge" }

    [targets.hello]
    files = ["target/wasm32-wasip1/release/hello.wasm"]
    tags = ["ghcr.io/me/hello:${version}"]

Keys are the command line's flags without their dashes. A target goes over those it `inherits`, and they over
`[defaults]`; tables merge, everything else replaces. Paths are relative to the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ocibuild.errors import UsageError
from ocibuild.pack import configkeys, configlines, configspread
from ocibuild.pack.configkeys import LISTS, SPREAD, TOP, keys, words
from ocibuild.pack.configlines import Place, meant
from ocibuild.pack.configspread import Spread
from ocibuild.pack.configvars import Variables
from ocibuild.pack.options import Options, Sources, Target, about

__all__ = ["LISTS", "SPREAD", "TOP", "ConfigFile", "Target", "asked", "keys", "merged", "read", "words"]

_NAMES = ("ocibuild.toml", "pyproject.toml")
_MAX_FILE = 1024 * 1024
_CONTEXT = "target:"
Said = TypeVar("Said", Options, Sources)


def asked(
    config: str | os.PathLike[str] | None,
    name: str | None,
    files: Sequence[str | os.PathLike[str]],
    tags: Sequence[str],
    options: Options,
) -> Target:
    """What is to be packed: what was said, over the target of that name in the config file.

    Raises UsageError (`usage`, and what `read` and `ConfigFile.target` raise).
    """
    if config is None:
        raise UsageError(f"there is no config file to find target {name} in", hint="add --config ocibuild.toml")
    found = read(config).target(name)
    if found.sources is not None and files:
        raise UsageError(f"target {found.name} of {config} is built from sources, and takes no files")
    said = tuple(os.fspath(file) for file in files)
    chosen = merged(found.options, options)
    return replace(found, files=said or found.files, tags=tuple(tags) or found.tags, options=chosen)


def merged(below: Said, above: Said) -> Said:
    """`above` over `below`: tables merge, lists replace, a switch is on where either is."""
    chosen: dict[str, Any] = {}
    for name, entry in about(type(below)).items():
        if value := getattr(above, name):
            pairs = getattr(below, name) if entry.form == "table" else ()
            chosen[name] = _merged_pairs(pairs, value) if entry.form == "table" else value
    return replace(below, **chosen)


def _merged_pairs(below: Iterable[str], above: Iterable[str]) -> tuple[str, ...]:
    table = {text.partition("=")[0]: text for text in (*below, *above)}
    return tuple(table.values())


def read(
    path: str | os.PathLike[str], said: Mapping[str, str] | None = None, environ: Mapping[str, str] | None = None
) -> ConfigFile:
    """Read and check a config file; a folder means the one that is in it.

    `said` are values of its variables; of `environ` are taken those that the file asks for. Raises UsageError, naming line and key: `config-missing`, `config-twice` (ocibuild.toml and pyproject.toml both have
    one), `config-invalid`, `config-key-unknown`.
    """
    file = _found(Path(path))
    text = _text(file)
    document = _section(file, configlines.parse(text, str(file)))
    if document is None:
        raise UsageError(
            f"{file} has no [tool.ocibuild]", code="config-missing", hint="add [tool.ocibuild] with schema = 1"
        )
    for other in _NAMES:
        beside = file.with_name(other)
        if file.name in _NAMES and other != file.name and _has_section(beside):
            raise UsageError(
                f"{file} and {beside} both configure ocibuild", code="config-twice", hint="keep one of them"
            )
    config = ConfigFile(file, text, document, said, environ)
    config.check()
    return config


def _found(path: Path) -> Path:
    if not path.is_dir():
        return path
    there = [path / name for name in _NAMES if _has_section(path / name)]
    return there[0] if there else path / _NAMES[0]


def _has_section(path: Path) -> bool:
    return path.is_file() and _section(path, configlines.parse(_text(path), str(path))) is not None


def _section(path: Path, document: dict[str, Any]) -> dict[str, Any] | None:
    if path.name != "pyproject.toml":
        return document
    tools = document.get("tool")
    section = tools.get("ocibuild") if isinstance(tools, dict) else None
    return section if isinstance(section, dict) else None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
        if len(data) > _MAX_FILE:
            raise UsageError(f"{path} is larger than {_MAX_FILE} bytes", code="config-invalid")
        return data.decode("utf-8")
    except OSError as error:
        raise UsageError(
            f"config file {path} cannot be read: {error.strerror}",
            code="config-missing",
            hint="--config takes its path; ocibuild init writes a first one",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", code="config-invalid") from error


class ConfigFile:
    """A config file that was read. `targets` are the names one can pack, `groups` names for several of them."""

    def __init__(
        self,
        path: Path,
        text: str,
        document: dict[str, Any],
        said: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.place = Place(path, text)
        self._document = document
        self._said, self._environ = said or {}, environ or {}
        self._patterns: dict[str, None] = {}

    def check(self) -> None:
        """Hold every key and value against what there may be. Raises UsageError."""
        configkeys.check(self._document, self.place)

    @cached_property
    def _variables(self) -> Variables:
        return Variables(self._document.get("vars", {}), self._said, self._environ, self.place)

    @cached_property
    def _spread(self) -> dict[str, Spread]:
        return configspread.spread(self._document.get("targets", {}), self._variables, self.place, self._patterns)

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of files that were looked for until now, relative to the current folder."""
        return tuple(self._placed(text) for text in self._patterns)

    @property
    def targets(self) -> tuple[str, ...]:
        """In the order of the file, matrices and globs spread out."""
        return tuple(self._spread)

    def table(self, name: str) -> str:
        """The key of the table that a target came of."""
        return self._spread[name].table

    def has(self, name: str, key: str) -> bool:
        """True where the target's own table says this."""
        return key in self._document["targets"][self.table(name)]

    def origin(self, table: str, key: str) -> tuple[str, ...]:
        """Where a table has a key from: itself, the last of those that it inherits and say it, or `[defaults]`."""
        own = self._document["targets"][table]
        if key in own:
            return ("targets", table, key)
        for parent in reversed(own.get("inherits", ())):
            if (found := self.origin(parent, key))[0] == "targets":
                return found
        return ("defaults", key)

    @cached_property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The targets in each group, once each; a table that makes several targets is a group of them."""
        tables = dict.fromkeys(spread.table for spread in self._spread.values())
        made = {table: tuple(one.name for one in self._spread.values() if one.table == table) for table in tables}
        several = {table: names for table, names in made.items() if names != (table,)} if self._is_spread else {}
        return {**several, **{name: tuple(dict.fromkeys(self._members(name, (), several))) for name in self._grouped}}

    @property
    def _is_spread(self) -> bool:
        return len(self._spread) != len(self._document.get("targets", {})) or any(
            name != one.table for name, one in self._spread.items()
        )

    @property
    def _grouped(self) -> dict[str, list[str]]:
        return self._document.get("groups", {})  # type: ignore[no-any-return]

    def _members(self, name: str, outer: tuple[str, ...], several: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
        if name in outer:
            self.place.fail(f"leads back to itself, by way of {' and '.join(outer)}", ("groups", name))
        for member in self._grouped[name]:
            if member in self._grouped:
                yield from self._members(member, (*outer, name), several)
            elif member in several:
                yield from several[member]
            elif member in self._spread:
                yield member
            else:
                known = (*self._spread, *several, *self._grouped)
                self.place.fail(f"names {member!r}, which is no target", ("groups", name), hint=meant(member, known))

    def target(self, name: str | None = None) -> Target:
        """One target, with what it inherits; without a name the only one there is.

        Raises UsageError (`config-target-missing`, `config-target-unknown`, `config-invalid`, `config-variable-unknown`,
        `config-variable-unset`, `config-glob-empty`).
        """
        name = self._only() if name is None else name
        if name not in self._spread:
            what = "is a group: pack takes one target" if name in self.groups else "is no target"
            raise UsageError(
                f"{name!r} {what} in {self.path}",
                code="config-target-unknown",
                hint=meant(name, self.groups.get(name) or self.targets),
            )
        spread = self._spread[name]
        own = self._inherited(spread.table, ())
        if spread.path is not None and "files" not in own and "build" not in own:
            own["files"] = ["${path}"]
        table = _merged_tables(self._document.get("defaults", {}), own)
        values = {key: self._value(key, table[key], spread) for key in table if key not in ("inherits", *SPREAD)}
        options = Options(**{field: values[key] for key, field in keys().items() if key in values})
        options = replace(options, add=tuple(self._placed(text) for text in options.add))
        sources = self._sources(own, values, spread)
        files = tuple(path for text in values.get("files", ()) for path in self._files(text, spread))
        needs = [*values.get("needs", ()), *self._contexts_of(sources)]
        return Target(files, tuple(values.get("tags", ())), options, sources, tuple(dict.fromkeys(needs)), spread.name)

    def _sources(self, own: Mapping[str, Any], values: Mapping[str, Any], spread: Spread) -> Sources | None:
        fields = keys(Sources)
        at = ("targets", spread.table)
        if "build" not in own:
            if said := next((key for key in own if key in fields), None):
                self.place.fail("is for a target with build", (*at, said), hint='add build = "DIR", or take it out')
            return None
        if "files" in own:
            self.place.fail("stands beside build: a target is packed from files or built", (*at, "files"))
        sources = Sources(**{field: values[key] for key, field in fields.items() if key in values})
        contexts = tuple(self._context(text) for text in sources.build_context)
        dockerfile = sources.dockerfile and self._placed(sources.dockerfile)
        return replace(sources, build=self._placed(sources.build or "."), dockerfile=dockerfile, build_context=contexts)

    def _context(self, text: str) -> str:
        name, _, where = text.partition("=")
        return text if ":" in where else f"{name}={self._placed(where)}"

    def _contexts_of(self, sources: Sources | None) -> list[str]:
        places = [text.partition("=")[2] for text in sources.build_context] if sources is not None else []
        return [place.removeprefix(_CONTEXT) for place in places if place.startswith(_CONTEXT)]

    def _files(self, text: str, spread: Spread) -> list[str]:
        """A file, or those that a pattern finds."""
        placed = self._placed(text)
        if not configspread.is_pattern(text) or os.path.lexists(placed) or "://" in text:
            return [placed]
        self._patterns[text] = None
        found = configspread.matching(text, self.path.parent)
        if not found:
            raise configspread.nothing_fits(text, ("targets", spread.table, "files"), self.place)
        return [self._placed(path) for path in found]

    def _only(self) -> str:
        if len(self.targets) != 1:
            said = f"has {len(self.targets)} targets" if self.targets else "has no [targets.NAME]"
            raise UsageError(
                f"{self.path} {said}, and none was chosen",
                code="config-target-missing",
                hint=f"add --target {self.targets[0]}"
                if self.targets
                else "add a table [targets.NAME] with files = […]",
            )
        return self.targets[0]

    def _inherited(self, name: str, children: tuple[str, ...]) -> dict[str, Any]:
        own = self._document["targets"][name]
        if name in children:
            way = " and ".join(children)
            self.place.fail(f"leads back to itself, by way of {way}", ("targets", name, "inherits"))
        table: dict[str, Any] = {}
        for parent in own.get("inherits", ()):
            table = _merged_tables(table, self._inherited(parent, (*children, name)))
        return _merged_tables(table, own)

    def _value(self, key: str, value: Any, spread: Spread) -> Any:
        """A checked value as Options wants it, variables filled in."""
        at = ("targets", spread.table, key)

        def filled(text: object) -> str:
            return self._variables.fill(str(text), at, spread.own)

        if isinstance(value, Mapping):
            return tuple(f"{name}={filled(item)}" for name, item in value.items())
        if isinstance(value, list):
            items = tuple(filled(item) for item in value)
            return json.dumps(items, ensure_ascii=False) if key in _WORDS else items
        return filled(value) if isinstance(value, str) else value

    def _placed(self, path: str) -> str:
        folder = str(self.path.parent)
        return path if "://" in path or folder == "." else os.path.join(folder, path)


_WORDS = words()


def _merged_tables(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    table = dict(below)
    for key, value in above.items():
        other = table.get(key)
        table[key] = {**other, **value} if isinstance(value, dict) and isinstance(other, dict) else value
    return table
