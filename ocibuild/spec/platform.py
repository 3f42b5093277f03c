"""Platforms: where a program runs. OCI image index, "platform"; containerd/platforms for the string form.

Nobody normalises Wasm platforms: `wasi/wasm`, `wasip1/wasm`, `wasi/wasm32` and `linux/wasm` are different and never
match one another. So what is asked for is written literally, and the spellings that name something else than they
seem to (`wasm` is linux/wasm to containerd) are refused with the cure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ocibuild.errors import UsageError
from ocibuild.record import record, replace
from ocibuild.spec.jsonform import Reader

_PART = r"[A-Za-z0-9_.-]+"
_WASM_ALIASES = {
    "wasm",
    "wasi",
    "wasm32",
    "wasip1",
    "wasip2",
    "wasi/wasm32",
    "wasip1/wasm32",
    "wasip2/wasm32",
    "wasm/wasi",
}
_ARCH_ALIASES = {
    "x86_64": ("amd64", ""), "x86-64": ("amd64", ""), "aarch64": ("arm64", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6"),
    "i386": ("386", ""), "i686": ("386", ""), "loongarch64": ("loong64", ""),
}  # fmt: skip


@record
class Platform:
    """`os` and `architecture` in Go's words, `variant` for arm (v5 to v7); the empty string where there is none."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/arch[/variant]`. Lower-cases, and maps the well-known other names of machines (aarch64, x86_64).

        Raises UsageError (`platform-invalid`) for anything else, and for the Wasm spellings that mean something
        else than they seem to (`wasm`, `wasi`, `wasm32`).
        """
        lowered = text.strip().lower()
        if lowered in _WASM_ALIASES:
            raise UsageError(
                f"platform {text!r} is not one a runtime looks for",
                code="platform-invalid",
                hint="write wasi/wasm (what docker, podman and runwasi select), or wasip1/wasm or wasip2/wasm in full",
            )
        parts = lowered.split("/")
        if len(parts) not in (2, 3) or not all(re.fullmatch(_PART, part) for part in parts):
            raise UsageError(
                f"platform {text!r} is not of the form os/architecture[/variant]",
                code="platform-invalid",
                hint="for example linux/amd64, linux/arm/v7 or wasi/wasm",
            )
        os, architecture = parts[0], parts[1]
        variant = parts[2] if len(parts) == 3 else ""
        architecture, implied = _ARCH_ALIASES.get(architecture, (architecture, ""))
        return cls(os, architecture, variant or implied)._canonical()

    def _canonical(self) -> Platform:
        # containerd's normal form: v8 is what arm64 means, v1 what amd64 means, v7 what arm means; 7 is written v7.
        if self.architecture in ("arm", "arm64") and self.variant.isdigit():
            return replace(self, variant=f"v{self.variant}")._canonical()
        default = {"arm64": "v8", "amd64": "v1"}.get(self.architecture)
        if self.variant and self.variant == default:
            return replace(self, variant="")
        if self.architecture == "arm" and not self.variant:
            return replace(self, variant="v7")
        return self

    @property
    def is_wasm(self) -> bool:
        """True when the architecture is a Wasm one, whatever the OS is called."""
        return self.architecture in ("wasm", "wasm32", "wasm64")

    def to_json(self) -> dict[str, Any]:
        """The `platform` object of a descriptor, empty members left out."""
        document: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            document["os.version"] = self.os_version
        if self.os_features:
            document["os.features"] = list(self.os_features)
        if self.variant:
            document["variant"] = self.variant
        return document

    @classmethod
    def from_json(cls, document: Mapping[str, Any], at: str = "platform") -> Platform:
        """Read a `platform` object literally: what others wrote is not normalised."""
        reader = Reader(document, at)
        return cls(
            os=reader.string("os"),
            architecture=reader.string("architecture"),
            variant=reader.string("variant", ""),
            os_version=reader.string("os.version", ""),
            os_features=tuple(reader.strings("os.features")),
        )

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


WASI = Platform("wasi", "wasm")
