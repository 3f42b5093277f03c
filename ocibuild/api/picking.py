"""One manifest out of whatever a place holds: the only one, or the one for a platform."""

from __future__ import annotations

from ocibuild.errors import NotFoundError, UsageError
from ocibuild.record import replace
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.spec.platform import Platform
from ocibuild.store.base import Source
from ocibuild.store.graph import MAX_DEPTH, node

_DEFAULTS = {("arm64", "v8"): "", ("amd64", "v1"): "", ("arm", ""): "v7"}


def pick(
    store: Source, root: Descriptor, platform: str | None = None, *, prefer_wasm: bool = False
) -> tuple[Descriptor, Manifest]:
    """The manifest at `root`, or the entry of its index for `platform` (`os/arch[/variant]`).

    Without a platform the only entry is taken; with `prefer_wasm` the only Wasm one. A manifest that is no index is
    taken as it is. Raises NotFoundError (`platform-missing`), UsageError (`platform-needed`, `platform-invalid`).
    """
    document = node(store, root)
    if isinstance(document, Manifest):
        return root, document
    found = entries(store, document)
    if platform is not None:
        wanted = Platform.parse(platform)
        chosen = [entry for entry in found if entry.platform and same(entry.platform, wanted)]
        if not chosen:
            raise NotFoundError(
                f"{store.place} has nothing for {wanted}",
                code="platform-missing",
                hint=f"it has {_names(found)}",
            )
    else:
        wasm = [entry for entry in found if entry.platform and entry.platform.is_wasm]
        chosen = wasm if prefer_wasm and len({entry.digest for entry in wasm}) == 1 else found
        if len({entry.digest for entry in chosen}) != 1:
            raise UsageError(
                f"{store.place} has {len(found)} images: {_names(found)}",
                code="platform-needed",
                hint="say which with --platform OS/ARCH, or with @sha256:… behind the place",
            )
    manifest = node(store, chosen[0])
    assert isinstance(manifest, Manifest)
    return chosen[0], manifest


def entries(store: Source, index: Index, depth: int = 0) -> list[Descriptor]:
    """The manifests of an index that can run, in order; indexes in it are looked into."""
    found: list[Descriptor] = []
    for entry in index.manifests:
        if entry.platform is not None and entry.platform.os == "unknown":
            continue
        document = node(store, entry)
        if isinstance(document, Manifest):
            found.append(entry)
        elif depth < MAX_DEPTH:
            found += entries(store, document, depth + 1)
    return found


def same(one: Platform, other: Platform) -> bool:
    """Equal once the variants that go without saying are left out: arm64/v8 is arm64, arm is arm/v7."""
    return _plain(one) == _plain(other)


def _plain(platform: Platform) -> Platform:
    variant = _DEFAULTS.get((platform.architecture, platform.variant), platform.variant)
    return replace(platform, variant=variant, os_version="", os_features=())


def _names(found: list[Descriptor]) -> str:
    return ", ".join(str(entry.platform or entry.digest) for entry in found[:12]) or "nothing that runs"
