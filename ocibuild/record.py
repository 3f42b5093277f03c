"""Records: frozen dataclasses of which nothing is compiled, so that a class costs a fortieth of one.

`dataclass(frozen=True)` writes and compiles six functions for every class. For the nouns that a pack needs this was more
work than all else that `ocibuild pack` does, the start of Python included. Records share their methods instead, and
`dataclasses` is not even loaded for them; its `fields`, `replace` and `asdict` work on records all the same. An instance
costs half a microsecond more to make. Mutable classes, slots and orders are left to `dataclass` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from operator import attrgetter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from dataclasses import replace
else:

    def replace(one, /, **changes):
        """A copy of a record with other values in some fields. Raises TypeError for a field that there is not."""
        values = one.__dict__
        return one.__class__(**({name: values[name] for name in one.__record__.names} | changes))


__all__ = ["Field", "field", "fields", "record", "replace"]

_T = TypeVar("_T")
_NONE: Any = object()


class Field:
    """What is known of a field beside its name and type; in the words of `dataclasses.Field`."""

    __slots__ = ("compare", "default", "default_factory", "metadata", "name", "repr")

    def __init__(
        self,
        default: Any = _NONE,
        default_factory: Callable[[], Any] | None = None,
        repr: bool = True,
        compare: bool = True,
        metadata: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.name = ""
        self.default = default
        self.default_factory = default_factory
        self.repr = repr
        self.compare = compare
        self.metadata = metadata

    def value(self, cls: type) -> Any:
        """What stands in the field where nothing was given. Raises TypeError where something must be."""
        if self.default is not _NONE:
            return self.default
        if self.default_factory is None:
            raise TypeError(f"{cls.__name__} was not given {self.name}")
        return self.default_factory()


def field(**said: Any) -> Any:
    """A field with more to it than its default: see Field, whose words these are."""
    return Field(**said)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[_T]) -> type[_T]:
    """Make the class a frozen dataclass. Fields are given by place or by name, as there."""
    own = cls.__dict__
    known: dict[str, Field] = {entry.name: entry for entry in fields(cls)}
    for name in cls.__annotations__:
        default = own.get(name, _NONE)
        entry = default if isinstance(default, Field) else Field(default)
        entry.name = name
        known[name] = entry
        if default is entry and entry.default is _NONE:
            delattr(cls, name)
        elif default is entry:
            setattr(cls, name, entry.default)
    shape = _Shape(tuple(known.values()))
    methods = {**_METHODS, "__record__": shape, "__match_args__": shape.names}
    if "__eq__" not in own:
        methods |= {"__eq__": _equals, "__hash__": _hashed}
    if "__repr__" not in own:
        methods["__repr__"] = _told
    for name, method in methods.items():
        setattr(cls, name, method)
    return cls


def fields(cls: type) -> tuple[Field, ...]:
    """The fields of a record, in their order; none of a class that is no record."""
    shape: _Shape | None = getattr(cls, "__record__", None)
    return shape.fields if shape is not None else ()


class _Shape:
    """What the methods of records have to know of a class."""

    __slots__ = ("defaults", "fields", "key", "known", "made", "names")

    def __init__(self, listed: tuple[Field, ...]) -> None:
        self.fields = listed
        self.names = tuple(entry.name for entry in listed)
        self.known = frozenset(self.names)
        # What is the same for all instances goes in at once; the others are made, or missed, one by one.
        self.defaults = {entry.name: entry.default for entry in listed if entry.default is not _NONE}
        self.made = tuple(entry for entry in listed if entry.default is _NONE)
        compared = [entry.name for entry in listed if entry.compare]
        self.key: Callable[[Any], Any] = attrgetter(*compared) if compared else _nothing

    def wrong(self, cls: type, given: tuple[Any, ...], said: dict[str, Any]) -> TypeError:
        """The error for values that are not those of a record."""
        taken = self.names[: len(given)]
        if len(given) > len(self.names):
            return TypeError(f"{cls.__name__} has {len(self.names)} fields, and {len(given)} were given")
        name = next(name for name in said if name in taken or name not in self.known)
        return TypeError(f"{cls.__name__} {'was given twice' if name in taken else 'has no field'} {name}")


def _nothing(one: object) -> tuple[object, ...]:
    return ()


def _init(self: Any, *given: Any, **said: Any) -> None:
    shape: _Shape = self.__record__
    values = self.__dict__
    values.update(shape.defaults)
    values.update(zip(shape.names, given, strict=False))
    if said:
        values.update(said)
        if not said.keys() <= shape.known or not said.keys().isdisjoint(shape.names[: len(given)]):
            raise shape.wrong(self.__class__, given, said)
    if len(given) > len(shape.names):
        raise shape.wrong(self.__class__, given, said)
    if len(values) < len(shape.names):
        for entry in shape.made:
            if entry.name not in values:
                values[entry.name] = entry.value(self.__class__)


def _equals(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    key = self.__record__.key
    return key(self) == key(other)


def _hashed(self: Any) -> int:
    return hash(self.__record__.key(self))


def _told(self: Any) -> str:
    shown = (f"{entry.name}={getattr(self, entry.name)!r}" for entry in self.__record__.fields if entry.repr)
    return f"{self.__class__.__qualname__}({', '.join(shown)})"


def _refused(self: Any, name: str, *value: Any) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"{self.__class__.__name__}.{name} cannot be changed")


class _Standard:
    """What `dataclasses` looks for in a class, made when it does."""

    def __get__(self, one: object, cls: type) -> Any:
        return _standard(cls)


@cache
def _standard(cls: type) -> Any:
    import dataclasses

    def made(entry: Field) -> Any:
        said: dict[str, Any] = {"repr": entry.repr, "compare": entry.compare, "metadata": entry.metadata}
        if entry.default_factory:
            said["default_factory"] = entry.default_factory
        elif entry.default is not _NONE:
            said["default"] = entry.default
        return dataclasses.field(**said)

    types = {name: kind for base in reversed(cls.__mro__[:-1]) for name, kind in base.__annotations__.items()}
    listed = [(entry.name, types[entry.name], made(entry)) for entry in fields(cls)]
    made_like_it: Any = dataclasses.make_dataclass(cls.__name__, listed, init=False, repr=False, eq=False)
    return made_like_it.__dataclass_fields__


_METHODS: dict[str, Any] = {
    "__init__": _init,
    "__replace__": replace,
    "__setattr__": _refused,
    "__delattr__": _refused,
    "__dataclass_fields__": _Standard(),
}
