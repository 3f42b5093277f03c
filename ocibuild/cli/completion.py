"""`ocibuild completion SHELL`"""

from __future__ import annotations

import click

from ocibuild.cli import completing
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option
from ocibuild.cli.verbs import verb


@verb("completion")
@click.argument("shell", type=click.Choice(completing.SHELLS))
@json_option
def completion_command(shell: str, as_json: bool) -> None:
    """Print a script by which a shell completes commands, options, targets of ocibuild.toml, and tags of registries.

    \b
    source <(ocibuild completion bash)                                  # in ~/.bashrc
    source <(ocibuild completion zsh)                                   # in ~/.zshrc, after compinit
    ocibuild completion fish > ~/.config/fish/completions/ocibuild.fish
    """
    from ocibuild.cli.verbs import cli

    text = completing.script(shell, cli)
    if as_json:
        show.result_json({"shell": shell, "script": text})
    else:
        click.echo(text, nl=False)
