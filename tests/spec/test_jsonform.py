"""JSON: one written form, and a careful reader. OCI image-spec, considerations.md "JSON"; RFC 8259."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.errors import ContentError
from ocibuild.spec import jsonform
from ocibuild.spec.jsonform import Reader


def test_the_written_form_is_compact_utf8_in_the_order_given() -> None:
    assert jsonform.dump({"b": [1, "ü"], "a": None}) == '{"b":[1,"ü"],"a":null}'.encode()


def test_nan_is_not_written() -> None:
    with pytest.raises(ValueError):
        jsonform.dump({"a": float("nan")})


@pytest.mark.parametrize(
    "data, said",
    [
        # "Implementations SHOULD NOT produce ... objects with duplicate names": refused, they read differently elsewhere
        (b'{"a":1,"a":2}', "duplicate name 'a'"),
        (b'{"x":{"b":1,"c":1,"b":1}}', "duplicate name 'b'"),
        (b'{"a":NaN}', "NaN"),
        (b'{"a":Infinity}', "Infinity"),
        (b'{"a":-Infinity}', "-Infinity"),
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a":1}x', "not valid JSON"),
        (b'{"a":"\xff"}', "not valid JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not valid JSON"),
        ('{"a":1}'.encode("utf-16"), "not valid JSON"),
        (b'{"a":' + b"1" * 5000 + b"}", "not valid JSON"),
        (b"[]", "an array"),
        (b'"x"', "a string"),
        (b"true", "a boolean"),
        (b"1", "a number"),
        (b"1.5", "a number"),
        (b"null", "null"),
    ],
)
def test_what_is_not_a_json_object_is_refused_by_name(data: bytes, said: str) -> None:
    with pytest.raises(ContentError) as caught:
        jsonform.load(data, "index.json")
    assert caught.value.code == "json-invalid"
    assert "index.json" in caught.value.message
    assert said in caught.value.message


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"b":'])
def test_a_hundred_thousand_levels_cost_a_scan_and_no_stack(opening: bytes) -> None:
    started = time.monotonic()
    with pytest.raises(ContentError) as caught:
        jsonform.load(b'{"x":' + opening * 100_000)
    assert "nested deeper" in caught.value.message
    assert time.monotonic() - started < 5


def test_brackets_inside_strings_are_no_levels() -> None:
    text = '{"a":"' + "[" * 500 + '\\"' + "{" * 500 + '","b":[[[]]]}'
    assert jsonform.load(text.encode()) == json.loads(text)


def test_sixty_four_levels_are_read_one_more_is_not() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert jsonform.load(nested(64))
    with pytest.raises(ContentError):
        jsonform.load(nested(65))


def test_the_size_is_looked_at_first() -> None:
    with pytest.raises(ContentError) as caught:
        jsonform.load(b" " * (jsonform.MAX_DOCUMENT + 1))
    assert caught.value.code == "document-too-large"
    assert jsonform.load(b'{"a":1}' + b" " * 100, limit=107) == {"a": 1}


def test_a_late_duplicate_among_very_many_names_is_found_in_no_time() -> None:
    names = [f'"{n}":0' for n in range(200_000)]
    started = time.monotonic()
    with pytest.raises(ContentError):
        jsonform.load(("{" + ",".join([*names, '"199999":0']) + "}").encode())
    assert time.monotonic() - started < 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON))
def test_what_is_written_reads_back_the_same_and_in_order(document: dict[str, object]) -> None:
    data = jsonform.dump(document)
    assert jsonform.load(data) == document
    assert list(json.loads(data)) == list(document)


@given(st.binary())
def test_random_bytes_are_an_object_or_our_error(data: bytes) -> None:
    with contextlib.suppress(ContentError):
        assert isinstance(jsonform.load(data), dict)


@pytest.mark.parametrize(
    "method, value, said",
    [
        ("string", 1, "m.x is a number, expected a string"),
        ("string", [], "m.x is an array, expected a string"),
        ("integer", "1", "m.x is a string, expected a whole number"),
        ("integer", 1.0, "m.x is a number, expected a whole number"),
        ("integer", True, "m.x is a boolean, expected a whole number"),
        ("integer", -1, "m.x is -1, outside"),
        ("integer", 2**63, "outside 0 to"),
        ("boolean", 1, "m.x is a number, expected true or false"),
        ("object", [], "m.x is an array, expected an object"),
        ("array", {}, "m.x is an object, expected an array"),
        ("strings", ["a", None], "m.x[1] is null, expected a string"),
        ("strings", "a", "m.x is a string, expected an array of strings"),
        ("string_map", {"k": 1}, "m.x.k is a number, expected a string"),
        ("string_map", [], "m.x is an array, expected an object of strings"),
        ("digest", "sha256:1", "m.x: 'sha256:1' is not a digest"),
        ("digests", ["sha256:" + "0" * 64, "x"], "m.x[1]: 'x' is not a digest"),
    ],
)
def test_a_member_of_the_wrong_kind_is_named_by_its_path(method: str, value: object, said: str) -> None:
    with pytest.raises(ContentError) as caught:
        getattr(Reader({"x": value}, "m"), method)("x")
    assert said in caught.value.message


@pytest.mark.parametrize("method", ["string", "integer", "boolean", "object", "array", "digest"])
def test_a_required_member_is_missed(method: str) -> None:
    with pytest.raises(ContentError, match="x is missing"):
        getattr(Reader({}), method)("x")


def test_absent_and_null_are_the_default() -> None:
    reader = Reader({"n": None})
    assert reader.string("n", "d") == "d"
    assert reader.boolean("b", False) is False
    assert reader.strings("n") == []
    assert reader.string_map("x") == {}
    assert reader.digests("x") == []
    assert reader.path("n") == "n"


def test_a_reader_wants_an_object() -> None:
    with pytest.raises(ContentError, match="document is null, expected an object"):
        Reader(None)
