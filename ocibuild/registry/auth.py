"""Authentication: Basic and Bearer, as challenged; tokens kept by origin and scopes. RFC 9110, and
CNCF distribution's "Token Authentication Specification".

Credentials are looked up when they are needed, for the host that is asked, and go to that host and the realm it names,
if the realm is fit to be told. Nothing is stored on a session where another request could pick it up.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import oras.auth
from oras.auth.base import AuthBackend
from requests import Response

from ocibuild.errors import AuthorizationError, RegistryError
from ocibuild.registry import challenge, problem
from ocibuild.registry.challenge import Challenge
from ocibuild.registry.credentials import Credential, Keychain
from ocibuild.registry.origin import Origin, public
from ocibuild.registry.scope import Scopes

_SHORTEST, _LONGEST = 60.0, 24 * 3600.0
_FRESH = 0.8  # the share of its life for which a token is used

Ask = Callable[[str, str, Mapping[str, str], bytes | None], Response]
"""Sends (method, URL, headers, body) to a realm, with no credentials of ours but those given."""


@dataclass(frozen=True)
class Token:
    """A bearer token and the monotonic second until which it is used."""

    value: str = field(repr=False)
    until: float


class Auth(AuthBackend):  # type: ignore[misc]  # oras is untyped
    """oras's auth backend by the name `ocibuild`. One serves many threads and many registries, and mixes up neither."""

    def __init__(self, keychain: Keychain | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.keychain = keychain or Keychain({}, {}, None)
        self._clock = clock
        self._schemes: dict[Origin, Challenge] = {}
        self._tokens: dict[tuple[Origin, Scopes], Token] = {}
        self._credentials: dict[tuple[Origin, str], Credential | None] = {}
        self._locks: defaultdict[object, threading.RLock] = defaultdict(threading.RLock)
        self._guard = threading.Lock()

    def header(self, origin: Origin, scopes: Scopes, ask: Ask) -> str | None:
        """The Authorization to send unasked: None until the origin has said what it wants."""
        scheme = self._schemes.get(origin)
        if scheme is None:
            return None
        if scheme.scheme == "basic":
            credential = self._credential(origin, scopes)
            return credential.basic if credential else None
        return self._bearer(origin, scheme, scopes, None, ask)

    def answer(self, response: Response, origin: Origin, scopes: Scopes, sent: str | None, ask: Ask) -> str:
        """The Authorization that meets a 401; `sent` is the one it refused.

        Raises AuthorizationError where there is none, RegistryError where the realm is not one to tell a secret.
        """
        chosen = _choose(challenge.parse(_lines(response)))
        if chosen is None:
            raise problem.refusal(response, "the request without naming a way to log in")
        self._schemes[origin] = chosen
        if chosen.scheme == "bearer":
            return self._bearer(origin, chosen, scopes, sent, ask, chosen.parameters.get("scope", ""))
        credential = self._credential(origin, scopes)
        if credential is None or not credential.basic:
            raise self._nobody(origin)
        if credential.basic == sent:
            raise self.rejected(origin, scopes)
        return credential.basic

    def rejected(self, origin: Origin, scopes: Scopes) -> AuthorizationError:
        """The error for a registry that is not content with what we have."""
        credential = self._credential(origin, scopes)
        if credential is None:
            return self._nobody(origin)
        wanted = f" (asked for {', '.join(sorted(scopes))})" if scopes else ""
        return AuthorizationError(
            f"{origin.netloc} does not accept the credentials from {credential.source}{wanted}",
            code="unauthorized",
            hint=f"log in to {origin.netloc} with an account that may do this",
        )

    def _nobody(self, origin: Origin) -> AuthorizationError:
        notes = "".join(f"; {note}" for note in self.keychain.notes)
        return AuthorizationError(
            f"{origin.netloc} wants to know who asks, and no credentials for it were found{notes}",
            code="credentials-missing",
            hint=f"run docker login {origin.netloc}, or podman login",
        )

    def _credential(self, origin: Origin, scopes: Scopes) -> Credential | None:
        names = sorted(scope.split(":")[1] for scope in scopes if scope.startswith("repository:") and "push" in scope)
        names = names or sorted(scope.split(":")[1] for scope in scopes if scope.startswith("repository:"))
        key = (origin, names[0] if names else "")
        with self._lock(key):
            if key not in self._credentials:
                self._credentials[key] = self.keychain.find(origin.netloc, key[1])
            return self._credentials[key]

    def _lock(self, key: object) -> threading.RLock:
        with self._guard:
            return self._locks[key]

    def _bearer(
        self, origin: Origin, chosen: Challenge, scopes: Scopes, sent: str | None, ask: Ask, offered: str = ""
    ) -> str:
        key = (origin, scopes)
        with self._lock(key):  # the other threads wait for the one that fetches, and use what it got
            token = self._tokens.get(key)
            if token is None or token.until <= self._clock() or f"Bearer {token.value}" == sent:
                token = self._fetch(origin, chosen, scopes, offered, ask)
                self._tokens[key] = token
        return f"Bearer {token.value}"

    def _fetch(self, origin: Origin, chosen: Challenge, scopes: Scopes, offered: str, ask: Ask) -> Token:
        credential = self._credential(origin, scopes)
        if credential and credential.registry_token:
            return Token(credential.registry_token, self._clock() + _LONGEST)
        realm = _checked_realm(chosen.parameters.get("realm", ""), origin)
        fields = [("service", service)] if (service := chosen.parameters.get("service")) else []
        wanted = sorted(scopes | _concerning(offered, scopes))
        started = self._clock()
        if credential and credential.identity_token:
            response = self._trade(realm, fields, wanted, credential, ask)
        else:
            fields += [("scope", scope) for scope in wanted]
            headers = {"Authorization": credential.basic} if credential and credential.basic else {}
            response = ask("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(fields)}", headers, None)
        if response.status_code != 200:
            raise self._denied(response, origin, credential)
        return _token(response, started)

    def _trade(
        self, realm: str, fields: list[tuple[str, str]], wanted: list[str], credential: Credential, ask: Ask
    ) -> Response:
        form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", credential.identity_token),
            ("client_id", "ocibuild"),
        ]
        body = urlencode([*form, *fields, ("scope", " ".join(wanted))]).encode()
        return ask("POST", realm, {"Content-Type": "application/x-www-form-urlencoded"}, body)

    def _denied(self, response: Response, origin: Origin, credential: Credential | None) -> RegistryError:
        who = f"the credentials from {credential.source}" if credential else "an anonymous client"
        message = f"{public(response.url)} gave {who} no token for {origin.netloc}: {response.status_code}"
        if response.status_code in (400, 401, 403):
            return AuthorizationError(message, code="token-refused", hint=f"log in to {origin.netloc} again")
        return RegistryError(message, code="token-failed", hint="the token service is in trouble; try again later")

    # oras's own names for the same things.

    def load_configs(self, container: Any, configs: list[str] | None = None) -> None:
        """Look at files that are named before the others. Nothing is loaded: that is done when a registry asks."""
        for path in configs or ():
            environ = {**self.keychain.environ, "REGISTRY_AUTH_FILE": path}
            self.keychain = replace(self.keychain, environ=environ, notes=[])
            with self._guard:
                self._credentials = {}

    def get_auth_header(self) -> dict[str, str]:
        """Empty: there is no header that fits every request."""
        return {}

    def set_basic_auth(self, username: str, password: str) -> None:
        """Refused: it does not say for which host. Settings.credentials does."""
        raise AuthorizationError(
            "credentials without a host would be sent to any registry",
            code="credentials-unbound",
            hint="give them by host in Settings.credentials",
        )

    def logout(self, hostname: str) -> None:
        """Forget tokens and credentials of a host; the files are left alone."""
        with self._guard:
            self._tokens = {key: token for key, token in self._tokens.items() if key[0].netloc != hostname}
            self._credentials = {key: found for key, found in self._credentials.items() if key[0].netloc != hostname}


