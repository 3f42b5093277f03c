"""A connection: what all exchanges with a registry share. oras's own registry comes in where `Client` is asked for."""

from __future__ import annotations

import threading
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Self

import oras.auth
from requests import Session

from ocibuild.errors import NetworkError, RegistryError
from ocibuild.registry import auth as _registered
from ocibuild.registry import policy
from ocibuild.registry.auth import Auth
from ocibuild.registry.keychain import Keychain
from ocibuild.registry.origin import Origin
from ocibuild.registry.settings import Settings
from ocibuild.registry.transport import Call, Transport, Watch, harden

if TYPE_CHECKING:
    from ocibuild.spec.reference import Reference

assert _registered.Auth is Auth  # importing it is what puts it into oras's table


class Connection:
    """Pooled connections, tokens, and what was learned of each origin; safe for many threads.

    `prefix` is the scheme, as oras calls it.
    """

    def __init__(self, settings: Settings, prefix: str = "https") -> None:
        self.settings = settings
        self.prefix = prefix
        self.session = Session()
        self.session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # or a registry takes us for a browser
        harden(self.session, settings)
        self.auth: Auth = oras.auth.get_auth_backend("ocibuild", self.session, prefix == "http")
        self.auth.keychain = Keychain.of(settings)
        self._transports: dict[Origin, Transport] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, reference: Reference, settings: Settings, watch: Watch) -> Self:
        """The connection to a reference's registry: http where asked for, or on loopback; else https.

        Raises UsageError (`registry-blocked`, and for files that cannot be used).
        """
        found = policy.approach(reference, settings)
        made = cls(found.settings, found.origin.scheme)
        if found.is_doubtful and not made._speaks_tls(found.origin, watch):
            made.prefix = "http"
        return made

    def transport(self, url: str) -> Transport:
        """The way to the origin of a URL."""
        origin = Origin.of(url)
        with self._lock:
            if origin not in self._transports:
                self._transports[origin] = Transport(origin, self.session, self.auth, self.settings)
            return self._transports[origin]

    def close(self) -> None:
        """Close pooled connections."""
        self.session.close()

    def _speaks_tls(self, origin: Origin, watch: Watch) -> bool:
        try:
            self.transport(str(origin)).send(Call("HEAD", f"{origin}/v2/", once=True), watch)
        except NetworkError as error:
            return error.code not in ("tls-expected", "connection-refused")
        except RegistryError:
            return True  # it refuses, and in TLS
        return True
