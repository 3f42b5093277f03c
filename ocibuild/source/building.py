"""One stage, instruction by instruction: files, layers, config and history, with BuildKit's words.

Only files are moved; nothing is run. Dockerfile reference; where it is silent, what BuildKit does
(tests/vectors/buildkit).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import replace

from ocibuild.content.tar import Entry
from ocibuild.errors import InputError, NetworkError, NotFoundError, OcibuildError, RegistryError, UsageError
from ocibuild.source.accounts import owner
from ocibuild.source.base import Base
from ocibuild.source.configuring import Configuring, Line, Made
from ocibuild.source.copying import Manner, Writing, copy
from ocibuild.source.dockerfile import Dockerfile, Instruction, invalid, is_heredoc, parse, unsupported
from ocibuild.source.engine import Staged
from ocibuild.source.filetree import Rootfs, Tree, resolved
from ocibuild.source.modes import Mode
from ocibuild.source.patterns import Patterns
from ocibuild.source.stages import (
    Asked,
    Stage,
    Stages,
    automatic,
    declared,
    expanded,
    order,
    refuse_unknown_platform,
    unbuilt,
)  # fmt: skip
from ocibuild.spec.config import DEFAULT_PATH, Process
from ocibuild.spec.platform import Platform

_REMOTE = re.compile(r"(?:https?|ftp|git|ssh)://|git@|github\.com/")


def build(dockerfile: Dockerfile, asked: Asked) -> tuple[Made, tuple[str, ...]]:
    """Make the stage that is asked for, and notes for the person.

    Raises InputError (`dockerfile-invalid`, `dockerfile-unsupported`, `stage-unbuilt`, `stage-unknown`, `copy-missing`,
    and what reading files raises), UsageError (`target-unknown`, `platform-needed`, `path-invalid`, `path-duplicate`);
    each with the line.
    """
    building = _Build(Stages.of(dockerfile), asked)
    made = building.stage(building.last)
    unused = sorted(set(asked.arguments) - building.used)
    if unused:
        building.notes.append(f"no ARG takes --build-arg {', '.join(unused)}")
    return made, tuple(dict.fromkeys(building.notes))


class _Build:
    """All of one build: the stages made so far, each once."""

    def __init__(self, stages: Stages, asked: Asked) -> None:
        self.stages, self.asked = stages, asked
        self.last = stages.target(asked.target)
        self.notes: list[str] = []
        self.used: set[str] = set()
        self.globals: dict[str, str] = {}
        self._made: dict[int, Made | Staged] = {}
        for line in stages.before:
            for name, value in self.declare(line, {**automatic(asked), **self.globals}, automatic(asked)):
                if value is not None:
                    self.globals[name] = value

    def declare(self, line: Instruction, values: dict[str, str], given: dict[str, str]) -> list[tuple[str, str | None]]:
        found = declared(line, self.asked, values, given, self.stages.escape)
        self.used.update(name for name, _ in found)
        return found

    def stage(self, stage: Stage) -> Made:
        """All that a stage came to."""
        made = self.made(stage)
        return made if isinstance(made, Made) else _begun(made.whole, f"FROM {stage.called}", None)

    def made(self, stage: Stage) -> Made | Staged:
        """A stage, each made once, by us or by an engine."""
        if stage.index not in self._made:
            self._made[stage.index] = self._stage(stage)
        return self._made[stage.index]

    def _stage(self, stage: Stage) -> Made | Staged:
        runs = next((one for one in stage.instructions if one.word == "RUN"), None)
        if runs is not None and stage is not self.last:
            return self._ordered(stage, runs.at)
        try:
            return _Stage(self, stage).run()
        except _Runs as error:
            return self._ordered(stage, error.at)

    def _ordered(self, stage: Stage, at: str) -> Staged:
        """A stage as an engine builds it."""
        if self.asked.make is None:
            raise unbuilt(at, f"RUN in stage {stage.called} needs an engine", stage.called)
        told, names = order(self.stages, stage, at, self.asked)
        self.used.update(names)
        return self.asked.make(told)

    def base(self, stage: Stage) -> Made:
        start, words = stage.start, {**automatic(self.asked), **self.globals}
        written = f"{stage.base} {start.flag('platform') or ''}"
        if "$" in written:
            refuse_unknown_platform(start, written, self.asked)
        name = expanded(start, stage.base, words, self.stages.escape)
        said = expanded(start, start.flag("platform") or "", words, self.stages.escape)
        platform = Platform.parse(said) if said else None
        fresh = Made(Process(env=(f"PATH={DEFAULT_PATH}",), working_dir="/"), Rootfs(), platform=platform)
        tree = self.context(name)
        if tree is not None:
            writing = Writing(fresh.rootfs, Manner())
            copy(writing, tree, ("/",), (), "/")
            return replace(fresh, layers=(writing.layer(),), history=(Line(f"FROM {name}", empty=False),))
        if name == "scratch":
            return fresh
        earlier = self.stages.before_stage(name, stage.index) if not name.isdigit() else None
        if earlier is not None and self.place(name) is None:
            made = self.stage(earlier)
            return replace(made, rootfs=made.rootfs.copy(), platform=platform or made.platform)
        try:
            found = self.image(name, platform or self.asked.platform, start.at, needed=stage is self.last)
        except (NotFoundError, RegistryError, NetworkError) as error:
            if self.asked.make is None or stage is self.last:
                raise
            raise _Runs(start.at) from error  # an engine may have it under that name all the same
        known = platform or (found.config.platform if self.asked.platform is None else None)
        wanted, built = platform or self.asked.platform, found.config.platform
        if stage is self.last and wanted is not None and wanted.architecture != built.architecture:
            self.notes.append(f"{start.at}: {name} is for {built}, and the image is for {wanted}")
        return _begun(found, f"FROM {name}", known)

    def image(self, name: str, platform: Platform | None, at: str, *, needed: bool) -> Base:
        """A named image, or the one that is called so. Where it is not `needed` for the platform, any will do."""
        place = self.place(name) or f"docker://{name}"
        if self.asked.image is None:
            raise invalid(at, f"{name} is an image, and images are not read here")
        try:
            return self.asked.image(place, platform, not needed)
        except OcibuildError as error:
            raise type(error)(f"{at}: {error.message}", code=error.code, hint=error.hint) from error

    def context(self, name: str) -> Tree | None:
        contexts = {key.lower(): tree for key, tree in self.asked.contexts.items()}
        return contexts.get(name.lower()) or contexts.get(f"{name.lower()}:latest")

    def place(self, name: str) -> str | None:
        """The image that was given for a name."""
        images = {key.lower(): place for key, place in self.asked.images.items()}
        return images.get(name.lower()) or images.get(f"{name.lower()}:latest")

    def tree(self, name: str, stage: Stage, at: str) -> Tree:
        """Where COPY --from takes its files."""
        tree = self.context(name)
        if tree is not None:
            return tree
        earlier = self.stages.before_stage(name, stage.index)
        if earlier is not None and self.place(name) is None:
            return self.tree_of(earlier, at)
        if name.isdigit():
            raise InputError(
                f"{at}: there is no stage {name} before this one",
                code="stage-unknown",
                hint=f"mend the number, or hand its files over with --build-context {name}=DIR",
            )
        try:
            return self.image(name, self.asked.platform, at, needed=False).files
        except (NotFoundError, RegistryError, NetworkError, UsageError) as error:
            if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or self.place(name) is not None:
                raise
            said = error.message.removeprefix(f"{at}: ")
            raise InputError(
                f"{at}: {name} is neither a stage before this one nor a build context, nor an image: {said}",
                code="stage-unknown",
                hint=f"mend the name, or hand its files over with --build-context {name}=DIR",
            ) from error

    def tree_of(self, stage: Stage, at: str) -> Tree:
        named = self.context(stage.name) if stage.name else None
        if named is not None:
            return named
        if stage.name and self.place(stage.name) is not None:
            return self.image(stage.name, self.asked.platform, at, needed=False).files
        made = self.made(stage)
        return made.rootfs if isinstance(made, Made) else made.files


class _Runs(Exception):
    """A stage that was begun needs an engine after all: an ONBUILD of its base runs something, or nobody else has it."""

    def __init__(self, at: str) -> None:
        super().__init__(at)
        self.at = at


def _begun(base: Base, line: str, platform: Platform | None) -> Made:
    """A stage that begins with an image: its config, history and layers come along."""
    config = base.config
    history = tuple(Line(one.created_by, one.empty_layer, one) for one in config.history)
    if sum(not one.empty for one in history) != len(base.layers):
        history = tuple(Line(line, empty=False) for _ in base.layers)
    process = config.process
    return Made(process, base.files.copy(), base.layers, history, config.author, platform, process.shell)


class _Stage(Configuring):
    """One stage in the making."""

    def __init__(self, build: _Build, stage: Stage) -> None:
        base = build.base(stage)
        super().__init__(base, build.stages.escape, build.notes)
        self.build, self.stage = build, stage
        self.platform, self.layers = base.platform, list(base.layers)

    def run(self) -> Made:
        triggers, self.process = self.process.on_build, replace(self.process, on_build=())
        for trigger in triggers:
            for instruction in parse(f"# escape={self.escape}\n{trigger}".encode()).instructions:
                self.follow(replace(instruction, at=f"{self.stage.start.at}, ONBUILD"))
        for instruction in self.stage.instructions:
            self.follow(instruction)
        return Made(
            self.process, self.rootfs, tuple(self.layers), tuple(self.history), self.author, self.platform, self.shell,
            self.arguments,
        )  # fmt: skip

    def follow(self, instruction: Instruction) -> None:
        handlers: dict[str, Callable[[Instruction], None]] = {
            "ADD": self.copied, "ARG": self.arg, "CMD": self.cmd, "COPY": self.copied, "ENTRYPOINT": self.entrypoint,
            "ENV": self.env, "EXPOSE": self.expose, "HEALTHCHECK": self.healthcheck, "LABEL": self.label,
            "MAINTAINER": self.maintainer, "ONBUILD": self.onbuild, "RUN": self.refuse_run, "SHELL": self.set_shell,
            "STOPSIGNAL": self.stopsignal, "USER": self.user, "VOLUME": self.volume, "WORKDIR": self.workdir,
        }  # fmt: skip
        try:
            handlers[instruction.word](instruction)
        except OcibuildError as error:
            # A stage that this one needs has said its own line already.
            if not error.message.startswith(self.stage.start.at.rpartition(" ")[0]):
                raise type(error)(f"{instruction.at}: {error.message}", code=error.code, hint=error.hint) from error
            raise

    def arg(self, instruction: Instruction) -> None:
        given = {**automatic(self.build.asked), **self.build.globals}
        found = self.build.declare(instruction, {**self.arguments, **self.environment()}, given)
        self.arguments |= {name: value for name, value in found if value is not None}
        self.said("ARG " + " ".join(name if value is None else f"{name}={value}" for name, value in found))

    def refuse_run(self, instruction: Instruction) -> None:
        if self.stage is self.build.last:
            raise unsupported(
                instruction.at,
                "RUN in the stage that becomes the image would need an engine",
                "let an earlier stage RUN it, and COPY --from=STAGE what came of it",
            )
        raise _Runs(instruction.at)

    # -- files

    def workdir(self, instruction: Instruction) -> None:
        path = self.absolute(self.expand(instruction, instruction.rest)).rstrip("/") or "/"
        self.process = replace(self.process, working_dir=path)
        writing = Writing(self.rootfs, Manner(owner=self.owner(instruction, self.process.user)))
        if inside := resolved(self.rootfs, path):
            writing.folder(inside)
        self.layer(f"WORKDIR {path}", writing.layer())

    def absolute(self, path: str) -> str:
        """A destination from the root on; a slash at its end is kept."""
        whole = posixpath.join(self.process.working_dir or "/", path)
        clean = "/" + posixpath.normpath(whole).lstrip("/")
        return f"{clean.rstrip('/')}/" if path.endswith(("/", "/.")) or path == "." else clean

    def owner(self, instruction: Instruction, text: str) -> tuple[int, int] | None:
        try:
            return owner(text, self.rootfs) if text else None
        except ValueError as error:
            raise invalid(instruction.at, str(error), "write numbers: 1000 or 1000:1000") from error

    def layer(self, line: str, entries: tuple[Entry, ...]) -> None:
        # A layer with nothing in it is none.
        self.history.append(Line(line, empty=not entries))
        self.layers += [entries] if entries else []

    def copied(self, instruction: Instruction) -> None:
        words = instruction.words()
        if len(words) < 2:
            raise invalid(
                instruction.at, f"{instruction.word} says no destination", f"write {instruction.word} FROM TO"
            )
        array = instruction.array() is not None
        files = [word for word in words[:-1] if array or not is_heredoc(word)]
        sources = tuple(self.expand(instruction, word) for word in files)
        to = self.expand(instruction, words[-1])
        if instruction.word == "ADD" and (remote := next(filter(_REMOTE.match, sources), None)):
            raise unsupported(instruction.at, f"ADD {remote} is not fetched", "fetch it first, then COPY the file")
        flags = {name: self.expand(instruction, value) for name, value in instruction.flags if name != "exclude"}
        writing = Writing(self.rootfs, self.manner(instruction, flags))
        documents = tuple(
            (
                document.name,
                self.expand(instruction, document.text, quotes=False) if document.expands else document.text,
            )
            for document in instruction.documents
        )
        name = flags.get("from")
        tree = self.build.asked.context if name is None else self.build.tree(name, self.stage, instruction.at)
        target = self.absolute(to)
        try:
            count = copy(writing, tree, sources, documents, target)
        except ValueError as error:
            raise invalid(instruction.at, str(error), "escape the character: [[] is a bracket") from error
        entries = writing.layer()
        if count > 1 and not target.endswith("/") and any(f"/{e.path}" == target and e.kind == "file" for e in entries):
            self.notes.append(f"{instruction.at}: {to} keeps only the last of {count} files; end it with a slash")
        kept = [f"--{flag}={flags[flag]}" for flag in ("chown", "chmod") if flag in flags]
        named = [*sources, *(f"<<{document.name}" for document in instruction.documents)]
        self.layer(" ".join((instruction.word, *kept, *named, to, "# buildkit")), entries)

    def manner(self, instruction: Instruction, flags: dict[str, str]) -> Manner:
        for flag in ("checksum", "keep-git-dir"):
            if flag in flags:
                raise unsupported(instruction.at, f"--{flag} is for what is fetched", "take it out")
        try:
            mode = Mode.of(flags["chmod"]) if "chmod" in flags else None
        except ValueError as error:
            raise invalid(
                instruction.at, f"--chmod: {error}", "write it as --chmod=0755 or --chmod=u=rwX,go=rX"
            ) from error
        try:
            excluded = [self.expand(instruction, value) for name, value in instruction.flags if name == "exclude"]
            exclude = Patterns.of(excluded)
        except ValueError as error:
            raise invalid(instruction.at, str(error), "escape the character if it is meant as it stands") from error
        return Manner(
            mode=mode,
            owner=self.owner(instruction, flags.get("chown", "")),
            parents=_on(flags, "parents"),
            exclude=exclude,
            link=_on(flags, "link"),
            unpacks=self.build.asked.room if instruction.word == "ADD" and flags.get("unpack") != "false" else None,
        )


def _on(flags: dict[str, str], name: str) -> bool:
    return name in flags and flags[name].lower() in ("", "true", "1")
