"""A worker's entry: what a task finds in another process or on another machine.

The surroundings are the worker's own, its logins above all; what the person said of registries comes with the task.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from ocibuild.api.baking import Done, Task, perform
from ocibuild.api.session import Session
from ocibuild.record import field, record

if TYPE_CHECKING:
    from ocibuild.registry.settings import Certificate, Credential


class Ending(Protocol):
    """Set once nobody waits any more."""

    def wait(self) -> object: ...


@record
class Reach:
    """How registries are reached, as Session has it. Explicit logins are for processes of this machine alone."""

    plain_http: bool | None = None
    insecure: bool = False
    ca_file: str | None = None
    mirrors: bool = True
    chunk_size: int | None = None
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, session: Session, *, credentials: bool) -> Reach:
        """What of a session can be told to others."""
        return cls(
            session.plain_http,
            session.insecure,
            session.ca_file,
            session.mirrors,
            session.chunk_size,
            dict(session.certificates),
            dict(session.credentials) if credentials else {},
        )

    def session(self) -> Session:
        """A session of this process."""
        return Session(
            plain_http=self.plain_http,
            insecure=self.insecure,
            ca_file=self.ca_file,
            mirrors=self.mirrors,
            chunk_size=self.chunk_size,
            certificates=dict(self.certificates),
            credentials=dict(self.credentials),
        )


@record
class Order:
    """A task, and how registries are reached by who does it; None where `prepare` has told the process."""

    task: Task
    reach: Reach | None = None


_LOCK = threading.Lock()
_SESSIONS: list[tuple[Reach | None, Session]] = []


def prepare(ending: Ending, reach: Reach) -> None:
    """Before a process's first task: Ctrl-C is the business of who started it, and `ending` calls everything off."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    session = reach.session().__enter__()  # for the life of the process, as below
    _SESSIONS.append((None, session))

    def watch() -> None:
        ending.wait()
        session.cancel.set()

    threading.Thread(target=watch, name="ocibuild-ending", daemon=True).start()


def perform_away(order: Order) -> Done:
    """Do a task in this process. Raises what `perform` raises."""
    return perform(order.task, _session(order.reach).begin())


def _session(reach: Reach | None) -> Session:
    """The process's session for a reach: its connections and tokens serve every task."""
    with _LOCK:
        for known, session in _SESSIONS:
            if known == reach:
                return session
        session = (reach or Reach()).session().__enter__()
        _SESSIONS.append((reach, session))
        return session
