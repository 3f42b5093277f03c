"""`resolve`: every `ocibuild://PATH` in Kubernetes YAML becomes the digest reference of an image pushed for it, as with ko."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from ocibuild.api import bakeplan, build, places, transfer
from ocibuild.api.convert import convert
from ocibuild.api.delivery import deliver
from ocibuild.api.destinations import Wanted, called, destinations
from ocibuild.api.pack import pack
from ocibuild.api.session import Session
from ocibuild.errors import Cancelled, InputError, OcibuildError, UsageError
from ocibuild.image.plan import ImagePlan
from ocibuild.pack import configfile, presets
from ocibuild.pack.configfile import ConfigFile
from ocibuild.pack.options import Options, Sources, Target
from ocibuild.record import record, replace
from ocibuild.run import placeholders
from ocibuild.run.placeholders import SCHEME, Document, Placeholder
from ocibuild.spec.reference import Reference
from ocibuild.store.copy import Copied

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = "-"
_AT_ONCE = 4
_UNFIT = ("not-convertible", "shape-conflict")


@record
class Image:
    """What a placeholder stands for: `source` is a file, a folder, or a target's name; `reference` its digest reference.

    `places` are the files and lines that name it, as `app.yaml:12`; `copied` is one a push; `notes` are for the person.
    """

    source: str
    reference: str
    places: tuple[str, ...] = ()
    copied: tuple[Copied, ...] = ()
    notes: tuple[str, ...] = ()


@record
class Resolved:
    """The files' text with references in it, and the images, in the order they were met."""

    text: str
    images: tuple[Image, ...]
    notes: tuple[str, ...] = ()


def resolve(
    *files: str | os.PathLike[str],
    repo: str | None = None,
    tags: Sequence[str] = (),
    recursive: bool = False,
    dry_run: bool = False,
    config: str | os.PathLike[str] | None = None,
    consumer: str | None = None,
    platforms: Sequence[str] = (),
    stdin: bytes = b"",
    session: Session | None = None,
) -> Resolved:
    """Pack and push what the placeholders in `files` name, each once, and give the text with references in their place.

    A file may be a folder (its .yaml, .yml and .json; those below it too with `recursive`) or `-`, which is `stdin`. A
    path is relative to the file it stands in, and names a program, a folder to build, or a target of `config`. Images
    go to `repo` (else OCIBUILD_REPO, else KO_DOCKER_REPO), under their name or where `{name}` and `{path}` in it say,
    with `tags` (latest). A Wasm program is packed for `consumer`, which is kubernetes; `platforms` are those to build
    folders and build targets for. With `dry_run` digests are made and nothing is pushed.

    Raises InputError (`yaml-invalid`, `file-not-found`), UsageError (`repo-missing`, `repo-invalid`, `reference-twice`),
    and what `pack` and `build` raise, told with file and line.
    """
    current = (session or Session()).begin()
    if not files:
        raise UsageError("resolve needs a file", code="usage", hint="give one, as in -f app.yaml, or -f - for stdin")
    documents = [placeholders.read(name, data) for name, data in _texts(files, recursive, stdin)]
    environ = current.surroundings.environ
    targets = configfile.read(config, None, environ) if config is not None else None
    names = targets.targets if targets is not None else ()
    wanted = _wanted(documents, names)
    destinations_of = destinations(wanted, repo, tags, current) if wanted else {}
    asked = _Asked(targets, presets.preset(consumer or "kubernetes").name, tuple(platforms), dry_run)
    made = _all(wanted, lambda each: _made(each, destinations_of[each.key], asked, current), current)
    images = {each.key: image for each, image in zip(wanted, made, strict=True)}
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
    """What tells one source from another: a target's name, or the whole path."""
    if placeholder.path in targets:
        return f"{SCHEME}{placeholder.path}"
    folder = "." if document.name == STDIN else os.path.dirname(document.name)
    return os.path.abspath(os.path.join(folder, placeholder.path))


