"""The command line: one file a verb, loaded when it is asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from ocibuild.cli import collector, ending

if TYPE_CHECKING:
    from click import ClickException

    from ocibuild.errors import OcibuildError


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status: 0 done, 1 failed, 2 wrong usage, 3 findings, 4 not authorised, 5 network."""
    if arguments is not None:
        _run(arguments)
    collector.rest()  # the process is ours alone
    try:
        _run(sys.argv[1:])
    except SystemExit as stop:
        if isinstance(stop.code, int):
            ending.leave(stop.code)
        raise


def _run(words: list[str]) -> NoReturn:
    import click

    from ocibuild.cli.verbs import cli
    from ocibuild.errors import OcibuildError

    end = words.index("--") if "--" in words else len(words)  # what follows is for another program
    debug, as_json = "--debug" in words[:end], "--json" in words[:end]
    words = [word for word in words[:end] if word != "--debug"] + words[end:]
    _heed_signals()
    if debug:
        _show_log()
    try:
        status = cli.main(words, prog_name="ocibuild", standalone_mode=False)
        if sys.stdout is not None:
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
        from ocibuild.content import atomic

        if isinstance(error, OSError) and error.errno in atomic.FULL:
            sys.exit(failed(_full(), as_json))
        unexpected = OcibuildError(
            f"something unexpected happened: {type(error).__name__}: {error}",
            code="unexpected",
            hint="this is a defect of ocibuild: run it again with --debug and report what it shows",
        )
        sys.exit(failed(unexpected, as_json))
    sys.exit(status if isinstance(status, int) else 0)  # click hands over what a verb exited with


def _full() -> OcibuildError:
    """Whatever files ocibuild writes speaks for itself; what is left is where stdout goes."""
    from ocibuild.errors import StoreError

    words = "no space left on the disk that the output is written to"
    return StoreError(words, code="disk-full", hint="free some space and run the same command again")


def failed_usage(error: ClickException, as_json: bool) -> int:
    """click's own complaints, in the form of ours."""
    from ocibuild.errors import UsageError

    context = getattr(error, "ctx", None)
    hint = f"see {context.command_path} --help" if context is not None else None
    return failed(UsageError(error.format_message(), hint=hint), as_json)


def failed(error: OcibuildError, as_json: bool) -> int:
    """Say what went wrong, and give the exit status."""
    from ocibuild.cli import output

    return output.failed(error, as_json)


def _show_log() -> None:
    """Every exchange with a registry, on stderr: methods, addresses without their queries, statuses. Never a header."""
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(relativeCreated)6d ms %(message)s"))
    logger = logging.getLogger("ocibuild")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


def _heed_signals() -> None:
    """Being ended is being interrupted: what is half-written is cleared away."""
    try:  # the same functions, without enumerations that take long to make and that nobody here uses
        import _signal as signal  # type: ignore[import-not-found]
    except ImportError:
        import signal
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
