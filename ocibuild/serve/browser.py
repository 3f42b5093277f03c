"""What a web page from elsewhere may not do through the browser of somebody who runs a registry.

A registry on loopback is out of the network's reach and within that of every page its owner opens: a page can have
requests sent to localhost, and one whose own name leads to 127.0.0.1 (DNS rebinding) could even read the answers.
Browsers say on whose behalf they ask (Fetch Metadata, `Origin`); container clients send no such header, and are not
concerned.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_OURS = ("same-origin", "none")
_SAFE = ("GET", "HEAD", "OPTIONS")
_LOCAL = (".localhost", ".local", ".internal")


class Browsers:
    """An application, out of reach of other sites' pages. `is_local` where it is reached by names of this machine alone."""

    def __init__(self, app: WSGIApplication, *, is_local: bool) -> None:
        self.app = app
        self._is_local = is_local

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI: 403 to what another site's page began, 421 to a browser that knows this machine by a stranger's name."""
        request = Request(environ, populate_request=False)
        refused = self._refused(request)
        if refused is None:
            return self.app(environ, start_response)
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
        return Response(f"{refused[1]}\n", status=refused[0], headers=headers)(environ, start_response)

    def _refused(self, request: Request) -> tuple[int, str] | None:
        site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
        if site is None and origin is None:
            return None
        if self._is_local and not is_local(request.host):
            return 421, "this registry is reached as localhost, and by no other name"
        is_other = origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()
        if request.method not in _SAFE and (is_other or (site is not None and site not in _OURS)):
            return 403, "a page of another site may not change what is here"
        return None


def is_local(host: str) -> bool:
    """True for an address, a name without a dot, and names that are never a stranger's; `host` may have a port."""
    name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(_LOCAL)
    return True
