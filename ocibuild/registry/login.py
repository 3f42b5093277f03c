"""Logins: proving credentials to a registry, keeping them where docker and podman look, and taking them away again.

Kept in the file that was named, else docker's config.json, or in the helper which that file names for the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ocibuild.errors import StoreError, UsageError
from ocibuild.record import record
from ocibuild.registry import authfile, helper
from ocibuild.registry.credentials import Credential

if TYPE_CHECKING:
    from requests import Response

    from ocibuild.registry.client import Client


@record
class Kept:
    """Where a login is kept: a file, or a helper that the file names. `is_plain` where anyone who reads it knows it."""

    where: str
    is_plain: bool


def prove(client: Client, api_host: str) -> bool:
    """Show the client's credentials to its registry. False where it never asked for any, and nothing is proven.

    Raises AuthorizationError where they are not accepted, NetworkError, RegistryError where it is no registry.
    """
    return proven(client.do_request(f"{client.prefix}://{api_host}/v2/"))


def proven(response: Response) -> bool:
    """As `prove`, of the answer to a request for /v2/."""
    from ocibuild.registry import problem

    if response.status_code != 200:
        raise problem.refusal(response, "the login")
    if "html" in response.headers.get("Content-Type", ""):
        raise problem.stranger(response, "a registry's greeting")
    return "Authorization" in response.request.headers


def keep(path: Path, registry: str, credential: Credential, environ: Mapping[str, str]) -> Kept:
    """Write a login. Raises UsageError (`credentials-invalid`), StoreError, ToolError (`helper-missing`, `helper-failed`)."""
    check(credential)
    names = authfile.aliases(registry)
    suffix = _helper(path, names)
    if suffix:
        token = credential.identity_token
        helper.store(
            suffix, names[0], helper.TOKEN if token else credential.username, token or credential.password, environ
        )

    def edit(document: dict[str, Any]) -> None:
        auths = document.get("auths")
        if not isinstance(auths, dict):
            auths = document["auths"] = {}
        before = auths.get(names[0])
        kept = {k: v for k, v in before.items() if k not in _SECRETS} if isinstance(before, dict) else {}
        # An empty entry is how docker notes that the helper has it.
        auths[names[0]] = kept if suffix else {**authfile.entry_of(credential), **kept}

    _change(path, edit)
    return Kept(helper.program(suffix), False) if suffix else Kept(str(path), True)


def drop(path: Path, registry: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Take a host's logins away, whatever name of it they stand under; where they were. Raises as `keep` does."""
    names = authfile.aliases(registry)
    was: list[str] = []
    # Helpers tend to call it a success to erase what they never had.
    if (suffix := _helper(path, names)) and helper.get(suffix, names[0], environ) is not None:
        helper.erase(suffix, names[0], environ)
        was.append(helper.program(suffix))

    def edit(document: dict[str, Any]) -> None:
        auths = authfile.section(document, "auths")
        for key in [key for key in auths if key in names or authfile.normal(key) in names]:
            if auths.pop(key) and str(path) not in was:
                was.append(str(path))

    if path.exists():
        _change(path, edit)
    return tuple(was)


def check(credential: Credential) -> None:
    """Raises UsageError (`credentials-invalid`) for credentials that cannot be sent."""
    if credential.flaw or (credential.kind == "password" and not credential.password):
        raise UsageError(
            f"these credentials cannot be used: {credential.flaw or 'the password is empty'}",
            code="credentials-invalid",
            hint="give the user name and the password, or access token, that the registry's page shows",
        )


_SECRETS = frozenset({"auth", "username", "password", "identitytoken", "registrytoken"})


def _helper(path: Path, names: tuple[str, ...]) -> str:
    try:
        document = authfile.load(path) or {}
    except ValueError:
        return ""  # the change that follows complains
    chosen = authfile.helper_of(document, names)
    return chosen[1] if chosen else authfile.store_of(document)


def _change(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    try:
        authfile.change(path, edit)
    except StoreError as error:
        if error.code != "not-writable":
            raise
        reason = getattr(error.__cause__, "strerror", None) or error.message
        hint = "name another file with --authfile, or mend its permissions"
        raise StoreError(f"{path} cannot be written: {reason}", code=error.code, hint=hint) from error
