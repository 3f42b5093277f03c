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
from pathlib import Path

from ocibuild.content.flow import Cancel, Event
from ocibuild.errors import ToolError, UsageError
from ocibuild.source import tool
from ocibuild.source.tool import Ended
from ocibuild.spec.platform import Platform
from ocibuild.store.archive import ArchiveReader
from ocibuild.store.base import Source
from ocibuild.store.layout import LayoutStore

ENGINES = ("buildah", "podman", "docker")
"""In the order in which they are looked for: those without a daemon first."""

BUILDING, HANDING_OVER = 2 * 3600.0, 1800.0
"""Seconds that an engine is given for a stage, and for its image."""

_TOLD = 12


@dataclass(frozen=True)
class Order:
    """One stage to be built. `text` is the Dockerfile up to the stage's end, `at` the line that needs an engine.

    `platform` None is the machine's own.
    """

    text: str
    stage: str
    at: str
    arguments: Mapping[str, str]
    platform: Platform | None


@dataclass(frozen=True)
class Engine:
    """An engine and what all its stages share: the `context` folder, what is left out of it, and a `folder` for files.

    `ignored` is the text of the .dockerignore, None where there is none; `contexts` are folders and images by name, as
    `named` takes them.
    """

    name: str
    program: str
    context: Path
    ignored: str | None
    contexts: Mapping[str, str]
    folder: Path
    environ: Mapping[str, str]
    cancel: Cancel
    observe: Callable[[Event], None]

    def build(self, order: Order) -> Source:
        """Build the stage; the result holds its image alone. Raises ToolError (`stage-failed`), Cancelled."""
        room = self.folder / uuid.uuid4().hex
        room.mkdir()
        dockerfile = room / "Dockerfile"
        dockerfile.write_text(order.text, encoding="utf-8")
        words = ["--target", order.stage, "--file", str(dockerfile)]
        if self.ignored is not None:
            ignore = room / "Dockerfile.dockerignore"
            ignore.write_text(_plain(self.ignored), encoding="utf-8")
            words += ["--ignorefile", str(ignore)] if self.name != "docker" else []
        words += ["--platform", str(order.platform)] if order.platform is not None else []
        words += [word for name, value in order.arguments.items() for word in ("--build-arg", f"{name}={value}")]
        words += [word for name, place in self.contexts.items() for word in ("--build-context", f"{name}={place}")]
        self.observe(Event("note", text=f"{self.name} builds stage {order.stage}"))
        return self._docker(order, room, words) if self.name == "docker" else self._daemonless(order, room, words)

    def _daemonless(self, order: Order, room: Path, words: list[str]) -> Source:
        said = room / "image"
        verb = "bud" if self.name == "buildah" else "build"
        self._run(order, BUILDING, verb, "--layers", "--iidfile", str(said), *words, str(self.context))
        # No name is given to the image, and it is not removed: it is the engine's own cache of its last line.
        image = said.read_text(encoding="utf-8").strip()
        if self.name == "buildah":
            layout = room / "layout"
            self._run(order, HANDING_OVER, "push", "--quiet", "--disable-compression", image, f"oci:{layout}")
            return LayoutStore(layout)
        archive = room / "image.tar"
        to = ("--quiet", "--format", "oci-archive", "--uncompressed", "--output", str(archive))
        self._run(order, HANDING_OVER, "save", *to, image)
        return ArchiveReader(str(archive))

    def _docker(self, order: Order, room: Path, words: list[str]) -> Source:
        image, archive = f"ocibuild-stage:{room.name}", room / "image.tar"
        self._run(order, BUILDING, "build", "--tag", image, *words, str(self.context))
        try:
            self._run(order, HANDING_OVER, "save", "--output", str(archive), image)
        finally:
            # The build cache keeps what it needs.
            self._call(HANDING_OVER, "rmi", image)
        return ArchiveReader(str(archive))

    def _run(self, order: Order, seconds: float, *words: str) -> None:
        ended = self._call(seconds, *words)
        if ended.status == 0:
            return
        how = f"it was ended after {seconds:.0f} s" if ended.status is None else f"exit status {ended.status}"
        said = "".join(f"\n  {line}" for line in ended.said[-_TOLD:])
        raise ToolError(
            f"{order.at}: {self.name} {words[0]} failed for stage {order.stage}, {how}{':' if said else ''}{said}",
            code="stage-failed",
            hint=f"see its words; or build the stage elsewhere, and say --build-context {order.stage}=DIR",
        )

    def _call(self, seconds: float, *words: str) -> Ended:
        # Attestations would make an index out of every stage.
        environ = {**self.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        try:
            return tool.run([self.program, *words], environ, seconds, self.cancel, self._hear)
        except OSError as error:
            return Ended(127, (f"{self.program} cannot be started: {error.strerror or error}",))

    def _hear(self, line: str) -> None:
        self.observe(Event("note", text=f"{self.name}: {line}"))


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
