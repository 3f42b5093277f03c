"""JSON as ocibuild writes it, and as it dares to read it.

One written form: UTF-8, no white space, members in the order given (the order of the specification's examples).
Reading is for documents of strangers: duplicate names, NaN, depth and size are refused with our error.
OCI image-spec, considerations.md "JSON".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn

from ocibuild.errors import ContentError
from ocibuild.spec.digest import Digest

MAX_DOCUMENT = 4 * 1024 * 1024
"""Bytes of the largest manifest that is read; registries are asked to accept at least this much (distribution-spec)."""

_MAX_DEPTH = 64
_REQUIRED: Any = object()
_NOT_NESTING = rb'(?s)"[^"\\]*(?:\\.?[^"\\]*)*(?:"|\Z)|[^\[\]{}"]+'
"""Strings, one without an end among them, and whatever else is no bracket."""


def dump(document: Any) -> bytes:
    """The one JSON form of what we author."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def load(data: bytes, what: str = "document", limit: int = MAX_DOCUMENT) -> dict[str, Any]:
    """Read a JSON object. Raises ContentError (`json-invalid`, `document-too-large`) naming `what`."""
    if len(data) > limit:
        raise ContentError(f"{what} has {len(data)} bytes; more than {limit} are not read", code="document-too-large")
    if _depth(data) > _MAX_DEPTH:
        raise ContentError(f"{what} is nested deeper than {_MAX_DEPTH} levels", code="json-invalid")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ContentError(f"{what} is not valid JSON: {error}", code="json-invalid") from error
    if not isinstance(document, dict):
        raise ContentError(f"{what} is not a JSON object but {_kind(document)}", code="json-invalid")
    return document


def _depth(data: bytes) -> int:
    # Counts brackets before the parser sees them, so that a deep document costs a scan and not a stack.
    if data.count(b"[") + data.count(b"{") <= _MAX_DEPTH:
        return 0
    depth = deepest = 0
    for byte in re.sub(_NOT_NESTING, b"", data):
        if byte in b"[{":
            depth += 1
            if depth > deepest:
                deepest = depth
                if deepest > _MAX_DEPTH:
                    break
        else:
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"duplicate name {twice[:160]!r}")
    return document


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _kind(value: Any) -> str:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _digest(text: str, at: str) -> Digest:
    try:
        return Digest(text)
    except ContentError as error:
        raise ContentError(f"{at}: {error.message}", code=error.code, hint=error.hint) from None


class Reader:
    """Takes members out of a JSON object with their types checked; every error names the path of the member.

    All methods raise ContentError (`document-invalid`), for example
    "layers[2].size is a string, expected a number".
    """

    def __init__(self, document: Any, at: str = "") -> None:
        if not isinstance(document, Mapping):
            raise ContentError(f"{at or 'document'} is {_kind(document)}, expected an object", code="document-invalid")
        self.document = document
        self.at = at

    def path(self, name: str) -> str:
        """Where the member stands, in dots from the root of the document."""
        return f"{self.at}.{name}" if self.at else name

    def wrong(self, name: str, expected: str) -> ContentError:
        """The error for a member of the wrong kind, for callers with checks of their own."""
        found = _kind(self.document[name]) if name in self.document else "missing"
        return ContentError(f"{self.path(name)} is {found}, expected {expected}", code="document-invalid")

    def _typed(self, name: str, kinds: type | tuple[type, ...], expected: str, default: Any) -> Any:
        value = self.document.get(name)
        if value is None and default is not _REQUIRED:
            return default
        if not isinstance(value, kinds) or (
            isinstance(value, bool) and bool not in (kinds if isinstance(kinds, tuple) else (kinds,))
        ):
            raise self.wrong(name, expected)
        return value

    def string(self, name: str, default: Any = _REQUIRED) -> Any:
        """A string; `default` where it is absent or null (no default: required)."""
        return self._typed(name, str, "a string", default)

    def integer(self, name: str, default: Any = _REQUIRED, *, maximum: int = 2**63 - 1) -> Any:
        """A whole number from 0 to `maximum`."""
        value = self._typed(name, int, "a whole number", default)
        if isinstance(value, int) and not 0 <= value <= maximum:
            raise ContentError(f"{self.path(name)} is {value}, outside 0 to {maximum}", code="document-invalid")
        return value

    def boolean(self, name: str, default: Any = _REQUIRED) -> Any:
        """True or false."""
        return self._typed(name, bool, "true or false", default)

    def object(self, name: str, default: Any = _REQUIRED) -> Any:
        """An object, as it is."""
        return self._typed(name, dict, "an object", default)

    def array(self, name: str, default: Any = _REQUIRED) -> Any:
        """An array, as it is."""
        return self._typed(name, list, "an array", default)

    def strings(self, name: str) -> list[str]:
        """An array of strings; absent and null are the empty one."""
        values: list[Any] = self._typed(name, list, "an array of strings", [])
        for position, value in enumerate(values):
            if not isinstance(value, str):
                at = f"{self.path(name)}[{position}]"
                raise ContentError(f"{at} is {_kind(value)}, expected a string", code="document-invalid")
        return values

    def digest(self, name: str) -> Digest:
        """A digest. Raises ContentError (`digest-invalid`) with the member's path too."""
        return _digest(self.string(name), self.path(name))

    def digests(self, name: str) -> list[Digest]:
        """An array of digests; absent and null are the empty one."""
        return [_digest(text, f"{self.path(name)}[{n}]") for n, text in enumerate(self.strings(name))]

    def string_map(self, name: str) -> dict[str, str]:
        """An object whose values are strings; absent and null are the empty one."""
        values: dict[str, Any] = self._typed(name, dict, "an object of strings", {})
        for key, value in values.items():
            if not isinstance(value, str):
                at = f"{self.path(name)}.{key}"
                raise ContentError(f"{at} is {_kind(value)}, expected a string", code="document-invalid")
        return values
