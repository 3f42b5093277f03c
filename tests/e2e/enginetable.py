"""What each engine makes of each shape of image: what is expected, why, and the page of docs/ that says so.

`test_matrix_engines.py` runs every cell. Where an engine refuses, the words it is expected to say are a part of what it
really says; an image that runs where it was expected to be refused is as much a surprise as the reverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

WASM, NATIVE = "Hello, Docker!", "Hello, native!"
"""What the programs print first: the native one is a copy of the sample that says so."""
ARGUMENTS = ("a", "b")


@dataclass(frozen=True)
class Image:
    """An image by its row's name: the files and flags of `ocibuild pack`, and the program's path in it."""

    name: str
    pack: tuple[str, ...]
    program: str
    what: str

    @property
    def platform(self) -> str:
        """What to ask an engine for that is to run the Wasm: an artifact has its system from its specification."""
        return "wasip1/wasm" if self.name == "artifact" else "wasi/wasm"

    def entry(self, options: tuple[str, ...]) -> str:
        """The program's path in the entry that runs: the native one where no option asks for Wasm."""
        return "/hello" if self.name == "mixed" and not options else self.program


IMAGES = (
    Image("native", ("hello-linux-amd64",), "/hello", "`linux/amd64`, a tar layer"),
    Image("image", ("hello.wasm",), "/hello.wasm", "`wasi/wasm`, a tar layer"),
    Image("wasm-layer", ("hello.wasm", "--format", "wasm-layer"), "/hello.wasm", "`wasi/wasm`, the module as layer"),
    Image("artifact", ("hello.wasm", "--format", "artifact"), "/hello.wasm", "the CNCF Wasm artifact"),
    Image("mixed", ("hello.wasm", "hello-linux-amd64"), "/hello.wasm", "an index of `native` and `image`"),
    Image("also", ("hello.wasm", "--also", "linux/amd64"), "/hello.wasm", "`image`, listed for `linux/amd64` too"),
    Image("component", ("hello-command.wasm",), "/hello-command.wasm", "`image` of a WASI 0.2 component"),
)


@dataclass(frozen=True)
class Engine:
    """A row of the table: its name, and what is called."""

    name: str
    how: str


ENGINES = (
    Engine("ctr, runc", "`ctr run IMAGE ID`"),
    Engine("ctr, youki", "`ctr run --runc-binary youki --annotation run.oci.handler=wasm --platform wasi/wasm IMAGE ID`"),
    Engine("ctr, wasmtime shim", "`ctr run --runtime io.containerd.wasmtime.v1 --platform wasi/wasm IMAGE ID`"),
    Engine("docker, runc", "`docker run IMAGE`"),
    Engine("docker, youki", "`docker run --runtime youki --annotation run.oci.handler=wasm --platform wasi/wasm IMAGE`"),
    Engine("docker, wasmtime shim", "`docker run --runtime io.containerd.wasmtime.v1 --network host --platform wasi/wasm IMAGE`"),
    Engine("podman, runc", "`podman run IMAGE`"),
    Engine("podman, youki", "`podman run --runtime youki --annotation run.oci.handler=wasm IMAGE`"),
    Engine("CRI, runc", "a Pod with no runtime class"),
    Engine("CRI, wasmtime shim", "a Pod whose runtime class has the handler `wasmtime`"),
    Engine("wasmtime", "`ocibuild extract IMAGE -o FILE`, `wasmtime run FILE`"),
    Engine("ocibuild run", "`ocibuild run IMAGE`"),
    Engine("ocibuild run, containerd", "`ocibuild run --engine containerd IMAGE`"),
    Engine("ocibuild run, docker", "`ocibuild run --engine docker IMAGE`"),
    Engine("ocibuild run, podman", "`ocibuild run --engine podman --runtime youki IMAGE`"),
)  # fmt: skip


@dataclass(frozen=True)
class Runs:
    """It ran and printed `greeting`, and its arguments."""

    greeting: str


@dataclass(frozen=True)
class Refused:
    """It did not run: `words` are a part of what the engine says, `why` is the reason for people."""

    words: str
    why: str


Expected = Runs | Refused

_NO_LINUX = Refused("exec format error", "runc starts Linux programs, and Wasm is none")
_NO_FILE = Refused(
    "stat /hello.wasm: no such file or directory",
    "the layer is the module itself: there is no file for a runtime that looks into the file tree",
)
_NOT_IN_TREE = Refused(
    "", "the layer is the module itself, and youki looks for a file; it says nothing, and exits with 255"
)
_NOT_BY_CTR = Refused(
    "unknown image config media type", "ctr reads image configs only; CRI and Docker take an artifact"
)
_NOT_KEPT = Refused("invalid tar header", "podman keeps layers that are tars")
_NO_ARTIFACT = Refused("unsupported image-specific operation on artifact", "podman keeps images, not artifacts, here")
_WASM_ONLY = Refused("", "with this annotation youki takes every program for Wasm")
_MODULES = Refused("", "youki runs core modules, not components")
_NO_COMPONENTS = replace(_MODULES, words="was given a WebAssembly component")
_NOT_UNPACKED = Refused(
    "parent snapshot", "CRI unpacks layers for the node's system only; `ocibuild check --for kubernetes` says so before"
)
_NO_WASM = Refused("failed to parse", "a native program is no Wasm")

