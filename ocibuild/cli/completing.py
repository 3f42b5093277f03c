"""What shells are offered for values: targets of the config file, tags of a registry, names that are known, files.

Loaded only where a shell asks. Nothing here fails aloud, prompts, or keeps a person waiting: a registry that does not
answer in time has no tags.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, ShellComplete, get_completion_class
from click.types import StringParamType

if TYPE_CHECKING:
    from ocibuild.api.session import Session

SHELLS = ("bash", "zsh", "fish")
SECONDS = 2.0
"""How long a registry has to answer."""

_MOST = 1000
_VARIABLE = "_OCIBUILD_COMPLETE"
_TRANSPORTS = ("oci:", "oci-archive:", "docker-archive:")
_REACH = ("plain_http", "insecure", "ca_file")

_BASH = r"""%(complete_func)s() {
    # Bash takes words apart at colons and equals signs, which references have in them: they are put together again.
    local rest=${COMP_LINE:0:COMP_POINT} words=() i word trimmed
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        trimmed=${rest#"${rest%%%%[![:space:]]*}"}
        ((i == COMP_CWORD)) && word=$trimmed
        if ((i > 0)) && [[ -n $rest && $rest == "$trimmed" ]]; then
            words[-1]+=$word
        else
            words+=("$word")
        fi
        rest=${trimmed#"$word"}
    done
    # Only what follows the last of them is replaced.
    local current=${words[-1]#--*=} before='' type value
    [[ $COMP_WORDBREAKS == *:* ]] && before=${current%%"${current##*:}"}
    COMPREPLY=()
    while IFS=, read -r type value; do
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        elif [[ $type == plain ]]; then
            COMPREPLY+=("${value#"$before"}")
        fi
    done < <(IFS=$'\n'; COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    source_template = _BASH

    def source(self) -> str:
        return ShellComplete.source(self)


def script(shell: str, cli: click.Command) -> str:
    """What a shell reads to complete our command line: one of SHELLS."""
    made = _Bash if shell == "bash" else get_completion_class(shell)
    assert made is not None
    return made(cli, {}, "ocibuild", _VARIABLE).source()


class _Value(StringParamType):
    """A value as it is, with what a shell is offered for it."""

    def __init__(self, offer: Offer) -> None:
        self._offer = offer

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            return list(self._offer(ctx, incomplete))
        except Exception:  # a shell that completes has no place for complaints
            return []


Offer = Callable[[click.Context, str], Iterable[CompletionItem]]


def furnish(verb: str, command: click.Command) -> None:
    """Give the values of a verb what shells are offered for them, by what each is called."""
    for parameter in command.params:
        if not isinstance(parameter.type, StringParamType) or getattr(parameter, "is_flag", False):
            continue
        metavar = (parameter.metavar or "").strip("[]").rstrip("…")
        name = parameter.name or ""
        offer = _NAMED.get(f"{verb} {name}") or _NAMED.get(name) or _SHOWN.get(metavar)
        if offer is not None:
            parameter.type = _Value(offer)


def _files(context: click.Context, text: str) -> Iterable[CompletionItem]:
    return [CompletionItem(text, type="file")]


def _folders(context: click.Context, text: str) -> Iterable[CompletionItem]:
    return [CompletionItem(text, type="dir")]


def _of(*names: str) -> Offer:
    return lambda context, text: _starting(names, text)


def _starting(names: Iterable[str], text: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(text)][:_MOST]


def _verbs(context: click.Context, text: str) -> Iterable[CompletionItem]:
    group = context.find_root().command
    return _starting(group.list_commands(context) if isinstance(group, click.Group) else (), text)


def _shapes(context: click.Context, text: str) -> Iterable[CompletionItem]:
    from ocibuild.image.shapes import SHAPES

    return [CompletionItem(one.name, help=one.consumers) for one in SHAPES.values() if one.name.startswith(text)]


def _consumers(context: click.Context, text: str) -> Iterable[CompletionItem]:
    from ocibuild.pack.presets import PRESETS

    return [CompletionItem(one.name, help=one.why) for one in PRESETS.values() if one.name.startswith(text)]


def _languages(context: click.Context, text: str) -> Iterable[CompletionItem]:
    from ocibuild.source.toolchains import AUTO, LANGUAGES

    return _starting((AUTO, *LANGUAGES), text)


def _targets(context: click.Context, text: str) -> Iterable[CompletionItem]:
    from ocibuild import ambient
    from ocibuild.pack import configfile

    file = configfile.read(context.params.get("config") or ".", _said(context), ambient.read().environ)
    grouped = file.groups if context.info_name == "bake" else ()
    named = context.params.get("targets") or ()
    return _starting((name for name in (*file.targets, *grouped) if name not in named), text)


def _said(context: click.Context) -> dict[str, str]:
    pairs = [text.partition("=") for text in context.params.get("said") or ()]
    return {name: value for name, _, value in pairs}


def _registries(context: click.Context, text: str) -> Iterable[CompletionItem]:
    from ocibuild.api.login import logins

    return _starting(dict.fromkeys(one.host for one in logins()[0]), text)


def _repositories(context: click.Context, text: str) -> Iterable[CompletionItem]:
    return _places(context, text) if ":" not in text.rpartition("/")[2] else ()


def _places(context: click.Context, text: str) -> Iterable[CompletionItem]:
    """An image wherever it is: files of this machine before registries, as everywhere."""
    transport = next((name for name in _TRANSPORTS if text.startswith(name)), None)
    if transport is not None:
        return _local(transport, text.removeprefix(transport))
    if text.startswith((".", "/", "~")) or _beginning(text):
        return _files(context, text)
    return _references(context, text) or _files(context, text)


def _local(transport: str, rest: str) -> list[CompletionItem]:
    """`oci:DIR:TAG`, and paths."""
    folder, colon, _ = rest.rpartition(":")
    if colon and transport == "oci:" and os.path.isdir(folder):
        from ocibuild.api.listing import tags

        return _starting((f"{transport}{folder}:{name}" for name in tags(f"oci:{folder}")), f"{transport}{rest}")
    return _starting((f"{transport}{path}" for path in _beginning(rest)), f"{transport}{rest}")


def _beginning(text: str) -> list[str]:
    """The paths that begin so."""
    folder, name = os.path.split(text)
    if not name and not folder:
        return []
    try:
        listed = sorted(os.listdir(folder or "."))
    except OSError:
        return []
    return [os.path.join(folder, one) for one in listed if one.startswith(name)]


def _references(context: click.Context, text: str) -> list[CompletionItem]:
    """`HOST/NAME:TAG`: tags behind a colon, repositories before it where the registry is named."""
    rest = text.removeprefix("docker://")
    begins = text[: len(text) - len(rest)]
    host, slash, path = rest.partition("/")
    repository, colon, tag = rest.rpartition(":")
    if colon and "/" not in tag and "@" not in rest and (slash or not _is_host(host)):
        found = _asked(context, lambda session: _tags(repository, session))
        return _starting((f"{begins}{repository}:{name}" for name in found), text)
    if slash and _is_host(host) and "@" not in rest:
        found = _asked(context, lambda session: _repositories_of(host, path, session))
        return _starting((f"{begins}{host}/{name}" for name in found), text)
    return []


def _is_host(text: str) -> bool:
    """True for what a reference takes for a registry, and not for a name on Docker Hub."""
    return text == "localhost" or "." in text or text.rpartition(":")[2].isdigit()


def _tags(repository: str, session: Session) -> tuple[str, ...]:
    from ocibuild.api.listing import tags

    return tags(f"docker://{repository}", session=session)


def _repositories_of(host: str, prefix: str, session: Session) -> tuple[str, ...]:
    from ocibuild.api.listing import repositories

    return repositories(host, prefix=prefix, session=session)


def _asked(context: click.Context, ask: Callable[[Session], tuple[str, ...]]) -> tuple[str, ...]:
    """What a registry answers in time, by a thread of its own: looking up a name cannot be called off."""
    from ocibuild.api.session import Session

    reach: dict[str, Any] = {name: context.params.get(name) or None for name in _REACH}
    session = Session(**(reach | {"insecure": bool(reach["insecure"])}))
    answers: list[tuple[str, ...]] = []

    def work() -> None:
        try:
            answers.append(ask(session))
        except Exception:  # it has none
            return

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS)
    session.cancel.set()
    return answers[0] if answers else ()


_PLATFORMS = _of("wasi/wasm", "wasip1/wasm", "wasip2/wasm", "linux/amd64", "linux/arm64", "linux/arm/v7")
_ENGINES = _of("docker", "podman", "containerd")

_NAMED: dict[str, Offer] = {
    "bake targets": _targets,
    "pack target": _targets,
    "man command": _verbs,
    "bake executor": _of("threads", "process", "dask://"),
    "bake config": _files,
    "logout registry": _registries,
    "auth registry": _registries,
    "login registry": _registries,
    "tags repository": _repositories,
    "resolve repo": _repositories,
    "format": _shapes,
    "consumer": _consumers,
    "language": _languages,
    "load": _ENGINES,
    "engine": _ENGINES,
    "compression": _of("gzip", "gzip-single", "zstd", "none"),
    **dict.fromkeys(("place", "source", "destination", "reference", "references", "what", "a", "b", "to"), _places),
}
_SHOWN: dict[str, Offer] = {
    **dict.fromkeys(("PLACE", "REFERENCE", "FILE|PLACE", "SOURCE"), _places),
    **dict.fromkeys(("FILE", "FILE[=PLATFORM]", "FILE[:MEDIA/TYPE]", "SRC:DEST[:MODE]"), _files),
    **dict.fromkeys(("DIR", "CONTEXT"), _folders),
    **dict.fromkeys(("OS/ARCH[/VARIANT]", "PLATFORM,", "OS/ARCH,"), _PLATFORMS),
}
