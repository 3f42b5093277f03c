"""What instructions say of an image: environment, entrypoint, ports and the rest of the config, with BuildKit's words.

Dockerfile reference; where it is silent, what BuildKit does (tests/vectors/buildkit).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ocibuild.content.tar import Entry
from ocibuild.image.plan import Existing, Tar
from ocibuild.source import health
from ocibuild.source.dockerfile import Instruction, invalid, split_words, unsupported
from ocibuild.source.filetree import Rootfs, resolved
from ocibuild.source.stages import expanded
from ocibuild.spec.config import History, Process
from ocibuild.spec.platform import Platform

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_SHELL = ("/bin/sh", "-c")


Layer = tuple[Entry, ...] | Existing | Tar


@dataclass(frozen=True)
class Line:
    """One line of history; `empty` where it made no layer. `whole` is a base image's own line."""

    created_by: str
    empty: bool
    whole: History | None = None


@dataclass(frozen=True)
class Made:
    """What a stage came to. `layers` and the lines that are not empty go together, in order.

    A layer is a base image's, or the entries of one of ours. `arguments` are those of its ARG lines, which a stage that
    goes on from it knows too.
    """

    process: Process
    rootfs: Rootfs
    layers: tuple[Layer, ...] = ()
    history: tuple[Line, ...] = ()
    author: str | None = None
    platform: Platform | None = None
    shell: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)


class Configuring:
    """A stage in the making, as far as its config goes; each method follows the instruction it is called like."""

    def __init__(self, base: Made, escape: str, notes: list[str]) -> None:
        self.rootfs, self.process, self.author, self.shell = base.rootfs, base.process, base.author, base.shell
        self.history = list(base.history)
        self.escape, self.notes = escape, notes
        self.arguments = dict(base.arguments)
        self.cmd_is_ours = False

    # -- words

    def expand(self, instruction: Instruction, text: str, *, quotes: bool = True) -> str:
        return expanded(instruction, text, {**self.arguments, **self.environment()}, self.escape, quotes=quotes)

    def environment(self) -> dict[str, str]:
        return dict(pair.split("=", 1) for pair in self.process.env)

    def said(self, line: str) -> None:
        self.history.append(Line(line, empty=True))

    def pairs(self, instruction: Instruction) -> list[tuple[str, str]]:
        """ENV's and LABEL's: KEY=VALUE…, or KEY and all the rest."""
        words = split_words(instruction.rest, self.escape)
        if "=" not in words[0]:
            key, *rest = instruction.rest.split(None, 1)
            if not rest:
                raise invalid(instruction.at, f"{instruction.word} {key} has no value", f"write {key}=VALUE")
            return [(self.expand(instruction, key), self.expand(instruction, rest[0]))]
        found = []
        for word in words:
            key, equals, value = word.partition("=")
            if not equals or not key:
                raise invalid(instruction.at, f"{word} is not KEY=VALUE", "put quotes around a value with blanks in it")
            found.append((self.expand(instruction, key), self.expand(instruction, value)))
        return found

    def command(self, instruction: Instruction) -> tuple[str, ...]:
        array = instruction.array()
        if array is not None:
            return array
        shell = self.shell or _SHELL
        path = resolved(self.rootfs, shell[0])
        if not path or self.rootfs.look(path) is None:
            self.notes.append(
                f"{instruction.at}: {instruction.word} needs a shell, and there is no {shell[0]} in the image; "
                'write it as an array: ["/program", "argument"]'
            )
        return (*shell, instruction.rest)

    # -- config

    def env(self, instruction: Instruction) -> None:
        pairs = self.pairs(instruction)
        self.process = replace(
            self.process, env=tuple(f"{k}={v}" for k, v in {**self.environment(), **dict(pairs)}.items())
        )
        self.said("ENV " + " ".join(f"{key}={value}" for key, value in pairs))

    def label(self, instruction: Instruction) -> None:
        pairs = self.pairs(instruction)
        self.process = replace(self.process, labels={**self.process.labels, **dict(pairs)})
        self.said("LABEL " + " ".join(f"{key}={value}" for key, value in pairs))

    def cmd(self, instruction: Instruction) -> None:
        self.process = replace(self.process, cmd=self.command(instruction))
        self.cmd_is_ours = True
        self.said(f"CMD [{_quoted(self.process.cmd)}]")

    def entrypoint(self, instruction: Instruction) -> None:
        # A CMD of the stage before was meant for the ENTRYPOINT of the stage before.
        cmd = self.process.cmd if self.cmd_is_ours else ()
        self.process = replace(self.process, entrypoint=self.command(instruction), cmd=cmd)
        self.said(f"ENTRYPOINT [{_quoted(self.process.entrypoint)}]")

    def expose(self, instruction: Instruction) -> None:
        ports: list[str] = []
        for word in self.expand(instruction, instruction.rest).split():
            match = _PORTS.fullmatch(word)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if match is None or not 0 < first <= last < 65536:
                raise invalid(instruction.at, f"{word} is no port", "write 8080, 53/udp or 8000-8002")
            ports += [f"{port}/{(match[3] or 'tcp').lower()}" for port in range(first, last + 1)]
        self.process = replace(self.process, exposed_ports=tuple(sorted({*self.process.exposed_ports, *ports})))
        self.said(f"EXPOSE [{' '.join(sorted(ports))}]")

    def volume(self, instruction: Instruction) -> None:
        paths = [self.expand(instruction, word) for word in instruction.words()]
        if not all(paths):
            raise invalid(instruction.at, "VOLUME names an empty path", "write VOLUME /data")
        self.process = replace(self.process, volumes=tuple(sorted({*self.process.volumes, *paths})))
        self.said(f"VOLUME [{' '.join(paths)}]")

    def user(self, instruction: Instruction) -> None:
        self.process = replace(self.process, user=self.expand(instruction, instruction.rest))
        self.said(f"USER {self.process.user}")

    def stopsignal(self, instruction: Instruction) -> None:
        self.process = replace(self.process, stop_signal=self.expand(instruction, instruction.rest))
        self.said(f"STOPSIGNAL {self.process.stop_signal}")

    def healthcheck(self, instruction: Instruction) -> None:
        check = health.read(instruction, self.command)
        self.process = replace(self.process, healthcheck=check.to_json())
        self.said(f"HEALTHCHECK {check}")

    def maintainer(self, instruction: Instruction) -> None:
        self.author = instruction.rest
        self.said(f"MAINTAINER {instruction.rest}")

    def set_shell(self, instruction: Instruction) -> None:
        array = instruction.array()
        if not array:
            raise invalid(instruction.at, "SHELL takes an array", 'write SHELL ["/bin/sh", "-c"]')
        self.shell = array
        self.process = replace(self.process, shell=array)
        self.said(f"SHELL [{' '.join(array)}]")

    def onbuild(self, instruction: Instruction) -> None:
        if instruction.inner is not None and instruction.inner.documents:
            raise unsupported(
                instruction.at, "a here-document behind ONBUILD has no place in a config", "COPY a file instead"
            )
        self.process = replace(self.process, on_build=(*self.process.on_build, instruction.rest))


def _quoted(words: Iterable[str]) -> str:
    return " ".join(json.dumps(word, ensure_ascii=False) for word in words)
