"""Every movement is a copy: push, pull, save, load and mirror are arguments of one function.

Leaves first, parents after, names last; so an interrupted copy never leaves a manifest whose blobs are missing, nor a
name for something incomplete. Bytes are moved as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Event, Flow
from ocibuild.errors import Cancelled
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store.base import Mounts, Pushed, Source, Target
from ocibuild.store.graph import walk

_POLL = 0.1


@dataclass
class Copied:
    """What a copy did: descriptors by how they came to be in the target."""

    root: Descriptor
    written: list[Descriptor] = field(default_factory=list)
    existed: list[Descriptor] = field(default_factory=list)
    mounted: list[Descriptor] = field(default_factory=list)

    @property
    def bytes_written(self) -> int:
        """Bytes that moved."""
        return sum(descriptor.size for descriptor in self.written)

    def add(self, descriptor: Descriptor, pushed: Pushed) -> None:
        """Note one outcome."""
        by = {Pushed.WRITTEN: self.written, Pushed.EXISTED: self.existed, Pushed.MOUNTED: self.mounted}
        by[pushed].append(descriptor)


@dataclass(frozen=True)
class _Stored:
    """Content in a store, opened there each time."""

    source: Source
    descriptor: Descriptor

    @property
    def size(self) -> int:
        return self.descriptor.size

    def open(self, offset: int = 0) -> AbstractContextManager[BinaryIO]:
        return self.source.open(self.descriptor, offset)


def copy(source: Source, root: Descriptor, target: Target, *, names: Sequence[str | None] = (), flow: Flow) -> Copied:
    """Copy the graph below `root` and give it `names` in the target (none: an untagged root).

    The target is an entered context manager: the caller commits. Raises what the stores raise; the first failure calls
    its siblings off and is the one that is reported.
    """
    copied = Copied(root)
    order = list(walk(source, root))
    leaves = [d for d in order if not mediatype.is_node(d.media_type)]
    for descriptor in order:
        flow.observe(Event("plan", descriptor))
    # The largest first: it decides when the whole is done.
    _all(flow, copied, source, target, sorted(leaves, key=lambda d: -d.size))
    for descriptor in order:
        if mediatype.is_node(descriptor.media_type):
            copied.add(descriptor, _one(source, target, descriptor, flow))
    for name in names or (None,):
        target.tag(root, name)
    return copied


def _all(flow: Flow, copied: Copied, source: Source, target: Target, leaves: Iterable[Descriptor]) -> None:
    futures: dict[Future[Pushed], Descriptor] = {
        flow.io.submit(_one, source, target, descriptor, flow): descriptor for descriptor in leaves
    }
    pending = set(futures)
    try:
        while pending:
            # Short waits: a signal reaches the main thread between them.
            done, pending = wait(pending, timeout=_POLL, return_when=FIRST_EXCEPTION)
            for future in done:
                copied.add(futures[future], future.result())
    except BaseException as error:
        flow.cancel.set()
        for future in pending:
            future.cancel()
        wait(pending, timeout=5)
        if isinstance(error, Cancelled):
            raise _cause(futures) or error from None
        raise


def _cause(futures: Iterable[Future[Pushed]]) -> BaseException | None:
    """The failure behind a cancellation, where there is one."""
    for future in futures:
        if future.done() and not future.cancelled():
            error = future.exception()
            if error is not None and not isinstance(error, Cancelled):
                return error
    return None


def _one(source: Source, target: Target, descriptor: Descriptor, flow: Flow) -> Pushed:
    flow.cancel.check()
    if isinstance(target, Mounts) and not mediatype.is_node(descriptor.media_type) and target.mount(descriptor, source):
        flow.observe(Event("mounted", descriptor))
        return Pushed.MOUNTED
    pushed = target.push(Blob(descriptor, _Stored(source, descriptor)), flow)
    flow.observe(Event("done" if pushed is Pushed.WRITTEN else "exists", descriptor))
    return pushed
