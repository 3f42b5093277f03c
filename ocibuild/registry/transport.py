"""One HTTP exchange with a registry, from call to final answer: the seam below everything else in this room.

An exchange follows redirects, meets challenges, and tries again what may pass, within bounds. Authorization goes to the
registry's own origin and nowhere else. A body is opened anew for every attempt, so none is ever sent empty.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import requests
from requests import PreparedRequest, Response, Session
from requests.structures import CaseInsensitiveDict
from requests.utils import check_header_validity, super_len
from urllib3.exceptions import HTTPError

from ocibuild.content.flow import Cancel, Event, Flow
from ocibuild.errors import NetworkError, RegistryError
from ocibuild.record import field, record
from ocibuild.registry import problem, tls
from ocibuild.registry.auth import Auth
from ocibuild.registry.gate import Gate
from ocibuild.registry.limits import Limits
from ocibuild.registry.origin import Origin, follow, public
from ocibuild.registry.pace import Pace
from ocibuild.registry.proxy import proxies
from ocibuild.registry.scope import Scopes, needed
from ocibuild.registry.settings import Settings
from ocibuild.registry.wire import Adapter, Wire, wired

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOPS = 10
_BODY = 64 * 1024
_PAGE = 16 * 1024 * 1024
_TOKEN = 128 * 1024
_LASTING = 64 * 1024 * 1024
_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"(?: "[^"]*")?')
_ESCAPED = re.compile(r"\\(.)")

_log = logging.getLogger(__name__)

Body = bytes | Callable[[], AbstractContextManager[Any]]
"""Bytes, or a way to open a stream with `read` and `__len__`, as often as needed."""


@record
class Call:
    """What is asked. `limit` is the largest answer read whole, in bytes; with `stream` the body is left to the caller.

    `scopes` stands in where the address does not tell which rights are needed. `size` is how many bytes the body will have
    that is opened for each attempt. `reply` is how many seconds the answer may take. `once` leaves trying again to the caller. `follow` False makes a redirect an answer like any other.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    stream: bool = False
    limit: int = _PAGE
    scopes: Scopes = frozenset()
    size: int = 0
    reply: float | None = None
    once: bool = False
    follow: bool = True


@record
class Watch:
    """Whom an exchange listens to, tells that it tries again, and tells what the registry wants people to know."""

    cancel: Cancel = field(default_factory=Cancel)
    note: Callable[[str], None] = lambda text: None
    warn: Callable[[str], None] = lambda text: None

    @classmethod
    def of(cls, flow: Flow) -> Watch:
        """The watch of a flow."""
        return cls(
            flow.cancel,
            lambda text: flow.observe(Event("retry", text=text)),
            lambda text: flow.observe(Event("warning", text=text)),
        )


@record
class _Way:
    """What goes along with every request to an origin, and the proxy it goes through, as requests takes it."""

    headers: Mapping[str, str]
    proxies: dict[str, str]


