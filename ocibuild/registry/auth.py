"""Authentication: Basic and Bearer, as challenged; tokens kept by origin and scopes. RFC 9110, and
CNCF distribution's "Token Authentication Specification".

Credentials are looked up when they are needed, for the host that is asked, and go to that host and the realm it names,
if the realm is fit to be told. Nothing is stored on a session where another request could pick it up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import oras.auth
from oras.auth.base import AuthBackend
from requests import Response

from ocibuild.errors import AuthorizationError, RegistryError
from ocibuild.record import record, replace
from ocibuild.registry import authfile, challenge, problem, realm, token
from ocibuild.registry.challenge import Challenge
from ocibuild.registry.credentials import Credential
from ocibuild.registry.keychain import Keychain
from ocibuild.registry.origin import Origin, public
from ocibuild.registry.scope import Scopes, concerning, covers, is_pull, repositories
from ocibuild.registry.token import Token

_log = logging.getLogger(__name__)
_EXPIRED = "authorization token has expired"

Ask = Callable[[str, str, Mapping[str, str], bytes | None], Response]
"""Sends (method, URL, headers, body) to a realm, with no credentials of ours but those given."""


@record
class _Wish:
    """A token that is wanted: at which realm, of which service, for which scopes, the challenge's own first."""

    realm: str
    service: str
    scopes: list[str]

    def by_get(self, authorization: str, ask: Ask) -> Response:
        fields = [("service", self.service)] if self.service else []
        query = urlencode([*fields, *(("scope", scope) for scope in self.scopes)])
        headers = {"Authorization": authorization} if authorization else {}
        return ask("GET", f"{self.realm}{'&' if '?' in self.realm else '?'}{query}", headers, None)

    def by_post(self, identity: str, ask: Ask) -> Response:
        form = {"grant_type": "refresh_token", "refresh_token": identity, "client_id": "ocibuild"}
        form |= {"service": self.service} if self.service else {}
        form |= {"scope": " ".join(self.scopes)} if self.scopes else {}
        return ask("POST", self.realm, {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(form).encode())


class Auth(AuthBackend):  # type: ignore[misc]  # oras is untyped
    """oras's auth backend by the name `ocibuild`. One serves many threads and many registries, and mixes up neither."""

    def __init__(self, keychain: Keychain | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.keychain = keychain or Keychain({}, {}, None)
        self._clock = clock
        self._schemes: dict[Origin, Challenge] = {}
        self._tokens: dict[tuple[Origin, Scopes], Token] = {}
        self._credentials: dict[tuple[Origin, str], Credential | None] = {}
        self._traded: dict[tuple[Origin, str], str] = {}
        self._locks: defaultdict[object, threading.RLock] = defaultdict(threading.RLock)
        self._guard = threading.Lock()
        self._untold: list[str] = []
        self._told: set[str] = set()

    def header(self, origin: Origin, scopes: Scopes, ask: Ask, *, lasting: bool = False) -> str | None:
        """The Authorization to send unasked: None until the origin has said what it wants.

        `lasting` is for a request that takes long: a registry may look at the token again when it is over.
        """
        scheme = self._schemes.get(origin)
        if scheme is None:
            return None
        if scheme.scheme == "basic":
            credential = self._credential(origin, scopes)
            return _direct(credential) or None
        return self._bearer(origin, scheme, scopes, None, ask, lasting=lasting)

    def is_asked(self, response: Response) -> bool:
        """True for an answer that another Authorization may change: a 401, and the 403 of Amazon's registry.

        That one says in its body that a token has expired; to a HEAD it says nothing, so any 403 may mean it.
        """
        if response.status_code == 403:
            said = problem.named(response)
            return (response.request.method == "HEAD" and not said) or any(_EXPIRED in text.lower() for _, text in said)
        return bool(response.status_code == 401)

    def answer(self, response: Response, origin: Origin, scopes: Scopes, sent: str | None, ask: Ask) -> str | None:
        """The Authorization that meets such an answer; `sent` is the one it refused. None where a 403 stays as it is.

        Raises AuthorizationError where there is none, RegistryError where the realm is not one to tell a secret.
        """
        if response.status_code == 403:
            return self._after_403(origin, scopes, sent)
        chosen = self._challenged(response, origin, ask)
        if chosen.scheme == "bearer":
            return self._bearer(origin, chosen, scopes, sent, ask, chosen.parameters.get("scope", ""))
        credential = self._credential(origin, scopes)
        if credential and _direct(credential) == sent:
            renewed = self._renewed(origin, scopes, credential)
            if renewed is None:
                raise self.rejected(origin, scopes)
            credential = renewed
        if not _direct(credential):
            raise self._nobody(origin, credential)
        return _direct(credential)

    def _after_403(self, origin: Origin, scopes: Scopes, sent: str | None) -> str | None:
        credential = self._credential(origin, scopes)
        if sent is None or credential is None or not credential.is_from_helper or credential.basic != sent:
            return None
        return _direct(self._renewed(origin, scopes, credential)) or None

    def challenge(self, origin: Origin) -> Challenge | None:
        """What the origin was last heard to want, None where it has not been heard to want anything."""
        return self._schemes.get(origin)

    def told(self) -> list[str]:
        """Sentences for the person that came up since the last call; none comes up twice."""
        with self._guard:
            untold, self._untold = self._untold, []
            return untold

    def rejected(self, origin: Origin, scopes: Scopes) -> AuthorizationError:
        """The error for a registry that is not content with what we have."""
        credential = self._credential(origin, scopes)
        if credential is None:
            return self._nobody(origin, None)
        wanted = f" (asked for {', '.join(sorted(scopes))})" if scopes else ""
        chosen = self._schemes.get(origin)
        if chosen and (offered := chosen.parameters.get("scope")) and offered not in scopes:
            wanted += f"; it wants {problem.clean(offered, 200)}"
        return AuthorizationError(
            f"{_shown(origin)} does not accept {credential.called}{wanted}",
            code="unauthorized",
            hint=f"log in to {_shown(origin)} with an account that may do this",
        )

    def _challenged(self, response: Response, origin: Origin, ask: Ask) -> Challenge:
        chosen = _choose(response) or self._schemes.get(origin)
        if chosen is None:
            # Some registries only say at their front door what they want.
            ping = ask("GET", f"{origin}/v2/", {}, None)
            chosen = _choose(ping) if ping.status_code == 401 else None
        if chosen is None:
            raise problem.refusal(response, "the request without naming a way to log in")
        self._schemes[origin] = chosen
        return chosen

    def _nobody(self, origin: Origin, credential: Credential | None) -> AuthorizationError:
        host = _shown(origin)
        notes = "".join(f"; {note}" for note in self.keychain.notes)
        text = f"{host} wants to know who asks, and no credentials for it were found{notes}"
        if credential:
            text = f"{host} wants a user name and a password, and {credential.source} has only an {credential.kind}"
        hint = (
            f"run ocibuild login {host}, or docker's or podman's; ocibuild auth explain {host} shows where was looked"
        )
        return AuthorizationError(text, code="credentials-missing", hint=hint)

    def _credential(self, origin: Origin, scopes: Scopes) -> Credential | None:
        key = (origin, next(iter(repositories(scopes)), ""))
        with self._lock(key):
            if key not in self._credentials:
                self._credentials[key] = self.keychain.find(origin.netloc, key[1])
                for note in list(self.keychain.notes):
                    self._tell(note)
            return self._credentials[key]

    def _renewed(self, origin: Origin, scopes: Scopes, refused: Credential) -> Credential | None:
        """Another credential than the one that was refused: a helper's secrets lapse, and a person may have logged in."""
        with self._lock(origin):
            known = self._credential(origin, scopes)
            if known == refused:
                self.keychain.answers.forget()
                with self._guard:
                    self._credentials = {key: found for key, found in self._credentials.items() if key[0] != origin}
                known = self._credential(origin, scopes)
        return known if known != refused else None

    def _lock(self, key: object) -> threading.RLock:
        with self._guard:
            return self._locks[key]

    def _bearer(
        self,
        origin: Origin,
        chosen: Challenge,
        scopes: Scopes,
        sent: str | None,
        ask: Ask,
        offered: str = "",
        *,
        lasting: bool = False,
    ) -> str:
        key = (origin, scopes)
        with self._lock(key):  # the other threads wait for the one that fetches, and use what it got
            held = self._held(origin, scopes, sent, lasting)
            if held is None:
                held = self._fetch(origin, chosen, scopes, offered, ask)
                with self._guard:
                    self._tokens[key] = held
        return held.bearer

    def _held(self, origin: Origin, scopes: Scopes, sent: str | None, lasting: bool) -> Token | None:
        """A token that is still good: for these very scopes, or for more where nothing was `sent` and refused yet."""
        now = self._clock()
        with self._guard:
            held = self._tokens.get((origin, scopes))
            if held and (held.young if lasting else held.until) > now and held.bearer != sent:
                return held
            for (place, granted), more in self._tokens.items() if sent is None else ():
                if place == origin and (more.young if lasting else more.until) > now and covers(granted, scopes):
                    return more
        return None

    def _fetch(self, origin: Origin, chosen: Challenge, scopes: Scopes, offered: str, ask: Ask) -> Token:
        credential = self._credential(origin, scopes)
        if credential and credential.registry_token:
            until = self._clock() + token.LONGEST
            return Token(credential.registry_token, until, until)
        where = realm.checked(chosen.parameters.get("realm", ""), origin, self.keychain.environ)
        _log.debug("%s has its tokens from %s", origin, public(where))
        wanted = dict.fromkeys([*concerning(offered, scopes), *sorted(scopes)])
        wish = _Wish(where, chosen.parameters.get("service", ""), list(wanted))
        started = self._clock()
        response = self._asked(wish, origin, credential, ask)
        if credential and response.status_code in (400, 401, 403):
            renewed = self._renewed(origin, scopes, credential)
            if renewed and not renewed.registry_token:
                credential = renewed
                response = self._asked(wish, origin, credential, ask)
        if credential and response.status_code in (401, 403) and is_pull(scopes):
            anonymous = wish.by_get("", ask)
            if anonymous.status_code == 200:
                self._tell(f"{_shown(origin)} does not accept {credential.called}; went on without them")
                response = anonymous
        if credential is None and response.status_code in (401, 403):
            raise self._nobody(origin, None)
        if response.status_code != 200:
            raise _denied(response, origin, credential)
        return token.read(response, started)

    def _asked(self, wish: _Wish, origin: Origin, credential: Credential | None, ask: Ask) -> Response:
        if credential is None or not credential.identity_token:
            return wish.by_get(credential.basic if credential else "", ask)
        key = (origin, credential.identity_token)
        response = wish.by_post(self._traded.get(key, credential.identity_token), ask)
        if response.status_code == 200:
            if fresh := token.read(response, 0).refresh:
                self._traded[key] = fresh
        elif response.status_code in (400, 401, 404, 405) and credential.basic_of_token:
            # Not every token service knows POST, and what each answers then differs.
            response = wish.by_get(credential.basic_of_token, ask)
        return response

    def _tell(self, text: str) -> None:
        with self._guard:
            if text not in self._told:
                self._told.add(text)
                self._untold.append(text)

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
        self.keychain.answers.forget()
        names = authfile.aliases(hostname)
        with self._guard:
            self._tokens = {key: held for key, held in self._tokens.items() if key[0].netloc not in names}
            self._credentials = {key: found for key, found in self._credentials.items() if key[0].netloc not in names}
            self._traded = {key: fresh for key, fresh in self._traded.items() if key[0].netloc not in names}


oras.auth.auth_backends["ocibuild"] = Auth


def _direct(credential: Credential | None) -> str:
    """The Authorization that needs no token service, "" where there is none."""
    if credential is None:
        return ""
    return f"Bearer {credential.registry_token}" if credential.registry_token else credential.basic


def _shown(origin: Origin) -> str:
    """The host as people write it."""
    return "docker.io" if origin.host == "registry-1.docker.io" else origin.netloc


def _denied(response: Response, origin: Origin, credential: Credential | None) -> RegistryError:
    who = credential.called if credential else "an anonymous client"
    message = f"{public(response.url)} gave {who} no token for {_shown(origin)}: {response.status_code}"
    if response.status_code in (400, 401, 403):
        return AuthorizationError(message, code="token-refused", hint=f"run ocibuild login {_shown(origin)}")
    return RegistryError(message, code="token-failed", hint="the token service is in trouble; try again later")


def _choose(response: Response) -> Challenge | None:
    challenges = challenge.parse(_lines(response))
    for scheme in ("bearer", "basic"):
        for found in challenges:
            if found.scheme == scheme and (scheme == "basic" or found.parameters.get("realm")):
                return found
    return None


def _lines(response: Response) -> list[str]:
    # requests has joined repeated headers with commas; urllib3 still has them one by one.
    raw = getattr(response.raw, "headers", None)
    lines = raw.getlist("WWW-Authenticate") if raw is not None and hasattr(raw, "getlist") else []
    return list(lines) or [response.headers.get("WWW-Authenticate", "")]
