"""index.json's entries: the same as a plain list changed in the plain way, whatever was remembered of earlier files."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ocibuild.content.flow import Flow
from ocibuild.spec import annotation, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index
from ocibuild.store import entries
from ocibuild.store.entries import Entries
from ocibuild.store.layout import LayoutStore
from ocibuild.testing.contract import image

TAG, FULL = annotation.REF_NAME, annotation.CONTAINERD_NAME


def added(listed: Sequence[Descriptor], new: Descriptor, name: str | None) -> list[Descriptor]:
    """image-layout.md leaves to us what a name that is there already means; this is decided, in the plainest code."""
    if name is None:
        return [*listed] if any(entry.digest == new.digest for entry in listed) else [*listed, new]
    new = new.with_annotations({TAG: name})

    def stays(old: Descriptor) -> bool:
        if old.digest != new.digest:
            return old.annotations.get(TAG) != name
        called = (old.annotations.get(TAG), old.annotations.get(FULL))
        return TAG in old.annotations and called != (name, new.annotations.get(FULL))

    return [*filter(stays, listed), new]


def dropped(listed: Sequence[Descriptor], name: str) -> list[Descriptor]:
    kept = [entry for entry in listed if name not in (entry.annotations.get(TAG), entry.annotations.get(FULL))]
    for entry in listed:
        if entry not in kept and all(entry.digest != other.digest for other in kept):
            others = {key: value for key, value in entry.annotations.items() if key not in (TAG, FULL)}
            kept.append(replace(entry, annotations=others))
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_any_changes_are_those_of_a_plain_list(seed: int) -> None:
    chance = random.Random(seed)
    roots = [Descriptor.of(mediatype.MANIFEST, b"%d" % n, annotations={"n": str(n)} if n % 2 else {}) for n in range(5)]
    texts = ["1", "2", "latest", "a.io/x:1"]
    plain: list[Descriptor] = []
    data = Index(()).to_bytes()
    for _ in range(40):
        kept = Entries.read(data)
        before = list(kept)
        changing = kept.changing()
        for _ in range(chance.randrange(4)):
            root, name = chance.choice(roots), chance.choice(texts)
            match chance.randrange(6):
                case 0:
                    plain = added(plain, root, None)
                    changing.add(root, None)
                case 1:
                    plain = dropped(plain, name)
                    changing.drop(name)
                case 2:
                    plain = [entry for entry in plain if entry.digest != root.digest]
                    changing.remove(root.digest)
                case _:
                    full = chance.choice([{}, {FULL: "a.io/x:1"}, {FULL: "b.io/x:1"}])
                    plain = added(plain, root.with_annotations(full), name)
                    changing.add(root.with_annotations(full), name)
        data = changing.to_bytes()
        assert list(kept) == before
        assert data == Index(tuple(plain)).to_bytes()
        assert list(changing) == plain
        for name in [*texts, *(str(root.digest) for root in roots)]:
            called = [e for e in plain if name in (e.digest, e.annotations.get(TAG), e.annotations.get(FULL))]
            assert Entries.read(data).find(name) == (called[-1] if called else None)
            assert changing.has_name(name) == any(entry.digest != name for entry in called)


def test_a_file_that_another_wrote_is_read_anew_whatever_its_size_and_time(tmp_path: Path) -> None:
    place = tmp_path / "x.oci"
    with Flow.open(cpu=1, io=1) as flow, LayoutStore(place) as store:
        for blob in image(b"a"):
            store.push(blob, flow)
        store.tag(blob.descriptor, "mine")
    index = place / "index.json"
    assert [name for name, _ in LayoutStore(place).roots()] == ["mine"]
    status = index.stat()
    with index.open("r+b") as stream:  # the same file, in place, and set back
        stream.write(index.read_bytes().replace(b'"mine"', b'"your"'))
    os.utime(index, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [name for name, _ in LayoutStore(place).roots()] == ["your"]
    with LayoutStore(place) as store:
        store.tag(blob.descriptor, "mine")
    assert [entry["annotations"][TAG] for entry in json.loads(index.read_bytes())["manifests"]] == ["your", "mine"]


def test_little_is_remembered() -> None:
    documents = [Index((), {"n": f"{n} " + "x" * 500_000}).to_bytes() for n in range(20)]
    for data in documents:
        Entries.read(data)
    kept = [known for known, _ in entries._known]
    assert kept[0] == documents[-1]
    assert sum(map(len, kept)) <= 4 * 1024 * 1024
    Entries.read(Index((), {"n": "x" * 5_000_000}).to_bytes())
    assert sum(len(known) for known, _ in entries._known) <= 4 * 1024 * 1024
