"""A registry without HTTP: what the requests of distribution-spec do, on repositories. The pages and the tests use it as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ocibuild.record import record
from ocibuild.serve import document
from ocibuild.serve.collect import Collected, collect
from ocibuild.serve.events import Event, Events
from ocibuild.serve.limits import Limits
from ocibuild.serve.refusal import Refusal
from ocibuild.serve.repository import Held
from ocibuild.serve.storage import Storage
from ocibuild.serve.uploads import Body, Upload, Uploads
from ocibuild.serve.view import Entry
from ocibuild.spec.digest import Digest

_LARGE = 1024 * 1024
_SMALL = 64 * 1024
_LARGE_AT_ONCE = 8


@record
class Put:
    """A manifest that was kept."""

    digest: Digest
    subject: Digest | None
    tags: tuple[str, ...]


class Registry:
    """Repositories under one folder, the uploads to them, and who is told of what happens.

    Names, tags and digests that are given must be checked (`ocibuild.serve.naming`). Methods raise Refusal with the
    specification's code, and StoreError where the disk does not do its part.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Callable[[], float],
        name: str | None = None,
        limits: Limits | None = None,
        sparse: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.storage = Storage.over(root, name=name, manifest_limit=self.limits.manifest)
        self.uploads = Uploads(
            self.storage.uploads, most=self.limits.uploads, rest=self.limits.upload_rest, clock=clock
        )
        self.events = Events()
        self._clock = clock
        self._sparse = sparse
        self._large: list[bytearray | None] = [None] * _LARGE_AT_ONCE  # made when they are first needed

    def close(self) -> None:
        """Nothing is under way on its own."""

    # Pull

    def names(self) -> list[str]:
        """The repositories, sorted."""
        return self.storage.names()

    def tags(self, name: str) -> list[str]:
        """The tags of a repository, sorted. Raises Refusal (NAME_UNKNOWN)."""
        return self.storage.repository(name).tags()

    def manifest(self, name: str, reference: str | Digest) -> Held:
        """A manifest by tag or digest. Raises Refusal (MANIFEST_UNKNOWN)."""
        held = self.storage.repository(name).manifest(reference)
        if held is None:
            raise Refusal("MANIFEST_UNKNOWN", f"{name} has no manifest {reference}")
        return held

    def blob(self, name: str, digest: Digest) -> Held:
        """A blob's place and size. Raises Refusal (BLOB_UNKNOWN)."""
        held = self.storage.repository(name).blob(digest)
        if held is None:
            raise Refusal("BLOB_UNKNOWN", f"{name} has no blob {digest}")
        return held

    def referrers(self, name: str, subject: Digest) -> list[Entry]:
        """Descriptors of what was attached to a manifest; none for one that nobody has heard of."""
        with suppress(Refusal):
            return self.storage.repository(name).referrers(subject)
        return []

    # Push

    @contextmanager
    def _buffer(self, size: int | None) -> Iterator[memoryview]:
        """Memory to move `size` bytes through, None for any number: a large piece for the first few who have so many, as
        much as there are, or a small piece, for everybody else.

        The large ones are kept for the next who ask.
        """
        is_large = size is None or size > _SMALL
        try:
            large = (self._large.pop() or bytearray(_LARGE)) if is_large else None
        except IndexError:
            large = None
        try:
            yield memoryview(large or bytearray(min(size or _SMALL, _SMALL)))
        finally:
            if large is not None:
                self._large.append(large)

    def begin(self, name: str) -> Upload:
        """A new upload. Raises Refusal (TOOMANYREQUESTS, NAME_UNKNOWN)."""
        self.storage.repository(name)
        return self.uploads.begin(name)

    def append(self, upload: Upload, body: Body, *, size: int | None = None, start: int | None = None) -> None:
        """Take the bytes of a request into an upload; `size` where it says how many they are. See Upload.append."""
        with self._buffer(size) as buffer:
            upload.append(body, buffer, start=start, limit=self.limits.blob)

    def finish(self, name: str, upload: Upload, digest: Digest) -> None:
        """Make the upload a blob of the repository; it is on the disk afterwards. Raises Refusal (DIGEST_INVALID)."""
        path = upload.finish(digest)
        try:
            self._keep(name, path, digest)
        except BaseException:
            upload.reopen()
            raise
        self.uploads.end(upload)
        self.storage.remember(digest, name)
        self.events.publish(Event("blob", name, digest=digest, size=upload.offset))

    def _keep(self, name: str, path: Path, digest: Digest) -> None:
        target, other = self.storage.repository(name), self.storage.known(digest)
        held = other.blob(digest) if other is not None and other is not target else None
        is_new = held is not None and held.size == path.stat().st_size and target.blob(digest) is None
        # Where another repository has these bytes, one file is enough for both.
        if held is None or not is_new or not target.link(held.path, digest):
            target.adopt(path, digest)

    def renew(self, name: str, digest: Digest) -> None:
        """Note that a client asked for a blob in order not to push it, so that it is not collected meanwhile."""
        self.storage.repository(name).renew(digest, self._clock() - self.limits.grace / 2)

    def mount(self, name: str, digest: Digest, source: str | None) -> bool:
        """Have a blob of another repository in this one; of `source`, or of any. False where it is not there."""
        target = self.storage.repository(name)
        if target.blob(digest) is not None:
            return True
        with suppress(Refusal):
            other = self.storage.repository(source) if source is not None else self.storage.whereabouts(digest)
            held = other.blob(digest) if other is not None else None
            if held is not None and target.link(held.path, digest):
                self.storage.remember(digest, name)
                self.events.publish(Event("mounted", name, digest=digest, size=held.size))
                return True
        return False

    def put(
        self, name: str, reference: str | Digest, data: bytes, media_type: str | None, tags: Sequence[str] = ()
    ) -> Put:
        """Keep a manifest under a tag or a digest, and under more tags; it is on the disk afterwards.

        Raises Refusal (MANIFEST_INVALID, MANIFEST_BLOB_UNKNOWN, DIGEST_INVALID).
        """
        is_digest = isinstance(reference, Digest)
        digest = _of(data, reference.algorithm if isinstance(reference, Digest) else "sha256")
        if is_digest and digest != reference:
            raise Refusal("DIGEST_INVALID", f"the manifest that came is {digest}")
        short = document.read(data, media_type, self.limits.manifest)
        names = tuple(dict.fromkeys((*(() if is_digest else (reference,)), *tags)))
        self.storage.repository(name).put(data, short, digest, names, sparse=self._sparse)
        self.storage.remember(digest, name)
        for tag in names or ("",):
            self.events.publish(Event("tag" if tag else "manifest", name, digest=digest, tag=tag, size=len(data)))
        return Put(digest, short.subject, names)

    # Delete

    def delete_manifest(self, name: str, reference: str | Digest) -> None:
        """Take a tag away, or a manifest with all its tags. Raises Refusal (MANIFEST_UNKNOWN)."""
        repository = self.storage.repository(name)
        if isinstance(reference, Digest):
            for tag in repository.delete_manifest(reference):
                self.events.publish(Event("untagged", name, digest=reference, tag=tag))
            self.events.publish(Event("manifest-deleted", name, digest=reference))
        else:
            repository.untag(reference)
            self.events.publish(Event("untagged", name, tag=reference))

    def delete_blob(self, name: str, digest: Digest) -> None:
        """Take a blob away from this repository. Raises Refusal (BLOB_UNKNOWN, UNSUPPORTED)."""
        self.storage.repository(name).delete_blob(digest)
        self.events.publish(Event("blob-deleted", name, digest=digest))

    def collect(self) -> Collected:
        """Remove the blobs that no manifest needs any more, and the uploads that rested too long."""
        self.uploads.sweep()
        total = Collected()
        for name in self.names():
            done = collect(self.storage.repository(name), before=self._clock() - self.limits.grace)
            if done.blobs:
                self.events.publish(Event("collected", name, size=done.size))
            total = Collected(total.blobs + done.blobs, total.size + done.size)
        return total


def _of(data: bytes, algorithm: str) -> Digest:
    import hashlib

    return Digest.from_hasher(hashlib.new(algorithm, data), algorithm)
