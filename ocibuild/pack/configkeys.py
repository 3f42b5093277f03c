"""The keys of ocibuild.toml: what may stand where, and of which kind its value is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NoReturn

from ocibuild.errors import UsageError
from ocibuild.pack.configlines import Place, meant
from ocibuild.pack.options import About, Options, Sources, about

TOP = ("schema", "vars", "defaults", "targets", "groups")
LISTS = ("files", "tags", "inherits", "needs")
SPREAD = ("matrix", "each")
"""What a target has besides options: lists of strings, and what makes several targets of one."""

VARIABLE = ("default", "env", "description")
FILE_NAMES = ("target", "path", "name", "stem")
"""What stands for the target, and in a target with `each` for its file; no variable may be called so there."""

_ONE_TARGETS = ("build", "dockerfile", "target", "program")
"""Of Sources, what no default makes sense for."""


@cache
def keys(kind: type[Options] | type[Sources] = Options) -> dict[str, str]:
    """Each option's key in the file, and its field: `stop-signal` is `stop_signal`, `for` is `consumer`."""
    return {entry.flags[-1].lstrip("-"): name for name, entry in about(kind).items()}


def facts(*, shared: bool = False) -> dict[str, About]:
    """Each option by its key; those of `[defaults]` where they are to be `shared`."""
    found = {key: about()[name] for key, name in keys().items()}
    for key, name in keys(Sources).items():
        if not shared or key not in _ONE_TARGETS:
            found[key] = about(Sources)[name]
    return found


def words() -> set[str]:
    """The keys that take an array of words as well as a string."""
    return {key for key, entry in facts().items() if entry.metavar == "WORDS"}


def check(document: Mapping[str, Any], place: Place) -> None:
    """Hold every key and value against what there may be. Raises UsageError (`config-invalid`, `config-key-unknown`)."""
    _Check(document, place).whole()


class _Check:
    def __init__(self, document: Mapping[str, Any], place: Place) -> None:
        self._document = document
        self._place = place
        self._targets: Mapping[str, Any] = {}
        self._facts = {False: facts(), True: facts(shared=True)}

    def whole(self) -> None:
        document = self._document
        self._known(document, TOP)
        if document.get("schema") != 1 or isinstance(document.get("schema"), bool):
            self._place.fail("must be 1", ("schema",), hint="begin the file with: schema = 1")
        for name in TOP[1:]:
            self._table(document.get(name, {}), name)
        self._targets = document.get("targets", {})
        for name, value in document.get("vars", {}).items():
            self._variable(value, "vars", name)
        self._options(document.get("defaults", {}), ("defaults",), shared=True)
        for name, table in self._targets.items():
            self._table(table, "targets", name)
            self._options(table, ("targets", name))
            self._members(table.get("inherits", []), self._targets, "targets", name, "inherits")
        groups = document.get("groups", {})
        for name, members in groups.items():
            self._strings(members, (str,), "groups", name)
            if name in self._targets:
                self._place.fail("is called like a target", ("groups", name), hint="give it another name")
            if not self._spreads:
                self._members(members, {**self._targets, **groups}, "groups", name)

    @property
    def _spreads(self) -> bool:
        """True where names are known only once matrices and globs are spread out."""
        return any("matrix" in table or "each" in table for table in self._targets.values())

    def _variable(self, value: Any, *at: str) -> None:
        if at[-1] == "target" or (self._spreads and at[-1] in FILE_NAMES):
            self._place.fail(f"is taken: ${{{at[-1]}}} is the target's own", at, hint="give it another name")
        if isinstance(value, dict):
            self._known(value, VARIABLE, *at)
            for key, item in value.items():
                self._of(item, (str,), "a string", *at, key)
        else:
            self._of(value, (str,), "a string", *at)

    def _options(self, table: Mapping[str, Any], at: tuple[str, ...], *, shared: bool = False) -> None:
        known = self._facts[shared]
        self._known(table, known if shared else (*LISTS, *SPREAD, *known), *at)
        for key, value in table.items():
            if key in LISTS:
                self._strings(value, (str,), *at, key)
            elif key == "matrix":
                self._table(value, *at, key)
                for name, items in value.items():
                    self._strings(items, (str, int), *at, key, name)
                    if not items:
                        self._wrong("is empty: that makes no target", *at, key, name)
            elif key == "each":
                if isinstance(value, list):
                    self._strings(value, (str,), *at, key)
                else:
                    self._of(value, (str,), "a pattern, or an array of them", *at, key)
            else:
                self._option(known[key], value, (*at, key))

    def _option(self, entry: About, value: Any, at: tuple[str, ...]) -> None:
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

    def _members(self, members: Iterable[str], known: Mapping[str, Any], *at: str) -> None:
        for member in members:
            if member not in known:
                self._place.fail(f"names {member!r}, which is no target", at, hint=meant(member, tuple(known)))

    def _known(self, table: Mapping[str, Any], names: Iterable[str], *at: str) -> None:
        for key in table:
            if key not in names:
                hint = meant(key, tuple(names)) or "ocibuild pack --help lists the options"
                raise UsageError(self._place.told("is not known", (*at, key)), code="config-key-unknown", hint=hint)

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
        self._place.fail(what, at)
