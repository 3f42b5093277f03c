"""A repository: one OCI layout on disk, as a registry looks at it. OCI image-spec, image-layout.md.

Tags are the `org.opencontainers.image.ref.name` of index.json; a manifest without a tag stands there as an untagged root,
which is how its media type is remembered. What index.json says is kept in memory until the file is another one, so any
tool may write to the layout meanwhile. Changes take the locks that `ocibuild.store.layout` takes; those that arrive together
are written together, and each is on the disk before its call returns.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ocibuild.content import atomic
from ocibuild.content.blob import BLOCK
from ocibuild.errors import ContentError, StoreError
from ocibuild.record import record
from ocibuild.serve import document, view
from ocibuild.serve.document import Document
from ocibuild.serve.refusal import Refusal
from ocibuild.serve.view import Entry, View
from ocibuild.serve.wire import FileBody
from ocibuild.spec import jsonform, layout, mediatype
from ocibuild.spec.digest import Digest

_DOCUMENTS = 50_000
_MAX_DEPTH = 8


@record
class Held:
    """Content that is here. `size` is in bytes; `notes` are headers that say more of it."""

    digest: Digest
    media_type: str
    size: int
    path: Path
    notes: tuple[tuple[str, str], ...] = ()

    def body(self, start: int, size: int) -> Iterable[bytes]:
        """The answer's body from `start` on, `size` bytes of it. Raises OSError, and Refusal where it cannot be had."""
        return FileBody(open(self.path, "rb", buffering=0), start, size)


class _Change:
    """One change to index.json that waits to be written, and how it ended."""

    def __init__(self, apply: Callable[[View], None]) -> None:
        self.apply = apply
        self.done = False
        self.error: Exception | None = None


