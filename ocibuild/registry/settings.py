"""What a registry client is told from outside; it asks the machine for nothing itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ocibuild import __version__
from ocibuild.record import field, record
from ocibuild.registry.answers import Answers
from ocibuild.registry.credentials import Credential

__all__ = ["Certificate", "Credential", "Patience", "Settings", "Timeouts", "Trust"]


@record
class Timeouts:
    """Seconds. No wait in this room is without one.

    `connect` is for one address of a host, `write` for one block of 256 KiB, `reply` for the headers of an answer and
    for every further byte, `commit` for the answer to a large upload: registries on object storage copy before they
    answer. A body that brings fewer than `slowest` bytes a second over `stall` seconds of waiting is given up.
    """

    connect: float = 10
    write: float = 60
    reply: float = 60
    commit: float = 600
    stall: float = 60
    slowest: int = 1024


@record
class Patience:
    """How refusals that may pass are met: `attempts` in all, pauses from `first` seconds doubling up to `longest`.

    A Retry-After up to `asked` seconds is obeyed; a longer one ends the attempt with an error that names it. `budget` is
    how many seconds one host is waited for in all.
    """

    attempts: int = 5
    first: float = 0.25
    longest: float = 30
    asked: float = 120
    budget: float = 300


@record
class Certificate:
    """A client's certificate, with its chain, and the key to it: files in PEM, which may be one and the same."""

    certificate: Path
    key: Path


@record
class Trust:
    """What is known of one origin's TLS: authorities beside the system's, who we are to it, and whether it is believed
    without a check.
    """

    authorities: tuple[Path, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    insecure: bool = False

    def __or__(self, other: Trust) -> Trust:
        """Both together."""
        return Trust(
            self.authorities + other.authorities,
            self.certificates + other.certificates,
            self.insecure or other.insecure,
        )


UNKNOWN = Trust()
"""Nothing is known but the system's authorities."""


@record
class Settings:
    """`plain_http` None means http for loopback hosts and https for all others. `insecure` accepts any certificate.

    `ca_file` holds authorities in PEM, added to the system's. `credentials` are explicit ones by registry host, so that
    none can reach another. `environ`, `home`, `user` (a number) and `system` (/etc) say where credentials, proxies,
    certificates and mirrors are found; None: nowhere. `certificates` are ours, by registry host, as `credentials` are.
    `trusts` is what else is known of origins, by their text, and `headers` what is sent to them and no others. `chunk_size` is the
    length in bytes of the chunks that blobs are sent in; None sends each as one, in chunks only where it must be.
    `answers` are those of credential helpers, which clients may share.
    """

    plain_http: bool | None = None
    insecure: bool = False
    ca_file: str | None = None
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    certificates: Mapping[str, Certificate] = field(default_factory=dict)
    trusts: Mapping[str, Trust] = field(default_factory=dict)
    headers: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    home: Path | None = None
    user: int | None = None
    answers: Answers = field(default_factory=Answers, repr=False, compare=False)
    system: Path | None = None
    timeouts: Timeouts = Timeouts()
    patience: Patience = Patience()
    user_agent: str = f"ocibuild/{__version__}"
    connections: int = 16
    chunk_size: int | None = None

    @property
    def config(self) -> Path | None:
        """The user's folder of configuration: XDG_CONFIG_HOME, or ~/.config."""
        if named := self.environ.get("XDG_CONFIG_HOME"):
            return Path(named)
        return self.home / ".config" if self.home else None
