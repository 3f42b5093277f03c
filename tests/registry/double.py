"""A registry in this process, enough to push to and pull from: for every test that needs one and not a real one.

    with Registry() as registry:
        reference = f"{registry.host}/hello:1"

    Registry(user="ada", password="lovelace")                 tokens, one for each scope, as Docker Hub does
    Registry(user="ada", password="lovelace", basic=True)     Basic, as a small registry behind htpasswd does
    Registry(referrers=True)                                  the referrers API; without it, clients keep the list
    Registry(deletes="")                                      what can be deleted: "tags", "manifests", both, nothing

    Registry(largest=n)     bodies of more than n bytes are answered 413, as by a proxy that limits them
    Registry(shortest=n)    chunks of fewer bytes are refused, but for the last (OCI-Chunk-Min-Length)

It keeps what it is given: `blobs` and `manifests` by (repository, digest), `tags` by (repository, tag). It checks
digests, refuses a manifest whose blobs are missing, and shows a blob only in the repositories it was put into.
distribution-spec v1.1.1.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from urllib.parse import parse_qs, urlsplit

from tests.registry.scripted import Answer, Seen, Server

_PATH = re.compile(r"/v2/(?P<name>.+?)/(?P<kind>blobs/uploads|blobs|manifests|tags|referrers)/(?P<last>[^/]*)")
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")


class Registry(Server):
    """See the module. `expires` is the life of a token in seconds, as it is told; `revoke()` makes all of them void."""

    def __init__(
        self,
        *,
        user: str = "",
        password: str = "",
        basic: bool = False,
        expires: int = 300,
        mounts: bool = True,
        largest: int | None = None,
        shortest: int = 0,
        referrers: bool = False,
        deletes: str = "tags manifests",
    ) -> None:
        super().__init__()
        self.largest, self.shortest = largest, shortest
        self.entrusted = bool(user)
        self.user, self.password, self.basic, self.expires, self.mounts = user, password, basic, expires, mounts
        self.referrers, self.deletes = referrers, deletes.split()
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.tokens: dict[str, set[str]] = {}
        self.uploads: dict[str, bytes] = {}

    def revoke(self) -> None:
        """Let every token given so far be void."""
        self.tokens.clear()

    def respond(self, request: Seen) -> Answer:
        """One answer of the protocol."""
        parts = urlsplit(request.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if parts.path == "/token":
            return self._token(request, parse_qs(parts.query).get("scope", []))
        if parts.path in ("/v2/", "/v2"):
            return self._refused(request, "") or Answer(200)
        if parts.path == "/v2/_catalog":
            names = sorted({name for name, _ in self.manifests})
            return self._refused(request, "registry:catalog:*") or _json(200, {"repositories": names})
        match = _PATH.fullmatch(parts.path)
        if not match:
            return _error(404, "NAME_UNKNOWN")
        actions = {"GET": "pull", "HEAD": "pull", "DELETE": "pull,delete"}.get(request.method, "pull,push")
        if refused := self._refused(request, f"repository:{match['name']}:{actions}"):
            return refused
        kind, name, last = match["kind"], match["name"], match["last"]
        if kind == "tags":
            return self._list(name)
        if kind == "referrers":
            return self._refer(name, last, query.get("artifactType")) if self.referrers else _error(404, "UNSUPPORTED")
        if kind == "manifests" and request.method == "DELETE":
            return self._delete(name, last)
        if kind == "manifests":
            return self._put_manifest(request, name, last) if request.method == "PUT" else self._manifest(name, last)
        if kind == "blobs":
            return self._blob(request, name, last)
        return self._start(name, query) if request.method == "POST" else self._upload(request, name, last, query)

    # Who asks.

    def _refused(self, request: Seen, scope: str) -> Answer | None:
        if not self.user:
            return None
        given = request.headers.get("authorization", "")
        if self.basic:
            if given == self._basic():
                return None
            return _error(401, "UNAUTHORIZED", ("WWW-Authenticate", 'BASIC realm="a registry"'))
        granted = self.tokens.get(given.removeprefix("Bearer "), set())
        if given.startswith("Bearer ") and _covers(granted, scope):
            return None
        challenge = f'Bearer realm="{self.url}/token",service="double",scope="{scope}"'
        return _error(401, "UNAUTHORIZED", ("WWW-Authenticate", challenge))

    def _basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def _token(self, request: Seen, scopes: list[str]) -> Answer:
        if request.headers.get("authorization") != self._basic():
            return Answer(401)
        token = secrets.token_hex(8)
        self.tokens[token] = set(scopes)
        return _json(200, {"token": token, "expires_in": self.expires})

    # What is there.

    def _list(self, name: str) -> Answer:
        tags = sorted(tag for repository, tag in self.tags if repository == name)
        return _json(200, {"name": name, "tags": tags}) if tags else _error(404, "NAME_UNKNOWN")

    def _refer(self, name: str, subject: str, artifact_type: str | None) -> Answer:
        entries = []
        for (repository, digest), (kind, data) in self.manifests.items():
            document = json.loads(data)
            if repository == name and document.get("subject", {}).get("digest") == subject:
                its = document.get("artifactType") or document.get("config", {}).get("mediaType")
                entry = {"mediaType": kind, "digest": digest, "size": len(data), "artifactType": its}
                entries.append({**entry, "annotations": document.get("annotations", {})})
        applied = {"OCI-Filters-Applied": "artifactType"} if artifact_type else {}
        entries = [entry for entry in entries if artifact_type in (None, entry["artifactType"])]
        body = json.dumps({"schemaVersion": 2, "mediaType": _INDEXES[0], "manifests": entries}).encode()
        return Answer(200, {"Content-Type": _INDEXES[0], **applied}, body)

    def _delete(self, name: str, last: str) -> Answer:
        if ("manifests" if ":" in last else "tags") not in self.deletes:
            return _error(405, "UNSUPPORTED")
        if ":" not in last:
            return Answer(202) if self.tags.pop((name, last), None) else _error(404, "MANIFEST_UNKNOWN")
        if self.manifests.pop((name, last), None) is None:
            return _error(404, "MANIFEST_UNKNOWN")
        self.tags = {place: digest for place, digest in self.tags.items() if (place[0], digest) != (name, last)}
        return Answer(202)

    def _manifest(self, name: str, last: str) -> Answer:
        digest = last if ":" in last else self.tags.get((name, last), "")
        found = self.manifests.get((name, digest))
        if found is None:
            return _error(404, "MANIFEST_UNKNOWN")
        return Answer(200, {"Content-Type": found[0], "Docker-Content-Digest": digest}, found[1])

    def _blob(self, request: Seen, name: str, digest: str) -> Answer:
        data = self.blobs.get((name, digest))
        if data is None:
            return _error(404, "BLOB_UNKNOWN")
        headers = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
        if match := re.fullmatch(r"bytes=(\d+)-\d+", request.headers.get("range", "")):
            start = int(match[1])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return Answer(206, headers, data[start:])
        return Answer(200, headers, data)

    # What comes.

    def _start(self, name: str, query: dict[str, str]) -> Answer:
        digest, source = query.get("mount", ""), query.get("from", "")
        if digest and self.mounts and (source, digest) in self.blobs:
            self.blobs[name, digest] = self.blobs[source, digest]
            return Answer(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})
        upload = secrets.token_hex(8)
        self.uploads[upload] = b""
        answer = self._uploading(name, upload)
        return Answer(
            202, {**answer.headers, "OCI-Chunk-Min-Length": str(self.shortest)} if self.shortest else answer.headers
        )

    def _uploading(self, name: str, upload: str) -> Answer:
        # The state in the address is signed by real ones: it changes with every byte that comes.
        have = len(self.uploads[upload])
        where = f"/v2/{name}/blobs/uploads/{upload}?_state=a%2Fb{have}&empty="
        return Answer(202, {"Location": where, "Range": f"0-{max(have - 1, 0)}"})

    def _upload(self, request: Seen, name: str, upload: str, query: dict[str, str]) -> Answer:
        if upload not in self.uploads:
            return _error(404, "BLOB_UPLOAD_UNKNOWN")
        if request.method == "DELETE":
            del self.uploads[upload]
            return Answer(204)
        answer = self._uploading(name, upload)
        if request.method == "GET":
            return Answer(204, answer.headers)
        state = f"_state=a%2Fb{len(self.uploads[upload])}&empty="
        if urlsplit(request.path).query not in (state, f"{state}&digest={query.get('digest', '').replace(':', '%3A')}"):
            return Answer(416, answer.headers)
        if request.headers.get("content-length") != str(len(request.body)):
            return _error(400, "SIZE_INVALID")
        if self.largest is not None and len(request.body) > self.largest:
            return Answer(413, {"Content-Type": "text/html"}, b"<title>413 Request Entity Too Large</title>")
        if request.method == "PATCH":
            return self._append(request, name, upload)
        return self._finish(request, name, upload, query.get("digest", ""))

    def _append(self, request: Seen, name: str, upload: str) -> Answer:
        have = len(self.uploads[upload])
        if request.headers.get("content-range") != f"{have}-{have + len(request.body) - 1}":
            return Answer(416, self._uploading(name, upload).headers)
        self.uploads[upload] += request.body
        return self._uploading(name, upload)

    def _finish(self, request: Seen, name: str, upload: str, digest: str) -> Answer:
        data = self.uploads[upload] + request.body
        if digest != _digest(data, digest):
            return _error(400, "DIGEST_INVALID")
        del self.uploads[upload]
        self.blobs[name, digest] = data
        return Answer(201, {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest})

    def _put_manifest(self, request: Seen, name: str, last: str) -> Answer:
        document = json.loads(request.body)
        kind = request.headers.get("content-type", "")
        if document.get("mediaType", kind) != kind:
            return _error(400, "MANIFEST_INVALID")
        digest = _digest(request.body, last)
        if ":" in last and last != digest:
            return _error(400, "DIGEST_INVALID")
        for child in [document.get("config"), *document.get("layers", [])]:
            if child and (name, child["digest"]) not in self.blobs:
                return _error(404, "MANIFEST_BLOB_UNKNOWN")
        for child in document.get("manifests", []) if kind in _INDEXES else []:
            if (name, child["digest"]) not in self.manifests:
                return _error(404, "MANIFEST_BLOB_UNKNOWN")
        self.manifests[name, digest] = (kind, request.body)
        if ":" not in last:
            self.tags[name, last] = digest
        headers = {"Location": f"/v2/{name}/manifests/{digest}", "Docker-Content-Digest": digest}
        if self.referrers and "subject" in document:
            headers["OCI-Subject"] = document["subject"]["digest"]
        return Answer(201, headers)


def _digest(data: bytes, like: str) -> str:
    algorithm = "sha512" if like.startswith("sha512:") else "sha256"
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def _covers(granted: set[str], scope: str) -> bool:
    resource, _, actions = scope.rpartition(":")
    have = {action for entry in granted if entry.rpartition(":")[0] == resource for action in _actions(entry)}
    return not scope or set(actions.split(",")) <= have


def _actions(scope: str) -> list[str]:
    return scope.rpartition(":")[2].split(",")


def _json(status: int, document: object) -> Answer:
    return Answer(status, {"Content-Type": "application/json"}, json.dumps(document).encode())


def _error(status: int, code: str, *lines: tuple[str, str]) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": code.lower(), "detail": None}]}).encode()
    return Answer(status, {"Content-Type": "application/json"}, body, lines=lines)
