"""Records are what `dataclass(frozen=True)` makes, judged by it: the same class both ways, the same answers."""

from __future__ import annotations

import dataclasses
import pickle
import re
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from ocibuild import record as records
from ocibuild.record import record


def made(decorate: Callable[[type], type], field: Callable[..., Any]) -> tuple[type, type, type]:
    class Base:
        name: str
        size: int = 7
        table: dict[str, int] = field(default_factory=dict, compare=False)
        secret: str = field(default="s", repr=False)

        @cached_property
        def twice(self) -> int:
            return self.size * 2

    class Nothing:
        pass

    base = decorate(Base)

    class Below(base):  # type: ignore[misc, valid-type]
        more: tuple[int, ...] = ()

    return base, decorate(Below), decorate(Nothing)


RECORD = made(record, records.field)
DATACLASS = made(dataclass(frozen=True), dataclasses.field)

USES: dict[str, Callable[[Any, Any, Any], object]] = {
    "by place": lambda base, below, nothing: asdict(base("a", 1)),
    "by name": lambda base, below, nothing: asdict(base(size=1, name="a")),
    "defaults": lambda base, below, nothing: asdict(below("a")),
    "below": lambda base, below, nothing: asdict(below("a", 1, {}, "x", (2,))),
    "shown": lambda base, below, nothing: repr(base("a")),
    "nothing shown": lambda base, below, nothing: repr(nothing()),
    "equal": lambda base, below, nothing: (base("a", 1) == base("a", 1, {"x": 1}), base("a") == base("b")),
    "another class": lambda base, below, nothing: (base("a") == below("a"), base("a") == "a"),
    "nothing equal": lambda base, below, nothing: (nothing() == nothing(), nothing() == base("a")),
    "hashed": lambda base, below, nothing: (hash(base("a")) == hash(base("a", 7)), len({base("a"), base("a")})),
    "replaced": lambda base, below, nothing: asdict(replace(below("a", more=(1,)), name="b")),
    "fields": lambda base, below, nothing: [(one.name, one.repr, one.compare) for one in fields(below)],
    "cached": lambda base, below, nothing: (one := base("a", 4)).twice + one.twice,
    "own tables": lambda base, below, nothing: base("a").table is base("a").table,
    "matched": lambda base, below, nothing: below.__match_args__,
    "set": lambda base, below, nothing: setattr(base("a"), "name", "b"),
    "deleted": lambda base, below, nothing: delattr(base("a"), "name"),
    "too many": lambda base, below, nothing: base("a", 1, {}, "s", 5),
    "too few": lambda base, below, nothing: base(),
    "unknown": lambda base, below, nothing: base("a", other=1),
    "twice": lambda base, below, nothing: base("a", name="a"),
    "given twice and too few": lambda base, below, nothing: below("a", 1, {}, other=3),
    "replaced unknown": lambda base, below, nothing: replace(base("a"), other=1),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_record_answers_as_the_dataclass_of_the_same_class_does(use: Callable[..., object]) -> None:
    def outcome(classes: tuple[type, type, type]) -> object:
        try:
            return use(*classes)
        except (FrozenInstanceError, TypeError) as error:
            return type(error)

    assert outcome(RECORD) == outcome(DATACLASS)


@record
class Pair:
    one: int
    two: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "a pair"


def test_a_record_can_be_pickled_and_keeps_methods_of_its_own() -> None:
    there_and_back = pickle.loads(pickle.dumps(Pair(1, ("a",))))
    assert there_and_back == Pair(1, ("a",))
    assert repr(there_and_back) == "a pair"


def test_replacing_is_what_the_standard_library_does() -> None:
    below = RECORD[1]("a", 1, {"x": 1}, more=(1,))
    assert records.replace(below, name="b") == replace(below, name="b") != below
    with pytest.raises(TypeError, match="no field other"):
        records.replace(below, other=1)


def test_no_record_has_a_field_of_dataclasses_own() -> None:
    """It would be taken for the field's default, and no type checker says so."""
    package = Path(records.__file__).parent
    texts = {path: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    using = [path for path, text in texts.items() if re.search(r"^@record$", text, re.MULTILINE)]
    assert len(using) > 20
    assert not [
        path for path in using if re.search(r"^from dataclasses import .*\bfields?\b", texts[path], re.MULTILINE)
    ]
