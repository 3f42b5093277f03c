"""An HTTP server on loopback that does as it is told, faults included; every request it sees is kept.

    with Scripted({"GET /v2/a/tags/list": [Answer(503), Answer(200, body=b"{}")]}) as server:
        server.host, server.seen

Keys are a method and a regular expression for path and query; the last answer of a list is given for ever.
"""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

PLANTED = "planted-secret"
"""What tests use as password or token. It may reach the servers that are entrusted with it, and nobody else."""

_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}")


def leaks(text: str) -> bool:
    """True when the planted secret stands in a text, plainly, percent-encoded or in base64."""
    if PLANTED in text or PLANTED.replace("-", "%2D") in text:
        return True
    for word in _ENCODED.findall(text):
        data = word.replace("-", "+").replace("_", "/").rstrip("=")
        with contextlib.suppress(ValueError):
            if PLANTED.encode() in base64.b64decode(data + "=" * (-len(data) % 4)):
                return True
    return False


@dataclass(frozen=True)
class Seen:
    """A request, as it arrived; `shown` is the client's certificate, where it showed one."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    shown: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Answer:
    """What to send. `reset` breaks the connection after `read` bytes of the body; `stall` reads them and falls silent;
    neither: the answer comes early, before the body's end.

    `cut` sends so many bytes of the answer's body and breaks; `lines` adds headers that may repeat.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    lines: Sequence[tuple[str, str]] = ()
    read: int | None = None
    reset: bool = False
    stall: bool = False
    cut: int | None = None
    after: float = 0


class Server:
    """Serves `respond` on a port the system gives; a context manager. With `tls` set before it is entered, over TLS.

    A server that sees the planted secret and was not `entrusted` with it fails the test.
    """

    entrusted = False
    tls: ssl.SSLContext | None = None

    def __init__(self, respond: Callable[[Seen], Answer] | None = None) -> None:
        self._respond = respond
        self.seen: list[Seen] = []
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._server = _Listener(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def host(self) -> str:
        """127.0.0.1:port, as a reference begins."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """http://host, or https."""
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def early(self, method: str, path: str) -> Answer | None:
        """An answer for a request whose body is not to be read to its end."""
        return None

    def respond(self, request: Seen) -> Answer:
        """The answer to a whole request."""
        assert self._respond is not None
        return self._respond(request)

    def keep(self, request: Seen) -> None:
        """Remember a request."""
        with self._lock:
            self.seen.append(request)

    def requests(self, method: str, part: str = "") -> list[Seen]:
        """The requests seen of a method, with `part` in their path."""
        with self._lock:
            return [request for request in self.seen if request.method == method and part in request.path]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        if not self.entrusted:
            told = [request for request in self.seen if leaks(f"{request.path} {request.headers} {request.body!r}")]
            assert not told, f"a secret was sent to {self.host}: {told[0].method} {told[0].path}"


class Scripted(Server):
    """A server that answers from a script."""

    def __init__(self, script: Mapping[str, Sequence[Answer] | Answer]) -> None:
        super().__init__()
        self._script = {
            key: [answers] if isinstance(answers, Answer) else list(answers) for key, answers in script.items()
        }
        self._turn = threading.Lock()

    def early(self, method: str, path: str) -> Answer | None:
        """The answer in turn when it is one that does not read the whole body."""
        answers = self._find(method, path)
        with self._turn:
            if answers and (answers[0].read is not None or answers[0].stall):
                return answers.pop(0) if len(answers) > 1 else answers[0]
        return None

    def respond(self, request: Seen) -> Answer:
        """The answer in turn."""
        answers = self._find(request.method, request.path)
        if not answers:
            return Answer(
                404, {"Content-Type": "application/json"}, b'{"errors":[{"code":"UNSCRIPTED","message":"-"}]}'
            )
        with self._turn:
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def _find(self, method: str, path: str) -> list[Answer]:
        for key, answers in self._script.items():
            verb, _, pattern = key.partition(" ")
            if verb == method and re.fullmatch(pattern, path):
                return answers
        return []


class Raw:
    """A server that answers each connection in turn with bytes as they are, the last ones for ever; a context manager.

    After the first `at_once` bytes it sends one at a time with `pause` seconds between.
    """

    def __init__(self, *answers: bytes, pause: float = 0, at_once: int = 0) -> None:
        self._answers = list(answers)
        self._pause, self._at_once = pause, at_once
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self.connections = 0
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while not self._ended.is_set():
                connection, _ = self._listener.accept()
                answer = self._answers[min(self.connections, len(self._answers) - 1)]
                self.connections += 1
                threading.Thread(target=self._answer, args=(connection, answer), daemon=True).start()

    def _answer(self, connection: socket.socket, answer: bytes) -> None:
        with connection, contextlib.suppress(OSError):  # clients that leave are part of the game
            connection.recv(65536)
            if not self._pause:
                connection.sendall(answer)
                return
            connection.sendall(answer[: self._at_once])
            for n in range(self._at_once, len(answer)):
                connection.sendall(answer[n : n + 1])
                if self._ended.wait(self._pause):
                    return


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are part of the game."""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            if server.tls is not None:  # in the connection's own thread: a stalled handshake blocks no other
                self.request.settimeout(10)
                self.request = server.tls.wrap_socket(self.request, server_side=True)
            super().setup()

        def finish(self) -> None:
            super().finish()
            if server.tls is not None:
                self.request.close()  # the listener knows of the socket below it only

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            answer = server.early(self.command, self.path)
            wanted = length if answer is None or answer.read is None else min(length, answer.read)
            body = self.rfile.read(0 if answer and answer.stall and answer.read is None else wanted)
            shown = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
            request = Seen(
                self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body, shown or None
            )
            server.keep(request)
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                answer = Answer(411, {"Connection": "close"}, b"chunked bodies are not expected here")
            if answer is None:
                answer = server.respond(request)
            if answer.after:
                server.ended.wait(answer.after)
            if answer.stall:
                server.ended.wait(30)
            if answer.reset or answer.stall:
                self._break()
                return
            self._send(answer)
            if answer.read is not None:
                self._linger(length - len(body))

        def _linger(self, left: int) -> None:
            # As nginx does: the answer is out, and what the client goes on sending is thrown away.
            self.close_connection = True
            while left > 0 and (piece := self.rfile.read(min(left, 65536))):
                left -= len(piece)

        def _send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in [*answer.headers.items(), *answer.lines]:
                self.send_header(name, value)
            if "Content-Length" not in answer.headers and answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body if answer.cut is None else answer.body[: answer.cut])
            if answer.cut is not None:
                self.wfile.flush()
                self.close_connection = True

        def _break(self) -> None:
            # With a linger of zero, closing sends a reset and not an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    return Handler