_ROWS: dict[str, tuple[Expected, ...]] = {
    # native, image, wasm-layer, artifact, mixed, also, component
    "ctr, runc": (Runs(NATIVE), _NO_LINUX, _NO_FILE, _NOT_BY_CTR, Runs(NATIVE), _NO_LINUX, _NO_LINUX),
    "ctr, youki": (_WASM_ONLY, Runs(WASM), _NOT_IN_TREE, _NOT_BY_CTR, Runs(WASM), Runs(WASM), _MODULES),
    "ctr, wasmtime shim": (Runs(NATIVE), Runs(WASM), Runs(WASM), _NOT_BY_CTR, Runs(WASM), Runs(WASM), Runs(WASM)),
    "docker, runc": (Runs(NATIVE), _NO_LINUX, _NO_FILE, _NO_FILE, Runs(NATIVE), _NO_LINUX, _NO_LINUX),
    "docker, youki": (_WASM_ONLY, Runs(WASM), _NOT_IN_TREE, _NOT_IN_TREE, Runs(WASM), Runs(WASM), _MODULES),
    "docker, wasmtime shim": (Runs(NATIVE), *(Runs(WASM),) * 6),
    "podman, runc": (Runs(NATIVE), _NO_LINUX, _NOT_KEPT, _NO_ARTIFACT, Runs(NATIVE), _NO_LINUX, _NO_LINUX),
    "podman, youki": (
        replace(_WASM_ONLY, words="first argument must be a wasm or wat module"),
        Runs(WASM),
        _NOT_KEPT,
        _NO_ARTIFACT,
        Runs(WASM),
        Runs(WASM),
        _NO_COMPONENTS,
    ),
    "CRI, runc": (Runs(NATIVE), _NOT_UNPACKED, _NO_FILE, _NO_FILE, Runs(NATIVE), _NO_LINUX, _NOT_UNPACKED),
    "CRI, wasmtime shim": (
        Runs(NATIVE),
        _NOT_UNPACKED,
        Runs(WASM),
        Runs(WASM),
        Runs(NATIVE),
        Runs(WASM),
        _NOT_UNPACKED,
    ),
    "wasmtime": (_NO_WASM, *(Runs(WASM),) * 6),
    "ocibuild run": (Runs(NATIVE), *(Runs(WASM),) * 6),
    "ocibuild run, containerd": (Runs(NATIVE), *(Runs(WASM),) * 6),
    "ocibuild run, docker": (Runs(NATIVE), *(Runs(WASM),) * 6),
    "ocibuild run, podman": (Runs(NATIVE), *(Runs(WASM),) * 5, _NO_COMPONENTS),
}
EXPECTED: dict[tuple[str, str], Expected] = {
    (engine, image.name): expected for engine, row in _ROWS.items() for image, expected in zip(IMAGES, row, strict=True)
}
VERSIONS = {
    "containerd": "2.4.2",
    "runc": "1.5.2",
    "dockerd": "2.0.0-beta.24",
    "youki": "0.7.0",
    "containerd-shim-wasm": "1.0.1",
    "wasmtime": "46.0.3",
    "podman": "4.3.1",
}
"""What all of it was seen with; `wasmtime` is the shim's."""

_HEAD = """# What runs where

The images that `ocibuild pack` writes, on real engines: every cell is run by `scripts/e2e`, which fails where a cell says
otherwise, in either direction. Written by `scripts/engines`, which ran them all.

"""
_FOOT = """
In an index, `native` says that the engine took the native entry. The shim is `tests/e2e/shim`: the library that runwasi's
shims are made of, with wasmtime. Docker's settings are those of `tests/e2e/engines.py`: the containerd image store, and
`"features": {"time-namespaces": false}`, without which that library refuses a container; on a network of Docker's own
instead of the host's, a container of the shim is never started, and the command hangs. The Pods run on the host's network.
podman keeps of an index that is loaded only the entry for its host; it pulled the Wasm ones. `ocibuild run --engine` gives an
engine the one entry that it runs, as a tar layer where the runtime takes no other.
"""


def page(results: Mapping[tuple[str, str], bool]) -> str:
    """The page of docs/, from the outcomes: whether each cell was as expected."""
    lines = [_HEAD + "| image | is |", "|---|---|"]
    lines += [f"| `{image.name}` | {image.what} |" for image in IMAGES]
    lines += ["", f"| | {' | '.join(image.name for image in IMAGES)} |", "|---" * (len(IMAGES) + 1) + "|"]
    reasons: dict[str, list[str]] = {}
    for engine in ENGINES:
        cells = []
        for image in IMAGES:
            expected = EXPECTED[engine.name, image.name]
            if not results.get((engine.name, image.name), False):
                cells.append("FAILED")
            elif isinstance(expected, Refused):
                said = reasons.setdefault(expected.why, [])
                said += [expected.words] if expected.words and expected.words not in said else []
                cells.append(f"– {list(reasons).index(expected.why) + 1}")
            else:
                cells.append("native" if image.name == "mixed" and expected.greeting == NATIVE else "runs")
        lines.append(f"| {engine.name} | {' | '.join(cells)} |")
    lines += ["", "| what is called | |", "|---|---|", *(f"| {engine.name} | {engine.how} |" for engine in ENGINES), ""]
    for number, (why, said) in enumerate(reasons.items(), 1):
        lines.append(f"{number}. {why}{': ' if said else ''}{', '.join(f'`{words}`' for words in said)}")
    seen = ", ".join(f"{name} {version}" for name, version in VERSIONS.items())
    return "\n".join(lines) + f"\n{_FOOT}\nSeen with {seen}, on x86-64 Linux.\n"


def programs(samples: Path, folder: Path) -> dict[str, str]:
    """The files of `Image.pack`; a native program of an index is told from the Wasm one by its greeting."""
    files = {name: str(samples / name) for name in ("hello.wasm", "hello-command.wasm")}
    native = folder / "hello-linux-amd64"
    native.write_bytes((samples / native.name).read_bytes().replace(WASM.encode(), NATIVE.encode()))
    native.chmod(0o755)
    return files | {native.name: str(native)}
