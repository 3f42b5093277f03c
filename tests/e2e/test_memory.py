"""Much data in little memory, by the kernel's own count of the whole process (VmHWM).

In CI with 768 MiB, and with 2 GiB where `heavy` tests are asked for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import layouts
from tests.e2e.servers import Part, Served, serving

pytestmark = pytest.mark.real
MIB = 1024 * 1024
LIMIT = 64  # MiB

# The command line in a process that tells its peak at its end.
MEASURED = """
import sys
from ocibuild.cli import main
try:
    main(sys.argv[1:])
finally:
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("VmHWM")]
    print(int(line.split()[1]) // 1024, file=sys.stderr)
"""


def peak(room: Path, *words: str) -> int:
    """Run the command line; its peak in MiB."""
    environment = {
        "HOME": str(room),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "LANG": "C.UTF-8",
    }
    command = [sys.executable, "-c", MEASURED, *words]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    mib = int(done.stderr.strip().rpartition("\n")[2])
    print(f"{' '.join(words[:1])}: {mib} MiB in {time.monotonic() - started:.1f} s")
    return mib


@pytest.fixture
def two(part: Part, room: Path) -> Iterator[tuple[Served, Served]]:
    """Two registries, so that a copy between them has to carry the bytes."""
    with (
        serving("docker-registry", part, room / "one") as one,
        serving("distribution", part, room / "other") as other,
    ):
        yield one, other


@pytest.mark.parametrize("size", [768 * MIB, pytest.param(2048 * MIB, marks=pytest.mark.heavy)])
def test_push_copy_and_pull_stay_small(size: int, two: tuple[Served, Served], room: Path) -> None:
    one, other = (served.host for served in two)
    layers = [layouts.pieces(size // 2), layouts.pieces(size // 4, 1), layouts.pieces(size // 4, 2)]
    digest = layouts.write(room / "image", layers)
    peaks = {"push": peak(room, "push", "-q", str(room / "image"), f"{one}/big:1")}
    peaks["copy"] = peak(room, "copy", "-q", f"{one}/big:1", f"{other}/big:1")
    peaks["pull"] = peak(room, "copy", "-q", f"{other}/big:1", f"oci:{room}/back:1")
    assert max(peaks.values()) < LIMIT, json.dumps(peaks)
    assert len(layouts.graph(room / "back", digest)) == 5


@pytest.mark.heavy
@pytest.mark.parametrize("how", [(), ("--chunk-size", "1500MiB")], ids=["in one", "in chunks"])
def test_a_blob_beyond_what_32_bits_count(how: tuple[str, ...], part: Part, room: Path) -> None:
    size = 4096 * MIB + 1
    digest = layouts.write(room / "image", [layouts.pieces(size)])
    (layer,) = [path for path in (room / "image/blobs/sha256").iterdir() if path.stat().st_size == size]
    with serving("distribution", part, room / "one") as one:
        assert peak(room, "push", "-q", str(room / "image"), f"{one.host}/big:1", *how) < LIMIT
        url = f"http://{one.host}/v2/big/blobs/sha256:{layer.name}"
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10) as response:
            assert int(response.headers["Content-Length"]) == size
        manifest = urllib.request.Request(f"http://{one.host}/v2/big/manifests/{digest}", method="HEAD")
        manifest.add_header("Accept", "application/vnd.oci.image.manifest.v1+json")
        with urllib.request.urlopen(manifest, timeout=10) as response:
            assert response.headers["Docker-Content-Digest"] == digest


@pytest.mark.parametrize("size", [256 * MIB, pytest.param(2048 * MIB, marks=pytest.mark.heavy)])
def test_packing_and_pushing_a_large_program_stays_small(size: int, two: tuple[Served, Served], room: Path) -> None:
    program = room / "large.wasm"
    with program.open("wb") as stream:
        stream.write(b"\0asm\1\0\0\0")
        length = size - 64
        field = bytes([(length >> shift) & 0x7F | (0x80 if shift < 28 else 0) for shift in range(0, 35, 7)])
        stream.write(b"\0" + field + b"\4note")  # a custom section
        stream.writelines(layouts.pieces(length - 5))
    reference = f"{two[1].host}/large:1"
    assert peak(room, "pack", "-q", str(program), "-t", reference, "--push", "--format", "artifact") < LIMIT
    (room / "back").mkdir()
    assert peak(room, "extract", reference, "-o", str(room / "back/large.wasm")) < LIMIT
    assert subprocess.run(["cmp", program, room / "back/large.wasm"], timeout=60, check=False).returncode == 0
