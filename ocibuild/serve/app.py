"""The HTTP face of a registry: distribution-spec 1.1, as a WSGI application.

Any WSGI server can run it, and any WSGI middleware stand before it. Bodies are read from `wsgi.input` through `readinto`
where it has that, as ours does.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlencode

from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.http import parse_options_header
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from ocibuild.errors import StoreError
from ocibuild.serve import naming
from ocibuild.serve.access import Access, Action
from ocibuild.serve.refusal import Refusal
from ocibuild.serve.registry import Registry
from ocibuild.serve.repository import Held
from ocibuild.serve.uploads import Body, Upload
from ocibuild.serve.wire import Broken
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.digest import Digest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Answer = Response | Callable[["WSGIEnvironment", "StartResponse"], Iterable[bytes]]

_log = logging.getLogger("ocibuild.serve")

MOST_AT_ONCE = 1000
"""Entries of a list in one answer; what follows is linked."""

_OCTETS = "application/octet-stream"
_SPAN = re.compile(r"(\d{1,19})-(\d{1,19})")
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
_LINKS = 256
_PIECE = 64 * 1024

_ROUTES = Map(
    [
        Rule("/v2/", endpoint="ping", methods=["GET"]),
        Rule("/v2", endpoint="ping", methods=["GET"]),
        Rule("/v2/_catalog", endpoint="catalog", methods=["GET"]),
        Rule("/v2/<path:name>/tags/list", endpoint="tags", methods=["GET"]),
        Rule("/v2/<path:name>/referrers/<digest>", endpoint="referrers", methods=["GET"]),
        Rule("/v2/<path:name>/manifests/<reference>", endpoint="manifest", methods=["GET", "PUT", "DELETE"]),
        Rule("/v2/<path:name>/blobs/<digest>", endpoint="blob", methods=["GET", "DELETE"]),
        Rule("/v2/<path:name>/blobs/uploads/", endpoint="uploads", methods=["POST"]),
        Rule("/v2/<path:name>/blobs/uploads", endpoint="uploads", methods=["POST"]),
        Rule("/v2/<path:name>/blobs/uploads/<number>", endpoint="upload", methods=["GET", "PATCH", "PUT", "DELETE"]),
    ],
    merge_slashes=False,
    strict_slashes=True,
    redirect_defaults=False,
)
_ACTIONS: Mapping[str, Action] = {"GET": "pull", "HEAD": "pull", "POST": "push", "PUT": "push", "PATCH": "push"}


class App:
    """The registry's WSGI application. `pages` answers what is not below /v2/, and asks who may see it; without it that is 404."""

    def __init__(
        self, registry: Registry, access: Access | None = None, *, pages: WSGIApplication | None = None
    ) -> None:
        self.registry = registry
        self.access = access or Access()
        self.pages = pages

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI. Every answer, also a refusal, says which API this is and that nothing is to be guessed from it."""
        request = Request(environ, populate_request=False)
        if self.pages is not None and request.path != "/v2" and not request.path.startswith("/v2/"):
            return self.pages(environ, start_response)
        try:
            self._allow(request)
            answer = self._answer(request)
        except Refusal as refusal:
            answer = _refused(refusal)
        except MethodNotAllowed as error:
            allowed = ", ".join(sorted(error.valid_methods or ()))
            answer = _refused(Refusal("UNSUPPORTED", f"{request.method} is not for this", headers={"Allow": allowed}))
        except HTTPException as error:
            answer = _refused(Refusal("UNSUPPORTED", "there is nothing here", status=error.code or 404))
        except StoreError as error:
            answer = _refused(_of_store(error))
        except Broken as error:
            answer = _refused(Refusal("BLOB_UPLOAD_INVALID", str(error), status=error.status))
        except Exception:
            _log.exception("a request could not be answered")
            answer = _refused(Refusal("UNKNOWN", "something unexpected happened here", status=500))
        return answer(environ, start_response)

    def _allow(self, request: Request) -> None:
        action: Action = "delete" if request.method == "DELETE" else _ACTIONS.get(request.method, "push")
        if action == "delete" and "/blobs/uploads/" in request.path:
            action = "push"
        self.access.check(action, request.headers.get("Authorization"))

    def _answer(self, request: Request) -> Answer:
        endpoint, found = _ROUTES.bind("", path_info=request.path, default_method=request.method).match()
        method = "get" if request.method == "HEAD" else request.method.lower()
        handler = getattr(self, f"_{endpoint}_{method}")
        checked = {key: naming.name(text) if key == "name" else text for key, text in found.items()}
        return cast(Answer, handler(request, **checked))

    # distribution-spec "Determining support", "Listing tags", and distribution's own catalog

    def _ping_get(self, request: Request) -> Answer:
        return _json({})

    def _catalog_get(self, request: Request) -> Answer:
        page, link = _page(request, self.registry.names())
        return _json({"repositories": page}, link)

    def _tags_get(self, request: Request, name: str) -> Answer:
        page, link = _page(request, self.registry.tags(name))
        return _json({"name": name, "tags": page}, link)

    def _referrers_get(self, request: Request, name: str, digest: str) -> Answer:
        entries = self.registry.referrers(name, naming.digest(digest))
        headers = {}
        if kind := request.args.get("artifactType"):
            entries = [entry for entry in entries if entry.get("artifactType") == kind]
            headers["OCI-Filters-Applied"] = "artifactType"
        known = {entry["digest"]: entry for entry in entries}
        page, link = _page(request, list(known))
        body = {"schemaVersion": 2, "mediaType": mediatype.INDEX, "manifests": [known[digest] for digest in page]}
        return _json(body, {**headers, **link}, mediatype.INDEX)

    # Manifests

    def _manifest_get(self, request: Request, name: str, reference: str) -> Answer:
        held = self.registry.manifest(name, naming.reference(reference))
        return self._file(request, held, "MANIFEST_UNKNOWN")

    def _manifest_put(self, request: Request, name: str, reference: str) -> Answer:
        target = naming.reference(reference)
        tags = [naming.tag(tag) for tag in request.args.getlist("tag")]
        media_type, _ = parse_options_header(request.headers.get("Content-Type"))
        data = self._document(request)
        # Clients without a type of their own send one that says nothing: then it is what it says itself.
        known = media_type if media_type not in ("", _OCTETS, "application/json") else None
        put = self.registry.put(name, target, data, known, tags)
        headers = {
            "Location": f"/v2/{name}/manifests/{put.digest if isinstance(target, Digest) else target}",
            "Docker-Content-Digest": str(put.digest),
        }
        if put.subject is not None:
            headers["OCI-Subject"] = str(put.subject)
        answer = Response(status=201, headers=headers)
        for tag in tags:
            answer.headers.add("OCI-Tag", tag)
        return _dressed(answer)

    def _document(self, request: Request) -> bytes:
        limit = self.registry.limits.manifest
        too_large = Refusal("SIZE_INVALID", f"a manifest may have {limit} bytes here", status=413)
        if (request.content_length or 0) > limit:
            raise too_large
        parts, left = [], limit
        buffer = memoryview(bytearray(min(request.content_length or _PIECE, _PIECE)))
        body = _body(request)
        while count := body.readinto(buffer):
            left -= count
            if left < 0:
                raise too_large
            parts.append(bytes(buffer[:count]))
        return b"".join(parts)

    def _manifest_delete(self, request: Request, name: str, reference: str) -> Answer:
        self.registry.delete_manifest(name, naming.reference(reference))
        return _dressed(Response(status=202))

    # Blobs

    def _blob_get(self, request: Request, name: str, digest: str) -> Answer:
        held = self.registry.blob(name, naming.digest(digest))
        if request.method == "HEAD" and not self.access.read_only:
            self.registry.renew(name, held.digest)
        return self._file(request, held, "BLOB_UNKNOWN")

    def _file(self, request: Request, held: Held, unknown: str) -> Answer:
        headers = {
            "Docker-Content-Digest": str(held.digest),
            "Content-Type": held.media_type,
            "ETag": f'"{held.digest}"',
            "Accept-Ranges": "bytes",
            **dict(held.notes),
        }
        if f'"{held.digest}"' in request.headers.get("If-None-Match", ""):
            return _dressed(Response(status=304, headers=headers))
        start, size = 0, held.size
        status = 200
        wanted = request.headers.get("Range") if request.headers.get("If-Range") in (None, headers["ETag"]) else None
        if wanted and wanted.startswith("bytes=") and "," not in wanted:
            start, size = _span(wanted, held.size)
            status = 206
            headers["Content-Range"] = f"bytes {start}-{start + size - 1}/{held.size}"
        headers["Content-Length"] = str(size)
        if request.method == "HEAD":
            return _dressed(Response(status=status, headers=headers))
        try:
            body = held.body(start, size)  # closed with the answer
        except FileNotFoundError:
            raise Refusal(unknown, f"{held.digest} is gone") from None
        except OSError as error:
            raise StoreError(f"{held.path} cannot be read: {error.strerror}", code="store-unreadable") from error

        def send(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            dressed = _dressed(Response(status=status, headers=headers))
            start_response(dressed.status, dressed.headers.to_wsgi_list())
            return body

        return send

    def _blob_delete(self, request: Request, name: str, digest: str) -> Answer:
        self.registry.delete_blob(name, naming.digest(digest))
        return _dressed(Response(status=202))

    # Uploads

    def _uploads_post(self, request: Request, name: str) -> Answer:
        if (mount := request.args.get("mount")) is not None:
            source = request.args.get("from")
            digest = naming.digest(mount)
            if self.registry.mount(name, digest, naming.name(source) if source else None):
                return _created(name, digest)
        elif (text := request.args.get("digest")) is not None:
            digest = naming.digest(text)
            upload = self.registry.begin(name)
            try:
                self.registry.append(upload, _body(request), size=request.content_length)
                self.registry.finish(name, upload, digest)
            finally:
                self.registry.uploads.end(upload)
            return _created(name, digest)
        return _accepted(name, self.registry.begin(name))

    def _upload_get(self, request: Request, name: str, number: str) -> Answer:
        return _accepted(name, self.registry.uploads.find(name, number), status=204)

    def _upload_patch(self, request: Request, name: str, number: str) -> Answer:
        upload = self.registry.uploads.find(name, number)
        self._append(request, upload)
        return _accepted(name, upload)

    def _append(self, request: Request, upload: Upload) -> None:
        said = request.headers.get("Content-Range")
        if said is None:
            self.registry.append(upload, _body(request), size=request.content_length)
            return
        match = _SPAN.fullmatch(said.removeprefix("bytes ").partition("/")[0].strip())
        if match is None or int(match[2]) < int(match[1]):
            raise Refusal("BLOB_UPLOAD_INVALID", "Content-Range is START-END, both counted from 0")
        start, size = int(match[1]), int(match[2]) - int(match[1]) + 1
        if start != upload.offset:
            raise upload.out_of_order()
        if request.content_length not in (None, size):
            raise Refusal("SIZE_INVALID", f"Content-Range says {size} bytes, Content-Length {request.content_length}")
        self.registry.append(upload, _body(request), size=size, start=start)

    def _upload_put(self, request: Request, name: str, number: str) -> Answer:
        upload = self.registry.uploads.find(name, number)
        if (text := request.args.get("digest")) is None:
            raise Refusal("DIGEST_INVALID", "the digest of the whole is missing: ?digest=sha256:…")
        digest = naming.digest(text)
        self._append(request, upload)
        self.registry.finish(name, upload, digest)
        return _created(name, digest)

    def _upload_delete(self, request: Request, name: str, number: str) -> Answer:
        self.registry.uploads.end(self.registry.uploads.find(name, number))
        return _dressed(Response(status=204))


class _Plain:
    """The body of a request to a server that is not ours: WSGI's `read` alone."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readinto(self, view: memoryview, /) -> int:
        data = self._stream.read(len(view))
        view[: len(data)] = data
        return len(data)


