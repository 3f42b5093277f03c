"""Digests: `algorithm:hex`. OCI image-spec, descriptor.md "Digests"."""

from __future__ import annotations

import hashlib
from typing import Any, Protocol, Self

from ocibuild.errors import ContentError

_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = "0123456789abcdef"


class Hasher(Protocol):
    """What hashlib's objects have in common."""

    def update(self, data: Any, /) -> None: ...
    def hexdigest(self) -> str: ...


class Digest(str):
    """A checked digest; a string in every other way, so it goes into JSON, sets and file names as it is."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raises ContentError (`digest-invalid`) unless `text` is sha256 or sha512 with lower-case hex of its length."""
        if type(text) is cls:
            return text
        algorithm, colon, value = text.partition(":")
        if not colon or len(value) != _LENGTHS.get(algorithm, -1) or value.strip(_HEX):
            raise ContentError(
                f"{text[:160]!r} is not a digest",
                code="digest-invalid",
                hint="a digest is sha256: and 64 lower-case hexadecimal digits (or sha512: and 128)",
            )
        return super().__new__(cls, text)

    @property
    def algorithm(self) -> str:
        """`sha256` or `sha512`."""
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        """The part behind the colon."""
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """Twelve hex digits, for people."""
        return self.hex[:12]

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Digest:
        """The sha256 of bytes at hand."""
        return cls(f"sha256:{hashlib.sha256(data).hexdigest()}")

    @classmethod
    def from_hasher(cls, hasher: Hasher, algorithm: str = "sha256") -> Digest:
        """The digest a hasher has arrived at."""
        return cls(f"{algorithm}:{hasher.hexdigest()}")

    def hasher(self) -> Hasher:
        """A new hasher of this digest's own algorithm."""
        return hashlib.new(self.algorithm)
