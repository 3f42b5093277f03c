"""Artifacts and options become a plan. Every decision is here, and nothing is read or written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from ocibuild.binary.artifact import Artifact
from ocibuild.content import codec
from ocibuild.content.tar import Entry
from ocibuild.errors import UsageError
from ocibuild.image.plan import ImagePlan, IndexPlan, Plan
from ocibuild.image.shapes import Shape, shape
from ocibuild.image.shapes.request import Request
from ocibuild.pack.describe import described
from ocibuild.pack.naming import in_image, program_name
from ocibuild.pack.options import NONROOT, Options, parse_mode
from ocibuild.record import field, record
from ocibuild.spec.config import DEFAULT_PATH, Process
from ocibuild.spec.platform import WASI, Platform

_ORDER = ("amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "s390x", "loong64", "mips64le")
_PROTOCOLS = ("tcp", "udp", "sctp")


@record
class Input:
    """A file that was looked at, and the platform said with it."""

    artifact: Artifact
    platform: Platform | None = None


@record
class Context:
    """What planning must be told because it may not look: the time in seconds, files to add, what git says."""

    epoch: int = 0
    additions: tuple[Entry, ...] = ()
    git: Mapping[str, str] = field(default_factory=dict)


def plan(inputs: Sequence[Input], options: Options, context: Context) -> Plan:
    """Decide everything about the image of these programs.

    A lone program is a bare manifest (with `index`, an index of one); several are one index, natives first. Raises
    UsageError for options that contradict each other or the files.
    """
    if not inputs:
        raise UsageError("nothing to pack", code="usage", hint="name a .wasm file or a static binary")
    chosen = [_place(entry, inputs, options) for entry in inputs]
    chosen += [_Placed(placed.artifact, placed.shape, other) for placed in chosen for other in _also(placed, options)]
    _refuse_doubles(chosen)
    _refuse_unused_platforms(chosen, options)
    chosen.sort(key=_rank)
    several = len(chosen) > 1 or options.index
    for placed in chosen:
        if several and not placed.shape.indexable:
            raise UsageError(
                f"format {placed.shape.name} cannot stand in an index: its consumers read a manifest at the tag",
                code="shape-conflict",
                hint="pack the Wasm file alone under a tag of its own, or leave --format out",
            )
    images = tuple(_author(placed, options, context) for placed in chosen)
    if not several:
        return images[0]
    shared = {**described(chosen[0].artifact), **context.git, **annotated(options, "index")}
    return IndexPlan(images, tuple(shared.items()))


@record
class _Placed:
    artifact: Artifact
    shape: Shape
    platform: Platform


def _place(entry: Input, inputs: Sequence[Input], options: Options) -> _Placed:
    artifact = entry.artifact
    native = artifact.platform
    preset = None
    if options.consumer:
        from ocibuild.pack import presets

        preset = presets.preset(options.consumer)
        presets.refuse_unfit(preset, artifact)
    name = options.format or (preset.shape if preset and native is None else "image")
    if len(inputs) > 1 and not options.format and native is None:
        name = "image"  # beside other platforms only a tar layer is found by everyone
    chosen = shape(name)
    if chosen.wasm_only and native is not None:
        raise UsageError(
            f"format {name} is for Wasm, and {artifact.path} is a native binary",
            code="shape-conflict",
            hint="leave --format out: natives are shipped as image",
        )
    _refuse_unsayable(chosen, entry, options)
    said = entry.platform or _said_platform(native, inputs, options)
    if native is not None:
        return _Placed(artifact, chosen, _native(artifact, native, said))
    return _Placed(artifact, chosen, said or (preset.platform if preset else WASI))


def _said_platform(native: Platform | None, inputs: Sequence[Input], options: Options) -> Platform | None:
    given = [Platform.parse(text) for text in options.platform]
    if len(inputs) == 1 and len(given) == 1:
        return given[0]
    if native is None:
        return next((platform for platform in given if platform.is_wasm), None)
    return next((platform for platform in given if platform.architecture == native.architecture), None)


def _native(artifact: Artifact, found: Platform, said: Platform | None) -> Platform:
    if said is None:
        return found
    if said.architecture != found.architecture:
        raise UsageError(
            f"{artifact.path} is a {found} binary, not one for {said}",
            code="platform-mismatch",
            hint="give the binary that was built for it, or leave --platform out",
        )
    return said


def _also(placed: _Placed, options: Options) -> Iterable[Platform]:
    if placed.artifact.platform is not None:
        return []
    return [Platform.parse(text) for group in options.also for text in group.split(",") if text.strip()]


def _refuse_doubles(chosen: Sequence[_Placed]) -> None:
    by_platform: dict[Platform, _Placed] = {}
    for placed in chosen:
        other = by_platform.setdefault(placed.platform, placed)
        if other is not placed:
            raise UsageError(
                f"{other.artifact.path} and {placed.artifact.path} are both for {placed.platform}",
                code="platform-twice",
                hint="give one of them, or say what detection cannot know: FILE=PLATFORM",
            )


def _refuse_unused_platforms(chosen: Sequence[_Placed], options: Options) -> None:
    used = {placed.platform for placed in chosen}
    for text in options.platform:
        if Platform.parse(text) not in used:
            raise UsageError(
                f"--platform {text} fits none of the files",
                code="platform-unused",
                hint="say it with the file it is meant for: FILE=PLATFORM",
            )


_PROCESS = ("entrypoint", "cmd", "env", "label", "user", "workdir", "expose", "volume", "stop_signal", "nonroot")


def _refuse_unsayable(chosen: Shape, entry: Input, options: Options) -> None:
    """What a shape has no place for is refused, not dropped."""
    unsayable = [] if chosen.runnable else [name for name in _PROCESS if getattr(options, name)]
    if not chosen.runnable and (options.platform or entry.platform):
        unsayable.append("platform")
    if not chosen.files:
        unsayable += [name for name in ("compression", "mode") if getattr(options, name)]
    if unsayable:
        flag = unsayable[0].replace("_", "-")
        raise UsageError(
            f"format {chosen.name} has no place for --{flag}",
            code="shape-conflict",
            hint=f"leave --{flag} out, or choose --format image",
        )


def _rank(placed: _Placed) -> tuple[bool, bool, int, str]:
    architecture = placed.platform.architecture
    place = _ORDER.index(architecture) if architecture in _ORDER else len(_ORDER)
    return placed.artifact.platform is None, placed.platform.is_wasm, place, str(placed.platform)


def _author(placed: _Placed, options: Options, context: Context) -> ImagePlan:
    artifact = placed.artifact
    facts = described(artifact)
    noted = {**facts, **context.git, **annotated(options, "manifest")}
    name = in_image(options.name) if options.name else in_image(program_name(artifact.name))
    if context.additions and not placed.shape.files:
        raise UsageError(
            f"format {placed.shape.name} has no file system to add files to",
            code="shape-conflict",
            hint="leave --format out, or --add, --ca-certs, --tzdata and --nonroot",
        )
    request = Request(
        artifact=artifact,
        name=name,
        platform=placed.platform,
        created=rfc3339(context.epoch),
        mtime=context.epoch,
        mode=parse_mode(options.mode) if options.mode else 0o755,
        process=_process(options, {**facts, **context.git}),
        extras=context.additions,
        author=options.author,
        annotations=tuple(noted.items()),
        entry_annotations=tuple(annotated(options, "descriptor").items()),
        compression=codec.parse(options.compression or "gzip").name,
    )
    return placed.shape.author(request)


def _process(options: Options, facts: Mapping[str, str]) -> Process:
    env = dict(pair(text, "env") for text in options.env)
    path = env.pop("PATH", DEFAULT_PATH)
    labels = {**facts, **dict(pair(text, "label") for text in options.label)}
    workdir = options.workdir or "/"
    if not workdir.startswith("/"):
        raise UsageError(
            f"--workdir {workdir!r} is not an absolute path", code="path-invalid", hint=f"write /{workdir}"
        )
    return Process(
        user=options.user or (f"{NONROOT}:{NONROOT}" if options.nonroot else ""),
        exposed_ports=tuple(sorted({_port(text) for text in options.expose})),
        env=(f"PATH={path}", *(f"{key}={value}" for key, value in env.items())),
        entrypoint=words_of(options.entrypoint, "entrypoint"),
        cmd=words_of(options.cmd, "cmd"),
        volumes=tuple(sorted(set(options.volume))),
        working_dir=workdir,
        labels=labels,
        stop_signal=options.stop_signal or "",
    )


def words_of(text: str | None, flag: str) -> tuple[str, ...]:
    """An option's words: a JSON array, or split as a shell does. Raises UsageError (`words-invalid`)."""
    if not text:
        return ()
    import shlex

    try:
        split = json.loads(text) if text.lstrip().startswith("[") else shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--{flag} {text!r} cannot be read: {error}", code="words-invalid") from error
    if not all(isinstance(word, str) for word in split):
        raise UsageError(f"--{flag} {text!r} is not an array of strings", code="words-invalid")
    return tuple(split)


