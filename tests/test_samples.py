"""samples/ is what its sums say, small, and runs: wasmtime from PyPI, this processor, qemu for the other."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime

SAMPLES = Path(__file__).parents[1] / "samples"
SUMS = dict(reversed(line.split()) for line in (SAMPLES / "SHA256SUMS").read_text().splitlines())  # type: ignore[misc]
GREETING = "Hello, Docker!\nargument: one\n"


def test_every_binary_has_its_sum_and_no_sum_is_left_over() -> None:
    found = {path.name for path in SAMPLES.iterdir() if path.suffix == ".wasm" or "-linux-" in path.name}
    assert found == set(SUMS)


@pytest.mark.parametrize("name", sorted(SUMS))
def test_a_binary_is_what_was_built_and_small(name: str) -> None:
    content = (SAMPLES / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == SUMS[name]
    assert len(content) < 200_000


def wasi(out: Path, name: str) -> wasmtime.WasiConfig:
    config = wasmtime.WasiConfig()
    config.argv = [name, "one"]
    config.stdout_file = str(out)
    return config


def said(module: Path, out: Path) -> str:
    """What a preview 1 command prints."""
    engine = wasmtime.Engine()
    linker, store = wasmtime.Linker(engine), wasmtime.Store(engine)
    linker.define_wasi()
    store.set_wasi(wasi(out, module.name))
    instance = linker.instantiate(store, wasmtime.Module.from_file(engine, str(module)))
    try:
        instance.exports(store)["_start"](store)
    except wasmtime.ExitTrap as end:  # Go ends by proc_exit even when all is well
        assert end.code == 0
    return out.read_text()


@pytest.mark.parametrize("name", ["hello.wasm", "hello-c.wasm"])
def test_a_module_greets(name: str, tmp_path: Path) -> None:
    assert said(SAMPLES / name, tmp_path / "out") == GREETING


def test_the_command_component_greets(tmp_path: Path) -> None:
    from wasmtime import component

    engine = wasmtime.Engine()
    linker, store = component.Linker(engine), wasmtime.Store(engine)
    linker.add_wasip2()
    store.set_wasi(wasi(tmp_path / "out", "hello-command.wasm"))
    program = component.Component.from_file(engine, str(SAMPLES / "hello-command.wasm"))
    instance = linker.instantiate(store, program)
    interface = instance.get_export_index(store, "wasi:cli/run@0.2.12")
    run = instance.get_func(store, instance.get_export_index(store, "run", interface))
    assert run(store).tag == "ok"
    assert (tmp_path / "out").read_text() == GREETING


def test_the_http_component_is_valid_and_exports_the_handler() -> None:
    from wasmtime import component

    engine = wasmtime.Engine()
    program = component.Component.from_file(engine, str(SAMPLES / "hello-http.wasm"))
    assert program.get_export_index("wasi:http/incoming-handler@0.2.0") is not None


NATIVE = {"x86_64": "hello-linux-amd64", "aarch64": "hello-linux-arm64"}


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in NATIVE, reason="no native sample for this system"
)
def test_the_native_of_this_processor_greets_and_ends_as_told() -> None:
    program = SAMPLES / NATIVE[platform.machine()]
    assert subprocess.run([program, "one"], capture_output=True, text=True, check=True, timeout=20).stdout == GREETING
    assert subprocess.run([program, "--exit", "7"], capture_output=True, check=False, timeout=20).returncode == 7


@pytest.mark.real
@pytest.mark.parametrize("machine, name", sorted(NATIVE.items()))
def test_each_native_greets_under_qemu(machine: str, name: str, part: Callable[[str], str]) -> None:
    words = [part(f"qemu-{machine}"), str(SAMPLES / name), "one"]
    assert subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout == GREETING


@pytest.mark.real
@pytest.mark.parametrize("system, machine", [("wasip1", "wasm"), ("linux", "arm64")])
def test_the_go_sample_is_built_and_greets(
    system: str, machine: str, part: Callable[[str], str], tmp_path: Path
) -> None:
    program = tmp_path / "hello"
    told = {"GOOS": system, "GOARCH": machine, "CGO_ENABLED": "0", "GOCACHE": str(tmp_path / "cache"), "GOFLAGS": ""}
    subprocess.run(
        [part("go"), "build", "-o", program, "."],
        cwd=SAMPLES / "go" / "hello",
        env=os.environ | told,
        check=True,
        timeout=300,
    )
    if system == "wasip1":
        assert said(program, tmp_path / "out") == GREETING
    else:
        run = [part("qemu-aarch64"), str(program), "one"]
        assert subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout == GREETING
