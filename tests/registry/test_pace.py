"""How much of an answer is asked for at once. 64 MiB over TLS took two seconds where Python made room for a MiB each time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ocibuild.registry.pace import Pace
from ocibuild.registry.settings import Timeouts


@pytest.mark.parametrize(
    "scheme, most",
    [
        ("http", 1024 * 1024),
        ("https", 2**14),  # RFC 8446, section 5.1: the length of a record MUST NOT exceed 2^14 bytes
    ],
)
def test_over_tls_no_more_is_asked_for_than_comes_at_once(scheme: str, most: int) -> None:
    asked: list[int] = []

    def read1(amount: int, decode_content: bool) -> bytes:
        asked.append(amount)
        return b"x"

    response: Any = SimpleNamespace(url=f"{scheme}://r.example/v2/", raw=SimpleNamespace(read1=read1))
    assert Pace(Timeouts()).read(response, 1024 * 1024, decode=False) == b"x"
    assert asked == [most]
