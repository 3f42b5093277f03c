"""Names that come in a URL, checked before anything is done with them, and the folders they stand for.

distribution-spec "Pulling manifests" has the grammar of names and references. What passes here holds no `..`, no
separator but `/`, no NUL and no capital, so a repository's folder is always below the folder that is served.
"""

from __future__ import annotations

import re
from pathlib import Path

from ocibuild.errors import ContentError
from ocibuild.serve.refusal import Refusal
from ocibuild.spec import layout
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import is_tag

MAX_NAME = 255
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_OTHER = re.compile(r"[^a-z0-9]+")
_TAKEN = frozenset({layout.BLOBS, layout.INDEX_FILE, layout.HEADER_FILE})
"""What a layout keeps in its own folder: a repository of that name stands beside it, with `_` behind its name."""


def is_name(text: str) -> bool:
    """True for a repository's name."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def name(text: str) -> str:
    """The name, checked. Raises Refusal (NAME_INVALID)."""
    if not is_name(text):
        raise Refusal("NAME_INVALID", "a repository's name is a-z, 0-9 with . _ - between them, / between components")
    return text


def digest(text: str) -> Digest:
    """The digest, checked. Raises Refusal (DIGEST_INVALID)."""
    try:
        return Digest(text)
    except ContentError as error:
        raise Refusal("DIGEST_INVALID", error.hint or error.message) from error


def reference(text: str) -> str | Digest:
    """A tag or a digest, checked. Raises Refusal (DIGEST_INVALID, MANIFEST_INVALID)."""
    if ":" in text:
        return digest(text)
    return tag(text)


def tag(text: str) -> str:
    """A tag, checked. Raises Refusal (MANIFEST_INVALID)."""
    if not is_tag(text):
        raise Refusal("MANIFEST_INVALID", "a tag is 1 to 128 letters, digits, dots, dashes and underscores")
    return text


def folder(root: Path, repository: str) -> Path:
    """The folder of a repository whose name is checked."""
    return root.joinpath(*(f"{part}_" if part in _TAKEN else part for part in repository.split("/")))


def named(path: Path) -> str | None:
    """The name of the repository in a folder, relative to the one served; None where it can have none."""
    parts = [part[:-1] if part[-1:] == "_" and part[:-1] in _TAKEN else part for part in path.parts]
    text = "/".join(parts)
    return text if is_name(text) and not any(part in _TAKEN for part in path.parts) else None


def guessed(path: Path) -> str:
    """A name for a layout that is served alone: its folder's, as far as the grammar lets it be."""
    text = _OTHER.sub("-", path.resolve().name.lower().removesuffix(".oci")).strip("-")
    return text or "image"
