"""Build targets: what their images depend on, known before they are built, and what became of it.

The key of a build target holds all that decides its image except the images that it begins with: those are told apart by
their digests, which are asked for again. Where a key cannot be made there is none, with the reason, and the target is
built each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ocibuild.api import bases, compiling, dockerfiles
from ocibuild.api.planned import Planned
from ocibuild.api.session import Session
from ocibuild.bake import fingerprint
from ocibuild.bake.fingerprint import Digests
from ocibuild.bake.ledger import Taken
from ocibuild.content import codec
from ocibuild.content.tar import Entry
from ocibuild.errors import InputError, OcibuildError
from ocibuild.pack import additions, git
from ocibuild.pack.options import Sources, Target
from ocibuild.record import record, replace
from ocibuild.source import dockerfile
from ocibuild.source.filetree import Folder, Tree, joined
from ocibuild.source.stages import Stage, Stages, named
from ocibuild.source.toolchains.recipe import Told


@record
class Key:
    """What a target depends on, as a fingerprint; or none and why. `told` is what its toolchain said of it."""

    text: str = ""
    doubt: str = ""
    told: Told | None = None

    def of(self, images: Sequence[Taken]) -> str:
        """The fingerprint with the images that were taken; empty where there is none."""
        return fingerprint.of((self.text, tuple(images)), Digests()) if self.text else ""


def key(target: Target, session: Session, digests: Digests, hidden: Path | None) -> Key:
    """What a build target depends on. What is wrong with it, its build says: no key then."""
    sources = target.sources
    assert sources is not None
    try:
        if compiling.is_meant(sources.build or ".", sources.dockerfile, sources.language, sources.program):
            return _compiled(target, sources, session, digests, hidden)
        return _copied(target, sources, session, digests, hidden)
    except (OcibuildError, OSError, ValueError, KeyError) as error:
        session.cancel.check()
        return Key(doubt=f"it cannot be told what it depends on: {error}")


def still(taken: Sequence[Taken], session: Session) -> bool:
    """True where all images are the ones that they were. Raises nothing: what cannot be asked is another one."""
    for one in taken:
        try:
            _, root = session.found(bases.place(one.place))
        except OcibuildError:
            return False
        if str(root.digest) != one.digest:
            return False
    return True


def doubt(made: Planned, known: Key) -> str:
    """Why the key is not all that the image depends on, now that it is built; empty where it is."""
    if made.doubt or known.doubt:
        return made.doubt or known.doubt
    if (told := known.told) is None:
        return ""
    for path in sorted(made.files):
        place = Path(path).resolve()
        inside = any(place.is_relative_to(folder.resolve()) for folder in told.folders)
        if not inside or any(place.is_relative_to(left_out.resolve()) for left_out in told.left_out):
            return f"it reads {path}, which is none of its sources"
    unknown = sorted(name for name in made.variables if not name.startswith(told.variables))
    return f"it reads {unknown[0]} of the environment" if unknown else ""


def _compiled(target: Target, sources: Sources, session: Session, digests: Digests, hidden: Path | None) -> Key:
    told = compiling.told(
        sources.build or ".",
        language=sources.language,
        program=sources.program,
        tool_args=sources.tool_arg,
        platforms=target.options.platform,
        options=replace(target.options, platform=()),
        session=session,
    )
    if told.doubt:
        return Key(doubt=told.doubt)
    environ = session.surroundings.environ
    said = {name: environ[name] for name in sorted(environ) if name.startswith(told.variables)}
    trees = [tuple(_sources(Folder(folder, hidden=hidden), told.left_out)) for folder in told.folders]
    facts = git.facts(Path(sources.build or ".").resolve()) if target.options.git else {}
    inputs = (trees, told.words, said, additions.entries(target.options), facts)
    return Key(_print(target, inputs, digests), told=told)


def _copied(target: Target, sources: Sources, session: Session, digests: Digests, hidden: Path | None) -> Key:
    """Of a Dockerfile that begins with images: without any, its plan is made in no time, and says it all."""
    folder = Path(sources.build or ".")
    path = Path(sources.dockerfile) if sources.dockerfile is not None else folder / "Dockerfile"
    text = path.read_bytes()
    stages = Stages.of(dockerfile.parse(text, path.name))
    needed = stages.needed(stages.target(sources.target))
    runs = any(line.word == "RUN" for stage in needed for line in stage.instructions)
    if runs or not any(_begins(name, stage, stages) for stage in needed for name in named(stage)):
        return Key()
    context, contexts, arguments = dockerfiles.read_from(folder, path, sources, hidden, session)
    trees = [tuple(_whole(tree)) for tree in (context, *contexts.values())]
    return Key(_print(target, (text, trees, tuple(contexts), arguments), digests))


def _begins(name: str, stage: Stage, stages: Stages) -> bool:
    """True where a name in a stage may be an image's."""
    return name != "scratch" and stages.before_stage(name, stage.index) is None


def _print(target: Target, inputs: object, digests: Digests) -> str:
    compression = codec.parse(target.options.compression or "gzip").identity
    return fingerprint.of((target.options, target.sources, compression, inputs), digests)


def _whole(tree: Tree, path: str = "") -> Iterator[Entry]:
    """All that is in a tree."""
    for name in tree.names(path):
        entry = tree.look(joined(path, name))
        if entry is not None:
            yield entry
            if entry.kind == "dir":
                yield from _whole(tree, entry.path)


def _sources(folder: Folder, left_out: Sequence[Path], path: str = "") -> Iterator[Entry]:
    """What a toolchain may read in a folder: images that were written there are none of it."""
    for name in folder.names(path):
        entry = folder.look(joined(path, name))
        if entry is None or (place := folder.path / entry.path) in left_out:
            continue
        if entry.kind == "symlink":
            if not place.resolve().is_relative_to(folder.path):
                raise InputError(f"{place} leads elsewhere", code="input-special")
            yield entry
        elif entry.kind == "dir":
            if not os.path.exists(place / "oci-layout"):
                yield entry
                yield from _sources(folder, left_out, entry.path)
        else:
            yield entry
