"""Plans: every decision about an image, and none of its bytes' digests.

A plan is data: no I/O made it, it can be pickled to another process, and assembling it twice gives the same image.
What needs the layers' digests is left to the config's recipe.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from ocibuild.content.blob import Content
from ocibuild.content.tar import Entry
from ocibuild.record import record, replace
from ocibuild.spec import annotation, jsonform, mediatype
from ocibuild.spec.config import ImageConfig
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.platform import Platform

Pairs = tuple[tuple[str, str], ...]
"""A mapping of strings as a plan holds it: hashable, in order."""


@record
class Files:
    """A tar layer of these entries, all with one `mtime` (seconds since 1970), compressed as `compression` says."""

    entries: tuple[Entry, ...]
    compression: str = "gzip:1"
    mtime: int = 0


@record
class Raw:
    """A layer that is the content itself, under a media type of its own."""

    content: Content
    media_type: str
    annotations: Pairs = ()


@record
class Tar:
    """A tar that is there already, byte for byte, compressed as `compression` says."""

    content: Content
    compression: str = "gzip:1"


@record
class Existing:
    """A tar layer of another image, taken over as it stands; `diff_id` is the digest of what it unpacks to."""

    content: Content
    descriptor: Descriptor
    diff_id: Digest

    __eq__ = object.__eq__
    __hash__ = object.__hash__


Layer = Files | Raw | Tar | Existing


@record
class Written:
    """A layer once it stands in a store; `diff_id` is the digest of what it unpacks to (its own, for a raw one)."""

    descriptor: Descriptor
    diff_id: Digest


class ConfigRecipe(Protocol):
    """Makes the config blob from the written layers."""

    @property
    def media_type(self) -> str: ...
    @property
    def annotations(self) -> Pairs: ...
    def write(self, layers: Sequence[Written]) -> bytes: ...


@record
class TarConfig:
    """An image config with one diff_id a layer."""

    image: ImageConfig
    media_type: str = mediatype.CONFIG
    annotations: Pairs = ()

    def write(self, layers: Sequence[Written]) -> bytes:
        """See ConfigRecipe."""
        return replace(self.image, diff_ids=tuple(layer.diff_id for layer in layers)).to_bytes()


@record
class RawLayerConfig:
    """runwasi's: an image config without diff_ids, for layers no snapshotter unpacks.

    A label made of the layers' digests keeps configs of different programs different (oci-tar-builder does the same);
    otherwise two programs would share an image ID.
    """

    image: ImageConfig
    media_type: str = mediatype.CONFIG
    annotations: Pairs = ()

    def write(self, layers: Sequence[Written]) -> bytes:
        """See ConfigRecipe."""
        joined = "".join(str(layer.descriptor.digest) for layer in layers)
        unique = {annotation.RUNWASI_UNIQUE: hashlib.sha256(joined.encode()).hexdigest()}
        process = replace(self.image.process, labels={**self.image.process.labels, **unique})
        return replace(self.image, process=process).to_bytes()


@record
class World:
    """What a component asks for and offers: `namespace:package/interface@version`, in the component's own order."""

    exports: tuple[str, ...]
    imports: tuple[str, ...]


@record
class WasmConfig:
    """The CNCF Wasm artifact's config. `author` and `component` are written as null where there is none, as oci-wasm does."""

    created: str
    os: str
    author: str | None = None
    component: World | None = None
    media_type: str = mediatype.WASM_CONFIG
    annotations: Pairs = ()

    def write(self, layers: Sequence[Written]) -> bytes:
        """See ConfigRecipe."""
        component = self.component and {
            "exports": list(self.component.exports),
            "imports": list(self.component.imports),
            "target": None,
        }
        return jsonform.dump(
            {
                "created": self.created,
                "author": self.author,
                "architecture": "wasm",
                "os": self.os,
                "layerDigests": [str(layer.descriptor.digest) for layer in layers],
                "component": component,
            }
        )


@record
class FixedConfig:
    """A config that depends on nothing."""

    media_type: str
    data: bytes
    annotations: Pairs = ()

    def write(self, layers: Sequence[Written]) -> bytes:
        """See ConfigRecipe."""
        return self.data


@record
class ImagePlan:
    """One manifest. `platform` is what its index entry says; None for shapes that never stand in an index.

    `subject` is the manifest that this one belongs to.
    """

    shape: str
    layers: tuple[Layer, ...]
    config: TarConfig | RawLayerConfig | WasmConfig | FixedConfig
    platform: Platform | None = None
    annotations: Pairs = ()
    entry_annotations: Pairs = ()
    subject: Descriptor | None = None


@record
class IndexPlan:
    """Manifests side by side; natives first, Wasm after."""

    images: tuple[ImagePlan, ...]
    annotations: Pairs = ()


Plan = ImagePlan | IndexPlan
