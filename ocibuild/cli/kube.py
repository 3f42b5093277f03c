"""`ocibuild kube REFERENCE [-- ARGUMENTS]`"""

from __future__ import annotations

import sys
from typing import Any

import click

from ocibuild.api.inspecting import is_program
from ocibuild.api.kube import kube
from ocibuild.api.run import is_missing
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, say, session, size_of
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb
from ocibuild.pack.plan import words_of


@verb("kube")
@click.argument("reference")
@click.argument("arguments", nargs=-1, metavar="[-- ARGUMENT...]")
@click.option("--kind", metavar="KIND", default="Pod", help="Pod, Job or Deployment.  [default: Pod]")
@click.option("--name", metavar="NAME", help="Its name.  [default: the repository's]")
@click.option("-n", "--namespace", metavar="NAME", help="Its namespace.")
@click.option("-e", "--env", multiple=True, metavar="KEY[=VALUE]", help="A variable for it; KEY alone hands on ours.")
@click.option("--entrypoint", metavar="WORDS", help="Start this instead of the image's entrypoint and arguments.")
@click.option("--port", "ports", multiple=True, type=click.IntRange(1, 65535), help="A port it listens on.")
@click.option("--memory", metavar="SIZE", callback=size_of, help="The most it may use, as in 64MiB.")
@click.option("--cpu", metavar="QUANTITY", help="Its processors at most, as in 500m or 2.")
@click.option(
    "--platform", metavar="OS/ARCH[/VARIANT]", help="The entry of an index to run.  [default: the node's own]"
)
@click.option("--handler", metavar="NAME", help="The Wasm runtime in the node's configuration.  [default: wasmtime]")
@click.option("--runtime-class", metavar="NAME", help="The name of its RuntimeClass.  [default: the handler's]")
@click.option("--no-runtime-class", "without", is_flag=True, help="The cluster has that RuntimeClass: do not print it.")
@registry_options
@json_option
def kube_command(
    reference: str,
    arguments: tuple[str, ...],
    kind: str,
    name: str | None,
    namespace: str | None,
    env: tuple[str, ...],
    entrypoint: str | None,
    ports: tuple[int, ...],
    memory: int | None,
    cpu: str | None,
    platform: str | None,
    handler: str | None,
    runtime_class: str | None,
    without: bool,
    as_json: bool,
    **reach: Any,
) -> None:
    """Print the Kubernetes objects that run an image, named by its digest, as YAML; --json prints a List.

    A Wasm image gets a RuntimeClass, whose handler the nodes' containerd or CRI-O must know. What would not run there
    is told on stderr, with the cure.

    \b
    ocibuild kube ghcr.io/me/hello:1 -- one two | kubectl apply -f -
    """
    host = None if is_program(reference) or is_missing(reference) else host_of(reference)
    with session(host, **reach) as current:
        made = kube(
            reference,
            arguments,
            kind=kind,
            name=name,
            namespace=namespace,
            env=env,
            entrypoint=words_of(entrypoint, "entrypoint"),
            ports=ports,
            memory=memory,
            cpu=cpu,
            platform=platform,
            runtime_class=runtime_class,
            handler=handler,
            with_runtime_class=not without,
            session=current,
        )
        for note in made.notes:
            say(current, note)
    if as_json:
        show.result_json(made.to_json())
    else:
        sys.stdout.write(made.to_yaml())
