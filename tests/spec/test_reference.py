"""References: distribution-spec's names and tags, distribution/reference's rule for hosts, Docker Hub's short names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.errors import UsageError
from ocibuild.spec.digest import Digest
from ocibuild.spec.reference import Reference, is_tag, registry_of

SHA = "sha256:" + "ab" * 32
SHA512 = "sha512:" + "ab" * 64


@pytest.mark.parametrize(
    "text, registry, repository, tag, digest",
    [
        ("ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("ubuntu:24.04", "docker.io", "library/ubuntu", "24.04", None),
        ("me/app", "docker.io", "me/app", "latest", None),
        ("docker.io/ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("index.docker.io/me/app:1", "docker.io", "me/app", "1", None),
        ("registry-1.docker.io/ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("localhost/app:1", "localhost", "app", "1", None),
        ("localhost:5000/app:1", "localhost:5000", "app", "1", None),
        ("[::1]:5000/app:1", "[::1]:5000", "app", "1", None),
        ("[fe80::1%eth0]/app", "[fe80::1%eth0]", "app", "latest", None),
        ("ghcr.io/me/a__b/c--d/e.f:V_1.0-x", "ghcr.io", "me/a__b/c--d/e.f", "V_1.0-x", None),
        ("MyHost/app", "MyHost", "app", "latest", None),
        ("app:5000", "docker.io", "library/app", "5000", None),
        # no default tag beside a digest
        (f"ghcr.io/me/app@{SHA}", "ghcr.io", "me/app", None, SHA),
        (f"ghcr.io/me/app:1@{SHA}", "ghcr.io", "me/app", "1", SHA),
        ("a.b/c:" + "x" * 128, "a.b", "c", "x" * 128, None),
        ("DOCKER.IO/ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("docker.io/library/ubuntu", "docker.io", "library/ubuntu", "latest", None),
        ("[2001:db8::1]/a/b", "[2001:db8::1]", "a/b", "latest", None),
        ("127.0.0.1/a", "127.0.0.1", "a", "latest", None),
        ("xn--bcher-kva.example/a", "xn--bcher-kva.example", "a", "latest", None),
        ("a.b/0/1_2/3-4.5", "a.b", "0/1_2/3-4.5", "latest", None),
        (f"a.b/c@{SHA512}", "a.b", "c", None, SHA512),
    ],
)
def test_a_reference_is_read(text: str, registry: str, repository: str, tag: str | None, digest: str | None) -> None:
    found = Reference.parse(text)
    assert (found.registry, found.repository, found.tag, found.digest) == (registry, repository, tag, digest)
    assert Reference.parse(str(found), default_tag=None) == found
    assert found.target == (digest or tag)


@pytest.mark.parametrize(
    # Each of these was accepted, and sent somewhere else, by an unanchored pattern once.
    "text, why",
    [
        ("", "repository"),
        ("reg.io/", "repository"),
        ("reg.io//app", "repository"),
        ("https://reg.io/app", "scheme"),
        ("user:pw@reg.io/app", "user"),
        ("reg.io/../../etc", "repository"),
        ("reg.io/App", "lower-case"),
        ("reg.io/app:" + "x" * 129, "tag"),
        ("reg.io/app:bad tag", "tag"),
        ("reg.io/app:", "tag"),
        ("reg.io/app:.x", "tag"),
        ("reg.io/app?x=1", "repository"),
        ("reg.io/app@sha256:xyz", "digest"),
        ("reg.io/app@", "digest"),
        ("reg.io/app@sha256:" + "AB" * 32, "digest"),
        ("reg.io/app@sha512:" + "ab" * 32, "digest"),
        (f"reg.io/app@{SHA}@{SHA}", "digest"),
        (f"reg.io/app@{SHA}:1", "digest"),
        ("bücher.example/a", "host"),
        ("reg.io/ä", "repository"),
        ("reg.io:443:443/a", "host"),
        ("[::1/a", "host"),
        ("::1/a", "host"),
        ("reg.io./a", "host"),
        ("reg..io/a", "host"),
        ("reg.io/app:1\n", "tag"),
        ("reg.io/app\n", "repository"),
        ("reg.io/app:1:2", "tag"),
        ("reg.io:99999/app", "host"),
        ("reg.io:0/app", "host"),
        ("reg.io:x/app", "host"),
        ("-reg.io/app", "host"),
        ("[::g]:5000/app", "host"),
        ("[1.2.3.4]/app", "host"),
        ("reg.io/a___b", "repository"),
        ("reg.io/a..b", "repository"),
        ("reg.io/_a", "repository"),
        ("reg.io/" + "a" * 249, "255"),
    ],
)
def test_anything_else_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        Reference.parse(text)
    assert caught.value.code == "reference-invalid"
    assert why in caught.value.message
    assert caught.value.hint


def test_hints_say_what_was_meant() -> None:
    with pytest.raises(UsageError) as scheme:
        Reference.parse("https://reg.io/app")
    assert scheme.value.hint == "leave it out: reg.io/app"
    with pytest.raises(UsageError) as case:
        Reference.parse("reg.io/Me/App:1")
    assert case.value.hint == "write reg.io/me/app:1"


def test_the_longest_name_is_255_characters_with_its_host() -> None:
    assert Reference.parse("reg.io/" + "a" * 248).repository == "a" * 248


@pytest.mark.parametrize(
    "text, loopback",
    [
        ("localhost/a", True),
        ("localhost:5000/a", True),
        ("x.localhost:5000/a", True),
        ("127.0.0.1:5000/a", True),
        ("127.8.9.1/a", True),
        ("[::1]:5000/a", True),
        ("[fe80::1%lo]/a", False),
        ("192.168.1.1:5000/a", False),
        ("localhost.example.org/a", False),
        ("a", False),
    ],
)
def test_plain_http_is_for_loopback_alone(text: str, loopback: bool) -> None:
    assert Reference.parse(text).is_loopback is loopback


def test_docker_hubs_api_is_at_another_host() -> None:
    assert Reference.parse("ubuntu").api_host == "registry-1.docker.io"
    assert Reference.parse("localhost:5000/a").api_host == "localhost:5000"


def test_pinning_and_tagging() -> None:
    reference = Reference.parse("ghcr.io/me/app:1")
    pinned = reference.at(Digest(SHA))
    assert str(pinned) == f"ghcr.io/me/app:1@{SHA}"
    assert pinned.target == SHA
    assert str(pinned.tagged("2")) == "ghcr.io/me/app:2"
    assert pinned.name == "ghcr.io/me/app"


def test_without_tag_and_digest_there_is_nothing_to_ask_for() -> None:
    with pytest.raises(UsageError):
        _ = Reference.parse("ghcr.io/me/app", default_tag=None).target


def test_tags() -> None:
    assert is_tag("v1.0_x-Y")
    assert not is_tag("-x")
    assert not is_tag("x\n")


@given(st.text())
def test_random_text_is_a_reference_or_our_error(text: str) -> None:
    try:
        found = Reference.parse(text)
    except UsageError as error:
        assert error.code == "reference-invalid"
    else:
        assert Reference.parse(str(found)) == found


@given(
    st.from_regex(
        r"[a-zA-Z0-9.:\[\]%_-]{0,12}/[a-z0-9._/-]{0,12}(:[\w.-]{0,8})?(@sha256:[0-9a-f]{64})?", fullmatch=True
    )
)
def test_what_looks_like_one_is_one_or_our_error_and_reads_back(text: str) -> None:
    try:
        found = Reference.parse(text)
    except UsageError as error:
        assert error.code == "reference-invalid"
    else:
        assert Reference.parse(str(found)) == found
        assert found.is_loopback in (True, False)


@pytest.mark.parametrize(
    "text, registry",
    [
        ("ghcr.io", "ghcr.io"),
        ("GHCR.io", "ghcr.io"),
        ("https://ghcr.io/", "ghcr.io"),
        ("http://localhost:5000", "localhost:5000"),
        ("[::1]:5000", "[::1]:5000"),
        ("registry", "registry"),
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_a_registry_named_alone(text: str, registry: str) -> None:
    assert registry_of(text) == registry


@pytest.mark.parametrize(
    "text", ["", "ghcr.io/me", "ftp://ghcr.io", "ghcr.io:0", "a b", "-x", "docker.io/me", "[::g]", "a@b"]
)
def test_what_is_no_registry_alone(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry_of(text)
    assert caught.value.code == "reference-invalid"
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["me:planted@reg.io/app:1", "https://me:planted@reg.io/app", "https://me:planted@reg.io", "planted@reg.io/app"],
)
def test_a_password_in_a_reference_is_not_repeated(text: str) -> None:
    for parse in (Reference.parse, registry_of):
        with pytest.raises(UsageError) as caught:
            parse(text)
        assert "planted" not in caught.value.message + str(caught.value.hint)
        assert "ocibuild login reg.io" in str(caught.value.hint)
