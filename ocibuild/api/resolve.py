"""`resolve`: every `ocibuild://PATH` in Kubernetes YAML becomes the digest reference of an image pushed for it, as with ko."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from ocibuild.api.pack import Packed, pack
from ocibuild.api.session import Session
from ocibuild.content.flow import Event
from ocibuild.errors import Cancelled, InputError, OcibuildError, UsageError
from ocibuild.pack import configfile, naming, presets
from ocibuild.pack.options import Options
from ocibuild.run import placeholders
from ocibuild.run.placeholders import SCHEME, Document, Placeholder
from ocibuild.spec.reference import Reference

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"
_VARIABLES = ("OCIBUILD_REPO", "KO_DOCKER_REPO")
_KO_LOCAL = ("ko.local", "kind.local")
_AT_ONCE = 4
_FIELD = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Image:
    """What a placeholder stands for: `source` is a file, a folder, or a target's name; `reference` its digest reference.

    `places` are the files and lines that name it, as `app.yaml:12`.
    """

    source: str
    reference: str
    places: tuple[str, ...]
    packed: Packed


@dataclass(frozen=True)
class Resolved:
    """The files' text with references in it, and the images, in the order they were met."""

    text: str
    images: tuple[Image, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Wanted:
    """One thing to make: `key` tells it from others, `name` and `path` are for its repository."""

    key: str
    source: str
    name: str
    path: str
    target: bool
    places: tuple[str, ...]


def resolve(
    *files: str | os.PathLike[str],
    repo: str | None = None,
    tags: Sequence[str] = (),
    recursive: bool = False,
    dry_run: bool = False,
    config: str | os.PathLike[str] | None = None,
    consumer: str | None = None,
    stdin: bytes = b"",
    session: Session | None = None,
) -> Resolved:
    """Pack and push what the placeholders in `files` name, each once, and give the text with references in their place.

    A file may be a folder (its .yaml, .yml and .json; those below it too with `recursive`) or `-`, which is `stdin`. A
    path is relative to the file it stands in, and names a program, a folder to build, or a target of `config`. Images
    go to `repo` (else OCIBUILD_REPO, else KO_DOCKER_REPO), under their name or where `{name}` and `{path}` in it say,
    with `tags` (latest). A Wasm program is packed for `consumer`, which is kubernetes. With `dry_run` digests are made
    and nothing is pushed.

    Raises InputError (`yaml-invalid`, `file-not-found`), UsageError (`repo-missing`, `repo-invalid`, `reference-twice`),
    and what `pack` and `build` raise, told with file and line.
    """
    current = (session or Session()).begin()
    if not files:
        raise UsageError("resolve needs a file", code="usage", hint="give one, as in -f app.yaml, or -f - for stdin")
    documents = [placeholders.read(name, data) for name, data in _texts(files, recursive, stdin)]
    targets = configfile.read(config) if config is not None else None
    names = targets.targets if targets is not None else ()
    wanted = _wanted(documents, names)
    destinations = _destinations(wanted, repo, tags, current) if wanted else {}
    who = presets.preset(consumer or "kubernetes").name

    def make(each: _Wanted) -> Packed:
        where = [str(reference) for reference in destinations[each.key]]
        if each.target:
            assert targets is not None
            target = targets.target(each.source)
            options = target.options
            if options.consumer is None and options.format is None:
                options = replace(options, consumer=who)
            return pack(*target.files, tags=where, push=not dry_run, dry_run=dry_run, options=options, session=current)
        if os.path.isdir(each.key):
            from ocibuild.api import compiling
            from ocibuild.api.build import build

            said = Options(consumer=who) if compiling.is_meant(each.key) else None
            return build(each.key, tags=where, push=not dry_run, dry_run=dry_run, options=said, session=current)
        return pack(
            each.key, tags=where, push=not dry_run, dry_run=dry_run, options=Options(consumer=who), session=current
        )

    made = _all(wanted, make, current)
    images = {
        each.key: Image(each.source, packed.references[0], each.places, packed)
        for each, packed in zip(wanted, made, strict=True)
    }
    texts = [
        document.filled(lambda each, document=document: images[_key(document, each, names)].reference)  # type: ignore[misc]
        for document in documents
    ]
    notes = [
        f"{document.name}:{line}: {SCHEME} within a longer text is left as it is"
        for document in documents
        for line in document.passed
    ]
    return Resolved(placeholders.joined(documents, texts), tuple(images.values()), tuple(notes))


def _texts(files: Sequence[str | os.PathLike[str]], recursive: bool, stdin: bytes) -> Iterator[tuple[str, bytes]]:
    """Each file's name and bytes, in the order given, a folder's sorted by name."""
    for file in (os.fspath(each) for each in files):
        if file == STDIN:
            yield STDIN, stdin
            continue
        path = Path(file)
        inside = [path]
        if path.is_dir():
            found = path.rglob("*") if recursive else path.iterdir()
            inside = sorted(each for each in found if each.suffix in SUFFIXES and each.is_file())
            if not inside:
                deeper = "" if recursive else "; -R looks into the folders below it too"
                raise InputError(
                    f"there is no {', '.join(SUFFIXES)} in {path}",
                    code="file-not-found",
                    hint=f"name a file, or another folder{deeper}",
                )
        for each in inside:
            try:
                yield str(each), each.read_bytes()
            except OSError as error:
                raise InputError(
                    f"{each} cannot be read: {error.strerror}", code="file-not-found", hint="check the path after -f"
                ) from error


def _key(document: Document, placeholder: Placeholder, targets: Sequence[str]) -> str:
    """What tells one source from another: a target's name, or the real path."""
    if placeholder.path in targets:
        return f"{SCHEME}{placeholder.path}"
    folder = "." if document.name == STDIN else os.path.dirname(document.name)
    return os.path.realpath(os.path.join(folder, placeholder.path))


def _wanted(documents: Sequence[Document], targets: Sequence[str]) -> list[_Wanted]:
    """What is to be made, in the order it is met. Raises InputError (`file-not-found`) with file and line."""
    found: dict[str, _Wanted] = {}
    for document in documents:
        for each in document.placeholders:
            place = f"{document.name}:{each.line}"
            key = _key(document, each, targets)
            if key in found:
                found[key] = replace(found[key], places=(*found[key].places, place))
                continue
            target = each.path in targets
            if not target and (not each.path or not os.path.exists(key)):
                what = f"there is no {each.path}" if each.path else f"{SCHEME} names no path"
                known = f", nor a target of that name; there are {', '.join(targets)}" if targets else ""
                raise InputError(
                    f"{place}: {what}{known}",
                    code="file-not-found",
                    hint=f"build it first; a path is relative to the file it stands in, so this is {key}",
                )
            name, path = _called(each.path, key, target)
            source = each.path if target else os.path.relpath(key)
            found[key] = _Wanted(key, source, name, path, target, (place,))
    return list(found.values())


def _called(path: str, key: str, target: bool) -> tuple[str, str]:
    """`{name}` and `{path}`: the program's name without its ending, and with the folders that were written before it."""
    folders = [part for part in os.path.dirname(path).split("/") if part not in ("", ".", "..")] if not target else []
    base = path if target else naming.program_name(os.path.basename(key)).removesuffix(".wasm")
    parts = [_component(part) for part in (*folders, base)]
    return parts[-1], "/".join(parts)


def _component(text: str) -> str:
    """A component of a repository's name: distribution-spec's letters, what else there is becomes a dash."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(words) or "image"


def _destinations(
    wanted: Sequence[_Wanted], repo: str | None, tags: Sequence[str], current: Session
) -> dict[str, list[Reference]]:
    template = _repository(repo, current)
    found: dict[str, list[Reference]] = {}
    taken: dict[str, _Wanted] = {}
    for each in wanted:
        bare = Reference.parse(_FIELD.sub(lambda field, each=each: _value(field, each), template), default_tag=None)  # type: ignore[misc]
        if bare.digest or (bare.tag and tags):
            raise UsageError(
                f"the repository {template} has a {'digest' if bare.digest else 'tag'} in it already",
                code="repo-invalid",
                hint="leave it out, or leave --tag out",
            )
        found[each.key] = [bare] if bare.tag else [bare.tagged(tag) for tag in tags or ("latest",)]
        for reference in found[each.key]:
            other = taken.setdefault(str(reference), each)
            if other is not each:
                raise UsageError(
                    f"{other.source} and {each.source} would both be {reference}",
                    code="reference-twice",
                    hint=f"have the folders in the name: --repo '{template.replace('{name}', '{path}')}'",
                )
    return found


def _value(field: re.Match[str], wanted: _Wanted) -> str:
    values = {"name": wanted.name, "path": wanted.path}
    if field[1] not in values:
        raise UsageError(
            f"{field[0]} in the repository is not known", code="repo-invalid", hint="there are {name} and {path}"
        )
    return values[field[1]]


def _repository(repo: str | None, current: Session) -> str:
    """The repository with its fields: `ghcr.io/me` is `ghcr.io/me/{name}`."""
    if repo is None:
        for variable in _VARIABLES:
            repo = current.surroundings.environ.get(variable)
            if repo:
                current.observe(Event("note", text=f"images go to {repo}, as {variable} says"))
                break
    if not repo:
        raise UsageError(
            "there is no repository to push to",
            code="repo-missing",
            hint="add --repo REGISTRY/PATH, as in --repo ghcr.io/me, or set OCIBUILD_REPO",
        )
    if repo in _KO_LOCAL:
        raise UsageError(
            f"{repo} is ko's word for an engine on this machine, and not a registry",
            code="repo-invalid",
            hint="push to a registry that the cluster reaches; ocibuild pack --load hands an image to an engine",
        )
    return repo if _FIELD.search(repo) else repo.rstrip("/") + "/{name}"


def _all(wanted: Sequence[_Wanted], make: Callable[[_Wanted], Packed], current: Session) -> list[Packed]:
    """All of them, a few at a time; the first failure calls the others off and is told with file and line."""
    if not wanted:
        return []
    pool = ThreadPoolExecutor(min(_AT_ONCE, len(wanted)), "ocibuild-resolve")
    try:
        futures: list[Future[Packed]] = [pool.submit(make, each) for each in wanted]
        wait(futures, return_when=FIRST_EXCEPTION)
        failed = [future for future in futures if future.done() and future.exception() is not None]
        if failed:
            current.cancel.set()
            wait(futures)
            _raise(wanted, futures)
        return [future.result() for future in futures]
    except BaseException:
        current.cancel.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _raise(wanted: Sequence[_Wanted], futures: Sequence[Future[Packed]]) -> NoReturn:
    errors = [(each, future.exception()) for each, future in zip(wanted, futures, strict=True)]
    # What was called off says nothing of its own.
    first = [(each, error) for each, error in errors if error is not None and not isinstance(error, Cancelled)]
    each, error = (first or [(each, error) for each, error in errors if error is not None])[0]
    assert error is not None
    if isinstance(error, OcibuildError) and not isinstance(error, Cancelled):
        raise type(error)(f"{each.places[0]}: {error.message}", code=error.code, hint=error.hint) from error
    raise error
