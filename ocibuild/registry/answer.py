"""The head of an answer, read plainly where it is plain.

http.client hands headers to the parser that reads letters, which takes a quarter of all that a small exchange costs.
"""

from __future__ import annotations

import http.client
import re
from http.client import HTTPMessage, HTTPResponse
from io import BufferedReader
from types import FunctionType
from typing import Any

_PLAIN = re.compile(rb"(?:[!-9;-~]+:[\t -~]*\r\n)+")
"""Lines of a name and a value, none of them continued, of printable ASCII alone. RFC 9112, section 5."""

_MOST = 100


def read_headers(stream: BufferedReader, *bounds: Any, **more: Any) -> HTTPMessage:
    """As http.client's `parse_headers`, which is asked about all that is not plain, or has not come as one."""
    ready = stream.peek()
    end = ready.find(b"\r\n\r\n") + 2
    lines = ready[: end - 2].decode("ascii").split("\r\n") if _PLAIN.fullmatch(ready, 0, end) else ()
    if not 0 < len(lines) < _MOST:
        parsed: HTTPMessage = http.client.parse_headers(stream, *bounds, **more)
        return parsed
    stream.read(end + 2)
    message = HTTPMessage()
    message.set_payload("")
    for line in lines:
        name, _, value = line.partition(":")
        message.set_raw(name, value.lstrip(" \t"))
    return message


class Answer(HTTPResponse):
    """http.client's response, with our reading of headers; over at once where nothing follows them."""

    # Its own `begin`, to which `parse_headers` is ours: it has no other place to say so.
    _begin = FunctionType(HTTPResponse.begin.__code__, {**vars(http.client), "parse_headers": read_headers})

    def begin(self) -> None:
        """Read the head."""
        self._begin()
        if self.length == 0 and not self.chunked:
            self.close()
