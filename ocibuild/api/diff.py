"""`diff`: in words, what makes two images differ."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import zip_longest
from typing import Any, BinaryIO

from ocibuild.api import places
from ocibuild.api.picking import pick
from ocibuild.api.session import Session
from ocibuild.content.blob import BLOCK
from ocibuild.errors import ContentError
from ocibuild.image.rootfs import Member, RootFs
from ocibuild.image.shapes.recognise import has_rootfs, recognise
from ocibuild.record import record
from ocibuild.spec import jsonform
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.store.base import Source, fetch
from ocibuild.store.graph import node

Found = tuple[Source, Descriptor]


@record
class Difference:
    """`where` is a path in words (`linux/amd64: config.Env[0]`); `old` and `new` are None where there is nothing."""

    where: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        if self.old is None:
            return f"{self.where}: added {self.new}"
        if self.new is None:
            return f"{self.where}: removed {self.old}"
        return f"{self.where}: {self.old} -> {self.new}"


def diff(
    one: str, other: str, *, platform: str | None = None, session: Session | None = None
) -> tuple[Difference, ...]:
    """Everything that differs from `one` to `other`; nothing where they have one digest.

    Raises NotFoundError, ContentError, and what stores and registries raise.
    """
    session = (session or Session()).begin()
    a, b = (session.found(places.parse(text)) for text in (one, other))
    if platform is not None:
        a, b = ((store, pick(store, root, platform)[0]) for store, root in (a, b))
    if a[1].digest == b[1].digest:
        return ()
    found = tuple(_nodes("", a, b))
    return found or (Difference("JSON", "the same members", "in another order or with other white space"),)


def _nodes(at: str, a: Found, b: Found) -> Iterator[Difference]:
    one, other = node(*a), node(*b)
    yield from _value(f"{at}media type", one.media_type, other.media_type)
    yield from _value(f"{at}artifact type", one.artifact_type, other.artifact_type)
    yield from _flat(f"{at}annotation ", one.annotations, other.annotations)
    if isinstance(one, Index) and isinstance(other, Index):
        yield from _indexes(at, (a[0], one), (b[0], other))
    elif isinstance(one, Manifest) and isinstance(other, Manifest):
        yield from _manifests(at, (a[0], one), (b[0], other))
    else:
        kinds = ["an index" if isinstance(document, Index) else "a single image" for document in (one, other)]
        yield Difference(f"{at}kind", *kinds)


def _indexes(at: str, a: tuple[Source, Index], b: tuple[Source, Index]) -> Iterator[Difference]:
    left, right = ({_entry_name(entry): entry for entry in index.manifests} for _, index in (a, b))
    for name in (*left, *(name for name in right if name not in left)):
        old, new = left.get(name), right.get(name)
        if old is None or new is None:
            yield Difference(f"{at}platform", name if old else None, name if new else None)
            continue
        yield from _flat(f"{at}{name}: entry annotation ", old.annotations, new.annotations)
        if old.digest != new.digest:
            yield from _nodes(f"{at}{name}: ", (a[0], old), (b[0], new))
    orders = [[name for name in each if name in left and name in right] for each in (left, right)]
    if orders[0] != orders[1]:
        yield Difference(f"{at}order of entries", *(", ".join(order) for order in orders))


def _entry_name(entry: Descriptor) -> str:
    if entry.platform is None or entry.platform.os == "unknown":
        return str(entry.artifact_type or entry.media_type)
    return str(entry.platform)


def _manifests(at: str, a: tuple[Source, Manifest], b: tuple[Source, Manifest]) -> Iterator[Difference]:
    one, other = a[1], b[1]
    yield from _value(f"{at}format", recognise(one), recognise(other))
    yield from _value(f"{at}config media type", one.config.media_type, other.config.media_type)
    yield from _flat(f"{at}config annotation ", one.config.annotations, other.config.annotations)
    if one.config.digest != other.config.digest:
        configs = [_json(store, manifest.config) for store, manifest in (a, b)]
        yield from _flat(f"{at}config", *configs, dot=True)
    for number, (old, new) in enumerate(zip_longest(one.layers, other.layers)):
        yield from _layers(f"{at}layer {number}", old, new)
    if [layer.digest for layer in one.layers] == [layer.digest for layer in other.layers]:
        return
    if has_rootfs(one) and has_rootfs(other):
        yield from _rootfs(at, RootFs.read(a[0], one.layers), RootFs.read(b[0], other.layers))
        return
    for number, (old, new) in enumerate(zip(one.layers, other.layers, strict=False)):
        if old.digest != new.digest:
            offset = first_difference(a[0].open(old), b[0].open(new))
            yield Difference(f"{at}layer {number} content", "equal", f"different from byte {offset} on")


def _json(store: Source, config: Descriptor) -> Any:
    """The config as a document, without diff_ids: what they say is said of the layers."""
    try:
        document = jsonform.load(fetch(store, config))
    except ContentError:
        return {"digest": str(config.digest)}
    rootfs = document.get("rootfs")
    if isinstance(rootfs, dict):
        document["rootfs"] = {key: value for key, value in rootfs.items() if key != "diff_ids"}
    return document


def _layers(at: str, old: Descriptor | None, new: Descriptor | None) -> Iterator[Difference]:
    if old is None or new is None:
        yield Difference(at, str(old.digest) if old else None, str(new.digest) if new else None)
        return
    yield from _value(f"{at} media type", old.media_type, new.media_type)
    yield from _flat(f"{at} annotation ", old.annotations, new.annotations)


def _rootfs(at: str, one: RootFs, other: RootFs) -> Iterator[Difference]:
    for number, (old, new) in enumerate(zip(one.layers, other.layers, strict=False)):
        if old.diff_id == new.diff_id and old.descriptor.digest != new.descriptor.digest:
            sizes = [f"{layer.descriptor.size} bytes" for layer in (old, new)]
            yield Difference(f"{at}layer {number}, same content, another compressor or level", *sizes)
    found = list(_files(at, one, other))
    yield from found
    for number, (old, new) in enumerate(zip(one.layers, other.layers, strict=False)):
        orders = [[member.path for member in layer.members] for layer in (old, new)]
        if orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1]):
            yield Difference(f"{at}layer {number} order of files", *(", ".join(order[:8]) for order in orders))
        elif old.diff_id != new.diff_id and not found:
            yield Difference(f"{at}layer {number} tar", "the same files", "other headers or padding")


def _files(at: str, one: RootFs, other: RootFs) -> Iterator[Difference]:
    for path in sorted({*one.files, *other.files}):
        old, new = one.files.get(path), other.files.get(path)
        where = f"{at}/{path}"
        if old is None or new is None:
            yield Difference(where, _what(old) if old else None, _what(new) if new else None)
            continue
        yield from _value(f"{where} kind", old.kind, new.kind)
        yield from _value(f"{where} mode", f"{old.mode:04o}", f"{new.mode:04o}")
        yield from _value(f"{where} owner", f"{old.uid}:{old.gid}", f"{new.uid}:{new.gid}")
        yield from _value(f"{where} mtime", str(old.mtime), str(new.mtime))
        yield from _value(f"{where} target", old.target, new.target)
        yield from _value(f"{where} size", str(old.size), str(new.size))
        if old.kind == new.kind == "file" and old.digest != new.digest:
            offset = first_difference(one.open(old), other.open(new))
            yield Difference(f"{where} content", "equal", f"different from byte {offset} on")


def _what(member: Member) -> str:
    return f"{member.kind} of {member.size} bytes" if member.kind == "file" else member.kind


def first_difference(one: AbstractContextManager[BinaryIO], other: AbstractContextManager[BinaryIO]) -> int:
    """The offset of the first byte that differs; the shorter one's length where it is the beginning of the other."""
    at = 0
    with one as left, other as right:
        while True:
            a, b = _block(left), _block(right)
            if a != b:
                return at + next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            if not a:
                return at
            at += len(a)


def _block(stream: BinaryIO) -> bytes:
    data = bytearray()
    while len(data) < BLOCK and (piece := stream.read(BLOCK - len(data))):
        data += piece
    return bytes(data)


def _flat(at: str, old: Any, new: Any, *, dot: bool = False) -> Iterator[Difference]:
    left, right = dict(_members(old, dot)), dict(_members(new, dot))
    for path in (*left, *(path for path in right if path not in left)):
        yield from _value(f"{at}{path}", left.get(path), right.get(path))


def _members(value: Any, dot: bool, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _members(item, dot, f"{path}[{number}]")
    elif hasattr(value, "items"):
        for key, item in value.items():
            yield from _members(item, dot, f"{path}.{key}" if dot else key)
    else:
        yield path, value if isinstance(value, str) else jsonform.dump(value).decode()


def _value(where: str, old: str | None, new: str | None) -> Iterator[Difference]:
    if old != new:
        yield Difference(where, old, new)
