"""The HTTP server: cheroot's, with the bounds that a registry needs where cheroot has none.

What is other here. A request is given to a worker once its headers have come whole, so those who dribble hold none (over
TLS, whose bytes cannot be looked at first, a worker reads them, with less patience the fewer workers are free). Workers are
started as they are needed, up to a bound. Bodies are read into the caller's buffer, a chunk is never held whole, and what is
left of a body that nobody wanted is neither read into memory nor waited for. TLS is agreed upon by a worker, not where
connections are accepted. Large files go out by sendfile, small ones with their headers.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import socket
import threading
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from cheroot import server as cheroot
from cheroot import wsgi

from ocibuild.errors import NetworkError
from ocibuild.serve.limits import Limits
from ocibuild.serve.wire import Broken, ChunkedBody, FileBody, Reader, SizedBody, Writer, drain, linger
from ocibuild.serve.workers import Workers

if TYPE_CHECKING:
    import ssl

    from _typeshed.wsgi import WSGIApplication

_log = logging.getLogger("ocibuild.serve")
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
_SMALL = 16 * 1024
"""Bytes of a file that leave with the headers: the kernel's way costs more than it saves there."""

_SENT_AT_ONCE = 16 * 1024 * 1024
_UNWANTED = 256 * 1024
_LINGER = 64 * 1024 * 1024
_PATIENCE = 2.0
_POLL = 0.05
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class _Headers(cheroot.DropUnderscoreHeaderReader):
    """cheroot's, which take the last of two lengths and any number of lines."""

    def __call__(self, rfile: Any, hdict: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {} if hdict is None else hdict
        for _ in range(100):
            line = rfile.readline()
            if line == b"\r\n":
                return found
            name, colon, value = line.partition(b":")
            if not line.endswith(b"\r\n") or not colon or not _TOKEN.fullmatch(name):
                raise ValueError("A header line is not one.")
            name, value = name.title(), value.strip()
            if b"\0" in value or b"\r" in value:
                raise ValueError("A header value is none.")
            if b"_" in name:
                continue
            if name == b"Expect":
                name = b"Expectation"  # cheroot would say at once that we want the body
            if name in found:
                if name in (b"Content-Length", b"Host", b"Authorization", b"Content-Range", b"Range"):
                    raise ValueError(f"{name.decode()} stands there twice.")
                value = found[name] + b", " + value
            found[name] = value
        raise ValueError("There are more than 100 header lines.")


class _Request(cheroot.HTTPRequest):
    header_reader = _Headers()
    conn: _Connection
    server: Server

    def parse_request(self) -> None:
        self.conn.rfile.deadline = monotonic() + self.server.patience
        try:
            super().parse_request()
        finally:
            self.conn.rfile.deadline = None

    def read_request_headers(self) -> bool:
        if not super().read_request_headers():  # type: ignore[no-untyped-call]
            return False
        self.conn.expects = self.inheaders.pop(b"Expectation", b"").lower() == b"100-continue"
        length = self.inheaders.get(b"Content-Length")
        if length is not None and (self.chunked_read or not length.isdigit() or len(length) > 18):
            self.simple_response("400 Bad Request", "The length of the body is not clear.")
            return False
        return True

    def respond(self) -> None:
        limits = self.server.limits
        self.conn.socket.settimeout(limits.idle)
        body: ChunkedBody | SizedBody
        if self.chunked_read:
            body = ChunkedBody(self.conn.rfile, limits)
        else:
            body = SizedBody(self.conn.rfile, int(self.inheaders.get(b"Content-Length", 0)), limits)
        if self.conn.expects:
            # RFC 9110, section 10.1.1: only a client whose body is wanted is told to go on.
            body.greeting = lambda: self.conn.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.rfile = self.conn.body = body
        self.server.gateway(self).respond()
        if self.ready:
            self.ensure_headers_sent()
        if self.chunked_write:
            self.conn.wfile.write(b"0\r\n\r\n")
        if not body.ended and not self.close_connection:
            self.close_connection = not drain(body, _UNWANTED, _PATIENCE, self.conn.socket)

    def send_headers(self) -> None:
        body = self.conn.body
        if body is not None and not body.ended and getattr(body, "left", _UNWANTED) >= _UNWANTED:
            self.close_connection = True
        super().send_headers()


class _Gateway(wsgi.Gateway_10):
    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]  # the library says None there
        # For middleware that must be able to cut a connection.
        return {**super().get_environ(), "ocibuild.socket": self.req.conn.socket}  # type: ignore[no-untyped-call]

    def respond(self) -> None:
        answer: Iterable[bytes] = self.req.server.wsgi_app(self.env, self.start_response)
        try:
            if isinstance(answer, FileBody) and answer.size > _SMALL:
                self.req.ensure_headers_sent()
                self._send_file(answer)
            else:
                writer: Writer = self.req.conn.wfile
                with writer.together():
                    for piece in filter(None, answer):
                        self.write(piece)
                    self.req.ensure_headers_sent()
        finally:
            if hasattr(answer, "close"):
                answer.close()
        self.req.ensure_headers_sent()

    def _send_file(self, body: FileBody) -> None:
        limits, sock = self.req.server.limits, self.req.conn.socket
        began, offset, end = monotonic(), body.offset, body.offset + body.size
        while offset < end:
            sent = sock.sendfile(body.stream, offset, min(_SENT_AT_ONCE, end - offset))
            offset += sent
            elapsed = monotonic() - began
            if not sent or (elapsed > limits.idle and offset - body.offset < limits.slowest * elapsed):
                raise Broken("the client takes too slowly, or the file has shrunk")


