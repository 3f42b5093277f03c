"""Files that are no program of ours: each has its own error, and its own advice."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
import zstandard

from ocibuild.binary.artifact import inspect_bytes
from ocibuild.errors import InputError


def refused(data: bytes, name: str = "program") -> InputError:
    with pytest.raises(InputError) as caught:
        inspect_bytes(data, name)
    assert caught.value.hint
    assert len(str(caught.value)) < 200
    return caught.value


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as bundle:
        bundle.writestr("app.wasm", b"\0asm\x01\0\0\0")
    return out.getvalue()


def tarred() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as bundle:
        bundle.addfile(tarfile.TarInfo("app.wasm"))
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        zipped(),
        tarred(),
        gzip.compress(b"\0asm\x01\0\0\0"),
        bz2.compress(b"\0asm\x01\0\0\0"),
        lzma.compress(b"\0asm\x01\0\0\0"),
        zstandard.compress(b"\0asm\x01\0\0\0"),
        b"!<arch>\ndebian-binary   1410122664  0     0     100644  4         `\n2.0\n",
    ],
    ids=["zip", "tar", "gzip", "bzip2", "xz", "zstd", "ar"],
)
def test_archives(data):
    assert refused(data).code == "format-archive"


@pytest.mark.parametrize(
    "head, code",
    [
        # The headers of Go's and clang's output for darwin and windows, and of lipo's.
        ("cf fa ed fe 0c 00 00 01 00 00 00 00 02 00 00 00 10 00 00 00", "format-macho"),
        ("ce fa ed fe 07 00 00 00 03 00 00 00 02 00 00 00 10 00 00 00", "format-macho"),
        ("ca fe ba be 00 00 00 02 01 00 00 07 00 00 00 03 00 00 40 00", "format-macho"),
        ("4d 5a 90 00 03 00 04 00 00 00 00 00 ff ff 00 00 8b 00 00 00", "format-pe"),
        # LLVM's bitcode, bare and in Apple's wrapper.
        ("42 43 c0 de 35 14 00 00 05 00 00 00 62 0c 30 24 4a 59 be 66", "format-bitcode"),
        ("de c0 17 0b 00 00 00 00 14 00 00 00 5c 0a 00 00 07 00 00 01", "format-bitcode"),
        # WAMR's ahead-of-time form.
        ("00 61 6f 74 04 00 00 00 02 00 00 00 1c 00 00 00 00 00 01 00", "wasm-precompiled"),
        # A Java class begins as a fat Mach-O does.
        ("ca fe ba be 00 00 00 41 00 1d 0a 00 02 00 03 07 00 04 0c 00", "format-unknown"),
        ("7f 45 4c", "file-truncated"),
        ("00 61 73", "file-truncated"),
        ("00 61 73 6d 01 00", "file-truncated"),
        ("89 50 4e 47 0d 0a 1a 0a 00 00 00 0d 49 48 44 52", "format-unknown"),
    ],
)
def test_magic_numbers(head, code):
    assert refused(bytes.fromhex(head)).code == code


def test_a_script_is_named_with_its_interpreter():
    error = refused(b"#!/usr/bin/env python3\nprint()\n")
    assert error.code == "format-script"
    assert "/usr/bin/env python3" in str(error)


@pytest.mark.parametrize(
    "text",
    [
        "(module)",
        "  \n;; a comment\n(; a block ;) (module $name (func))",
        '(component (import "a" (func)))',
        "\ufeff(module)",
        ";; " + "x" * 200 + "\n(module",
    ],
)
def test_the_text_form_is_told_with_its_cure(text):
    error = refused(text.encode(), "hello.wat")
    assert error.code == "format-wat"
    assert "wasm-tools parse hello.wat -o hello.wasm" in (error.hint or "")


@pytest.mark.parametrize("text", ["import init from './app.js'\n", "naïve " * 200, "(modules)", "{}"])
def test_other_text(text):
    assert refused(text.encode()).code == "format-text"


def test_comments_without_an_end_are_read_once():
    # A pattern that tries every way to split a run of blanks and comments would never come back.
    assert refused(b"(;" * 200 + b" " * 100).code == "format-text"
    assert refused(b" ;;" * 170).code == "format-text"