class Transport:
    """The way to one registry, for all threads. `origin` is where its API is."""

    def __init__(self, origin: Origin, session: Session, auth: Auth, settings: Settings) -> None:
        self.origin = origin
        self.settings = settings
        self.gate = Gate(origin.netloc, settings.patience, settings.connections)
        self.limits = Limits(origin.netloc, settings.chunk_size)
        self._session = session
        self._auth = auth
        self._ways: dict[Origin, _Way] = {}
        self._met = False
        self._warned: set[str] = set()
        self._guard = threading.Lock()

    def tries(self, error: NetworkError) -> int:
        """How often something is tried in all that ends in this error; once where another time would not help.

        A silence has cost a long wait already, and who never answered may not be there at all.
        """
        if error.code == "connection-refused" and self._met:
            return self.settings.patience.attempts
        return min(problem.TRIES.get(error.code, 1), self.settings.patience.attempts)

    def send(self, call: Call, watch: Watch) -> Response:
        """The final answer, its body read unless it is to be streamed.

        Any status is an answer. Raises NetworkError, AuthorizationError, RegistryError (`location-refused`), Cancelled.
        """
        with self.exchange(call, watch) as response:
            return response

    @contextmanager
    def exchange(self, call: Call, watch: Watch) -> Iterator[Response]:
        """As `send`; while inside, cancelling also ends the reading of a streamed body."""
        with wired(watch.cancel, self.settings.timeouts.connect) as wire:
            response = self._persist(call, watch, lambda: self._authorized(call, wire))
            self._heed(response, watch)
            for text in self._auth.told():
                watch.warn(text)
            yield response

    def _persist(self, call: Call, watch: Watch, attempt: Callable[[], Response]) -> Response:
        patience = self.settings.patience
        for number in range(1, patience.attempts + 1):
            error = response = None
            try:
                response = attempt()
            except NetworkError as failed:
                if call.once or number >= self.tries(failed):
                    raise
                error, pause, why = failed, self.gate.pause(number), failed.message
            else:
                if response.status_code not in problem.PASSING:
                    self.gate.passed()
                    return response
                if call.once or number == patience.attempts:
                    return response
                pause = self.gate.asked(response.status_code, response.headers, number)
                why = f"{self.origin.netloc} answered {response.status_code}"
            watch.note(f"{why}; trying again")
            if not self.gate.wait(pause, watch.cancel):
                if response is not None:
                    return response
                assert error is not None
                raise error
            if response is not None:
                response.close()
        raise AssertionError("the last attempt returns or raises")

    def _authorized(self, call: Call, wire: Wire) -> Response:
        header, scopes = None, call.scopes
        if self._auth.challenge(self.origin) is not None and Origin.of(call.url) == self.origin:
            scopes = needed(call.method, call.url) or call.scopes
            lasting = call.size > _LASTING
            header = self._auth.header(self.origin, scopes, self._ask(wire), lasting=lasting)
        response = self._followed(call, header, wire)
        if not self._auth.is_asked(response) or Origin.of(response.url) != self.origin:
            return response
        response.close()
        scopes = needed(call.method, call.url) or call.scopes
        header = self._auth.answer(response, self.origin, scopes, header, self._ask(wire))
        if header is None:
            return response
        response = self._followed(call, header, wire)
        if response.status_code == 401 and Origin.of(response.url) == self.origin:
            response.close()
            raise self._auth.rejected(self.origin, scopes)
        return response

    def _ask(self, wire: Wire) -> Callable[[str, str, Mapping[str, str], bytes | None], Response]:
        def ask(method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Response:
            # A realm is asked without redirects: credentials go where they were checked to go.
            call = Call(method, url, headers, body or b"", limit=_TOKEN)
            return self._persist(
                call, Watch(wire.cancel), lambda: self._once(call, url, headers.get("Authorization"), wire)
            )

        return ask

    def _followed(self, call: Call, authorization: str | None, wire: Wire) -> Response:
        response = self._led(call, authorization, wire)
        if response.status_code == 403 and response.url != call.url and Origin.of(response.url) != self.origin:
            # A signed address that has lapsed: the registry signs another one.
            response.close()
            response = self._led(call, authorization, wire)
        return response

    def _led(self, call: Call, authorization: str | None, wire: Wire) -> Response:
        url = call.url
        for _ in range(_HOPS):
            at_home = Origin.of(url) == self.origin
            response = self._once(call, url, authorization if at_home else None, wire)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location or not _follows(call, response):
                return response
            response.close()
            url = follow(url, location)
        raise RegistryError(f"{self.origin.netloc} redirects without end", code="location-refused")

    def _once(self, call: Call, url: str, authorization: str | None, wire: Wire) -> Response:
        origin = Origin.of(url)
        way = self._ways.get(origin) or self._way(origin, url)
        said = {name: value for name, value in call.headers.items() if name != "Authorization"}
        if authorization:
            said["Authorization"] = authorization
        times = self.settings.timeouts
        reply = call.reply or times.reply
        at_home = origin == self.origin
        opened = nullcontext(call.body) if isinstance(call.body, bytes) else call.body()
        began = time.monotonic()
        try:
            with self.gate.entered(wire.cancel) if at_home else nullcontext(), wire.used(reply), opened as body:
                response = self._session.get_adapter(url).send(
                    _prepared(call.method, url, way.headers, said, body),
                    stream=True,
                    timeout=(times.write, reply),
                    proxies=way.proxies,
                )
            if "Transfer-Encoding" in response.headers and "Content-Length" in response.headers:
                response.close()
                raise problem.malformed(url, "it states two lengths")  # RFC 9112 section 6.3: they smuggle answers so
            is_ok = response.status_code < 400
            if not (call.stream and is_ok):
                _read(response, call.limit if is_ok else _BODY, Pace(times))
        except (requests.RequestException, HTTPError, OSError) as error:
            wire.cancel.check()  # a socket we cut ourselves
            raise problem.late(url) if wire.late else problem.unreachable(error, url, self.settings) from error
        self._met = self._met or at_home
        if _log.isEnabledFor(logging.DEBUG):
            took = time.monotonic() - began
            _log.debug("%s %s: %d in %.3f s", call.method, public(url), response.status_code, took)
        if response.status_code == 407:  # only a proxy says so
            raise problem.proxied(url, self.settings, "407")
        return response

    def _way(self, origin: Origin, url: str) -> _Way:
        headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": self.settings.user_agent,
            **dict(self.settings.headers.get(str(origin), ())),
        }
        for header in headers.items():
            check_header_validity(header)
        made = self._ways[origin] = _Way(headers, proxies(url, self.settings.environ))
        return made

    def _heed(self, response: Response, watch: Watch) -> None:
        """Pass on what a registry warns of, once. distribution-spec "Warnings"."""
        if left := response.headers.get("RateLimit-Remaining"):
            _log.debug("%s has %s requests left for us", self.origin.netloc, problem.clean(left, 40))
        for said in _WARNING.findall(response.headers.get("Warning", "")):
            said = _ESCAPED.sub(r"\1", said)
            text = f"{self.origin.netloc} warns: {problem.clean(said)}"
            with self._guard:
                is_new = text not in self._warned and len(self._warned) < 32
                self._warned.add(text)
            if is_new:
                watch.warn(text)


