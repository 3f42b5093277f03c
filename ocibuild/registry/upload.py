"""Writing to a registry: look, mount or send, and believe only what the registry shows afterwards.

distribution-spec "Push". A blob goes as one streamed PUT, which every registry takes. Where that breaks, the registry is
asked how much it has: all of it is enough, some of it is continued, of none everything is sent again. Chunks are for
registries, and proxies before them, that refuse a large body.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from requests import Response

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Event, Flow
from ocibuild.errors import ContentError, NetworkError, OcibuildError, RegistryError
from ocibuild.registry import download, problem
from ocibuild.registry.origin import Origin
from ocibuild.registry.session import STORED, Upload, held
from ocibuild.registry.stream import Reading
from ocibuild.registry.transport import Call, Transport, Watch
from ocibuild.spec import jsonform
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest

_OCTETS = "application/octet-stream"
_ALWAYS = 1_000
_ONCE_MORE = frozenset({400, 404, 416})
"""Statuses that another upload may better: damage on the way, an upload that was forgotten, an offset that differs."""


def start(transport: Transport, repository: str, watch: Watch) -> Upload:
    """Open an upload."""
    url = f"{transport.origin}/v2/{repository}/blobs/uploads/"
    response = transport.send(Call("POST", url, {"Content-Type": _OCTETS}), watch)
    if response.status_code not in (200, 202, 204):
        raise problem.refusal(response, f"to take a blob into {repository}")
    return Upload.answered(transport, repository, response)


def mount(transport: Transport, repository: str, digest: Digest, source: str, watch: Watch) -> Upload | None:
    """Take a blob over from another repository: None when that is done, else an upload to use instead.

    Raises RegistryError where the registry offers neither.
    """
    query = f"mount={quote(digest, safe=':')}&from={quote(source, safe='')}"
    url = f"{transport.origin}/v2/{repository}/blobs/uploads/?{query}"
    response = transport.send(Call("POST", url, {"Content-Type": _OCTETS}, once=True), watch)
    if response.status_code == 201:
        return None
    if response.status_code != 202:
        raise problem.refusal(response, f"to mount {digest} from {source}")
    return Upload.answered(transport, repository, response)


def blob(transport: Transport, repository: str, content: Blob, flow: Flow, upload: Upload | None = None) -> None:
    """Send a blob that the registry does not have; `upload` is one already opened.

    Raises ContentError when the content is not the descriptor's, RegistryError, AuthorizationError, NetworkError,
    Cancelled.
    """
    descriptor = content.descriptor
    flow.observe(Event("start", descriptor))
    reading = Reading(content, flow, lambda amount: flow.observe(Event("advance", descriptor, amount)))
    _Sending(transport, repository, reading, Watch.of(flow), upload).run()


class _Setback(Exception):
    """A failure that another attempt may better: after `pause` seconds, `tries` times in all.

    `is_over` when the upload is of no more use.
    """

    def __init__(self, error: OcibuildError, pause: float, tries: int, *, is_over: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.pause = pause
        self.tries = tries
        self.is_over = is_over


class _Sending:
    """One blob on its way into a repository. `_offset` is how many bytes the registry has, as far as is known."""

    def __init__(
        self, transport: Transport, repository: str, reading: Reading, watch: Watch, upload: Upload | None
    ) -> None:
        self._transport = transport
        self._repository = repository
        self._reading = reading
        self._watch = watch
        self._upload = upload
        self._offset = 0
        self._failures = 0

    @property
    def _descriptor(self) -> Descriptor:
        return self._reading.descriptor

    def run(self) -> None:
        """Send, and again as long as that may help."""
        try:
            while not self._stored():
                pass
        except BaseException:
            if self._upload is not None:
                self._upload.cancel()
            raise

    def _stored(self) -> bool:
        try:
            self._attempt()
        except _Setback as setback:
            if self._arrived():
                self._reading.at(self._descriptor.size)
                return True
            self._regroup(setback)
            return False
        return True

    def _attempt(self) -> None:
        upload = self._upload = self._upload or start(self._transport, self._repository, self._watch)
        size, digest = self._descriptor.size, self._descriptor.digest
        if not self._offset and self._transport.limits.piece(size) is None:
            response = self._answer(lambda: upload.whole(self._reading, self._watch), size)
        else:
            while self._offset < size:
                self._piece(upload)
            response = self._answer(lambda: upload.finish(digest, size, self._watch), 0)
        if "Docker-Content-Digest" in response.headers:
            _confirmed(response, digest)
        elif not self._arrived():
            raise _Setback(self._lost(), self._transport.gate.pause(self._failures + 1), 3, is_over=True)

    def _piece(self, upload: Upload) -> None:
        left = self._descriptor.size - self._offset
        length = min(max(self._transport.limits.piece(self._descriptor.size) or left, upload.minimum), left)
        response = self._answer(lambda: upload.patch(self._reading, self._offset, length, self._watch), length)
        here, there = self._offset, self._offset + length
        told = held(response) if "Range" in response.headers else there
        if told is None or not here < told <= there:
            told = upload.held(self._watch)
        if told is None or told > there:
            strange = RegistryError(
                f"{self._transport.origin.netloc} lost count of an upload to {self._repository}", code="upload-lost"
            )
            raise _Setback(strange, self._transport.gate.pause(1), 2, is_over=True)
        # One that took the bytes and twice says that it has none of them counts wrongly (ECR did); the digest will tell.
        self._offset = told if told > here else there

    def _answer(self, send: Callable[[], Response], length: int) -> Response:
        """The registry's yes to a request with a body of `length` bytes. Raises _Setback and what no attempt betters."""
        gate = self._transport.gate
        try:
            response = send()
        except NetworkError as error:
            tries = self._transport.tries(error)
            if tries == 1:
                raise
            raise _Setback(error, gate.pause(self._failures + 1), tries) from error
        status = response.status_code
        if status in STORED:
            gate.passed()
            return response
        refused = problem.refusal(response, f"to store {self._descriptor.digest} in {self._repository}")
        if status == 413 and self._transport.limits.refused(length) is not None:
            self._failures = 0  # something was learned: the pieces become smaller each time, so this ends
            raise _Setback(refused, 0, _ALWAYS)
        if status in problem.PASSING:
            pause = gate.asked(status, response.headers, self._failures + 1)
            raise _Setback(refused, pause, self._transport.settings.patience.attempts)
        if status in _ONCE_MORE:
            raise _Setback(refused, gate.pause(self._failures + 1), 2, is_over=status != 416)
        raise refused

    def _regroup(self, setback: _Setback) -> None:
        """Wait, and find out from where to go on. Raises the setback's error when it was tried often enough."""
        self._failures += 1
        if self._failures >= setback.tries or not self._transport.gate.wait(setback.pause, self._watch.cancel):
            raise setback.error
        before, self._offset = self._offset, 0
        if self._upload is not None and not setback.is_over:
            self._offset = self._upload.held(self._watch) or 0
        if not 0 < self._offset <= self._descriptor.size:
            self._upload, self._offset = None, 0
        if self._offset > before:
            self._failures = 0
        self._watch.note(f"{setback.error.message}; sending {self._descriptor.digest.short} {self._whence()}")

    def _whence(self) -> str:
        return f"on from byte {self._offset}" if self._offset else "again"

    def _arrived(self) -> bool:
        try:
            return download.exists(self._transport, self._repository, self._descriptor, self._watch)
        except (RegistryError, NetworkError):
            return False  # the failure before this one says more

    def _lost(self) -> RegistryError:
        return RegistryError(
            f"{self._transport.origin.netloc} took {self._descriptor.digest} and does not have it",
            code="blob-unknown",
            hint="push again; the registry may be slow to show what it has",
        )


