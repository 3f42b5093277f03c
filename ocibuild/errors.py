"""Every error ocibuild raises, drawn as one tree.

    OcibuildError                    exit status 1
      x UsageError                   2   the command line, an option, a reference or a config file is wrong
      x InputError                   1   a file cannot be packed: not a program, dynamic, truncated, unreadable
      x ContentError                 1   bytes are not what their descriptor says: digest, size, JSON
      x StoreError                   1   a layout, an archive or the disk under it
        + NotFoundError              1   the store has no such name or digest
      x RegistryError                1   the registry answered with a refusal
        + AuthorizationError         4   ... because of who is asking
      x NetworkError                 5   the registry could not be reached, or fell silent
      x ToolError                    1   another program (docker, podman, ctr, git) is missing or failed
      x FindingsError                3   a check found something
      x Cancelled                  130   Ctrl-C

An error says what went wrong and on which side (its message), what to do next (`hint`), and carries a stable
kebab-case `code` that scripts may match; the codes are listed in `docs/errors.md`.
"""

from __future__ import annotations

from typing import ClassVar


class OcibuildError(Exception):
    """The root of the tree. `code` is stable; `hint` is one sentence a person can act on, or None."""

    exit_status: ClassVar[int] = 1
    default_code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process boundaries; keyword-only arguments do not survive the default pickling.
        return _rebuild, (type(self), self.message, self.code, self.hint)


def _rebuild(kind: type[OcibuildError], message: str, code: str, hint: str | None) -> OcibuildError:
    return kind(message, code=code, hint=hint)


class UsageError(OcibuildError):
    """What was asked for cannot be meant: an option, a reference, a platform, a config file."""

    exit_status = 2
    default_code = "usage"


class InputError(OcibuildError):
    """A file that was given cannot be used for what was asked."""

    default_code = "input-invalid"


class ContentError(OcibuildError):
    """Bytes disagree with their descriptor, or are not the document they are said to be."""

    default_code = "content-invalid"


class StoreError(OcibuildError):
    """A layout, an archive, or the disk below it, cannot do what was asked."""

    default_code = "store-failed"


class NotFoundError(StoreError):
    """The store has nothing under that name or digest."""

    default_code = "not-found"


class RegistryError(OcibuildError):
    """The registry answered, and the answer is no."""

    default_code = "registry-refused"


class AuthorizationError(RegistryError):
    """The registry wants other credentials, or none are enough."""

    exit_status = 4
    default_code = "unauthorized"


class NetworkError(OcibuildError):
    """No answer: name resolution, connection, TLS, a silence that lasted too long."""

    exit_status = 5
    default_code = "network-failed"


class ToolError(OcibuildError):
    """Another program that was asked to help is missing, or failed."""

    default_code = "tool-failed"


class FindingsError(OcibuildError):
    """A check ran to its end and found something."""

    exit_status = 3
    default_code = "findings"


class Cancelled(OcibuildError):
    """The person pressed Ctrl-C, or a sibling's failure called the work off."""

    exit_status = 130
    default_code = "cancelled"
