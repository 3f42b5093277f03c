"""Writing to a registry: look, mount or send, and believe only what the registry shows afterwards.

distribution-spec "Push". A blob goes as one streamed PUT, which every registry takes. A PUT that broke may have arrived
all the same, so the registry is asked before anything is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import count
from urllib.parse import quote

from requests import Response

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Event, Flow
from ocibuild.errors import ContentError, NetworkError, OcibuildError, RegistryError
from ocibuild.registry import download, problem
from ocibuild.registry.origin import Origin, follow
from ocibuild.registry.stream import Counter, outgoing
from ocibuild.registry.transport import Call, Transport, Watch
from ocibuild.spec import jsonform
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest

_OCTETS = "application/octet-stream"
_LARGE = 100 * 1024 * 1024
_ONCE_MORE = frozenset({400, 404, 416})
"""Statuses of a PUT that a second upload may better: damage on the way, a session that was forgotten."""


def start(transport: Transport, repository: str, watch: Watch) -> str:
    """Open an upload; its address."""
    url = f"{transport.origin}/v2/{repository}/blobs/uploads/"
    response = transport.send(Call("POST", url, {"Content-Type": _OCTETS}), watch)
    if response.status_code not in (200, 202, 204):
        raise problem.refusal(response, f"to take a blob into {repository}")
    return _location(response, f"an upload to {repository}")


def mount(transport: Transport, repository: str, digest: Digest, source: str, watch: Watch) -> str | None:
    """Take a blob over from another repository: None when that is done, else the address of an upload to use instead.

    Raises RegistryError where the registry offers neither.
    """
    query = f"mount={quote(digest, safe=':')}&from={quote(source, safe='')}"
    url = f"{transport.origin}/v2/{repository}/blobs/uploads/?{query}"
    response = transport.send(Call("POST", url, {"Content-Type": _OCTETS}), watch)
    if response.status_code == 201:
        return None
    if response.status_code != 202:
        raise problem.refusal(response, f"to mount {digest} from {source}")
    return _location(response, f"an upload to {repository}")


@dataclass(frozen=True)
class _Failure:
    """A PUT that may do better the next time: after `pause` seconds, and until attempt `last`."""

    error: OcibuildError
    pause: float
    last: int


def blob(transport: Transport, repository: str, content: Blob, flow: Flow, session: str | None = None) -> None:
    """Send a blob that the registry does not have; `session` is an upload already opened.

    Raises ContentError when the content is not the descriptor's, RegistryError, AuthorizationError, NetworkError,
    Cancelled.
    """
    watch = Watch.of(flow)
    counter = Counter(lambda amount: flow.observe(Event("advance", content.descriptor, amount)))
    flow.observe(Event("start", content.descriptor))
    for number in count(1):
        url = session or start(transport, repository, watch)
        failure = _attempt(transport, repository, content, watch, counter, url, number)
        if failure is None or _arrived(transport, repository, content.descriptor, watch):
            return
        if number >= failure.last:
            raise failure.error
        session = None
        watch.note(f"{failure.error.message}; sending {content.descriptor.digest.short} again")
        flow.cancel.wait(failure.pause)


def _attempt(
    transport: Transport, repository: str, content: Blob, watch: Watch, counter: Counter, session: str, number: int
) -> _Failure | None:
    """One PUT of the whole; raises what another would not better."""
    digest = content.descriptor.digest
    try:
        response = transport.send(_put(transport, repository, content, watch, counter, session), watch)
    except NetworkError as error:
        if error.code not in problem.TRANSIENT:
            raise
        # A silence has cost a long wait already; it is given one more chance.
        return _Failure(error, transport.pause(number), 2 if error.code == "timeout" else transport.attempts)
    if response.status_code in (200, 201, 202, 204):
        _confirmed(response, digest)
        return None
    refused = problem.refusal(response, f"to store {digest} in {repository}")
    if response.status_code in problem.PASSING:
        return _Failure(refused, transport.asked(response, number), transport.attempts)
    if response.status_code in _ONCE_MORE:
        return _Failure(refused, transport.pause(number), 2)
    raise refused


def _put(transport: Transport, repository: str, content: Blob, watch: Watch, counter: Counter, session: str) -> Call:
    digest, size = content.descriptor.digest, content.descriptor.size
    return Call(
        "PUT",
        # The address may be signed: the digest is put behind it, and nothing before is touched.
        f"{session}{'&' if '?' in session else '?'}digest={quote(digest, safe='')}",
        {"Content-Type": _OCTETS},
        partial(outgoing, content, watch.cancel, counter) if size else b"",
        scopes=frozenset({f"repository:{repository}:pull,push"}),
        reply=transport.settings.timeouts.commit if size > _LARGE else None,
        once=True,
    )


def _arrived(transport: Transport, repository: str, descriptor: Descriptor, watch: Watch) -> bool:
    try:
        return download.exists(transport, repository, descriptor, watch)
    except (RegistryError, NetworkError):
        return False  # the failure before this one says more


def manifest(
    transport: Transport, repository: str, name: str, descriptor: Descriptor, data: bytes, watch: Watch
) -> None:
    """Store a manifest's bytes under a tag or its digest. Raises RegistryError, AuthorizationError, ContentError."""
    url = download.url(transport, repository, "manifests", name)
    response = transport.send(Call("PUT", url, {"Content-Type": descriptor.media_type}, data), watch)
    if response.status_code not in (200, 201, 202):
        doing = f"to store the manifest {repository}{'@' if ':' in name else ':'}{name}"
        if len(data) > jsonform.MAX_DOCUMENT:
            doing += f" of {len(data)} bytes"
        raise problem.refusal(response, doing)
    _confirmed(response, descriptor.digest)


def _confirmed(response: Response, digest: Digest) -> None:
    said = response.headers.get("Docker-Content-Digest", "")
    if said.startswith(f"{digest.algorithm}:") and said != digest:
        raise ContentError(
            f"{Origin.of(response.url).netloc} stored {said[:140]} in the place of {digest}", code="digest-mismatch"
        )


def _location(response: Response, what: str) -> str:
    location = response.headers.get("Location")
    if not location:
        raise RegistryError(
            f"{Origin.of(response.url).netloc} opened {what} and did not say where",
            code="location-missing",
            hint="this is a fault of the registry, or of a proxy that drops the Location header",
        )
    return follow(response.url, location)
