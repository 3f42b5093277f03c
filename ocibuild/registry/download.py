"""Reading from a registry: what a name stands for, manifests' bytes as they are, blobs verified while read.

distribution-spec "Pull". A digest is never taken on trust: it is what was asked for, or it is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from requests import Response

from ocibuild.content.verify import VerifyReader
from ocibuild.errors import ContentError, NotFoundError, RegistryError
from ocibuild.registry import problem
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
    if response.status_code == 405:
        return False  # a registry that does not do HEAD: pushing finds out
    if response.status_code not in (200, 404):
        raise problem.refusal(response, f"to look for {descriptor.digest}")
    length = response.headers.get("Content-Length", "")
    return response.status_code == 200 and (not length.isdigit() or int(length) == descriptor.size)


def look(transport: Transport, repository: str, name: str, watch: Watch) -> Descriptor | None:
    """What HEAD says a tag or digest stands for; None where its answer leaves that open, also whether it exists."""
    response = transport.send(Call("HEAD", url(transport, repository, "manifests", name), {"Accept": ACCEPT}), watch)
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
    transport: Transport, repository: str, descriptor: Descriptor, offset: int, watch: Watch
) -> Iterator[BinaryIO]:
    """The content from `offset` on; verified while read when that is 0. Raises NotFoundError, ContentError."""
    # Some registries hide a manifest from whom they do not believe to understand it, even by digest.
    headers = {"Accept": ACCEPT if mediatype.is_node(descriptor.media_type) else "*/*"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    call = Call("GET", address(transport, repository, descriptor), headers, stream=True)
    with transport.exchange(call, watch) as response:
        try:
            if response.status_code == 404:
                raise absent(
                    f"{transport.origin.netloc}/{repository} has no {descriptor.digest}", response, "blob-missing"
                )
            stream = cast(BinaryIO, Incoming(response, watch.cancel))
            if response.status_code == 206 and offset:
                _check_range(response, offset)
            elif response.status_code != 200:
                raise problem.refusal(response, f"to give {descriptor.digest}")
            elif offset:
                _skip(stream, offset)  # it does not do ranges
            if offset:
                yield stream
            else:
                yield cast(BinaryIO, VerifyReader(stream, descriptor, f"{transport.origin.netloc}/{repository}"))
        finally:
            response.close()


def _check_range(response: Response, offset: int) -> None:
    said = response.headers.get("Content-Range", "")
    if not said.startswith(f"bytes {offset}-"):
        raise RegistryError(f"{response.url} answered with the wrong range", code="range-invalid")


def _skip(stream: BinaryIO, amount: int) -> None:
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
