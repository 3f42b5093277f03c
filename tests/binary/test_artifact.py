"""A path becomes an artifact, or an error that says what it is instead."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import socket
import time
import tracemalloc
from pathlib import Path

import pytest

from ocibuild.binary.artifact import Stamp, inspect, inspect_bytes
from ocibuild.errors import InputError
from ocibuild.spec.platform import Platform

EMPTY_MODULE = b"\0asm\x01\0\0\0"


def code_of(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        inspect(path)
    assert caught.value.hint or caught.value.code == "file-unreadable"
    return caught.value.code


def test_a_module_is_described_without_a_platform(wasm_vector):
    path = wasm_vector("command")
    artifact = inspect(path)
    assert (artifact.path, artifact.name, artifact.size) == (str(path), "command.wasm", path.stat().st_size)
    assert artifact.kind == "module"
    assert artifact.platform is None


def test_a_component_is_told_from_a_module_by_its_header(wasm_vector):
    assert inspect(wasm_vector("component-command")).kind == "component"


def test_a_native_program_has_the_platform_of_its_machine(elf_vector):
    artifact = inspect(elf_vector("go-arm-6"))
    assert artifact.kind == "elf"
    assert artifact.platform == Platform("linux", "arm", "v6")


def test_bytes_in_memory_are_described_as_the_file_is(wasm_vector):
    path = wasm_vector("described")
    assert inspect_bytes(path.read_bytes(), str(path)).facts == inspect(path).facts


def test_an_artifact_crosses_process_boundaries(wasm_vector, elf_vector):
    for path in (wasm_vector("component-http"), elf_vector("go-amd64")):
        artifact = inspect(path)
        assert pickle.loads(pickle.dumps(artifact)) == artifact


def test_a_stamp_changes_with_the_file(tmp_path):
    path = tmp_path / "a.wasm"
    path.write_bytes(EMPTY_MODULE)
    first = inspect(path).stamp
    assert Stamp.of(path.stat()) == first
    os.utime(path, ns=(1, 1))
    assert Stamp.of(path.stat()) != first


def test_links_are_followed(tmp_path, wasm_vector):
    link = tmp_path / "link"
    link.symlink_to(wasm_vector("command"))
    assert inspect(link).name == "link"
    assert inspect(link).size == wasm_vector("command").stat().st_size


# --- what is not a file -------------------------------------------------------------------------------------------


def test_a_missing_file(tmp_path):
    assert code_of(tmp_path / "absent") == "file-not-found"


def test_a_link_that_leads_nowhere(tmp_path):
    (tmp_path / "link").symlink_to("absent")
    assert code_of(tmp_path / "link") == "file-not-found"


def test_a_link_to_itself(tmp_path):
    (tmp_path / "link").symlink_to("link")
    assert code_of(tmp_path / "link") == "file-unreadable"


def test_a_path_with_a_zero_in_it():
    assert code_of("a\0b") == "file-unreadable"


def test_a_directory(tmp_path):
    assert code_of(tmp_path) == "file-is-directory"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    signal.alarm(5)  # opening a FIFO for reading waits for a writer: this test would never end
    try:
        assert code_of(tmp_path / "pipe") == "file-is-special"
    finally:
        signal.alarm(0)


def test_a_socket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert code_of("socket") == "file-is-special"


def test_a_device():
    assert code_of(os.devnull) == "file-is-special"


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "secret"
    path.write_bytes(EMPTY_MODULE)
    path.chmod(0)
    if os.geteuid() == 0:  # nothing is forbidden to root; the system's answer is what is tested
        monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    assert code_of(path) == "file-unreadable"


def test_a_disk_that_fails_while_reading(tmp_path, monkeypatch):
    path = tmp_path / "a.wasm"
    path.write_bytes(EMPTY_MODULE)

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    assert code_of(path) == "file-unreadable"


def test_an_empty_file(tmp_path):
    (tmp_path / "empty").touch()
    assert code_of(tmp_path / "empty") == "file-empty"


def test_no_descriptor_stays_open(tmp_path, wasm_vector):
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for path in (wasm_vector("command"), wasm_vector("object")):
        with contextlib.suppress(InputError):
            inspect(path)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


# --- headers only -------------------------------------------------------------------------------------------------


def test_bodies_are_never_read(tmp_path, monkeypatch):
    body = 512 * 1024 * 1024
    path = tmp_path / "large.wasm"
    with path.open("wb") as file:
        file.write(EMPTY_MODULE + b"\0" + _leb(body + 4) + b"\x03pad")
        file.seek(body, os.SEEK_CUR)  # a hole: the file is large and the disk is not
        file.write(b"\x05\x03\x01\x00\x07")  # behind it, a memory of seven pages
    read = 0
    original = os.pread

    def counting(fd: int, length: int, offset: int) -> bytes:
        nonlocal read
        data = original(fd, length, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counting)
    tracemalloc.start()
    started = time.process_time()
    artifact = inspect(path)
    seconds = time.process_time() - started
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert artifact.facts.memories[0].initial == 7
    assert artifact.size > body
    assert read < 64 * 1024
    assert peak < 1024 * 1024
    assert seconds < 0.5


def _leb(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