def _port(text: str) -> str:
    number, _, protocol = text.partition("/")
    if not re.fullmatch(r"[0-9]{1,5}", number) or not 0 < int(number) < 65536 or (protocol or "tcp") not in _PROTOCOLS:
        raise UsageError(
            f"--expose {text!r} is not PORT[/PROTOCOL]", code="port-invalid", hint="for example 8080 or 53/udp"
        )
    return f"{int(number)}/{protocol or 'tcp'}"


def pair(text: str, flag: str) -> tuple[str, str]:
    """`KEY=VALUE`, as said to `--flag`. Raises UsageError (`pair-invalid`)."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--{flag} {text!r} is not KEY=VALUE", code="pair-invalid", hint=f"write --{flag} KEY=VALUE")
    return key, value


def annotated(options: Options, where: str) -> dict[str, str]:
    """Annotations for `manifest`, `index` or `descriptor`; those without a prefix are for the first two."""
    said: dict[str, str] = {}
    for text in options.annotation:
        key, value = pair(text, "annotation")
        prefix, colon, rest = key.partition(":")
        prefixed = bool(colon) and prefix in ("manifest", "index", "descriptor")
        if prefixed and not rest:
            raise UsageError(f"--annotation {text!r} names no key", code="pair-invalid", hint=f"write {key}KEY=VALUE")
        if prefix == where and prefixed:
            said[rest] = value
        elif not prefixed and where != "descriptor":
            said[key] = value
    return said


def parse_created(text: str) -> int:
    """Seconds since 1970 from RFC 3339 or from the number itself. Raises UsageError (`created-invalid`)."""
    try:
        if text.isdecimal():
            datetime.fromtimestamp(int(text), UTC)
            return int(text)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("it has no time zone")
        return int(moment.timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(
            f"--created {text!r} is no time: {error}",
            code="created-invalid",
            hint="write 2026-01-31T12:00:00Z or seconds since 1970",
        ) from error


def rfc3339(epoch: int) -> str:
    """`1970-01-01T00:00:00Z` for 0."""
    # Not strftime: some C libraries write the year 999 in three digits.
    return datetime.fromtimestamp(epoch, UTC).replace(tzinfo=None).isoformat() + "Z"
