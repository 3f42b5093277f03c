"""OCI image-spec, descriptor.md "Digests"."""

from __future__ import annotations

import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.errors import ContentError
from ocibuild.spec.digest import Digest

# descriptor.md, "Registered Algorithms" and the example above them.
EXAMPLE = "sha256:6c3c624b58dbbcd3c0dd82b4c53f04194d1247c6eebdaab7c610cf7d66709b3b"


def test_the_specifications_example_is_taken_apart() -> None:
    digest = Digest(EXAMPLE)
    assert (digest.algorithm, digest.hex) == ("sha256", EXAMPLE[7:])
    assert digest.short == "6c3c624b58db"
    assert digest == EXAMPLE
    assert f"{digest}" == EXAMPLE


def test_sha512_is_registered_too() -> None:
    text = "sha512:" + hashlib.sha512(b"x").hexdigest()
    digest = Digest(text)
    hasher = digest.hasher()
    hasher.update(b"x")
    assert Digest.from_hasher(hasher, "sha512") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        EXAMPLE[7:],
        EXAMPLE[:-1],
        EXAMPLE + "0",
        EXAMPLE + "\n",
        "\n" + EXAMPLE[:-1],
        "SHA256" + EXAMPLE[6:],
        # "[a-f0-9]{64}": "the encoded portion MUST match"
        "sha256:" + EXAMPLE[7:].upper(),
        "sha256:" + "g" * 64,
        "sha256:" + "٣" * 64,
        "sha512:" + "0" * 64,
        "md5:" + "0" * 32,
        "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8",
        "sha256:../../../../../../../../../../../../../../../../../../../etc/passwd",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ContentError) as caught:
        Digest(text)
    assert caught.value.code == "digest-invalid"
    assert caught.value.hint


def test_it_survives_a_process_boundary_and_its_own_constructor() -> None:
    digest = Digest(EXAMPLE)
    assert type(pickle.loads(pickle.dumps(digest))) is Digest
    assert Digest(digest) is digest


@given(st.binary())
def test_it_is_what_hashlib_says(data: bytes) -> None:
    assert Digest.of(data) == "sha256:" + hashlib.sha256(data).hexdigest()


@given(st.text())
def test_random_text_is_a_digest_or_our_error(text: str) -> None:
    try:
        assert Digest(text).hasher().hexdigest()
    except ContentError as error:
        assert error.code == "digest-invalid"
