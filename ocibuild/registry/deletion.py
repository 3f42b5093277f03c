"""Taking away from a registry: a tag, or a manifest, and never more than was asked. distribution-spec "Content Management".

Deleting a manifest takes every tag of it along, and some registries know no other way to be rid of a tag: then that is
said, and left to the person. A deletion that was accepted may show later; that is no error.
"""

from __future__ import annotations

from requests import Response

from ocibuild.errors import RegistryError
from ocibuild.registry import download, problem, referrers
from ocibuild.registry.transport import Call, Transport, Watch
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import parse

_DONE = (200, 202, 204)
_CANNOT = frozenset({"UNSUPPORTED", "DIGEST_INVALID", "MANIFEST_INVALID", "METHOD_UNKNOWN", "NAME_INVALID"})


def tag(transport: Transport, repository: str, name: str, watch: Watch) -> None:
    """Delete a tag; the manifest stays. Raises NotFoundError, RegistryError (`tag-delete-unsupported`)."""
    response = _delete(transport, repository, name, watch)
    if response.status_code in _DONE:
        return
    place = f"{transport.origin.netloc}/{repository}"
    if response.status_code == 404:
        raise download.absent(f"{place} has no {name}", response)
    if _cannot(response):
        raise RegistryError(
            problem.refusal(response, f"to delete the tag {name} of {repository} alone").message,
            code="tag-delete-unsupported",
            hint="--manifest deletes the manifest it points at, with every other tag of it",
        )
    raise problem.refusal(response, f"to delete the tag {name} of {repository}")


def manifest(transport: Transport, repository: str, descriptor: Descriptor, watch: Watch) -> None:
    """Delete a manifest, and with it every tag it has. Raises NotFoundError, RegistryError (`delete-disabled`)."""
    subject = None
    if mediatype.is_node(descriptor.media_type):
        found, data = download.manifest(transport, repository, descriptor.digest, watch)
        subject = parse(data, found.media_type).subject
    response = _delete(transport, repository, descriptor.digest, watch)
    place = f"{transport.origin.netloc}/{repository}"
    if response.status_code == 404:
        raise download.absent(f"{place} has no {descriptor.digest}", response)
    if _cannot(response):
        raise RegistryError(
            problem.refusal(response, f"to delete {repository}@{descriptor.digest}").message,
            code="delete-disabled",
            hint="this registry does not delete; its configuration, or its own console, may",
        )
    if response.status_code not in _DONE:
        raise problem.refusal(response, f"to delete {repository}@{descriptor.digest}")
    if subject is not None:
        referrers.forget(transport, repository, subject.digest, descriptor.digest, watch)


def _delete(transport: Transport, repository: str, name: str, watch: Watch) -> Response:
    return transport.send(Call("DELETE", download.url(transport, repository, "manifests", name)), watch)


def _cannot(response: Response) -> bool:
    codes = {code for code, _ in problem.named(response)}
    return response.status_code in (405, 501) or (response.status_code == 400 and bool(codes & _CANNOT))
