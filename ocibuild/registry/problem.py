"""What went wrong, in words: a registry's refusals (distribution-spec "Error Codes") and the network's failures.

Texts of strangers are cleaned of control characters and cut; queries of URLs, where signatures stand, are left out.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterator
from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected
from typing import Any

from requests import Response
from requests.exceptions import ProxyError
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.exceptions import ProxyError as PoolProxyError
from urllib3.exceptions import TimeoutError as PoolTimeoutError

from ocibuild.errors import AuthorizationError, NetworkError, OcibuildError, RegistryError
from ocibuild.registry import certs
from ocibuild.registry.origin import Origin, public
from ocibuild.registry.proxy import origin_of, proxies
from ocibuild.registry.settings import Settings

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]+")
_QUERY = re.compile(r"(https?://[^\s\"'?#]+)[?#][^\s\"']*")
_USER = re.compile(r"://[^\s/@]+@")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
_IMMUTABLE = re.compile(r"immutable|cannot be overwritten|does not allow updating", re.IGNORECASE)
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be gone at the next try."""

TRIES = {"connection-lost": 99, "connection-refused": 3, "dns-unavailable": 4, "stalled": 3, "timeout": 2}
"""Codes of network errors that may be gone at the next try, and how often it is worth trying in all."""

_CODES = {
    "NAME_UNKNOWN": ("repository-unknown", "create the repository first, or check its name"),
    "NAME_INVALID": ("repository-invalid", "this registry does not take such a name; check its rules for paths"),
    "TAG_INVALID": ("tag-refused", "this registry does not take such a tag"),
    "MANIFEST_INVALID": ("manifest-refused", "this registry may not know this kind of artifact; try --format image"),
    "MANIFEST_BLOB_UNKNOWN": ("blob-unknown", "push again: the registry lost a blob it had accepted"),
    "BLOB_UNKNOWN": ("blob-unknown", "push again: the registry lost a blob it had accepted"),
    "BLOB_UPLOAD_UNKNOWN": ("upload-lost", "push again: the registry forgot the upload"),
    "DIGEST_INVALID": ("digest-mismatch", "the bytes changed on their way, or while they were read; push again"),
    "SIZE_INVALID": ("size-mismatch", "the bytes changed on their way, or while they were read; push again"),
    "UNSUPPORTED": ("unsupported", "this registry does not offer that operation"),
    "TOOMANYREQUESTS": ("rate-limited", "wait a little, or log in: known users are given more"),
}


def clean(text: str, limit: int = 400) -> str:
    """A stranger's text, fit for a terminal, without signed queries and passwords in URLs."""
    text = _USER.sub("://", _CONTROL.sub(" ", _ANSI.sub("", text)))
    return _QUERY.sub(r"\1", text).strip()[:limit]


