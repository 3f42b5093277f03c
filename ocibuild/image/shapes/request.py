"""What every shape is made from: a program, and what was said about its image."""

from __future__ import annotations

import json

from ocibuild.binary.artifact import Artifact
from ocibuild.content import tar
from ocibuild.content.blob import Content, File
from ocibuild.content.tar import Entry
from ocibuild.image.plan import Files, Pairs
from ocibuild.record import field, record
from ocibuild.spec.config import DEFAULT_PATH, History, Process
from ocibuild.spec.platform import Platform

COMMENT = "buildkit.dockerfile.v0"
"""BuildKit's history comment; docker history and scanners know how to read these lines."""


@record
class Request:
    """One program to be shipped.

    `name` is the program's path in the image without the leading slash; `process.entrypoint` is empty where the shape
    should point at the program; `created` is RFC 3339 and `mtime` the same in seconds.
    """

    artifact: Artifact
    name: str
    platform: Platform
    created: str
    mtime: int = 0
    mode: int = 0o755
    process: Process = field(default_factory=Process)
    extras: tuple[Entry, ...] = ()
    extras_created_by: tuple[str, ...] = ()
    author: str | None = None
    annotations: Pairs = ()
    entry_annotations: Pairs = ()
    compression: str = "gzip:1"
    program: Content | None = None

    @property
    def content(self) -> Content:
        """The program's bytes: `program`, or the file; opening it checks that it is the one that was looked at."""
        if self.program is not None:
            return self.program
        stamp = self.artifact.stamp
        return File(self.artifact.path, self.artifact.size, mtime_ns=stamp.mtime_ns)

    def layer(self) -> Files:
        """Everything in one tar layer: extras and the program, folders first."""
        program = Entry(self.name, "file", self.mode, self.content)
        return Files(tuple(tar.with_parents((*self.extras, program))), self.compression, self.mtime)

    def history(self) -> tuple[History, ...]:
        """One line per thing said, as BuildKit writes them; only the first stands for a layer."""
        process = self.process
        copied = " ".join((f"COPY {self.name.rpartition('/')[2]} /{self.name}", *self.extras_created_by, "# buildkit"))
        said = [
            *_each("ENV", [pair for pair in process.env if pair != f"PATH={DEFAULT_PATH}"]),
            *_each("LABEL", [f"{key}={value}" for key, value in process.labels.items()]),
            *([f"USER {process.user}"] if process.user else []),
            *([f"WORKDIR {process.working_dir}"] if process.working_dir not in ("", "/") else []),
            *([f"EXPOSE [{' '.join(sorted(process.exposed_ports))}]"] if process.exposed_ports else []),
            *([f"VOLUME [{' '.join(process.volumes)}]"] if process.volumes else []),
            *([f"STOPSIGNAL {process.stop_signal}"] if process.stop_signal else []),
            *([f"ENTRYPOINT [{_words(process.entrypoint)}]"] if process.entrypoint else []),
            *([f"CMD [{_words(process.cmd)}]"] if process.cmd else []),
        ]
        first = History(copied, self.created, COMMENT)
        return (first, *(History(line, self.created, COMMENT, empty_layer=True) for line in said))


def _each(word: str, values: list[str] | tuple[str, ...]) -> list[str]:
    return [f"{word} {' '.join(values)}"] if values else []


def _words(words: tuple[str, ...]) -> str:
    return " ".join(json.dumps(word, ensure_ascii=False) for word in words)
