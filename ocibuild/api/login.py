"""`login`, `logout` and `logins`: credentials proven to a registry, kept where docker and podman look, and listed."""

from __future__ import annotations

from pathlib import Path

from ocibuild.api.session import Session
from ocibuild.errors import UsageError
from ocibuild.record import record, replace
from ocibuild.registry import login as keeping
from ocibuild.registry.credentials import Credential
from ocibuild.registry.keychain import Keychain, Login
from ocibuild.spec.reference import Reference, registry_of


@record
class LoggedIn:
    """What a login came to. `where` names the file or helper; `is_plain` where it is kept unencrypted.

    `is_proven` is False where the registry asked for no credentials; `shadowed` names a place that goes before this one.
    """

    registry: str
    username: str
    where: str
    is_plain: bool
    is_proven: bool
    shadowed: str | None


@record
class LoggedOut:
    """Where a host's login was taken from; `remains` names a place that still knows the host."""

    registry: str
    removed: tuple[str, ...]
    remains: str | None


def login(
    registry: str, username: str, password: str, *, authfile: str | None = None, session: Session | None = None
) -> LoggedIn:
    """Prove a user name and password, or access token, to a registry, then keep them for later commands.

    Raises AuthorizationError where the registry does not accept them, and nothing is kept then; UsageError
    (`credentials-invalid`), NetworkError, StoreError, ToolError.
    """
    session = named(session, authfile).begin()
    host = registry_of(registry)
    credential = Credential(username, password)
    keeping.check(credential)
    keychain = keychain_of(session)
    path = keychain.saved
    if path is None:
        raise UsageError("there is no home folder to keep a login in", hint="name a file with --authfile")
    reference = Reference(host, "")
    client = replace(session, credentials={host: credential}).registry(reference).client
    try:
        is_proven = keeping.prove(client, reference.api_host)
    finally:
        client.close()
    kept = keeping.keep(path, host, credential, session.surroundings.environ)
    keychain.answers.forget()
    session.clients.forget()
    winner = keychain_of(replace(session, credentials={})).find(host)
    shadowed = winner.source if winner and winner.source != kept.where else None
    return LoggedIn(host, username, kept.where, kept.is_plain, is_proven, shadowed)


def logout(registry: str, *, authfile: str | None = None, session: Session | None = None) -> LoggedOut:
    """Take a registry's login away from where `login` keeps it. Raises UsageError, StoreError, ToolError."""
    session = named(session, authfile)
    host = registry_of(registry)
    keychain = keychain_of(replace(session, credentials={}))
    removed = keeping.drop(keychain.saved, host, keychain.environ) if keychain.saved else ()
    keychain.answers.forget()
    session.clients.forget()
    left = keychain.find(host)
    return LoggedOut(host, removed, left.source if left else None)


def logins(*, authfile: str | None = None, session: Session | None = None) -> tuple[tuple[Login, ...], tuple[str, ...]]:
    """Every login that is known on this machine, in the order in which they are looked at; and what could not be read."""
    keychain = keychain_of(named(session, authfile))
    found = tuple(dict.fromkeys(keychain.logins()))
    return found, tuple(keychain.notes)


def named(session: Session | None, authfile: str | None) -> Session:
    """The session, with a file of logins that is looked at before the others and written to."""
    session = session or Session()
    if authfile is None:
        return session
    environ = {**session.surroundings.environ, "REGISTRY_AUTH_FILE": authfile}
    return replace(session, surroundings=replace(session.surroundings, environ=environ))


def keychain_of(session: Session) -> Keychain:
    """Where that session's credentials come from."""
    around = session.surroundings
    return Keychain(
        session.credentials, around.environ, Path(around.home), around.user, session.answers.under(session.cancel)
    )