def _wanted(documents: Sequence[Document], targets: Sequence[str]) -> list[Wanted]:
    """What is to be made, in the order it is met. Raises InputError (`file-not-found`) with file and line."""
    found: dict[str, Wanted] = {}
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
                there = "there is only" if len(targets) == 1 else "there are"
                known = f", nor a target of that name; {there} {', '.join(targets)}" if targets else ""
                raise InputError(
                    f"{place}: {what}{known}",
                    code="file-not-found",
                    hint=f"build it first; a path is relative to the file it stands in, so this is {key}",
                )
            name, path = called(each.path, key, target=target)
            source = each.path if target else os.path.relpath(key)
            found[key] = Wanted(key, source, name, path, target, (place,))
    return list(found.values())


@record
class _Asked:
    targets: ConfigFile | None
    consumer: str
    platforms: tuple[str, ...]
    dry_run: bool


def _made(wanted: Wanted, references: Sequence[Reference], asked: _Asked, session: Session) -> Image:
    """One image, pushed."""
    if wanted.target:
        assert asked.targets is not None
        target = bakeplan.alone(wanted.source, asked.targets, "resolve")
    elif os.path.isdir(wanted.key):
        target = Target((), (), Options(), Sources(build=wanted.key))
    else:
        target = Target((wanted.key,), (), Options())
    if target.sources is not None:
        return _built(target, wanted, references, asked, session)
    options = target.options
    if options.consumer is None and options.format is None:
        options = replace(options, consumer=asked.consumer)
    packed = pack(
        *target.files,
        tags=[str(reference) for reference in references],
        push=not asked.dry_run,
        dry_run=asked.dry_run,
        options=options,
        session=session,
    )
    return Image(wanted.source, packed.references[0], wanted.places, packed.copied, packed.notes)


def _built(target: Target, wanted: Wanted, references: Sequence[Reference], asked: _Asked, session: Session) -> Image:
    """Built as `build` does it; then, where a lone Wasm program came of it, put into its consumer's shape."""
    options = target.options
    target = replace(target, options=replace(options, platform=asked.platforms or options.platform))
    with tempfile.TemporaryDirectory(prefix="ocibuild-", ignore_cleanup_errors=True) as scratch, ExitStack() as stack:
        made = build.planned(target, session, stack, hidden=None, no_cache=False)
        outcome = deliver(made.plan, [], places.parse(f"oci:{scratch}/built", writing=True), False, None, session, None)
        place, digest, notes = outcome.references[0], str(outcome.descriptor.digest), list(made.notes)
        plan, said = made.plan, options.consumer or options.format
        if isinstance(plan, ImagePlan) and plan.platform is not None and plan.platform.is_wasm and not said:
            try:
                fit = convert(place, f"oci:{scratch}/fit", consumer=asked.consumer, session=session)
                place, digest = fit.reference, str(fit.descriptor.digest)
                notes += fit.notes
            except OcibuildError as error:
                if error.code not in _UNFIT:
                    raise
                notes.append(f"it stays a tar layer, which {asked.consumer} may not unpack: {error.message}")
        copied: tuple[Copied, ...] = ()
        if not asked.dry_run:
            pushed = transfer.push(place, *(str(reference) for reference in references), session=session)
            copied = tuple(each.copied for each in pushed)
    return Image(wanted.source, f"{references[0].name}@{digest}", wanted.places, copied, tuple(notes))


def _all(wanted: Sequence[Wanted], make: Callable[[Wanted], Image], current: Session) -> list[Image]:
    """All of them, a few at a time; the first failure calls the others off and is told with file and line."""
    if not wanted:
        return []
    pool = ThreadPoolExecutor(min(_AT_ONCE, len(wanted)), "ocibuild-resolve")
    try:
        futures: list[Future[Image]] = [pool.submit(make, each) for each in wanted]
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


def _raise(wanted: Sequence[Wanted], futures: Sequence[Future[Image]]) -> NoReturn:
    errors = [(each, future.exception()) for each, future in zip(wanted, futures, strict=True)]
    # What was called off says nothing of its own.
    first = [(each, error) for each, error in errors if error is not None and not isinstance(error, Cancelled)]
    each, error = (first or [(each, error) for each, error in errors if error is not None])[0]
    assert error is not None
    if isinstance(error, OcibuildError) and not isinstance(error, Cancelled):
        raise type(error)(f"{each.places[0]}: {error.message}", code=error.code, hint=error.hint) from error
    raise error
