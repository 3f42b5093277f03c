"""A proxy on loopback that connects every name to one address, and keeps what it was told."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from typing import Self


class Proxy:
    """CONNECT to any host, and http addresses in full, lead to `target` (127.0.0.1:port). `seen` is each request's head.

    `wanted` is the Proxy-Authorization it insists on; `status` what it answers instead of connecting; with `tls` it is
    spoken to over TLS.
    """

    def __init__(self, target: str, *, wanted: str = "", status: str = "", tls: ssl.SSLContext | None = None) -> None:
        host, _, port = target.partition(":")
        self.seen: list[str] = []
        self._target = host, int(port)
        self._wanted, self._status, self._tls = wanted, status, tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def host(self) -> str:
        """127.0.0.1:port."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            sock.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            sock.settimeout(10)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
            self._open.append(sock)
            head = b""
            while b"\r\n\r\n" not in head and (piece := sock.recv(4096)):
                head += piece
            self.seen.append(head.decode("latin-1"))
            if self._wanted and f"proxy-authorization: {self._wanted.lower()}\r\n" not in self.seen[-1].lower():
                self._say(sock, "407 Proxy Authentication Required")
            elif self._status:
                self._say(sock, self._status)
            else:
                self._join(sock, head)
        except OSError:
            pass
        finally:
            sock.close()

    def _say(self, sock: socket.socket, status: str) -> None:
        sock.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())

    def _join(self, sock: socket.socket, head: bytes) -> None:
        with socket.create_connection(self._target, 10) as there:
            self._open.append(there)
            if head.startswith(b"CONNECT "):
                sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:  # the request line in its usual form
                method, address, rest = head.split(b" ", 2)
                there.sendall(method + b" /" + address.split(b"/", 3)[3] + b" " + rest)
            _relay(sock, there)


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Both ways by one thread, since a TLS socket is not for two; until either ends, or both are silent for long."""
    while True:
        ready = [sock for sock in (one, other) if isinstance(sock, ssl.SSLSocket) and sock.pending()]
        ready = ready or select.select([one, other], [], [], 10)[0]
        for sock in ready:
            data = sock.recv(65536)
            if not data:
                return
            (other if sock is one else one).sendall(data)
        if not ready:
            return
