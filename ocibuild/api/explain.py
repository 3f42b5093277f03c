"""`explain`: who we would be to a registry, and why; what it wants, and whether it is content. No secret is in it."""

from __future__ import annotations

from typing import Any

from ocibuild.api.login import keychain_of, named
from ocibuild.api.session import Session
from ocibuild.errors import AuthorizationError, NetworkError, OcibuildError, RegistryError
from ocibuild.registry.credentials import Look
from ocibuild.spec.reference import Reference, registry_of


def explain(
    place: str, *, offline: bool = False, authfile: str | None = None, session: Session | None = None
) -> dict[str, Any]:
    """An account of REGISTRY or REGISTRY/REPOSITORY, fit for JSON. Unless `offline`, the registry is asked too.

    `looked` has every place in order, `used` the one that wins, `scopes` what is asked for to pull and to push, and
    `ping` what the registry answered; a failure of that is in it, and not raised. Raises UsageError.
    """
    session = named(session, authfile).begin()
    reference = _reference(place)
    keychain = keychain_of(session)
    looks = list(keychain.looks(reference.api_host, reference.repository))
    winner = next((look for look in looks if look.found), None)
    pull = f"repository:{reference.repository}:pull"
    scopes = {"pull": [pull], "push": [f"{pull},push"]} if reference.repository else {"pull": [], "push": []}
    return {
        "registry": reference.registry,
        "host": reference.api_host,
        "repository": reference.repository or None,
        "looked": [{"source": look.source, "said": look.said, "used": look is winner} for look in looks],
        "used": _used(winner),
        "scopes": scopes,
        "ping": None if offline else _ping(reference, scopes["pull"], session),
        "notes": list(keychain.notes),
    }


def registry_named(place: str) -> str:
    """The registry of REGISTRY or REGISTRY/REPOSITORY. Raises UsageError."""
    return _reference(place).registry


def _reference(place: str) -> Reference:
    bare = place.removeprefix("docker://")
    bare = bare if "//" in bare else bare.rstrip("/")
    if "/" not in bare or "://" in bare:
        return Reference(registry_of(bare), "")
    return Reference.parse(bare, default_tag=None)


def _used(winner: Look | None) -> dict[str, Any] | None:
    if winner is None or winner.found is None:
        return None
    return {"source": winner.source, "kind": winner.found.kind, "username": winner.found.user or None}


def _ping(reference: Reference, scopes: list[str], session: Session) -> dict[str, Any]:
    """What comes of asking /v2/ as every other command would."""
    from ocibuild.registry import login
    from ocibuild.registry.origin import Origin, public
    from ocibuild.registry.transport import Call, Watch

    said: list[str] = []
    client = session.registry(reference).client
    url = f"{client.prefix}://{reference.api_host}/v2/"
    answer: dict[str, Any] = {"url": url, "accepted": False}
    try:
        response = client.transport(url).send(
            Call("GET", url, scopes=frozenset(scopes)), Watch(session.cancel, warn=said.append)
        )
        answer["authenticated"] = login.proven(response)
        answer["accepted"] = True
    except (AuthorizationError, RegistryError, NetworkError) as error:
        answer["problem"] = _problem(error)
    finally:
        client.close()
    if challenge := client.auth.challenge(Origin.of(url)):
        parameters = challenge.parameters
        answer["scheme"] = challenge.scheme
        answer["realm"] = (
            public(parameters.get("realm", "")) if challenge.scheme == "bearer" else parameters.get("realm")
        )
        answer["service"] = parameters.get("service")
        answer["scopes"] = parameters.get("scope", "").split()
    answer["notes"] = said
    return answer


def _problem(error: OcibuildError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "hint": error.hint, "status": error.exit_status}
