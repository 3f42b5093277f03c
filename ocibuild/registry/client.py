"""oras's registry, with a transport that can be trusted: the same names and signatures, our exchanges below them.

What oras does right is inherited (`get_tags`, `get_blob`, `push`); code written for `oras.provider.Registry` accepts a
`Client`. What it does wrong is overridden here and in `seam`: one token for every host and scope, bodies sent again after they were
read, manifests re-written on their way, blobs in memory whole, digests taken on trust, no timeouts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import oras.defaults
import oras.oci
from oras.container import Container
from requests import Response

from ocibuild.content import atomic
from ocibuild.content.blob import BLOCK, Blob, File
from ocibuild.content.flow import Flow
from ocibuild.errors import ContentError
from ocibuild.registry import download, files, problem, referrers, upload
from ocibuild.registry.container import named
from ocibuild.registry.limits import Limits
from ocibuild.registry.seam import Seam
from ocibuild.registry.session import Upload
from ocibuild.registry.transport import Transport
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest

_CHUNK: int = oras.defaults.default_chunksize


class Client(Seam):
    """An `oras.provider.Registry` for many threads; `Seam` says how it is made.

    A container is a reference as text, or one that `get_container` gave. Every method raises NetworkError,
    AuthorizationError, RegistryError and Cancelled besides what it says.
    """

    # As oras has it.

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
        if place.digest and (hashed := _hashed(data, place.digest)) != place.digest:
            raise ContentError(f"the manifest for {place} is {hashed}", code="digest-mismatch")
        noted = upload.manifest(self._to(place), place.api_prefix, named(place), descriptor, data, self.watch)
        if found := referrers.unlisted(descriptor, data, noted):
            referrers.settle(self._to(place), place.api_prefix, [found], self.watch)
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
        """The files of an artifact into `outdir`, by default a new folder; the paths written.

        Nothing is written outside, and no file appears before it is whole. See `files.save` for what is raised.
        """
        place = self.get_container(target)
        self.auth.load_configs(place, configs=[config_path] if config_path else None)
        manifest = self.get_manifest(place, allowed_media_type)
        return files.save(
            manifest.get("layers") or [],
            Path(outdir or mkdtemp(prefix="ocibuild-")),
            lambda digest, path: self.download_blob(place, digest, str(path)),
            overwrite=overwrite,
        )

    # What oras does not have.

    def catalog(self, N: int | None = None) -> list[str]:  # noqa: N803  # as get_tags has it
        """The registry's repositories, at most N of them. Many registries keep this list to themselves."""
        found: list[str] = []

        def more(response: Response) -> bool:
            found.extend(response.json().get("repositories") or [])
            return N is None or len(found) < N

        query = "" if N is None else f"?n={N}"
        self._do_paginated_request(f"{self.prefix}://{self._host()}/v2/_catalog{query}", more)
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


def _media_type(document: Mapping[str, Any]) -> str:
    """What a manifest says it is; what it looks like where it does not say."""
    return str(document.get("mediaType") or (mediatype.INDEX if "manifests" in document else mediatype.MANIFEST))


def _hashed(data: bytes, like: str) -> Digest:
    hasher = Digest(like).hasher()
    hasher.update(data)
    return Digest.from_hasher(hasher, Digest(like).algorithm)


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
