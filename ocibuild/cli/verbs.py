"""The verbs by name and in a few words; the file of one is imported when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ocibuild import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_VERBS = {
    "init": "Write a first ocibuild.toml, from what is found.",
    "pack": "Pack programs into one image.",
    "build": "Build sources, or the last stage of a Dockerfile.",
    "bake": "Make all images of an ocibuild.toml.",
    "push": "Push a local image to registries.",
    "pull": "Fetch an image from a registry.",
    "copy": "Copy an image between any two places.",
    "save": "Write an image into an archive.",
    "index": "Join pushed images into one index.",
    "inspect": "Look into a file, layout, archive or registry.",
    "check": "Say whether files or images fit their consumer.",
    "diff": "Say in words what makes two images differ.",
    "extract": "Give the program back, byte for byte.",
    "run": "Run the program of an image, or a bare one.",
    "kube": "Print a Pod that runs an image, and its RuntimeClass.",
    "resolve": "Put pushed digests in place of ocibuild://PATH in YAML.",
    "formats": "List the shapes and who reads them.",
    "manifest": "Print an image's manifest as it is.",
    "config": "Print an image's config as it is.",
    "blob": "Print a blob as it is.",
    "digest": "Print an image's digest.",
    "login": "Log in to a registry.",
    "logout": "Log out of a registry.",
    "auth": "Explain which login a registry is shown.",
    "tags": "List the tags of a repository.",
    "repos": "List the repositories of a registry.",
    "tag": "Give an image more tags where it is.",
    "rm": "Remove a tag, or a manifest.",
    "tree": "Show what an image is made of, and what is attached.",
    "referrers": "List what is attached to an image.",
    "attach": "Attach files to an image.",
    "serve": "Be a registry, over a folder of layouts.",
    "completion": "Print what a shell reads to complete commands.",
    "man": "Print a manual page, or write all of them.",
}
_RAW = {"manifest", "config", "blob", "digest"}


def _show_help(context: click.Context, option: click.Parameter, is_wanted: bool) -> None:
    if is_wanted and not context.resilient_parsing:
        click.echo(context.get_help(), color=context.color)
        context.exit()


def _show_version(context: click.Context, option: click.Parameter, is_wanted: bool) -> None:
    if is_wanted and not context.resilient_parsing:
        click.echo(f"ocibuild {__version__}")
        context.exit()


def _front(*flags: str, callback: Callable[..., None], help: str) -> click.Option:
    """A flag that is looked at first, and stands for the whole run.

    Made here, because click asks for the translation of its own ones whether they are shown or not.
    """
    return click.Option(flags, is_flag=True, is_eager=True, expose_value=False, callback=callback, help=help)


_HELP = _front("-h", "--help", callback=_show_help, help="Show this message and exit.")
_VERSION = _front("--version", callback=_show_version, help="Show the version and exit.")


class Verb(click.Command):
    """A command with a `--help` of ours."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.params.append(_HELP)

    def make_parser(self, context: click.Context) -> Any:
        """click looks for a flag among the long ones first, and makes a whole complaint, with suggestions, of each `-o`."""
        parser = super().make_parser(context)
        parser._long_opt.update(parser._short_opt)
        return parser


def verb(name: str) -> Callable[[Callable[..., Any]], Verb]:
    """What makes a function the verb of that name."""
    return click.command(name, cls=Verb, short_help=_VERBS[name])


class _Verbs(Verb, click.Group):
    """Knows every verb by name, and imports only the one that is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        module = importlib.import_module(f"ocibuild.cli.{'raw' if name in _RAW else name}")
        command = getattr(module, f"{name}_command")
        assert isinstance(command, click.Command)
        if context.resilient_parsing:
            from ocibuild.cli import completing

            completing.furnish(name, command)
        return command

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Verbs by their names alone, and our own options."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(name, help=words) for name, words in _VERBS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, context, incomplete)]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.group(cls=_Verbs, params=[_VERSION], context_settings={"help_option_names": []})
@click.option("--debug", is_flag=True, help="Show every exchange, and where an error came from.")
def cli(debug: bool) -> None:
    """Make OCI images from Wasm modules and static binaries: no daemon, no Dockerfile, no base image.

    The result stands alone on stdout; everything else goes to stderr.
    """
