"""From one shape into another: what an image says, read off so that another shape's author can say it again.

What has a place in both is carried over as it is, so that converting gives the digest that packing gives. What the
other shape has no place for is told in `lost`; files are never lost, they are refused.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ocibuild.binary.artifact import Artifact
from ocibuild.content.blob import Bytes
from ocibuild.content.tar import Entry, checked_path
from ocibuild.errors import ContentError, UsageError
from ocibuild.image.rootfs import Inside, Member, RootFs
from ocibuild.image.shapes import Shape, compat
from ocibuild.image.shapes.recognise import Program, candidates, find_program, has_rootfs, recognise
from ocibuild.image.shapes.request import Request
from ocibuild.record import record, replace
from ocibuild.spec import annotation, jsonform, mediatype
from ocibuild.spec.config import DEFAULT_PATH, ImageConfig, Process
from ocibuild.spec.jsonform import Reader
from ocibuild.spec.manifest import Manifest
from ocibuild.spec.platform import WASI, Platform
from ocibuild.store.base import Source, fetch

_OF_A_SHAPE = (annotation.WASM_VARIANT, annotation.RUNTIME_TYPE, annotation.RUNTIME_ABI)
_NO_PLACE = (
    ("user", "user"), ("exposed_ports", "exposed ports"), ("cmd", "default arguments"), ("volumes", "volumes"),
    ("stop_signal", "stop signal"), ("healthcheck", "health check"),
)  # fmt: skip
_EACH, _TOGETHER = 1024 * 1024, 16 * 1024 * 1024
_TYPES = {"file": "file", "hardlink": "file", "dir": "dir", "symlink": "symlink"}


@record
class Original:
    """An image of some shape, opened: `config` is None where the shape has none that says what to run."""

    manifest: Manifest
    shape: str
    program: Program
    rootfs: RootFs | None
    config: ImageConfig | None
    created: str | None
    author: str | None


def read(source: Source, manifest: Manifest) -> Original:
    """Open an image. Raises ContentError as `find_program` does."""
    rootfs = RootFs.read(source, manifest.layers) if has_rootfs(manifest) else None
    program = find_program(source, manifest, rootfs)
    data = fetch(source, manifest.config)
    if manifest.config.media_type in mediatype.IMAGE_CONFIGS:
        config = ImageConfig.parse(data)
        return Original(manifest, recognise(manifest), program, rootfs, config, config.created, config.author)
    created = author = None
    if manifest.config.media_type == mediatype.WASM_CONFIG:
        reader = Reader(jsonform.load(data, "config"), "config")
        created, author = reader.string("created", None), reader.string("author", None)
    return Original(manifest, recognise(manifest), program, rootfs, None, created, author)


@record
class Carried:
    """What another shape's author needs, and in words what it cannot say."""

    request: Request
    lost: tuple[str, ...]


def carry(
    original: Original,
    artifact: Artifact,
    target: Shape,
    *,
    facts: dict[str, str],
    epoch: int = 0,
    name: str | None = None,
    platform: Platform = WASI,
) -> Carried:
    """Read everything off. `facts` are the annotations the program has of itself; `epoch` is the creation time where
    none is said, `name` a path for the program and `platform` one for images that have none.

    Raises UsageError (`shape-conflict`, `path-invalid`) for files that the target has no place for, ContentError
    (`not-convertible`) for those no image of ours can hold.
    """
    extras = _extras(original, target)
    path = checked_path(name) if name else _path(original.program)
    process = _process(original, facts)
    lost = _lost(original, process, target)
    placed = compat.PLUGIN if target.name == compat.NAME else path
    created, seconds = _created(original.created, epoch)
    request = Request(
        artifact=artifact,
        name=path,
        platform=(original.config.platform if original.config else None) or platform,
        created=created,
        mtime=seconds,
        mode=original.program.mode if original.program.mode is not None else 0o755,
        process=_started(original, process, placed),
        extras=extras,
        author=original.author,
        annotations=tuple(
            (key, value) for key, value in original.manifest.annotations.items() if key not in _OF_A_SHAPE
        ),
        program=original.program.content,
    )
    return Carried(request, tuple(lost))


def _path(program: Program) -> str:
    for path in (program.path, program.name):
        try:
            return checked_path(path)
        except UsageError:
            continue
    return "program.wasm"


def _created(said: str | None, epoch: int) -> tuple[str, int]:
    """The time as it is written and in seconds since 1970, never before."""
    try:
        if said is not None:
            return said, max(0, int(datetime.fromisoformat(said).timestamp()))
    except (ValueError, OverflowError):
        pass
    return datetime.fromtimestamp(epoch, UTC).replace(tzinfo=None).isoformat() + "Z", epoch


