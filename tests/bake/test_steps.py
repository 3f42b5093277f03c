"""How far a target is: sums of its large blobs, told now and then."""

from __future__ import annotations

from ocibuild.bake.job import Step
from ocibuild.bake.steps import LARGE, Steps
from ocibuild.content.flow import Event
from ocibuild.spec.descriptor import Descriptor

MIB = 1024 * 1024


def blob(size: int, name: str = "a") -> Descriptor:
    described = Descriptor.of("application/octet-stream", name.encode())
    return Descriptor(described.media_type, described.digest, size)


class Watched:
    """Steps with a clock that is set, and what they told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[tuple[str, int, int]] = []
        self.steps = Steps(self._tell, "pushing", lambda: self.now)

    def _tell(self, step: Step) -> None:
        self.told.append((step.phase, step.moved, step.size))

    def __call__(self, event: Event, seconds: float = 1.0) -> None:
        self.now += seconds
        self.steps(event)


def test_layers_are_packed_one_after_the_other() -> None:
    watched = Watched()
    for amount, total in ((2, 3), (1, 3), (4, 8)):
        watched(Event("packed", amount=amount * MIB, total=total * MIB))
    assert watched.told == [
        ("packing", 2 * MIB, 3 * MIB), ("packing", 3 * MIB, 3 * MIB), ("packing", 4 * MIB, 8 * MIB),
    ]  # fmt: skip


def test_blobs_count_together_and_those_that_are_there_do_not() -> None:
    watched = Watched()
    one, two, three = blob(5 * MIB, "1"), blob(7 * MIB, "2"), blob(9 * MIB, "3")
    for each in (one, two, three):
        watched(Event("plan", each))
    watched(Event("exists", two))
    assert watched.told == []
    for each in (one, three):
        watched(Event("start", each))
        watched(Event("advance", each, 2 * MIB))
    assert watched.told[-1] == ("pushing", 4 * MIB, 14 * MIB)
    watched(Event("advance", one, -2 * MIB))
    assert watched.told[-1] == ("pushing", 2 * MIB, 14 * MIB), "what is sent again counts once"


def test_a_second_repository_takes_as_many_bytes_again() -> None:
    watched = Watched()
    one = blob(5 * MIB)
    for _ in range(2):
        for event in (Event("plan", one), Event("start", one), Event("advance", one, 5 * MIB), Event("done", one)):
            watched(event)
    assert watched.told[-1] == ("pushing", 10 * MIB, 10 * MIB)
    watched(Event("plan", one))
    watched(Event("mounted", one))
    watched(Event("start", blob(2 * MIB, "b")))
    assert watched.told[-1] == ("pushing", 10 * MIB, 12 * MIB)


def test_a_blob_that_nobody_planned_counts_once_it_moves() -> None:
    watched = Watched()
    watched(Event("start", blob(2 * MIB)))
    assert watched.told == [("pushing", 0, 2 * MIB)]


def test_ten_times_a_second_and_no_more() -> None:
    watched = Watched()
    watched(Event("start", blob(100 * MIB)))
    for _ in range(100):
        watched(Event("advance", blob(100 * MIB), MIB), 0.01)
    assert 9 <= len(watched.told) <= 11


def test_another_phase_is_told_at_once() -> None:
    watched = Watched()
    watched(Event("packed", amount=2 * MIB, total=2 * MIB), 0)
    watched(Event("plan", blob(2 * MIB)), 0)
    watched(Event("start", blob(2 * MIB)), 0)
    assert watched.told == [("packing", 2 * MIB, 2 * MIB), ("pushing", 0, 2 * MIB)]


def test_of_small_ones_nothing_is_told() -> None:
    watched = Watched()
    for kind in ("plan", "start", "advance", "done"):
        watched(Event(kind, blob(LARGE - 1), LARGE - 1))
    watched(Event("packed", amount=9, total=9))
    watched(Event("packed", amount=LARGE - 1, total=LARGE - 1))
    assert watched.told == []
