"""Which proxy a URL goes through, from the variables curl and Go read; loopback never does.

requests would read the process's environment for this at every request; here it is a pure question.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from ocibuild.registry.origin import Origin


def proxies(url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What requests calls `proxies` for this one URL: empty for a direct connection."""
    origin = Origin.of(url)
    if _bypassed(origin, _variable(environ, "no_proxy")):
        return {}
    # A CGI server puts a request's Proxy header into HTTP_PROXY (CVE-2016-5385); only the lower-case one is safe there.
    safe = {**environ, "HTTP_PROXY": ""} if "REQUEST_METHOD" in environ else environ
    proxy = _variable(safe, f"{origin.scheme}_proxy") or _variable(safe, "all_proxy")
    if not proxy:
        return {}
    return {origin.scheme: proxy if "://" in proxy else f"http://{proxy}"}


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _bypassed(origin: Origin, no_proxy: str) -> bool:
    address = _address(origin.host)
    if origin.host == "localhost" or origin.host.endswith(".localhost") or (address and address.is_loopback):
        return True
    entries = [entry.strip().lower() for entry in no_proxy.split(",")]
    return any(_matches(entry, origin, address) for entry in entries if entry)


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
    return origin.host == entry or (not address and origin.host.endswith(f".{entry}"))


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
