"""Text that strangers wrote, as a page may show it: escaped, with what cannot be seen made visible, and cut where it is long."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from urllib.parse import urlsplit

from markupsafe import Markup, escape

BRIEF = 240
"""Characters that stand in a line of a page; the rest is behind a click."""

WHOLE = 20_000
"""Characters that a page shows of one text at all; the rest is in the raw document."""

_UNSEEN = 24
"""Characters of one text that are written out; each takes dozens of bytes, so a text of them would grow to a flood."""

_MARKS = 3
_WORDS = {"\n": "↵", "\t": "⇥"}
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")
_MAX_URL = 2000


def visible(text: str) -> Markup:
    """The text, escaped. Control characters, bidi controls, invisible ones, lone surrogates and piles of combining marks
    are written out; what is written from right to left cannot move its neighbours.
    """
    if text.isascii() and text.isprintable():
        return escape(text)
    parts, marks, unseen = [], 0, 0
    for sign in text:
        marks = marks + 1 if unicodedata.category(sign) in ("Mn", "Me") else 0
        if sign.isprintable() and marks <= _MARKS:
            parts.append(str(escape(sign)))
            continue
        unseen += 1
        if unseen <= _UNSEEN:
            parts.append(_written_out(sign))
        elif sign == "\n":
            parts.append(sign)
    if unseen > _UNSEEN:
        parts.append(f'<em class="unseen">{unseen:,} such characters</em>')
    return Markup("<bdi>") + Markup("").join(map(Markup, parts)) + Markup("</bdi>")


def _written_out(sign: str) -> str:
    code = f"U+{ord(sign):04X}"
    name = unicodedata.name(sign, code)
    end = "\n" if sign == "\n" else ""
    return f'<span class="unseen" title="{escape(name)}">{_WORDS.get(sign, code)}</span>{end}'


def lines(text: str) -> Markup:
    """A text whose line ends are its layout."""
    return Markup("\n").join(visible(line) for line in text.split("\n"))


def long(text: str, most: int = BRIEF) -> Markup:
    """The text, cut to `most` characters with the whole behind a click; beyond WHOLE the raw document has it."""
    if len(text) <= most:
        return visible(text)
    rest = visible(text[:WHOLE])
    if len(text) > WHOLE:
        rest += Markup(' <em class="quiet">… cut here: the raw document has it all</em>')
    count = f"{len(text):,}"
    return Markup(
        '{}…<details class="whole"><summary>all {} characters</summary><div class="text">{}</div></details>'
    ).format(visible(text[:most]), count, rest)


def brief(text: str, most: int = 80) -> Markup:
    """The text in one line, cut without more, for places where it stands elsewhere too."""
    return visible(text) if len(text) <= most else visible(text[:most]) + "…"


def linked(text: str) -> Markup:
    """The text, as a link where it is a plain http or https address and nothing else."""
    if not is_address(text):
        return long(text)
    return Markup('<a href="{}" rel="noopener noreferrer nofollow ugc">{}</a>').format(text, brief(text, BRIEF))


def is_address(text: str) -> bool:
    """True for an absolute http or https address of printable ASCII, without a user in it."""
    if not text.lower().startswith(("http://", "https://")) or len(text) > _MAX_URL:
        return False
    if not text.isascii() or not text.isprintable() or any(sign in text for sign in ' "<>\\^`{|}'):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and "@" not in parts.netloc and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def size(count: int) -> str:
    """Bytes in words: `512 B`, `1.2 KiB`, `34.0 MiB`, as the command line says them."""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in _UNITS:
        amount /= 1024
        if amount < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{amount:,.1f} {unit}"


def when(seconds: float) -> Markup:
    """A time since 1970 as a `<time>` element, in UTC; the script says how long ago that is."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return Markup("unknown")
    return Markup('<time datetime="{}">{}</time>').format(f"{moment:%Y-%m-%dT%H:%M:%SZ}", f"{moment:%Y-%m-%d %H:%M}")


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 tag`, `1,234 tags`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
