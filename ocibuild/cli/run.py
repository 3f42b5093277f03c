"""`ocibuild run PLACE|FILE [-- ARGUMENTS]`"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from ocibuild.api.inspecting import is_program
from ocibuild.api.run import is_missing, perform
from ocibuild.cli import output as show
from ocibuild.cli.common import registry_options, seconds_of, session, size_of
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb
from ocibuild.pack.plan import words_of
from ocibuild.run.launch import Folder, Launch


@verb("run")
@click.argument("what", metavar="FILE|PLACE")
@click.argument("arguments", nargs=-1, metavar="[-- ARGUMENT...]")
@click.option("--platform", metavar="OS/ARCH[/VARIANT]", help="The entry of an index to run.  [default: the Wasm one]")
@click.option("-e", "--env", multiple=True, metavar="KEY[=VALUE]", help="A variable for it; KEY alone hands on ours.")
@click.option(
    "--dir", "dirs", multiple=True, metavar="HOST[::GUEST][:ro]", help="A folder that a Wasm program may see."
)
@click.option(
    "--mount",
    "mounts",
    multiple=True,
    metavar="SPEC",
    help="The same in docker's words: type=bind,source=DIR,target=PATH[,readonly], or type=tmpfs,target=PATH.",
)
@click.option("--net", is_flag=True, help="Let it use this machine's network.")
@click.option("--listen", metavar="IP:PORT", help="Where an HTTP component answers.  [default: 127.0.0.1:8080]")
@click.option("--entrypoint", metavar="WORDS", help="Start this instead of the image's entrypoint and arguments.")
@click.option("-w", "--workdir", metavar="PATH", help="Where it starts; Wasm programs are told in PWD.")
@click.option(
    "--timeout", metavar="TIME", callback=seconds_of, help="End it after this time, as in 10s, with status 124."
)
@click.option("--memory", metavar="SIZE", callback=size_of, help="How large a Wasm memory may grow, as in 64MiB.")
@click.option("--engine", metavar="ENGINE", help="Run it in a container of docker, podman or containerd.")
@click.option(
    "--runtime", metavar="NAME", help="What starts it there, as wasmtime, youki or a path.  [default: what is found]"
)
@click.option(
    "--engine-arg", "extra", multiple=True, metavar="WORD", help="One more word for the engine's run (repeatable)."
)
@click.option("--print", "printed", is_flag=True, help="Print the engine's command line, and do not run it.")
@registry_options
@click.option("--json", "as_json", is_flag=True, help="Say how it ended as one line of JSON, on stderr.")
def run_command(
    what: str,
    arguments: tuple[str, ...],
    platform: str | None,
    env: tuple[str, ...],
    dirs: tuple[str, ...],
    mounts: tuple[str, ...],
    net: bool,
    listen: str | None,
    entrypoint: str | None,
    workdir: str | None,
    timeout: float | None,
    memory: int | None,
    engine: str | None,
    runtime: str | None,
    extra: tuple[str, ...],
    printed: bool,
    as_json: bool,
    quiet: bool,
    **reach: Any,
) -> None:
    """Run a program with this terminal's stdin, stdout and stderr; its exit status becomes ours.

    ARGUMENTs replace the image's. A Wasm program sees nothing of this machine but what --env, --dir, --mount and --net
    say, and its image's own files for reading; a native one runs as any program here does. An HTTP component is served.
    With --engine it runs in a container, and nothing of it stays. Status 134: it trapped; 124: --timeout.
    """
    launch = Launch(
        arguments=arguments,
        env=env,
        folders=(*(Folder.parse(text) for text in dirs), *(Folder.mount(text) for text in mounts)),
        entrypoint=words_of(entrypoint, "entrypoint"),
        workdir=workdir,
        net=net,
        listen=listen,
        timeout=timeout,
        memory=memory,
    )
    if engine is None and (runtime or extra or printed):
        raise click.UsageError("--runtime, --engine-arg and --print go with --engine")
    host = None if is_program(what) or is_missing(what) else host_of(what)
    with session(host, quiet=quiet, **reach) as current:
        if engine is not None:
            from ocibuild.api import contained

            handover = contained.Handover(engine, runtime, extra)
            if printed:
                line = contained.line(what, launch, handover, platform=platform, session=current)
                return show.result_json({"command": line}) if as_json else show.result(line)
            ended = contained.perform(what, launch, handover, platform=platform, session=current)
        else:
            ended = perform(what, launch, platform=platform, session=current)
    if as_json:
        document = {"status": ended.status, "reason": ended.reason, "text": show.plain(ended.text)}
        click.echo(json.dumps(document, ensure_ascii=False), err=True)
    elif ended.reason != "exit":
        show.note(_SAID[ended.reason] + ended.text)
    sys.exit(ended.status)


_SAID = {"trap": "the program trapped: ", "timeout": "the program did not end: ", "signal": "the program broke off: "}
