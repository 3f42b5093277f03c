"""Every movement is a copy: push, pull, save, load and mirror are arguments of one function.

Leaves first, parents after, names last; so an interrupted copy never leaves a manifest whose blobs are missing, nor a
name for something incomplete. Bytes are moved as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait

from ocibuild.content.blob import Blob, Bytes
from ocibuild.content.flow import Event, Flow
from ocibuild.errors import Cancelled, ContentError, NotFoundError, RegistryError
from ocibuild.record import field, record
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.store.base import Mounts, Names, Pushed, Referrers, Source, Stored, Target, fetch
from ocibuild.store.graph import successors, walk

_POLL = 0.1
_LARGE = 1024 * 1024
_LARGE_LANE, _SMALL_LANE = 4, 12
"""How many blobs of a size move at a time: large ones share a line's width, small ones wait for answers."""

MAX_REFERRERS = 1000
"""How many manifests that refer to one graph, directly or not, are followed."""


@record
class Copied:
    """What a copy did: descriptors by how they came to be in the target."""

    root: Descriptor
    written: list[Descriptor] = field(default_factory=list)
    existed: list[Descriptor] = field(default_factory=list)
    mounted: list[Descriptor] = field(default_factory=list)
    referrers: list[Descriptor] = field(default_factory=list)

    @property
    def bytes_written(self) -> int:
        """Bytes that moved."""
        return sum(descriptor.size for descriptor in self.written)

    def add(self, descriptor: Descriptor, pushed: Pushed) -> None:
        """Note one outcome."""
        by = {Pushed.WRITTEN: self.written, Pushed.EXISTED: self.existed, Pushed.MOUNTED: self.mounted}
        by[pushed].append(descriptor)


def copy(
    source: Source,
    root: Descriptor,
    target: Target,
    *,
    names: Sequence[str | None] = (),
    referrers: bool = False,
    flow: Flow,
) -> Copied:
    """Copy the graph below `root` and give it `names` in the target (none: an untagged root).

    Where the first of the names stands for `root` in a target that tells, nothing below it is looked at.

    With `referrers`, what is attached to any manifest of the graph comes along as untagged roots, and what is attached
    to that; raises ContentError (`too-many-referrers`) beyond MAX_REFERRERS of them.

    The target is an entered context manager: the caller commits. Raises what the stores raise; the first failure calls
    its siblings off and is the one that is reported.
    """
    copied = Copied(root)
    data = fetch(source, root) if mediatype.is_node(root.media_type) else None
    order = list(walk(source, root, data))
    leaves = [d for d in order if not mediatype.is_node(d.media_type)]
    for descriptor in order:
        flow.observe(Event("plan", descriptor))
    naming = names[0] if names and isinstance(target, Names) and mediatype.is_node(root.media_type) else None
    if naming and isinstance(target, Names) and target.stands(root, naming):
        for descriptor in order[:-1]:  # the root is the last
            copied.add(descriptor, Pushed.EXISTED)
            flow.observe(Event("exists", descriptor))
        missing = [root]
    else:
        _all(flow, copied, source, target, leaves)
        missing = [descriptor for descriptor in order if mediatype.is_node(descriptor.media_type)]
    for descriptor in missing:
        if descriptor.digest == root.digest and data is not None:
            copied.add(root, _node(source, target, Blob(root, Bytes(data)), flow, naming))
        else:
            copied.add(descriptor, _node(source, target, _stored(source, descriptor), flow))
    if referrers:
        _attached(source, order, target, copied, flow)
    for name in names[1:] if naming else names or (None,):
        target.tag(root, name)
    return copied


def _attached(source: Source, order: Iterable[Descriptor], target: Target, copied: Copied, flow: Flow) -> None:
    """Follow subjects backwards, until nothing new is found."""
    pending = deque(descriptor for descriptor in order if mediatype.is_node(descriptor.media_type))
    seen, count = {descriptor.digest for descriptor in pending}, 0
    while pending and isinstance(source, Referrers):
        for entry in source.referrers(pending.popleft()):
            if entry.digest in seen:
                continue
            count += 1
            if count > MAX_REFERRERS:
                raise ContentError(
                    f"more than {MAX_REFERRERS} manifests refer to {copied.root.digest}", code="too-many-referrers"
                )
            below = _listed(source, entry, flow)
            seen |= {entry.digest, *(each.digest for each in below)}
            if not below:
                continue
            moved = copy(source, entry.bare, target, flow=flow)
            for mine, its in ((copied.written, moved.written), (copied.existed, moved.existed)):
                mine += its
            copied.mounted.extend(moved.mounted)
            copied.referrers.append(entry)
            pending += [each for each in below if mediatype.is_node(each.media_type)]


