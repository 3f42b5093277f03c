"""The answers that say no, with the codes of distribution-spec "Error Codes". They go to a client, not to a person at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ocibuild.spec import jsonform

STATUSES = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "SIZE_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNKNOWN": 500,
    "UNSUPPORTED": 405,
}
"""The codes with the status each has where nothing else is said; UNKNOWN, for our own faults, is distribution's."""


class Refusal(Exception):
    """An answer other than yes. `code` is one of the specification's; `status` is HTTP's."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        detail: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUSES[code]
        self.detail = detail
        self.headers = dict(headers or {})

    def to_bytes(self) -> bytes:
        """The body: `{"errors":[{"code","message","detail"}]}`."""
        error = {"code": self.code, "message": self.message}
        return jsonform.dump({"errors": [error if self.detail is None else {**error, "detail": self.detail}]})
