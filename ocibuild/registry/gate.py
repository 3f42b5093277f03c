"""The gate before one host: how its troubles are waited out, by all threads together.

A host that asks to be left alone is left alone by everybody, and is met by fewer threads afterwards; so a storm of 429s
does not come back as the next storm. All waiting together has a bound. RFC 9110 section 10.2.3, RFC 6585 section 4.
"""

from __future__ import annotations

import email.utils
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ocibuild.content.flow import Cancel
from ocibuild.errors import RegistryError
from ocibuild.registry.settings import Patience

_BUSY = frozenset({429, 503})
_STEADY = 5
"""Answers in a row after which one more thread is let through."""

_SLICE = 0.1


class Gate:
    """Lets at most `width` threads through to a host, fewer when it is busy, none while it asked for a pause."""

    def __init__(self, host: str, patience: Patience, width: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._patience = patience
        self._clock = clock
        self._changed = threading.Condition()
        self._width = self._open = width
        self._inside = 0
        self._steady = 0
        self._closed_until = 0.0
        self._waited_until = 0.0
        self._waited = 0.0

    @contextmanager
    def entered(self, cancel: Cancel) -> Iterator[None]:
        """Wait for a place, and hold it while inside. Raises Cancelled."""
        with self._changed:
            while self._inside >= self._open or self._clock() < self._closed_until:
                cancel.check()
                self._changed.wait(_SLICE)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def passed(self) -> None:
        """The host answered and was not busy."""
        with self._changed:
            if self._open < self._width:
                self._steady += 1
                if self._steady >= _STEADY:
                    self._steady, self._open = 0, self._open + 1
                    self._changed.notify()

    def pause(self, number: int) -> float:
        """Seconds to wait after attempt `number`; scattered, so that many threads do not come back as one."""
        seconds: float = min(self._patience.first * 2 ** (number - 1), self._patience.longest)
        return seconds * random.uniform(0.8, 1.2)

    def asked(self, status: int, headers: Mapping[str, str], number: int) -> float:
        """Seconds to wait after an answer: what its Retry-After says, else `pause`. A busy host closes the gate so long.

        Raises RegistryError (`rate-limited`) when it asks for more than our patience.
        """
        said = retry_after(headers)
        if said is not None and said > self._patience.asked:
            raise RegistryError(
                f"{self._host} asks to come back in {said:.0f} s ({status})",
                code="rate-limited",
                hint="wait, or log in: known users are given more",
            )
        seconds = self.pause(number) if said is None else said
        if status in _BUSY:
            with self._changed:
                self._open, self._steady = max(1, self._open // 2), 0
                self._closed_until = max(self._closed_until, self._clock() + seconds)
        return seconds

    def wait(self, seconds: float, cancel: Cancel) -> bool:
        """Wait so long; False, at once, when this host has been waited for long enough in all. Raises Cancelled.

        Threads that wait at the same time wait once.
        """
        with self._changed:
            now = self._clock()
            more = max(0.0, now + seconds - max(now, self._waited_until))
            if self._waited + more > self._patience.budget:
                return False
            self._waited += more
            self._waited_until = max(self._waited_until, now + seconds)
        cancel.wait(seconds)
        return True


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds a Retry-After header asks for, None where there is none to understand. RFC 9110 section 10.2.3.

    A date is held against the answer's own Date, so that no clock of ours has to be right.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        then, now = (email.utils.parsedate_to_datetime(stamp) for stamp in (text, headers.get("Date", "")))
        return max(0.0, (then - now).total_seconds())
    except (TypeError, ValueError):
        return None