def _process(original: Original, facts: dict[str, str]) -> Process:
    if original.config is None:
        return Process(env=(f"PATH={DEFAULT_PATH}",), working_dir="/", labels=facts)
    process = original.config.process
    labels = {key: value for key, value in process.labels.items() if key != annotation.RUNWASI_UNIQUE}
    return replace(process, labels=labels)


def _started(original: Original, process: Process, placed: str) -> Process:
    """Entrypoint and arguments for a program at `placed`; empty where they say no more than the program's own path."""
    words = process.entrypoint or process.cmd
    if not words or original.config is None:
        return replace(process, entrypoint=())
    path, mark, function = words[0].partition("#")
    here = original.program.path
    named = here in (path.strip("/"), *(candidate.strip("/") for candidate in candidates(words[0], original.config)))
    if named:
        words = (f"/{placed}{mark}{function}", *words[1:])
    if not process.entrypoint:
        # Arguments that begin with the program: the program becomes the entrypoint, as the shapes' authors write it.
        return replace(process, entrypoint=() if words[0] == f"/{placed}" else words[:1], cmd=words[1:])
    return replace(process, entrypoint=() if words == (f"/{placed}",) else words)


def _lost(original: Original, process: Process, target: Shape) -> list[str]:
    lost = []
    if not target.runnable and original.config is not None:
        lost = [word for name, word in _NO_PLACE if getattr(process, name)]
        if _started(original, process, original.program.path).entrypoint:
            lost.append("entrypoint")
        if [pair for pair in process.env if pair != f"PATH={DEFAULT_PATH}"]:
            lost.append("environment")
        if process.working_dir not in ("", "/"):
            lost.append("working directory")
        if set(process.labels.items()) - set(original.manifest.annotations.items()):
            lost.append("labels")
        if original.config.platform != WASI:
            lost.append(f"platform {original.config.platform}")
    if target.config_type not in (mediatype.CONFIG, mediatype.WASM_CONFIG):
        lost += ["author"] if original.author else []
        lost += ["creation time"] if original.created and _created(original.created, 0)[1] else []
    return lost


# --- files --------------------------------------------------------------------------------------------------------


def _extras(original: Original, target: Shape) -> tuple[Entry, ...]:
    rootfs = original.rootfs
    if rootfs is None:
        if len(original.manifest.layers) > (2 if original.shape == "solo" else 1):
            raise _no_place(target, [f"the layer {layer.media_type}" for layer in original.manifest.layers[:-1]])
        return ()
    program = original.program.path
    members = [
        member for path, member in rootfs.files.items() if path != program and not _only_parent(member, original)
    ]
    files = [f"/{member.path}" for member in members if member.kind != "dir"]
    if files and not target.files:
        raise _no_place(target, files)
    if not target.files:
        return ()  # folders for mounts mean nothing where nothing is mounted
    contents = {member.path: _content(rootfs, member) for member in members if member.kind in ("file", "hardlink")}
    held = rootfs.small({inside.member for inside in contents.values()}, _EACH, _TOGETHER)
    return tuple(_entry(member, contents.get(member.path), held) for member in members)


def _only_parent(member: Member, original: Original) -> bool:
    """A folder that says nothing but where the program is."""
    ordinary = (member.mode, member.uid, member.gid) == (0o755, 0, 0)
    return member.kind == "dir" and ordinary and original.program.path.startswith(f"{member.path}/")


def _content(rootfs: RootFs, member: Member) -> Inside:
    found = rootfs.resolve(member.path) if member.kind == "hardlink" else member
    if found is None or found.kind != "file":
        raise ContentError(f"/{member.path} is a link to nothing", code="not-convertible")
    return Inside(rootfs, found)


def _entry(member: Member, content: Inside | None, held: dict[Member, bytes]) -> Entry:
    kind = _TYPES.get(member.kind)
    if kind is None:
        raise ContentError(
            f"/{member.path} is a {member.kind}, which no image of ocibuild's holds",
            code="not-convertible",
            hint="ocibuild extract gives the program, to be packed anew",
        )
    data = held.get(content.member) if content is not None else None
    return Entry(
        checked_path(member.path),
        kind,  # type: ignore[arg-type]
        member.mode,
        Bytes(data) if data is not None else content,
        member.target if kind == "symlink" else "",
        member.uid,
        member.gid,
    )


def _no_place(target: Shape, what: list[str]) -> UsageError:
    named = ", ".join(what[:5]) + (f" and {len(what) - 5} more" if len(what) > 5 else "")
    return UsageError(
        f"format {target.name} holds the program alone, and beside it there is {named}",
        code="shape-conflict",
        hint="choose --format image or compat; or ocibuild extract gives the program, to be packed alone",
    )
