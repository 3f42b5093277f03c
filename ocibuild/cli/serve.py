"""`ocibuild serve [DIR]`"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from ocibuild.api.serve import PORT, Serving, serve
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, seconds_of, size_of
from ocibuild.cli.verbs import verb

_FILE = click.Path(dir_okay=False, path_type=Path)


@verb("serve")
@click.argument("folder", metavar="[DIR]", default="registry", type=click.Path(path_type=Path))
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="Listen there; 0: any free one."
)
@click.option(
    "--host", default="127.0.0.1", metavar="IP", help="Listen on this address.  [default: this machine alone]"
)
@click.option("--name", metavar="NAME", help="What the repository is called, where DIR is a layout.  [default: as DIR]")
@click.option("--tls-cert", type=_FILE, metavar="FILE", help="Speak https with this certificate (PEM).")
@click.option("--tls-key", type=_FILE, metavar="FILE", help="The key to it (PEM), where FILE does not hold it too.")
@click.option("--htpasswd", type=_FILE, metavar="FILE", help="Who may log in: names and bcrypt entries.")
@click.option("--token", "token_file", type=_FILE, metavar="FILE", help="Tokens that are let in, one a line.")
@click.option("--anonymous-pull", is_flag=True, help="Let everybody pull; only pushes need a login.")
@click.option("--read-only", is_flag=True, help="Refuse pushes and deletions.")
@click.option("--insecure", is_flag=True, help="Listen beyond this machine without https or logins.")
@click.option("--sparse", is_flag=True, help="Take manifests whose blobs are not here.")
@click.option(
    "--gc",
    "collect",
    metavar="TIME",
    callback=seconds_of,
    help="Remove what no manifest needs, every so often, as in 1h.",
)
@click.option("--proxy", metavar="REGISTRY", help="Be a cache of that registry, as docker.io or http://localhost:5000.")
@click.option(
    "--proxy-fresh",
    metavar="TIME",
    callback=seconds_of,
    help="Believe a tag that long before asking again, as in 30s.  [default: ask each time]",
)
@click.option(
    "--proxy-limit",
    metavar="SIZE",
    callback=size_of,
    help="Keep no more than that, as in 20GB; what was not asked for the longest goes.",
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but the address and errors.")
@json_option
def serve_command(
    folder: Path,
    port: int,
    host: str,
    name: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    htpasswd: Path | None,
    token_file: Path | None,
    anonymous_pull: bool,
    read_only: bool,
    insecure: bool,
    sparse: bool,
    collect: float | None,
    proxy: str | None,
    proxy_fresh: float | None,
    proxy_limit: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Be a registry over DIR until Ctrl-C: one OCI layout a repository, which any tool can read and write too.

    DIR may be a layout itself, and is then the only repository. Prints where it listens once it does, as references begin
    with it: localhost:5000. Only this machine can reach it unless --host says otherwise.
    """
    serving = Serving(
        folder=folder,
        name=name,
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        htpasswd=htpasswd,
        token_file=token_file,
        anonymous_pull=anonymous_pull,
        read_only=read_only,
        insecure=insecure,
        sparse=sparse,
        collect=collect,
        proxy=proxy,
        proxy_fresh=proxy_fresh or 0.0,
        proxy_limit=proxy_limit,
    )
    with suppress(KeyboardInterrupt), serve(serving) as served:
        if as_json:
            show.result_json({"address": served.address, "scheme": served.scheme, "folder": str(folder)})
        else:
            show.result(served.address)
            if not quiet:
                what = f"serving {folder}" if proxy is None else f"serving {proxy} through {folder}"
                show.note(f"{what}; Ctrl-C ends it")
        served.wait()
