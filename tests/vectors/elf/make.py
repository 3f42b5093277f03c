"""Makes the ELF vectors: real programs for every machine, built here, with their code and data emptied.

What a reader of headers may look at stays: the headers, the interpreter, the dynamic section and its strings, notes,
Go's build information, `.comment`, ARM's attributes. The rest becomes zeros, and xz makes next to nothing of it. Which
ranges those are is pyelftools' word, not ocibuild's. Needs go, rustc, gcc's libc, ziglang and wasmtime:

    python tests/vectors/elf/make.py
"""

from __future__ import annotations

import lzma
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import wasmtime
from elftools.elf.elffile import ELFFile

HERE = Path(__file__).parent
KEPT = {".interp", ".dynstr", ".dynamic", ".comment", ".ARM.attributes", ".go.buildinfo", ".shstrtab"}

GO = {
    "go-amd64": ("hello.go", "linux/amd64", ""),
    "go-386": ("hello.go", "linux/386", ""),
    "go-arm64": ("hello.go", "linux/arm64", ""),
    "go-arm-5": ("hello.go", "linux/arm", "5"),
    "go-arm-6": ("hello.go", "linux/arm", "6"),
    "go-arm-7-softfloat": ("hello.go", "linux/arm", "7,softfloat"),
    "go-riscv64": ("hello.go", "linux/riscv64", ""),
    "go-ppc64le": ("hello.go", "linux/ppc64le", ""),
    "go-s390x": ("hello.go", "linux/s390x", ""),
    "go-loong64": ("hello.go", "linux/loong64", ""),
    "go-mips64le": ("hello.go", "linux/mips64le", ""),
    "go-freebsd": ("hello.go", "freebsd/amd64", ""),
    "go-openbsd": ("hello.go", "openbsd/amd64", ""),
    "go-dragonfly": ("hello.go", "dragonfly/amd64", ""),
    "go-dynamic": ("lookup.go", "linux/amd64", "cgo"),
}
ZIG = {
    "c-armv5": "start.c -target arm-linux-gnueabi -mcpu=arm926ej_s -nostdlib -static",
    "c-armv6": "start.c -target arm-linux-gnueabihf -mcpu=arm1176jzf_s -nostdlib -static",
    "c-armv7": "start.c -target arm-linux-gnueabihf -mcpu=cortex_a8 -nostdlib -static",
    "c-x32": "start.c -target x86_64-linux-gnux32 -nostdlib -static",
    "c-static-pie": "start.c -target x86_64-linux-gnu -nostdlib -static -pie -fPIE",
    "c-library": "answer.c -target x86_64-linux-gnu -shared -nostdlib -Wl,-soname,libanswer.so.1",
    "c-object": "answer.c -target x86_64-linux-gnu -c",
    "c-dynamic": "main.c -target aarch64-linux-gnu",
    "c-stripped": "main.c -target x86_64-linux-musl -static -s",
}
RUST = {"rust-dynamic": [], "rust-static-pie": ["-C", "target-feature=+crt-static"]}


def build(folder: Path) -> None:
    for name, (source, target, option) in GO.items():
        system, machine = target.split("/")
        environment = {"GOOS": system, "GOARCH": machine, "CGO_ENABLED": str(int(option == "cgo"))}
        if machine == "arm":
            environment["GOARM"] = option
        run(["go", "build", "-trimpath", "-buildvcs=false", "-o", folder / name, HERE / source], environment)
    for name, words in ZIG.items():
        source, *flags = words.split()
        try:
            run([sys.executable, "-m", "ziglang", "cc", HERE / source, *flags, "-o", folder / name])
        except subprocess.CalledProcessError as error:
            print(f"{name} cannot be built here: {error}", file=sys.stderr)
    for name, flags in RUST.items():
        run(["rustc", *flags, HERE / "hello.rs", "-o", folder / name])


def run(command: list[str | Path], environment: dict[str, str] | None = None) -> None:
    subprocess.run([str(word) for word in command], check=True, timeout=600, env=os.environ | (environment or {}))


def hollow(path: Path) -> bytes:
    """The file with everything emptied that no header points a reader of headers to."""
    data = path.read_bytes()
    with path.open("rb") as file:
        elf = ELFFile(file)
        keep = [(0, elf["e_ehsize"])]
        keep.append((elf["e_phoff"], elf["e_phentsize"] * elf["e_phnum"]))
        keep.append((elf["e_shoff"], elf["e_shentsize"] * elf["e_shnum"]))
        for section in elf.iter_sections():
            if (section.name in KEPT or section.name.startswith(".note")) and section["sh_type"] != "SHT_NOBITS":
                keep.append((section["sh_offset"], section["sh_size"]))
    hollowed = bytearray(len(data))
    for offset, size in keep:
        hollowed[offset : offset + size] = data[offset : offset + size]
    return bytes(hollowed)


def main() -> None:
    # What Wasmtime compiles ahead of time is ELF too; its header is what it is known by.
    (HERE / "module.cwasm.head").write_bytes(wasmtime.Module(wasmtime.Engine(), "(module)").serialize()[:64])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(folder)
        for path in sorted(folder.iterdir()):
            (HERE / f"{path.name}.xz").write_bytes(lzma.compress(hollow(path), preset=9))


if __name__ == "__main__":
    main()
