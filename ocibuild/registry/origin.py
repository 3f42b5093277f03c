"""Origins: scheme, host and port. What may be sent where, and which redirects are followed. RFC 6454, RFC 3986.

A registry may answer with another address for its bytes (object storage, a CDN). That address gets the bytes and never
a credential; a step down from https, and a step nearer (from the public network into a private one, from there to this
machine), is refused.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from urllib.parse import urljoin, urlsplit, urlunsplit

from ocibuild.errors import RegistryError
from ocibuild.record import record

_PORTS = {"http": 80, "https": 443}
_WHOLE = ("http://", "https://")
_PLACE = re.compile(r"[^/?#]*(?://[^/?#]*)?")
"""A URL up to its path. RFC 3986, section 3."""

_NEARNESS = ("a public", "a private", "a local")


@record
class Origin:
    """Where a URL leads. Only equal origins share credentials."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """Raises RegistryError (`location-refused`) for what is no http(s) URL, or names a user."""
        found = _found(_PLACE.match(url)[0])  # type: ignore[index]  # it matches anything
        if isinstance(found, str):
            raise refused(url, found)
        return found

    @property
    def netloc(self) -> str:
        """host[:port] as registries and credential files write it; the port of the scheme is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def nearness(self) -> int:
        """0 for the public network and for names, 1 for a private network, 2 for this machine and its own links."""
        host = self.host.rstrip(".")
        if host == "localhost" or host.endswith(".localhost"):
            return 2
        address = _address(host)
        if address is None or address.is_global:
            return 0
        return 2 if address.is_loopback or address.is_link_local or address.is_unspecified else 1

    @property
    def is_private(self) -> bool:
        """True for names and addresses of this machine or its own network."""
        return self.nearness > 0

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"


@lru_cache(1024)  # the same few are asked for at every request
def _found(place: str) -> Origin | str:
    """The origin of a URL up to its path; in words why it has none that we go to."""
    try:
        parts = urlsplit(place)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return "it is not a URL"
    if parts.scheme not in _PORTS or not parts.hostname:
        return "it is neither http nor https"
    if parts.username is not None or parts.password is not None:
        return "it carries a user name"
    return Origin(parts.scheme, parts.hostname, port)


def follow(url: str, location: str) -> str:
    """The URL a Location header of `url`'s answer means. Its query is kept to the byte: it may be signed.

    Raises RegistryError (`location-refused`).
    """
    try:
        target = location if location.startswith(_WHOLE) else urljoin(url, location)
    except ValueError as error:
        raise refused(location, "it is not a URL") from error
    here, there = Origin.of(url), Origin.of(target)
    if here.scheme == "https" and there.scheme == "http":
        if here.host != there.host:
            raise refused(target, f"{here} is https and this is not")
        # A registry that does not know of the TLS in front of it; the answer came from this very origin.
        target, there = urlunsplit(urlsplit(target)._replace(scheme="https", netloc=here.netloc)), here
    if there.nearness > here.nearness:
        raise refused(
            target, f"{here.host} is {_NEARNESS[here.nearness]} host and this is {_NEARNESS[there.nearness]} one"
        )
    return target


@lru_cache(1024)
def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))  # 127.1, 0x7f000001: resolvers take these too
        except (OSError, ValueError):
            return None
    return getattr(address, "ipv4_mapped", None) or address


def public(url: str) -> str:
    """A URL for people: without query, fragment and user, where secrets stand."""
    try:
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    except ValueError:
        return "a malformed URL"


def refused(url: str, why: str) -> RegistryError:
    """The error for an address that nothing is sent to."""
    return RegistryError(
        f"the registry pointed to {public(url)[:300]}, which is refused: {why}", code="location-refused"
    )
