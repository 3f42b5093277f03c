"""What credential helpers have answered, kept for as long as a session lasts."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ocibuild.content.flow import Cancel

if TYPE_CHECKING:
    from ocibuild.registry.credentials import Credential


class Answers:
    """Helpers' answers by helper and server: each is asked once a session, by one thread at a time, for some ask the person."""

    def __init__(self, cancel: Cancel | None = None) -> None:
        self._cancel = cancel or Cancel()
        self._known: dict[tuple[str, str], Credential | str | None] = {}
        self._lock = threading.Lock()

    def under(self, cancel: Cancel) -> Answers:
        """The same answers, for work that `cancel` calls off."""
        shared = Answers(cancel)
        shared._known, shared._lock = self._known, self._lock
        return shared

    def of(self, suffix: str, server: str, environ: Mapping[str, str]) -> Credential | str | None:
        """The credential, None where the helper has none, or in words why it failed. Raises Cancelled."""
        with self._lock:
            if (suffix, server) not in self._known:
                self._known[suffix, server] = _ask(suffix, server, environ, self._cancel)
            return self._known[suffix, server]

    def forget(self) -> None:
        """Ask anew from now on."""
        with self._lock:
            self._known.clear()


def _ask(suffix: str, server: str, environ: Mapping[str, str], cancel: Cancel) -> Credential | str | None:
    from ocibuild.registry import helper
    from ocibuild.registry.credentials import Credential

    answer = helper.get(suffix, server, environ, cancel=cancel)
    if not isinstance(answer, tuple):
        return answer
    (user, secret), source = answer, helper.program(suffix)
    if user == helper.TOKEN:
        return Credential(identity_token=secret, source=source, is_from_helper=True)
    return Credential(user, secret, source=source, is_from_helper=True)
