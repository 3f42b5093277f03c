"""Where the images of a bake go, and under which names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ocibuild.api.bakeplan import BakePlan
from ocibuild.api.baking import Task, named
from ocibuild.bake.job import Ended
from ocibuild.errors import UsageError
from ocibuild.pack.options import Target
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.reference import Reference
from ocibuild.store.layout import LayoutStore

LAYOUT = "bake.oci"
"""Where images go that are neither pushed nor told where: one layout for all, in the current folder."""

_ELSEWHERE = ("docker", "docker-archive", "oci-archive")


class Goes:
    """Where the images of a bake go: to their tags, into one layout or one each."""

    def __init__(self, made: BakePlan, push: bool, output: str | None, stack: ExitStack, cluster: bool) -> None:
        self.push = push
        self.shared: str | None = None
        self._folder: Path | None = None
        self._targets = {target.name: target for target in made.targets}
        self._aside: str | None = None
        self._taken = {name for target in made.targets for name in target.needs}
        if output is None and not push:
            output = f"oci:{LAYOUT}"
        if output is not None and output.startswith("oci:"):
            self.shared = output.removeprefix("oci:") or LAYOUT
        elif output is not None:
            if (scheme := output.partition(":")[0]) in _ELSEWHERE or Path(output).is_file():
                what = f"is {scheme}:" if scheme in _ELSEWHERE else "is a file"
                raise UsageError(
                    f"-o {output} {what}, and a bake writes layouts",
                    code="usage",
                    hint="give oci:DIR, one layout for all, or a folder for a layout each; --push sends them to their tags",
                )
            self._folder = Path(output)
            self._folder.mkdir(parents=True, exist_ok=True)
        unnamed = [target for target in made.targets if not target.tags]
        if not push or output is not None or not unnamed:
            return
        for target in unnamed:
            if target.name in made.asked:
                raise UsageError(
                    f"target {target.name} has nowhere to be pushed to",
                    code="usage",
                    hint='add tags = ["REGISTRY/NAME:TAG"] to it, or -o for the others',
                )
        if cluster:
            raise UsageError(
                f"target {unnamed[0].name} is needed by others, and no machine of a cluster finds it without tags",
                code="usage",
                hint='add tags = ["REGISTRY/NAME:TAG"] to it',
            )
        folder = stack.enter_context(TemporaryDirectory(prefix="ocibuild-bake-", ignore_cleanup_errors=True))
        self._aside = folder

    def task(self, target: Target) -> Task:
        """What of a task is about places."""
        if self.shared is not None:
            # Whose files another target takes is found there at once.
            return Task(target, self.push, self.shared, alone=target.name in self._taken)
        if self._folder is not None:
            return Task(target, self.push, str(self._folder / f"{target.name}.oci"), alone=True)
        if self._aside is not None and not target.tags:
            return Task(target, False, os.path.join(self._aside, target.name), alone=True)
        return Task(target, self.push)

    def references(self, target: Target, root: Descriptor) -> tuple[str, ...]:
        """The image's names, pushed ones first."""
        task = self.task(target)
        pushed = [Reference.parse(tag).name for tag in target.tags] if task.push else []
        names = [f"{name}@{root.digest}" for name in dict.fromkeys(pushed)]
        return (*names, *([f"oci:{task.layout}@{root.digest}"] if task.layout else []))

    def place(self, target: Target, root: Descriptor) -> str:
        """Where another target's build finds the image."""
        name = self.references(target, root)[0]
        return name if name.startswith("oci:") else f"docker-image://{name}"

    def finish(self, ended: Mapping[str, Ended], shared: LayoutStore | None) -> None:
        """Give the images of the shared layout their names, in the file's order."""
        for name, target in self._targets.items():
            done = ended.get(name)
            if shared is not None and done is not None and done.state == "made" and done.value.descriptor is not None:
                shared.tag(named(done.value.descriptor, target), name)


@contextmanager
def kept(goes: Goes) -> Iterator[LayoutStore]:
    """The layout for all. What is whole stays, also where the bake is broken off; a new layout that is empty does not."""
    assert goes.shared is not None
    store = LayoutStore(goes.shared)
    with ExitStack() as stack:
        stack.enter_context(store)
        try:
            yield store
        except BaseException:
            if store.has_news:
                stack.pop_all()
                store.__exit__(None, None, None)
            raise
