"""Realms: the address a registry names for tokens, and whether it may be told who we are.

The rules are ours to keep, since the registry only claims the address: https, or http where the registry itself is
spoken to over http and the realm is near; never from a public registry into a private network; no user, no redirect.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from ocibuild.errors import RegistryError
from ocibuild.registry.origin import Origin, public

TRUSTED = "OCIBUILD_TRUSTED_REALMS"
"""The variable that narrows realms to the hosts it lists, besides the registry's own."""

_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


def checked(realm: str, origin: Origin, environ: Mapping[str, str]) -> str:
    """The realm, fit to be told credentials. Raises RegistryError (`realm-refused`)."""
    try:
        there = Origin.of(realm)
    except RegistryError as error:
        raise _refused(realm, "it is no plain https address") from error
    if there == origin:
        return realm
    is_near = there.host == origin.host or (there.is_private and origin.is_private)
    if there.scheme != "https" and not (origin.scheme == "http" and is_near):
        raise _refused(realm, "it is not https")
    if there.is_private and not origin.is_private:
        raise _refused(realm, f"{origin.host} is a public host and this is a private one")
    if _is_disguised(there.host):
        raise _refused(realm, "it is an address in disguise")
    trusted = {host.strip().lower() for host in environ.get(TRUSTED, "").split(",") if host.strip()}
    if trusted and there.host != origin.host and not {there.host, there.netloc} & trusted:
        raise _refused(realm, f"{TRUSTED} does not list {there.netloc}")
    return realm


def _is_disguised(host: str) -> bool:
    # "127.1" and "0x7f000001" are addresses to a resolver, and none to the check for private ones.
    if not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False


def _refused(realm: str, why: str) -> RegistryError:
    return RegistryError(
        f"the registry wants credentials sent to {public(realm)[:300] or 'no address'}, which is refused: {why}",
        code="realm-refused",
        hint="mend the registry's configuration; ocibuild auth explain REGISTRY shows what it says",
    )
