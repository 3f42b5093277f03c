"""What an index.json says to a registry: tags, roots, and its entries as they stand there. OCI image-spec, image-layout.md."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ocibuild.errors import ContentError, UsageError
from ocibuild.spec import annotation, jsonform, layout, mediatype
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference, is_tag

Entry = dict[str, Any]
"""A descriptor in index.json, as it stands there."""

_LIMIT = 256 * 1024 * 1024


class View:
    """What one state of index.json says. Never changed once it is made.

    `tags` and `roots` give the entry of a tag and of a digest. `rest` is what else stands in the file, entries that are
    none among it.
    """

    def __init__(self, identity: object, entries: Sequence[Entry], rest: Entry) -> None:
        self.identity = identity
        self.entries = entries
        self.rest = rest
        self.tags: dict[str, Entry] = {}
        self.roots: dict[str, Entry] = {}
        self.twice: set[str] = set()
        self.nameless: dict[str, Entry] = {}
        self.repeated: list[Entry] = []
        for entry in entries:
            self.roots.setdefault(entry["digest"], entry)
            if (name := tag_of(entry)) is None:
                if (earlier := self.nameless.get(entry["digest"])) is not None:
                    self.repeated.append(earlier)
                self.nameless[entry["digest"]] = entry
            else:
                if name in self.tags:
                    self.twice.add(name)
                self.tags[name] = entry
        self.referrers: dict[str, list[Entry]] | None = None


class Draft:
    """A view on its way to the next. Each change costs what it changes, not what is there."""

    def __init__(self, view: View) -> None:
        self._before = view
        self._gone: set[int] = set()
        self._entries = list(view.entries)
        self._tags = dict(view.tags)
        self._roots = dict(view.roots)
        self._twice = set(view.twice)
        self._nameless = dict(view.nameless)
        self.changed = False
        for tag in view.twice:
            self._settle(tag)
        for entry in view.repeated:
            self._remove(entry)

    def put(self, new: Entry, tags: Sequence[str]) -> None:
        """Have the manifest under each of the tags, or as an untagged root where there is none."""
        digest = new["digest"]
        for tag in tags:
            old = self._tags.get(tag)
            if old is not None and old["digest"] == digest and tag not in self._twice:
                continue
            self.untag(tag)
            if (nameless := self._nameless.pop(digest, None)) is not None:
                self._remove(nameless)  # it gets its first name, and is not listed twice
            entry = self._tags[tag] = {**new, "annotations": {annotation.REF_NAME: tag}}
            self._add(entry)
        if digest not in self._roots:
            self._nameless[digest] = new
            self._add(new)

    def untag(self, tag: str) -> None:
        """Take a tag away; what loses its last one stays as an untagged root."""
        old = self._tags.pop(tag, None)
        if old is None:
            return
        for entry in [entry for entry in self.entries if tag_of(entry) == tag] if tag in self._twice else [old]:
            self._lose(entry)
        self._twice.discard(tag)

    def _settle(self, tag: str) -> None:
        # One tag on two manifests: the last one has it. Two entries for one manifest, as of two registries, may stay.
        for entry in [entry for entry in self.entries if tag_of(entry) == tag]:
            if entry["digest"] != self._tags[tag]["digest"]:
                self._lose(entry)

    def _lose(self, entry: Entry) -> None:
        self._remove(entry)
        if entry["digest"] not in self._roots:
            nameless = self._nameless[entry["digest"]] = _without_name(entry)
            self._add(nameless)

    def remove(self, digest: str) -> None:
        """Take a manifest away with all its tags."""
        for entry in [entry for entry in self.entries if entry["digest"] == digest]:
            self._gone.add(id(entry))
            if (tag := tag_of(entry)) is not None:
                self._tags.pop(tag, None)
            self.changed = True
        self._roots.pop(digest, None)
        self._nameless.pop(digest, None)

    @property
    def entries(self) -> list[Entry]:
        """What stands in it now."""
        if self._gone:
            self._entries = [entry for entry in self._entries if id(entry) not in self._gone]
            self._gone.clear()
        return self._entries

    def _add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._roots.setdefault(entry["digest"], entry)
        self.changed = True

    def _remove(self, entry: Entry) -> None:
        self._gone.add(id(entry))
        self.changed = True
        digest = entry["digest"]
        if self._roots.get(digest) is entry:
            other = next((each for each in self.entries if each["digest"] == digest), None)
            if other is None:
                del self._roots[digest]
            else:
                self._roots[digest] = other

    def to_bytes(self) -> bytes:
        """The file."""
        members = self._before.rest or {"schemaVersion": 2, "mediaType": mediatype.INDEX, "manifests": []}
        return jsonform.dump({**members, "manifests": [*self.entries, *members["manifests"]]})

    def view(self, identity: object) -> View:
        """What it says, once it is written."""
        view = View(identity, (), self._before.rest)
        view.entries = self.entries
        view.tags, view.roots, view.twice, view.nameless = self._tags, self._roots, self._twice, self._nameless
        return view


def read(data: bytes, identity: object) -> View:
    """Read an index.json. Raises ContentError."""
    document = jsonform.load(data, layout.INDEX_FILE, _LIMIT)
    entries = jsonform.Reader(document).array("manifests")
    # What is no descriptor is kept, and shown to nobody.
    others = [entry for entry in entries if not _is_entry(entry)]
    return View(identity, [entry for entry in entries if _is_entry(entry)], {**document, "manifests": others})


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
