"""`build`: a Dockerfile, or sources, become an image."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from ocibuild.api import compiling, dockerfiles, places
from ocibuild.api.delivery import deliver, refuse_unnamed, rehearse
from ocibuild.api.pack import Packed, with_said
from ocibuild.api.planned import Planned
from ocibuild.api.session import Session
from ocibuild.errors import InputError
from ocibuild.pack.options import Options, Sources, Target
from ocibuild.source import toolchains
from ocibuild.spec.reference import Reference


def build(
    context: str | os.PathLike[str] = ".",
    *,
    file: str | os.PathLike[str] | None = None,
    text: bytes | None = None,
    target: str | None = None,
    build_args: Mapping[str, str] | Sequence[str] = (),
    build_contexts: Mapping[str, str] | Sequence[str] = (),
    engine: str | None = None,
    secrets: Sequence[str] = (),
    ssh: Sequence[str] = (),
    no_cache: bool = False,
    platforms: Sequence[str] = (),
    language: str | None = None,
    program: str | None = None,
    tool_args: Sequence[str] = (),
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
    """Build the last stage of a Dockerfile, or `target`, from the files in `context`; or the sources that are there.

    Sources are built where there is no Dockerfile, or where `language` or `program` is said: see `compiling.compiled`.

    `file` is the Dockerfile, by default the one in the context; `text` is one that is no file. `build_contexts`
    (`NAME=DIR`, or an image as in `NAME=docker-image://REF`) are the files of stages that were built elsewhere, or of
    other folders. A stage with RUN that none replaces is built by `engine`: buildah, podman or docker, `none`, or by
    default the first of them that is installed; `secrets`, `ssh` and `no_cache` are handed on to it. Several
    `platforms` make an index; with none, the programs in the image say the platform. Without `output`, `push` or `load`
    the image goes into the layout `NAME.oci` in the current folder, called like the context. Keyword arguments are
    fields of Options, of which a build takes those in `dockerfiles.OPTIONS`. Raises what `pack` raises, and InputError for a
    Dockerfile that is wrong or asks for what cannot be done, with the line.
    """
    if compiling.is_meant(context, text if file is None else file, language, program):
        compiling.refuse_others(
            target=target,
            build_arg=build_args,
            build_context=build_contexts,
            engine=engine,
            secret=secrets,
            ssh=ssh,
            no_cache=no_cache,
        )
        return compiling.compiled(
            context,
            language=language,
            program=program,
            tool_args=tool_args,
            platforms=platforms,
            tags=tags,
            output=output,
            push=push,
            load=load,
            dry_run=dry_run,
            options=options,
            session=session,
            out=out,
            **said,
        )
    session = (session or Session()).begin()
    references = [Reference.parse(tag) for tag in tags]
    refuse_unnamed(push, references)
    called = Path(context).resolve().name
    place = None
    if output is not None or not (push or load):
        place = places.parse(output or f"{called or 'image'}.oci", writing=True)
    with ExitStack() as stack:
        made = dockerfiles.planned(
            context,
            stack,
            file=file,
            text=text,
            target=target,
            build_args=build_args,
            build_contexts=build_contexts,
            engine=engine,
            secrets=secrets,
            ssh=ssh,
            no_cache=no_cache,
            platforms=platforms,
            tool_args=tool_args,
            options=with_said(options or Options(), said),
            session=session,
            hidden=Path(place.path) if place is not None and place.path else None,
        )
        if dry_run:
            outcome = rehearse(made.plan, references, session)
        else:
            outcome = deliver(made.plan, references, place, push, load, session, out, called)
        kept = (made.plan, made.artifacts, outcome.copied, outcome.dry, made.notes)
        return Packed(outcome.descriptor, outcome.references, *kept)


def planned(target: Target, session: Session, stack: ExitStack, *, hidden: Path | None, no_cache: bool) -> Planned:
    """Build a target of a config file so far that only its image has to be put together; its files go with the stack.

    What is at `hidden` is no part of the folder that is built. `no_cache` is an engine's, of which a toolchain has none.
    Raises what `build` raises.
    """
    sources = target.sources
    assert sources is not None
    context = sources.build or "."
    options, platforms = replace(target.options, platform=()), target.options.platform
    if compiling.is_meant(context, sources.dockerfile, sources.language, sources.program):
        _refuse_others(sources)
        return compiling.planned(
            context,
            stack,
            language=sources.language,
            program=sources.program,
            tool_args=sources.tool_arg,
            platforms=platforms,
            options=options,
            session=session,
        )
    return dockerfiles.planned(
        context,
        stack,
        file=sources.dockerfile,
        text=None,
        target=sources.target,
        build_args=sources.build_arg,
        build_contexts=sources.build_context,
        engine=sources.engine,
        secrets=sources.secret,
        ssh=sources.ssh,
        no_cache=no_cache,
        platforms=platforms,
        tool_args=sources.tool_arg,
        options=options,
        session=session,
        hidden=hidden,
    )


def _refuse_others(sources: Sources) -> None:
    compiling.refuse_others(
        target=sources.target,
        build_arg=sources.build_arg,
        build_context=sources.build_context,
        engine=sources.engine,
        secret=sources.secret,
        ssh=sources.ssh,
    )


def check(
    context: str | os.PathLike[str],
    *,
    file: str | os.PathLike[str] | None = None,
    language: str | None = None,
    program: str | None = None,
    options: Options | None = None,
) -> None:
    """What `build` would refuse before it builds anything, as far as files tell. Raises as `build`."""
    folder = Path(context)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", code="context-missing", hint="give the folder to build")
    if compiling.is_meant(context, file, language, program):
        toolchains.language(folder.resolve(), language)
        return
    dockerfiles.check(folder, file, options or Options())