def named(response: Response) -> list[tuple[str, str]]:
    """Code and message of every error the body lists; empty where the body is something else."""
    try:
        entries = json.loads(response.content)["errors"]
        return [(str(entry.get("code", "")).upper(), _said(entry)) for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _said(entry: dict[str, Any]) -> str:
    detail = entry.get("detail")
    return clean(str(entry.get("message") or detail or ""))


def refusal(response: Response, doing: str) -> OcibuildError:
    """The error for an answer that is a no. `doing` continues "the registry refused": "to store sha256:…"."""
    status, errors = response.status_code, named(response)
    host = Origin.of(response.url).netloc
    said = "; ".join(f"{code}: {text}" if text else code for code, text in errors) or _plain(response)
    message = f"{host} refused {doing}: {status} {said}".rstrip()
    if status in (400, 403, 405, 409, 412) and _IMMUTABLE.search(said):
        # Amazon says it with 400, Harbor with 412, others otherwise.
        return RegistryError(message, code="tag-immutable", hint="push under a new tag, or by digest")
    if status in (401, 403):
        code = "unauthorized" if status == 401 else "forbidden"
        return AuthorizationError(message, code=code, hint=f"log in to {host} with an account that may do this")
    # Of several, the one that can be mended: docker-registry adds others to a blob it misses.
    for name, _ in sorted(errors, key=lambda error: error[0] != "MANIFEST_BLOB_UNKNOWN"):
        if name in _CODES:
            return RegistryError(message, code=_CODES[name][0], hint=_CODES[name][1])
    code, hint = _by_status(status, said)
    return RegistryError(message, code=code, hint=hint)


def _by_status(status: int, said: str) -> tuple[str, str | None]:
    if status == 400 and any(mark in said.lower() for mark in ("https server", "https port")):
        return "https-expected", _HTTPS_HINT
    if status == 400 and "ssl certificate" in said.lower():  # nginx: "No required SSL certificate was sent"
        return "client-certificate-missing", _CLIENT_HINT
    if status == 404:
        return "repository-unknown", "create the repository first, or check its name"
    if status == 413:
        return "too-large", "the registry, or a proxy before it, limits the size of what it takes"
    if status == 429:
        return "rate-limited", "wait a little, or log in: known users are given more"
    if status in PASSING:
        return "registry-failing", "the registry is in trouble; try again later"
    return "registry-refused", None


def _plain(response: Response) -> str:
    text = response.content[:8192].decode(errors="replace")
    if "html" in response.headers.get("Content-Type", ""):
        title = _TITLE.search(text)
        text = title[1] if title else ""
    return clean(text, 200) or clean(response.reason or "", 100)


def stranger(response: Response, wanted: str) -> RegistryError:
    """The error for a success that is not a registry's: a login page, a captive portal."""
    kind = clean(response.headers.get("Content-Type", "no type"), 80)
    return RegistryError(
        f"{public(response.url)} answered with {kind} where {wanted} was expected: {_plain(response)}".rstrip(": "),
        code="not-a-registry",
        hint="check the host; a proxy or a login page may stand before the registry",
    )


def unreachable(error: BaseException, url: str, settings: Settings | None = None) -> OcibuildError:
    """The error for no answer at all, told by what lies at the bottom of requests' and urllib3's wrappings.

    NetworkError, but RegistryError for what does not speak http. `settings` tell which proxy and which certificates.
    """
    settings = settings or Settings()
    origin = Origin.of(url)
    chain = list(_causes(error))
    if found := _find(chain, ProxyError, PoolProxyError):
        return proxied(url, settings, _bottom(found))
    through = next(iter(proxies(url, settings.environ).values()), "")
    if through.startswith("socks") and (found := _find(chain, NewConnectionError, ConnectTimeoutError)):
        return proxied(url, settings, _bottom(found))
    if isinstance(found := _find(chain, socket.gaierror), socket.gaierror):
        passing = found.errno == socket.EAI_AGAIN
        return _network(
            "dns-unavailable" if passing else "dns-failed", f"the host {origin.host} was not found", _NAME_HINT
        )
    if isinstance(found := _find(chain, ssl.SSLCertVerificationError), ssl.SSLCertVerificationError):
        return _untrusted(found, origin, settings)
    if (found := _find(chain, ssl.SSLError)) and not isinstance(found, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _tls(str(found), origin, settings)
    if (found := _find(chain, BadStatusLine)) and str(found).startswith(_ALERT):
        return RegistryError(f"{origin.netloc} speaks TLS", code="https-expected", hint=_HTTPS_HINT)
    if found := next((each for each in chain if _is_no_http(each)), None):
        return malformed(url, str(found))
    if _find(chain, ConnectionRefusedError):
        return _network("connection-refused", f"nothing listens on {origin.netloc}", _refused_hint(origin))
    if _find(chain, ConnectTimeoutError, TimeoutError, PoolTimeoutError):
        doing = " to the TLS handshake" if any("handshake" in str(each) for each in chain) else ""
        return _network(
            "timeout",
            f"{origin.netloc} gave no answer in time{doing}",
            "try again; check the network, the proxy, the port",
        )
    return _network("connection-lost", f"the connection to {origin.netloc} broke", "try again", _bottom(error))


def _is_no_http(error: BaseException) -> bool:
    # RemoteDisconnected is a BadStatusLine, of a line that never came; IncompleteRead is an end that came early.
    return isinstance(error, HTTPException) and not isinstance(error, RemoteDisconnected | IncompleteRead)


def malformed(url: str, why: str) -> NetworkError:
    """The error for an answer that is not HTTP, or more of it than is read."""
    return _network(
        "protocol-error",
        f"{Origin.of(url).netloc} answered with something that is not HTTP: {clean(why, 160)}",
        "check host and port; another service may listen there",
    )


def late(url: str) -> NetworkError:
    """The error for an answer whose headers did not come in time, however busily its bytes trickled."""
    return _network("timeout", f"{Origin.of(url).netloc} gave no answer in time", "try again; check the network")


def stalled(url: str, count: int, seconds: float) -> NetworkError:
    """The error for a body that hardly moves."""
    return _network(
        "stalled", f"{Origin.of(url).netloc} sent {count} bytes in {seconds:.0f} s", "try again; check the network"
    )


def cut_short(url: str, count: int, size: int) -> NetworkError:
    """The error for a body that ended early."""
    return _network("connection-lost", f"{Origin.of(url).netloc} ended after {count} of {size} bytes", "try again")


_NAME_HINT = "check the spelling; behind a proxy, set HTTPS_PROXY"
_HTTPS_HINT = "this registry speaks https: leave --plain-http out"
_ALERT = "\x15\x03"  # how a TLS record begins that is an alert
_PLAIN = ("WRONG_VERSION_NUMBER", "RECORD_LAYER", "HTTP_REQUEST")
_OLD = ("UNSUPPORTED_PROTOCOL", "ALERT_PROTOCOL_VERSION", "WRONG_SSL_VERSION")
_ANONYMOUS = ("CERTIFICATE_REQUIRED",)
_REJECTED = ("ALERT_UNKNOWN_CA", "ALERT_BAD_CERTIFICATE", "ALERT_CERTIFICATE", "UNSUPPORTED_CERTIFICATE")


def proxied(url: str, settings: Settings, why: str) -> NetworkError:
    """The error for what a proxy did. Its address is named, its user and password never are."""
    through = next(iter(proxies(url, settings.environ).values()), "")
    name = f"the proxy {origin_of(through)}" if through else "the proxy"
    if re.search(r"\b407\b", why):
        hint = "give it as in HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT, what is special in them percent-encoded"
        return _network("proxy-login", f"{name} wants a login that it knows", hint)
    if status := re.search(r"Tunnel connection failed: (\d{3}[^:]*)", why):
        hint = "ask who runs the proxy, or name the host in NO_PROXY"
        return _network(
            "proxy-refused", f"{name} does not connect to {Origin.of(url).netloc}: {clean(status[1])}", hint
        )
    return _network("proxy-failed", f"{name} for {Origin.of(url)} failed", "check HTTPS_PROXY and NO_PROXY", why)


def _untrusted(error: ssl.SSLCertVerificationError, origin: Origin, settings: Settings) -> NetworkError:
    why = clean(error.verify_message or str(error))
    shown = getattr(error, "shown", None)
    known = f" ({_described(shown)})" if isinstance(shown, dict) else ""
    folders = list(certs.looked(origin, settings))
    there = next((folder for folder in folders if folder.is_dir()), None)
    if there:
        looked = f"; what {there} holds does not vouch for it"
    else:
        parents = ", ".join(dict.fromkeys(str(folder.parent) for folder in folders))
        looked = f"; there is no folder {folders[0].name} in {parents}" if folders else ""
    message = f"the certificate of {origin.netloc} is not trusted: {why}{known}{looked}"
    return _network("tls-untrusted", message, _CERTIFICATE_HINT)


def _described(shown: dict[str, Any]) -> str:
    """Subject, issuer and last day of a certificate, as OpenSSL's decoder gives them."""

    def named(field: str) -> str:
        parts = [
            value for rdn in shown.get(field, ()) for key, value in rdn if key in ("commonName", "organizationName")
        ]
        return ", ".join(parts) or "nobody"

    hosts = ", ".join(value for _, value in shown.get("subjectAltName", ())[:8])
    return clean(
        f"for {hosts or named('subject')}; subject {named('subject')}; issued by {named('issuer')}; "
        f"valid until {shown.get('notAfter', 'who knows when')}"
    )


def _tls(text: str, origin: Origin, settings: Settings) -> NetworkError:
    said = text.upper().replace(" ", "_")
    # Servers before TLS 1.3, and Go's, call a certificate that was not shown a bad one.
    is_ours_shown = bool(certs.trust(origin, settings).certificates)
    for marks, code, what, hint in (
        (_PLAIN, "tls-expected", "does not speak TLS", "if it speaks plain HTTP, use --plain-http"),
        (_OLD, "tls-too-old", "offers no TLS of version 1.2 or later", "bring the registry's TLS up to date"),
        (
            _ANONYMOUS if is_ours_shown else _ANONYMOUS + _REJECTED,
            "client-certificate-missing",
            "wants a client certificate",
            _CLIENT_HINT,
        ),
        (_REJECTED, "client-certificate-refused", "does not accept our client certificate", _CLIENT_HINT),
    ):
        if any(mark in said for mark in marks):
            return _network(code, f"{origin.netloc} {what}", hint)
    guess = f"perhaps it wants a client certificate: {_CLIENT_HINT}" if "HANDSHAKE_FAILURE" in said else None
    return _network("tls-failed", f"no TLS with {origin.netloc}: {clean(text, 200)}", guess)


_CERTIFICATE_HINT = (
    "give the authority with --ca-file, SSL_CERT_FILE or in certs.d/HOST/ca.crt; --insecure accepts any certificate"
)
_CLIENT_HINT = "give one with --cert and --key, or as certs.d/HOST/client.cert and client.key"


def _refused_hint(origin: Origin) -> str:
    if origin.is_private:
        return "start the registry, or check host and port"
    return "check host and port" + ("; if it speaks plain HTTP, use --plain-http" if origin.scheme == "https" else "")


def _network(code: str, message: str, hint: str | None, why: str = "") -> NetworkError:
    return NetworkError(f"{message}: {why}" if why else message, code=code, hint=hint)


def _bottom(error: BaseException) -> str:
    *_, last = _causes(error)
    text = last.strerror if isinstance(last, OSError) and last.strerror else str(last)
    return clean(str(text), 160)


def _find(chain: list[BaseException], *kinds: type[BaseException]) -> BaseException | None:
    return next((error for error in chain if isinstance(error, kinds)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    pending: list[Any] = [error]
    while pending:
        current = pending.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        pending += [getattr(current, "reason", None), *current.args, current.__cause__, current.__context__]
