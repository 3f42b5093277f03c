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
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from ocibuild.errors import UsageError
from ocibuild.pack import configlines
from ocibuild.pack.options import About, Options, Target, about

TOP = ("schema", "vars", "defaults", "targets", "groups")
LISTS = ("files", "tags", "inherits")
"""What a target has besides options."""

_NAMES = ("ocibuild.toml", "pyproject.toml")
_MAX_FILE = 1024 * 1024
_VARIABLE = re.compile(r"\$\$|\$\{([^{}]*)\}")


def keys() -> dict[str, str]:
    """Each option's key in the file, and its field: `stop-signal` is `stop_signal`, `for` is `consumer`."""
    return {entry.flags[-1].lstrip("-"): name for name, entry in about().items()}


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
    said = tuple(os.fspath(file) for file in files)
    return Target(said or found.files, tuple(tags) or found.tags, merged(found.options, options))


def merged(below: Options, above: Options) -> Options:
    """`above` over `below`: tables merge, lists replace, a switch is on where either is."""
    chosen: dict[str, Any] = {}
    for name, entry in about().items():
        if value := getattr(above, name):
            pairs = getattr(below, name) if entry.form == "table" else ()
            chosen[name] = _merged_pairs(pairs, value) if entry.form == "table" else value
    return replace(below, **chosen)


def _merged_pairs(below: Iterable[str], above: Iterable[str]) -> tuple[str, ...]:
    table = {text.partition("=")[0]: text for text in (*below, *above)}
    return tuple(table.values())


