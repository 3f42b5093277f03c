"""The heads of answers: what is read plainly is what http.client reads."""

from __future__ import annotations

import http.client
import io
from email.parser import Parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.registry.answer import read_headers

STRANGE = [
    b"A: 1\r\n folded\r\nB: 2\r\n\r\n",
    b"A: 1\nB: 2\n\n",
    b"A: 1\r\nno colon\r\nB: 2\r\n\r\n",
    b"A : 1\r\n\r\n",
    b"A: \xe4\r\nB: 2\r\n\r\n",
    b"A: 1\rB: 2\r\n\r\n",
    b"A: 1\x0bB: 2\r\n\r\n",
    b"A:\r\nA: \t two \t \r\n: none\r\n\r\n",
    b"From x\r\nA: 1\r\n\r\n",
    b"\r\n",
    b"A: 1\r\n",
    b"",
]


def both(block: bytes) -> tuple[object, object]:
    """What each of the two readers makes of a head, and what it leaves unread."""
    seen = []
    for read in (read_headers, http.client.parse_headers):
        stream = io.BufferedReader(io.BytesIO(block))  # type: ignore[arg-type]
        message = read(stream)
        seen.append((message.items(), message.get_payload(), [type(one) for one in message.defects], stream.read()))
    return seen[0], seen[1]


@pytest.mark.parametrize("block", STRANGE)
def test_strange_heads_are_read_as_http_client_reads_them(block: bytes) -> None:
    ours, theirs = both(block + b"body: no header\r\n\r\n")
    assert ours == theirs


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="latin-1"), max_size=6),
            st.sampled_from([":", ": ", " :", ":\t", ""]),
            st.text(st.characters(codec="latin-1"), max_size=8),
            st.sampled_from(["\r\n"] * 6 + ["\n", "\r"]),
        ),
        max_size=6,
    )
)
def test_any_head_is_read_as_http_client_reads_it(lines: list[tuple[str, str, str, str]]) -> None:
    ours, theirs = both("".join("".join(line) for line in lines).encode("latin-1") + b"\r\nthe body")
    assert ours == theirs


def test_plain_heads_do_not_go_through_the_parser_of_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: Parser, text: str, headersonly: bool = False) -> None:
        raise AssertionError("a plain head")

    monkeypatch.setattr(Parser, "parsestr", never)
    message = read_headers(io.BufferedReader(io.BytesIO(b"A: 1\r\nContent-Length: 0\r\n\r\n")))  # type: ignore[arg-type]
    assert message.items() == [("A", "1"), ("Content-Length", "0")]


def test_more_headers_than_http_client_takes_are_too_many() -> None:
    with pytest.raises(http.client.HTTPException, match="100 headers"):
        read_headers(io.BufferedReader(io.BytesIO(b"A: 1\r\n" * 101 + b"\r\n")))  # type: ignore[arg-type]
