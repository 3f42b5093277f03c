"""Where a build's stages come from that are not made of files: images anywhere, and an engine of this machine."""

from __future__ import annotations

import platform as machine
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ocibuild.api import places
from ocibuild.api.picking import pick
from ocibuild.api.places import Place
from ocibuild.api.session import Session
from ocibuild.bake.ledger import Taken
from ocibuild.errors import NotFoundError, UsageError
from ocibuild.source import base, engine
from ocibuild.source.base import Base
from ocibuild.source.engine import Engine, Order, Staged
from ocibuild.spec.platform import Platform
from ocibuild.store.copy import copy
from ocibuild.store.layout import LayoutStore

_PREFIXES = ("docker-image://", "oci-layout://", "docker://", "oci:", "oci-archive:", "docker-archive:")


def is_image(text: str) -> bool:
    """Whether the place of a --build-context is an image and no folder."""
    return text.startswith(_PREFIXES)


def place(text: str) -> Place:
    """The place of an image, in buildx's words or ours. Raises UsageError (`reference-invalid`, `digest-invalid`)."""
    if text.startswith("docker-image://"):
        text = f"docker://{text.removeprefix('docker-image://')}"
    elif text.startswith("oci-layout://"):
        text = f"oci:{text.removeprefix('oci-layout://')}"
    return places.parse(text)


@dataclass
class Bases:
    """The images that one build read, each once, and the folder in which they stand until the build is delivered.

    `ran` is the engine that built a stage, where one did.
    """

    session: Session
    stack: ExitStack
    taken: list[Taken] = field(default_factory=list)
    ran: str = ""
    _read: dict[tuple[str, Platform | None, bool], Base] = field(default_factory=dict)

    @cached_property
    def folder(self) -> Path:
        """A private folder, gone with the stack."""
        return Path(
            self.stack.enter_context(tempfile.TemporaryDirectory(prefix="ocibuild-", ignore_cleanup_errors=True))
        )

    def image(self, text: str, platform: Platform | None, anyway: bool) -> Base:
        """The image at a place for a platform; one for this machine `anyway`, where a Wasm platform has none.

        Raises what reading the place raises, NotFoundError (`platform-missing`), UsageError (`platform-needed`),
        ContentError (`base-invalid`, `layer-invalid`, `layer-too-large`).
        """
        key = (text, platform, anyway)
        if key not in self._read:
            self._read[key] = self._image(text, platform, anyway)
        return self._read[key]

    def _image(self, text: str, platform: Platform | None, anyway: bool) -> Base:
        where = place(text)
        source, root = self.session.found(where)
        self.taken.append(Taken(text, str(platform or ""), anyway, str(root.digest)))
        try:
            found, manifest = pick(source, root, str(platform) if platform else None)
        except NotFoundError as error:
            if error.code != "platform-missing" or not anyway or platform is None or not platform.is_wasm:
                raise
            found, manifest = pick(source, root, str(host()))
        if where.is_registry:
            layout = LayoutStore(self.folder / f"image-{len(self._read)}")
            with self.session.flow() as flow, layout:
                copy(source, found, layout, flow=flow)
            source = layout
        return base.read(source, manifest, self.folder, lasting=True)

    def maker(
        self,
        asked: str | None,
        context: Path,
        ignored: str | None,
        contexts: Mapping[str, str],
        handed_on: Sequence[str] = (),
    ) -> Callable[[Order], Staged] | None:
        """What has the engine that is asked for build a stage, None where there is none; see Engine for the rest.

        Raises UsageError (`engine-unknown`), ToolError (`tool-missing`). What it gives raises ToolError
        (`stage-failed`), UsageError (`usage`), Cancelled.
        """
        found = engine.find(asked, self.session.surroundings.environ)
        if found is None:
            return None
        name, program = found

        def make(order: Order) -> Staged:
            self.ran = name
            builder = Engine(
                name=name,
                program=program,
                context=context,
                ignored=ignored,
                contexts={key: told(text, name) for key, text in contexts.items()},
                handed_on=tuple(handed_on),
                folder=self.folder,
                environ=self.session.surroundings.environ,
                user=self.session.surroundings.user,
                cancel=self.session.cancel,
                observe=self.session.observe,
            )
            return builder.build(order)

        return make


def host() -> Platform:
    """What this machine's engines build for where nothing is said."""
    return Platform.parse(f"linux/{machine.machine() or 'unknown'}")


def told(text: str, name: str) -> str:
    """The place of a --build-context in an engine's words. Raises UsageError (`usage`)."""
    if not is_image(text):
        return str(Path(text).resolve())
    where = place(text)
    if where.reference is not None:
        return f"docker-image://{where.reference}"
    if name != "docker":
        return f"docker-image://{where}"
    if where.transport != "oci":
        raise UsageError(
            f"docker builds no stage on {where}",
            hint="give an OCI layout (oci-layout://DIR), or take --engine buildah",
        )
    return f"oci-layout://{where.path}" + (
        f"{'@' if where.name.startswith('sha') else ':'}{where.name}" if where.name else ""
    )
