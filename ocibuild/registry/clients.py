"""Clients: the open ways to registries that one session shares."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ocibuild.registry.connection import Connection
    from ocibuild.registry.settings import Settings
    from ocibuild.registry.transport import Watch
    from ocibuild.spec.reference import Reference


class Clients:
    """One connection a registry while it is open: its sockets, its tokens and what it has learned of the registry.

    What the machine's files say of a repository is read once while it is open.

    Before `open` and after `close` each is for one user, who gives it back with `release`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: list[tuple[tuple[str, bool, Settings], Connection]] = []
        self._ways: dict[str, tuple[Settings, Connection]] = {}
        self._is_open = False

    def open(self) -> None:
        """From now on keep them."""
        self._is_open = True

    def close(self) -> None:
        """Close all that were kept, and keep none any more."""
        self._is_open = False
        self.forget()

    def forget(self) -> None:
        """Close all that were kept: another login counts from now on."""
        with self._lock:
            kept, self._kept, self._ways = self._kept, [], {}
        for _, connection in kept:
            connection.close()

    def of(self, reference: Reference, settings: Settings, watch: Watch) -> Connection:
        """The connection for a reference's registry; see Connection.of for what is raised."""
        from ocibuild.registry.connection import Connection

        if not self._is_open:
            return Connection.of(reference, settings, watch)
        from ocibuild.record import replace

        with self._lock:
            # Files may say other things of another repository, so it is not the host alone.
            asked, connection = self._ways.get(reference.name, (None, None))
            if connection is None or asked != settings:
                connection = self._found(reference, settings, watch)
                self._ways[reference.name] = (settings, connection)
            # A helper is called off with who needs it now, and not with who needed it first.
            connection.auth.keychain = replace(connection.auth.keychain, answers=settings.answers)
            return connection

    def _found(self, reference: Reference, settings: Settings, watch: Watch) -> Connection:
        from ocibuild.registry import policy
        from ocibuild.registry.connection import Connection

        # All that the files say is said of a host, but for this: a registry's files are not read for each repository.
        entry = policy.allowed(reference, settings)
        asked = (reference.api_host, entry is not None and entry.insecure, settings)
        for known, connection in self._kept:
            if known == asked:
                return connection
        made = Connection.of(reference, settings, watch)
        self._kept.append((asked, made))
        return made

    def release(self, connection: Connection) -> None:
        """Close a connection that nobody shares."""
        with self._lock:
            is_kept = any(known is connection for _, known in self._kept)
        if not is_kept:
            connection.close()
