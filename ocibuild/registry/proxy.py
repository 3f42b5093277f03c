"""Which proxy a URL goes through, from the variables curl and Go read; loopback never does.

requests would read the process's environment for this at every request; here it is a pure question.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from ocibuild.errors import UsageError
from ocibuild.registry.origin import Origin

_SEPARATOR = re.compile(r"[\s,]+")
_SOCKS = frozenset({"socks4", "socks4a", "socks5", "socks5h"})
_PORTS = {"http": 80, "https": 443}


def proxies(url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What requests calls `proxies` for this one URL: empty for a direct connection.

    Raises UsageError (`proxy-invalid`, `proxy-unsupported`).
    """
    origin = Origin.of(url)
    if _bypassed(origin, _variable(environ, "no_proxy")[1]):
        return {}
    # A CGI server puts a request's Proxy header into HTTP_PROXY (CVE-2016-5385); only the lower-case one is safe there.
    safe = {**environ, "HTTP_PROXY": ""} if "REQUEST_METHOD" in environ else environ
    name, proxy = _variable(safe, f"{origin.scheme}_proxy")
    if not proxy:
        name, proxy = _variable(safe, "all_proxy")
    if not proxy:
        return {}
    return {origin.scheme: _checked(name, proxy if "://" in proxy else f"http://{proxy}")}


def origin_of(proxy: str) -> Origin:
    """Where a proxy listens; its user and password are no part of that. Raises ValueError."""
    parts = urlsplit(proxy)
    scheme = parts.scheme.lower()
    return Origin(scheme, parts.hostname or "", parts.port or _PORTS.get(scheme, 1080))


def _checked(name: str, proxy: str) -> str:
    try:
        origin = origin_of(proxy)
    except ValueError:
        origin = Origin("", "", 0)
    if origin.scheme in _SOCKS and origin.host:
        if importlib.util.find_spec("socks") is None:
            raise UsageError(
                f"{name} names a SOCKS proxy, which needs the package PySocks",
                code="proxy-unsupported",
                hint="pip install PySocks, or name an http proxy",
            )
        return proxy
    if origin.scheme not in _PORTS or not origin.host:
        raise UsageError(  # the value is not repeated: it may hold a password
            f"{name} is not the address of a proxy",
            code="proxy-invalid",
            hint="write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with what is special in them percent-encoded",
        )
    return proxy


def _variable(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """The lower-case name wins, as it does in curl."""
    return (name, environ[name]) if environ.get(name) else (name.upper(), environ.get(name.upper(), ""))


def _bypassed(origin: Origin, no_proxy: str) -> bool:
    address = _address(origin.host)
    if origin.host == "localhost" or origin.host.endswith(".localhost") or (address and address.is_loopback):
        return True
    return any(_matches(entry, origin, address) for entry in _SEPARATOR.split(no_proxy.lower()) if entry)


def _matches(entry: str, origin: Origin, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if entry == "*":
        return True
    if address and "/" in entry:
        try:
            return address in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    host, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.startswith("[")):
        if int(port) != origin.port:
            return False
        entry = host
    entry = entry.strip("[]").removeprefix("*").lstrip(".")
    named = _address(entry)
    if address or named:
        return address == named
    return bool(entry) and (origin.host == entry or origin.host.endswith(f".{entry}"))


@lru_cache(1024)  # of the few hosts there are, at every request
def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
