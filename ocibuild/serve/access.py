"""Who may do what: nobody is asked, or everybody is, or those who push are.

Names and passwords are looked up in an Apache password file with bcrypt entries (`htpasswd -B`), tokens in a file with one a
line. A token is accepted as a Bearer token, and as the password of any name, for clients that know logins only.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ocibuild.errors import UsageError
from ocibuild.serve.refusal import Refusal

Action = Literal["pull", "push", "delete"]

_REMEMBERED = 1000
_BCRYPT = re.compile(r"\$2[aby]\$(?:0[4-9]|1\d|2\d|3[01])\$[./A-Za-z0-9]{53}")
_DUMMY = b"$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"


class Access:
    """The rules of one server. Without users and tokens everybody may do everything, as far as it is not `read_only`."""

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        tokens: tuple[str, ...] = (),
        anonymous_pull: bool = False,
        read_only: bool = False,
    ) -> None:
        self._users = {name: entry.encode() for name, entry in (users or {}).items()}
        self._tokens = [hashlib.sha256(token.encode()).digest() for token in tokens]
        self._asks = bool(users or tokens)
        self._anonymous_pull = anonymous_pull
        self.read_only = read_only
        self._key = os.urandom(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def check(self, action: Action, authorization: str | None) -> None:
        """Nothing, where it is allowed. Raises Refusal (UNAUTHORIZED, DENIED, UNSUPPORTED)."""
        is_open = not self._asks or (self._anonymous_pull and action == "pull" and not authorization)
        if not is_open and not self._is_known(authorization):
            raise Refusal(
                "UNAUTHORIZED",
                "these credentials are not known here" if authorization else "log in first",
                headers={"WWW-Authenticate": 'Basic realm="ocibuild", charset="UTF-8"'},
            )
        if self.read_only and action != "pull":
            raise Refusal("UNSUPPORTED", "this registry is read-only")

    def _is_known(self, authorization: str | None) -> bool:
        scheme, _, value = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            return self._is_token(value.strip())
        if scheme.lower() != "basic":
            return False
        try:
            name, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            return False
        return bool(colon) and (self._is_token(password) or self._is_user(name, password))

    def _is_token(self, token: str) -> bool:
        given = hashlib.sha256(token.encode()).digest()
        return sum(hmac.compare_digest(given, known) for known in self._tokens) > 0

    def _is_user(self, name: str, password: str) -> bool:
        if not self._users:
            return False
        # bcrypt is slow on purpose, and a push has many requests: what was right once is known by its keyed hash.
        mark = hmac.digest(self._key, f"{name}\0{password}".encode(), "sha256")
        if mark in self._known:
            return True
        import bcrypt

        entry = self._users.get(name)
        right = bcrypt.checkpw(password.encode()[:72], entry or _DUMMY)
        if not right or entry is None:
            return False
        self._known[mark] = None
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return True


def read_htpasswd(path: Path) -> dict[str, str]:
    """Names and bcrypt entries. Raises UsageError (`htpasswd-invalid`)."""
    users: dict[str, str] = {}
    for number, line in enumerate(_lines(path, "htpasswd-invalid"), 1):
        name, colon, entry = line.partition(":")
        if not colon or not name or not _BCRYPT.fullmatch(entry):
            raise UsageError(
                f"line {number} of {path} is no name with a bcrypt entry",
                code="htpasswd-invalid",
                hint=f"write it with: htpasswd -B {path} NAME",
            )
        users[name] = entry
    if not users:
        raise UsageError(f"{path} holds nobody", code="htpasswd-invalid", hint=f"add one: htpasswd -B {path} NAME")
    return users


def read_tokens(path: Path) -> tuple[str, ...]:
    """The tokens in a file, one a line. Raises UsageError (`token-file-invalid`)."""
    tokens = tuple(_lines(path, "token-file-invalid"))
    if not tokens or any(len(token) < 16 or not token.isprintable() or " " in token for token in tokens):
        raise UsageError(
            f"{path} holds no tokens of at least 16 characters",
            code="token-file-invalid",
            hint=f"write one with: openssl rand -hex 32 > {path}",
        )
    return tokens


def _lines(path: Path, code: str) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"{path} is not there", code=code, hint="check the file's name") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", code=code) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is no text in UTF-8", code=code) from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
