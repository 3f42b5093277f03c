"""What this machine's files decide about a registry before anything is sent to it: whether it may be spoken to at all,
over http or https, and whose certificates count. It holds for reading and writing alike; mirrors are for reading only.
"""

from __future__ import annotations

from ocibuild.errors import UsageError
from ocibuild.record import record, replace
from ocibuild.registry import certs, daemonjson, hosts, registriesconf
from ocibuild.registry.origin import Origin
from ocibuild.registry.settings import Settings, Trust
from ocibuild.spec.reference import Reference


@record
class Approach:
    """How a registry is spoken to. `is_doubtful`: https, and where TLS is not spoken http."""

    origin: Origin
    is_doubtful: bool
    settings: Settings


def approach(reference: Reference, settings: Settings) -> Approach:
    """The way to a reference's registry.

    Raises UsageError (`registry-blocked`, `registries-conf-invalid`, `hosts-toml-invalid`,
    `daemon-json-invalid`).
    """
    entry = allowed(reference, settings)
    origin, told = usual(reference), settings.plain_http
    found = hosts.find(origin, settings)
    daemon = daemonjson.find(settings)
    is_insecure = (entry is not None and entry.insecure) or (daemon is not None and daemon.is_insecure(origin))
    trust = Trust(insecure=is_insecure)
    headers: tuple[tuple[str, str], ...] = ()
    if found and found.server.origin.netloc == origin.netloc:  # else it is where content is read from, and no more
        origin, trust, headers = found.server.origin, trust | found.server.trust, found.server.headers
    is_hinted = origin.scheme == "http" and _is_trusted(reference, settings)
    if told is not None or is_hinted:
        origin = Origin.of(f"{'http' if told else 'https'}://{reference.api_host}")
    is_doubtful = told is None and origin.scheme == "https" and (is_insecure or is_hinted)
    where = str(origin)
    trusts = {**settings.trusts, where: settings.trusts.get(where, Trust()) | trust}
    return Approach(origin, is_doubtful, replace(settings, trusts=trusts, headers={**settings.headers, where: headers}))


def allowed(reference: Reference, settings: Settings) -> registriesconf.Registry | None:
    """The entry of registries.conf. Raises UsageError (`registry-blocked`)."""
    entry = registriesconf.find(reference.name, settings)
    if entry is not None and entry.blocked:
        raise UsageError(
            f"{reference.name} is blocked: {entry.path} says so of {entry.prefix}",
            code="registry-blocked",
            hint="use another registry, or have that entry changed",
        )
    return entry


def usual(reference: Reference) -> Origin:
    """Where a registry is when nobody says anything: http on loopback, https everywhere else."""
    return Origin.of(f"{'http' if reference.is_loopback else 'https'}://{reference.api_host}")


def _is_trusted(reference: Reference, settings: Settings) -> bool:
    """True where somebody has said what to trust, as one does for TLS alone."""
    there = certs.trust(Origin.of(f"https://{reference.api_host}"), settings)
    return settings.ca_file is not None or settings.insecure or there != Trust()
