"""oras's registry, with a transport that can be trusted: the same names and signatures, our exchanges below them.

What oras does right is inherited (`get_tags`, `get_blob`, `push`); code written for `oras.provider.Registry` accepts a
`Client`. What it does wrong is overridden here: one token for every host and scope, bodies sent again after they were
read, manifests re-written on their way, blobs in memory whole, digests taken on trust, no timeouts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import oras.defaults
import oras.provider
from oras.container import Container
from requests import Response

from ocibuild.content import atomic
from ocibuild.content.blob import BLOCK, Blob, File
from ocibuild.content.flow import Flow
from ocibuild.errors import RegistryError
from ocibuild.registry import auth as _registered
from ocibuild.registry import download, problem, upload
from ocibuild.registry.auth import Auth
from ocibuild.registry.credentials import Keychain
from ocibuild.registry.origin import Origin, follow
from ocibuild.registry.settings import Settings
from ocibuild.registry.transport import Body, Call, Transport, Watch, harden
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference

_PAGES = 10_000
assert _registered.Auth is Auth  # importing it is what puts it into oras's table


class RegistryContainer(Container):  # type: ignore[misc]  # oras is untyped
    """oras's container with our grammar of references: docker.io's short names, no scheme, no stray characters."""

    def parse(self, name: str) -> None:
        """Raises UsageError (`reference-invalid`)."""
        default: str = self.registry
        is_whole = default == oras.defaults.registry.index_name or _has_host(name)
        reference = Reference.parse(name if is_whole else f"{default}/{name}")
        self.registry: str = reference.api_host
        self.namespace, _, self.repository = reference.repository.rpartition("/")
        self.tag = reference.tag
        self.digest = reference.digest


class Client(oras.provider.Registry):  # type: ignore[misc]
    """An `oras.provider.Registry` for many threads. `insecure` is plain http, as oras has it; `settings` say the rest.

    `do_request` returns answers of any status; it raises NetworkError, AuthorizationError and RegistryError for what is
    no answer.
    """

    def __init__(
        self,
        hostname: str | None = None,
        insecure: bool = False,
        tls_verify: bool = True,
        *,
        settings: Settings | None = None,
        watch: Watch | None = None,
    ) -> None:
        # tls_verify=False would silence urllib3's warnings for the whole process; our context takes care of it.
        super().__init__(hostname, insecure, True, auth_backend="ocibuild")
        self.settings = settings or Settings(insecure=not tls_verify)
        self.watch = watch or Watch()
        self.auth.keychain = Keychain(self.settings.credentials, self.settings.environ, self.settings.home)
        harden(self.session, self.settings)
        self._transports: dict[Origin, Transport] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, reference: Reference, settings: Settings, watch: Watch | None = None) -> Client:
        """The client for a reference's registry: http where asked for, or on loopback; else https."""
        plain = reference.is_loopback if settings.plain_http is None else settings.plain_http
        return cls(reference.api_host, insecure=plain, settings=settings, watch=watch)

    def transport(self, url: str) -> Transport:
        """The way to the origin of a URL."""
        origin = Origin.of(url)
        with self._lock:
            if origin not in self._transports:
                self._transports[origin] = Transport(origin, self.session, self.auth, self.settings)
            return self._transports[origin]

    def close(self) -> None:
        """Close pooled connections."""
        self.session.close()

    # What oras calls.

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        stream: bool = False,
    ) -> Response:
        """One exchange; see the class for what is raised."""
        fields = dict(headers or {})
        if json is not None:
            data = jsonform.dump(json)
            fields.setdefault("Content-Type", "application/json")
        return self.transport(url).send(Call(method, url, fields, _body(data), stream=stream), self.watch)

    def get_container(self, name: Any) -> Container:
        """Parse a reference by our grammar."""
        return name if isinstance(name, Container) else RegistryContainer(name, registry=self.hostname)

    def blob_exists(self, layer: Mapping[str, Any], container: Any) -> bool:
        """True or False; any other answer is an error and not a False."""
        place = self.get_container(container)
        return download.exists(self._to(place), place.api_prefix, _described(layer), self.watch)

    def upload_blob(
        self, blob: str, container: Any, layer: Mapping[str, Any], do_chunked: bool = False, chunk_size: int = 0
    ) -> Response:
        """Send a file unless it is there. It is streamed and verified; chunks are not needed for that."""
        if self.blob_exists(layer, container):
            return _answered(200)
        return self.put_upload(blob, self.get_container(container), layer)

    def put_upload(self, blob: str, container: Any, layer: Mapping[str, Any]) -> Response:
        """Send a file in one PUT."""
        place, descriptor = self.get_container(container), _described(layer)
        content = Blob(descriptor, File(os.path.abspath(blob), descriptor.size))
        with Flow.open(cancel=self.watch.cancel, cpu=1, io=1) as flow:
            upload.blob(self._to(place), place.api_prefix, content, flow)
        return _answered(201)

    def chunked_upload(self, blob: str, container: Any, layer: Mapping[str, Any], chunk_size: int = 0) -> Response:
        """As `put_upload`, which takes any size and no memory."""
        return self.put_upload(blob, container, layer)

    def upload_manifest(self, manifest: Mapping[str, Any] | bytes, container: Any) -> Response:
        """Store a manifest or index: bytes as they are, an object in our JSON form, under its own media type."""
        place = self.get_container(container)
        data = manifest if isinstance(manifest, bytes) else jsonform.dump(manifest)
        kind = jsonform.load(data, "manifest").get("mediaType") or mediatype.MANIFEST
        descriptor = Descriptor.of(str(kind), data)
        name = str(place.digest or place.tag)
        upload.manifest(self._to(place), place.api_prefix, name, descriptor, data, self.watch)
        return _answered(201, {"Docker-Content-Digest": descriptor.digest})

    def get_manifest(
        self, container: Any, allowed_media_type: Any = None, validation_schema: Any = None
    ) -> dict[str, Any]:
        """The parsed manifest, verified. Its bytes are had from `fetch_manifest`."""
        document = jsonform.load(self.fetch_manifest(container)[1], "manifest")
        if validation_schema:
            import jsonschema

            jsonschema.validate(document, schema=validation_schema)
        return document

    def fetch_manifest(self, container: Any) -> tuple[Descriptor, bytes]:
        """Descriptor and bytes of the manifest or index a container names."""
        place = self.get_container(container)
        return download.manifest(self._to(place), place.api_prefix, str(place.digest or place.tag), self.watch)

    def download_blob(self, container: Any, digest: str, outfile: str) -> str:
        """A blob into a file that appears when it is verified and whole."""
        place = self.get_container(container)
        response: Response = self.get_blob(place, digest, head=True)
        if response.status_code != 200:
            raise problem.refusal(response, f"to give {digest}")
        descriptor = Descriptor("application/octet-stream", Digest(digest), int(response.headers["Content-Length"]))
        target = Path(outfile)
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            download.blob(self._to(place), place.api_prefix, descriptor, 0, self.watch) as stream,
            atomic.Incoming(target.parent) as incoming,
        ):
            while piece := stream.read(BLOCK):
                incoming.write(piece)
            incoming.commit(target)
        return outfile

    def delete_tag(self, container: Any, tag: str) -> bool:
        """Delete the tag and no more. False where there is none. Raises RegistryError where tags cannot be deleted."""
        place = self.get_container(container)
        response = self.do_request(f"{self.prefix}://{place.manifest_url(tag)}", "DELETE")
        if response.status_code == 404:
            return False
        if response.status_code not in (200, 202, 204):
            raise problem.refusal(response, f"to delete the tag {tag}")
        return True

    def pull(self, *args: Any, **kwargs: Any) -> list[str]:
        """Refused: oras unpacks archives of strangers outside the folder they are meant for."""
        raise RegistryError("oras's pull is not offered", code="unsupported", hint="use ocibuild.copy into a layout")

    # What oras's own methods call on the way.

    def _to(self, container: Container) -> Transport:
        return self.transport(f"{self.prefix}://{container.registry}")

    def _check_200_response(self, response: Response) -> None:
        if response.status_code not in (200, 201, 202, 204):
            raise problem.refusal(response, "the request")

    def _get_location(self, r: Response, container: Container) -> str:
        location = r.headers.get("Location", "")
        return follow(r.url, location) if location else ""

    def _do_paginated_request(self, url: str, callable: Callable[[Response], bool]) -> None:
        seen: set[str] = set()
        while url not in seen and len(seen) < _PAGES:
            seen.add(url)
            response = self.do_request(url, "GET", headers={"Accept": "application/json"})
            self._check_200_response(response)
            link = response.links.get("next", {}).get("url") if callable(response) else None
            if not link:
                return
            url = follow(response.url, link)
            if Origin.of(url) != Origin.of(response.url):
                raise RegistryError("the next page of a list lies on another host", code="location-refused")
        raise RegistryError("the pages of a list do not end", code="location-refused")


def _has_host(name: str) -> bool:
    first, slash, _ = name.partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def _body(data: Any) -> Body:
    if data is None:
        return b""
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes):
        return data
    if isinstance(data, Mapping):
        from urllib.parse import urlencode

        return urlencode(data).encode()
    return partial(_rewound, data, data.tell())


@contextmanager
def _rewound(stream: BinaryIO, start: int) -> Iterator[BinaryIO]:
    stream.seek(start)  # a file that was sent once is at its end, and would be sent as nothing
    yield stream


def _described(layer: Mapping[str, Any]) -> Descriptor:
    return Descriptor(
        str(layer.get("mediaType") or "application/octet-stream"), Digest(layer["digest"]), int(layer["size"])
    )


def _answered(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """An answer for oras's callers, who look at the status."""
    response = Response()
    response.status_code = status
    response.headers.update(headers or {})
    response._content = b""
    return response
