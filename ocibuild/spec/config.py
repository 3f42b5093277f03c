"""The image config: what to run, and over which file system. OCI image-spec, config.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ocibuild.record import field, record
from ocibuild.spec import jsonform
from ocibuild.spec.digest import Digest
from ocibuild.spec.jsonform import Reader
from ocibuild.spec.platform import Platform

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""What BuildKit sets for an image from scratch, Wasm ones too."""


@record
class History:
    """One line of how the image came to be; `empty_layer` where it made no layer."""

    created_by: str
    created: str | None = None
    comment: str | None = None
    author: str | None = None
    empty_layer: bool = False

    def to_json(self) -> dict[str, Any]:
        """Members in the specification's order, absent ones left out."""
        document: dict[str, Any] = {}
        if self.created is not None:
            document["created"] = self.created
        document["created_by"] = self.created_by
        if self.author is not None:
            document["author"] = self.author
        if self.comment is not None:
            document["comment"] = self.comment
        if self.empty_layer:
            document["empty_layer"] = True
        return document


@record
class Process:
    """The `config` member: what a runtime starts, and with what around it.

    `healthcheck`, `shell` and `on_build` are Docker's own; config.md has no word for them.
    """

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    healthcheck: Mapping[str, Any] = field(default_factory=dict)
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Members in the specification's order, empty ones left out."""
        members: dict[str, Any] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Env": list(self.env),
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.cmd),
            "Volumes": {path: {} for path in self.volumes},
            "WorkingDir": self.working_dir,
            "Labels": dict(self.labels),
            "StopSignal": self.stop_signal,
            "Healthcheck": dict(self.healthcheck),
            "Shell": list(self.shell),
            "OnBuild": list(self.on_build),
        }
        return {name: value for name, value in members.items() if value}

    @classmethod
    def from_json(cls, document: Any, at: str = "config.config") -> Process:
        """Read a stranger's `config` member."""
        reader = Reader(document, at)
        return cls(
            user=reader.string("User", ""),
            exposed_ports=tuple(reader.object("ExposedPorts", {})),
            env=tuple(reader.strings("Env")),
            entrypoint=tuple(reader.strings("Entrypoint")),
            cmd=tuple(reader.strings("Cmd")),
            volumes=tuple(reader.object("Volumes", {})),
            working_dir=reader.string("WorkingDir", ""),
            labels=reader.string_map("Labels"),
            stop_signal=reader.string("StopSignal", ""),
            healthcheck=reader.object("Healthcheck", {}),
            shell=tuple(reader.strings("Shell")),
            on_build=tuple(reader.strings("OnBuild")),
        )


@record
class ImageConfig:
    """The whole document. `diff_ids` are digests of the layers' uncompressed tars, lowest first."""

    platform: Platform
    process: Process = field(default_factory=Process)
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    created: str | None = None
    author: str | None = None

    def to_bytes(self) -> bytes:
        """The bytes to store."""
        document: dict[str, Any] = {}
        if self.created is not None:
            document["created"] = self.created
        if self.author:
            document["author"] = self.author
        document |= self.platform.to_json()
        process = self.process.to_json()
        if process:
            document["config"] = process
        document["rootfs"] = {"type": "layers", "diff_ids": [str(diff_id) for diff_id in self.diff_ids]}
        if self.history:
            document["history"] = [line.to_json() for line in self.history]
        return jsonform.dump(document)

    @classmethod
    def parse(cls, data: bytes, what: str = "config") -> ImageConfig:
        """Read a stranger's config. Raises ContentError naming the member that is wrong."""
        reader = Reader(jsonform.load(data, what), what)
        rootfs = Reader(reader.object("rootfs", {}), reader.path("rootfs"))
        return cls(
            platform=Platform.from_json(
                {"os": "", "architecture": "", **{k: v for k, v in reader.document.items() if k in _PLATFORM}}, what
            ),
            process=Process.from_json(reader.object("config", {}), reader.path("config")),
            diff_ids=tuple(rootfs.digests("diff_ids")),
            history=tuple(
                _history(entry, f"{what}.history[{n}]") for n, entry in enumerate(reader.array("history", []))
            ),
            created=reader.string("created", None),
            author=reader.string("author", None),
        )


_PLATFORM = ("os", "architecture", "variant", "os.version", "os.features")


def _history(entry: Any, at: str) -> History:
    reader = Reader(entry, at)
    return History(
        created_by=reader.string("created_by", ""),
        created=reader.string("created", None),
        comment=reader.string("comment", None),
        author=reader.string("author", None),
        empty_layer=reader.boolean("empty_layer", False),
    )
