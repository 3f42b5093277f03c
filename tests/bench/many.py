"""Many small images in one process, as a program that uses the library does it.

many.py make FOLDER COUNT            distinct modules 1.wasm …, and a layout of each in images/, for the peers
many.py pack FOLDER COUNT            pack them into layouts in the working directory
many.py push|again FOLDER COUNT REPOSITORY
many.py deliver FOLDER COUNT REPOSITORY   pack them, and push each
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ocibuild

SAMPLE = Path(__file__).parents[2] / "samples/hello.wasm"


def make(folder: Path, count: int) -> None:
    """The sample module with a custom section that differs: WebAssembly core specification, binary format."""
    folder.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        text = f"number {number:08}".encode()
        section = bytes([5]) + b"serie" + text
        path = folder / f"{number}.wasm"
        path.write_bytes(SAMPLE.read_bytes() + bytes([0, len(section)]) + section)


def pack(folder: Path, count: int) -> None:
    for number in range(1, count + 1):
        ocibuild.pack(folder / f"{number}.wasm", output=f"oci:image:{number}")


def push(folder: Path, count: int, repository: str) -> None:
    with ocibuild.Session() as session, ThreadPoolExecutor(8) as pool:

        def one(number: int) -> None:
            ocibuild.push(f"oci:{folder}/images/{number}", f"{repository}:{number}", session=session)

        list(pool.map(one, range(1, count + 1)))


def deliver(folder: Path, count: int, repository: str) -> None:
    """Without a layout between."""
    with ocibuild.Session() as session, ThreadPoolExecutor(8) as pool:

        def one(number: int) -> None:
            ocibuild.pack(folder / f"{number}.wasm", tags=[f"{repository}:{number}"], push=True, session=session)

        list(pool.map(one, range(1, count + 1)))


if __name__ == "__main__":
    verb, folder, count, *rest = sys.argv[1:]
    if verb == "make":
        make(Path(folder), int(count))
        for number in range(1, int(count) + 1):
            ocibuild.pack(Path(folder) / f"{number}.wasm", output=f"oci:{folder}/images/{number}")
    elif verb == "pack":
        pack(Path(folder), int(count))
    elif verb == "deliver":
        deliver(Path(folder), int(count), *rest)
    else:
        push(Path(folder), int(count), *rest)
