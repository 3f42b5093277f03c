"""Pace: whether the bytes of an answer come fast enough to be worth waiting for."""

from __future__ import annotations

import time
from collections.abc import Callable

from requests import Response

from ocibuild.registry import problem
from ocibuild.registry.settings import Timeouts

_RECORDS = 7 * 16 * 1024
"""What is asked of TLS at a time: a few records (RFC 8446, 5.1), as many as have come. Python makes room for all that is asked
for before it knows, and above 128 KiB the C library takes that from the system each time."""


class Pace:
    """Reads one answer; counts its bytes, and the seconds that were waited for them and for nothing else."""

    def __init__(self, times: Timeouts, clock: Callable[[], float] = time.monotonic) -> None:
        self._times = times
        self._clock = clock
        self._waited = 0.0
        self._bytes = 0

    def read(self, response: Response, amount: int, *, decode: bool) -> bytes:
        """What has come, at most `amount` bytes; waits for the first one only.

        Raises NetworkError (`stalled`) when the last `times.stall` seconds of waiting brought too little.
        """
        if response.url.startswith("https:"):
            amount = min(amount, _RECORDS)
        began = self._clock()
        data: bytes = response.raw.read1(amount, decode_content=decode)
        self._waited += self._clock() - began
        self._bytes += len(data)
        if self._waited >= self._times.stall:
            if self._bytes < self._times.slowest * self._waited:
                raise problem.stalled(response.url, self._bytes, self._waited)
            self._waited, self._bytes = 0.0, 0
        return data