class _Connection(cheroot.HTTPConnection):
    RequestHandlerClass = _Request
    server: Server

    def __init__(self, server: Server, sock: socket.socket, makefile: object = None) -> None:
        super().__init__(server, sock, lambda sock, mode, size: Reader(sock) if mode == "rb" else Writer(sock))
        self.body: ChunkedBody | SizedBody | None = None
        self.expects = False
        self.since = monotonic()
        self._agreed = server.ssl_adapter is None
        self._closed = False
        server.opened(self)

    def communicate(self) -> bool:
        self.body = None
        self.socket.settimeout(min(5.0, self.server.patience))
        if not self._agreed:
            try:
                self.socket.do_handshake()
            except OSError:
                return False
            self._agreed = True
        keep = bool(super().communicate())  # type: ignore[no-untyped-call]
        self.since = monotonic()
        return keep

    def ready(self) -> bool | None:
        """True where a worker has something to do; None where nothing has come yet, False where too little has."""
        if self.rfile.has_data():
            return True
        try:
            self.socket.setblocking(False)  # or Python would wait for the socket's timeout; a request sets it again
            # The plain socket's own: an SSLSocket refuses to look.
            data = socket.socket.recv(self.socket, self.server.limits.header, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return True
        if self.server.ssl_adapter is not None or not data or len(data) >= self.server.limits.header:
            return True
        return b"\r\n\r\n" in data or b"\n\n" in data

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if self.body is not None and not self.body.ended and self.server.ready:
                linger(self.socket, _LINGER, _PATIENCE)
            with suppress(OSError):
                super().close()
        finally:
            self.server.closed(self)


class _Tls:
    """cheroot's idea of a TLS adapter, which agrees upon nothing while connections are accepted."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context

    def bind(self, sock: socket.socket) -> socket.socket:
        """The listening socket stays as it is."""
        return sock

    def wrap(self, sock: socket.socket) -> tuple[socket.socket, dict[str, str]]:
        """The connection's socket and what the application is told."""
        wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def makefile(self, sock: socket.socket, mode: str = "r", bufsize: int = 0) -> Reader | Writer:
        """A connection makes its own."""
        return Reader(sock) if "r" in mode else Writer(sock)


class Server(wsgi.Server):
    """Serves a WSGI application on one address. `begin`, then `end`; it works on threads of its own.

    Raises NetworkError (`address-in-use`) where it cannot listen.
    """

    ConnectionClass = _Connection

    def __init__(
        self,
        app: WSGIApplication,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__((host, port), app, server_name="ocibuild")
        self.limits = limits or Limits()
        self.gateway = _Gateway
        self.requests = Workers(self, self.limits.workers)
        self.ssl_adapter = _Tls(tls) if tls is not None else None
        self.request_queue_size = 256
        self.timeout = self.limits.rest
        self.shutdown_timeout = 0.3
        self.expiration_interval = 0.2
        self.max_request_header_size = self.limits.header * 2  # cheroot counts each byte of a line twice
        self.keep_alive_conn_limit = self.limits.connections
        self._open: set[_Connection] = set()
        self._counting = threading.Lock()
        self._lobby: list[_Connection] = []
        self._came = threading.Event()
        self._thread: threading.Thread | None = None
        self._waiter: threading.Thread | None = None

    def begin(self) -> None:
        """Listen, and serve from now on."""
        try:
            self.prepare()
        except OSError as error:
            host, port = self.bind_addr
            raise NetworkError(
                f"{host}:{port} cannot be listened on: {_reason(error)}",
                code="address-in-use",
                hint="choose another --port; 0 takes any that is free",
            ) from error
        self._thread = threading.Thread(target=self.serve, name="ocibuild-accept", daemon=True)
        self._waiter = threading.Thread(target=self._wait, name="ocibuild-lobby", daemon=True)
        self._thread.start()
        self._waiter.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        number = self.bind_addr[1] if self.socket is None else self.socket.getsockname()[1]
        return int(number)

    @property
    def patience(self) -> float:
        """Seconds for a handshake, and for headers that a worker awaits: fewer, the fewer workers are free."""
        longest = self.limits.header_time
        spare: float = self.requests.spare
        return max(min(_PATIENCE, longest), longest * spare)

    def end(self) -> None:
        """Stop within a second: requests have a moment to end, then they are cut."""
        self._wake()
        self.stop()
        self._came.set()
        for thread in (self._thread, self._waiter):
            if thread is not None:
                thread.join(2)
        for connection in list(self._open):
            connection.close()

    def _wake(self) -> None:
        # The thread that accepts sleeps until something comes: something does.
        self._connections._stop_requested = True  # type: ignore[attr-defined]  # made by prepare()
        host = str(self.bind_addr[0])
        nowhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        with suppress(OSError):
            socket.create_connection((nowhere.get(host, host), self.port), timeout=0.1).close()

    def opened(self, connection: _Connection) -> None:
        """Count a connection."""
        with self._counting:
            self._open.add(connection)

    def closed(self, connection: _Connection) -> None:
        """Count it no longer."""
        with self._counting:
            self._open.discard(connection)

    def process_conn(self, connection: _Connection) -> None:
        """Where a connection goes that something may have come on: to a worker, back to rest, or to the lobby."""
        if len(self._open) > self.limits.connections:
            self._refuse(connection)
            return
        state = connection.ready()
        if state is None:
            self._connections.put(connection)  # type: ignore[attr-defined]  # made by prepare()
        elif state:
            self._give(connection)
        else:
            connection.since = monotonic()
            with self._counting:
                self._lobby.append(connection)
            self._came.set()

    def _give(self, connection: _Connection) -> None:
        try:
            self.requests.put(connection)
        except queue.Full:
            self._refuse(connection)

    def _refuse(self, connection: _Connection) -> None:
        with suppress(OSError):
            if self.ssl_adapter is None:
                connection.socket.setblocking(False)
                connection.socket.send(_BUSY)
        connection.close()

    def _wait(self) -> None:
        """Those whose headers come in pieces: looked at again and again, until they are whole or it takes too long."""
        while self.ready:
            self._came.wait()
            sleep(_POLL)
            with self._counting:
                waiting, self._lobby = self._lobby, []
                if not waiting:
                    self._came.clear()
            late = monotonic() - self.limits.header_time
            for connection in waiting:
                if connection.ready() is not False:
                    self._give(connection)
                elif connection.since < late:
                    self._refuse(connection)
                else:
                    with self._counting:
                        self._lobby.append(connection)

    @staticmethod
    def bind_socket(socket_: socket.socket, bind_addr: object) -> socket.socket:
        """Bind, also to a port that a server before this one left a moment ago; or close the socket, as cheroot does not."""
        try:
            if os.name == "posix":  # elsewhere the option lets two servers have one port
                socket_.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            socket_.bind(bind_addr)  # type: ignore[arg-type]
        except OSError as error:
            socket_.close()
            raise OSError(error.errno, error.strerror) from error
        return socket_

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """cheroot's complaints, for who asked with --debug."""
        _log.debug("%s", msg, exc_info=traceback)


def _reason(error: OSError) -> str:
    """The system's own words: cheroot wraps them in its own, with an address for each try."""
    return re.sub(r".*\[Errno -?\d+\] ([^)]*)\).*", r"\1", str(error), flags=re.DOTALL)
