"""`build` without a Dockerfile: sources become programs, and programs an image as `pack` makes it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ocibuild.api import places
from ocibuild.api.delivery import deliver, refuse_unnamed, rehearse
from ocibuild.api.pack import Packed, with_said
from ocibuild.api.planned import Planned
from ocibuild.api.session import Session
from ocibuild.binary.artifact import Artifact
from ocibuild.binary.wasm import WasmFacts
from ocibuild.content import atomic
from ocibuild.content.flow import Event
from ocibuild.errors import InputError, UsageError
from ocibuild.image.shapes import shape
from ocibuild.pack import additions, git, naming, presets
from ocibuild.pack.options import Options
from ocibuild.pack.plan import Context, Input, parse_created
from ocibuild.pack.plan import plan as make_plan
from ocibuild.source import toolchains
from ocibuild.source.toolchains import making
from ocibuild.source.toolchains.bench import Bench
from ocibuild.source.toolchains.recipe import Recipe, Sources, Told
from ocibuild.spec.platform import WASI, Platform
from ocibuild.spec.reference import Reference


def is_meant(
    context: str | os.PathLike[str], file: object = None, language: str | None = None, program: str | None = None
) -> bool:
    """True where sources are to be built: they were asked for, or there is no Dockerfile and there are sources."""
    if file is not None:
        if language or program:
            raise UsageError(
                "-f builds a Dockerfile, and --language and --program build sources",
                code="usage",
                hint="leave one of them out",
            )
        return False
    folder = Path(context)
    asked = language is not None or program is not None
    return asked or (not (folder / "Dockerfile").exists() and folder.is_dir() and bool(toolchains.seen(folder)))


def refuse_others(**said: object) -> None:
    """Raises UsageError for what only a Dockerfile has a use for."""
    for name, value in said.items():
        if value:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} is for a Dockerfile, and sources are built here",
                code="usage",
                hint=f"leave {flag} out, or name the Dockerfile with -f; --tool-arg says something to the toolchain",
            )


def refuse_arguments(tool_args: Sequence[str]) -> None:
    """Raises UsageError where a Dockerfile is built: it has no toolchain."""
    if tool_args:
        raise UsageError(
            "--tool-arg is for a toolchain, and a Dockerfile is built here",
            code="usage",
            hint="add --language auto to build the sources, or leave it out",
        )


def passed_over(context: str | os.PathLike[str]) -> str | None:
    """What to tell where a Dockerfile was taken and sources stand beside it."""
    try:
        found = toolchains.seen(Path(context))
    except InputError:
        return None  # a package.json that cannot be read is no affair of a Dockerfile
    if not found:
        return None
    name, shown = next(iter(found.items()))
    return f"the Dockerfile is built, not {shown} beside it; for that one: --language {name}"


def compiled(
    context: str | os.PathLike[str],
    *,
    language: str | None = None,
    program: str | None = None,
    tool_args: Sequence[str] = (),
    platforms: Sequence[str] = (),
    tags: Sequence[str] = (),
    output: str | None = None,
    push: bool = False,
    load: str | None = None,
    dry_run: bool = False,
    options: Options | None = None,
    session: Session | None = None,
    out: BinaryIO | None = None,
    **said: object,
) -> Packed:
    """Build the program in `context` for each of `platforms` (`wasi/wasm` where none is said), and pack what came of it.

    `language` is one of `toolchains.LANGUAGES`, by default the one that is seen. `program` chooses where there are
    several, `tool_args` go to the toolchain. What toolchains print becomes events of the session. Raises what `pack`
    raises, UsageError (`language-needed`, `language-unknown`, `program-needed`, `program-unknown`,
    `platform-unbuildable`), InputError (`context-missing`, `sources-unknown`, `sources-invalid`, `not-static`,
    `not-a-command`), ToolError (`toolchain-missing`, `build-failed`, `build-mismatch`).
    """
    session = (session or Session()).begin()
    references = [Reference.parse(tag) for tag in tags]
    refuse_unnamed(push, references)
    place = places.parse(output, writing=True) if output is not None else None
    chosen = with_said(options or Options(), said)
    with ExitStack() as stack:
        made = planned(
            context,
            stack,
            language=language,
            program=program,
            tool_args=tool_args,
            platforms=platforms or chosen.platform,
            options=replace(chosen, platform=()),
            session=session,
        )
        if dry_run:
            outcome = rehearse(made.plan, references, session)
        else:
            name = made.artifacts[0].name
            if place is None and not (push or load):
                place = places.parse(naming.layout_name(name), writing=True)
            outcome = deliver(made.plan, references, place, push, load, session, out, name.removesuffix(".wasm"))
    named = tuple(replace(artifact, path=artifact.name) for artifact in made.artifacts)  # their folder was ours
    return Packed(outcome.descriptor, outcome.references, made.plan, named, outcome.copied, outcome.dry)


def planned(
    context: str | os.PathLike[str],
    stack: ExitStack,
    *,
    language: str | None,
    program: str | None,
    tool_args: Sequence[str],
    platforms: Sequence[str],
    options: Options,
    session: Session,
) -> Planned:
    """The programs, built, and the plan of their image; their files go with the stack. Raises what `compiled` raises."""
    spoken, sources, wanted = _asked(context, language, program, tool_args, platforms, options, session)
    says = _says_platform(options)
    extra = additions.entries(options)
    facts = git.facts(sources.folder) if options.git else {}
    bench = _bench(session, stack)
    recipes = spoken.recipes(sources, wanted, bench)
    artifacts = _made(spoken, recipes, sources, wanted, bench, session, dynamic=options.allow_dynamic)
    # A shape that has no platform still has one that it is built for.
    inputs = [
        Input(artifact, platform if says or not platform.is_wasm else None)
        for artifact, platform in zip(artifacts, wanted, strict=True)
    ]
    traced = [recipe.traced() for recipe in recipes if recipe.traced is not None]
    return Planned(
        make_plan(inputs, options, Context(sources.epoch, extra, facts)),
        tuple(artifacts),
        files=frozenset[str]().union(*(one.files for one in traced)),
        variables=frozenset[str]().union(*(one.variables for one in traced)),
    )


def told(
    context: str | os.PathLike[str],
    *,
    language: str | None,
    program: str | None,
    tool_args: Sequence[str],
    platforms: Sequence[str],
    options: Options,
    session: Session,
) -> Told:
    """What the programs depend on, asked of their toolchain and not built. Raises as `planned`."""
    spoken, sources, wanted = _asked(context, language, program, tool_args, platforms, options, session)
    with ExitStack() as stack:
        return spoken.told(sources, wanted, _bench(session, stack))


def _asked(
    context: str | os.PathLike[str],
    language: str | None,
    program: str | None,
    tool_args: Sequence[str],
    platforms: Sequence[str],
    options: Options,
    session: Session,
) -> tuple[toolchains.Language, Sources, list[Platform]]:
    """What is to be built of what, and for which platforms."""
    folder = Path(context).resolve()
    if not folder.is_dir():
        raise InputError(f"there is no folder {context}", code="context-missing", hint="give the folder of the sources")
    spoken = toolchains.language(folder, language)
    asked = [Platform.parse(one) for text in platforms for one in text.split(",")]
    epoch = parse_created(options.created) if options.created else session.surroundings.source_date_epoch() or 0
    said_so = language not in (None, toolchains.AUTO)
    sources = Sources(folder, program, tuple(tool_args), epoch, options.git, said_so)
    return spoken, sources, list(dict.fromkeys(asked)) or [WASI]


def _bench(session: Session, stack: ExitStack) -> Bench:
    with atomic.translated(tempfile.gettempdir()):
        scratch = tempfile.TemporaryDirectory(prefix="ocibuild-build-", ignore_cleanup_errors=True)
    private = Path(stack.enter_context(scratch))
    return Bench(session.surroundings.environ, Path(session.surroundings.home), private, session.cancel)


def _says_platform(options: Options) -> bool:
    """True where the shape of a Wasm image says its platform. Raises UsageError (`shape-unknown`, `consumer-unknown`)."""
    name = options.format or (presets.preset(options.consumer).shape if options.consumer else "image")
    return shape(name).runnable


def _made(
    spoken: toolchains.Language,
    recipes: Sequence[Recipe],
    sources: Sources,
    wanted: list[Platform],
    bench: Bench,
    session: Session,
    *,
    dynamic: bool,
) -> list[Artifact]:
    name = recipes[0].name or sources.folder.name
    told = f"building {name} from its {spoken.title} sources for {', '.join(map(str, wanted))}"
    session.observe(Event("note", text=told))
    with session.flow() as flow:
        artifacts = making.make(recipes, sources, bench, flow, dynamic=dynamic)
    for artifact, platform in zip(artifacts, wanted, strict=True):
        session.observe(Event("note", text=f"built {artifact.name} for {platform}: {_what(artifact)}"))
    return artifacts


def _what(artifact: Artifact) -> str:
    facts = artifact.facts
    if isinstance(facts, WasmFacts):
        return f"a {facts.kind} of WASI {facts.wasi}, {facts.role}, {artifact.size} bytes"
    return f"{'static' if facts.static else 'dynamic'}, {artifact.size} bytes"
