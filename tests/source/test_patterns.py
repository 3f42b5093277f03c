"""Patterns against the cases that github.com/moby/patternmatcher states for its own (v0.6, patternmatcher_test.go)."""

from __future__ import annotations

import pytest

from ocibuild.source.patterns import Patterns

MATCH = [
    ("**", "file"), ("**/", "file"), ("**", "dir/file"), ("**/**", "dir/file"), ("dir/**", "dir/dir2/file"),
    ("**/dir", "dir"), ("**/dir", "dir/file"), ("**/dir2/*", "dir/dir2/file"), ("**/dir2/**", "dir/dir2/dir3/file"),
    ("**file", "file"), ("**file", "dir/dir/file"), ("**/file", "dir/file"), ("**/file*txt", "dir/dir/file.txt"),
    ("**/**/*.txt", "file.txt"), ("a**/*.txt", "a/file.txt"), ("a**/*.txt", "a/dir/dir/file.txt"),
    ("a/*.txt**", "a/file.txt"), ("a[b-d]e", "ace"), ("a[^b-d]e", "aze"), (".*", ".foo"), ("abc?def", "abcZdef"),
    ("**/foo/bar", "dir/dir2/foo/bar"), ("abc/**", "abc/def/ghi"), ("a(b)c/def", "a(b)c/def"),
    ("a.|)$(}+{bc", "a.|)$(}+{bc"), ("a\\*b", "a*b"), ("a*", "ab/c"), ("a*b?c*x", "abxbbxdbxebxczzx"),
    ("[a-ζ]*", "α"), ("[\\]a]", "]"), ("[x\\-]", "-"), ("[\\-x]", "-"), ("/docs/", "docs/README.md"),
]  # fmt: skip
MISS = [
    ("**/**/*.txt2", "dir/dir/file.txt"), ("a/*.txt", "a/dir/file.txt"), ("a[b-d]e", "ae"), ("a[b-d]e", "aae"),
    (".*", "foo"), ("abc.def", "abcZdef"), ("abc?def", "abcdef"), ("abc/**", "abc"), ("**/.foo", "bar.foo"),
    ("a*/b", "a/c/b"), ("ab[^b-d]", "abc"), ("a\\*b", "ab"), ("*[a-ζ]", "A"), ("a?b", "a/b"), ("a*b", "a/b"),
    ("[x\\-]", "z"), ("[\\-x]", "a"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "path"), MATCH)
def test_a_pattern_matches_and_what_is_below_it(pattern: str, path: str) -> None:
    assert Patterns.of([pattern]).match(path)


@pytest.mark.parametrize(("pattern", "path"), MISS)
def test_a_pattern_does_not_match(pattern: str, path: str) -> None:
    assert not Patterns.of([pattern]).match(path)


@pytest.mark.parametrize(
    ("patterns", "path", "left_out"),
    [
        (["!fileutils.go", "*.go"], "fileutils.go", True),
        (["*.go", "!fileutils.go"], "fileutils.go", False),
        (["docs", "!docs/README.md"], "docs/README.md", False),
        (["docs/*", "!docs/README.md"], "docs/README.md", False),
        (["**", "!util/docker/web"], "util/docker/web/foo", False),
        (["**", "!util/docker/web", "util/docker/web/foo"], "util/docker/web/foo", True),
    ],
)
def test_the_last_one_that_matches_wins(patterns: list[str], path: str, left_out: bool) -> None:
    assert Patterns.of(patterns).match(path) is left_out


@pytest.mark.parametrize("pattern", ["!", "[", "[^", "[^bc", "a[", "a\\"])
def test_what_is_no_pattern_is_an_error(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Patterns.of([pattern])


def test_a_file_of_patterns_has_comments_and_blank_lines() -> None:
    patterns = Patterns.read("\ufeff# one\n\n  docs  \n  !docs/README.md\n")
    assert [back for _, back in patterns.rules] == [False, True]
    assert patterns.match("docs/x")
    assert not patterns.match("docs/README.md")
