"""One HTTP exchange with a registry, from call to final answer: the seam below everything else in this room.

An exchange follows redirects, meets challenges, and tries again what may pass, within bounds. Authorization goes to the
registry's own origin and nowhere else. A body is opened anew for every attempt, so none is ever sent empty.
"""

from __future__ import annotations

import email.utils
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import requests
from requests import Response, Session
from urllib3.exceptions import HTTPError

from ocibuild.content.flow import Cancel, Event, Flow
from ocibuild.errors import NetworkError, RegistryError
from ocibuild.registry import problem, tls
from ocibuild.registry.auth import Auth
from ocibuild.registry.origin import Origin, follow
from ocibuild.registry.proxy import proxies
from ocibuild.registry.scope import Scopes, needed
from ocibuild.registry.settings import Settings
from ocibuild.registry.wire import Adapter, Wire, wired

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOPS = 10
_BODY = 64 * 1024
_PAGE = 16 * 1024 * 1024
_TOKEN = 128 * 1024

Body = bytes | Callable[[], AbstractContextManager[Any]]
"""Bytes, or a way to open a stream with `read` and `__len__`, as often as needed."""


@dataclass(frozen=True)
class Call:
    """What is asked. `limit` is the largest answer read whole, in bytes; with `stream` the body is left to the caller.

    `scopes` stands in where the address does not tell which rights are needed. `once`
    leaves trying again to the caller.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = b""
    stream: bool = False
    limit: int = _PAGE
    scopes: Scopes = frozenset()
    reply: float | None = None
    once: bool = False


@dataclass(frozen=True)
class Watch:
    """Whom an exchange listens to, and tells that it tries again."""

    cancel: Cancel = field(default_factory=Cancel)
    note: Callable[[str], None] = lambda text: None

    @classmethod
    def of(cls, flow: Flow) -> Watch:
        """The watch of a flow."""
        return cls(flow.cancel, lambda text: flow.observe(Event("retry", text=text)))


class Transport:
    """The way to one registry, for all threads. `origin` is where its API is."""

    def __init__(self, origin: Origin, session: Session, auth: Auth, settings: Settings) -> None:
        self.origin = origin
        self.settings = settings
        self._session = session
        self._auth = auth

    @property
    def attempts(self) -> int:
        """How often something is tried in all."""
        return self.settings.patience.attempts

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
            yield self._persist(call, watch, lambda: self._authorized(call, wire))

    def _persist(self, call: Call, watch: Watch, attempt: Callable[[], Response]) -> Response:
        patience = self.settings.patience
        for number in range(1, patience.attempts + 1):
            last = call.once or number == patience.attempts
            try:
                response = attempt()
            except NetworkError as error:
                # A silence has cost a long wait already; it is given one more chance, not three.
                if last or error.code not in problem.TRANSIENT or (error.code == "timeout" and number > 1):
                    raise
                pause, why = self.pause(number), error.message
            else:
                if last or response.status_code not in problem.PASSING:
                    return response
                pause, why = self.asked(response, number), f"{self.origin.netloc} answered {response.status_code}"
                response.close()
            watch.note(f"{why}; trying again")
            watch.cancel.wait(pause)
        raise AssertionError("the last attempt returns or raises")

    def pause(self, number: int) -> float:
        """Seconds to wait after attempt `number`; scattered, so that many threads do not come back as one."""
        patience = self.settings.patience
        seconds: float = min(patience.first * 2 ** (number - 1), patience.longest)
        return seconds * random.uniform(0.8, 1.2)

    def asked(self, response: Response, number: int) -> float:
        """Seconds an answer asks to wait, else `pause`. Raises RegistryError (`rate-limited`) beyond our patience."""
        seconds = retry_after(response.headers)
        if seconds is None:
            return self.pause(number)
        if seconds > self.settings.patience.asked:
            raise RegistryError(
                f"{self.origin.netloc} asks to come back in {seconds:.0f} s ({response.status_code})",
                code="rate-limited",
                hint="wait, or log in: known users are given more",
            )
        return seconds

    def _authorized(self, call: Call, wire: Wire) -> Response:
        scopes = needed(call.method, call.url) or call.scopes
        at_home = Origin.of(call.url) == self.origin
        header = self._auth.header(self.origin, scopes, self._ask(wire)) if at_home else None
        response = self._followed(call, header, wire)
        if response.status_code != 401 or Origin.of(response.url) != self.origin:
            return response
        response.close()
        header = self._auth.answer(response, self.origin, scopes, header, self._ask(wire))
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
        headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": self.settings.user_agent,
            **call.headers,
        }
        headers.pop("Authorization", None)
        if authorization:
            headers["Authorization"] = authorization
        times = self.settings.timeouts
        opened = nullcontext(call.body) if isinstance(call.body, bytes) else call.body()
        try:
            with wire.used(), opened as body:
                prepared = self._session.prepare_request(requests.Request(call.method, url, headers=headers, data=body))
                prepared.url = url  # requests would re-quote it, and what is signed must arrive as it was signed
                response = self._session.send(
                    prepared,
                    stream=True,
                    timeout=(times.write, call.reply or times.reply),
                    allow_redirects=False,
                    proxies=proxies(url, self.settings.environ),
                )
            if not (call.stream and response.ok):
                _read(response, call.limit if response.ok else _BODY)
        except (requests.RequestException, HTTPError, OSError) as error:
            wire.cancel.check()  # a socket we cut ourselves
            raise problem.unreachable(error, url) from error
        return response


def harden(session: Session, settings: Settings) -> None:
    """Make oras's session, which refuses cookies, one for many threads: no environment, our connections."""
    session.trust_env = False
    session.headers.clear()
    adapter = Adapter(tls.Context(settings), settings.connections)
    session.mount("http://", adapter)
    session.mount("https://", adapter)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a Retry-After header asks for, None where there is none to understand. RFC 9110 section 10.2.3.

    A date is held against the answer's own Date, so that no clock of ours has to be right.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        then, now = (email.utils.parsedate_to_datetime(stamp) for stamp in (text, headers.get("Date", "")))
        return max(0.0, (then - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _follows(call: Call, response: Response) -> bool:
    # A body goes elsewhere only where the answer says that the method stays.
    return call.method in ("GET", "HEAD") or response.status_code in (307, 308)


def _read(response: Response, limit: int) -> None:
    """Put the body where requests' `content` and `json` find it. A longer error text is cut."""
    data = bytearray()
    while len(data) <= limit:
        piece = response.raw.read(min(_BODY, limit + 1 - len(data)), decode_content=True)
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
