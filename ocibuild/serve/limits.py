"""The bounds that keep a stranger from taking all there is. Times are in seconds, sizes in bytes."""

from __future__ import annotations

from ocibuild.record import record


@record
class Limits:
    """What one client, and all of them together, may take."""

    manifest: int = 8 * 1024 * 1024
    """Of a manifest; distribution-spec asks for at least 4 MiB."""
    blob: int = 2**50
    header: int = 32 * 1024
    """Of a request's line and headers together."""
    header_time: float = 10.0
    """From a request's first byte to the end of its headers."""
    idle: float = 30.0
    """Without a byte in a body, either way."""
    rest: float = 30.0
    """Of a connection between two requests."""
    slowest: int = 1024
    """Bytes a second that a body must have on average after its first `idle` seconds."""
    connections: int = 1000
    workers: int = 512
    """Requests at the same time; a connection that rests takes none."""
    uploads: int = 1000
    upload_rest: float = 24 * 3600.0
    """Without a byte in an upload that was begun."""
    grace: float = 3600.0
    """Since a blob came, before a collection may take it for one that nobody names."""
