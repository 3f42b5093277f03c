"""What a build comes to before anything of it is written."""

from __future__ import annotations

from ocibuild.bake.ledger import Taken
from ocibuild.binary.artifact import Artifact
from ocibuild.image.plan import Plan
from ocibuild.record import record


@record
class Planned:
    """A plan whose files stand as long as the build does, the programs in it, and notes for the person.

    `images` are those it was made of; `files` and `variables` are what a toolchain says that it read, where it says so.
    `doubt` says why the same files may give another image the next time; empty where they cannot.
    """

    plan: Plan
    artifacts: tuple[Artifact, ...]
    notes: tuple[str, ...] = ()
    images: tuple[Taken, ...] = ()
    files: frozenset[str] = frozenset()
    variables: frozenset[str] = frozenset()
    doubt: str = ""
