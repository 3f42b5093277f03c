"""How much of an answer is asked for at once. 64 MiB over TLS took two seconds where Python made room for a MiB each time.

What the GNU C library takes from the system for one allocation begins at 128 KiB: mallopt(3), M_MMAP_THRESHOLD.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ocibuild.registry.pace import Pace
from ocibuild.registry.settings import Timeouts


@pytest.mark.parametrize("scheme, least, most", [("http", 1024 * 1024, 1024 * 1024), ("https", 4 * 2**14, 127 * 1024)])
def test_over_tls_no_more_is_asked_for_than_costs_little_to_make_room_for(scheme: str, least: int, most: int) -> None:
    asked: list[int] = []

    def read1(amount: int, decode_content: bool) -> bytes:
        asked.append(amount)
        return b"x"

    response: Any = SimpleNamespace(url=f"{scheme}://r.example/v2/", raw=SimpleNamespace(read1=read1))
    assert Pace(Timeouts()).read(response, 1024 * 1024, decode=False) == b"x"
    assert least <= asked[0] <= most
    assert asked[1:] == []
