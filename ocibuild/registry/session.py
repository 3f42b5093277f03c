"""An upload that a registry has opened: where it is, how far it is, its pieces, its end. distribution-spec "Pushing blobs".

Its address changes with every answer, may be signed, and is kept to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

from requests import Response

from ocibuild.content.flow import Cancel
from ocibuild.errors import OcibuildError, RegistryError
from ocibuild.registry.deadline import Deadline
from ocibuild.registry.limits import LARGEST_MINIMUM
from ocibuild.registry.origin import Origin, follow
from ocibuild.registry.stream import Reading
from ocibuild.registry.transport import Body, Call, Transport, Watch
from ocibuild.spec.digest import Digest

_OCTETS = "application/octet-stream"
_LARGE = 100 * 1024 * 1024
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,19})")
_FAREWELL = 0.4
_NONE: Mapping[str, str] = {}
STORED = frozenset({200, 201, 202, 204})
"""Statuses of a PUT or PATCH that mean yes; the specification has one for each, registries have more."""


class Upload:
    """One upload. `minimum` is the shortest chunk in bytes, but for the last, that the registry takes."""

    def __init__(self, transport: Transport, repository: str, url: str, minimum: int = 0) -> None:
        self.transport = transport
        self.repository = repository
        self.url = url
        self.minimum = minimum

    @classmethod
    def answered(cls, transport: Transport, repository: str, response: Response) -> Upload:
        """The upload that an answer has opened. Raises RegistryError (`location-missing`, `chunks-refused`)."""
        location = response.headers.get("Location")
        if not location:
            raise RegistryError(
                f"{Origin.of(response.url).netloc} opened an upload to {repository} and did not say where",
                code="location-missing",
                hint="this is a fault of the registry, or of a proxy that drops the Location header",
            )
        said = response.headers.get("OCI-Chunk-Min-Length", "")
        minimum = int(said) if said.isascii() and said.isdigit() and len(said) < 20 else 0
        if minimum > LARGEST_MINIMUM:
            raise RegistryError(
                f"{Origin.of(response.url).netloc} wants chunks of {minimum} bytes or more",
                code="chunks-refused",
                hint="this is a fault of the registry",
            )
        return cls(transport, repository, follow(response.url, location), minimum)

    def whole(self, reading: Reading, watch: Watch) -> Response:
        """Send all in one PUT, which also ends the upload."""
        size = reading.descriptor.size
        body = partial(reading.piece, 0, size) if size else b""
        return self._send("PUT", self._ending(reading.descriptor.digest), size, watch, body=body)

    def patch(self, reading: Reading, start: int, length: int, watch: Watch) -> Response:
        """Send `length` bytes from `start` on."""
        headers = {"Content-Range": f"{start}-{start + length - 1}"}
        response = self._send(
            "PATCH", self.url, length, watch, headers=headers, body=partial(reading.piece, start, length)
        )
        self._moved(response)
        return response

    def finish(self, digest: Digest, size: int, watch: Watch) -> Response:
        """End it: from now on what was sent is the blob `digest`."""
        return self._send("PUT", self._ending(digest), size, watch)

    def held(self, watch: Watch) -> int | None:
        """How many bytes the registry has; None where the upload is gone.

        `0-0` means one byte or none; it is taken for none.
        """
        try:
            response = self.transport.send(Call("GET", self.url, scopes=self._scopes), watch)
        except OcibuildError as error:
            if error.code == "cancelled":
                raise
            return None
        if response.status_code not in (200, 202, 204):
            return None
        self._moved(response)
        return held(response) or 0

    def cancel(self) -> None:
        """Tell the registry that nothing more will come. It has a moment to hear it, and need not."""
        moment = Cancel()
        deadline = Deadline(moment.set)
        deadline.arm(_FAREWELL)
        try:
            self.transport.send(Call("DELETE", self.url, scopes=self._scopes, once=True), Watch(moment))
        except OcibuildError:
            pass
        finally:
            deadline.disarm()

    def _send(
        self, method: str, url: str, size: int, watch: Watch, *, body: Body = b"", headers: Mapping[str, str] = _NONE
    ) -> Response:
        call = Call(
            method,
            url,
            {"Content-Type": _OCTETS, **headers},
            body,
            scopes=self._scopes,
            size=size if body else 0,
            reply=self.transport.settings.timeouts.commit if size > _LARGE else None,
            once=True,
        )
        return self.transport.send(call, watch)

    def _ending(self, digest: Digest) -> str:
        # The address may be signed: the digest is put behind it, and nothing before is touched.
        return f"{self.url}{'&' if '?' in self.url else '?'}digest={quote(digest, safe='')}"

    def _moved(self, response: Response) -> None:
        if location := response.headers.get("Location"):
            self.url = follow(response.url, location)

    @property
    def _scopes(self) -> frozenset[str]:
        return frozenset({f"repository:{self.repository}:pull,push"})


def held(response: Response) -> int | None:
    """Bytes a Range header says the registry has; None where it says nothing that can be read, 0 for `0-0`."""
    match = _RANGE.fullmatch(response.headers.get("Range", "").strip())
    if not match:
        return None
    last = int(match[1])
    return last + 1 if last else 0
