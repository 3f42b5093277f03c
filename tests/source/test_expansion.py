"""Variables: the examples of the Dockerfile reference ("Environment replacement"), and a POSIX shell's own answers."""

from __future__ import annotations

import subprocess

import pytest

from ocibuild.source.expansion import expand

VALUES = {"abc": "hello", "empty": "", "str": "foobarbaz", "string": "foobarbaz", "FOO": "/bar"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # https://docs.docker.com/reference/dockerfile/#environment-replacement
        ("${FOO}", "/bar"), ("$FOO", "/bar"), (r"\$FOO", "$FOO"), (r"\${FOO}", "${FOO}"),
        ("${str#f*b}", "arbaz"), ("${str##f*b}", "az"), ("${string%b*}", "foobar"), ("${string%%b*}", "foo"),
        ("${string/ba/fo}", "fooforbaz"), ("${string//ba/fo}", "fooforfoz"),
        # what quotes do
        ("'$abc'", "$abc"), ('"$abc world"', "hello world"), (r'"\$abc"', "$abc"), (r'"\"a\""', '"a"'),
        (r'"a\b"', r"a\b"), ("'a'\"b\"c", "abc"), (r"two\ words", "two words"), ("$", "$"), ("a$.b", "a$.b"),
        ("${none:-${abc:+x}y}", "xy"),
    ],
)  # fmt: skip
def test_a_word_becomes(text: str, expected: str) -> None:
    assert expand(text, VALUES) == expected


@pytest.mark.parametrize(
    "text",
    ["${abc:-d}", "${abc-d}", "${abc:+d}", "${abc+d}", "${empty:-d}", "${empty-d}", "${empty:+d}", "${empty+d}",
     "${none:-d}", "${none-d}", "${none:+d}", "${none+d}", "${none}", "$abc$abc", "${abc}x", "${str#f}", "${str%z}",
     "${str#?o}", "${str##*b}", "${str%%[ao]*}", "${str#x}", '"${none:-a b}"'],
)  # fmt: skip
def test_operators_answer_as_a_shell_does(text: str) -> None:
    settings = "; ".join(f"{key}='{value}'" for key, value in VALUES.items())
    script = f"{settings}; printf '%s.' {text}"
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=10, check=True, env={})
    assert f"{expand(text, VALUES)}." == shell.stdout


def test_another_character_may_escape() -> None:
    assert expand(r"`$abc C:\dir", VALUES, "`") == r"$abc C:\dir"


def test_quotes_mean_nothing_in_a_here_document() -> None:
    assert expand('it\'s "$abc" \\$abc', VALUES, quotes=False) == 'it\'s "hello" $abc'


@pytest.mark.parametrize(
    ("text", "said"),
    [("'a", "single quote"), ('"a', "double quote"), ("${", "no name"), ("${a", "not closed"), ("${a^b}", "operator"),
     ("${a:-" * 2000, "more than 50"), ("${none:?say it}", "say it"), ("${none?}", "not set")],
)  # fmt: skip
def test_what_cannot_be_read_says_why(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        expand(text, VALUES)
