"""What a file says of itself, as OCI's annotations say it. OCI image-spec, annotations.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ocibuild.binary.artifact import Artifact
from ocibuild.binary.wasm import WasmFacts
from ocibuild.spec import annotation

if TYPE_CHECKING:
    from ocibuild.binary.elf import ElfFacts

_FORGES = ("github.com/", "gitlab.com/", "codeberg.org/", "bitbucket.org/")
_LONGEST = 4096


def described(artifact: Artifact) -> dict[str, str]:
    """Annotations from a Wasm file's metadata sections or a binary's Go build information; empty where there is none."""
    facts = artifact.facts
    found = _wasm(facts) if isinstance(facts, WasmFacts) else _go(facts)
    cleaned = {key: _clean(value) for key, value in found.items() if value}
    return {key: value for key, value in cleaned.items() if value}


def _wasm(facts: WasmFacts) -> dict[str, str | None]:
    metadata = facts.metadata
    return {
        annotation.TITLE: metadata.name,
        annotation.DESCRIPTION: metadata.description,
        annotation.VERSION: metadata.version,
        annotation.AUTHORS: metadata.authors,
        annotation.LICENSES: metadata.licenses,
        annotation.SOURCE: metadata.source,
        annotation.URL: metadata.homepage,
        annotation.REVISION: metadata.revision,
    }


def _go(facts: ElfFacts) -> dict[str, str | None]:
    go = facts.go
    if go is None:
        return {}
    revision = go.setting("vcs.revision")
    if revision and go.setting("vcs.modified") == "true":
        revision += "-dirty"
    module = go.module or ""
    return {
        annotation.VERSION: go.module_version if go.module_version != "(devel)" else None,
        annotation.REVISION: revision,
        annotation.SOURCE: f"https://{module}" if module.startswith(_FORGES) else None,
    }


def _clean(text: str) -> str:
    # What stands in a file can be anything; what stands in an annotation ends on terminals and in web pages.
    return "".join(c if c.isprintable() else " " for c in text[:_LONGEST]).strip()
