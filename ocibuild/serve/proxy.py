"""A registry in front of another one: what was pulled once is kept, verified, and there when the other is not.

Content by digest is served from here without a question. A tag is looked up there each time, or once in `fresh` seconds; where
that cannot be had, it is what it was when it was last seen, and a Warning says so (distribution-spec "Warnings").
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

from ocibuild.errors import OcibuildError
from ocibuild.record import record, replace
from ocibuild.serve import document
from ocibuild.serve.ages import oldest
from ocibuild.serve.coming import Coming, Source
from ocibuild.serve.limits import Limits
from ocibuild.serve.refusal import Refusal
from ocibuild.serve.registry import Put, Registry
from ocibuild.serve.repository import Held
from ocibuild.serve.uploads import Upload
from ocibuild.serve.upstream import Absent, Unavailable, Upstream
from ocibuild.serve.view import Entry
from ocibuild.spec.digest import Digest

_log = logging.getLogger("ocibuild.serve")

_OCTETS = "application/octet-stream"
_REST = 5.0
"""Seconds for which an upstream that did not answer is not asked for what is held here."""

_REMEMBERED = 10_000
_LISTED = 100
"""Referrers of one manifest that are remembered; of more, those that were pulled are."""

_ROOM = 0.9
"""How full it is, of the bound, once something had to go."""


@record
class Awaited(Held):
    """A blob that upstream has. It is fetched when its bytes are wanted, and not for a HEAD."""

    begin: Callable[[int, int], Iterable[bytes]] | None = None

    def body(self, start: int, size: int) -> Iterable[bytes]:
        """See Held."""
        assert self.begin is not None
        return self.begin(start, size)


class Proxy(Registry):
    """A Registry that pulls through from `upstream`, and takes no pushes.

    `fresh` is how many seconds a tag is believed before upstream is asked again; 0: each time. `most` bounds the bytes of what
    is kept: what was not asked for the longest goes first; None: no bound.
    """

    def __init__(
        self,
        root: Path,
        *,
        clock: Callable[[], float],
        upstream: Upstream,
        fresh: float = 0.0,
        most: int | None = None,
        name: str | None = None,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(root, clock=clock, name=name, limits=limits, sparse=True)
        self.upstream = upstream
        self._fresh = fresh
        self._most = most
        self._lock = threading.Lock()
        self._turns: dict[object, tuple[threading.Lock, int]] = {}
        self._checked: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._listed: OrderedDict[tuple[str, Digest], list[Entry]] = OrderedDict()
        self._coming: dict[tuple[str, Digest], Coming] = {}
        self._evicting = threading.Lock()
        self._size = most + 1 if most is not None else 0  # until it is looked at, with the first that comes
        self._resting: tuple[float, Unavailable] | None = None
        self._is_down = False

    def close(self) -> None:
        """Break off what is being fetched."""
        self.upstream.close()
        with self._lock:
            coming = list(self._coming.values())
        for one in coming:
            one.join(2)

    # Pull

    def tags(self, name: str) -> list[str]:
        """The tags upstream has, sorted; those that are here where it does not say. Raises Refusal (NAME_UNKNOWN)."""
        name = self.upstream.name(name)
        try:
            return sorted(self._asked(self.upstream.tags, name))
        except Absent:
            raise Refusal("NAME_UNKNOWN", f"{self.upstream.place} has no repository {name}") from None
        except Unavailable as error:
            with suppress(Refusal):
                return super().tags(name)
            raise _refusal(error) from error

    def manifest(self, name: str, reference: str | Digest) -> Held:
        """A manifest by tag or digest. Raises Refusal (MANIFEST_UNKNOWN, and for an upstream that does not answer)."""
        name = self.upstream.name(name)
        came = monotonic()
        with self._turn(name, reference):
            held = self.storage.repository(name).manifest(reference)
            try:
                if not isinstance(reference, Digest):
                    held = self._current(name, reference, held, came)
                elif held is None:
                    held = self._fetched(name, reference, ())
            except Absent:
                raise Refusal("MANIFEST_UNKNOWN", f"{self.upstream.place} has no {reference} of {name}") from None
            except Unavailable as error:
                if held is None:
                    raise _refusal(error) from error
                held = self._stale(name, reference, held, error)
        self._used(name, held.digest)
        return held

    def blob(self, name: str, digest: Digest) -> Held:
        """A blob, here or on its way. Raises Refusal (BLOB_UNKNOWN, and for an upstream that does not answer)."""
        name = self.upstream.name(name)
        repository = self.storage.repository(name)
        if (held := repository.blob(digest)) is not None:
            self._used(name, digest)
            return held
        with self._lock:
            coming = self._coming.get((name, digest))
        try:
            size = coming.size if coming is not None else self._asked(self.upstream.size, name, digest)
        except Absent:
            raise Refusal("BLOB_UNKNOWN", f"{self.upstream.place} has no {digest} in {name}") from None
        except Unavailable as error:
            raise _refusal(error) from error
        # It may be read there: then another repository's copy is as good.
        other = self.storage.known(digest)
        there = other.blob(digest) if other is not None else None
        if there is not None and repository.link(there.path, digest) and (held := repository.blob(digest)) is not None:
            return held

        def begin(start: int, amount: int) -> Iterable[bytes]:
            return self._begin(name, digest, size, start, amount)

        return Awaited(digest, _OCTETS, size, repository.blob_path(digest), begin=begin)

    def referrers(self, name: str, subject: Digest) -> list[Entry]:
        """What upstream lists, or what it listed last, with what is here; see Registry."""
        name = self.upstream.name(name)
        key = name, subject
        try:
            listed: list[Entry] = self._asked(self.upstream.referrers, name, subject)
        except Absent:
            return []
        except Unavailable:
            here = super().referrers(name, subject)
            with self._lock:
                known = {entry["digest"]: entry for entry in (*self._listed.get(key, ()), *here)}
            return list(known.values())
        if len(listed) <= _LISTED:
            with self._lock:
                _remember(self._listed, key, listed)
        return listed

    # Push

    def begin(self, name: str) -> Upload:
        """Raises Refusal (UNSUPPORTED)."""
        self._refuse()

    def mount(self, name: str, digest: Digest, source: str | None) -> bool:
        """Raises Refusal (UNSUPPORTED)."""
        self._refuse()

    def put(
        self, name: str, reference: str | Digest, data: bytes, media_type: str | None, tags: Sequence[str] = ()
    ) -> Put:
        """Raises Refusal (UNSUPPORTED)."""
        self._refuse()

    def delete_manifest(self, name: str, reference: str | Digest) -> None:
        """Raises Refusal (UNSUPPORTED)."""
        self._refuse()

    def delete_blob(self, name: str, digest: Digest) -> None:
        """Raises Refusal (UNSUPPORTED)."""
        self._refuse()

    def renew(self, name: str, digest: Digest) -> None:
        """Nothing: nobody pushes here, so nobody relies on a blob that no manifest names."""

    def _refuse(self) -> NoReturn:
        place = self.upstream.place
        raise Refusal("UNSUPPORTED", f"this is a proxy of {place}, and takes nothing: push to {place} itself")

    # Manifests

    def _current(self, name: str, tag: str, held: Held | None, came: float) -> Held:
        checked = self._checked.get((name, tag))
        # Who waited while another asked takes that answer.
        if held is not None and checked is not None and (checked >= came or monotonic() - checked < self._fresh):
            return held
        if held is not None and self._resting is not None and monotonic() < self._resting[0]:
            raise self._resting[1]
        digest = self._asked(self.upstream.look, name, tag)
        if held is None or held.digest != digest:
            there = self.storage.repository(name).manifest(digest)
            held = self._fetched(name, digest, (tag,)) if there is None else self._retagged(name, there, tag)
        with self._lock:
            _remember(self._checked, (name, tag), monotonic())
        return held

    def _fetched(self, name: str, digest: Digest, tags: Sequence[str]) -> Held:
        fetched = self._asked(self.upstream.manifest, name, digest)
        short = document.read(fetched.data, fetched.media_type, self.limits.manifest)
        repository = self.storage.repository(name)
        # Its blobs come when they are asked for.
        repository.put(fetched.data, short, digest, tags, sparse=True)
        self.storage.remember(digest, name)
        return Held(digest, short.media_type, len(fetched.data), repository.blob_path(digest))

    def _retagged(self, name: str, held: Held, tag: str) -> Held:
        data = held.path.read_bytes()
        short = document.read(data, held.media_type, self.limits.manifest)
        self.storage.repository(name).put(data, short, held.digest, (tag,), sparse=True)
        return held

    def _stale(self, name: str, reference: str | Digest, held: Held, error: Unavailable) -> Held:
        checked = self._checked.get((name, str(reference)))
        seconds = int(monotonic() - checked) if checked is not None else None
        since = f", seen {seconds} s ago" if seconds is not None else ""
        why = "does not let this proxy in" if error.code == "DENIED" else "does not answer"
        text = f"{self.upstream.place} {why}; {name}:{reference} is what it was{since}"
        _log.warning("%s (%s)", text, error.message)
        notes = [("Warning", f'299 - "{text}"')]
        if seconds is not None:
            notes.append(("Age", str(seconds)))
        return replace(held, notes=tuple(notes))

    # Blobs

    def _begin(self, name: str, digest: Digest, size: int, start: int, amount: int) -> Iterable[bytes]:
        key = name, digest
        with self._lock:
            held = self.storage.repository(name).blob(digest)
            if held is not None:
                return held.body(start, amount)
            coming = self._coming.get(key)
            if coming is None:
                upload = self.uploads.begin(name)
                coming = self._coming[key] = Coming(digest, size, upload, lambda it: self._fetch(name, it))
                coming.start()
        body = coming.body(start, amount)
        return body if body is not None else super().blob(name, digest).body(start, amount)

    def _fetch(self, name: str, coming: Coming) -> None:
        upload, digest = coming.upload, coming.digest
        try:
            with self.upstream.blob(name, digest, coming.size) as stream:
                self.append(upload, Source(stream, coming), size=coming.size)
            self.finish(name, upload, digest)
        except Unavailable as error:
            self._note(error)
            _log.warning("%s of %s did not come: %s", digest, name, error.message)
            raise _refusal(error) from error
        except Absent as error:
            raise Refusal("BLOB_UNKNOWN", f"{self.upstream.place} has no {digest} in {name}") from error
        except (Refusal, OcibuildError) as error:
            _log.warning("%s of %s was not kept: %s", digest, name, error)
            if isinstance(error, Refusal) and error.code == "DIGEST_INVALID":
                raise Refusal("UNKNOWN", f"{self.upstream.place} gave other bytes as {digest}", status=502) from error
            raise
        finally:
            with self._lock:
                self._coming.pop((name, digest), None)
            self.uploads.end(upload)
        with self._lock:
            self._size += coming.size
        if self._most is not None and self._size > self._most:
            self.evict()

    # Upstream

    def _asked(self, ask: Callable[..., Any], *about: object) -> Any:
        try:
            answer = ask(*about)
        except Unavailable as error:
            self._note(error)
            raise
        except Absent:
            self._note(None)
            raise
        self._note(None)
        return answer

    def _note(self, error: Unavailable | None) -> None:
        """Remember whether upstream answers, and say so when that changes."""
        if error is not None and not error.lasting:
            return
        self._resting = (monotonic() + _REST, error) if error is not None else None
        with self._lock:
            was, self._is_down = self._is_down, error is not None
        if error is not None and not was:
            _log.warning("%s does not answer; serving what is here: %s", self.upstream.place, error.message)
        elif error is None and was:
            _log.warning("%s answers again", self.upstream.place)

    @contextmanager
    def _turn(self, *key: object) -> Iterator[None]:
        """One at a time for one thing: upstream is asked once by all who ask at once."""
        with self._lock:
            lock, count = self._turns.get(key, (threading.Lock(), 0))
            self._turns[key] = lock, count + 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, count = self._turns.pop(key)
                if count > 1:
                    self._turns[key] = lock, count - 1

    # The bound

    def _used(self, name: str, digest: Digest) -> None:
        if self._most is not None:
            self.storage.repository(name).renew(digest, self._clock() - 1)

    def evict(self) -> int:
        """Let go what was not asked for the longest until the rest is within the bound; how many bytes went."""
        if self._most is None or not self._evicting.acquire(blocking=False):
            return 0
        try:
            return self._evict(self._most)
        finally:
            self._evicting.release()

    def _evict(self, most: int) -> int:
        blobs = oldest(self.storage)
        total = sum(blob.size for blob in blobs)
        gone = 0
        if total > most:
            for blob in blobs:
                if total - gone <= most * _ROOM:
                    break
                for name, path in blob.places:
                    self._let_go(name, Digest(f"{path.parent.name}:{path.name}"))
                gone += blob.size
        self._size = total - gone
        return gone

    def _let_go(self, name: str, digest: Digest) -> None:
        with suppress(Refusal, OcibuildError):
            if self.storage.repository(name).current().root(digest) is not None:
                super().delete_manifest(name, digest)
            else:
                super().delete_blob(name, digest)


def _remember(kept: OrderedDict[Any, Any], key: object, value: object) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > _REMEMBERED:
        kept.popitem(last=False)


def _refusal(error: Unavailable) -> Refusal:
    headers = {"Retry-After": "5"} if error.status in (429, 502, 503) else {}
    return Refusal(error.code, error.message, status=error.status, headers=headers)
