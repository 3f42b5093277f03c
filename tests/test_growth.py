"""Growth: what twice as many cost is twice as much. Counted in calls of functions and bytes read, never by the clock."""

from __future__ import annotations

import gc
import io
import itertools
import json
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import ocibuild
from ocibuild.content import blob as content
from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.registry.settings import Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.spec.platform import Platform
from ocibuild.spec.reference import Reference
from ocibuild.store import entries
from ocibuild.store.layout import LayoutStore
from tests.registry.scripted import Answer, Seen, Server

MODULE = b"\0asm\1\0\0\0"
TIMES = 4
LIMIT = 4.4
"""What four times as many may cost: a tenth more than four times as much, for what is done in steps. A square is 16."""

Work = Callable[[], object]


def calls(work: Work) -> int:
    """How many functions, Python's and C's, `work` calls, on all threads."""
    count = itertools.count()

    def tick(frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            next(count)

    gc.disable()  # what others' finalizers call is not ours
    threading.setprofile(tick)
    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
        gc.enable()
    return next(count)


def manifest(number: int, subject: Descriptor | None = None) -> tuple[Blob, Blob]:
    """A config and the manifest of an image without layers."""
    config = Blob.of(mediatype.CONFIG, json.dumps({"architecture": f"machine{number}", "os": "linux"}).encode())
    made = Manifest(config.descriptor, (), subject=subject)
    return config, Blob.of(mediatype.MANIFEST, made.to_bytes())


@contextmanager
def filling(folder: Path) -> Iterator[Callable[[Blob, str | None], None]]:
    """Put blobs into a layout; those with a name, or with None, are roots."""
    with Flow.open(cpu=1, io=1) as flow, LayoutStore(folder) as store:

        def put(blob: Blob, name: str | None = "") -> None:
            store.push(blob, flow)
            if name != "":
                store.tag(blob.descriptor, name)

        yield put  # type: ignore[misc]


def layered(folder: Path, count: int) -> str:
    """An image of so many layers, a file in each."""
    layers, diffs = [], []
    with filling(folder) as put:
        for number in range(count):
            stream = io.BytesIO()
            with tarfile.open(fileobj=stream, mode="w") as archive:
                member = tarfile.TarInfo("hello" if not number else f"files/{number}")
                data = MODULE if not number else b"%d" % number
                member.size, member.mode = len(data), 0o755
                archive.addfile(member, io.BytesIO(data))
            layer = Blob.of(mediatype.LAYER, stream.getvalue())
            put(layer, "")
            layers.append(layer.descriptor)
            diffs.append(layer.descriptor.digest)
        document = {
            "architecture": "wasm", "os": "wasi", "config": {"Entrypoint": ["/hello"]},
            "rootfs": {"type": "layers", "diff_ids": diffs},
        }  # fmt: skip
        config = Blob.of(mediatype.CONFIG, json.dumps(document).encode())
        put(config, "")
        put(Blob.of(mediatype.MANIFEST, Manifest(config.descriptor, tuple(layers)).to_bytes()), "1")
    return f"oci:{folder}:1"


def indexed(folder: Path, count: int) -> str:
    """An index of so many images."""
    listed = []
    with filling(folder) as put:
        for number in range(count):
            for blob in manifest(number):
                put(blob, "")
            listed.append(blob.descriptor.with_platform(Platform("linux", f"machine{number}")))
        put(Blob.of(mediatype.INDEX, Index(tuple(listed)).to_bytes()), "1")
    return f"oci:{folder}:1"


def rooted(folder: Path, count: int, *, tagged: bool = True) -> str:
    """A layout of so many images."""
    with filling(folder) as put:
        for number in range(count):
            config, root = manifest(number)
            put(config, "")
            put(root, f"t{number}" if tagged else None)
    return f"oci:{folder}"


def one_image(folder: Path, count: int) -> str:
    """A layout of one image under so many names."""
    with filling(folder) as put:
        config, root = manifest(0)
        put(config, "")
        for number in range(count):
            put(root, f"t{number}")
    return f"oci:{folder}"


def attached(folder: Path, count: int) -> str:
    """An image with so many others attached."""
    with filling(folder) as put:
        config, root = manifest(-1)
        put(config, "")
        put(root, "1")
        for number in range(count):
            config, each = manifest(number, root.descriptor.bare)
            put(config, "")
            put(each, None)
    return f"oci:{folder}:1"


def packed_with(folder: Path, count: int) -> Work:
    folder.mkdir()
    program, more = folder / "hello.wasm", folder / "more"
    program.write_bytes(MODULE)
    more.mkdir()
    for number in range(count):
        (more / str(number)).write_bytes(b"%d" % number)
    return lambda: ocibuild.pack(program, format="image", add=[f"{more}:/more/"], output=f"oci:{folder}/out.oci")


def packed_into_one(folder: Path, count: int) -> Work:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.wasm").write_bytes(MODULE + b"\0\x09\x04name" + b"%04d" % number)

    def work() -> None:
        for number in range(count):
            ocibuild.pack(folder / f"{number}.wasm", output=f"oci:{folder}/out.oci:{number}")

    return work


def many_verbs(make: Callable[[Path, int], str], verb: Callable[[str, int], object]) -> Callable[[Path, int], Work]:
    """A verb for each of so many images."""

    def prepared(folder: Path, count: int) -> Work:
        place = make(folder, count)

        def work() -> None:
            for number in range(count):
                verb(place, number)

        return work

    return prepared


def one_verb(make: Callable[[Path, int], str], verb: Callable[[str, Path], object]) -> Callable[[Path, int], Work]:
    """One verb for an image of so many parts; the path is one where nothing is yet."""

    def prepared(folder: Path, count: int) -> Work:
        place = make(folder, count)
        return lambda: verb(place, folder.with_suffix(".out"))

    return prepared


def diffed(place: str, out: Path) -> object:
    return ocibuild.diff(place, place)


def differing(make: Callable[[Path, int], str]) -> Callable[[Path, int], Work]:
    def prepared(folder: Path, count: int) -> Work:
        one, other = make(folder, count), make(folder.with_suffix(".b"), count + 1)
        return lambda: ocibuild.diff(one, other)

    return prepared


def joined(folder: Path, count: int) -> Work:
    place = rooted(folder, count)
    return lambda: ocibuild.join(*(f"{place}:t{number}" for number in range(count)), tag=f"{place}.out:1")


ONE_FOR_MANY: dict[str, Callable[[Path, int], Work]] = {
    "pack with files": packed_with,
    "copy layers": one_verb(layered, lambda place, out: ocibuild.copy(place, f"oci:{out}:1")),
    "archive layers": one_verb(layered, lambda place, out: ocibuild.copy(place, f"oci-archive:{out}")),
    "inspect layers": one_verb(layered, lambda place, out: ocibuild.inspect(place)),
    "inspect contents": one_verb(layered, lambda place, out: ocibuild.inspect(place, contents=True)),
    "check layers": one_verb(layered, lambda place, out: ocibuild.check(place)),
    "diff layers": differing(layered),
    "extract from layers": one_verb(layered, lambda place, out: ocibuild.extract(place, str(out))),
    "copy an index": one_verb(indexed, lambda place, out: ocibuild.copy(place, f"oci:{out}:1")),
    "inspect an index": one_verb(indexed, lambda place, out: ocibuild.inspect(place)),
    "tree of an index": one_verb(indexed, lambda place, out: ocibuild.tree(place)),
    "check an index": one_verb(indexed, lambda place, out: ocibuild.check(place)),
    "diff indexes": differing(indexed),
    "pick from an index": one_verb(
        indexed, lambda place, out: ocibuild.copy(place, f"oci:{out}", platform="linux/machine7")
    ),
    "inspect a layout": one_verb(rooted, lambda place, out: ocibuild.inspect(place)),
    "tree of a layout": one_verb(rooted, lambda place, out: ocibuild.tree(place)),
    "untagged roots": one_verb(lambda f, n: rooted(f, n, tagged=False), lambda place, out: ocibuild.tree(place)),
    "remove one": one_verb(rooted, lambda place, out: ocibuild.remove(f"{place}:t7", manifest=True)),
    "referrers": one_verb(attached, lambda place, out: ocibuild.referrers(place)),
    "tree of referrers": one_verb(attached, lambda place, out: ocibuild.tree(place)),
}

ONE_FOR_EACH: dict[str, Callable[[Path, int], Work]] = {
    "resolve each": many_verbs(rooted, lambda place, n: ocibuild.digest(f"{place}:t{n}")),
    "tag each": many_verbs(rooted, lambda place, n: ocibuild.tag(f"{place}:t{n}", f"other{n}")),
    "tag one image": many_verbs(one_image, lambda place, n: ocibuild.tag(f"{place}:t{n}", f"other{n}")),
    "untag each": many_verbs(rooted, lambda place, n: ocibuild.remove(f"{place}:t{n}")),
    "untag one image": many_verbs(one_image, lambda place, n: ocibuild.remove(f"{place}:t{n}")),
    "copy each": many_verbs(rooted, lambda place, n: ocibuild.copy(f"{place}:t{n}", f"{place}.out:t{n}")),
    "pack into one": packed_into_one,
    "join": joined,
}


def grown(prepared: Callable[[Path, int], Work], few: int, folder: Path) -> float:
    """What four times as many cost, as a multiple of what `few` do."""
    costs = []
    for count in (few, few * TIMES):
        work = prepared(folder / str(count), count)
        entries._known = ()  # as in a process that has read nothing yet
        costs.append(calls(work))
    assert costs[1] > costs[0] * 1.5, "they are not looked at"
    return costs[1] / costs[0]


@pytest.mark.parametrize("name", ONE_FOR_MANY)
def test_an_image_of_four_times_as_much_costs_four_times_as_much(name: str, tmp_path: Path) -> None:
    assert grown(ONE_FOR_MANY[name], 100, tmp_path) < LIMIT


@pytest.mark.parametrize("name", ONE_FOR_EACH)
def test_one_of_many_costs_what_one_of_few_does(name: str, tmp_path: Path) -> None:
    assert grown(ONE_FOR_EACH[name], 40, tmp_path) < LIMIT


class Paged(Server):
    """A registry that has `count` tags and referrers, and tells a hundred at a time."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def respond(self, request: Seen) -> Answer:
        first = int(request.path.partition("last=")[2] or 0)
        last = min(first + 100, self._count)
        numbers = range(first, last)
        path = request.path.partition("?")[0]
        link = {"Link": f'<{path}?last={last}>; rel="next"'} if last < self._count else {}
        if "/referrers/" in path:
            listed = [manifest(number)[1].descriptor.to_json() for number in numbers]
            document = {"schemaVersion": 2, "mediaType": mediatype.INDEX, "manifests": listed}
            return Answer(200, {"Content-Type": mediatype.INDEX, **link}, json.dumps(document).encode())
        body = json.dumps({"name": "hello", "tags": [f"t{number:05}" for number in numbers]}).encode()
        return Answer(200, {"Content-Type": "application/json", **link}, body)


@pytest.mark.parametrize("what", ["tags", "referrers"])
def test_lists_of_registries_grow_by_their_pages(what: str) -> None:
    costs = []
    for count in (500, 500 * TIMES):
        with Paged(count) as registry:
            store = RegistryStore(Reference.parse(f"{registry.host}/hello"), Settings())
            found: list[Any] = []
            subject = Descriptor(mediatype.MANIFEST, Digest.of(b"x"), 1)
            read = {"tags": store.tags, "referrers": lambda: store.referrers(subject)}[what]  # noqa: B023
            costs.append(calls(lambda: found.extend(read())))  # noqa: B023
            assert len(found) == count
            assert len(registry.seen) == count // 100
    assert costs[1] / costs[0] < LIMIT


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_file_is_read_once_whatever_its_size(
    compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = [0]

    class Counting(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(-1 if size is None else size)
            read[0] += len(data)
            return data

    monkeypatch.setattr(content, "open", lambda path, mode, buffering: Counting(path, "r"), raising=False)
    for size in (1, 2, 4):
        file = tmp_path / f"{size}.wasm"
        length = size * 1024 * 1024
        file.write_bytes(MODULE + b"\0" + _leb(length) + b"\1x" + bytes(length - 2))
        read[0] = 0
        ocibuild.pack(file, output=f"oci:{tmp_path}/out.oci:{size}", compression=compression)
        assert read[0] == file.stat().st_size


def _leb(number: int) -> bytes:
    """WebAssembly core specification, "Integers"."""
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def test_a_layout_of_more_than_ten_thousand_images_is_packed_into_and_read(tmp_path: Path) -> None:
    place, module = tmp_path / "x.oci", tmp_path / "hello.wasm"
    module.write_bytes(MODULE)
    ocibuild.pack(module, output=f"oci:{place}:first")
    document = json.loads((place / "index.json").read_bytes())
    (first,) = document["manifests"]
    name = "org.opencontainers.image.ref.name"
    document["manifests"] = [{**first, "annotations": {name: f"t{number}"}} for number in range(10_500)]
    (place / "index.json").write_text(json.dumps(document))
    ocibuild.pack(module, output=f"oci:{place}:last")
    names = [name for name, _ in LayoutStore(place).roots()]
    assert (len(names), names[-1]) == (10_501, "last")
    assert str(ocibuild.digest(f"oci:{place}:t10499")) == first["digest"]
    ocibuild.copy(f"oci:{place}:t5000", f"oci-archive:{tmp_path}/x.tar")


def test_an_index_of_ten_thousand_entries_is_copied_and_described(tmp_path: Path) -> None:
    config, one = manifest(0)
    listed = tuple(one.descriptor.with_platform(Platform("linux", f"machine{number}")) for number in range(10_000))
    with filling(tmp_path / "x.oci") as put:
        put(config, "")
        put(one, "")
        put(Blob.of(mediatype.INDEX, Index(listed).to_bytes()), "1")
    ocibuild.copy(f"oci:{tmp_path}/x.oci:1", f"oci:{tmp_path}/y.oci:1")
    assert len(ocibuild.inspect(f"oci:{tmp_path}/y.oci:1")["images"]) == 10_000