def _body(request: Request) -> Body:
    stream = request.environ["wsgi.input"]
    if hasattr(stream, "readinto") and hasattr(stream, "ended"):
        return cast(Body, stream)
    return _Plain(request.stream)


def _span(text: str, size: int) -> tuple[int, int]:
    """Offset and length of what a Range asks for. Raises Refusal with 416. RFC 9110, section 14.1.2."""
    match = _RANGE.fullmatch(text.replace(" ", ""))
    start = end = -1
    if match is not None and (match[1] or match[2]):
        start = int(match[1]) if match[1] else max(size - int(match[2]), 0)
        end = min(int(match[2]), size - 1) if match[1] and match[2] else size - 1
    if start < 0 or start >= size or end < start or (match is not None and not match[1] and int(match[2]) == 0):
        raise Refusal(
            "SIZE_INVALID", f"there are {size} bytes", status=416, headers={"Content-Range": f"bytes */{size}"}
        )
    return start, end - start + 1


def _page(request: Request, entries: list[str]) -> tuple[list[str], dict[str, str]]:
    """The part of a sorted list that `n` and `last` ask for, and the Link to the next one."""
    last, text = request.args.get("last"), request.args.get("n")
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refusal("UNSUPPORTED", "n is a number", status=400)
    if last is not None:
        at = entries.index(last) + 1 if last in entries else len([entry for entry in entries if entry <= last])
        entries = entries[at:]
    most = min(int(text), MOST_AT_ONCE) if text is not None else MOST_AT_ONCE
    page = entries[:most]
    if not page or len(page) == len(entries):
        return page, {}
    others = [(key, value) for key, value in request.args.items(multi=True) if key not in ("n", "last")]
    query = urlencode([*others[:_LINKS], ("n", most), ("last", page[-1])])
    return page, {"Link": f'<{quote(request.path)}?{query}>; rel="next"'}


