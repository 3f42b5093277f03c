"""`serve`: a registry over a folder."""

from __future__ import annotations

import importlib.util
import os
import threading
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ocibuild import ambient
from ocibuild.errors import OcibuildError, StoreError, ToolError, UsageError
from ocibuild.record import record
from ocibuild.serve import naming
from ocibuild.serve.limits import Limits

if TYPE_CHECKING:
    import ssl

    from ocibuild.serve.access import Access
    from ocibuild.serve.registry import Registry

PORT = 5000
_SWEEP = 3600.0


@record
class Serving:
    """What a server is asked to be. `folder` holds one layout a repository, or is a layout itself, then called `name`.

    Beyond this machine (`host`) it wants TLS and credentials, or to be told that it may be `insecure`. `collect` is the time
    in seconds between two rounds that remove what no manifest needs; None removes nothing. `sparse` takes manifests whose
    blobs are not here.

    With `proxy`, the name or http(s):// address of another registry, it is a cache of that one and takes no pushes: see
    ocibuild.serve.proxy for `proxy_fresh`, in seconds, and `proxy_limit`, in bytes.
    """

    folder: Path
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = PORT
    tls_cert: Path | None = None
    tls_key: Path | None = None
    htpasswd: Path | None = None
    token_file: Path | None = None
    anonymous_pull: bool = False
    read_only: bool = False
    insecure: bool = False
    sparse: bool = False
    collect: float | None = None
    proxy: str | None = None
    proxy_fresh: float = 0.0
    proxy_limit: int | None = None
    limits: Limits = Limits()


class Served:
    """A server that runs while the `with` lasts. `address` is host:port, as references begin; `registry` is what it serves."""

    def __init__(self, serving: Serving) -> None:
        equipped()
        from ocibuild.serve.app import App
        from ocibuild.serve.browser import Browsers
        from ocibuild.serve.page.site import Site
        from ocibuild.serve.server import Server

        access = _access(serving)
        context = _tls(serving)
        _guarded(serving, context is not None)
        _usable(serving)
        self.registry: Registry = _content(serving)
        self._serving = serving
        self._ended = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="ocibuild-keep", daemon=True)
        self._server = Server(
            Browsers(
                App(self.registry, access, pages=Site(self.registry, access)), is_local=_is_loopback(serving.host)
            ),
            host=serving.host,
            port=serving.port,
            limits=serving.limits,
            tls=context,
        )
        self.scheme = "https" if context is not None else "http"

    @property
    def address(self) -> str:
        """`localhost:5000`."""
        host = self._serving.host
        if host == "127.0.0.1":
            host = "localhost"
        return f"[{host}]:{self._server.port}" if ":" in host else f"{host}:{self._server.port}"

    def wait(self) -> None:
        """Until Ctrl-C, or `end` on another thread."""
        while not self._ended.wait(3600):
            pass

    def end(self) -> None:
        """Stop within a second."""
        self._ended.set()
        self.registry.close()
        self._server.end()

    def _keep(self) -> None:
        pause = min(self._serving.collect or _SWEEP, _SWEEP)
        since = 0.0
        while not self._ended.wait(pause):
            since += pause
            # What cannot be done now is tried again in the next round; pushes and pulls go on.
            with suppress(OcibuildError, OSError):
                self.registry.uploads.sweep()
                if self._serving.collect is not None and since >= self._serving.collect:
                    since = 0.0
                    self.registry.collect()

    def __enter__(self) -> Self:
        self._server.begin()
        if not self._serving.read_only:
            self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def serve(serving: Serving) -> Served:
    """A registry, listening once the `with` is entered.

    Raises UsageError (`serve-exposed`, `htpasswd-invalid`, `token-file-invalid`, `tls-invalid`, `reference-invalid`),
    StoreError (`not-a-layout`, `not-writable`), NetworkError (`address-in-use`), ToolError (`extra-missing`).
    """
    return Served(serving)


def equipped() -> None:
    """Nothing, where what the registry is built on is installed. Raises ToolError (`extra-missing`)."""
    for package in ("bcrypt", "cheroot", "jinja2", "werkzeug"):
        if importlib.util.find_spec(package) is None:
            raise ToolError(
                f"{package} is not installed, which the registry is built on",
                code="extra-missing",
                hint="pip install 'ocibuild[serve]'",
            )


def _content(serving: Serving) -> Registry:
    from ocibuild.serve.proxy import Proxy
    from ocibuild.serve.registry import Registry

    if serving.proxy is None:
        return Registry(
            serving.folder,
            clock=ambient.seconds,
            name=serving.name,
            limits=serving.limits,
            sparse=serving.sparse,
        )
    from ocibuild.api.upstream import Behind

    behind = Behind(serving.proxy)
    host, _, port = behind.place.rpartition(":")
    if port == str(serving.port) and _is_loopback(host.strip("[]")) and _is_loopback(serving.host):
        raise UsageError(
            f"--proxy {serving.proxy} is this server itself", hint="name the other registry, or choose another --port"
        )
    return Proxy(
        serving.folder,
        clock=ambient.seconds,
        upstream=behind,
        fresh=serving.proxy_fresh,
        most=serving.proxy_limit,
        name=serving.name,
        limits=serving.limits,
    )


def _access(serving: Serving) -> Access:
    from ocibuild.serve.access import Access, read_htpasswd, read_tokens

    return Access(
        users=read_htpasswd(serving.htpasswd) if serving.htpasswd is not None else None,
        tokens=read_tokens(serving.token_file) if serving.token_file is not None else (),
        anonymous_pull=serving.anonymous_pull,
        read_only=serving.read_only,
    )


def _tls(serving: Serving) -> ssl.SSLContext | None:
    if serving.tls_cert is None:
        if serving.tls_key is not None:
            raise UsageError("--tls-key goes with --tls-cert")
        return None
    for file in (serving.tls_cert, serving.tls_key):
        if file is not None and not file.is_file():
            raise UsageError(f"{file} is not there", code="tls-invalid", hint="check the file's name")
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(serving.tls_cert, serving.tls_key)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{serving.tls_cert} cannot be used as the server's certificate",
            code="tls-invalid",
            hint="give a certificate and its key in PEM, the key without a passphrase",
        ) from error
    return context


def _guarded(serving: Serving, has_tls: bool) -> None:
    if serving.insecure or _is_loopback(serving.host):
        return
    if not has_tls or (serving.htpasswd is None and serving.token_file is None):
        raise UsageError(
            f"{serving.host} is reached from other machines, and so would the registry be, "
            + ("by anybody" if has_tls else "unencrypted"),
            code="serve-exposed",
            hint="add --tls-cert and --htpasswd or --token, or say --insecure if that is meant",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _usable(serving: Serving) -> None:
    folder = serving.folder
    if serving.proxy is not None and serving.read_only:
        raise UsageError("a proxy keeps what it pulls, and takes no pushes anyway", hint="leave --read-only out")
    if serving.name is not None and not naming.is_name(serving.name):
        raise UsageError(
            f"{serving.name!r} is no repository name", code="reference-invalid", hint="use a-z, 0-9, - and /"
        )
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file, not a folder", code="not-a-layout", hint="name a folder to serve")
    if serving.read_only:
        if not folder.is_dir():
            raise StoreError(f"{folder} is not there to be read", code="not-a-layout", hint="leave --read-only out")
        return
    from ocibuild.content import atomic

    atomic.make_folders(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(
            f"{folder} cannot be written", code="not-writable", hint="choose another folder, or serve it --read-only"
        )
