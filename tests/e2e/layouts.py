"""OCI layouts written and read with the standard library alone, so that no test judges our reading by our writing."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_MIB = 1024 * 1024
_PIECE = random.Random(4).randbytes(_MIB)


def write(folder: Path, layers: list[Iterator[bytes] | bytes], *, tag: str = "1") -> str:
    """A layout with one manifest of these layers, which are kept as they are; gives the manifest's digest."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    entries = [_blob(blobs, "application/wasm", layer) for layer in layers]
    config = _blob(blobs, "application/vnd.oci.empty.v1+json", b"{}")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.test.pieces",
        "config": config,
        "layers": entries,
    }
    root = _blob(blobs, str(manifest["mediaType"]), json.dumps(manifest).encode())
    named = {**root, "annotations": {"org.opencontainers.image.ref.name": tag}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(root["digest"])


def pieces(size: int, salt: int = 0) -> Iterator[bytes]:
    """`size` bytes that no compression and no sparse file makes smaller, a MiB at a time, no two of them alike."""
    for number in range(0, size, _MIB):
        head = f"{salt} {number}".encode().ljust(32)
        yield (head + _PIECE[32:])[: size - number]


def root(folder: Path) -> str:
    """The digest of a layout's only image; of the named one, where some have a name and others none."""
    entries = json.loads((folder / "index.json").read_text())["manifests"]
    named = [entry for entry in entries if "org.opencontainers.image.ref.name" in entry.get("annotations", {})]
    found = {entry["digest"] for entry in named or entries}
    assert len(found) == 1, found
    return str(found.pop())


def graph(folder: Path, digest: str) -> dict[str, str]:
    """Media types by digest of all that hangs below a digest; every byte is hashed and every size compared."""
    found: dict[str, str] = {}
    waiting: list[dict[str, Any]] = [{"digest": digest}]
    while waiting:
        entry = waiting.pop()
        path = folder / "blobs" / entry["digest"].replace(":", "/")
        with path.open("rb") as stream:
            assert f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}" == entry["digest"], path
        assert entry.get("size", path.stat().st_size) == path.stat().st_size, path
        found[entry["digest"]] = entry.get("mediaType", "")
        if entry["digest"] == digest or entry["mediaType"].endswith((".manifest.v1+json", ".index.v1+json")):
            document = json.loads(path.read_bytes())
            waiting += document.get("manifests", []) + document.get("layers", [])
            waiting += [document["config"]] if "config" in document else []
    return found


def programs(folder: Path, digest: str) -> dict[str, bytes]:
    """The program of each manifest below a digest, by architecture ("" where nothing says it)."""
    document = _document(folder, digest)
    if "manifests" in document:
        found: dict[str, bytes] = {}
        for entry in document["manifests"]:
            found[entry["platform"]["architecture"]] = programs(folder, entry["digest"]).popitem()[1]
        return found
    (layer,) = document["layers"]
    data = (folder / "blobs" / layer["digest"].replace(":", "/")).read_bytes()
    if layer["mediaType"] == "application/wasm":
        return {"": data}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        (member,) = [member for member in archive if member.isfile()]
        stream = archive.extractfile(member)
        assert stream is not None
        return {"": stream.read()}


def _document(folder: Path, digest: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "blobs" / digest.replace(":", "/")).read_bytes())
    return document


def _blob(folder: Path, media_type: str, data: Iterator[bytes] | bytes) -> dict[str, Any]:
    hasher, size, temporary = hashlib.sha256(), 0, folder / "new"
    with temporary.open("wb") as stream:
        for piece in [data] if isinstance(data, bytes) else data:
            hasher.update(piece)
            size += stream.write(piece)
    temporary.rename(folder / hasher.hexdigest())
    return {"mediaType": media_type, "digest": f"sha256:{hasher.hexdigest()}", "size": size}
