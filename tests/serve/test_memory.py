"""What a registry of many small things takes: by the kernel's own count of the process, and by Python's of the pieces."""

from __future__ import annotations

import gc
import hashlib
import json
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocibuild.serve.storage import Storage
from ocibuild.serve.view import read
from ocibuild.spec.digest import Digest
from tests.serve.asking import MANIFEST, Asker
from tests.serve.test_serve import port_of, process

MIB = 1 << 20


def listed(count: int) -> bytes:
    """An index.json of so many tags, each an image of its own."""
    entries = [
        {
            "mediaType": MANIFEST,
            "digest": f"sha256:{hashlib.sha256(b'%d' % number).hexdigest()}",
            "size": 600,
            "annotations": {"org.opencontainers.image.ref.name": f"t{number}"},
        }
        for number in range(count)
    ]
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


def test_many_clients_that_push_among_many_tags_take_less_than_64_mib(tmp_path: Path) -> None:
    folder = tmp_path / "registry" / "a"
    (folder / "blobs" / "sha256").mkdir(parents=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_bytes(listed(4000))
    failed: list[BaseException] = []
    with process(tmp_path / "registry", "--port", "0") as running:
        served = Asker(port_of(running))

        def push(client: int) -> None:
            try:
                for turn in range(8):
                    served.image("a", f"new{client}-{turn}", f"{client} {turn}")
            except BaseException as error:
                failed.append(error)

        clients = [threading.Thread(target=push, args=(client,)) for client in range(32)]
        for client in clients:
            client.start()
        for client in clients:
            client.join(60)
        peak = int(Path(f"/proc/{running.pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    assert failed == []
    assert len(json.loads((folder / "index.json").read_bytes())["manifests"]) == 4256
    assert peak < 64 * MIB, f"{peak / MIB:.1f} MiB"


def taken(work: Callable[[], Any]) -> tuple[int, int]:
    """Bytes that what `work` returned holds, and at most while it ran."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = work()
        gc.collect()
        now, peak = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return now, peak


def test_a_tag_takes_less_than_a_kilobyte_and_a_push_only_its_tables(tmp_path: Path) -> None:
    count = 5000
    data = listed(count)
    held, _ = taken(lambda: read(data))
    assert held < 1000 * count
    view = read(data)

    def push() -> int:
        changing = view.changing()
        changing.put({"mediaType": MANIFEST, "digest": f"sha256:{'0' * 64}", "size": 3}, ["new"])
        return sum(map(len, changing.pieces()))

    _, peak = taken(push)
    assert peak < len(data), "the file is held whole"


def test_where_blobs_are_is_known_in_one_size(tmp_path: Path) -> None:
    storage = Storage.over(tmp_path, name=None, manifest_limit=MIB)

    def remember() -> None:
        for number in range(20_000):
            storage.remember(Digest.of(b"%d" % number), "".join(("a", "/b")))

    assert taken(remember)[0] < 100_000
    known = storage.known(Digest.of(b"19999"))
    assert known is not None
    assert known.name == "a/b"
    assert storage.known(Digest.of(b"never")) is None or storage.whereabouts(Digest.of(b"never")) is None
