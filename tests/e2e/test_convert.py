"""Converting between repositories of a real registry: large programs, little memory, no file, and what peers say of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ocibuild.api.convert import convert
from ocibuild.api.extract import extract
from ocibuild.api.pack import pack
from ocibuild.spec.digest import Digest
from tests.e2e.servers import Run
from tests.registry.test_real import running

pytestmark = pytest.mark.real

SAMPLES = Path(__file__).parents[2] / "samples"
SIZE = 128 * 1024 * 1024
RESIDENT = 80 * 1024
"""KiB. An interpreter with requests and its friends has some 35 of these 80 MiB before anything moves."""

CHILD = f"""
import sys; sys.path[:0] = {sys.path!r}
import json, os
opened = []
def hook(event, arguments):
    if event == "open" and arguments[2] and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        opened.append(str(arguments[0]))
sys.addaudithook(hook)
from ocibuild import convert
done = convert(sys.argv[1], sys.argv[2], format=sys.argv[3], name="big.wasm")
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({{"digest": str(done.descriptor.digest), "opened": opened, "peak": peak}}))
"""


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A module with a custom section that does not compress."""
    length, digits = bytearray(), SIZE
    for _ in range(4):
        length.append(digits & 0x7F | 0x80)
        digits >>= 7
    length.append(digits)
    path = tmp_path / "big.wasm"
    path.write_bytes(b"\0asm\1\0\0\0\0" + bytes(length) + b"\1x" + os.urandom(SIZE - 2))
    return path


def test_a_large_program_in_little_memory_and_no_file(part: Callable[[str], str], large: Path, tmp_path: Path) -> None:
    with running(part("docker-registry"), tmp_path) as host:
        first = pack(large, tags=[f"{host}/one:1"], push=True)
        for source, target, shape in (("one", "b", "artifact"), ("b", "c", "wasm-layer"), ("c", "d", "image")):
            command = [sys.executable, "-c", CHILD, f"{host}/{source}:1", f"{host}/{target}:1", shape]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
            said = json.loads(ran.stdout)
            assert said["opened"] == []
            assert said["peak"] < RESIDENT, shape
        assert said["digest"] == first.digest
        extract(f"{host}/d:1", str(tmp_path / "out.wasm"))
        assert Digest.of((tmp_path / "out.wasm").read_bytes()) == Digest.of(large.read_bytes())


@pytest.mark.parametrize("shape", ["artifact", "wasm-layer", "compat", "solo", "wasm-to-oci"])
def test_peers_read_what_was_converted(part: Callable[[str], str], run: Run, shape: str, tmp_path: Path) -> None:
    sample = SAMPLES / "hello.wasm"
    with running(part("docker-registry"), tmp_path) as host:
        pack(sample, tags=[f"{host}/one:1"], push=True)
        done = convert(f"{host}/one:1", f"{host}/two:1", format=shape)
        assert run(part("crane"), "digest", "--insecure", f"{host}/two:1").strip() == str(done.descriptor.digest)
        run(part("skopeo"), "copy", "--src-tls-verify=false", f"docker://{host}/two:1", f"oci:{tmp_path}/peer:1")
        extract(f"oci:{tmp_path}/peer:1", str(tmp_path / "out.wasm"))
        assert (tmp_path / "out.wasm").read_bytes() == sample.read_bytes()
