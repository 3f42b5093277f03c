"""`ocibuild build [CONTEXT]`: a Dockerfile, or sources"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild import ambient
from ocibuild.api import bakeplan
from ocibuild.api.build import build
from ocibuild.cli import output as show
from ocibuild.cli.common import chunk_option, json_option, registry_options, session
from ocibuild.cli.making import image_options, output_options, record_options, report
from ocibuild.cli.verbs import verb
from ocibuild.errors import ToolError, UsageError
from ocibuild.pack import configfile
from ocibuild.pack.options import Options, Sources, about
from ocibuild.record import replace
from ocibuild.source.engine import ENGINES
from ocibuild.source.toolchains import AUTO, LANGUAGES
from ocibuild.spec.reference import Reference

OPTIONS = tuple(name for name in about() if name != "platform")


@verb("build")
@click.argument("context", required=False, metavar="[CONTEXT]")
@click.option("-f", "--file", metavar="FILE", help="The Dockerfile, - for stdin.  [default: CONTEXT/Dockerfile]")
@click.option("--target", metavar="STAGE", help="The stage to build.  [default: the last]")
@click.option("--build-arg", "build_args", multiple=True, metavar="NAME[=VALUE]", help="A value for ARG (repeatable).")
@click.option(
    "--build-context",
    "build_contexts",
    multiple=True,
    metavar="NAME=DIR|IMAGE",
    help="The files of a stage that was built elsewhere, of another folder or of an image (repeatable).",
)
@click.option(
    "--engine",
    type=click.Choice([*ENGINES, "none"]),
    help="Who builds stages with RUN.  [default: the first of these that is installed]",
)
@click.option(
    "--secret", "secrets", multiple=True, metavar="SECRET", help="For RUN --mount=type=secret: id=ID,src=FILE."
)
@click.option("--ssh", multiple=True, metavar="SSH", help="For RUN --mount=type=ssh: default, or ID=SOCKET|KEY.")
@click.option("--no-cache", is_flag=True, help="Let the engine run every step anew.")
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="OS/ARCH[/VARIANT]",
    help="The platform; several make an index.  [default: that of the program in the image; for sources wasi/wasm]",
)
@click.option(
    "--language",
    type=click.Choice([AUTO, *LANGUAGES]),
    help="Build the sources in CONTEXT; auto sees their language.  [default: where there is no Dockerfile]",
)
@click.option(
    "--program", metavar="NAME", help="Which of the sources' programs: a binary, a package, a file, a module."
)
@click.option("--tool-arg", "tool_args", multiple=True, metavar="ARG", help="Hand this to the toolchain (repeatable).")
@click.option("--config", metavar="FILE", help="Build a target of an ocibuild.toml; --target names it.")
@output_options
@record_options
@image_options(*OPTIONS, taken=("-f",))
@registry_options
@chunk_option
@json_option
def build_command(
    context: str | None,
    file: str | None,
    target: str | None,
    build_args: tuple[str, ...],
    build_contexts: tuple[str, ...],
    engine: str | None,
    secrets: tuple[str, ...],
    ssh: tuple[str, ...],
    no_cache: bool,
    platforms: tuple[str, ...],
    language: str | None,
    program: str | None,
    tool_args: tuple[str, ...],
    config: str | None,
    tags: tuple[str, ...],
    output: str | None,
    push: bool,
    load: str | None,
    dry_run: bool,
    iidfile: str | None,
    metadata_file: str | None,
    as_json: bool,
    **said: Any,
) -> None:
    """Build the sources in CONTEXT, or the last stage of the Dockerfile there, into an image. No daemon is needed.

    Rust, Go, Zig, C, AssemblyScript, JavaScript and Python are built by their own toolchains on this machine, for Wasm and
    as static binaries, side by side, and what comes of it is checked.

    Of a Dockerfile, COPY, ADD of local files, and everything that is said of the image work as in docker build. Stages
    with RUN are built by buildah, podman or docker, whichever is here; or they are not: say where their files are with
    --build-context STAGE=DIR. Images are read from their registries with no engine.

    \b
    ocibuild build . --platform wasi/wasm,linux/amd64 -t localhost:5000/hello:1 --push
    ocibuild build . --language rust --program server -o server.oci
    ocibuild build -f Dockerfile-wasm --build-context build=out -t localhost:5000/hello:1 --push .
    ocibuild build --platform linux/amd64,linux/arm64 -o all.oci .
    ocibuild build --config . --target server --push
    """
    options = Options(**{name: said.pop(name) for name in OPTIONS})
    sources = Sources(
        context, file, target, build_args, build_contexts, engine, secrets, ssh, language, program, tool_args
    )
    if config is not None:
        found = bakeplan.alone(target, configfile.read(config, None, ambient.read().environ), "build")
        if found.files and context is None:
            raise UsageError(
                f"target {found.name} is packed from files, and nothing is built",
                hint=f"ocibuild pack --config {config} --target {found.name}",
            )
        options = configfile.merged(found.options, replace(options, platform=platforms))
        sources = configfile.merged(found.sources or Sources(), replace(sources, target=None))
        tags, platforms, options = tags or found.tags, options.platform, replace(options, platform=())
    host = Reference.parse(tags[0]).registry if tags else None
    text = None
    if file == "-":
        if said["password_stdin"]:
            raise UsageError("--password-stdin and -f - both read stdin", hint="log in first: ocibuild login")
        text = sys.stdin.buffer.read()
    with session(host, **said) as current:
        try:
            built = build(
                sources.build or ".",
                file=None if text is not None else sources.dockerfile,
                text=text,
                target=sources.target,
                build_args=sources.build_arg,
                build_contexts=sources.build_context,
                engine=sources.engine,
                secrets=sources.secret,
                ssh=sources.ssh,
                no_cache=no_cache,
                platforms=platforms,
                language=sources.language,
                program=sources.program,
                tool_args=sources.tool_arg,
                tags=tags,
                output=output,
                push=push,
                load=load,
                dry_run=dry_run,
                options=options,
                session=current,
                out=sys.stdout.buffer if output == "-" else None,
            )
        except ToolError as error:
            if said["quiet"]:
                # What a compiler printed was not shown; now it is all there is to go by.
                for line in getattr(error, "__notes__", ()):
                    show.note(line)
            raise
        report(built, tags, current, iidfile, metadata_file, as_json=as_json, to_stdout=output == "-")
