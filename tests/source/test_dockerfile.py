"""How a Dockerfile is read: the Dockerfile reference's own words, and every line that is wrong named."""

from __future__ import annotations

import pytest

from ocibuild.errors import InputError
from ocibuild.source.dockerfile import parse, split_words


def words(text: str) -> list[tuple[str, str]]:
    return [(one.word, one.rest) for one in parse(text.encode()).instructions]


def test_comments_and_blank_lines_inside_an_instruction_are_not_part_of_it() -> None:
    # "Format": the comment line is removed before the instruction is read.
    text = "# comment\nFROM scratch\n\nLABEL a=1 \\\n  # why\n\n  b=2\n"
    assert [rest.split() for _, rest in words(text)] == [["scratch"], ["a=1", "b=2"]]


def test_lines_are_counted_where_an_instruction_begins() -> None:
    text = "# escape=\\\n\n# c\nFROM scratch\nCOPY a \\\n  b \\\n  /\n\n  ENV A=1\n"
    assert [one.at for one in parse(text.encode()).instructions] == [
        "Dockerfile line 4",
        "Dockerfile line 5",
        "Dockerfile line 9",
    ]


def test_directives_count_only_at_the_top() -> None:
    assert parse(b"# syntax=docker/dockerfile:1\n# Escape = `\nFROM scratch").escape == "`"
    assert parse(b"# a comment\n# escape=`\nFROM scratch").escape == "\\"
    assert parse(b"\xef\xbb\xbf# check=skip=all\r\nFROM scratch\r\n").escape == "\\"


def test_an_escaped_escape_continues_nothing() -> None:
    assert words("FROM scratch\nENV A=C:\\\\\nENV B=1") == [("FROM", "scratch"), ("ENV", "A=C:\\\\"), ("ENV", "B=1")]


def test_a_tab_separates_too() -> None:
    assert words("FROM\tscratch\ncopy\ta b") == [("FROM", "scratch"), ("COPY", "a b")]


def test_here_documents_end_at_their_name_and_run_may_have_them() -> None:
    text = "FROM x\nRUN <<EOF\nCOPY is text here\nEOF\nCOPY <<-'A' <<B /d/\n\tone\n\tA\ntwo $x\nB\nENV A=1\n"
    run, copy, env = parse(text.encode()).instructions[1:]
    assert [document.text for document in run.documents] == ["COPY is text here\n"]
    assert [(one.name, one.text, one.expands) for one in copy.documents] == [
        ("A", "one\n", False),
        ("B", "two $x\n", True),
    ]
    assert (env.word, env.at) == ("ENV", "Dockerfile line 10")


def test_flags_stand_before_the_words() -> None:
    (copy,) = parse(b"COPY --from=build --chown=1:2 --exclude=*.a --exclude=b --link -- --a /b").instructions
    assert copy.flags == (("from", "build"), ("chown", "1:2"), ("exclude", "*.a"), ("exclude", "b"), ("link", ""))
    assert copy.words() == ("--a", "/b")
    assert (copy.flag("exclude"), copy.flag("chmod")) == ("b", None)


def test_an_array_that_is_none_is_the_shell_form() -> None:
    assert parse(b"CMD " + b"[" * 100_000).instructions[0].array() is None
    one, two, three = parse(b'CMD ["a", "b c"]\nCMD [ -f x ]\nCMD [1]').instructions
    assert one.array() == ("a", "b c")
    assert two.array() is None
    with pytest.raises(InputError, match="line 3: CMD takes strings"):
        three.array()


def test_words_of_env_keep_their_quotes() -> None:
    assert split_words('A="x y" B=z\\ z  C=\'"\'') == ['A="x y"', "B=z\\ z", "C='\"'"]


@pytest.mark.parametrize(
    ("text", "code", "said", "hint"),
    [
        ("FROM scratch\nCOPPY a b", "dockerfile-invalid", "line 2: unknown instruction COPPY", "COPY"),
        ("FROM scratch\nCOPY --chmood=1 a b", "dockerfile-invalid", "line 2: COPY has no flag --chmood", "--chmod"),
        ("FROM scratch\nENV", "dockerfile-invalid", "line 2: ENV says nothing", "ENV"),
        ("FROM scratch\nCOPY <<EOF /a\nx", "dockerfile-invalid", "line 2: the here-document EOF has no end", "EOF"),
        ("# escape=x\nFROM a", "dockerfile-invalid", "line 1: # escape=x", "`"),
        ("# escape=`\n# escape=`\nFROM a", "dockerfile-invalid", "line 2: a second # escape", "one"),
        ("# syntax=other/language\nFROM a", "dockerfile-unsupported", "line 1: # syntax=other/language", "docker"),
        ("FROM a\nONBUILD FROM b", "dockerfile-invalid", "line 2: FROM cannot stand behind ONBUILD", None),
        ("FROM a\n" + "ONBUILD " * 2000 + "RUN b", "dockerfile-invalid", "line 2: ONBUILD cannot stand", "take"),
        ("# nothing\n", "dockerfile-invalid", "Dockerfile: there are no instructions", "FROM"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(text: str, code: str, said: str, hint: str | None) -> None:
    with pytest.raises(InputError) as refused:
        parse(text.encode())
    assert refused.value.code == code
    assert said in refused.value.message
    assert (hint or "") in (refused.value.hint or "")


def test_what_is_no_text_is_said_with_its_line() -> None:
    with pytest.raises(InputError, match="line 2: this is not UTF-8"):
        parse(b"FROM scratch\nENV A=\xff\n")
