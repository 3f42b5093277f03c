"""Connections that can be called off. A flag does not wake a thread that waits in send or recv; its socket's end does.

The thread that makes a call holds a `Wire`; every connection used on its behalf reports to it. Cancelling shuts the
socket down, at which the blocked system call returns at once.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import Any

from requests.adapters import HTTPAdapter
from requests.models import PreparedRequest, Response
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ocibuild.content.flow import Cancel
from ocibuild.registry.answer import Answer
from ocibuild.registry.deadline import Deadline
from ocibuild.registry.dial import dial
from ocibuild.registry.origin import Origin
from ocibuild.registry.tls import Contexts

BLOCK = 256 * 1024
"""Bytes urllib3 reads from a body and sends in one go: large enough to be fast, small enough to time."""

_TOGETHER = 64 * 1024
"""Bytes of headers and body that are copied to go out as one."""


_TARGET = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*")
"""A path and a query with nothing in them to be quoted. RFC 3986, sections 3.3 and 3.4."""


class Wire:
    """The socket a call is on now, by a duplicate: TLS takes the original over, the duplicate stays ours."""

    def __init__(self, cancel: Cancel, connect: float = 10) -> None:
        self.cancel = cancel
        self.connect = connect
        self.late = False
        self.target = ""
        self._reply = 0.0
        self._deadline = Deadline(self._expire)
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()  # a descriptor that was closed may be another's by the time it is cut

    def hold(self, sock: Any) -> None:
        """From now on `cut` means this socket. Raises Cancelled when it comes too late."""
        self.release()
        with self._lock:
            # SSLSocket.dup refuses. A socket that is not told what it is asks the system, four times; TLS in TLS cannot tell.
            kind = (sock.family, sock.type, sock.proto) if isinstance(sock, socket.socket) else (-1, -1, -1)
            self._socket = socket.socket(*kind, fileno=socket.dup(sock.fileno()))
        self.cancel.check()

    @contextmanager
    def used(self, reply: float) -> Iterator[None]:
        """While inside, connections this thread makes or takes from a pool report here; an answer has `reply` seconds."""
        token = _wire.set(self)
        self.late, self._reply = False, reply
        try:
            yield
        finally:
            _wire.reset(token)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While inside, the request is out and the answer's headers come; when they take too long, `late` is set."""
        self._deadline.arm(self._reply)
        try:
            yield
        finally:
            self._deadline.disarm()

    def _expire(self) -> None:
        self.late = True
        self.cut()

    def cut(self) -> None:
        """End whatever waits on the socket."""
        with self._lock, suppress(OSError):  # it may be gone already
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """The call is over; the connection may live on in its pool."""
        with self._lock:
            held, self._socket = self._socket, None
            if held is not None:
                held.close()


_wire: ContextVar[Wire | None] = ContextVar("wire", default=None)


@contextmanager
def wired(cancel: Cancel, connect: float) -> Iterator[Wire]:
    """A wire that is cut when `cancel` is set, and released at the end. Raises Cancelled if it already is."""
    wire = Wire(cancel, connect)
    try:
        with cancel.closing(wire.cut):
            yield wire
    finally:
        wire.release()


class _Reporting(HTTPConnection):
    """urllib3's connection, with its socket shown to the wire of the thread that uses it."""

    response_class = Answer

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        if wire := _wire.get():
            _hold(wire, sock)
        return sock

    _unsent: bytearray | None = None

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        wire = _wire.get()
        if wire and self.sock is not None:
            wire.hold(self.sock)  # a connection out of the pool
        self._unsent = bytearray()
        try:
            super().request(method, (wire and wire.target) or url, *args, **kwargs)
            if self._unsent:
                super().send(bytes(self._unsent))
        finally:
            self._unsent = None

    def send(self, data: Any) -> None:
        # Headers and a small body go in one packet, at one call of the system; urllib3 would make two of each.
        if self._unsent is not None and isinstance(data, bytes) and len(self._unsent) + len(data) <= _TOGETHER:
            self._unsent += data
            return
        unsent, self._unsent = self._unsent, None
        if unsent:
            super().send(bytes(unsent))
        super().send(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 has it
        wire = _wire.get()
        if wire is None:
            return super().getresponse()
        with wire.answering():
            return super().getresponse()


class _Dialled(_Reporting):
    """One that we dial ourselves."""

    def _new_conn(self) -> socket.socket:
        wire = _wire.get()
        seconds, cancel = (wire.connect, wire.cancel) if wire else (10.0, None)
        try:
            sock = dial(self._dns_host, self.port or self.default_port, seconds, self.socket_options, cancel)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"{self.host} did not answer within {seconds:g} s") from error
        except OSError as error:
            raise NewConnectionError(self, f"{error}") from error
        # While sending, urllib3's connect timeout is the one that counts: it is ours for one block.
        sock.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
        if wire:
            _hold(wire, sock)
        return sock


