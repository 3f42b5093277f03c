"""`init`: a first ocibuild.toml, of what stands in a folder: sources, Dockerfiles, and programs that are ready."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ocibuild.api import bakeplan
from ocibuild.api.bakeplan import BakePlan
from ocibuild.api.session import Session
from ocibuild.binary import artifact, elf, wasm
from ocibuild.binary.artifact import Artifact
from ocibuild.content import atomic
from ocibuild.errors import InputError, OcibuildError, UsageError
from ocibuild.pack import configfile, git, naming
from ocibuild.pack.configfile import ConfigFile
from ocibuild.record import record
from ocibuild.source import toolchains
from ocibuild.source.toolchains import clang
from ocibuild.spec.reference import Reference

NAME = "ocibuild.toml"

_DEPTH = 5
_MOST = 20_000
_MANY = 8
"""More ready modules than this in one folder are one table with a pattern."""

_SKIPPED = {"node_modules", "vendor", "venv", "__pycache__", "target", "zig-out", "zig-cache"}
_DOCKERFILE = re.compile(r"(?:Dockerfile[.-]([A-Za-z0-9_.-]+)|([A-Za-z0-9_.-]+)\.[Dd]ockerfile)")
_MAIN = re.compile(r"^package main\b", re.MULTILINE)
_MAGIC = wasm.MAGIC, elf.MAGIC
_HOSTS = {"github.com": "ghcr.io", "gitlab.com": "registry.gitlab.com", "codeberg.org": "codeberg.org"}
_LONGEST = 1024 * 1024

_INTRO = """\
# The images of this folder. `ocibuild bake --check` looks whether they can be made, `ocibuild bake` makes them,
# `ocibuild bake --push` pushes each to its tags.
schema = 1
"""
_UNTAGGED = """
# Where they go: take the signs # away, here and in the targets.
# [vars]
# registry = "ghcr.io/me"
# version = { default = "dev", env = "VERSION" }
"""


@record
class Begun:
    """A first config file: where it is, or would be, what is in it, its targets, and what was left out, and why."""

    path: Path
    text: str
    targets: tuple[str, ...]
    notes: tuple[str, ...] = ()


@record
class _Found:
    """A target to be: the key and values of its table, and remarks that stand above it."""

    name: str
    table: dict[str, Any]
    remarks: tuple[str, ...] = ()


def init(
    folder: str | os.PathLike[str] = ".",
    *,
    registry: str | None = None,
    from_git: bool = False,
    write: bool = True,
    session: Session | None = None,
) -> Begun:
    """Write the ocibuild.toml of a folder, from what is found in it and below it; it passes `bake --check`.

    Targets are tagged below `registry`, or with `from_git` where the remote `origin` says that they go. With `write`
    false nothing is written. Raises UsageError (`config-exists`, `reference-invalid`), InputError (`folder-empty`,
    `file-not-found`), ToolError (`git-failed`), StoreError.
    """
    place = Path(folder)
    if not place.is_dir():
        raise InputError(f"there is no folder {place}", code="file-not-found", hint="give the folder of the sources")
    path = place / NAME
    if write:
        _refuse_another(path)
    if from_git and registry is None:
        registry = _registry_of(place)
    if registry is not None:
        registry = registry.rstrip("/")
        Reference.parse(f"{registry}/name:tag")
    session = (session or Session()).begin()
    look = _Look(place)
    found = _named_apart(look.targets())
    text, troubles = _compose(found, registry), _troubles(found, path, session)
    kept = [one for one in found if one.name not in troubles]
    notes = [*look.notes, *(f"{name} is left out: {error.message}" for name, error in troubles.items())]
    if not kept:
        raise InputError(
            f"nothing in {place} can become an image" + (f": {notes[0]}" if notes else ""),
            code="folder-empty",
            hint=f"looked for sources ({', '.join(one.title for one in toolchains.LANGUAGES.values())}), Dockerfiles, "
            ".wasm files and static binaries",
        )
    if troubles:
        text = _compose(kept, registry)
    if write:
        atomic.write(path, text.encode())
    return Begun(path, text, tuple(one.name for one in kept), tuple(notes))


def _refuse_another(path: Path) -> None:
    try:
        there = configfile.read(path.parent).path
    except UsageError as error:
        if error.code == "config-missing" and not os.path.lexists(path):
            return
        there = path
    raise UsageError(
        f"{there} configures ocibuild already",
        code="config-exists",
        hint="`ocibuild init --print` shows what would be written; change the file, or move it away",
    )


def _registry_of(folder: Path) -> str:
    """Where the forge that `origin` is on keeps images. Raises ToolError, UsageError (`registry-unknown`)."""
    from ocibuild.spec import annotation

    address = git.facts(folder).get(annotation.SOURCE, "")
    host, _, path = address.partition("://")[2].partition("/")
    if host not in _HOSTS or not path:
        raise UsageError(
            f"which registry goes with {address or 'a repository without a remote'} is not known",
            code="registry-unknown",
            hint="say it: ocibuild init --registry registry.example.com/me",
        )
    # GitHub and Codeberg keep images by owner, GitLab by project.
    owner = path if host == "gitlab.com" else path.partition("/")[0]
    return f"{_HOSTS[host]}/{owner.lower()}"


class _Look:
    """Looks through a folder, its sources before what is ready; `notes` say what was passed by."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes: list[str] = []
        self._count = 0

    def targets(self) -> Iterator[_Found]:
        """In the order of their paths; a folder with sources holds its own things, which are not looked at."""
        yield from self._folder(self.root, 0, None)

    def _folder(self, folder: Path, depth: int, above: str | None) -> Iterator[_Found]:
        entries = self._entries(folder)
        names = {entry.name for entry in entries if entry.is_file()}
        dockerfiles = list(self._dockerfiles(folder, names))
        yield from dockerfiles
        seen = toolchains.seen(folder)
        language = next(iter(seen), None)
        if dockerfiles and language and "Dockerfile" in names:
            self.notes.append(f"{self._said(folder)} has a Dockerfile and {language}: the Dockerfile is built")
        elif language:
            yield from self._sources(folder, seen)
        if language is None and above is None:
            yield from self._ready(folder, entries)
        if (language is None or language in ("go", "rust")) and depth < _DEPTH:
            for entry in entries:
                if entry.is_dir() and not entry.is_symlink() and not _is_passed_by(entry.name):
                    yield from self._folder(Path(entry.path), depth + 1, language or above)

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """What is in a folder, by name; nothing where it may not be read."""
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            self.notes.append(f"{self._said(folder)} is passed by: {error.strerror}")
            return []
        self._count += len(entries)
        if self._count > _MOST:
            self.notes.append(f"{self._said(folder)} is passed by: more than {_MOST} files were looked at")
            return []
        return [entry for entry in entries if _is_writable(entry.name)]

    def _dockerfiles(self, folder: Path, names: Iterable[str]) -> Iterator[_Found]:
        for name in sorted(names):
            match = _DOCKERFILE.fullmatch(name)
            if name == "Dockerfile":
                yield _Found(self._called(folder), {"build": self._said(folder)})
            elif match and not name.endswith(".dockerignore"):
                table = {"build": self._said(folder), "dockerfile": self._said(folder / name)}
                yield _Found(f"{self._called(folder)}-{match[1] or match[2]}", table)

    def _sources(self, folder: Path, seen: dict[str, str]) -> Iterator[_Found]:
        language = next(iter(seen))
        table: dict[str, Any] = {"build": self._said(folder), "platform": ["wasi/wasm"]}
        remarks: tuple[str, ...] = (f"{toolchains.LANGUAGES[language].title}, by its {seen[language]}",)
        if len(seen) > 1:
            table["language"] = language
            remarks = (*remarks, f"there is {' and '.join(list(seen)[1:])} too")
        if language in ("rust", "go", "zig", "c"):
            remarks = (*remarks, "linux/amd64 and linux/arm64 beside wasi/wasm make static binaries in the same index")
        if language == "rust":
            programs = list(_binaries(folder))
            for name in programs:
                yield _Found(name, table | ({"program": name} if len(programs) > 1 else {}), remarks)
        elif language == "go":
            if any(_MAIN.search(_text(path)) for path in sorted(folder.glob("*.go"))):
                yield _Found(self._called(folder), table, remarks)
        elif language == "c" and (builder := next((n for n in clang.BUILDERS if (folder / n).is_file()), None)):
            self.notes.append(f"{self._said(folder)} is passed by: its {builder} is not run here")
        else:
            yield _Found(self._called(folder), table, remarks)

    def _ready(self, folder: Path, entries: Sequence[os.DirEntry[str]]) -> Iterator[_Found]:
        """Programs that are there, those of one name and several platforms together."""
        programs: dict[str, list[Artifact]] = {}
        for entry in entries:
            if entry.is_file() and _head(entry.path) in _MAGIC:
                try:
                    found = artifact.inspect(entry.path)
                except InputError as error:
                    self.notes.append(f"{self._said(Path(entry.path))} is passed by: {error.message}")
                    continue
                programs.setdefault(naming.repository(entry.name), []).append(found)
        lone = [found[0] for found in programs.values() if len(found) == 1]
        if len(lone) == len(programs) > _MANY and all(one.name.endswith(".wasm") for one in lone):
            each = "*.wasm" if folder == self.root else f"{self._said(folder)}/*.wasm"
            yield _Found("${stem}", {"each": each})
            return
        for name, several in programs.items():
            platforms = [one.platform for one in several]
            apart = [several] if len(set(platforms)) == len(platforms) else [[one] for one in several]
            for files in apart:
                yield _Found(name, {"files": [self._said(Path(one.path)) for one in files]})

    def _said(self, path: Path) -> str:
        """Relative to the file, with / on every system."""
        return path.relative_to(self.root).as_posix()

    def _called(self, folder: Path) -> str:
        return folder.resolve().name


