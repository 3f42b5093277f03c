"""Asking a registry by hand: no client of ours or of others stands between a test and the bytes."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocibuild.serve.access import Access
from ocibuild.serve.app import App
from ocibuild.serve.limits import Limits
from ocibuild.serve.registry import Registry
from ocibuild.serve.server import Server

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass(frozen=True)
class Told:
    """An answer. Header names are lower-case; of a name that stands twice the last value counts, `all` has them both."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    all: tuple[tuple[str, str], ...]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error's code."""
        error: str = self.json["errors"][0]["code"]
        return error


class Asker:
    """A registry that runs, and a connection to it a question."""

    def __init__(self, port: int, registry: Registry | None = None) -> None:
        self.port = port
        self.registry = registry

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        *,
        seconds: float = 20,
        **headers: str,
    ) -> Told:
        """One request, `path` as it is. An iterable is sent in chunks. Header names have `_` for `-`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body=body, headers=named)
            answer = connection.getresponse()
            pairs = tuple((name.lower(), value) for name, value in answer.getheaders())
            return Told(answer.status, dict(pairs), answer.read(), pairs)
        finally:
            connection.close()

    def blob(self, name: str, data: bytes, algorithm: str = "sha256") -> str:
        """Push a blob in one request, and give its digest."""
        digest = digest_of(data, algorithm)
        told = self.ask("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", data)
        assert told.status == 201, told
        return digest

    def manifest(self, name: str, reference: str | None, document: Any, media_type: str = MANIFEST) -> str:
        """Push a manifest under a tag, or under its digest, and give that."""
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        told = self.ask("PUT", f"/v2/{name}/manifests/{reference or digest_of(data)}", data, Content_Type=media_type)
        assert told.status == 201, told
        return digest_of(data)

    def image(self, name: str, tag: str | None, text: str = "hello", **members: Any) -> str:
        """Push an image of one layer, and give its manifest's digest."""
        return self.manifest(name, tag, self.document(name, text, **members))

    def document(self, name: str, text: str = "hello", **members: Any) -> dict[str, Any]:
        """A manifest whose blobs are pushed."""
        layer = text.encode()
        config = self.blob(name, b"{}")
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": EMPTY, "digest": config, "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": self.blob(name, layer), "size": len(layer)}],
            **members,
        }

    def raw(self, *pieces: bytes, seconds: float = 10, pause: float = 0) -> bytes:
        """Send bytes as they are, and give everything that comes back until the server closes, or falls silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            said = b""
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    time.sleep(pause)
                while piece := connection.recv(65536):
                    said += piece
            except (TimeoutError, ConnectionError):
                pass
            return said


@contextmanager
def answering(
    root: Path, *, limits: Limits | None = None, access: Access | None = None, name: str | None = None, **more: Any
) -> Iterator[Asker]:
    """A registry over a folder, until the block ends."""
    root.mkdir(exist_ok=True)
    registry = Registry(root, clock=time.time, limits=limits, name=name, **more)
    server = Server(App(registry, access), limits=limits)
    server.begin()
    try:
        yield Asker(server.port, registry)
    finally:
        server.end()
