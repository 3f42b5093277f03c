"""Who a registry of the tests lets in: nobody without a token of its own service, or a name and a password.

WSGI middleware. The tokens are those of distribution's token specification: a challenge, a realm, a token for scopes.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from ocibuild.serve.refusal import Refusal
from ocibuild.spec import jsonform

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_NAMED = re.compile(r"/v2/(.+?)/(?:blobs|manifests|tags|referrers)/")
_ACTIONS = {"GET": ("pull",), "HEAD": ("pull",), "DELETE": ("pull", "delete")}
_SERVICE = "ocibuild-testing"


class Login:
    """Asks for `user` and `password`: of its token service at /token, or with `basic` of every request.

    A token is good for `uses` requests, None for any number, until it is revoked; `seconds` is the life that is told.
    `issued` counts them.
    """

    def __init__(
        self, app: WSGIApplication, user: str, password: str, *, basic: bool, uses: int | None, seconds: int
    ) -> None:
        self._app = app
        self._expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._basic = basic
        self._uses = uses
        self._seconds = seconds
        self._lock = threading.Lock()
        self._tokens: dict[str, tuple[frozenset[tuple[str, str]], int | None]] = {}
        self.issued = 0

    def revoke(self) -> None:
        """Every token given so far is void."""
        with self._lock:
            self._tokens.clear()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        given = environ.get("HTTP_AUTHORIZATION", "")
        if environ["PATH_INFO"] == "/token" and not self._basic:
            return self._issue(environ, start_response)
        wanted = _wanted(environ)
        if self._is_let_in(given, wanted):
            return self._app(environ, start_response)
        if self._basic:
            challenge = 'Basic realm="ocibuild"'
        else:
            scopes = f',scope="{wanted[0]}:{",".join(wanted[1])}"' if wanted is not None else ""
            host = f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}"
            challenge = f'Bearer realm="{host}/token",service="{_SERVICE}"{scopes}'
        headers = [("WWW-Authenticate", challenge), ("Content-Type", "application/json")]
        body = Refusal("UNAUTHORIZED", "authentication required").to_bytes()
        return _answer(start_response, "401 Unauthorized", headers, body)

    def _issue(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "GET":
            return _answer(start_response, "405 Method Not Allowed", [], b"")
        if not hmac.compare_digest(environ.get("HTTP_AUTHORIZATION", "").encode(), self._expected.encode()):
            return _answer(start_response, "401 Unauthorized", [], b"")
        rights = set()
        for scope in parse_qs(environ["QUERY_STRING"]).get("scope", []):
            resource, _, actions = scope.rpartition(":")
            rights |= {(resource, action) for action in actions.split(",")}
        token = secrets.token_hex(16)
        with self._lock:
            self._tokens[token] = frozenset(rights), self._uses
            self.issued += 1
        body = jsonform.dump({"token": token, "access_token": token, "expires_in": self._seconds})
        return _answer(start_response, "200 OK", [("Content-Type", "application/json")], body)

    def _is_let_in(self, given: str, wanted: tuple[str, tuple[str, ...]] | None) -> bool:
        if self._basic:
            return hmac.compare_digest(given.encode(), self._expected.encode())
        token = given.removeprefix("Bearer ")
        with self._lock:
            rights, left = self._tokens.get(token, (frozenset(), 0))
            if left == 0 or token == given:
                return False
            if wanted is not None and not all((wanted[0], action) in rights for action in wanted[1]):
                return False
            self._tokens[token] = rights, left - 1 if left is not None else None
        return True


def _wanted(environ: WSGIEnvironment) -> tuple[str, tuple[str, ...]] | None:
    """The resource and the actions on it that a request needs; None for one of no repository."""
    if environ["PATH_INFO"] == "/v2/_catalog":
        return "registry:catalog", ("*",)
    found = _NAMED.match(environ["PATH_INFO"])
    if found is None:
        return None
    return f"repository:{found[1]}", _ACTIONS.get(environ["REQUEST_METHOD"], ("pull", "push"))


def _answer(start_response: StartResponse, status: str, headers: list[tuple[str, str]], body: bytes) -> Iterable[bytes]:
    start_response(status, [*headers, ("Content-Length", str(len(body)))])
    return [body]
