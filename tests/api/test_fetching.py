"""What a target is made of, read from behind URLs: which package is missing, and what cannot be read."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import pytest

from ocibuild.api.fetching import fetched
from ocibuild.errors import InputError, ToolError
from ocibuild.pack.options import Options, Target


def fetch(url: str) -> None:
    with ExitStack() as stack:
        fetched(Target((url,), (), Options()), (), stack)


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
