"""A program in a container: the command line that starts it, in the words of docker, podman or containerd's ctr."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from ocibuild.errors import UsageError
from ocibuild.run.command import Command
from ocibuild.run.engine import Start
from ocibuild.run.launch import Folder, Launch
from ocibuild.run.runtime import Engine, Runtime


@dataclass(frozen=True)
class Container:
    """What an engine is asked to run.

    client       the program that speaks to the engine: docker, podman, ctr
    name, image  the container's, and the image's as the engine knows it; `platform` is the image's
    command      the program's words and variables, put together as `docker run` does it
    extra        further flags of the engine's `run`, as the person wrote them
    pull         when docker and podman ask a registry for the image
    """

    engine: Engine
    client: str
    name: str
    image: str
    platform: str
    command: Command
    launch: Launch
    runtime: Runtime
    extra: tuple[str, ...] = ()
    pull: str = "never"

    def words(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """The command line. Raises UsageError (`mount-invalid`)."""
        launch = self.launch
        line = [self.client, "run", "--rm"]
        if self.engine == "containerd":
            pairs = [f"{key}={value}" for key, value in launch.asked(environ).items()]
            line += ["--net-host"] if launch.net else []
            limit, folder = "--memory-limit", "--cwd"
        else:
            # A KEY alone stays so: its value is then on no command line.
            pairs = list(launch.env)
            line += ["--interactive", "--pull", self.pull, "--name", self.name]
            if not self.own_network:
                line += ["--network", "host" if launch.net or self.needs_network else "none"]
            limit, folder = "--memory", "--workdir"
        line += ["--platform", self.platform, *self.runtime.flags]
        for pair in pairs:
            line += ["--env", pair]
        for each in launch.folders:
            line += ["--mount", self._mount(each)]
        line += [limit, str(launch.memory)] if launch.memory is not None else []
        line += [folder, launch.workdir] if launch.workdir else []
        words = self.command.words
        if self.engine == "containerd":
            # ctr's words replace the entrypoint too, so all of them are said.
            return (*line, *self.extra, self.image, self.name, *words)
        return (*line, "--entrypoint", words[0], *self.extra, self.image, *words[1:])

    @property
    def own_network(self) -> bool:
        """True where the person's words for the engine say the network."""
        return any(word.startswith(("--net=", "--network")) or word == "--net" for word in self.extra)

    @property
    def needs_network(self) -> bool:
        """True where it starts on the host's network only: Docker waits without end for a shim on one of its own."""
        return self.engine == "docker" and self.runtime.shim

    def start(self, environ: Mapping[str, str]) -> Start:
        """The process to start, and what ends the container where that process was ended. Raises as `words`."""
        return Start(self.words(environ), ending=self.ending())

    def ending(self) -> tuple[tuple[str, ...], ...]:
        """The commands that leave no container behind."""
        if self.engine == "containerd":
            return (
                (self.client, "tasks", "delete", "--force", self.name),
                (self.client, "containers", "delete", self.name),
            )
        return ((self.client, "rm", "--force", self.name),)

    def forgetting(self) -> tuple[str, ...]:
        """The command that takes the image's name from the engine."""
        force = () if self.engine == "containerd" else ("--force",)
        return (self.client, "images" if self.engine == "containerd" else "image", "rm", *force, self.image)

    def _mount(self, folder: Folder) -> str:
        if not folder.guest.startswith("/"):
            raise UsageError(
                f"{folder.guest} is no place in a container: it is not absolute",
                code="mount-invalid",
                hint=f"write --dir {folder.host}::/{folder.guest.lstrip('./')}",
            )
        if self.engine == "containerd":
            # Its flag has colons between the options, and no way to write one in a path's stead.
            host, options = (
                (folder.host, "rbind:ro" if folder.read_only else "rbind:rw") if folder.host else ("tmpfs", "rw")
            )
            fields = [f"type={'bind' if folder.host else 'tmpfs'}", f"src={host}", f"dst={folder.guest}"]
            return _row([*fields, f"options={options}"])
        if not folder.host:
            return _row(["type=tmpfs", f"target={folder.guest}"])
        fields = ["type=bind", f"source={folder.host}", f"target={folder.guest}"]
        return _row([*fields, "readonly"] if folder.read_only else fields)


def shown(words: tuple[str, ...], *, hidden: bool) -> str:
    """A command line as a shell takes it; with `hidden`, the values of variables are left out."""
    line = list(words)
    for place, word in enumerate(line):
        if hidden and word == "--env" and place + 1 < len(line):
            key, equals, _ = line[place + 1].partition("=")
            line[place + 1] = f"{key}=…" if equals else key
    return shlex.join(line)


def _row(fields: list[str]) -> str:
    """Fields with commas between them; one with a comma in it is quoted, as encoding/csv of Go reads it."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(fields)
    return out.getvalue()
