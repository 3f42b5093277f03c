"""Stages that have to run something: an engine of this machine builds such a stage, and hands it over as an image.

buildah-build(1), podman-build(1), https://docs.docker.com/reference/cli/docker/buildx/build/. Each keeps what it built
in its own cache, so that the next build is quick.
"""

from __future__ import annotations

import posixpath
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from ocibuild.content.flow import Cancel, Event
from ocibuild.errors import ToolError, UsageError
from ocibuild.source import base, tool
from ocibuild.source.base import Base
from ocibuild.source.filetree import Rootfs
from ocibuild.source.tool import Ended
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.spec.platform import Platform
from ocibuild.store.archive import ArchiveReader
from ocibuild.store.base import Source
from ocibuild.store.graph import node
from ocibuild.store.layout import LayoutStore

ENGINES = ("buildah", "podman", "docker")
"""In the order in which they are looked for: those without a daemon first."""

BUILDING, HANDING_OVER, REMOVING = 2 * 3600.0, 1800.0, 60.0
"""Seconds that an engine is given for a stage, for handing it over, and for taking away what that left."""

_TOLD = 12


@dataclass(frozen=True)
class Order:
    """One stage to be built. `text` is the Dockerfile up to the stage's end, `at` the line that needs an engine.

    `target` is the stage's name as it is written, which matters to buildah; `platform` None is the machine's own.
    """

    text: str
    stage: str
    target: str
    at: str
    arguments: Mapping[str, str]
    platform: Platform | None


