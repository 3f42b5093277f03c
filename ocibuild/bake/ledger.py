"""The ledger: which image came of which fingerprint, and files' digests as hints, kept from one bake to the next.

It only ever says what is worth looking for: whether the image is there is asked of the store or the registry, by
digest. So a ledger that is lost, old or damaged costs time and nothing else. One small file a config file, written
whole, merged under a lock where several bakes run at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ocibuild.bake.fingerprint import FORM, Hint
from ocibuild.content import atomic
from ocibuild.errors import ContentError, StoreError
from ocibuild.record import record
from ocibuild.spec.descriptor import Descriptor

_KEPT = 4
_MAX_FILE = 64 * 1024 * 1024


@record
class Taken:
    """An image that a build began with or took files of: its place as written, what was asked of it, and its digest then.

    `platform` is empty where none was asked for; with `anyway` one for this machine would do where a Wasm one has none.
    """

    place: str
    platform: str
    anyway: bool
    digest: str


@record
class Known:
    """What came of a fingerprint; of a build target also its `key`, which tells it before it is built, and `images`.

    The key is empty where there is none. The fingerprint is that of the plan, which a build target has once it is built.
    """

    fingerprint: str
    descriptor: Descriptor
    key: str = ""
    images: tuple[Taken, ...] = ()


@record
class Ledger:
    """What was kept: of each target the last images, the latest first; and hints, written at `kept_ns` of the disk's clock."""

    targets: Mapping[str, tuple[Known, ...]]
    hints: tuple[Hint, ...] = ()
    kept_ns: int = 0


def path_of(folder: Path, config: Path) -> Path:
    """The ledger of a config file, in the user's folder for what can be made again."""
    name = hashlib.sha256(os.fsencode(os.path.abspath(config))).hexdigest()[:32]
    return folder / "ocibuild" / "bake" / f"{name}.json"


def read(path: Path) -> Ledger:
    """What is kept there: nothing where there is no ledger, or none that can be understood."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            document = json.loads(stream.read(_MAX_FILE))
        if document["form"] != FORM:
            return Ledger({})
        targets = {str(name): tuple(_known(entry) for entry in known) for name, known in document["targets"].items()}
        return Ledger(targets, tuple(_hint(entry) for entry in document["hints"]), status.st_mtime_ns)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ContentError):
        return Ledger({})


def write(path: Path, made: Mapping[str, Known], hints: Iterable[Hint]) -> str | None:
    """Add to what is kept. What is wrong, where it cannot be written: that is no reason to fail."""
    if not made and not path.exists():
        return None
    try:
        with atomic.translated(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        lock = atomic.FolderLock(path.parent)
        lock.acquire("exclusive")
        try:
            before = read(path)
            targets = dict(before.targets)
            for name, known in made.items():
                older = (other for other in targets.get(name, ()) if other.fingerprint != known.fingerprint)
                targets[name] = (known, *older)[:_KEPT]
            kept = {hint.path: hint for hint in (*before.hints, *hints)}
            document = {
                "form": FORM,
                "targets": {
                    name: [
                        [
                            known.fingerprint,
                            known.descriptor.to_json(),
                            known.key,
                            [[one.place, one.platform, one.anyway, one.digest] for one in known.images],
                        ]
                        for known in several
                    ]
                    for name, several in targets.items()
                },
                "hints": [
                    [hint.path, hint.size, hint.mtime_ns, hint.inode, hint.ctime_ns, hint.digest]
                    for hint in kept.values()
                    if os.path.exists(hint.path)
                ],
            }
            atomic.write(path, json.dumps(document, separators=(",", ":")).encode(), mode=0o600)
        finally:
            lock.release()
    except StoreError as error:
        return error.message
    return None


def _known(entry: Any) -> Known:
    fingerprint, descriptor, key, images = entry
    taken = tuple(
        Taken(str(place), str(platform), bool(anyway), str(digest)) for place, platform, anyway, digest in images
    )
    return Known(str(fingerprint), Descriptor.from_json(descriptor), str(key), taken)


def _hint(entry: Any) -> Hint:
    path, size, mtime_ns, inode, ctime_ns, digest = entry
    numbers = (size, mtime_ns, inode, ctime_ns)
    if not isinstance(path, str) or not isinstance(digest, str) or not all(isinstance(n, int) for n in numbers):
        raise ValueError("this is no hint")
    return Hint(path, size, mtime_ns, inode, ctime_ns, digest)
