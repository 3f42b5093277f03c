"""What is packed and pushed: real machine code of every size, and real modules."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MIB = 1024 * 1024
ROOT = Path(__file__).parents[2]
STATIC = ROOT / "samples/hello-linux-amd64"


def module(zig: str, room: Path) -> Path:
    """A core module of WASI preview 1 of 1.1 MiB, as people make them: samples/zig/hello, built as for production.

    Nothing is added to it: most of it is Zig's standard library, its names, and what a debugger wants to know.
    """
    made = room / "hello.wasm"
    if not made.exists():
        shutil.copyfile(ROOT / "samples/zig/hello/src/main.zig", room / "hello.zig")
        words = [zig, "build-exe", "-target", "wasm32-wasi", "-O", "ReleaseSafe", "-femit-bin=hello.wasm", "hello.zig"]
        words += ["--cache-dir", str(ROOT / ".cache/zig"), "--global-cache-dir", str(ROOT / ".cache/zig")]
        subprocess.run(words, cwd=room, check=True, timeout=600)
    size = made.stat().st_size
    assert 0.9 * MIB < size < 1.3 * MIB, f"the module has {size} bytes, and about a megabyte is wanted"
    return made


def binary(size: int, room: Path, go: str) -> Path:
    """A static binary of exactly `size` bytes: a real one, followed by the compilers and libraries of this machine.

    Neither zeros nor noise: gzip makes about half of it, as of any program.
    """
    made = room / f"binary-{size}"
    if made.exists() and made.stat().st_size == size:
        return made
    with made.open("wb") as out:
        out.write(STATIC.read_bytes()[:size])
        for path in _code(go):
            if out.tell() >= size:
                break
            with path.open("rb") as source:
                shutil.copyfileobj(_Limited(source, size - out.tell()), out, MIB)  # type: ignore[arg-type]
    made.chmod(0o755)
    assert made.stat().st_size == size, "there is not enough machine code here"
    return made


class _Limited:
    def __init__(self, source: object, left: int) -> None:
        self.source, self.left = source, left

    def read(self, size: int) -> bytes:
        data: bytes = self.source.read(min(size, self.left))  # type: ignore[attr-defined]
        self.left -= len(data)
        return data


def _code(go: str) -> Iterator[Path]:
    """Large ELF files of this machine, in a settled order, over and over: each time from other ones on."""
    folders = [Path(go).resolve().parents[1], Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib"), Path("/usr/lib")]
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if _is_code(path)]
    for turn in range(64):
        yield from found[turn:]


def _is_code(path: Path) -> bool:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size < MIB // 4:
            return False
        with path.open("rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False
