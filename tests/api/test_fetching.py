"""What a target is made of, read from behind URLs: which package is missing, and what cannot be read."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from ocibuild.api.fetching import fetched
from ocibuild.errors import InputError, ToolError
from ocibuild.pack.options import Options, Target
from tests.registry.scripted import Answer, Scripted


def fetch(url: str) -> bytes:
    with ExitStack() as stack:
        (path,) = fetched(Target((url,), (), Options()), (), stack).files
        return Path(path).read_bytes()


@pytest.mark.parametrize(
    "url, package, extra",
    [("s3://builds/a.wasm", "s3fs", "ocibuild[s3]"), ("gs://builds/a.wasm", "gcsfs", "ocibuild[dask]")],
)
def test_the_package_of_a_scheme_is_named_where_it_is_missing(
    url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ToolError, match=f"(?i)install {package}") as caught:
        fetch(url)
    assert caught.value.code == "extra-missing"
    assert extra in (caught.value.hint or "")


def test_without_fsspec_no_url_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ToolError, match="this Python cannot read https:// URLs") as caught:
        fetch("https://example.com/a.wasm")
    assert caught.value.code == "extra-missing"


def test_a_scheme_that_nobody_knows_is_an_input_that_cannot_be_read() -> None:
    with pytest.raises(InputError, match="nosuch://a/b cannot be read") as caught:
        fetch("nosuch://a/b?token=secret")
    assert caught.value.code == "url-unreadable"
    assert "secret" not in str(caught.value)


def test_content_comes_over_http_in_one_request() -> None:
    content = bytes(range(256)) * 9000
    with Scripted({"GET /a.wasm": Answer(200, body=content)}) as server:
        assert fetch(f"http://{server.host}/a.wasm") == content
        assert [(one.method, one.path) for one in server.seen] == [("GET", "/a.wasm")]


def test_what_is_missing_or_ends_early_is_no_input() -> None:
    short = Answer(200, body=bytes(100), cut=10)
    with Scripted({"GET /none": Answer(404), "GET /short": short}) as server:
        for path in ("none", "short"):
            with pytest.raises(InputError, match=f"/{path} cannot be read") as caught:
                fetch(f"http://{server.host}/{path}")
            assert caught.value.code == "url-unreadable"
