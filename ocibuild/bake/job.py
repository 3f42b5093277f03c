"""Jobs and what became of them."""

from __future__ import annotations

from typing import Any, Literal

from ocibuild.record import record

State = Literal["made", "cached", "failed", "skipped", "cancelled"]
"""`cached`: it was up to date. `skipped`: what it needs failed, or it was not begun before another failed."""

Phase = Literal["packing", "pushing", "moving"]
"""`moving`: of a build's bytes one cannot say which way they go."""


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
class Step:
    """How far a running job is: `moved` bytes of `size` are packed, sent, or fetched."""

    phase: Phase
    moved: int
    size: int


@record
class Happened:
    """A job began, is at a `step`, or `ended`; so many of `total` have."""

    job: Job
    ended: Ended | None
    count: int
    total: int
    step: Step | None = None
