"""Credentials: who we are to a registry, and what was said where one was looked for."""

from __future__ import annotations

import base64
import re
from typing import Literal

from ocibuild.record import field, record

_TOKEN = re.compile(r"gh[pousr]_|github_pat_|gl[a-z]{1,5}-|dckr_pat_|dop_v1_|AKIA|ya29\.|eyJ")
Kind = Literal["password", "identity token", "registry token"]


@record
class Credential:
    """A user name and password, an identity token to trade for access tokens, or a registry token to send as it is.

    `source` says where it was found, for people; `is_from_helper` where asking once more may give another. Secrets are
    not in the repr.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    source: str = "given"
    is_from_helper: bool = False

    @property
    def kind(self) -> Kind:
        """What it is, in the order in which it is used."""
        if self.registry_token:
            return "registry token"
        return "identity token" if self.identity_token else "password"

    @property
    def user(self) -> str:
        """The user name as it may be shown: with some services a token stands in its place."""
        return shown(self.username, self.password)

    @property
    def called(self) -> str:
        """`the credentials from …`, for sentences."""
        return "the given credentials" if self.source == "given" else f"the credentials from {self.source}"

    @property
    def basic(self) -> str:
        """The value of an Authorization header, or "" without a user name. RFC 7617, in UTF-8."""
        return _basic(self.username, self.password) if self.username else ""

    @property
    def basic_of_token(self) -> str:
        """As `basic`, for token services that take an identity token as the password; "" where there is no such way."""
        secret = self.password or self.identity_token
        # Azure's tokens of many KiB are answered with "header too large", whoever asks.
        return _basic(self.username, secret) if self.username and secret and len(secret) <= 6000 else ""

    @property
    def flaw(self) -> str:
        """Why it cannot be sent, "" where it can. A password may hold anything but NUL: a key file has line ends."""
        if ":" in self.username or not self.username.isprintable():
            return "its user name has a colon or a control character in it, which no registry can be told"
        if "\0" in self.password:
            return "its password has a NUL character in it"
        for token in (self.identity_token, self.registry_token):
            if not (token.isascii() and token.isprintable()) or " " in token:
                return "its token has characters in it that no token has"
        return "" if self.username or self.identity_token or self.registry_token else "it names no user"


@record
class Look:
    """A look at one place: `found`, where it knows the host, and `said`, in words, without a secret."""

    source: str
    said: str
    found: Credential | None = None

    @classmethod
    def at(cls, source: str, found: Credential) -> Look:
        """The look that found something; what cannot be sent counts as nothing."""
        if found.flaw:
            return cls(source, f"unusable: {found.flaw}")
        user = f" of {found.user}" if found.user else ""
        return cls(source, f"{found.kind}{user}", found)


def shown(username: str, password: str = "") -> str:
    """A user name for people, or `(a token)` for one that is a secret itself."""
    return "(a token)" if username and (username == password or _TOKEN.match(username)) else username


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
