"""Go's build information, in the form of Go 1.18 and later and in the one before."""

from __future__ import annotations

import pytest

from ocibuild.binary.gobuild import GoBuild, read_go_build

START = bytes.fromhex("3077af0c9274080241e1c107e6d618e6")  # what cmd/go puts around the text
END = bytes.fromhex("f932433186182072008242104116d8f2")
TEXT = (
    "path\texample.org/app\nmod\texample.org/app\tv1.2.3\th1:abc=\ndep\texample.org/lib\tv0.1.0\th1:def=\n"
    'build\t-compiler=gc\nbuild\t-ldflags="-s -w \\"-X main.v=1\\""\nbuild\tGOARM=6\nbuild\tvcs.modified=true\n'
)
PARSED = GoBuild(
    "go1.22.4",
    "example.org/app",
    "example.org/app",
    "v1.2.3",
    (("-compiler", "gc"), ("-ldflags", '-s -w "-X main.v=1"'), ("GOARM", "6"), ("vcs.modified", "true")),
)
ADDRESS = 0x1000


def inline(version: bytes, text: bytes) -> bytes:
    def string(data: bytes) -> bytes:
        length, out = len(data), bytearray()
        while length > 0x7F:
            out.append(length & 0x7F | 0x80)
            length >>= 7
        return bytes([*out, length]) + data

    return b"\xff Go buildinf:\x08\x02" + bytes(16) + string(version) + string(text)


def read(image: bytes) -> GoBuild | None:
    return read_go_build(lambda address, length: image[address - ADDRESS :][:length], ADDRESS, len(image))


def test_the_form_with_strings_behind_the_header():
    assert read(inline(b"go1.22.4", START + TEXT.encode() + END)) == PARSED


@pytest.mark.parametrize("order, flag", [("little", 0), ("big", 1)])
@pytest.mark.parametrize("width", [4, 8])
def test_the_form_with_addresses_of_strings(order, flag, width):
    text = START + TEXT.encode() + END

    def number(value: int) -> bytes:
        return value.to_bytes(width, order)

    strings = ADDRESS + 32
    version_at, text_at = strings + 4 * width, strings + 4 * width + 8
    image = b"\xff Go buildinf:" + bytes([width, flag]) + number(strings) + number(strings + 2 * width)
    image = image.ljust(32, b"\0") + number(version_at) + number(8) + number(text_at) + number(len(text))
    assert read(image + b"go1.22.4" + text) == PARSED


def test_a_program_without_modules_has_a_version_alone():
    assert read(inline(b"go1.22.4", b"")) == GoBuild("go1.22.4")


def test_a_string_that_only_looks_like_it_is_passed_over():
    looks_like = b"x\xff Go buildinf:\x08\x02".ljust(32, b"\0")
    assert read(looks_like + inline(b"go1.22.4", b"")) == GoBuild("go1.22.4")
    assert read(looks_like) is None


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"\xff Go buildinf:\x08\x02",
        inline(b"", b""),
        inline(b"go1.22.4", b"")[:-9],
        b"\xff Go buildinf:\x08\x02" + bytes(16) + b"\xff\xff\xff\xff\xff\x0f",
        b"\xff Go buildinf:\x03\x00" + bytes(16),
        b"\xff Go buildinf:\x08\x00" + b"\xff" * 16,
    ],
)
def test_damaged_information_is_none(image):
    assert read(image) is None