def _hold(wire: Wire, sock: socket.socket) -> None:
    """Show a new connection to a wire. One that is called off just then is closed: nobody else knows of it."""
    try:
        wire.hold(sock)
    except BaseException:
        sock.close()
        raise


class _PlainConnection(_Dialled):
    pass


class _SecureConnection(_Dialled, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        # Without verification urllib3 would warn at every request; the person has asked for it in so many words.
        self.is_verified = True


class _Literal(HTTPConnectionPool):
    """A pool whose requests ask for their target as it is written, where it is written as it may be.

    urllib3 would look at each byte of it for what to quote, which takes longer than to ask, and change what a registry has
    signed. A target with anything strange in it is left to urllib3, as is that of a proxy.
    """

    def urlopen(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """As urllib3 has it."""
        wire = _wire.get()
        if wire is None:
            return super().urlopen(method, url, *args, **kwargs)
        wire.target = url if _TARGET.fullmatch(url) else ""
        return super().urlopen(method, "/" if wire.target else url, *args, **kwargs)


class _PlainPool(_Literal):
    ConnectionCls = _PlainConnection


class _SecurePool(_Literal, HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


@cache
def _reporting(pool: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
    """The same kind of pool, of connections that report."""
    if issubclass(pool.ConnectionCls, _Reporting):
        return pool
    connection = type("_Connection", (_Reporting, pool.ConnectionCls), {})
    return type("_Pool", (pool,), {"ConnectionCls": connection})


class Adapter(HTTPAdapter):
    """requests' way to urllib3 with one TLS context for each origin, blocks of 256 KiB, and connections that report.

    requests would otherwise add certifi's authorities to any context and parse them anew for every connection.
    """

    def __init__(self, tls: Contexts, connections: int) -> None:
        self._tls = tls
        self._process = os.getpid()
        self._connections = connections
        self._pools: dict[Origin, Any] = {}
        super().__init__(pool_connections=8, pool_maxsize=connections, pool_block=False, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        """As requests has it, with our pools."""
        super().init_poolmanager(connections, maxsize, block, blocksize=BLOCK, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}

    def send(self, *args: Any, **kwargs: Any) -> Response:
        """As requests has it. A forked child begins anew: two processes on one connection would read each other's answers."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self.init_poolmanager(8, self._connections)
            self.proxy_manager = {}
            self._pools = {}
        return super().send(*args, **kwargs)

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """As requests has it; the pool of an origin that is spoken to without a proxy is found at once."""
        if proxies:
            return super().get_connection_with_tls_context(request, verify, proxies, cert)
        origin = Origin.of(str(request.url))
        pool = self._pools.get(origin)
        if pool is None or pool.pool is None:  # urllib3 closes the pools that were idle longest
            pool = self._pools[origin] = super().get_connection_with_tls_context(request, verify, proxies, cert)
        return pool

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        """As requests has it; without a proxy it need not look for one."""
        if proxies:
            return super().request_url(request, proxies)
        path = request.path_url
        return f"/{path.lstrip('/')}" if path.startswith("//") else path

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """As requests has it, without its search for cookies: no session of ours takes any."""
        made = Response()
        made.status_code, made.reason, made.raw, made.url = resp.status, resp.reason, resp, str(req.url)
        made.headers = CaseInsensitiveDict(resp.headers.itermerged())
        made.encoding = get_encoding_from_headers(made.headers)
        made.request, made.connection = req, self
        return made

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """As requests has it, with our pools."""
        if proxy.lower().startswith("socks"):
            manager = super().proxy_manager_for(proxy, **kwargs)  # PySocks dials, with pools of urllib3's own
            manager.pool_classes_by_scheme = {
                scheme: _reporting(pool) for scheme, pool in manager.pool_classes_by_scheme.items()
            }
            return manager
        if proxy.lower().startswith("https:"):
            # The one is for tunnels through the proxy, the other for what is asked of it in so many words.
            kwargs["proxy_ssl_context"] = kwargs["ssl_context"] = self._tls.of_proxy(proxy)
        manager = super().proxy_manager_for(proxy, blocksize=BLOCK, **kwargs)
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _SecurePool}
        return manager

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: bool | str, cert: Any = None
    ) -> Any:  # typeshed's names for its two dictionaries are private
        """The pool's key, with our context in the place of requests' own."""
        where, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        if "%" in str(where["host"]):  # a zone: urllib3 knows it inside brackets only, which requests takes away
            where["host"] = f"[{where['host']}]"
        if where["scheme"] != "https":
            return where, {}
        context = self._tls.of(str(request.url))
        return where, {"ssl_context": context, "cert_reqs": context.verify_mode}

    def cert_verify(self, conn: Any, url: str, verify: bool | str, cert: Any) -> None:
        """Nothing: the context knows what to verify."""