def _is_passed_by(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED or name.endswith(".oci")


def _is_writable(name: str) -> bool:
    """False for a name that no TOML can hold."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _head(path: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            return stream.read(4)
    except OSError:
        return b""


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return stream.read(_LONGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def _binaries(folder: Path) -> Iterator[str]:
    """The programs of a crate as cargo finds them: src/main.rs, src/bin, [[bin]]; a workspace's own crates follow by themselves."""
    try:
        document = tomllib.loads(_text(folder / "Cargo.toml"))
    except ValueError:
        document = {"package": {"name": folder.resolve().name}}  # who builds it says what is wrong
    package = document.get("package")
    if not isinstance(package, dict):
        return
    found: dict[str, None] = {}
    listed = document.get("bin", [])
    for table in listed if isinstance(listed, list) else ():
        if isinstance(table, dict) and isinstance(table.get("name"), str):
            found[table["name"]] = None
    if package.get("autobins", True):
        if (folder / "src/main.rs").is_file() and not any(_is_main(table) for table in listed):
            found[str(package.get("name"))] = None
        for path in sorted(folder.glob("src/bin/*.rs")):
            found[path.stem] = None
        for path in sorted(folder.glob("src/bin/*/main.rs")):
            found[path.parent.name] = None
    yield from found


def _is_main(table: object) -> bool:
    return isinstance(table, dict) and table.get("path") == "src/main.rs"


def _named_apart(targets: Iterable[_Found]) -> list[_Found]:
    """Names that tags can have, each once: the second `hello` is `go-hello`, after the folder that its own is in."""
    taken: set[str] = set()
    named = []
    for one in targets:
        name = first = _sane(one.name)
        where = str(one.table.get("build") or "".join(one.table.get("files", ())[:1]))
        if name in taken and (above := PurePosixPath(where).parent.name):
            name = first = _sane(f"{above}-{name}")
        number = 2
        while name in taken:
            name, number = f"{first}-{number}", number + 1
        taken.add(name)
        named.append(_Found(name, one.table, one.remarks))
    return named


def _sane(name: str) -> str:
    if name == "${stem}":
        return name
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "image"


def _troubles(found: Sequence[_Found], path: Path, session: Session) -> dict[str, OcibuildError]:
    """What `bake --check` would say of each."""
    text = _compose(found, None)
    file = ConfigFile(path, text, tomllib.loads(text))
    targets = tuple(file.target(name) for name in file.targets)
    troubles = bakeplan.check(BakePlan(path, targets, file.targets), session)
    return {file.table(one.target): one.error for one in troubles}


def _compose(found: Sequence[_Found], registry: str | None) -> str:
    parts = [_INTRO]
    if registry is None:
        parts.append(_UNTAGGED)
    else:
        parts.append(f'\n[vars]\nregistry = {_toml(registry)}\nversion = {{ default = "dev", env = "VERSION" }}\n')
    for one in found:
        lines = [*(f"# {_plain(remark)}" for remark in one.remarks), f"[targets.{_key(one.name)}]"]
        lines += [f"{key} = {_toml(value)}" for key, value in one.table.items()]
        lines.append(("" if registry else "# ") + 'tags = ["${registry}/${target}:${version}"]')
        parts.append("\n" + "\n".join(lines) + "\n")
    return "".join(parts)


def _plain(text: str) -> str:
    """One line of a comment."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _toml(value: str | list[str]) -> str:
    """A basic string, or an array of them; what looks like a variable is none."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value.replace("$", "$$"), ensure_ascii=False).replace("\x7f", "\\u007f")
