"""What is started: entrypoint, arguments, environment and working directory, put together as `docker run` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ocibuild.errors import UsageError
from ocibuild.image.rootfs import Inside, RootFs
from ocibuild.image.shapes.recognise import Program, entry, find_program, has_rootfs, recognise
from ocibuild.run.launch import Launch
from ocibuild.spec import mediatype
from ocibuild.spec.config import ImageConfig, Process
from ocibuild.spec.manifest import Manifest
from ocibuild.store.base import Source, fetch


@dataclass(frozen=True)
class Command:
    """A program and how it is called. `words` begin with the program's own name; `workdir` is "" where none is said;
    `rootfs` holds the files beside it, None where its shape has none.
    """

    program: Program
    words: tuple[str, ...]
    env: Mapping[str, str]
    workdir: str
    rootfs: RootFs | None = None


def bare(program: Program, launch: Launch, environ: Mapping[str, str]) -> Command:
    """A file without an image around it. Raises UsageError (`pair-invalid`)."""
    words = (*(launch.entrypoint or (program.name,)), *launch.arguments)
    return Command(program, words, launch.variables((), environ), launch.workdir or "")


def of_image(source: Source, manifest: Manifest, launch: Launch, environ: Mapping[str, str]) -> Command:
    """The command that an image of any shape stands for.

    An image that says neither entrypoint nor arguments starts its only file. Raises ContentError (`program-missing`,
    `program-ambiguous`, `layer-invalid`), UsageError (`pair-invalid`, `path-invalid`), and what the store raises.
    """
    config = None
    if manifest.config.media_type in mediatype.IMAGE_CONFIGS:
        config = ImageConfig.parse(fetch(source, manifest.config))
    process = config.process if config is not None else Process()
    words = _words(process, launch)
    rootfs = RootFs.read(source, manifest.layers) if has_rootfs(manifest) else None
    if rootfs is not None and config is not None and words and recognise(manifest) == "image":
        # Found by the words that are to be started, which need not be those of the config.
        member = entry(rootfs, replace(config, process=replace(process, entrypoint=words, cmd=())))
        program = Program(member.path, member.size, member.mode, Inside(rootfs, member), member.digest)
    else:
        program = find_program(source, manifest, rootfs)
    if not process.entrypoint and not process.cmd and not launch.entrypoint:
        words = (f"/{program.path}", *launch.arguments)
    workdir = launch.workdir or process.working_dir
    if launch.workdir and not launch.workdir.startswith("/"):
        raise UsageError(
            f"--workdir {launch.workdir!r} is not an absolute path in the image",
            code="path-invalid",
            hint=f"write --workdir /{launch.workdir}",
        )
    return Command(program, words, launch.variables(process.env, environ), workdir, rootfs)


def _words(process: Process, launch: Launch) -> tuple[str, ...]:
    if launch.entrypoint:
        return (*launch.entrypoint, *launch.arguments)
    if not process.entrypoint and not process.cmd:
        return ()
    return (*process.entrypoint, *(launch.arguments or process.cmd))
