"""The entries of a layout's index.json: found by name or digest, changed and written without a look at all of them.

A layout of ten thousand images is packed into ten thousand times. So what was read or written last is remembered by its
bytes, never by a name or a time: a file that another program wrote meanwhile has other bytes, and is read anew.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from ocibuild.record import record, replace
from ocibuild.spec import annotation, jsonform, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.layout import INDEX_FILE
from ocibuild.spec.manifest import Index, parse

LIMIT = 64 * 1024 * 1024
"""Bytes of the largest index.json that is read; how many entries it has is left to that."""

_NO_ENTRIES = b'"manifests":[]'
_REMEMBERED = 4 * 1024 * 1024
"""Bytes of index.json files, over all layouts, whose entries are remembered."""

_LAYOUTS = 8
"""How many of them: who goes through thousands of small layouts comes back to none."""

Row = TypeVar("Row")


@record
class Keys:
    """What an entry is found by. `is_untagged`: it has no tag, whatever else it is called."""

    digest: str
    names: tuple[str, ...]
    is_untagged: bool


class Rows(Generic[Row]):
    """Entries in their order, in whatever form, found by what `keys` says of each.

    The tables `names`, `digests` and `untagged` (by digest) have the numbers of rows, ascending. A copy costs no more than
    its tables, whose lists it has from the original until it changes one.
    """

    def __init__(self, keys: Callable[[Row], Keys], rows: Iterable[Row] = ()) -> None:
        self._keys = keys
        self._rows: dict[int, Row] = {}
        self.names, self.digests, self.untagged = _Table(), _Table(), _Table()
        for row in rows:
            self.append(row)

    def copy(self) -> Rows[Row]:
        """The same, to be changed, while others go on reading this one."""
        made = Rows(self._keys)
        made._rows = dict(self._rows)
        made.names, made.digests, made.untagged = self.names.copy(), self.digests.copy(), self.untagged.copy()
        return made

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows.values())

    def __getitem__(self, number: int) -> Row:
        return self._rows[number]

    def append(self, row: Row, keys: Keys | None = None) -> None:
        """One more, as the last; `keys` where they are known."""
        number = next(reversed(self._rows), -1) + 1
        self._rows[number] = row
        for table, key in self._places(keys or self._keys(row)):
            table.add(key, number)

    def take(self, number: int) -> Row:
        """Take one away, and return it."""
        row = self._rows.pop(number)
        for table, key in self._places(self._keys(row)):
            table.take(key, number)
        return row

    def _places(self, keys: Keys) -> Iterator[tuple[_Table, str]]:
        yield self.digests, keys.digest
        for name in keys.names:
            yield self.names, name
        if keys.is_untagged:
            yield self.untagged, keys.digest


class _Table:
    """Numbers of rows by a key, ascending. A copy has the lists of the original until it changes one."""

    def __init__(self, lists: dict[str, list[int]] | None = None) -> None:
        self._lists = lists or {}
        self._own: set[str] = set()

    def copy(self) -> _Table:
        return _Table(dict(self._lists))

    def __iter__(self) -> Iterator[str]:
        return iter(self._lists)

    def __len__(self) -> int:
        return len(self._lists)

    def get(self, key: str) -> Sequence[int]:
        return self._lists.get(key, ())

    def add(self, key: str, number: int) -> None:
        if key in self._lists:
            self._mine(key).append(number)
        else:
            self._own.add(key)
            self._lists[key] = [number]

    def take(self, key: str, number: int) -> None:
        numbers = self._mine(key)
        del numbers[bisect_left(numbers, number)]
        if not numbers:
            del self._lists[key]

    def _mine(self, key: str) -> list[int]:
        if key not in self._own:
            self._own.add(key)
            self._lists[key] = list(self._lists[key])
        return self._lists[key]


class _Listed:
    """A descriptor, and its JSON where it was written before."""

    __slots__ = ("entry", "json")

    def __init__(self, entry: Descriptor) -> None:
        self.entry = entry
        self.json: bytes | None = None

    def written(self) -> bytes:
        self.json = jsonform.dump(self.entry.to_json())
        return self.json


class Entries:
    """What an index.json lists, in its order. Only what `changing` gave is ever changed."""

    def __init__(self, document: Index) -> None:
        self._frame = replace(document, manifests=())
        self._rows = Rows(_keys, map(_Listed, document.manifests))
        self._before: Entries | None = None

    @classmethod
    def read(cls, data: bytes) -> Entries:
        """The entries in an index.json. Raises ContentError."""
        for known, entries in _known:
            if known == data:
                return entries
        # image-layout.md lets index.json leave its media type out; parse takes the described one then.
        document = parse(data, mediatype.INDEX, INDEX_FILE, LIMIT, LIMIT)
        assert isinstance(document, Index)
        entries = cls(document)
        _remember(data, entries)
        return entries

    @property
    def document(self) -> Index:
        """All of it, as index.json has it."""
        return replace(self._frame, manifests=tuple(self))

    def __iter__(self) -> Iterator[Descriptor]:
        return (row.entry for row in self._rows)

    def find(self, name: str) -> Descriptor | None:
        """The last of that tag, full reference or digest."""
        numbers = self._rows.names.get(name) or self._rows.digests.get(name)
        return self._rows[numbers[-1]].entry if numbers else None

    def has_name(self, name: str) -> bool:
        """True where that tag or full reference is there."""
        return bool(self._rows.names.get(name))

    def changing(self) -> Entries:
        """The same, to be changed, while others go on reading this one."""
        made = Entries(self._frame)
        made._rows = self._rows.copy()
        made._before = self
        return made

    def add(self, new: Descriptor, name: str | None) -> None:
        """Put `new` under `name`: the same name is replaced; an untagged root stands once."""
        rows = self._rows
        if name is None:
            if not rows.digests.get(new.digest):
                rows.append(_Listed(new))
            return
        new = new.with_annotations({annotation.REF_NAME: name})
        for number in {*rows.names.get(name), *rows.untagged.get(new.digest)}:
            if _is_replaced(rows[number].entry, new):
                rows.take(number)
        rows.append(_Listed(new))

    def drop(self, name: str) -> None:
        """Take a name away; what loses its last name stays as an untagged root."""
        rows = self._rows
        for entry in [rows.take(number).entry for number in tuple(rows.names.get(name))]:
            if not rows.digests.get(entry.digest):
                names = (annotation.REF_NAME, annotation.CONTAINERD_NAME)
                kept = {key: value for key, value in entry.annotations.items() if key not in names}
                rows.append(_Listed(replace(entry, annotations=kept)))

    def remove(self, digest: Digest) -> None:
        """Take away whatever points at it."""
        for number in tuple(self._rows.digests.get(digest)):
            self._rows.take(number)

    def to_bytes(self) -> bytes:
        """index.json as it is written, once all changes are made."""
        head, empty, tail = self._frame.to_bytes().partition(_NO_ENTRIES)
        data = b"".join((head, empty[:-1], b",".join([row.json or row.written() for row in self._rows]), b"]", tail))
        _remember(data, self)
        return data


_known: tuple[tuple[bytes, Entries], ...] = ()


def _remember(data: bytes, entries: Entries) -> None:
    """Keep the entries of the latest files. Threads that do so at once may forget one, and nothing else."""
    global _known
    kept, room = [(data, entries)], _REMEMBERED - len(data)
    for known, others in _known[: _LAYOUTS - 1]:
        room -= len(known)
        if room >= 0 and others is not entries._before:
            kept.append((known, others))
    entries._before = None
    _known = tuple(kept) if len(data) <= _REMEMBERED else ()


def _keys(row: _Listed) -> Keys:
    names = _names(row.entry)
    return Keys(row.entry.digest, tuple({name for name in names if name is not None}), is_untagged=names[0] is None)


def _names(entry: Descriptor) -> tuple[str | None, str | None]:
    return entry.annotations.get(annotation.REF_NAME), entry.annotations.get(annotation.CONTAINERD_NAME)


def _is_replaced(old: Descriptor, new: Descriptor) -> bool:
    """One tag in two registries is two names, as long as they name the same content."""
    tag, _ = _names(old)
    if old.digest != new.digest:
        return tag == _names(new)[0]
    return tag is None or _names(old) == _names(new)