@dataclass(frozen=True)
class Engine:
    """An engine and what all its stages share: the `context` folder, what is left out of it, and a `folder` for files.

    `ignored` is the text of the .dockerignore, None where there is none; `contexts` are folders and images by name, in
    the engine's words; `handed_on` are flags as the person said them. `user` is the number of who asks.
    """

    name: str
    program: str
    context: Path
    ignored: str | None
    contexts: Mapping[str, str]
    handed_on: tuple[str, ...]
    folder: Path
    environ: Mapping[str, str]
    user: int | None
    cancel: Cancel
    observe: Callable[[Event], None]

    def build(self, order: Order) -> Staged:
        """Build the stage. Raises ToolError (`stage-failed`), Cancelled."""
        room = self.folder / uuid.uuid4().hex
        room.mkdir()
        dockerfile = room / "Dockerfile"
        dockerfile.write_text(order.text, encoding="utf-8")
        words = ["--target", order.target, "--file", str(dockerfile)]
        if self.ignored is not None:
            ignore = room / "Dockerfile.dockerignore"
            ignore.write_text(_plain(self.ignored), encoding="utf-8")
            words += ["--ignorefile", str(ignore)] if self.name != "docker" else []
        words += ["--platform", str(order.platform)] if order.platform is not None else []
        words += [word for name, value in order.arguments.items() for word in ("--build-arg", f"{name}={value}")]
        words += [word for name, place in self.contexts.items() for word in ("--build-context", f"{name}={place}")]
        self.observe(Event("note", text=f"{self.name} builds stage {order.stage}"))
        words += [*self.handed_on, str(self.context)]
        if self.name == "docker":
            return Exported(self, order, room, tuple(words))
        said = room / "image"
        self.run(
            order, BUILDING, "bud" if self.name == "buildah" else "build", "--layers", "--iidfile", str(said), *words
        )
        return Stored(self, order, room, said.read_text(encoding="utf-8").strip())

    def run(self, order: Order, seconds: float, *words: str) -> None:
        """Run a command for a stage. Raises ToolError (`stage-failed`)."""
        self._check(order, seconds, words[0], self._call(seconds, self.cancel, self.program, *words))

    def shell(self, order: Order, script: str, *words: str) -> None:
        """Run a shell script where the engine's file systems can be seen. Raises ToolError (`stage-failed`)."""
        inside = ("sh", "-c", script, "sh", *words)
        command = inside if self.user == 0 else (self.program, "unshare", *inside)
        self._check(order, HANDING_OVER, "mount", self._call(HANDING_OVER, self.cancel, *command))

    def remove(self, *words: str) -> None:
        """Take away what was made, also where the build was called off; what fails here costs nobody the image."""
        self._call(REMOVING, Cancel(), self.program, *words)

    def _check(self, order: Order, seconds: float, verb: str, ended: Ended) -> None:
        if ended.status == 0:
            return
        how = f"it was ended after {seconds:.0f} s" if ended.status is None else f"exit status {ended.status}"
        said = "".join(f"\n  {line}" for line in ended.said[-_TOLD:])
        raise ToolError(
            f"{order.at}: {self.name} {verb} failed for stage {order.stage}, {how}{':' if said else ''}{said}",
            code="stage-failed",
            hint=f"see its words; or build the stage elsewhere, and say --build-context {order.stage}=DIR",
        )

    def _call(self, seconds: float, cancel: Cancel, *words: str) -> Ended:
        # Attestations would make an index out of every stage.
        environ = {**self.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        try:
            return tool.run(words, environ, seconds, cancel, self._hear)
        except OSError as error:
            return Ended(127, (f"{words[0]} cannot be started: {error.strerror or error}",))

    def _hear(self, line: str) -> None:
        self.observe(Event("note", text=f"{self.name}: {line}"))


class Staged(Protocol):
    """A stage that an engine built. Both raise ToolError (`stage-failed`), Cancelled."""

    @property
    def files(self) -> Rootfs:
        """All its files."""

    @property
    def whole(self) -> Base:
        """Its config and layers too, to build on. Raises ContentError as well."""


@dataclass
class Stored:
    """A stage in the storage of buildah or podman. It is handed over, into `room`, when it is asked for.

    The image has no name and is not removed: it is the cache of the stage's last line.
    """

    engine: Engine
    order: Order
    room: Path
    image: str

    @cached_property
    def files(self) -> Rootfs:
        """See Staged."""
        tar = self.room / "files.tar"
        try:
            self._archive(tar)
        except ToolError:
            return self.whole.files  # a file system that cannot be seen from here: the engine may be on another machine
        return _read(tar, self.order)

    def _archive(self, tar: Path) -> None:
        """All files in one tar, out of where the engine has them: much quicker than as an image."""
        engine, order = self.engine, self.order
        if engine.name == "podman":
            # A container of podman's has files of its own in /etc, its images have not.
            try:
                engine.shell(order, _ARCHIVE, str(tar), engine.program, "image", "mount", self.image)
            finally:
                engine.remove("image", "unmount", self.image)
            return
        container = f"ocibuild-{self.room.name}"
        engine.run(order, HANDING_OVER, "from", "--quiet", "--name", container, self.image)
        try:
            engine.shell(order, _ARCHIVE, str(tar), engine.program, "mount", container)
        finally:
            engine.remove("rm", container)

    @cached_property
    def whole(self) -> Base:
        """See Staged."""
        engine, order = self.engine, self.order
        source: Source
        if engine.name == "buildah":
            layout = self.room / "layout"
            engine.run(order, HANDING_OVER, "push", "--quiet", "--disable-compression", self.image, f"oci:{layout}")
            source = LayoutStore(layout)
        else:
            archive = self.room / "image.tar"
            form = ("--quiet", "--format", "oci-archive", "--uncompressed")
            engine.run(order, HANDING_OVER, "save", *form, "--output", str(archive), self.image)
            source = ArchiveReader(str(archive))
        return base.read(source, _manifest(source), self.room, lasting=False)


@dataclass
class Exported:
    """A stage in docker's build cache, out of which it comes in the form that is asked for. Its image store stays as it is."""

    engine: Engine
    order: Order
    room: Path
    words: tuple[str, ...]

    @cached_property
    def files(self) -> Rootfs:
        """See Staged."""
        return _read(self._exported("tar"), self.order)

    @cached_property
    def whole(self) -> Base:
        """See Staged."""
        source = ArchiveReader(str(self._exported("docker")))
        return base.read(source, _manifest(source), self.room, lasting=False)

    def _exported(self, form: str) -> Path:
        path = self.room / f"{form}.tar"
        self.engine.run(self.order, BUILDING, "build", "--output", f"type={form},dest={path}", *self.words)
        return path


_ARCHIVE = (
    'tar=$1 && shift && root=$("$@") && '
    'tar --create --xattrs --xattrs-include=security.capability --file "$tar" --directory "$root" .'
)


def _read(tar: Path, order: Order) -> Rootfs:
    return base.flat(
        tar,
        f"stage {order.stage}",
        lambda error: ToolError(f"{order.at}: what was handed over cannot be read: {error}", code="stage-failed"),
    )


def _manifest(source: Source) -> Manifest:
    """The only image there is, in an index or not."""
    document = node(source, source.resolve(""))
    while isinstance(document, Index):
        document = node(source, next(e for e in document.manifests if e.platform is None or e.platform.os != "unknown"))
    return document


def _plain(ignored: str) -> str:
    """Patterns without what every engine takes off them but podman 4, for which /a matches nothing."""
    lines = [
        line.strip() for line in ignored.removeprefix("\ufeff").splitlines() if line[:1] != "#" and line.strip("! ")
    ]
    signs = [("!", line[1:].strip()) if line.startswith("!") else ("", line) for line in lines]
    return "".join(f"{sign}{posixpath.normpath(pattern).lstrip('/')}\n" for sign, pattern in signs)


def find(asked: str | None, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Name and program of the engine that is asked for, of the first one that is installed, or None.

    Raises UsageError (`engine-unknown`), ToolError (`tool-missing`).
    """
    if asked == "none":
        return None
    if asked is not None and asked not in ENGINES:
        raise UsageError(
            f"{asked!r} is no engine that builds stages",
            code="engine-unknown",
            hint=f"choose one of {', '.join(ENGINES)}, or none",
        )
    for name in (asked,) if asked else ENGINES:
        if found := shutil.which(name, path=environ.get("PATH")):
            return name, found
    if asked:
        raise ToolError(
            f"{asked} is not installed here", code="tool-missing", hint="install it, or take another --engine"
        )
    return None