def manifest(
    transport: Transport, repository: str, name: str, descriptor: Descriptor, data: bytes, watch: Watch
) -> str:
    """Store a manifest's bytes under a tag or its digest. Raises RegistryError, AuthorizationError, ContentError.

    Gives the subject that the registry has noted for it (OCI-Subject), "" from one that keeps no account of referrers.
    """
    call = Call(
        "PUT",
        download.url(transport, repository, "manifests", name),
        {"Content-Type": descriptor.media_type},
        data,
    )
    doing = f"to store the manifest {repository}{'@' if ':' in name else ':'}{name}"
    if len(data) > jsonform.MAX_DOCUMENT:
        doing += f" of {len(data)} bytes"
    response = transport.send(call, watch)
    if response.status_code not in STORED and problem.refusal(response, doing).code == "blob-unknown":
        # It may be slow to show what it has taken; what it has really lost, `copy` sends again.
        transport.gate.wait(transport.gate.pause(1), watch.cancel)
        response = transport.send(call, watch)
    if response.status_code not in STORED:
        raise problem.refusal(response, doing)
    _confirmed(response, descriptor.digest)
    return response.headers.get("OCI-Subject", "").strip()


def _confirmed(response: Response, digest: Digest) -> None:
    said = response.headers.get("Docker-Content-Digest", "")
    if said.startswith(f"{digest.algorithm}:") and said != digest:
        raise ContentError(
            f"{Origin.of(response.url).netloc} stored {said[:140]} in the place of {digest}", code="digest-mismatch"
        )
