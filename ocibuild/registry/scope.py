"""Which rights a request needs, read off its address. CNCF distribution, "Token Scope Documentation"."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

_PATH = re.compile(r"/v2/(.+)/(?:blobs|manifests|tags|referrers)/")
Scopes = frozenset[str]


def needed(method: str, url: str) -> Scopes:
    """The scopes to ask a token for; empty where the address does not tell."""
    parts = urlsplit(url)
    if parts.path == "/v2/_catalog":
        return frozenset({"registry:catalog:*"})
    match = _PATH.match(parts.path)
    if not match:
        return frozenset()
    scopes = {f"repository:{match[1]}:{_actions(method, parts.path)}"}
    if method == "POST":
        scopes |= {
            f"repository:{source}:pull" for source in parse_qs(parts.query).get("from", []) if source != match[1]
        }
    return frozenset(scopes)


def _actions(method: str, path: str) -> str:
    if method in ("GET", "HEAD") and "/blobs/uploads/" not in path:
        return "pull"
    if method == "DELETE" and "/blobs/uploads/" not in path:
        return "pull,delete"
    return "pull,push"


def covers(granted: Scopes, wanted: Scopes) -> bool:
    """True where a token for `granted` has every right of `wanted`."""
    have: dict[str, set[str]] = {}
    for scope in granted:
        resource, _, actions = scope.rpartition(":")
        have.setdefault(resource, set()).update(actions.split(","))
    return all(
        set(actions.split(",")) <= have.get(resource, set())
        for resource, _, actions in (scope.rpartition(":") for scope in wanted)
    )


def repositories(scopes: Scopes) -> list[str]:
    """The repositories scopes are about, those to be written to first: it is their login that counts."""
    found = [scope.split(":", 2) for scope in scopes if scope.startswith("repository:") and scope.count(":") >= 2]
    return [name for _, name, actions in sorted(found, key=lambda part: (part[2] == "pull", part[1]))]


def is_pull(scopes: Scopes) -> bool:
    """True for rights to read, and nothing else: what anybody may have of a public repository."""
    return bool(scopes) and all(scope.startswith("repository:") and scope.endswith(":pull") for scope in scopes)


def concerning(offered: str, scopes: Scopes) -> list[str]:
    """Of the scopes a challenge names, in its order, those about what this request is about."""
    resources = {scope.rpartition(":")[0] for scope in scopes}
    return [scope for scope in offered.split() if not scopes or scope.rpartition(":")[0] in resources]
