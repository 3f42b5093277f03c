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
    """What one state of index.json says. Never changed once it is made."""

    def __init__(self, identity: object, entries: Sequence[Entry], rest: Entry) -> None:
        self.identity = identity
        self.entries = entries
        self.rest = rest
        self.tags: dict[str, Entry] = {}
        self.roots: dict[str, Entry] = {}
        for entry in entries:
            self.roots.setdefault(entry["digest"], entry)
            if (name := tag_of(entry)) is not None:
                self.tags[name] = entry
        self.referrers: dict[str, list[Entry]] | None = None

    def with_entries(self, entries: Sequence[Entry]) -> bytes:
        """The file with other entries; what else stands in it stays."""
        rest = self.rest or {"schemaVersion": 2, "mediaType": mediatype.INDEX}
        return jsonform.dump({**rest, "manifests": list(entries)})


def read(data: bytes, identity: object) -> View:
    """Read an index.json. Raises ContentError."""
    rest = jsonform.load(data, layout.INDEX_FILE, _LIMIT)
    entries = jsonform.Reader(rest).array("manifests")
    return View(identity, [entry for entry in entries if _is_entry(entry)], rest)


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


def untagged(entries: list[Entry], tag: str) -> list[Entry]:
    """Entries without that tag; what loses its last one stays as an untagged root."""
    kept = [entry for entry in entries if tag_of(entry) != tag]
    there = {entry["digest"] for entry in kept}
    return kept + [_without_name(entry) for entry in entries if tag_of(entry) == tag and entry["digest"] not in there]


def named(entries: list[Entry], new: Entry, tags: Sequence[str]) -> list[Entry]:
    """Entries with the manifest under each of the tags, or as an untagged root where there is none."""
    for tag in tags:
        found = [entry for entry in entries if tag_of(entry) == tag]
        if len(found) == 1 and found[0]["digest"] == new["digest"]:
            continue
        entries = untagged(entries, tag)
        # An untagged root that gets its first name is not listed twice.
        entries = [entry for entry in entries if entry["digest"] != new["digest"] or tag_of(entry) is not None]
        entries.append({**new, "annotations": {annotation.REF_NAME: tag}})
    if not any(entry["digest"] == new["digest"] for entry in entries):
        entries = [*entries, new]
    return entries
