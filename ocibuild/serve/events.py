"""What happens in a registry, told to whoever listens: a page that is live, a log, a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import Empty, Full, SimpleQueue
from typing import Literal

from ocibuild.record import record

Kind = Literal["blob", "mounted", "manifest", "tag", "untagged", "manifest-deleted", "blob-deleted", "collected"]


@record
class Event:
    """One change. `repository` is its name; `digest` and `tag` are empty where they do not apply; `size` is in bytes."""

    kind: Kind
    repository: str
    digest: str = ""
    tag: str = ""
    size: int = 0


class Events:
    """Hands every event to every listener, in the thread of the request that made it. A listener that fails is passed over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[Event], None]] = []

    def publish(self, event: Event) -> None:
        """Tell them. It is after the change is on the disk, and before the client is answered."""
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                continue

    @contextmanager
    def listening(self, listener: Callable[[Event], None]) -> Iterator[None]:
        """Call `listener` for every event while the `with` lasts. It must be quick."""
        with self._lock:
            self._listeners.append(listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    @contextmanager
    def stream(self, most: int = 1000) -> Iterator[Callable[[float], Event | None]]:
        """A function that waits up to so many seconds for the next event, None where none came.

        No more than `most` are kept for a reader that does not keep up; the newest are dropped then.
        """
        queue: SimpleQueue[Event] = SimpleQueue()

        def keep(event: Event) -> None:
            if queue.qsize() < most:
                queue.put(event)

        def following(seconds: float) -> Event | None:
            try:
                return queue.get(timeout=seconds)
            except (Empty, Full):
                return None

        with self.listening(keep):
            yield following
