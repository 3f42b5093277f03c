"""oras's registry, with a transport that can be trusted: the same names and signatures, our exchanges below them.

What oras does right is inherited (`get_tags`, `get_blob`, `push`); code written for `oras.provider.Registry` accepts a
`Client`. What it does wrong is overridden here: one token for every host and scope, bodies sent again after they were
read, manifests re-written on their way, blobs in memory whole, digests taken on trust, no timeouts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import oras.defaults
import oras.oci
import oras.provider
from oras.container import Container
from requests import Response

from ocibuild.content import atomic
from ocibuild.content.blob import BLOCK, Blob, File
from ocibuild.content.flow import Flow
from ocibuild.errors import AuthorizationError, ContentError, RegistryError
from ocibuild.registry import auth as _registered
from ocibuild.registry import download, files, problem, upload
from ocibuild.registry.auth import Auth
from ocibuild.registry.container import RegistryContainer, named
from ocibuild.registry.credentials import Credential, Keychain
from ocibuild.registry.limits import Limits
from ocibuild.registry.origin import Origin, follow
from ocibuild.registry.session import Upload
from ocibuild.registry.settings import Settings
from ocibuild.registry.transport import Body, Call, Transport, Watch, harden
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference

_PAGES = 10_000
_CHUNK: int = oras.defaults.default_chunksize
_IN_MEMORY = 256 * 1024 * 1024
"""The largest blob `get_blob` gives whole, in bytes; with `stream` it gives any."""

_BACKENDS = ("ocibuild", "token", "basic")
assert _registered.Auth is Auth  # importing it is what puts it into oras's table


class Client(oras.provider.Registry):  # type: ignore[misc]  # oras is untyped
    """An `oras.provider.Registry` for many threads. `insecure` is plain http, as oras has it; `settings` say the rest.

    `tls_verify` may be the path of a file with authorities. Of oras's auth backends, this one does what `token` and
    `basic` do; `ecr` is a credential helper's work.

    `do_request` returns answers of any status; it raises NetworkError, AuthorizationError and RegistryError for what is
    no answer.
    """

    def __init__(
        self,
        hostname: str | None = None,
        insecure: bool = False,
        tls_verify: bool | str = True,
        auth_backend: str = "ocibuild",
        *,
        settings: Settings | None = None,
        watch: Watch | None = None,
    ) -> None:
        if auth_backend not in _BACKENDS:
            raise RegistryError(
                f"oras's auth backend {auth_backend!r} is not offered",
                code="unsupported",
                hint="name a credential helper in docker's config.json instead, such as ecr-login for Amazon's registry",
            )
        # tls_verify=False would silence urllib3's warnings for the whole process; our context takes care of it.
        super().__init__(hostname, insecure, True, auth_backend="ocibuild")
        ca_file = tls_verify if isinstance(tls_verify, str) else None
        self.settings = settings or Settings(insecure=not tls_verify, ca_file=ca_file)
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
        call = Call(method, url, fields, _body(data), stream=stream)
        if "/blobs/" in url and method == "GET":
            call = replace(call, limit=_IN_MEMORY)
        return self.transport(url).send(call, self.watch)

    def get_container(self, name: Any) -> Container:
        """Parse a reference by our grammar."""
        return name if isinstance(name, Container) else RegistryContainer(name, registry=self.hostname)

    def blob_exists(self, layer: Mapping[str, Any], container: Any) -> bool:
        """True or False; any other answer is an error and not a False."""
        place = self.get_container(container)
        return download.exists(self._to(place), place.api_prefix, _described(layer), self.watch)

    def upload_blob(
        self, blob: str, container: Any, layer: Mapping[str, Any], do_chunked: bool = False, chunk_size: int = _CHUNK
    ) -> Response:
        """Send a file unless it is there; 200 says that it was. It is streamed and verified, in chunks or not."""
        if self.blob_exists(layer, container):
            return _answered(200)
        if do_chunked:
            return self.chunked_upload(blob, container, layer, chunk_size)
        return self.put_upload(blob, container, layer)

    def put_upload(self, blob: str, container: Any, layer: Mapping[str, Any]) -> Response:
        """Send a file in one PUT; in chunks where the registry refuses that."""
        place = self.get_container(container)
        return self._send(blob, self._to(place), place, layer)

    def chunked_upload(self, blob: str, container: Any, layer: Mapping[str, Any], chunk_size: int = _CHUNK) -> Response:
        """Send a file in chunks of `chunk_size` bytes, longer ones where the registry asks for them."""
        place = self.get_container(container)
        transport = self._to(place)
        chunked = Transport(transport.origin, self.session, self.auth, self.settings)
        chunked.gate, chunked.limits = transport.gate, Limits(transport.origin.netloc, chunk_size)
        return self._send(blob, chunked, place, layer)

    def upload_manifest(
        self, manifest: Mapping[str, Any] | bytes, container: Any, media_type: str | None = None
    ) -> Response:
        """Store a manifest or index: bytes as they are, an object in our JSON form, under its own media type.

        Raises ContentError (`digest-mismatch`) where the container names another digest.
        """
        place = self.get_container(container)
        data = manifest if isinstance(manifest, bytes) else jsonform.dump(manifest)
        descriptor = Descriptor.of(media_type or _media_type(jsonform.load(data, "manifest")), data)
        if place.digest and (found := _hashed(data, place.digest)) != place.digest:
            raise ContentError(f"the manifest for {place} is {found}", code="digest-mismatch")
        upload.manifest(self._to(place), place.api_prefix, named(place), descriptor, data, self.watch)
        return _answered(201, {"Docker-Content-Digest": place.digest or descriptor.digest})

    def get_manifest(
        self, container: Any, allowed_media_type: Sequence[str] | None = None, validation_schema: Any = None
    ) -> dict[str, Any]:
        """The parsed manifest, verified. Its bytes are had from `fetch_manifest`.

        Raises ContentError (`media-type-mismatch`) for one that is not of an allowed type.
        """
        descriptor, data = self.fetch_manifest(container)
        if allowed_media_type and descriptor.media_type not in allowed_media_type:
            raise ContentError(
                f"{self.get_container(container)} is a {descriptor.media_type}, not {' or '.join(allowed_media_type)}",
                code="media-type-mismatch",
            )
        document = jsonform.load(data, "manifest")
        if validation_schema:
            import jsonschema

            jsonschema.validate(document, schema=validation_schema)
        return document

    def download_blob(self, container: Any, digest: str, outfile: str) -> str:
        """A blob into a file that appears when it is verified and whole."""
        place = self.get_container(container)
        descriptor = self._measured(place, Digest(digest))
        target = Path(outfile)
        with atomic.translated(target):
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
        return self._delete(f"{self.prefix}://{place.manifest_url(tag)}", f"the tag {tag}")

    def pull(
        self,
        target: str,
        config_path: str | None = None,
        allowed_media_type: Sequence[str] | None = None,
        overwrite: bool = True,
        outdir: str | None = None,
    ) -> list[str]:
        """The files of an artifact into `outdir`, by default the current folder; the paths written.

        Nothing is written outside, and no file appears before it is whole. See `files.save` for what is raised.
        """
        place = self.get_container(target)
        self.auth.load_configs(place, configs=[config_path] if config_path else None)
        manifest = self.get_manifest(place, allowed_media_type)
        return files.save(
            manifest.get("layers") or [],
            Path(outdir or "."),
            lambda digest, path: self.download_blob(place, digest, str(path)),
            overwrite=overwrite,
        )

    def login(
        self,
        username: str,
        password: str,
        password_stdin: bool = False,
        tls_verify: bool = True,
        hostname: str | None = None,
        config_path: str | None = None,
    ) -> dict[str, str]:
        """Use an account with one registry, for as long as this client lives, if the registry accepts it.

        Nothing is asked on a terminal and nothing is written to a file. Raises AuthorizationError.
        """
        host = hostname or self.hostname
        if not (host and username and password) or password_stdin or config_path:
            raise AuthorizationError(
                "a login needs a registry's host, a user name and a password, and no file",
                code="credentials-missing",
                hint="docker login and podman login write files, which are read too",
            )
        before = self.auth.keychain
        explicit = {**before.explicit, host: Credential(username, password)}
        self._know(Keychain(explicit, before.environ, before.home), host)
        try:
            self.ping(host)
        except BaseException:
            self._know(before, host)
            raise
        return {"Status": "Login Succeeded"}

    def logout(self, hostname: str) -> None:
        """Forget a registry's account and tokens. Files are left alone."""
        before = self.auth.keychain
        explicit = {host: account for host, account in before.explicit.items() if host != hostname}
        self._know(Keychain(explicit, before.environ, before.home), hostname)

    def set_header(self, name: str, value: str) -> None:
        """A header for `get_blob`, as oras has it. Raises AuthorizationError for Authorization: it names no host."""
        if name.lower() == "authorization":
            self.auth.set_basic_auth("", "")
        super().set_header(name, value)

    # What oras does not have.

    def ping(self, hostname: str | None = None) -> bool:
        """True when the registry answers and accepts us. Raises AuthorizationError, RegistryError, NetworkError."""
        response = self.do_request(f"{self.prefix}://{hostname or self.hostname}/v2/")
        if response.status_code != 200:
            raise problem.refusal(response, "to be spoken to")
        return True

    def catalog(self, N: int | None = None) -> list[str]:  # noqa: N803  # as get_tags has it
        """The registry's repositories, at most N of them. Many registries keep this list to themselves."""
        found: list[str] = []

        def more(response: Response) -> bool:
            found.extend(response.json().get("repositories") or [])
            return N is None or len(found) < N

        query = "" if N is None else f"?n={N}"
        self._do_paginated_request(f"{self.prefix}://{self.hostname}/v2/_catalog{query}", more)
        return found[:N]

    def resolve(self, container: Any) -> Descriptor:
        """What a tag or digest stands for. Raises NotFoundError."""
        return self.head_manifest(container) or self.fetch_manifest(container)[0]

    def head_manifest(self, container: Any) -> Descriptor | None:
        """What HEAD says of it; None where its answer leaves that open, also whether it exists."""
        place = self.get_container(container)
        return download.look(self._to(place), place.api_prefix, named(place), self.watch)

    def fetch_manifest(self, container: Any) -> tuple[Descriptor, bytes]:
        """Descriptor and bytes of the manifest or index a container names, verified."""
        place = self.get_container(container)
        return download.manifest(self._to(place), place.api_prefix, named(place), self.watch)

    def subject(self, container: Any) -> oras.oci.Subject:
        """What `push(subject=...)` takes, of the bytes the registry has."""
        descriptor = self.resolve(container)
        return oras.oci.Subject(descriptor.media_type, str(descriptor.digest), descriptor.size)

    def mount_blob(self, container: Any, digest: str, source: str) -> bool:
        """Take a blob over from the repository `source` of the same registry. False where it must be sent."""
        place = self.get_container(container)
        opened = upload.mount(self._to(place), place.api_prefix, Digest(digest), source, self.watch)
        if opened is not None:
            opened.cancel()
        return opened is None

    def start_upload(self, container: Any) -> str:
        """Open an upload; the address that `upload_status` and `cancel_upload` take."""
        place = self.get_container(container)
        return upload.start(self._to(place), place.api_prefix, self.watch).url

    def upload_status(self, container: Any, url: str) -> int | None:
        """How many bytes of an upload the registry has; None where it knows of no such upload."""
        return self._upload(container, url).held(self.watch)

    def cancel_upload(self, container: Any, url: str) -> None:
        """Tell the registry that an upload will not go on. It need not care."""
        self._upload(container, url).cancel()

    def delete_manifest(self, container: Any, digest: str) -> bool:
        """Delete a manifest, and with it every tag that points at it. False where there is none."""
        place = self.get_container(container)
        return self._delete(f"{self.prefix}://{place.manifest_url(Digest(digest))}", f"the manifest {digest}")

    def delete_blob(self, container: Any, digest: str) -> bool:
        """Delete a blob from a repository, in use or not. False where there is none."""
        place = self.get_container(container)
        return self._delete(f"{self.prefix}://{place.get_blob_url(Digest(digest))}", f"the blob {digest}")

    # What oras's own methods call on the way.

    def _to(self, container: Container) -> Transport:
        return self.transport(f"{self.prefix}://{container.registry}")

    def _upload(self, container: Any, url: str) -> Upload:
        place = self.get_container(container)
        return Upload(self._to(place), place.api_prefix, url)

    def _send(self, path: str, to: Transport, place: Container, layer: Mapping[str, Any]) -> Response:
        descriptor = _described(layer)
        content = Blob(descriptor, File(os.path.abspath(path), descriptor.size))
        with Flow.open(cancel=self.watch.cancel, cpu=1, io=1) as flow:
            upload.blob(to, place.api_prefix, content, flow)
        return _answered(201, {"Docker-Content-Digest": descriptor.digest})

    def _delete(self, url: str, what: str) -> bool:
        response = self.do_request(url, "DELETE")
        if response.status_code == 404:
            return False
        if response.status_code not in (200, 202, 204):
            raise problem.refusal(response, f"to delete {what}")
        return True

    def _know(self, keychain: Keychain, host: str) -> None:
        self.auth.keychain = keychain
        self.auth.logout(host)

    def _measured(self, place: Container, digest: Digest) -> Descriptor:
        """A blob's descriptor: HEAD tells its size, or else the head of a GET."""
        for head in (True, False):
            with closing(self.get_blob(place, digest, stream=not head, head=head)) as response:
                length = response.headers.get("Content-Length", "")
                if response.status_code == 404:
                    raise download.absent(f"{place.registry}/{place.api_prefix} has no {digest}", response)
                if response.status_code == 200 and length.isdigit():
                    return Descriptor("application/octet-stream", digest, int(length))
                if not head and response.status_code != 200:
                    raise problem.refusal(response, f"to give {digest}")
        raise problem.stranger(response, "a blob that says how long it is")

    def _validate_path(self, path: str) -> bool:
        return Path(path).resolve().is_relative_to(Path.cwd().resolve())

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
            _is_object(response)
            link = response.links.get("next", {}).get("url") if callable(response) else None
            if not link:
                return
            url = follow(response.url, link)
            if Origin.of(url) != Origin.of(response.url):
                raise RegistryError("the next page of a list lies on another host", code="location-refused")
        raise RegistryError("the pages of a list do not end", code="location-refused")


def _is_object(response: Response) -> None:
    try:
        is_object = isinstance(response.json(), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise problem.stranger(response, "a list")


def _media_type(document: Mapping[str, Any]) -> str:
    """What a manifest says it is; what it looks like where it does not say."""
    return str(document.get("mediaType") or (mediatype.INDEX if "manifests" in document else mediatype.MANIFEST))


def _hashed(data: bytes, like: str) -> Digest:
    hasher = Digest(like).hasher()
    hasher.update(data)
    return Digest.from_hasher(hasher, Digest(like).algorithm)


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
