"""The command line: one file a verb, loaded when it is asked for."""

from __future__ import annotations

import importlib
import signal
import sys
from typing import NoReturn

import click

from ocibuild import __version__
from ocibuild.errors import OcibuildError

_VERBS = {
    "pack": "Pack programs into one image.",
    "build": "Build sources, or the last stage of a Dockerfile.",
    "push": "Push a local image to registries.",
    "pull": "Fetch an image from a registry.",
    "copy": "Copy an image between any two places.",
    "save": "Write an image into an archive.",
    "index": "Join pushed images into one index.",
    "inspect": "Look into a file, layout, archive or registry.",
    "check": "Say whether a file or image fits its consumer.",
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
}
_RAW = {"manifest", "config", "blob", "digest"}


class _Verbs(click.Group):
    """Knows every verb by name, and imports only the one that is used."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _VERBS:
            return None
        module = importlib.import_module(f"ocibuild.cli.{'raw' if name in _RAW else name}")
        command = getattr(module, f"{name}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_VERBS.items()))


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show every exchange, and where an error came from.")
def cli(debug: bool) -> None:
    """Make OCI images from Wasm modules and static binaries: no daemon, no Dockerfile, no base image.

    The result stands alone on stdout; everything else goes to stderr.
    """


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status: 0 done, 1 failed, 2 wrong usage, 3 findings, 4 not authorised, 5 network."""
    from ocibuild.cli.output import failed

    words = sys.argv[1:] if arguments is None else arguments
    end = words.index("--") if "--" in words else len(words)  # what follows is for another program
    debug, as_json = "--debug" in words[:end], "--json" in words[:end]
    words = [word for word in words[:end] if word != "--debug"] + words[end:]
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)
    if debug:
        _show_log()
    try:
        status = cli.main(words, prog_name="ocibuild", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        sys.exit(failed_usage(error, as_json))
    except (KeyboardInterrupt, click.Abort):
        if debug:
            raise
        click.echo("cancelled", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; there is nobody to tell.
        sys.stderr.close()
        sys.exit(141)
    except OcibuildError as error:
        if debug:
            raise
        sys.exit(failed(error, as_json))
    except Exception as error:
        if debug:
            raise
        unexpected = OcibuildError(
            f"something unexpected happened: {type(error).__name__}: {error}",
            code="unexpected",
            hint="this is a defect of ocibuild: run it again with --debug and report what it shows",
        )
        sys.exit(failed(unexpected, as_json))
    sys.exit(status if isinstance(status, int) else 0)  # click hands over what a verb exited with


def failed_usage(error: click.ClickException, as_json: bool) -> int:
    """click's own complaints, in the form of ours."""
    from ocibuild.cli.output import failed
    from ocibuild.errors import UsageError

    context = getattr(error, "ctx", None)
    hint = f"see {context.command_path} --help" if context is not None else None
    return failed(UsageError(error.format_message(), hint=hint), as_json)


def _show_log() -> None:
    """Every exchange with a registry, on stderr: methods, addresses without their queries, statuses. Never a header."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(relativeCreated)6d ms %(message)s"))
    logger = logging.getLogger("ocibuild")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