class Repository:
    """A layout that is read and written. It need not be there: reading finds nothing then, and the first write makes it."""

    def __init__(self, name: str, path: Path, *, manifest_limit: int) -> None:
        self.name = name
        self.path = path
        self._limit = manifest_limit
        self._view = View()
        self._documents: dict[str, Document | None] = {}
        self._committing = threading.Lock()
        self._queueing = threading.Lock()
        self._waiting: list[_Change] = []

    # Reading

    @property
    def exists(self) -> bool:
        """True once something stands in it."""
        return (self.path / layout.INDEX_FILE).exists()

    def current(self) -> View:
        """index.json as it is now. Raises StoreError (`layout-invalid`, `store-unreadable`)."""
        identity = self._identity()
        known = self._view
        if identity != known.identity:
            known = self._view = self._read(identity)
        return known

    def tags(self) -> list[str]:
        """The tags, sorted as the specification wants it. Raises Refusal (NAME_UNKNOWN)."""
        if not self.exists:
            raise Refusal("NAME_UNKNOWN", f"there is no repository {self.name}")
        return sorted(self.current().tags)

    def blob(self, digest: Digest) -> Held | None:
        """A blob's place and size."""
        path = self.blob_path(digest)
        try:
            return Held(digest, "application/octet-stream", path.stat().st_size, path)
        except OSError:
            return None

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob stands, or would."""
        return self.path / layout.BLOBS / digest.algorithm / digest.hex

    def manifest(self, reference: str | Digest) -> Held | None:
        """What a tag or a digest stands for. A digest may also be one that an index here lists."""
        now = self.current()
        is_digest = isinstance(reference, Digest)
        entry = now.root(reference) if is_digest else now.tag(reference)
        if entry is None and not is_digest:
            return None
        digest = reference if isinstance(reference, Digest) else Digest(entry["digest"]) if entry else None
        assert digest is not None
        held = self.blob(digest)
        if held is None:
            return None
        kind = entry["mediaType"] if entry is not None else self._kind(held)
        return Held(digest, kind, held.size, held.path) if kind else None

    def document(self, held: Held) -> Document | None:
        """A manifest in short, None for what is none. What was read once is not read again: it cannot change."""
        known = self._documents
        if held.digest not in known:
            found = None
            if held.size <= self._limit:
                media_type = held.media_type if held.media_type != "application/octet-stream" else None
                try:
                    data = held.path.read_bytes()
                except FileNotFoundError:
                    return None
                except OSError as error:
                    raise StoreError(
                        f"{held.path} cannot be read: {error.strerror}", code="store-unreadable"
                    ) from error
                with suppress(Refusal):
                    found = document.read(data, media_type, self._limit)
            if len(known) >= _DOCUMENTS:
                known.clear()
            known[held.digest] = found
        return known[held.digest]

    def _kind(self, held: Held) -> str | None:
        found = self.document(held)
        return found.media_type if found is not None and mediatype.is_node(found.media_type) else None

    def referrers(self, subject: Digest) -> list[Entry]:
        """Descriptors of what was attached to a manifest, also where that is gone, or was never here."""
        now = self.current()
        if now.referrers is None:
            now.referrers = self._referring(now)
        found = {entry["digest"]: entry for entry in now.referrers.get(subject, ())}
        return [*found.values(), *(entry for entry in self._fallback(subject) if entry["digest"] not in found)]

    def _referring(self, now: View) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for held, short in self.nodes(now):
            if short.subject is None:
                continue
            entry: Entry = {"mediaType": short.media_type, "digest": str(held.digest), "size": held.size}
            if short.annotations:
                entry["annotations"] = dict(short.annotations)
            if short.artifact_type:
                entry["artifactType"] = short.artifact_type
            found.setdefault(short.subject, []).append(entry)
        return found

    def _fallback(self, subject: Digest) -> list[Entry]:
        # distribution-spec "Referrers Tag Schema": what clients wrote for a registry that kept no such list.
        held = self.manifest(f"{subject.algorithm}-{subject.hex[:64]}")
        if held is None or not mediatype.is_index(held.media_type) or held.size > self._limit:
            return []
        try:
            entries = jsonform.load(held.path.read_bytes(), limit=self._limit).get("manifests")
        except (ContentError, OSError):
            return []
        return [entry for entry in entries or () if isinstance(entry, dict) and isinstance(entry.get("digest"), str)]

    def nodes(self, now: View) -> Iterator[tuple[Held, Document]]:
        """Every manifest and index that is here, roots and what indexes list, once each."""
        pending = [(digest, 0) for digest in reversed(now.roots)]
        seen = {digest for digest, _ in pending}
        while pending:
            text, depth = pending.pop()
            with suppress(ContentError):
                held = self.manifest(Digest(text))
                short = self.document(held) if held is not None else None
                if held is None or short is None:
                    continue
                yield held, short
                if depth < _MAX_DEPTH:
                    below = [child for child in short.manifests if child not in seen]
                    seen.update(below)
                    pending += [(child, depth + 1) for child in below]

    # Writing

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While it lasts no collection takes a blob away. The folder is made where it is not there."""
        atomic.make_folders(self.path / layout.BLOBS / "sha256")
        lock = atomic.FolderLock(self.path / layout.BLOBS)
        lock.acquire("shared")
        try:
            yield
        finally:
            lock.release()

    def adopt(self, path: Path, digest: Digest) -> None:
        """Take a finished, synced file as a blob. Raises StoreError."""
        with self.writing():
            final = self.blob_path(digest)
            atomic.make_folders(final.parent)
            if _same_size(path, final):
                # It stands for the same bytes; its age begins anew, for somebody relies on it again.
                with suppress(OSError):
                    os.utime(final)
                with atomic.translated(path):
                    path.unlink()
                return
            atomic.settle(path, final)

    def renew(self, digest: Digest, before: float) -> None:
        """Let the age of a blob begin anew where it is older than `before`: a client was told that it need not push it."""
        path = self.blob_path(digest)
        with suppress(OSError):
            if path.stat().st_mtime < before:
                os.utime(path)

    def link(self, source: Path, digest: Digest) -> bool:
        """Take a blob of another repository; False where it is no longer there. Raises StoreError."""
        with self.writing():
            final = self.blob_path(digest)
            atomic.make_folders(final.parent)
            try:
                os.link(source, final)
            except FileExistsError:
                with suppress(OSError):
                    os.utime(final)
                return True
            except FileNotFoundError:
                return False
            except OSError:
                return self._copy(source, final)
            atomic.sync_folder(final.parent)
            return True

    def _copy(self, source: Path, final: Path) -> bool:
        try:
            stream = open(source, "rb", buffering=0)  # noqa: SIM115 - closed below
        except FileNotFoundError:
            return False
        with stream, atomic.Incoming(final.parent) as incoming:
            while piece := stream.read(BLOCK):
                incoming.write(piece)
            incoming.commit(final, durable=True)
        return True

    def put(self, data: bytes, short: Document, digest: Digest, tags: Sequence[str], *, sparse: bool = False) -> None:
        """Keep a manifest, under these tags or under its digest alone.

        Raises Refusal (MANIFEST_BLOB_UNKNOWN) where what it needs is not here, unless it may be `sparse`; StoreError.
        """
        with self.writing():
            if not sparse:
                self._complete(short)
            final = self.blob_path(digest)
            atomic.make_folders(final.parent)
            if not final.exists():
                atomic.write(final, data, durable=True)
            entry = {"mediaType": short.media_type, "digest": str(digest), "size": len(data)}
            self._change(lambda draft: draft.put(entry, tags))

    def _complete(self, short: Document) -> None:
        for digest in (*short.needed, *short.manifests):
            if not self.blob_path(digest).exists():
                raise Refusal(
                    "MANIFEST_BLOB_UNKNOWN",
                    f"the manifest needs {digest}, which {self.name} does not have",
                    detail={"digest": str(digest)},
                )

    def untag(self, tag: str) -> None:
        """Take a tag away; what it stood for stays. Raises Refusal (MANIFEST_UNKNOWN), StoreError."""
        if self.current().tag(tag) is None:
            raise Refusal("MANIFEST_UNKNOWN", f"{self.name} has no tag {tag}")
        with self.writing():
            self._change(lambda draft: draft.untag(tag))

    def delete_manifest(self, digest: Digest) -> list[str]:
        """Take a manifest and its tags away, and say which those were. Raises Refusal (MANIFEST_UNKNOWN), StoreError."""
        if self.manifest(digest) is None:
            raise Refusal("MANIFEST_UNKNOWN", f"{self.name} has no manifest {digest}")
        tags = self.current().tags_of(digest)
        with self.writing():
            self._change(lambda draft: draft.remove(digest))
            self._unlink(digest)
        return tags

    def delete_blob(self, digest: Digest) -> None:
        """Take a blob away. Raises Refusal (BLOB_UNKNOWN, UNSUPPORTED for a manifest), StoreError."""
        if self.blob(digest) is None:
            raise Refusal("BLOB_UNKNOWN", f"{self.name} has no blob {digest}")
        if self.current().root(digest) is not None:
            raise Refusal("UNSUPPORTED", f"{digest} is a manifest: delete it under /manifests/")
        with self.writing():
            self._unlink(digest)

    def _unlink(self, digest: Digest) -> None:
        path = self.blob_path(digest)
        with atomic.translated(path):
            path.unlink(missing_ok=True)
        self._documents.pop(digest, None)
        atomic.sync_folder(path.parent)

    # index.json

    def _identity(self) -> object:
        try:
            status = os.stat(self.path / layout.INDEX_FILE)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size

    def _read(self, identity: object) -> View:
        try:
            data = (self.path / layout.INDEX_FILE).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return View()
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror}", code="store-unreadable") from error
        try:
            found = view.read(data)
        except ContentError as error:
            raise StoreError(f"{self.path}: {error.message}", code="layout-invalid") from error
        found.identity = identity
        return found

    def _change(self, apply: Callable[[View], None]) -> None:
        change = _Change(apply)
        with self._queueing:
            self._waiting.append(change)
        with self._committing:
            if not change.done:
                with self._queueing:
                    batch, self._waiting = self._waiting, []
                self._commit(batch)
        if change.error is not None:
            raise change.error

    def _commit(self, batch: Sequence[_Change]) -> None:
        guard = atomic.FolderLock(self.path)
        try:
            guard.acquire("exclusive")
            draft = self.current().changing()
            for change in batch:
                change.apply(draft)
            self._write(draft)
        except Exception as error:
            for change in batch:
                change.error = error
        finally:
            guard.release()
            for change in batch:
                change.done = True

    def _write(self, draft: View) -> None:
        header = self.path / layout.HEADER_FILE
        if not header.exists():
            atomic.write(header, layout.HEADER_BYTES, durable=True)
        if draft.changed:
            with atomic.Incoming(self.path) as incoming:
                for piece in draft.pieces():
                    incoming.write(piece)
                incoming.commit(self.path / layout.INDEX_FILE, durable=True)
            draft.identity = self._identity()
            self._view = draft


def _same_size(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_size == other.stat().st_size
    except FileNotFoundError:
        return False
