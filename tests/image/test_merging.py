"""Layers upon each other are what the plainest code makes of them. OCI image-spec, layer.md "Whiteouts"."""

from __future__ import annotations

import io
import random
import tarfile

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.image.rootfs import RootFs
from ocibuild.spec import mediatype
from ocibuild.store.memory import MemoryStore

Entries = list[tuple[str, str]]


def merged(layers: list[Entries]) -> dict[str, tuple[str, int]]:
    """Path to kind and layer: every path is held against every other."""
    files: dict[str, tuple[str, int]] = {}

    def gone(path: str, layer: int, itself: bool) -> None:
        whole = not itself or files.get(path, ("dir", 0))[0] == "dir"  # below a file is nothing but another's mistake
        for other in list(files):
            below = whole and (not path or other.startswith(f"{path}/"))
            if files[other][1] < layer and (below or (itself and other == path)):
                del files[other]

    for layer, members in enumerate(layers):
        for path, _ in members:
            folder, _, name = path.rpartition("/")
            if name == ".wh..wh..opq":
                gone(folder, layer, itself=False)
            elif name.startswith(".wh."):
                gone(f"{folder}/{name[4:]}".lstrip("/"), layer, itself=True)
        for path, kind in members:
            if not path.rpartition("/")[2].startswith(".wh."):
                if kind == "file":
                    gone(path, layer, itself=True)
                files[path] = kind, layer
    return files


@pytest.mark.parametrize("seed", range(60))
def test_any_layers_are_merged_as_the_plainest_code_does_it(seed: int) -> None:
    chance = random.Random(seed)
    deep = "/".join("d" for _ in range(40))
    folders = ["", "a", "b", "a/b", "a/b/c", deep, f"{deep}/x", f"{deep}/x/y"]
    names = ["a", "b", "c", "x", ".wh.a", ".wh.b", ".wh.x", ".wh..wh..opq"]
    layers: list[Entries] = []
    for _ in range(5):
        paths = {f"{chance.choice(folders)}/{chance.choice(names)}".lstrip("/") for _ in range(chance.randrange(9))}
        kinds = ["dir", "file", "file"]
        layers.append([(path, "file" if "/.wh." in f"/{path}" else chance.choice(kinds)) for path in sorted(paths)])
    store = MemoryStore()
    listed = []
    with Flow.open(cpu=1, io=1) as flow:
        for members in layers:
            stream = io.BytesIO()
            with tarfile.open(fileobj=stream, mode="w") as archive:
                for path, kind in members:
                    info = tarfile.TarInfo(path)
                    info.type = tarfile.DIRTYPE if kind == "dir" else tarfile.REGTYPE
                    archive.addfile(info)
            blob = Blob.of(mediatype.LAYER, stream.getvalue())
            store.push(blob, flow)
            listed.append(blob.descriptor)
    found = {path: (member.kind, member.layer) for path, member in RootFs.read(store, listed).files.items()}
    assert found == merged(layers)
