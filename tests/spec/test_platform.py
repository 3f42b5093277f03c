"""Platforms. The rows are containerd/platforms' Parse and Normalize, as read at 09756f5, and OCI's own table of variants."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.errors import ContentError, UsageError
from ocibuild.spec.platform import WASI, Platform


@pytest.mark.parametrize(
    "text, os, architecture, variant",
    [
        # "We don't care about whether or not we know of the platform": two parts are taken literally.
        ("wasi/wasm", "wasi", "wasm", ""),
        ("wasip1/wasm", "wasip1", "wasm", ""),
        ("wasip2/wasm", "wasip2", "wasm", ""),
        ("linux/wasm", "linux", "wasm", ""),
        ("WASI/Wasm", "wasi", "wasm", ""),
        (" linux/amd64\n", "linux", "amd64", ""),
        ("linux/x86_64", "linux", "amd64", ""),
        ("linux/x86-64", "linux", "amd64", ""),
        ("linux/amd64/v1", "linux", "amd64", ""),
        ("linux/amd64/v3", "linux", "amd64", "v3"),
        ("linux/aarch64", "linux", "arm64", ""),
        ("linux/arm64/v8", "linux", "arm64", ""),
        ("linux/arm64/8", "linux", "arm64", ""),
        ("linux/arm64/v9", "linux", "arm64", "v9"),
        ("linux/arm", "linux", "arm", "v7"),
        ("linux/arm/7", "linux", "arm", "v7"),
        ("linux/arm/v6", "linux", "arm", "v6"),
        ("linux/arm/5", "linux", "arm", "v5"),
        ("linux/armhf", "linux", "arm", "v7"),
        ("linux/armel", "linux", "arm", "v6"),
        ("linux/armel/v5", "linux", "arm", "v5"),
        ("linux/i386", "linux", "386", ""),
        ("linux/i686", "linux", "386", ""),
        ("linux/loongarch64", "linux", "loong64", ""),
        ("linux/s390x", "linux", "s390x", ""),
        ("freebsd/riscv64", "freebsd", "riscv64", ""),
    ],
)
def test_a_platform_is_read(text: str, os: str, architecture: str, variant: str) -> None:
    platform = Platform.parse(text)
    assert (platform.os, platform.architecture, platform.variant) == (os, architecture, variant)
    assert str(platform) == "/".join(filter(None, (os, architecture, variant)))
    assert platform.is_wasm == (architecture == "wasm")


@pytest.mark.parametrize(
    # `wasm` is linux/wasm to containerd, `wasi` an error; wasi/wasm32 matches nothing that asks for wasi/wasm.
    "text",
    ["wasm", "wasi", "wasm32", "wasip1", "wasip2", "wasi/wasm32", "WASI/wasm32", "wasip1/wasm32", "wasm/wasi"],
)
def test_a_spelling_that_means_something_else_is_refused_with_the_cure(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Platform.parse(text)
    assert caught.value.code == "platform-invalid"
    assert "wasi/wasm" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "text", ["", "/", "linux", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "linux/ä", "linux,x/y"]
)
def test_no_platform_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Platform.parse(text)
    assert caught.value.code == "platform-invalid"


def test_members_are_written_in_the_specifications_order_and_only_where_there_are_any() -> None:
    # image-index.md's example begins {"architecture": "ppc64le", "os": "linux"}.
    assert list(WASI.to_json().items()) == [("architecture", "wasm"), ("os", "wasi")]
    full = Platform("windows", "arm", "v7", "10.0.14393.1066", ("win32k",))
    assert list(full.to_json()) == ["architecture", "os", "os.version", "os.features", "variant"]
    assert Platform.from_json(full.to_json()) == full


def test_what_others_wrote_is_not_normalised() -> None:
    read = Platform.from_json({"os": "Wasip1", "architecture": "wasm", "variant": "V8"})
    assert (read.os, read.variant) == ("Wasip1", "V8")


@pytest.mark.parametrize("document", [{}, {"os": "linux"}, {"os": 1, "architecture": "a"}, [], None])
def test_architecture_and_os_are_required(document: object) -> None:
    with pytest.raises(ContentError) as caught:
        Platform.from_json(document, "manifests[3].platform")  # type: ignore[arg-type]
    assert "manifests[3].platform" in caught.value.message


@given(st.text())
def test_random_text_is_a_platform_or_our_error(text: str) -> None:
    try:
        platform = Platform.parse(text)
    except UsageError as error:
        assert error.code == "platform-invalid"
    else:
        assert Platform.parse(str(platform)) == platform