def _listed(source: Source, entry: Descriptor, flow: Flow) -> Sequence[Descriptor]:
    """What a referrer is made of; nothing where a list names one that is gone."""
    try:
        return list(walk(source, entry.bare))
    except NotFoundError as error:
        flow.observe(Event("note", entry, text=f"passed over a referrer that is listed and gone: {error.message}"))
        return ()


def _all(flow: Flow, copied: Copied, source: Source, target: Target, leaves: Iterable[Descriptor]) -> None:
    # The largest first: it decides when the whole is done. In a lane of its own, so that small ones are not behind it.
    waiting = sorted(leaves, key=lambda d: -d.size)
    # One that is small goes from this thread: to hand it to another, and wait for that, takes as long as to send it.
    mine = waiting.pop() if waiting and waiting[-1].size < _LARGE else None
    lanes = [
        _Lane(deque(d for d in waiting if d.size >= _LARGE), _LARGE_LANE),
        _Lane(deque(d for d in waiting if d.size < _LARGE), _SMALL_LANE),
    ]
    running: dict[Future[Pushed], tuple[Descriptor, _Lane]] = {}

    def calls_off(future: Future[Pushed]) -> None:
        if not future.cancelled() and future.exception() is not None:
            flow.cancel.set()  # whoever is at work, this thread too, stops now and not when its own blob is through

    try:
        while running or mine or any(lane.waiting for lane in lanes):
            for lane in lanes:
                while lane.waiting and lane.free:
                    lane.free -= 1
                    descriptor = lane.waiting.popleft()
                    future = flow.io.submit(_one, source, target, _stored(source, descriptor), flow)
                    future.add_done_callback(calls_off)
                    running[future] = (descriptor, lane)
            if mine and not any(lane.waiting for lane in lanes):
                copied.add(mine, _one(source, target, _stored(source, mine), flow))
                mine = None
            # Short waits: a signal reaches the main thread between them.
            for future in wait(running, timeout=_POLL, return_when=FIRST_COMPLETED).done:
                descriptor, lane = running[future]
                copied.add(descriptor, future.result())
                del running[future]
                lane.free += 1
    except BaseException as error:
        flow.cancel.set()
        for future in running:
            future.cancel()
        wait(running, timeout=5)
        if isinstance(error, Cancelled):
            raise _cause(running) or error from None
        raise


class _Lane:
    """What waits to be moved, and how many more may move at a time."""

    def __init__(self, waiting: deque[Descriptor], free: int) -> None:
        self.waiting = waiting
        self.free = free


def _cause(futures: Iterable[Future[Pushed]]) -> BaseException | None:
    """The failure behind a cancellation, where there is one."""
    for future in futures:
        if future.done() and not future.cancelled():
            error = future.exception()
            if error is not None and not isinstance(error, Cancelled):
                return error
    return None


def _stored(source: Source, descriptor: Descriptor) -> Blob:
    return Blob(descriptor, Stored(source, descriptor))


def _node(source: Source, target: Target, blob: Blob, flow: Flow, name: str | None = None) -> Pushed:
    """A manifest or index. Where the target has lost something it had taken, that is sent again, once."""
    try:
        return _one(source, target, blob, flow, name)
    except RegistryError as error:
        missing = [child for child in successors(source, blob.descriptor) if not target.exists(child)]
        if error.code != "blob-unknown" or not missing:
            raise
        for child in missing:
            flow.observe(Event("retry", text=f"{target.place} has lost {child.digest.short}; sending it again"))
            _one(source, target, _stored(source, child), flow)
        return _one(source, target, blob, flow, name)


def _one(source: Source, target: Target, blob: Blob, flow: Flow, name: str | None = None) -> Pushed:
    flow.cancel.check()
    descriptor = blob.descriptor
    is_node = mediatype.is_node(descriptor.media_type)
    if not is_node and isinstance(target, Mounts) and target.mount(descriptor, source):
        flow.observe(Event("mounted", descriptor))
        return Pushed.MOUNTED

    def push() -> Pushed:
        return target.push_named(blob, name, flow) if name and isinstance(target, Names) else target.push(blob, flow)

    try:
        pushed = push()
    except ContentError as error:
        if error.code != "digest-mismatch":
            raise
        # A bit may have fallen over on its way to us. What is wrong at the source is wrong the second time too.
        flow.observe(Event("retry", text=f"{error.message}; reading it again"))
        pushed = push()
    flow.observe(Event("done" if pushed is Pushed.WRITTEN else "exists", descriptor))
    return pushed