def read(path: str | os.PathLike[str]) -> ConfigFile:
    """Read and check a config file; a folder means the one that is in it.

    Raises UsageError, naming line and key: `config-missing`, `config-twice` (ocibuild.toml and pyproject.toml both have
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
    config = ConfigFile(file, text, document)
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
            hint="--config takes its path",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", code="config-invalid") from error


class ConfigFile:
    """A config file that was read. `targets` are the names one can pack, `groups` names for several of them."""

    def __init__(self, path: Path, text: str, document: dict[str, Any]) -> None:
        self.path = path
        self._text = text
        self._document = document
        self._prefix = ("tool", "ocibuild") if path.name == "pyproject.toml" else ()

    @property
    def targets(self) -> tuple[str, ...]:
        """In the order of the file."""
        return tuple(self._document.get("targets", {}))

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The targets in each group."""
        return {name: tuple(members) for name, members in self._document.get("groups", {}).items()}

    def target(self, name: str | None = None) -> Target:
        """One target, with what it inherits; without a name the only one there is.

        Raises UsageError (`config-target-missing`, `config-target-unknown`, `config-invalid`, `config-variable-unknown`).
        """
        name = self._only() if name is None else name
        if name not in self.targets:
            what = "is a group: pack takes one target" if name in self.groups else "is no target"
            raise UsageError(
                f"{name!r} {what} in {self.path}",
                code="config-target-unknown",
                hint=_meant(name, self.groups.get(name) or self.targets),
            )
        table = self._inherited(name, ())
        values = {key: self._value(key, table[key], ("targets", name, key)) for key in table if key != "inherits"}
        fields = keys()
        options = Options(**{fields[key]: value for key, value in values.items() if key in fields})
        options = replace(options, add=tuple(self._placed(text) for text in options.add))
        files = tuple(self._placed(text) for text in values.get("files", ()))
        return Target(files, tuple(values.get("tags", ())), options)

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
            self._wrong(f"leads back to itself, by way of {' and '.join(children)}", "targets", name, "inherits")
        table = dict(self._document.get("defaults", {})) if not children else {}
        for parent in own.get("inherits", ()):
            table = _merged_tables(table, self._inherited(parent, (*children, name)))
        return _merged_tables(table, own)

    def _value(self, key: str, value: Any, at: tuple[str, ...]) -> Any:
        """A checked value as Options wants it, variables filled in."""
        if isinstance(value, Mapping):
            return tuple(f"{name}={self._filled(str(item), at)}" for name, item in value.items())
        if isinstance(value, list):
            filled = tuple(self._filled(str(item), at) for item in value)
            return json.dumps(filled, ensure_ascii=False) if key in words() else filled
        return self._filled(value, at) if isinstance(value, str) else value

    def _filled(self, text: str, at: tuple[str, ...]) -> str:
        variables = self._document.get("vars", {})

        def fill(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "$"  # $$
            if name not in variables:
                self._fail(
                    f"${{{name}}} is not in [vars]", at, "config-variable-unknown",
                    _meant(name, tuple(variables)) or f"add {name} to [vars], or write $${{{name}}} for the text itself",
                )  # fmt: skip
            return str(variables[name])

        return _VARIABLE.sub(fill, text)

    def _placed(self, path: str) -> str:
        return os.path.join(self.path.parent, path)

    def check(self) -> None:
        """Hold every key and value against what there may be. Raises UsageError."""
        document = self._document
        self._known(document, TOP)
        if document.get("schema") != 1 or isinstance(document.get("schema"), bool):
            self._fail("must be 1", ("schema",), "config-invalid", "begin the file with: schema = 1")
        for name in TOP[1:]:
            self._table(document.get(name, {}), name)
        for name, value in document.get("vars", {}).items():
            self._of(value, (str,), "a string", "vars", name)
        self._check_options(document.get("defaults", {}), ("defaults",))
        for name, table in document.get("targets", {}).items():
            self._table(table, "targets", name)
            self._check_options(table, ("targets", name), LISTS)
            self._check_members(table.get("inherits", []), "targets", name, "inherits")
        for name, members in document.get("groups", {}).items():
            self._strings(members, (str,), "groups", name)
            self._check_members(members, "groups", name)

    def _check_options(self, table: Mapping[str, Any], at: tuple[str, ...], lists: tuple[str, ...] = ()) -> None:
        fields, facts = keys(), about()
        self._known(table, (*lists, *fields), *at)
        for key, value in table.items():
            if key in lists:
                self._strings(value, (str,), *at, key)
            else:
                self._check_option(facts[fields[key]], value, (*at, key))

    def _check_option(self, entry: About, value: Any, at: tuple[str, ...]) -> None:
        if entry.form == "switch":
            self._of(value, (bool,), "true or false", *at)
        elif entry.form == "list":
            self._strings(value, (str, int), *at)
        elif entry.form == "table":
            self._table(value, *at)
            for name, item in value.items():
                self._of(item, (str, int), "a string", *at, name)
        elif entry.metavar == "WORDS" and isinstance(value, list):
            self._strings(value, (str,), *at)
        else:
            self._of(value, (str,), "a string, in quotes", *at)

    def _check_members(self, members: Iterable[str], *at: str) -> None:
        for member in members:
            if member not in self.targets:
                self._fail(f"names {member!r}, which is no target", at, "config-invalid", _meant(member, self.targets))

    def _known(self, table: Mapping[str, Any], names: Iterable[str], *at: str) -> None:
        for key in table:
            if key not in names:
                hint = _meant(key, tuple(names)) or "ocibuild pack --help lists the options"
                self._fail("is not known", (*at, key), "config-key-unknown", hint)

    def _table(self, value: Any, *at: str) -> None:
        if not isinstance(value, dict):
            self._wrong("is not a table", *at)

    def _strings(self, value: Any, kinds: tuple[type, ...], *at: str) -> None:
        if not isinstance(value, list):
            self._wrong("is not an array of strings", *at)
        for item in value:
            self._of(item, kinds, "an array of strings", *at)

    def _of(self, value: Any, kinds: tuple[type, ...], expected: str, *at: str) -> None:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self._wrong(f"is not {expected}", *at)

    def _wrong(self, what: str, *at: str) -> NoReturn:
        self._fail(what, at, "config-invalid", None)

    def _fail(self, what: str, at: tuple[str, ...], code: str, hint: str | None) -> NoReturn:
        line = configlines.line_of(self._text, (*self._prefix, *at))
        where = f"{self.path}:{line}" if line else str(self.path)
        raise UsageError(f"{where}: {'.'.join(at)} {what}", code=code, hint=hint)


def words() -> set[str]:
    """The keys that take an array of words as well as a string."""
    facts = about()
    return {key for key, name in keys().items() if facts[name].metavar == "WORDS"}


def _merged_tables(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    table = dict(below)
    for key, value in above.items():
        other = table.get(key)
        table[key] = {**other, **value} if isinstance(value, dict) and isinstance(other, dict) else value
    return table


def _meant(word: str, known: Sequence[str]) -> str | None:
    import difflib

    near = difflib.get_close_matches(word.replace("_", "-"), known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"there are {', '.join(known)}" if known and len(known) < 10 else None
