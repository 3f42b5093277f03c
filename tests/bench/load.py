"""A client that costs next to nothing, so that it is the registry that is measured: sockets, and requests as bytes.

load.py put HOST FILE DIGEST             a blob into a new repository, by POST and PUT, sent by the kernel
load.py get-ready HOST FILE DIGEST       the same, for `get`
load.py get HOST REPOSITORY DIGEST SIZE  a blob, thrown away by the kernel
load.py push HOST COUNT CLIENTS          small images, each two blobs and a manifest under a tag
load.py pull HOST COUNT CLIENTS          the images that `push HOST COUNT 0` has put there, each by its tag
load.py start PORT WORDS…                start a registry, and wait for its first answer
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCTETS = "application/octet-stream"
PATIENCE = 30.0


class Line:
    """One connection, kept alive. Raises SystemExit with the answer where it is not the one that is expected."""

    def __init__(self, host: str) -> None:
        name, _, port = host.rpartition(":")
        self._host = host
        self._socket = socket.create_connection((name, int(port)), timeout=600)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def ask(self, method: str, path: str, expected: int, body: bytes = b"", kind: str = OCTETS) -> tuple[str, bytes]:
        """Headers and body of the answer."""
        self.say(method, path, len(body), body, kind)
        head, length = self.answer(expected)
        return head, self._take(length if method != "HEAD" else 0)

    def say(self, method: str, path: str, size: int, body: bytes = b"", kind: str = OCTETS) -> None:
        """Send a request, or the beginning of one."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", f"Content-Type: {kind}", f"Accept: {MANIFEST}"]
        self._socket.sendall("\r\n".join([*lines, f"Content-Length: {size}", "", ""]).encode() + body)

    def answer(self, expected: int) -> tuple[str, int]:
        """An answer's headers, and the length of its body."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._buffer += self._received()
        head, self._buffer = self._buffer[:end].decode("latin-1"), self._buffer[end + 4 :]
        if int(head.split(" ", 2)[1]) != expected:
            raise SystemExit(f"{head}\n{self._buffer[:500]!r}")
        length = re.search(r"\r\ncontent-length: *([0-9]+)", head, re.IGNORECASE)
        return head, int(length[1]) if length else 0

    def _received(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise SystemExit("the registry ended the connection")
        return data

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._buffer += self._received()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def waste(self, length: int) -> None:
        """Take a body without looking at it: the kernel does not even copy it."""
        left = length - len(self._buffer)
        self._buffer = b""
        spare = bytearray(1 << 20)
        while left > 0:
            count = self._socket.recv_into(spare, min(left, len(spare)), socket.MSG_TRUNC)
            if not count:
                raise SystemExit("the body ended early")
            left -= count

    def begin(self, repository: str) -> str:
        """Open an upload: the path to send to, up to the digest."""
        head, _ = self.ask("POST", f"/v2/{repository}/blobs/uploads/", 202)
        found = re.search(r"\r\nlocation: *(?:https?://[^/\r]+)?(/[^\r]+)", head, re.IGNORECASE)
        assert found is not None, head
        return f"{found[1]}{'&' if '?' in found[1] else '?'}digest="

    def file(self, path: Path, where: str) -> None:
        """PUT a file."""
        with path.open("rb") as stream:
            self.say("PUT", where, path.stat().st_size)
            self._socket.sendfile(stream)
        self._take(self.answer(201)[1])


def put(host: str, file: str, digest: str, repository: str = "") -> None:
    line = Line(host)
    line.file(Path(file), line.begin(repository or f"put{os.getpid()}/blob") + digest)


def get(host: str, repository: str, digest: str, size: str) -> None:
    line = Line(host)
    line.say("GET", f"/v2/{repository}/blobs/{digest}", 0)
    _, length = line.answer(200)
    assert length == int(size), length
    line.waste(length)


def blobs(seed: str) -> list[bytes]:
    """A config and a layer of some kilobytes, which nobody else has."""
    return [json.dumps({"seed": seed}).encode(), hashlib.sha256(seed.encode()).digest() * 128]


def push(host: str, count: str, clients: str) -> None:
    """With no client at all they are for `pull`, in a repository whose name is known."""
    name = f"push{os.getpid()}/small" if int(clients) else "pull/small"

    def one(line: Line, number: int) -> None:
        described = []
        for data in blobs(f"{name}:{number}"):
            digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
            line.ask("PUT", line.begin(name) + digest, 201, data)
            described.append({"mediaType": OCTETS, "digest": digest, "size": len(data)})
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
        line.ask("PUT", f"/v2/{name}/manifests/t{number}", 201, json.dumps(document).encode(), MANIFEST)

    side_by_side(host, int(count), max(1, int(clients)), one)


def pull(host: str, count: str, clients: str) -> None:
    def one(line: Line, number: int) -> None:
        _, manifest = line.ask("GET", f"/v2/pull/small/manifests/t{number}", 200)
        document = json.loads(manifest)
        for descriptor in (document["config"], *document["layers"]):
            _, data = line.ask("GET", f"/v2/pull/small/blobs/{descriptor['digest']}", 200)
            assert len(data) == descriptor["size"]

    side_by_side(host, int(count), int(clients), one)


def side_by_side(host: str, count: int, clients: int, one: object) -> None:
    """So many pieces of work by so many clients; the first failure is the end."""
    numbers, lock, failures = iter(range(count)), threading.Lock(), []

    def client() -> None:
        try:
            line = Line(host)
            while not failures:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                one(line, number)  # type: ignore[operator]
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def start(port: str, *words: str) -> None:
    """Until GET /v2/ is answered with 200; then it is ended."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                Line(f"127.0.0.1:{port}").ask("GET", "/v2/", 200)
                return
            except OSError:
                time.sleep(0.001)
        raise SystemExit(f"{words[0]} did not answer")
    finally:
        process.kill()
        process.wait(10)


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "get-ready":
        put(*rest, repository="ready/blob")
    else:
        {"put": put, "get": get, "push": push, "pull": pull, "start": start}[verb](*rest)
