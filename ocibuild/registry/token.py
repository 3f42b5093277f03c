"""Bearer tokens: what a token service answers. CNCF distribution's "Token Authentication" and "OAuth2" specifications."""

from __future__ import annotations

import json
from typing import Any

from requests import Response

from ocibuild.record import field, record
from ocibuild.registry import problem

_SHORTEST, LONGEST = 60.0, 24 * 3600.0
_FRESH = 0.8  # the share of its life for which a token is used,
_LEFT = 30.0  # and the seconds of it that are left unused in any case
_YOUNG = 0.5  # the share of its life in which a token may begin what takes long


@record
class Token:
    """A bearer token and the monotonic second until which it is used, `young` until which for what takes long.

    `refresh` is an identity token that came along.
    """

    value: str = field(repr=False)
    until: float
    young: float
    refresh: str = field(default="", repr=False)

    @property
    def bearer(self) -> str:
        """The value of an Authorization header."""
        return f"Bearer {self.value}"


def read(response: Response, started: float) -> Token:
    """The token of an answer to a request that left at `started`; the server's own clock is not listened to.

    A life that is missing, less than a minute or no number is a minute. Raises RegistryError (`not-a-registry`).
    """
    document = _object(response)
    value = _fit(document.get("token")) or _fit(document.get("access_token"))
    if not value:
        raise problem.stranger(response, "a token")
    try:
        seconds = min(max(float(document.get("expires_in") or 0), _SHORTEST), LONGEST)
    except (TypeError, ValueError, OverflowError):
        seconds = _SHORTEST
    used = min(seconds * _FRESH, seconds - _LEFT)
    return Token(value, started + used, started + seconds * _YOUNG, _fit(document.get("refresh_token")))


def _object(response: Response) -> dict[str, Any]:
    try:
        document = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _fit(value: object) -> str:
    is_fit = isinstance(value, str) and value.isascii() and value.isprintable() and " " not in value
    return str(value) if is_fit else ""
