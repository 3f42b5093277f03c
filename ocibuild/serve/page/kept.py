"""What was worked out once and may be needed again: the newest few."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Up to `most` values by key; the one that was not asked for longest goes. For any number of threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(
        self, key: Hashable, make: Callable[[], Value], *, lasts: Callable[[Value], bool] = lambda value: True
    ) -> Value:
        """The value, made where it is not there, and kept where it `lasts`. What `make` raises is raised."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        if not lasts(value):
            return value
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._most:
                self._values.popitem(last=False)
        return value
