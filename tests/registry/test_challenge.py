"""Challenges: RFC 9110's grammar, what registries send, and what nobody should."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.registry import challenge

# Challenges. The first is the example of RFC 9110 section 11.6.1, the second of distribution's token specification.


@pytest.mark.fault(40)
@pytest.mark.parametrize(
    "line, expected",
    [
        (
            'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
            [("basic", {"realm": "simple"}), ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'})],
        ),
        (
            (
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
                'scope="repository:samalba/my-app:pull,push"'
            ),
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:samalba/my-app:pull,push",
                    },
                )
            ],
        ),
        ('Negotiate, Bearer realm="https://a/t"', [("negotiate", {}), ("bearer", {"realm": "https://a/t"})]),
        ('Negotiate dG9rZW4=, BASIC Realm="Nexus"', [("negotiate", {}), ("basic", {"realm": "Nexus"})]),
        ("Bearer realm=https://a/t , service = s", [("bearer", {"realm": "https://a/t", "service": "s"})]),
        ('Bearer service="",scope="x"', [("bearer", {"service": "", "scope": "x"})]),
        ("", []),
        (',,, ="', []),
        ('"quoted" realm="x"', []),
    ],
)
def test_challenges(line, expected):
    assert [(found.scheme, found.parameters) for found in challenge.parse([line])] == expected


def test_challenges_of_several_lines():
    assert [found.scheme for found in challenge.parse(["Negotiate", 'Basic realm="x"'])] == ["negotiate", "basic"]


@pytest.mark.parametrize("line", ["a" * 100_000, '"' * 100_000, "a=," * 30_000, "Basic " * 20_000, '\\"' * 50_000])
def test_challenges_of_hostile_length_take_no_time(line):
    started = time.monotonic()
    challenge.parse([line])
    assert time.monotonic() - started < 2


# RFC 9110, said as grammar: whatever is written by it is read back.

TOKEN = st.text("!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=8)
TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
SPACE = st.sampled_from(["", " ", "\t", "  "])


@st.composite
def parameter(draw):
    name, value = draw(TOKEN), draw(TOKEN | TEXT)
    is_token = bool(value) and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", value) is not None
    quoted = '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
    written = value if is_token and draw(st.booleans()) else quoted
    return name, value, f"{name}{draw(SPACE)}={draw(SPACE)}{written}"


@st.composite
def header(draw):
    expected, written = [], []
    for scheme in draw(st.lists(TOKEN, max_size=4)):
        values, pieces = {}, []
        for name, value, text in draw(st.lists(parameter(), max_size=4)):
            values.setdefault(name.lower(), value)
            pieces.append(text)
        comma = f"{draw(SPACE)},{draw(SPACE)}"
        expected.append((scheme.lower(), values))
        written.append(f"{scheme} {comma.join(pieces)}" if pieces else scheme)
    return expected, f"{draw(SPACE)},{draw(SPACE)}".join(written)


@pytest.mark.fault(40)
@given(header())
def test_what_the_grammar_writes_is_read_back(case):
    expected, line = case
    assert [(found.scheme, found.parameters) for found in challenge.parse([line])] == expected


@pytest.mark.fault(40)
@given(st.text() | st.text('Bearer, realm="\\= \t', max_size=60))
def test_any_text_is_read_without_complaint(line):
    for found in challenge.parse([line]):
        assert found.scheme == found.scheme.lower()
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", found.scheme)


@given(header(), st.text('", =x', max_size=10))
def test_what_comes_after_cannot_change_what_came_before(case, tail):
    expected, line = case
    found = [(one.scheme, dict(one.parameters)) for one in challenge.parse([f"{line}, Last realm=x, {tail}"])]
    assert found[: len(expected)] == expected