def harden(session: Session, settings: Settings) -> None:
    """Make oras's session, which refuses cookies, one for many threads: no environment, our connections."""
    session.trust_env = False
    session.headers.clear()
    adapter = Adapter(tls.Contexts(settings), settings.connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)


def _prepared(method: str, url: str, always: Mapping[str, str], said: Mapping[str, str], body: Any) -> PreparedRequest:
    """A request as it goes out, with the headers that it always has, which were judged before, and those said now.

    A session's `prepare_request` would merge what no session of ours has, at a third of a small request's cost, and quote
    the address anew: what is signed must arrive as it was signed.
    """
    for header in said.items():
        check_header_validity(header)
    headers = {**always, **said}
    length: int = len(body) if isinstance(body, bytes) else super_len(body)  # type: ignore[no-untyped-call]
    if length or (isinstance(body, bytes) and method not in ("GET", "HEAD")):
        headers["Content-Length"] = str(length)
    elif not isinstance(body, bytes):
        headers["Transfer-Encoding"] = "chunked"
    made = PreparedRequest()
    made.method, made.url, made.headers, made.body = method, url, CaseInsensitiveDict(headers), body or None
    return made


def _follows(call: Call, response: Response) -> bool:
    # A body goes elsewhere only where the answer says that the method stays.
    return call.follow and (call.method in ("GET", "HEAD") or response.status_code in (307, 308))


def _read(response: Response, limit: int, pace: Pace) -> None:
    """Put the body where requests' `content` and `json` find it. A longer error text is cut."""
    data = bytearray()
    is_coded = "Content-Encoding" in response.headers  # then what has come may not have come out yet
    while len(data) <= limit and (is_coded or response.raw.length_remaining != 0):
        piece = pace.read(response, min(_BODY, limit + 1 - len(data)), decode=True)
        if not piece:
            break
        data += piece
    if len(data) > limit:
        response.close()  # what is left unread would be in the way of the next request
        if response.ok:
            raise RegistryError(
                f"{Origin.of(response.url).netloc} answered with more than {limit} bytes where a document was expected",
                code="answer-too-large",
            )
    response._content = bytes(data[:limit])
    response._content_consumed = True  # type: ignore[attr-defined]
    response.raw.release_conn()
