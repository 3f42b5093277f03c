"""The surroundings: environment, home folder and clock, read once and passed down as values.

Nothing below the command line, the porcelain and a worker's entry asks the machine itself, so every other module
gives the same answer everywhere. https://reproducible-builds.org/specs/source-date-epoch/, https://no-color.org/.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from ocibuild.errors import UsageError
from ocibuild.record import field, record

_CI = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "BUILDKITE", "JENKINS_URL", "TEAMCITY_VERSION", "TF_BUILD")
_NO = frozenset({"", "0", "false", "no"})
_LATEST = 253402300799  # 9999-12-31T23:59:59Z, the last second RFC 3339 can write


@record
class Ambient:
    """What the process was started with. `now` is aware, in UTC; `user` is the user's number, on Linux; `system` holds the
    machine's configuration.
    """

    environ: Mapping[str, str] = field(repr=False)  # it holds secrets
    home: str | os.PathLike[str]
    now: datetime
    user: int | None = None
    system: str | os.PathLike[str] = "/etc"

    def source_date_epoch(self) -> int | None:
        """SOURCE_DATE_EPOCH in seconds since 1970, None where it is unset or empty.

        Raises UsageError (`source-date-epoch-invalid`) for anything but a whole number up to the year 9999.
        """
        text = self.environ.get("SOURCE_DATE_EPOCH", "")
        if not text:
            return None
        if not (text.isascii() and text.isdigit()) or len(text) > 12 or int(text) > _LATEST:
            raise UsageError(
                f"SOURCE_DATE_EPOCH is {text[:40]!r}, not a number of seconds since 1970",
                code="source-date-epoch-invalid",
                hint='set it as in: export SOURCE_DATE_EPOCH="$(git log -1 --pretty=%ct)", or unset it',
            )
        return int(text)

    @property
    def is_ci(self) -> bool:
        """True where a build service runs us and nobody watches a bar move."""
        return any(self.environ.get(name, "").lower() not in _NO for name in _CI)

    @property
    def no_color(self) -> bool:
        """True where colours were declined: a non-empty NO_COLOR, or a terminal that has none."""
        return bool(self.environ.get("NO_COLOR")) or self.environ.get("TERM") == "dumb"


def read() -> Ambient:
    """The surroundings of this process, as they are now."""
    user = os.getuid() if sys.platform == "linux" else None
    return Ambient(dict(os.environ), os.path.expanduser("~"), datetime.now(UTC), user)


def seconds() -> float:
    """Seconds since 1970, for what measures the age of files."""
    return datetime.now(UTC).timestamp()
