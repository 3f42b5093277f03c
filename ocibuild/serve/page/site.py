"""The pages as a WSGI application: what is asked for, who may see it, and what every answer says to the browser.

    /                         repositories (?q=, ?page=)
    /r/NAME                   tags (?page=)
    /r/NAME:TAG, /r/NAME@DIGEST   a manifest (?show=json, ?show=config, ?layer=N&from=M)
    /-/state                  a word that changes with what is here (?repository=NAME), for the script
    /-/page.css, page.js, icon.svg

No repository's name begins with a dash, and nothing here is below /v2/.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files as resources
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from ocibuild.errors import ContentError, OcibuildError
from ocibuild.serve import naming
from ocibuild.serve.access import Access
from ocibuild.serve.page import shelves as reading
from ocibuild.serve.page.commands import Place, commands
from ocibuild.serve.page.image import Images, config_bytes
from ocibuild.serve.page.shelves import Shelves
from ocibuild.serve.refusal import Refusal
from ocibuild.serve.registry import Registry
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Manifest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from jinja2 import Environment

_log = logging.getLogger("ocibuild.serve")

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_PER_PAGE = 100
_FILES = 500
_MOST = 10**6
_JSON = 256 * 1024
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_ASSETS = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_TITLES = {400: "That is no address here", 401: "Log in to see this", 404: "There is nothing here", 405: "Read only"}


class Site:
    """Answers what is not below /v2/. `access` is asked for everything but the style, the script and the icon."""

    def __init__(self, registry: Registry, access: Access | None = None) -> None:
        self._access = access or Access()
        self._shelves = Shelves(registry)
        self._images = Images(self._shelves)
        self._templates: Environment | None = None
        self._assets: dict[str, tuple[bytes, str]] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        request = Request(environ, populate_request=False)
        try:
            answer = self._answer(request)
        except Refusal as refusal:
            answer = self._refused(request, refusal)
        except OcibuildError:
            answer = self._refused(request, Refusal("UNKNOWN", "the registry cannot read this repository", status=500))
        except Exception:
            _log.exception("a page could not be made")
            answer = self._refused(request, Refusal("UNKNOWN", "something unexpected happened here", status=500))
        answer.headers.update(HEADERS)
        answer.headers.setdefault("Cache-Control", "private, no-cache")
        return answer(environ, start_response)

    def _answer(self, request: Request) -> Response:
        path = request.path
        if request.method not in ("GET", "HEAD"):
            raise Refusal("UNSUPPORTED", "pages are read, not written", headers={"Allow": "GET, HEAD"})
        if path.startswith("/-/") and path[3:] in _ASSETS:
            return self._asset(request, path[3:])
        self._access.check("pull", request.headers.get("Authorization"))
        if path == "/":
            return self._home(request)
        if path == "/-/state":
            return self._state(request)
        if path.startswith("/r/"):
            return self._below(request, path[3:])
        raise _nothing()

    def _below(self, request: Request, path: str) -> Response:
        # Names hold neither sign, tags hold neither, and a digest's colon comes behind its @.
        name, at, digest = path.partition("@")
        name, colon, tag = (name, "", "") if at else name.partition(":")
        try:
            checked = naming.name(name)
            reference = naming.digest(digest) if at else naming.tag(tag) if colon else None
        except Refusal:
            raise _nothing() from None
        return self._repository(request, checked) if reference is None else self._manifest(request, checked, reference)

    # Pages

    def _home(self, request: Request) -> Response:
        names = self._shelves.registry.names()
        asked = request.args.get("q", "")[:200].strip().lower()
        found = [name for name in names if asked in name] if asked else names
        start, pages = _pages(request, len(found))
        shelves = [self._shelves.shelf(name) for name in found[start : start + _PER_PAGE]]
        return self._page(
            request, "home.html", state=self._shelves.state(), shelves=shelves, asked=asked, total=len(names),
            found=len(found), size=sum(shelf.size for shelf in shelves), pages=pages,
        )  # fmt: skip

    def _repository(self, request: Request, name: str) -> Response:
        now = self._shelves.now(name)
        tags, untagged = now.tags[::-1], now.untagged[::-1]
        start, pages = _pages(request, len(tags))
        shown = [(tag, now.tag(tag)) for tag in tags[start : start + _PER_PAGE]]
        rows = [(tag, self._shelves.short(name, entry)) for tag, entry in shown if entry is not None]
        bare = [now.root(digest) for digest in untagged[:_PER_PAGE]] if not start else []
        others = [self._shelves.short(name, entry) for entry in bare if entry is not None]
        return self._page(
            request, "repository.html", state=self._shelves.state(name), watched=name, name=name, rows=rows,
            shelf=self._shelves.shelf(name), others=others, untagged=len(untagged), pages=pages,
            place=_place(request, name, ":TAG"),
        )  # fmt: skip

    def _manifest(self, request: Request, name: str, reference: str | Digest) -> Response:
        held = self._shelves.held(name, reference)
        is_digest = isinstance(reference, Digest)
        suffix = f"@{reference}" if is_digest else f":{reference}"
        shared: dict[str, Any] = {
            "state": self._shelves.state(name),
            "watched": name,
            "name": name,
            "tag": None if is_digest else reference,
            "suffix": suffix,
            "held": held,
        }
        if (text := request.args.get("layer")) is not None:
            start = _number(request.args.get("from", "0"))
            layer, listing = self._images.layer(name, held, _number(text), start, _FILES)
            return self._page(
                request, "layer.html", layer=layer, listing=listing, number=_number(text), following=start + _FILES,
                preceding=max(start - _FILES, 0), **shared,
            )  # fmt: skip
        show = request.args.get("show")
        if show in ("json", "config"):
            text, is_cut, blob = self._json(name, held, show)
            return self._page(request, "json.html", text=text, is_cut=is_cut, blob=blob, show=show, **shared)
        node = self._images.tree(name, held)
        programs = node.all_programs
        place = _place(request, name, suffix)
        ways = commands(
            place,
            node.sort,
            platforms=tuple(child.platform for child in node.children),
            serves=any("http" in program.tags for program in programs),
        )
        return self._page(
            request, "image.html", node=node, programs=programs, commands=ways, place=place,
            names=self._shelves.names_of(name, held.digest)[:50],
            referrers=list(self._shelves.referrers(name, held.digest)), **shared,
        )  # fmt: skip

    def _json(self, name: str, held: Any, show: str) -> tuple[str, bool, Any]:
        """The document laid out, whether that is cut, and the blob it stands in."""
        blob = held
        if show == "config":
            try:
                document = self._shelves.document(held)
            except ContentError:
                raise _nothing() from None
            if not isinstance(document, Manifest):
                raise _nothing()
            blob = config_bytes(self._shelves, name, document)
        if blob.size > _JSON:
            with open(blob.path, "rb") as stream:
                return stream.read(_JSON).decode("utf-8", "replace"), True, blob
        data = reading.read(blob, _JSON)
        try:
            # Laid out anew: a document may be one line, and escapes hide what it says.
            text = json.dumps(json.loads(data), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):
            text = data.decode("utf-8", "replace")
        return text[:_JSON], len(text) > _JSON, blob

    # What the script asks

    def _state(self, request: Request) -> Response:
        name = request.args.get("repository")
        if name is not None and not naming.is_name(name):
            raise _nothing()
        return _tagged(request, b"{}", "application/json", self._shelves.state(name))

    def _asset(self, request: Request, name: str) -> Response:
        if name not in self._assets:
            data = (resources("ocibuild.serve.page") / "assets" / name).read_bytes()
            self._assets[name] = data, hashlib.sha256(data).hexdigest()[:32]
        data, mark = self._assets[name]
        return _tagged(request, data, _ASSETS[name], mark)

    # Rendering

    def _page(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        scheme = "https" if request.scheme == "https" else "http"
        values = {"watched": None, "state": None, "host": _host(request), "scheme": scheme, **values}
        text = self._environment().get_template(template).render(values)
        # A lone surrogate cannot come here: shown text has them written out.
        return Response(text.encode("utf-8", "replace"), status, content_type="text/html; charset=utf-8")

    def _environment(self) -> Environment:
        if self._templates is None:
            from jinja2 import Environment, PackageLoader, StrictUndefined

            from ocibuild.serve.page import shown

            made = Environment(
                loader=PackageLoader("ocibuild.serve.page"),
                autoescape=True,
                undefined=StrictUndefined,
                trim_blocks=True,
                lstrip_blocks=True,
            )
            filters: Mapping[str, Callable[..., Any]] = {
                "visible": shown.visible,
                "lines": shown.lines,
                "long": shown.long,
                "brief": shown.brief,
                "linked": shown.linked,
                "bytes": shown.size,
                "when": shown.when,
                "plural": shown.plural,
            }
            made.filters.update(filters)
            self._templates = made
        return self._templates

    def _refused(self, request: Request, refusal: Refusal) -> Response:
        title = _TITLES.get(refusal.status, "This went wrong")
        answer = self._page(request, "error.html", status=refusal.status, title=title, message=refusal.message)
        answer.headers.update(refusal.headers)
        return answer


def _nothing() -> Refusal:
    return Refusal("NAME_UNKNOWN", "no page has this address", status=404)


def _tagged(request: Request, data: bytes, kind: str, mark: str) -> Response:
    headers = {"ETag": f'"{mark}"', "Cache-Control": "private, no-cache"}
    if f'"{mark}"' in request.headers.get("If-None-Match", ""):
        return Response(status=304, headers=headers)
    return Response(data, headers=headers, content_type=kind)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise _nothing()
    return min(int(text), _MOST)


def _pages(request: Request, count: int) -> tuple[int, dict[str, int]]:
    """Where the page that is asked for begins, and its number and the last one's."""
    last = max((count - 1) // _PER_PAGE, 0) + 1
    number = min(max(_number(request.args.get("page", "1")), 1), last)
    return (number - 1) * _PER_PAGE, {"number": number, "last": last}


def _host(request: Request) -> str:
    """The address that the browser knows the registry by; it is what its own commands will use."""
    said = str(request.environ.get("HTTP_HOST", ""))
    return said if _HOST.fullmatch(said) else "localhost"


def _place(request: Request, name: str, suffix: str) -> Place:
    host, is_plain = _host(request), request.scheme != "https"
    # A reference's first part is a host only where it has a dot, a port, or is localhost.
    if not re.search(r"[.:]|^localhost$", host):
        host += ":80" if is_plain else ":443"
    return Place(host, name, suffix, is_plain)
