"""What an index.json says to a registry: tags, roots, and its entries as they stand there. OCI image-spec, image-layout.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any

from ocibuild.errors import ContentError, UsageError
from ocibuild.spec import annotation, jsonform, layout, mediatype
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference, is_tag
from ocibuild.store.entries import Keys, Rows

Entry = dict[str, Any]
"""A descriptor in index.json, as it stands there."""

_LIMIT = 256 * 1024 * 1024
_AT_ONCE = 200
"""Entries in a piece of the file that is written."""

_NEW: Entry = {"schemaVersion": 2, "mediaType": mediatype.INDEX, "manifests": []}


class View:
    """What one state of index.json says. Only what `changing` gave is ever changed, and only until it is written.

    Entries are held as their JSON, which takes a third of what they take parsed. `rest` is what else stands in the file,
    entries that are none among it: these are kept, and shown to nobody.
    """

    def __init__(self, rows: Rows[bytes] | None = None, rest: Entry = _NEW) -> None:
        self.identity: object = None
        self.referrers: dict[str, list[Entry]] | None = None
        self.changed = False
        self._rows = rows if rows is not None else Rows(_keys)
        self._rest = rest
        self._is_settled = rows is None

    @property
    def tags(self) -> list[str]:
        """The tags; the one that was pushed last is the last."""
        names = self._rows.names
        return sorted(names, key=lambda tag: names.get(tag)[-1])

    def tag(self, name: str) -> Entry | None:
        """What a tag stands for: the last entry of that name."""
        numbers = self._rows.names.get(name)
        return self._entry(numbers[-1]) if numbers else None

    def tags_of(self, digest: str) -> list[str]:
        """The tags that stand for a digest, in the order they were pushed."""
        found = {number: tag_of(self._entry(number)) for number in self._rows.digests.get(digest)}
        return [tag for number, tag in found.items() if tag and self._rows.names.get(tag)[-1] == number]

    @property
    def roots(self) -> list[str]:
        """The digests of all entries, once each, in their order."""
        return list(self._rows.digests)

    @property
    def untagged(self) -> list[str]:
        """The digests that no tag stands for, in their order."""
        names, digests = self._rows.names, self._rows.digests
        tagged = {names.get(tag)[-1] for tag in names}
        return [digest for digest in digests if tagged.isdisjoint(digests.get(digest))]

    def root(self, digest: str) -> Entry | None:
        """The first entry of a digest."""
        numbers = self._rows.digests.get(digest)
        return self._entry(numbers[0]) if numbers else None

    def _entry(self, number: int) -> Entry:
        return _parsed(self._rows[number])

    def changing(self) -> View:
        """The same, to be changed, while others go on reading this one."""
        made = View(self._rows.copy(), self._rest)
        if not self._is_settled:
            made._settle()
        made._is_settled = True
        return made

    def _settle(self) -> None:
        rows = self._rows
        for tag in [tag for tag in rows.names if len(rows.names.get(tag)) > 1]:
            # One tag on two manifests: the last one has it. Two entries for one manifest, as of two registries, may stay.
            *earlier, last = rows.names.get(tag)
            for number in earlier:
                if self._entry(number)["digest"] != self._entry(last)["digest"]:
                    self._lose(number)
        for digest in [digest for digest in rows.untagged if len(rows.untagged.get(digest)) > 1]:
            for number in rows.untagged.get(digest)[:-1]:
                self._take(number)

    def put(self, new: Entry, tags: Sequence[str]) -> None:
        """Have the manifest under each of the tags, or as an untagged root where there is none."""
        digest = new["digest"]
        for tag in tags:
            numbers = self._rows.names.get(tag)
            if len(numbers) == 1 and self._entry(numbers[0])["digest"] == digest:
                continue
            self.untag(tag)
            for number in tuple(self._rows.untagged.get(digest)):
                self._take(number)  # it gets its first name, and is not listed twice
            self._add({**new, "annotations": {annotation.REF_NAME: tag}})
        if not self._rows.digests.get(digest):
            self._add(new)

    def untag(self, tag: str) -> None:
        """Take a tag away; what loses its last one stays as an untagged root."""
        for number in tuple(self._rows.names.get(tag)):
            self._lose(number)

    def remove(self, digest: str) -> None:
        """Take a manifest away with all its tags."""
        for number in tuple(self._rows.digests.get(digest)):
            self._take(number)

    def _lose(self, number: int) -> None:
        entry = self._take(number)
        if not self._rows.digests.get(entry["digest"]):
            self._add(_without_name(entry))

    def _take(self, number: int) -> Entry:
        self.changed = True
        return _parsed(self._rows.take(number))

    def _add(self, entry: Entry) -> None:
        self.changed = True
        self._rows.append(_form(entry))

    def pieces(self) -> Iterator[bytes]:
        """The file, some hundred entries at a time: it is never held whole."""
        before = b"{"
        for name, value in self._rest.items():
            yield before + _form(name) + b":"
            before = b","
            if name == "manifests":
                yield from _listed(chain(self._rows, map(_form, value)))
            else:
                yield _form(value)
        yield b"}"


def _listed(forms: Iterator[bytes]) -> Iterator[bytes]:
    before = b"["
    while piece := b",".join(islice(forms, _AT_ONCE)):
        yield before + piece
        before = b","
    yield b"]" if before == b"," else b"[]"


def read(data: bytes) -> View:
    """Read an index.json. Raises ContentError."""
    document = jsonform.load(data, layout.INDEX_FILE, _LIMIT)
    entries = jsonform.Reader(document).array("manifests")
    rows, others = Rows(_keys), []
    for entry in entries:
        if _is_entry(entry):
            rows.append(_form(entry), _keys_of(entry))
        else:
            others.append(entry)
    return View(rows, {**document, "manifests": others})


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("mediaType"), str):
        return False
    text, annotations = entry.get("digest"), entry.get("annotations") or {}
    if not isinstance(text, str) or not isinstance(annotations, dict):
        return False
    try:
        Digest(text)
    except ContentError:
        return False
    return True


def _form(value: Any) -> bytes:
    try:
        return jsonform.dump(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()  # half a surrogate pair, escaped as it came
    except ValueError as error:
        raise ContentError(f"{layout.INDEX_FILE} has a number that nothing holds", code="json-invalid") from error


def _parsed(row: bytes) -> Entry:
    entry: Entry = json.loads(row)
    return entry


def _keys(row: bytes) -> Keys:
    return _keys_of(_parsed(row))


def _keys_of(entry: Entry) -> Keys:
    tag = tag_of(entry)
    return Keys(entry["digest"], () if tag is None else (tag,), is_untagged=tag is None)


def tag_of(entry: Entry) -> str | None:
    """The tag an entry stands for: tools write a tag or a whole reference as its name."""
    annotations = entry.get("annotations") or {}
    for key in (annotation.REF_NAME, annotation.CONTAINERD_NAME):
        text = annotations.get(key)
        if isinstance(text, str) and text:
            if is_tag(text):
                return text
            with suppress(UsageError):
                return Reference.parse(text, default_tag=None).tag
    return None


def _without_name(entry: Entry) -> Entry:
    names = (annotation.REF_NAME, annotation.CONTAINERD_NAME)
    others = {key: value for key, value in (entry.get("annotations") or {}).items() if key not in names}
    bare = {key: value for key, value in entry.items() if key != "annotations"}
    return {**bare, "annotations": others} if others else bare
