"""What a bake is made of, watched: files, folders, and the patterns that new files may fit."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ocibuild.api import bakeplan
from ocibuild.api.bakeplan import BakePlan
from ocibuild.api.session import Session
from ocibuild.bake import watching
from ocibuild.bake.watching import Seen
from ocibuild.content.flow import Cancel
from ocibuild.pack import configfile, configspread, naming

_CONFIGS = ("ocibuild.toml", "pyproject.toml")


class Watched:
    """The inputs of a config file, as they were when it was last planned.

    A plan that fails is watched too, as far as it went: what was watched before, and what was looked for in vain.
    """

    def __init__(self, config: str | os.PathLike[str]) -> None:
        path = Path(config)
        self._configs = [str(path / name) for name in _CONFIGS] if path.is_dir() else [str(path)]
        self._files: tuple[str, ...] = ()
        self._patterns: tuple[str, ...] = ()
        self._before: Seen = {}

    def plan(self, names: Sequence[str], config: str, said: Mapping[str, str], session: Session) -> BakePlan:
        """See bakeplan.plan. What changes from now on is a change."""
        earlier = watching.look(self.paths())
        try:
            file = configfile.read(config, said, session.surroundings.environ)
            try:
                made = bakeplan.planned(names, file)
                self._files, self._patterns = _inputs(made), file.patterns
            except Exception:
                self._patterns = tuple(dict.fromkeys((*self._patterns, *file.patterns)))
                raise
        finally:
            # What was read already is as it was before it was read.
            self._before = {path: earlier.get(path, seen) for path, seen in watching.look(self.paths()).items()}
        return made

    def paths(self) -> Iterator[str]:
        """The files and folders, and what fits the patterns now."""
        yield from self._configs
        yield from self._files
        known = {*self._files}
        for pattern in self._patterns:
            yield from (path for path in configspread.matching(pattern, Path()) if path not in known)

    @property
    def count(self) -> int:
        """How many files are watched."""
        return sum(size >= 0 for _, size, _ in self._before.values())

    def wait(self, cancel: Cancel, seconds: float | None = None) -> bool:
        """See watching.wait."""
        return watching.wait(self.paths, self._before, cancel, seconds)


def _inputs(made: BakePlan) -> tuple[str, ...]:
    """The files and folders that the targets are made of."""
    found: list[str] = []
    for target in made.targets:
        found += [naming.split_input(text)[0] for text in target.files if "://" not in text]
        found += [text.partition(":")[0] for text in target.options.add if "://" not in text]
        if target.sources is not None:
            found += [path for path in (target.sources.build, target.sources.dockerfile) if path]
            places = [text.partition("=")[2] for text in target.sources.build_context]
            found += [place for place in places if ":" not in place]
    return tuple(dict.fromkeys(found))
