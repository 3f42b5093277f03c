"""Records: frozen dataclasses whose methods are not compiled, so that a class costs a seventh of one.

`dataclass(frozen=True)` writes and compiles six functions for every class. For the sixty nouns that a pack needs this
was more work than all else that `ocibuild pack` does, the start of Python included. `fields`, `replace` and `asdict` of
the standard library work on records; an instance costs half a microsecond more to make. Mutable classes, slots and
orders are left to `dataclass` itself.
"""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[_T]) -> type[_T]:
    """Make the class a frozen dataclass. Fields are given by place or by name, as there."""
    dataclass(init=False, repr=False, eq=False)(cls)
    known = fields(cls)  # type: ignore[arg-type]  # it is one now
    names = tuple(entry.name for entry in known)
    defaults = {entry.name: entry.default for entry in known if entry.default is not MISSING}
    factories = {entry.name: entry.default_factory for entry in known if entry.default_factory is not MISSING}
    compared = [entry.name for entry in known if entry.compare]
    shown = [entry.name for entry in known if entry.repr]
    key: Any = attrgetter(*compared) if compared else lambda self: ()

    def init(self: Any, *given: Any, **said: Any) -> None:
        values = self.__dict__
        if len(given) > len(names):
            raise TypeError(f"{cls.__name__} has {len(names)} fields, and {len(given)} were given")
        values.update(zip(names, given, strict=False))
        for name in said:
            if name in values or name not in names:
                raise TypeError(f"{cls.__name__} {'was given twice' if name in values else 'has no field'} {name}")
        values.update(said)
        if len(values) == len(names):
            return
        for name in names:
            if name in values:
                continue
            if name in defaults:
                values[name] = defaults[name]
            elif name in factories:
                values[name] = factories[name]()
            else:
                raise TypeError(f"{cls.__name__} was not given {name}")

    def equals(self: Any, other: object) -> bool:
        return bool(key(self) == key(other)) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: Any) -> int:
        return hash(key(self))

    def told(self: Any) -> str:
        return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def refused(self: Any, name: str, *value: Any) -> NoReturn:
        raise FrozenInstanceError(f"{cls.__name__}.{name} cannot be changed")

    own = cls.__dict__
    methods: dict[str, Any] = {"__init__": init, "__setattr__": refused, "__delattr__": refused}
    methods |= {"__eq__": equals, "__hash__": hashed} if "__eq__" not in own else {}
    methods |= {"__repr__": told} if "__repr__" not in own else {}
    for name, method in methods.items():
        setattr(cls, name, method)
    return cls
