"""Reading from a registry: what a name stands for, manifests' bytes as they are, blobs verified while read.

distribution-spec "Pull". A digest is never taken on trust: it is what was asked for, or it is computed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from requests import Response

from ocibuild.content.stream import Stream
from ocibuild.content.verify import VerifyReader
from ocibuild.errors import ContentError, NetworkError, NotFoundError, RegistryError
from ocibuild.registry import problem
from ocibuild.registry.origin import public
from ocibuild.registry.pace import Pace
from ocibuild.registry.stream import Incoming
from ocibuild.registry.transport import Call, Transport, Watch
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest

ACCEPT = ", ".join((mediatype.MANIFEST, mediatype.INDEX, mediatype.DOCKER_MANIFEST, mediatype.DOCKER_INDEX))
_SKIP = 256 * 1024


def url(transport: Transport, repository: str, kind: str, name: str) -> str:
    """The address of a `manifests` or `blobs` resource."""
    return f"{transport.origin}/v2/{repository}/{kind}/{name}"


def address(transport: Transport, repository: str, descriptor: Descriptor) -> str:
    """Where the registry keeps what a descriptor points at."""
    kind = "manifests" if mediatype.is_node(descriptor.media_type) else "blobs"
    return url(transport, repository, kind, descriptor.digest)


def exists(transport: Transport, repository: str, descriptor: Descriptor, watch: Watch) -> bool:
    """True when the registry has it. Raises what a refusal is, where HEAD is not answered with yes or no."""
    where = address(transport, repository, descriptor)
    response = transport.send(Call("HEAD", where, {"Accept": ACCEPT}), watch)
    if response.status_code in (403, 405):
        return _begins(transport, where, descriptor, watch)
    if response.status_code not in (200, 404):
        raise problem.refusal(response, f"to look for {descriptor.digest}")
    length = response.headers.get("Content-Length", "")
    return response.status_code == 200 and (not length.isdigit() or int(length) == descriptor.size)


def _begins(transport: Transport, where: str, descriptor: Descriptor, watch: Watch) -> bool:
    """`exists` for those that do not answer HEAD, such as an address that was signed for GET alone."""
    call = Call("GET", where, {"Accept": ACCEPT, "Range": "bytes=0-0"}, stream=True)
    with transport.exchange(call, watch) as response:
        response.close()
        if response.status_code == 405:
            return False  # pushing finds out
        if response.status_code not in (200, 206, 404, 416):
            raise problem.refusal(response, f"to look for {descriptor.digest}")
        return response.ok or (response.status_code == 416 and descriptor.size == 0)


def size(transport: Transport, repository: str, digest: Digest, watch: Watch) -> int:
    """How many bytes a blob has, by HEAD, or by asking for one byte. Raises NotFoundError (`not-found`), and refusals."""
    where = url(transport, repository, "blobs", digest)
    response = transport.send(Call("HEAD", where), watch)
    length = response.headers.get("Content-Length", "")
    if response.status_code in (403, 405) or (response.status_code == 200 and not length.isdigit()):
        with transport.exchange(Call("GET", where, {"Range": "bytes=0-0"}, stream=True), watch) as response:
            response.close()
        name = "Content-Range" if response.status_code in (206, 416) else "Content-Length"
        length = response.headers.get(name, "").rpartition("/")[2]
    if response.status_code == 404:
        raise absent(f"{transport.origin.netloc}/{repository} has no {digest}", response)
    if response.status_code not in (200, 206, 416) or not (length.isascii() and length.isdigit()):
        raise problem.refusal(response, f"to say how large {digest} is")
    return int(length)


def look(transport: Transport, repository: str, name: str, watch: Watch) -> Descriptor | None:
    """What HEAD says a tag or digest stands for; None where its answer leaves that open, also whether it exists."""
    return _told(_headed(transport, repository, name, watch), name, transport)


def standing(transport: Transport, repository: str, name: str, watch: Watch) -> Descriptor | None:
    """What a tag stands for; read where HEAD says that it is there, and not what it is. None for nothing, and for no manifest."""
    response = _headed(transport, repository, name, watch)
    found = _told(response, name, transport)
    if found is not None or response.status_code != 200:
        return found
    try:
        return manifest(transport, repository, name, watch)[0]
    except (NotFoundError, ContentError, RegistryError):
        return None  # what is written there is put right by writing


def _headed(transport: Transport, repository: str, name: str, watch: Watch) -> Response:
    return transport.send(Call("HEAD", url(transport, repository, "manifests", name), {"Accept": ACCEPT}), watch)


def _told(response: Response, name: str, transport: Transport) -> Descriptor | None:
    kind = _media_type(response)
    digest, length = response.headers.get("Docker-Content-Digest", ""), response.headers.get("Content-Length", "")
    if response.status_code != 200 or not mediatype.is_node(kind) or not digest or not length.isdigit():
        return None
    return Descriptor(kind, _same(Digest(digest), name, transport), int(length))


def manifest(transport: Transport, repository: str, name: str, watch: Watch) -> tuple[Descriptor, bytes]:
    """A manifest or index by tag or digest: its descriptor and its bytes, at most 4 MiB, verified.

    Raises NotFoundError (`not-found`), ContentError (`digest-mismatch`), RegistryError, AuthorizationError.
    """
    call = Call("GET", url(transport, repository, "manifests", name), {"Accept": ACCEPT}, limit=jsonform.MAX_DOCUMENT)
    response = transport.send(call, watch)
    place = f"{transport.origin.netloc}/{repository}"
    if response.status_code == 404:
        raise absent(f"{place} has no {name}", response)
    if response.status_code != 200:
        raise problem.refusal(response, f"to give {name} of {repository}")
    data, kind = response.content, _media_type(response)
    if not mediatype.is_node(kind):
        kind = _own_media_type(data, response)
    digest = _hashed(data, name)
    said = response.headers.get("Docker-Content-Digest", "")
    if said and said.startswith(f"{digest.algorithm}:") and said != digest:
        raise ContentError(f"{place} gave {digest} for {name} and called it {said[:140]}", code="digest-mismatch")
    return Descriptor(kind, _same(digest, name, transport), len(data)), data


def absent(message: str, response: Response, code: str = "not-found") -> NotFoundError:
    """The error for what the registry does not have."""
    unknown = any(code == "NAME_UNKNOWN" for code, _ in problem.named(response))
    hint = "check the repository's name" if unknown else "check the tag or digest"
    return NotFoundError(message, code=code, hint=f"{hint}; a private repository may answer so without a login")


@contextmanager
def blob(
    transport: Transport, repository: str, descriptor: Descriptor, offset: int, watch: Watch, *, verified: bool = True
) -> Iterator[BinaryIO]:
    """The content from `offset` on; `verified` while read when that is 0. Raises NotFoundError, ContentError.

    A connection that breaks in the middle is made again, and the reading goes on where it was.
    """
    with contextlib.closing(_Resumed(transport, repository, descriptor, offset, watch)) as stream:
        stream.connect()  # so that what is missing is told now, and not at the first byte
        if offset or not verified:
            yield cast(BinaryIO, stream)
        else:
            yield cast(BinaryIO, VerifyReader(cast(BinaryIO, stream), descriptor, stream.place))


class _Resumed(Stream):
    """A blob's bytes from `position` on, over as many connections as it takes while each brings some."""

    def __init__(
        self, transport: Transport, repository: str, descriptor: Descriptor, position: int, watch: Watch
    ) -> None:
        super().__init__()
        self.place = f"{transport.origin.netloc}/{repository}"
        self._transport = transport
        self._url = address(transport, repository, descriptor)
        self._descriptor = descriptor
        self._position = position
        self._watch = watch
        self._failures = 0
        self._exchange = contextlib.ExitStack()
        self._stream: Incoming | None = None

    def close(self) -> None:
        """Give the connection up."""
        self._exchange.close()
        super().close()

    def read(self, amount: int = -1, /) -> bytes:
        """The next bytes, without a copy. Raises NetworkError, Cancelled, and what a first connection raises."""
        if amount < 0:
            return self.readall()
        while True:
            try:
                if self._stream is None:
                    self.connect()
                assert self._stream is not None
                data = self._stream.read(amount)
                if not data and self._position < self._descriptor.size and amount:
                    raise problem.cut_short(self._url, self._position, self._descriptor.size)
            except NetworkError as error:
                self._again(error)
            else:
                self._position += len(data)
                self._failures = 0 if data else self._failures
                return data

    def connect(self) -> None:
        """Ask for what is still wanted. Raises NotFoundError, RegistryError, AuthorizationError, NetworkError."""
        response = self._ask(self._position)
        if response.status_code == 416 or (response.status_code == 206 and not self._goes_on(response)):
            self._exchange.close()
            response = self._ask(0)  # a range it does not have, or did not understand
        if response.status_code == 404:
            raise absent(f"{self.place} has no {self._descriptor.digest}", response, "blob-missing")
        if response.status_code == 206 and not self._goes_on(response):
            raise RegistryError(
                f"{public(response.url)} answered with the wrong range",
                code="range-invalid",
                hint="this is a fault of the registry, or of a cache before it",
            )
        if response.status_code not in (200, 206):
            raise problem.refusal(response, f"to give {self._descriptor.digest}")
        self._take(response)

    def _ask(self, position: int) -> Response:
        # Some registries hide a manifest from whom they do not believe to understand it, even by digest.
        headers = {"Accept": ACCEPT if mediatype.is_node(self._descriptor.media_type) else "*/*"}
        if position:
            # With its end, since a registry was seen (go-containerregistry's) that does not take a range without.
            headers["Range"] = f"bytes={position}-{self._descriptor.size - 1}"
        call = Call("GET", self._url, headers, stream=True)
        response = self._exchange.enter_context(self._transport.exchange(call, self._watch))
        self._exchange.callback(response.close)
        return response

    def _goes_on(self, response: Response) -> bool:
        said = response.headers.get("Content-Range", "")
        return self._position > 0 and said.startswith(f"bytes {self._position}-")

    def _take(self, response: Response) -> None:
        begin = self._position if response.status_code == 206 else 0
        length = response.headers.get("Content-Length", "")
        is_other = length.isdigit() and int(length) != self._descriptor.size - begin
        # Nobody asked for a coding. Where the length is the blob's all the same, the coding is the blob's own.
        is_coded = is_other and "Content-Encoding" in response.headers
        if is_other and not is_coded and not begin:
            raise ContentError(
                f"{self.place} has {length[:20]} bytes as {self._descriptor.digest}, which has {self._descriptor.size}",
                code="size-mismatch",
            )
        stream = Incoming(response, self._watch.cancel, Pace(self._transport.settings.timeouts), decode=is_coded)
        _skip(stream, self._position - begin)  # it does not do ranges
        self._stream = stream

    def _again(self, error: NetworkError) -> None:
        self._exchange.close()
        self._stream = None
        self._failures += 1
        if self._failures >= self._transport.tries(error):
            raise error
        self._watch.note(f"{error.message}; reading {self._descriptor.digest.short} on from byte {self._position}")
        if not self._transport.gate.wait(self._transport.gate.pause(self._failures), self._watch.cancel):
            raise error


def _skip(stream: Incoming, amount: int) -> None:
    while amount and (piece := stream.read(min(amount, _SKIP))):
        amount -= len(piece)


def _media_type(response: Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _own_media_type(data: bytes, response: Response) -> str:
    """For registries that call every manifest application/json: what the document says itself."""
    try:
        kind = jsonform.load(data, "manifest").get("mediaType")
    except ContentError as error:
        raise problem.stranger(response, "a manifest") from error
    if not isinstance(kind, str) or not mediatype.is_node(kind):
        raise problem.stranger(response, "a manifest")
    return kind


def _same(digest: Digest, name: str, transport: Transport) -> Digest:
    if ":" in name and digest != name:
        raise ContentError(f"{transport.origin.netloc} gave {digest} for {name}", code="digest-mismatch")
    return digest


def _hashed(data: bytes, name: str) -> Digest:
    """By the algorithm that was asked with."""
    if ":" not in name:
        return Digest.of(data)
    hasher = Digest(name).hasher()
    hasher.update(data)
    return Digest.from_hasher(hasher, Digest(name).algorithm)
