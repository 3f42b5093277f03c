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
        scopes |= {f"repository:{source}:pull" for source in parse_qs(parts.query).get("from", [])}
    return frozenset(scopes)


def _actions(method: str, path: str) -> str:
    if method in ("GET", "HEAD") and "/blobs/uploads/" not in path:
        return "pull"
    if method == "DELETE" and "/blobs/uploads/" not in path:
        return "pull,delete"
    return "pull,push"
