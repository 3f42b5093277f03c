"""The entries of a layout's index.json: found by name or digest, changed and written without a look at all of them.

A layout of ten thousand images is packed into ten thousand times. So what was read or written last is remembered by its
bytes, never by a name or a time: a file that another program wrote meanwhile has other bytes, and is read anew.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from ocibuild.record import replace
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


class Entries:
    """What an index.json lists, in its order. Only what `changing` gave is ever changed."""

    def __init__(self, document: Index) -> None:
        self._frame = replace(document, manifests=())
        self._rows = dict(enumerate(document.manifests))
        self._forms: dict[int, bytes] = {}
        self._called, self._untagged = _Rows(), _Rows()
        for number, entry in self._rows.items():
            for table, key in self._keys(entry):
                table.add(key, number)
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
        return iter(self._rows.values())

    def find(self, name: str) -> Descriptor | None:
        """The last of that tag, full reference or digest."""
        numbers = self._called.get(name)
        return self._rows[numbers[-1]] if numbers else None

    def has_name(self, name: str) -> bool:
        """True where that tag or full reference is there."""
        return any(name in _names(self._rows[number]) for number in self._called.get(name))

    def changing(self) -> Entries:
        """The same, to be changed, while others go on reading this one."""
        made = Entries(self._frame)
        # Rows and forms are changed alike, so that both stand in one order.
        made._rows = dict(self._rows)
        made._forms = dict(self._forms) or {number: _form(entry) for number, entry in self._rows.items()}
        made._called, made._untagged = self._called.copy(), self._untagged.copy()
        made._before = self
        return made

    def add(self, new: Descriptor, name: str | None) -> None:
        """Put `new` under `name`: the same name is replaced; an untagged root stands once."""
        if name is None:
            if not self._called.get(new.digest):
                self._append(new)
            return
        new = new.with_annotations({annotation.REF_NAME: name})
        for number in {*self._called.get(name), *self._untagged.get(new.digest)}:
            if _is_replaced(self._rows[number], new):
                self._take(number)
        self._append(new)

    def drop(self, name: str) -> None:
        """Take a name away; what loses its last name stays as an untagged root."""
        gone = [number for number in self._called.get(name) if name in _names(self._rows[number])]
        for entry in [self._take(number) for number in gone]:
            if not self._called.get(entry.digest):
                names = (annotation.REF_NAME, annotation.CONTAINERD_NAME)
                kept = {key: value for key, value in entry.annotations.items() if key not in names}
                self._append(replace(entry, annotations=kept))

    def remove(self, digest: Digest) -> None:
        """Take away whatever points at it."""
        for number in tuple(self._called.get(digest)):
            self._take(number)

    def _append(self, entry: Descriptor) -> None:
        number = next(reversed(self._rows), -1) + 1
        self._rows[number], self._forms[number] = entry, _form(entry)
        for table, key in self._keys(entry):
            table.add(key, number)

    def _take(self, number: int) -> Descriptor:
        entry = self._rows.pop(number)
        del self._forms[number]
        for table, key in self._keys(entry):
            table.take(key, number)
        return entry

    def _keys(self, entry: Descriptor) -> list[tuple[_Rows, str]]:
        """The tables an entry stands in, and under what."""
        tag, full = _names(entry)
        keys = [(self._called, name) for name in {entry.digest, tag, full} if name is not None]
        return keys if tag is not None else [*keys, (self._untagged, entry.digest)]

    def to_bytes(self) -> bytes:
        """index.json as it is written, once all changes are made."""
        head, empty, tail = self._frame.to_bytes().partition(_NO_ENTRIES)
        data = b"".join((head, empty[:-1], b",".join(self._forms.values()), b"]", tail))
        _remember(data, self)
        return data


class _Rows:
    """Numbers of rows by a key, ascending. A copy has the lists of the original until it changes one."""

    def __init__(self, lists: dict[str, list[int]] | None = None) -> None:
        self._lists = lists or {}
        self._own: set[str] = set()

    def copy(self) -> _Rows:
        return _Rows(dict(self._lists))

    def get(self, key: str) -> Sequence[int]:
        return self._lists.get(key, ())

    def add(self, key: str, number: int) -> None:
        self._mine(key).append(number)

    def take(self, key: str, number: int) -> None:
        numbers = self._mine(key)
        del numbers[bisect_left(numbers, number)]
        if not numbers:
            del self._lists[key]

    def _mine(self, key: str) -> list[int]:
        if key not in self._own or key not in self._lists:
            self._own.add(key)
            self._lists[key] = list(self._lists.get(key, ()))
        return self._lists[key]


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


def _form(entry: Descriptor) -> bytes:
    return jsonform.dump(entry.to_json())


def _names(entry: Descriptor) -> tuple[str | None, str | None]:
    return entry.annotations.get(annotation.REF_NAME), entry.annotations.get(annotation.CONTAINERD_NAME)


def _is_replaced(old: Descriptor, new: Descriptor) -> bool:
    """One tag in two registries is two names, as long as they name the same content."""
    tag, _ = _names(old)
    if old.digest != new.digest:
        return tag == _names(new)[0]
    return tag is None or _names(old) == _names(new)
