"""Placeholders in YAML and JSON: found where ruamel.yaml and json read them too, and nothing else changes."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ocibuild.errors import InputError
from ocibuild.run import placeholders
from ocibuild.run.placeholders import SCHEME, Placeholder

MARK = b"\xef\xbb\xbf"
REFERENCE = "ghcr.io/me/a@sha256:" + "0f" * 32


def replaced(data: bytes) -> bytes:
    return placeholders.read("app.yaml", data).filled(lambda each: REFERENCE).encode()


def documents(data: bytes) -> list[Any]:
    reader = YAML(typ="safe", pure=True)
    reader.allow_duplicate_keys = True
    return list(reader.load_all(io.BytesIO(data)))


def expected(value: Any) -> Any:
    """What a reader is to see afterwards: each string that is a placeholder, replaced."""
    if isinstance(value, dict):
        return {expected(key): expected(item) for key, item in value.items()}
    if isinstance(value, list):
        return [expected(item) for item in value]
    if isinstance(value, str) and value.startswith(SCHEME) and "\n" not in value.strip("\n"):
        return REFERENCE + value[len(value.rstrip("\n")) :]
    return value


STYLES = {
    "plain": b"image: ocibuild://a.wasm\n",
    "plain with a comment": b"# before\nimage:   ocibuild://a.wasm   # behind\n# after\n",
    "single quotes": b"image: 'ocibuild://a.wasm'\n",
    "double quotes": b'image: "ocibuild://a.wasm"\n',
    "escapes": b'image: "\\x6fcibuild:\\/\\/a.wasm"\nother: "ocibuild:\\/\\/a\\u002ewasm" # b\n',
    "a list": b"images:\n- ocibuild://a.wasm\n- 'ocibuild://b.wasm'\n-   - ocibuild://c.wasm\n",
    "flow": b"a: {image: ocibuild://a.wasm, other: [ocibuild://b.wasm, 'ocibuild://c.wasm']}\n",
    "flow over lines": b"a: {\n  image: ocibuild://a.wasm,\n  b: [\n    ocibuild://b.wasm\n  ]}\n",
    "an anchor": b"a: &image ocibuild://a.wasm\nb: *image\nc: &other 'ocibuild://a.wasm'\n",
    "a tag": b"a: !!str ocibuild://a.wasm\nb: !!str &x \"ocibuild://b.wasm\"\nc: *x\n",
    "a literal block": b"a: |\n  ocibuild://a.wasm\nb: x\n",
    "a folded block": b"a: >-\n    ocibuild://a.wasm\nb: |+\n  ocibuild://b.wasm\n\nc: |2-\n    ocibuild://c.wasm\n",
    "lines of a block": b"a: |\n  first: 1\n  image: ocibuild://a.wasm\nb: ocibuild://b.wasm\n",
    "documents": b"%YAML 1.1\n---\na: ocibuild://a.wasm\n---\nb: ocibuild://b.wasm\n...\n---\n# nothing\n",
    "carriage returns": b"a: ocibuild://a.wasm\r\nb: 'ocibuild://b.wasm'\r\n# c\r\nc: |\r\n  ocibuild://c.wasm\r\n",
    "a byte order mark": "\ufeffa: ocibuild://a.wasm\nb: ocibuild://b.wasm\n".encode(),
    "beyond ASCII": "# größe 😀\nname: 日本 # 😀\nimage: ocibuild://ä😀.wasm # 😀\nb: \"😀\"\nc: ocibuild://c.wasm\n".encode(),
    "no line end": b"a: ocibuild://a.wasm",
    "a key": b"a: {ocibuild://a.wasm: 1}\nb:\n  ? ocibuild://b.wasm\n  : 2\n",
    "a comment that names one": b"# image: ocibuild://no.wasm\na: 1 # ocibuild://no.wasm\n",
    "within a text": b"a: see ocibuild://no.wasm\nargs: ['--image=ocibuild://no.wasm']\n",
    "numbers and nulls": b"a: 012\nb: 1e3\nc: ~\nd: yes\ne: ocibuild://a.wasm\n",
    "nothing": b"",
    "comments only": b"# nothing\n",
}  # fmt: skip


@pytest.mark.parametrize("data", STYLES.values(), ids=STYLES)
def test_another_reader_sees_the_references_and_nothing_else_changed(data: bytes) -> None:
    result = replaced(data)
    before, after = documents(data.removeprefix(MARK)), documents(result.removeprefix(MARK))
    assert after == [expected(document) for document in before]
    found = placeholders.read("app.yaml", data)
    position = 0
    for each in found.placeholders:
        between = found.text[position : each.start]
        assert between.encode() in result
        position = each.end
    assert result.endswith(found.text[position:].encode())
    assert len(result) - len(data) == sum(
        len(_styled(each)) - len(each.written.encode()) for each in found.placeholders
    )


def _styled(each: Placeholder) -> str:
    quote = each.written[0] if each.written[0] in "'\"" else ""
    return f"{quote}{REFERENCE}{quote}"


def test_bytes_around_a_placeholder_stay() -> None:
    data = b"# a\r\nspec:  {image:   &i 'ocibuild://a.wasm' , b: *i}   # c\r\n\r\n\t\r\n"
    with pytest.raises(InputError):
        replaced(b"\tspec: 1\n")
    assert replaced(data.replace(b"\t", b"")) == data.replace(b"\t", b"").replace(
        b"ocibuild://a.wasm", REFERENCE.encode()
    )


@pytest.mark.parametrize(
    "data, count",
    [
        (STYLES["within a text"], 2),
        (STYLES["lines of a block"], 1),
        (b"a: >-\n  ocibuild://no\n  wasm\nb: 1\n", 1),
        (STYLES["plain"], 0),
    ],
)
def test_what_is_passed_over_is_told(data: bytes, count: int) -> None:
    assert len(placeholders.read("app.yaml", data).passed) == count


def test_a_path_that_is_folded_over_lines_is_none() -> None:
    data = b"a: >-\n  ocibuild://no\n  wasm\nb: 1\n"
    assert replaced(data) == data


def test_lines_are_counted_as_editors_count_them() -> None:
    data = b'# 1\r\na: 1\r\n---\r\nb: ocibuild://a.wasm\r\nc:\r\n  - "ocibuild://b.wasm"\r\n'
    assert [each.line for each in placeholders.read("app.yaml", data).placeholders] == [4, 6]


JSON = {
    "plain": '{"spec": {"image": "ocibuild://a.wasm", "x": ["ocibuild://b.wasm", "\\u006fcibuild://c.wasm"]}}',
    "tabs": '{\n\t"kind": "Pod",\n\t"image":\t"ocibuild:\\/\\/a.wasm"\n}\n',
    "strings that look like more": '{"a": "\\"ocibuild://no\\"", "b": "{\\"image\\": \\"ocibuild://no\\"}", "c\\\\": "ocibuild://a"}',
    "a key": '{"ocibuild://a": 1}',
}


@pytest.mark.parametrize("text", JSON.values(), ids=JSON)
def test_json(text: str) -> None:
    result = replaced(text.encode()).decode()
    assert json.loads(result) == expected(json.loads(text))


def test_json_with_a_long_string_is_quick() -> None:
    text = json.dumps({"a": '\\"' * 200_000, "image": "ocibuild://a"})
    assert json.loads(replaced(text.encode())) == expected(json.loads(text))


@pytest.mark.parametrize(
    "data, line, why",
    [
        (b"a: 1\nb: [1, 2\nc: 3\n", 3, "expected"),
        (b"a: 1\n\tb: 2\n", 2, "tab"),
        (b"a: {{ .Values.image }}\nb: 1\n: :\n", None, "rendered"),
        (b"a: *nothing\n", 1, "undefined alias"),
        (b"a: 'open\n", 2, "end of stream"),
        (b'a: ocibuild://a\nb: "\\q"\n', 2, "unknown escape"),
        (b"a: 1\nb: \xff\n", 2, "UTF-8"),
        (b"a: \x07\n", None, "allowed"),
        (b"[" * 100_000, None, "YAML"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(data: bytes, line: int | None, why: str) -> None:
    with pytest.raises(InputError) as caught:
        replaced(data)
    assert caught.value.code == "yaml-invalid"
    assert caught.value.message.startswith("app.yaml" if line is None else f"app.yaml:{line}:")
    assert why in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "first, second, joined",
    [
        (b"a: 1\n", b"b: 2\n", b"a: 1\n---\nb: 2\n"),
        (b"a: 1", b"b: 2", b"a: 1\n---\nb: 2"),
        (b"a: 1\n", b"---\nb: 2\n", b"a: 1\n---\nb: 2\n"),
        (b"a: 1\n", b"# c\n---\nb: 2\n", b"a: 1\n# c\n---\nb: 2\n"),
        (b"a: 1\n", b"%YAML 1.1\n---\nb: 2\n", b"a: 1\n...\n%YAML 1.1\n---\nb: 2\n"),
        (b'{"a": 1}\n', b'{"b": 2}\n', b'{"a": 1}\n---\n{"b": 2}\n'),
        (b"a: 1\n", b"\xef\xbb\xbfb: 2\n", b"a: 1\n---\nb: 2\n"),
        (b"a: 1\n...\n", b"b: 2\n", b"a: 1\n...\n---\nb: 2\n"),
    ],
)
def test_files_are_joined_as_documents(first: bytes, second: bytes, joined: bytes) -> None:
    both = [placeholders.read("a", first), placeholders.read("b", second)]
    assert placeholders.joined(both, [each.text for each in both]).encode() == joined
    assert documents(joined) == documents(first) + documents(second.removeprefix(MARK))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["ocibuild://a", "ocibuild://b/c.wasm"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_whatever_json_holds(value: Any) -> None:
    data = json.dumps({"a": value}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        return
    assert json.loads(replaced(data)) == expected({"a": value})
    assert json.loads(replaced(json.dumps({"a": value}, indent=2).encode())) == expected({"a": value})
