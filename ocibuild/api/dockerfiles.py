"""A Dockerfile and its context become a plan. Only files are moved; what has to be run, an engine runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from ocibuild.api import compiling
from ocibuild.api.bases import Bases, is_image
from ocibuild.api.planned import Planned
from ocibuild.api.session import Session
from ocibuild.binary.artifact import Artifact
from ocibuild.binary.elf import ElfFacts
from ocibuild.content import codec
from ocibuild.errors import InputError, UsageError
from ocibuild.image.plan import Existing, Files, ImagePlan, IndexPlan, Plan, Tar, TarConfig
from ocibuild.image.shapes.request import COMMENT
from ocibuild.pack.options import Options, Sources
from ocibuild.pack.plan import annotated, pair, parse_created, rfc3339, words_of
from ocibuild.source import building, dockerfile
from ocibuild.source.configuring import Layer, Made
from ocibuild.source.dockerfile import Dockerfile
from ocibuild.source.filetree import Folder, resolved
from ocibuild.source.patterns import Patterns
from ocibuild.source.stages import Asked
from ocibuild.source.started import programs, started
from ocibuild.spec.config import History, ImageConfig
from ocibuild.spec.platform import WASI, Platform

OPTIONS = ("entrypoint", "cmd", "label", "annotation", "created", "compression")
"""The fields of Options that a build takes."""


def planned(
    context: str | os.PathLike[str],
    stack: ExitStack,
    *,
    file: str | os.PathLike[str] | None,
    text: bytes | None,
    target: str | None,
    build_args: Mapping[str, str] | Sequence[str],
    build_contexts: Mapping[str, str] | Sequence[str],
    engine: str | None,
    secrets: Sequence[str],
    ssh: Sequence[str],
    no_cache: bool,
    platforms: Sequence[str],
    tool_args: Sequence[str],
    options: Options,
    session: Session,
    hidden: Path | None,
) -> Planned:
    """The image of a Dockerfile, or of the `text` of one, for every platform; its files go with the stack.

    Raises what `build` raises.
    """
    compiling.refuse_arguments(tool_args)
    chosen = _options(options)
    folder = Path(context)
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", code="context-missing", hint="give the folder to copy from")
    path = Path(file) if file is not None else folder / "Dockerfile"
    read = dockerfile.parse(_read(path) if text is None else text, path.name)
    bases = Bases(session, stack)
    handed_on = [f"--{name}={value}" for name, values in (("secret", secrets), ("ssh", ssh)) for value in values]
    handed_on += ["--no-cache"] if no_cache else []
    asked = _asked(bases, folder, path, hidden, _pairs(build_contexts, "build-context"), engine, handed_on)
    asked = replace(asked, arguments=_arguments(build_args, session), target=target)
    given = list(dict.fromkeys(Platform.parse(one) for text in platforms for one in text.split(",")))
    epoch = parse_created(chosen.created) if chosen.created else session.surroundings.source_date_epoch() or 0
    images, found, notes = [], list[Artifact](), list[str]()
    for platform in given or (None,):
        made, artifacts, remarks = _built(read, replace(asked, platform=platform), chosen)
        images.append(_image(made, chosen, epoch))
        found += artifacts
        notes += remarks
    if file is None and text is None and (other := compiling.passed_over(folder)):
        notes.append(other)
    doubt = f"what its RUN reads is not known to us, and {bases.ran} is asked each time" if bases.ran else ""
    told = tuple(dict.fromkeys(notes))
    return Planned(_plan(images, chosen), tuple(found), told, tuple(bases.taken), doubt=doubt)


def check(folder: Path, file: str | os.PathLike[str] | None, options: Options) -> None:
    """What of a Dockerfile is refused before anything is read for it. Raises InputError, UsageError."""
    _options(options)
    path = Path(file) if file is not None else folder / "Dockerfile"
    dockerfile.parse(_read(path), path.name)


def read_from(
    folder: Path, file: Path, sources: Sources, hidden: Path | None, session: Session
) -> tuple[Folder, dict[str, Folder], dict[str, str]]:
    """Where a Dockerfile copies files of this machine from, and the values of its arguments. Raises as `build`."""
    contexts = _folders(_pairs(sources.build_context, "build-context"))
    return _left(folder, _ignored(folder, file), hidden), contexts, _arguments(sources.build_arg, session)


def _folders(contexts: Mapping[str, str]) -> dict[str, Folder]:
    return {name: _context(name, where) for name, where in contexts.items() if not is_image(where)}


def _asked(
    bases: Bases,
    folder: Path,
    file: Path,
    hidden: Path | None,
    contexts: Mapping[str, str],
    engine: str | None,
    handed_on: Sequence[str],
) -> Asked:
    """What a build is asked, as far as its folders and images go."""
    ignored = _ignored(folder, file)
    context = _left(folder, ignored, hidden)
    text = ignored[1] if ignored else None
    if context.hidden is not None:
        escaped = re.sub(r"([*?[!#\\])", r"\\\1", context.hidden)
        text = f"{text or ''}\n{escaped}\n"
    return Asked(
        context=context,
        contexts=_folders(contexts),
        room=lambda: bases.folder,
        images={name: where for name, where in contexts.items() if is_image(where)},
        image=bases.image,
        make=bases.maker(engine, folder, text, contexts, handed_on),
    )


def _options(options: Options) -> Options:
    plain = Options()
    for name in Options.__dataclass_fields__:
        if name not in OPTIONS and getattr(options, name) != getattr(plain, name):
            raise UsageError(f"a build does not take {name!r}", code="option-unknown", hint="say it in the Dockerfile")
    return options


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        hint = (
            "name it with -f FILE, or as dockerfile in ocibuild.toml" if isinstance(error, FileNotFoundError) else None
        )
        raise InputError(f"{path} cannot be read: {error.strerror}", code="dockerfile-missing", hint=hint) from error


def _ignored(folder: Path, file: Path | None = None) -> tuple[Path, str] | None:
    """What is left out of a folder, as a file and its text: NAME.dockerignore beside the Dockerfile, or else
    .dockerignore in the folder.
    """
    own = [file.with_name(f"{file.name}.dockerignore")] if file is not None else []
    for path in (*own, folder / ".dockerignore"):
        try:
            return path, path.read_bytes().decode()
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise _unusable(path, error) from error
    return None


def _left(folder: Path, ignored: tuple[Path, str] | None, hidden: Path | None = None) -> Folder:
    """A folder without what is left out of it."""
    return Folder(folder, _patterns(*ignored) if ignored else None, hidden)


def _patterns(path: Path, text: str) -> Patterns:
    try:
        return Patterns.read(text)
    except ValueError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} cannot be used: {error}", code="dockerignore-invalid")


def _context(name: str, place: str) -> Folder:
    if "://" in place or not Path(place).is_dir():
        raise InputError(
            f"--build-context {name}={place}: there is no such folder",
            code="context-missing",
            hint="give a folder, or an image: docker-image://REF, oci-layout://DIR",
        )
    return _left(Path(place), _ignored(Path(place)))


def _pairs(given: Mapping[str, str] | Sequence[str], flag: str) -> dict[str, str]:
    return dict(given) if isinstance(given, Mapping) else dict(pair(text, flag) for text in given)


def _arguments(given: Mapping[str, str] | Sequence[str], session: Session) -> dict[str, str]:
    """Without `=` the value is the environment's, and an argument that is not there is not given."""
    if isinstance(given, Mapping):
        return dict(given)
    environ = session.surroundings.environ
    told = [text if "=" in text else f"{text}={environ[text]}" for text in given if "=" in text or text in environ]
    return _pairs(told, "build-arg")


