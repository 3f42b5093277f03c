"""Jobs and what became of them."""

from __future__ import annotations

from typing import Any, Literal

from ocibuild.record import record

State = Literal["made", "cached", "failed", "skipped", "cancelled"]
"""`cached`: it was up to date. `skipped`: what it needs failed, or it was not begun before another failed."""


@record
class Job:
    """A piece of work, begun once those it `needs` are done. `label` is the target it is a part of, where it is one."""

    name: str
    needs: tuple[str, ...] = ()
    label: str = ""


@record
class Ended:
    """How a job ended: with a `value`, or an `error`, or neither where it never began."""

    job: Job
    state: State
    value: Any = None
    error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        """True where there is an image."""
        return self.state in ("made", "cached")


@record
class Happened:
    """A job began, or `ended`; so many of `total` have."""

    job: Job
    ended: Ended | None
    count: int
    total: int