oras.auth.auth_backends["ocibuild"] = Auth


def _lines(response: Response) -> list[str]:
    # requests has joined repeated headers with commas; urllib3 still has them one by one.
    raw = getattr(response.raw, "headers", None)
    lines = raw.getlist("WWW-Authenticate") if raw is not None and hasattr(raw, "getlist") else []
    return list(lines) or [response.headers.get("WWW-Authenticate", "")]


def _choose(challenges: list[Challenge]) -> Challenge | None:
    for scheme in ("bearer", "basic"):
        for found in challenges:
            if found.scheme == scheme and (scheme == "basic" or found.parameters.get("realm")):
                return found
    return None


def _concerning(offered: str, scopes: Scopes) -> set[str]:
    """Of the scopes a challenge names, those about repositories this request is about."""
    resources = {scope.rpartition(":")[0] for scope in scopes}
    return {scope for scope in offered.split() if not scopes or scope.rpartition(":")[0] in resources}


def _checked_realm(realm: str, origin: Origin) -> str:
    """A realm that may be told credentials: https, or http where the registry is http too, and near."""
    there = Origin.of(realm)
    if there == origin:
        return realm
    is_near = there.host == origin.host or (there.is_private and origin.is_private)
    if there.scheme != "https" and not (origin.scheme == "http" and is_near):
        raise _realm_refused(realm, "it is not https")
    if there.is_private and not origin.is_private:
        raise _realm_refused(realm, f"{origin.host} is a public host and this is a private one")
    return realm


def _realm_refused(realm: str, why: str) -> RegistryError:
    return RegistryError(
        f"the registry wants credentials sent to {public(realm)[:300]}, which is refused: {why}", code="realm-refused"
    )


def _token(response: Response, started: float) -> Token:
    try:
        document = json.loads(response.content)
        value = document.get("token") or document.get("access_token")
        life = document.get("expires_in")
    except (ValueError, AttributeError, RecursionError):
        value = life = None
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise problem.stranger(response, "a token")
    try:
        seconds = min(max(float(life or 0), _SHORTEST), _LONGEST)
    except (TypeError, ValueError, OverflowError):
        seconds = _SHORTEST
    return Token(value, started + seconds * _FRESH)