def _built(read: Dockerfile, asked: Asked, options: Options) -> tuple[Made, tuple[Artifact, ...], Iterable[str]]:
    """One platform's image and the programs in it; the platform is theirs where none was asked for."""
    made, remarks = building.build(read, asked)
    process = made.process
    if options.entrypoint:
        process = replace(process, entrypoint=words_of(options.entrypoint, "entrypoint"))
    if options.cmd:
        process = replace(process, cmd=words_of(options.cmd, "cmd"))
    labels = {**process.labels, **dict(pair(text, "label") for text in options.label)}
    made = replace(made, process=replace(process, labels=labels))
    found = programs(made.process, made.rootfs)
    platform = made.platform or asked.platform or _platform(found)
    return replace(made, platform=platform), found, (*remarks, *_remarks(made, found, platform))


def _platform(found: tuple[Artifact, ...]) -> Platform:
    said = {artifact.platform or WASI for artifact in found}
    if len(said) == 1:
        return said.pop()
    several = f"its programs are for {', '.join(sorted(map(str, said)))}" if said else "no program in it tells"
    raise UsageError(
        f"the platform of this image is not known: {several}",
        code="platform-needed",
        hint="say --platform, for example --platform linux/amd64",
    )


def _remarks(made: Made, found: tuple[Artifact, ...], platform: Platform) -> Iterable[str]:
    process = made.process
    command = (*process.entrypoint, *process.cmd)
    if not command:
        yield "the image starts nothing: add ENTRYPOINT to the Dockerfile, or --entrypoint"
    elif command[0].startswith("/") and command[0] != "/bin/sh" and started(process, made.rootfs) is None:
        yield f"{command[0]} is to be started, and is not in the image"
    for artifact in found:
        loader = artifact.facts.interpreter if isinstance(artifact.facts, ElfFacts) else None
        if loader and made.rootfs.look(resolved(made.rootfs, loader)) is None:
            yield f"{artifact.name} is linked dynamically, and its loader {loader} is not in the image: link it statically"
        built = artifact.platform or WASI
        if built.architecture != platform.architecture and started(process, made.rootfs) is not None:
            yield f"{artifact.name} was built for {built}, and the image is for {platform}"


def _image(made: Made, options: Options, epoch: int) -> ImagePlan:
    assert made.platform is not None
    created = rfc3339(epoch)
    compression = codec.parse(options.compression or "gzip").name
    config = ImageConfig(
        platform=made.platform,
        process=made.process,
        history=tuple(
            line.whole or History(line.created_by, created, COMMENT, empty_layer=line.empty) for line in made.history
        ),
        created=created,
        author=made.author,
    )
    return ImagePlan(
        shape="image",
        layers=tuple(_layer(layer, compression, epoch) for layer in made.layers),
        config=TarConfig(config),
        platform=made.platform,
        annotations=tuple(annotated(options, "manifest").items()),
        entry_annotations=tuple(annotated(options, "descriptor").items()),
    )


def _layer(layer: Layer, compression: str, epoch: int) -> Files | Existing | Tar:
    if isinstance(layer, tuple):
        return Files(layer, compression, epoch)
    return replace(layer, compression=compression) if isinstance(layer, Tar) else layer


def _plan(images: list[ImagePlan], options: Options) -> Plan:
    if len(images) == 1:
        return images[0]
    for image in images:
        if [other.platform for other in images].count(image.platform) > 1:
            raise UsageError(
                f"FROM --platform makes several images for {image.platform}",
                code="platform-twice",
                hint="ask for one --platform, or take FROM's out",
            )
    ordered = sorted(images, key=lambda image: image.platform is not None and image.platform.is_wasm)
    return IndexPlan(tuple(ordered), tuple(annotated(options, "index").items()))
