"""A token server, as distribution's "Token Authentication Specification" wants one: JWTs that a real registry believes.

RS256 with the certificate in `x5c`, which distribution 2.8 and v3 both take with `rootcertbundle`. The server grants what
was asked and what its rules allow, nothing more; it never looks at the registry.
"""

from __future__ import annotations

import base64
import json
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.registry.scripted import Answer, Seen, Server

SERVICE = "registry.test"
ISSUER = "tokens.test"
LEEWAY = 60
"""Seconds for which distribution goes on believing a token that has expired."""


class Tokens(Server):
    """Gives tokens on a port the system gives; a context manager.

    `people` are passwords by name. Whoever has logged in may do all; without a login only `public` repositories may be
    pulled. A token is good for `good` seconds, and said to be for `told` seconds (the truth, where None).
    """

    entrusted = True

    def __init__(
        self,
        openssl: str,
        certificate: Path,
        key: Path,
        people: Mapping[str, str],
        *,
        public: Sequence[str] = (),
        good: float = 300,
        told: int | None = None,
    ) -> None:
        super().__init__()
        self.certificate = certificate
        self._openssl, self._key = openssl, key
        self._people, self._public = dict(people), set(public)
        self._good, self._told = good, told
        body = certificate.read_text().partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
        self._x5c = "".join(body.split())

    @property
    def lines(self) -> list[str]:
        """What stands in the configuration of a registry that believes this server."""
        return [
            "auth:",
            "  token:",
            f"    realm: {self.url}/token",
            f"    service: {SERVICE}",
            f"    issuer: {ISSUER}",
            f"    rootcertbundle: {self.certificate}",
        ]

    @property
    def scopes(self) -> list[list[str]]:
        """What was asked for, request by request."""
        return [_asked(request)[1] for request in self.seen]

    def respond(self, request: Seen) -> Answer:
        """A token, or 401 to a wrong login."""
        values, scopes = _asked(request)
        if values.get("service") != [SERVICE]:
            return _refusal(400, "that is not the service")
        login = _login(request, values)
        if login is not None and self._people.get(login[0]) != login[1]:
            return _refusal(401, "who is that")
        granted = [access for scope in scopes if (access := self._grant(scope, login is not None))]
        token = self._signed(login[0] if login else "", granted)
        told = self._told if self._told is not None else int(self._good)
        document = {"token": token, "access_token": token, "expires_in": told, "issued_at": _when(time.time())}
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(document).encode())

    def _grant(self, scope: str, is_known: bool) -> dict[str, object] | None:
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        wanted = actions.split(",")
        allowed = wanted if is_known else [action for action in wanted if action == "pull" and name in self._public]
        return {"type": kind, "name": name, "actions": allowed} if allowed else None

    def _signed(self, subject: str, access: list[dict[str, object]]) -> str:
        now = time.time()
        header = {"typ": "JWT", "alg": "RS256", "x5c": [self._x5c]}
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "aud": SERVICE,
            # A registry believes a token for LEEWAY longer than it says.
            "exp": int(now + self._good - LEEWAY),
            "nbf": int(now) - 1000,
            "iat": int(now) - 1000,
            "jti": uuid.uuid4().hex,
            "access": access,
        }
        text = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}"
        signed = subprocess.run(
            [self._openssl, "dgst", "-sha256", "-sign", str(self._key)],
            input=text.encode(),
            capture_output=True,
            check=True,
            timeout=20,
        )
        return f"{text}.{_base64(signed.stdout)}"


def _asked(request: Seen) -> tuple[dict[str, list[str]], list[str]]:
    query = request.body.decode() if request.method == "POST" else urlsplit(request.path).query
    values = parse_qs(query)
    return values, [scope for value in values.get("scope", []) for scope in value.split(" ")]


def _login(request: Seen, values: Mapping[str, list[str]]) -> tuple[str, str] | None:
    scheme, _, data = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        name, _, password = base64.b64decode(data).decode().partition(":")
        return name, password
    if "password" in values:
        return values["username"][0], values["password"][0]
    return None


def _refusal(status: int, message: str) -> Answer:
    body = {"errors": [{"code": "UNAUTHORIZED", "message": message}]}
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
