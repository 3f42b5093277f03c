"""What refers to a manifest: the referrers API, and the list under a tag where there is none.

distribution-spec "Listing Referrers", "Pushing Manifests with Subject", "Referrers Tag Schema". A registry that answers a
PUT without OCI-Subject keeps no list; then its clients do, in an index tagged `sha256-<hex>` that each reads, adds to and
writes. Nothing there keeps two of them from writing at once, so each looks again after a while whether its entry is still
there.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from requests import Response

from ocibuild.errors import ContentError, RegistryError
from ocibuild.record import record
from ocibuild.registry import download, listing, problem
from ocibuild.registry.origin import Origin, follow
from ocibuild.registry.transport import Call, Transport, Watch
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, parse
from ocibuild.store.graph import referrer

_FILTERS = "OCI-Filters-Applied"
_ROUNDS = 12
_PAGES = 1000
_ENTRIES = 100_000
_HOPS = 5
_SETTLE = 0.5
_FRESH = 3
_NO_API = frozenset({400, 404, 405, 406, 410, 415, 429, 501})
"""Statuses of registries that do not know the API. 429: GHCR sends who asks to a web page, and that one answers so."""


@record
class Unlisted:
    """A manifest that was pushed and refers to `subject`. `existed` where it was there before, and may be listed."""

    subject: Descriptor
    entry: Descriptor
    existed: bool = False


def unlisted(descriptor: Descriptor, data: bytes, noted: str, *, existed: bool = False) -> Unlisted | None:
    """What is to be listed after a manifest was pushed; None for one without a subject, or where the registry did it.

    `noted` is what the registry answered as OCI-Subject.
    """
    if b'"subject"' not in data:
        return None
    document = parse(data, descriptor.media_type, str(descriptor.digest))
    if document.subject is None or noted == document.subject.digest:
        return None
    return Unlisted(document.subject, referrer(descriptor, document), existed)


def tag_of(digest: Digest) -> str:
    """The tag under which clients keep the list for a digest."""
    return re.sub(r"[^a-zA-Z0-9._-]", "-", f"{digest.algorithm[:32]}-{digest.hex[:64]}")


def listed(
    transport: Transport, repository: str, subject: Digest, artifact_type: str | None, watch: Watch
) -> tuple[Descriptor, ...]:
    """What refers to a digest; of one artifact type where that is given. None where the registry knows nothing of it.

    Raises RegistryError (`referrers-tag-taken`, `list-endless`), ContentError, AuthorizationError, NetworkError.
    """
    found = _by_api(transport, repository, subject, artifact_type, watch)
    if found is not None:
        return found
    entries = {entry.digest: entry for entry in _kept(transport, repository, subject, watch).entries}.values()
    return tuple(entry for entry in entries if artifact_type in (None, entry.artifact_type))


def settle(transport: Transport, repository: str, pushed: Sequence[Unlisted], watch: Watch) -> None:
    """See to it that manifests pushed to a registry are listed with their subjects.

    Raises RegistryError (`referrers-tag-taken`, `referrers-unsupported`, `referrers-lost`) where that cannot be had; the
    manifests are there.
    """
    changes = []
    for subject in {one.subject.digest: one.subject.digest for one in pushed}:
        about = [one for one in pushed if one.subject.digest == subject]
        if not (all(one.existed for one in about) and has_api(transport, repository, subject, watch)):
            changes.append(_Change(transport, repository, subject, [one.entry for one in about]))
    _make(changes, watch)


def forget(transport: Transport, repository: str, subject: Digest, gone: Digest, watch: Watch) -> None:
    """Take a deleted manifest out of the list under a tag, where that is how referrers are listed."""
    if not has_api(transport, repository, subject, watch) and _kept(transport, repository, subject, watch).entries:
        _make([_Change(transport, repository, subject, (), gone)], watch)


def has_api(transport: Transport, repository: str, subject: Digest, watch: Watch) -> bool:
    """True where the registry itself keeps account."""
    return _page(transport, _address(transport, repository, subject), watch) is not None


# The API.


def _address(transport: Transport, repository: str, subject: Digest) -> str:
    return download.url(transport, repository, "referrers", subject)


def _by_api(
    transport: Transport, repository: str, subject: Digest, artifact_type: str | None, watch: Watch
) -> tuple[Descriptor, ...] | None:
    """None from a registry that does not have the API."""
    where = _address(transport, repository, subject)
    url: str | None = f"{where}?artifactType={quote(artifact_type, safe='')}" if artifact_type else where
    found: dict[Digest, Descriptor] = {}
    seen: set[str] = set()
    while url is not None:
        if url in seen or len(seen) >= _PAGES or len(found) > _ENTRIES:
            raise listing.endless(transport, f"the referrers of {subject}")
        seen.add(url)
        response = _page(transport, url, watch)
        if response is None and len(seen) > 1:
            response = _page(transport, listing.repair(url, where), watch)
            if response is None:
                raise RegistryError(f"{transport.origin.netloc} lists referrers of {subject} only in part")
        if response is None:
            return None
        entries = _index(response.content, f"the referrers of {subject}").manifests
        filtered = "artifacttype" in response.headers.get(_FILTERS, "").lower()
        for entry in entries:
            if artifact_type in (None, entry.artifact_type) or (filtered and entry.artifact_type is None):
                found[entry.digest] = entry
        url = listing.next_page(response, where)
    return tuple(found.values())


def _page(transport: Transport, url: str, watch: Watch) -> Response | None:
    """One page of the API; None from a registry that does not have it."""
    home = url
    for _ in range(_HOPS):
        # A redirect for the method at hand is followed; "see other" leads to a page for people.
        response = transport.send(Call("GET", url, {"Accept": mediatype.INDEX}, follow=False), watch)
        if response.status_code not in (307, 308) or not response.headers.get("Location"):
            break
        url = follow(response.url, response.headers["Location"])
    if 300 <= response.status_code < 400 or response.status_code in _NO_API:
        return None
    if response.status_code != 200:
        if Origin.of(url) != Origin.of(home):
            return None
        raise problem.refusal(response, "to list referrers")
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return response if kind == mediatype.INDEX else None


def _index(data: bytes, what: str) -> Index:
    document = parse(data, mediatype.INDEX, what, len(data))
    assert isinstance(document, Index)
    return document


# The list under a tag.


@record
class _Kept:
    """The list as it was read: its JSON, its entries, and what marks this state of it."""

    document: dict[str, Any]
    entries: Sequence[Descriptor] = ()
    etag: str = ""


def _kept(transport: Transport, repository: str, subject: Digest, watch: Watch) -> _Kept:
    """Raises RegistryError (`referrers-tag-taken`) where the tag is something else."""
    tag = tag_of(subject)
    url = download.url(transport, repository, "manifests", tag)
    call = Call("GET", url, {"Accept": download.ACCEPT}, limit=jsonform.MAX_DOCUMENT)
    response = transport.send(call, watch)
    if response.status_code == 404:
        return _Kept({"schemaVersion": 2, "mediaType": mediatype.INDEX, "manifests": []})
    if response.status_code != 200:
        raise problem.refusal(response, f"to give {tag} of {repository}")
    data = response.content
    if _is_itself(data, subject):
        # GitLab lets sha256-<hex> stand for sha256:<hex>. Written to, it would be somebody's image no more.
        return _Kept({})
    try:
        entries = _index(data, f"{repository}:{tag}").manifests
    except ContentError as error:
        raise RegistryError(
            f"{transport.origin.netloc}/{repository}:{tag} should list what refers to {subject}, and is something else",
            code="referrers-tag-taken",
            hint="see what that tag is, and give it another name",
        ) from error
    etag = response.headers.get("ETag", "")
    return _Kept(jsonform.load(data, tag), entries, "" if etag.startswith("W/") else etag)


def _is_itself(data: bytes, subject: Digest) -> bool:
    hasher = subject.hasher()
    hasher.update(data)
    return Digest.from_hasher(hasher, subject.algorithm) == subject


class _Change:
    """One list that is to have entries, or to lose one."""

    def __init__(
        self,
        transport: Transport,
        repository: str,
        subject: Digest,
        added: Sequence[Descriptor] = (),
        gone: Digest | None = None,
    ) -> None:
        self.transport = transport
        self.repository = repository
        self.subject = subject
        self.added = added
        self.gone = gone
        self.is_made = False
        self._last: list[Any] | None = None

    def look(self, watch: Watch) -> bool:
        """Write the list where it is not as it should be. True once it is, and was so the last time too."""
        kept, after = self._read(watch)
        before = kept.document["manifests"]
        self.is_made = after == before
        is_still = self.is_made and self._last in (None, before)
        self._last = after
        if not self.is_made:
            _write(self.transport, self.repository, self.subject, kept, after, watch)
        return is_still

    def _read(self, watch: Watch) -> tuple[_Kept, list[Any]]:
        for _ in range(_FRESH):
            began = time.monotonic()
            kept = _kept(self.transport, self.repository, self.subject, watch)
            if not kept.document:
                raise RegistryError(
                    f"{self.transport.origin.netloc} does not list referrers, and takes the tag {tag_of(self.subject)}"
                    " for the manifest itself; what was pushed is there, and can be found by its digest only",
                    code="referrers-unsupported",
                    hint="use a registry with the referrers API for attachments",
                )
            there = {entry.digest for entry in kept.entries}
            left = [entry for entry in kept.document["manifests"] if entry.get("digest") != self.gone]
            after = left + [entry.to_json() for entry in self.added if entry.digest not in there]
            if time.monotonic() - began < _SETTLE / 2:
                break  # what took longer to read may be old news, and is not what a write should build on
        return kept, after


def _make(changes: Sequence[_Change], watch: Watch) -> None:
    pending = list(changes)
    for _ in range(_ROUNDS):
        began = time.monotonic()
        pending = [change for change in pending if not change.look(watch)]
        if not pending:
            return
        # Who read what we read, and writes after us, has overwritten us by then; while others write, we go on looking.
        # Scattered, so that two do not go on overwriting each other in step.
        took = time.monotonic() - began
        watch.cancel.wait((_SETTLE + 2 * took) * random.uniform(1, 2))
    for change in pending:
        if not change.is_made:
            raise RegistryError(
                f"the list of what refers to {change.subject} is written by others all the time, or not kept by"
                f" {change.transport.origin.netloc}; what was pushed is there, and can be found by its digest only",
                code="referrers-lost",
                hint="run the same command again: nothing is sent twice",
            )


def _write(
    transport: Transport, repository: str, subject: Digest, kept: _Kept, entries: list[Any], watch: Watch
) -> None:
    """One attempt; another's write that came first is not our failure."""
    if _put(transport, repository, subject, kept, entries, watch):
        return
    # Some registries refuse a list with anything in it that is gone.
    there = [entry for entry in entries if _is_there(transport, repository, entry, watch)]
    if not _put(transport, repository, subject, kept, there, watch):
        raise RegistryError(
            f"{transport.origin.netloc} misses a referrer that it has just shown", code="referrers-lost"
        )


def _is_there(transport: Transport, repository: str, entry: Any, watch: Watch) -> bool:
    return download.exists(transport, repository, Descriptor.from_json(entry), watch)


def _put(transport: Transport, repository: str, subject: Digest, kept: _Kept, entries: list[Any], watch: Watch) -> bool:
    tag = tag_of(subject)
    data = jsonform.dump({**kept.document, "manifests": entries})
    headers = {"Content-Type": mediatype.INDEX, **({"If-Match": kept.etag} if kept.etag else {})}
    url = download.url(transport, repository, "manifests", tag)
    response = transport.send(Call("PUT", url, headers, data), watch)
    if response.status_code in (200, 201, 202, 204) or (response.status_code == 412 and kept.etag):
        return True
    refused = problem.refusal(response, f"to list referrers under {repository}:{tag}")
    if refused.code == "blob-unknown":
        return False
    raise refused