def _dressed(answer: Response) -> Response:
    if answer.status_code in (201, 202, 204):
        answer.headers.pop("Content-Type", None)
    if answer.status_code not in (204, 304):
        answer.headers.setdefault("Content-Length", "0")
    answer.headers["Docker-Distribution-API-Version"] = "registry/2.0"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox; frame-ancestors 'none'"
    return answer


def _json(document: dict[str, Any], headers: Mapping[str, str] | None = None, kind: str = "application/json") -> Answer:
    return _dressed(Response(jsonform.dump(document), headers=headers, content_type=kind))


def _created(name: str, digest: Digest) -> Answer:
    headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": str(digest)}
    return _dressed(Response(status=201, headers=headers))


def _accepted(name: str, upload: Upload, status: int = 202) -> Answer:
    headers = {
        "Location": f"/v2/{name}/blobs/uploads/{upload.number}",
        "Range": upload.range,
        "Docker-Upload-UUID": upload.number,
    }
    return _dressed(Response(status=status, headers=headers))


def _of_store(error: StoreError) -> Refusal:
    """The disk's troubles, as a client may know them: without a path of this machine."""
    if error.code == "disk-full":
        return Refusal("DENIED", "the registry's disk is full", status=507, headers={"Retry-After": "60"})
    if error.code == "not-writable":
        return Refusal("DENIED", "the registry cannot write to its folder", status=500)
    return Refusal("UNKNOWN", "the registry cannot read this repository", status=500)


def _refused(refusal: Refusal) -> Response:
    return _dressed(
        Response(refusal.to_bytes(), refusal.status, headers=refusal.headers, content_type="application/json")
    )
