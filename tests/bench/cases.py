"""What is measured: for each kind of work its contenders, and the ratios that ocibuild has to keep."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import Contender

MIB = 1024 * 1024
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Goal:
    """`ours` takes at most `most` times what `theirs` takes; of `cpu` where it is about the machine's work."""

    ours: str
    theirs: str
    most: float


@dataclass(frozen=True)
class Case:
    name: str
    words: str
    contenders: tuple[Contender, ...]
    goals: tuple[Goal, ...] = ()
    size: int = 0
    memory: float | None = 64
    """MiB that none of ocibuild's own runs may go over."""


@dataclass(frozen=True)
class Bench:
    """What stands ready: programs by name, an installed ocibuild, inputs, registries (http and https), and a room."""

    programs: Mapping[str, str]
    python: str
    module: Path
    binary: Callable[[int], Path]
    registry: str
    secure: str
    ca: Path
    room: Path

    @property
    def ocibuild(self) -> str:
        return str(Path(self.python).with_name("ocibuild"))


Maker = Callable[[Bench], Iterator[Case]]
CASES: list[tuple[str, Maker]] = []


def case(maker: Maker) -> Maker:
    CASES.append((maker.__name__, maker))
    return maker


@case
def start(bench: Bench) -> Iterator[Case]:
    python = bench.python
    floor = Contender("python -c 'import click'", f"{python} -c 'import click'")
    yield Case(
        "start",
        "the time until help, version and completion are there",
        (
            Contender("python -c pass", f"{python} -c pass"),
            floor,
            Contender("ocibuild --version", f"{bench.ocibuild} --version"),
            Contender("ocibuild --help", f"{bench.ocibuild} --help"),
            Contender(
                "ocibuild completion",
                bench.ocibuild,
                environ={"_OCIBUILD_COMPLETE": "bash_complete", "COMP_WORDS": "ocibuild pa", "COMP_CWORD": "1"},
            ),
        ),
        tuple(Goal(f"ocibuild {name}", floor.name, 1.6) for name in ("--version", "--help", "completion")),
    )


@case
def pack_small(bench: Bench) -> Iterator[Case]:
    module, made = bench.module, Contender("ocibuild pack", f"{bench.ocibuild} pack {bench.module} -o image.oci")
    contenders = [
        Contender("python -c 'import click'", f"{bench.python} -c 'import click'"),
        made,
        *_packers(bench, module, "hello.wasm", small=True),
    ]
    goals = [Goal(made.name, "python -c 'import click'", 1.6)]
    if any(one.name == "buildah" for one in contenders):
        goals.append(Goal(made.name, "buildah", 1 / 2))
    yield Case("pack-small", f"one {module.stat().st_size / MIB:.1f} MiB module", tuple(contenders), tuple(goals))


def _packers(bench: Bench, file: Path, name: str, *, small: bool = False) -> Iterator[Contender]:
    """The peers, each doing what makes an image of one file with its own tools."""
    has = bench.programs
    if "crane" in has:
        yield Contender(
            "crane append",
            f"tar -cf layer.tar -C {file.parent} {file.name}\n"
            f"{has['crane']} append --oci-empty-base -f layer.tar -t hello:1 -o image.tar",
        )
    if "umoci" in has:
        umoci = has["umoci"]
        yield Contender(
            "umoci",
            f"{umoci} init --layout image\n{umoci} new --image image:1\n"
            f"{umoci} insert --image image:1 {file} /{name}\n"
            f"{umoci} config --image image:1 --config.entrypoint /{name}\n{umoci} gc --layout image",
        )
    if "regctl" in has and small:
        yield Contender(
            "regctl artifact",
            f"{has['regctl']} artifact put --artifact-type application/wasm -f {file} ocidir://image:1",
        )
    if "buildah" in has:
        yield Contender(
            "buildah",
            'made=$(buildah from scratch)\nbuildah copy -q "$made" ' + f"{file} /{name}\n"
            f'buildah config --entrypoint \'["/{name}"]\' "$made"\n'
            'buildah commit -q "$made" oci:image:1\nbuildah rm "$made"',
            environ={"CONTAINERS_STORAGE_CONF": str(_storage(bench.room))},
        )


def _storage(room: Path) -> Path:
    config = room / "storage.conf"
    config.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{room}/root"\nrunroot = "{room}/run"\n')
    return config


@case
def pack_many(bench: Bench) -> Iterator[Case]:
    driver, count = HERE / "many.py", 1000
    yield Case(
        "pack-many",
        f"{count} modules packed in one process, the time of one",
        (Contender("ocibuild", f"{bench.python} {driver} pack {bench.room}/modules {count}", work=count),),
        memory=None,
    )


@case
def pack_large(bench: Bench, size: int = 1024 * MIB) -> Iterator[Case]:
    file, tool = bench.binary(size), bench.ocibuild
    digest = f'{bench.python} -c \'import hashlib,sys; hashlib.file_digest(open(sys.argv[1],"rb"), "sha256")\' {file}'
    ours = [
        Contender(f"ocibuild {name}", f"{tool} pack {file} --compression {name} -o image.oci")
        for name in ("gzip", "zstd", "none")
    ]
    floor = Contender("file_digest and cp", f"{digest}\ncp {file} copy")
    peers = [one for one in _packers(bench, file, "binary") if one.name in ("crane append", "umoci")]
    goals = [Goal("ocibuild none", floor.name, 1.3)]
    named = {one.name for one in peers}
    for peer, gzip, zstd in (("crane append", 4.5, 9.0), ("umoci", 1.6, 3.0)):
        if peer in named:
            goals += [Goal("ocibuild gzip", peer, 1 / gzip), Goal("ocibuild zstd", peer, 1 / zstd)]
    yield Case(f"pack-{size // MIB}MiB", f"one binary of {size // MIB} MiB", (*ours, floor, *peers), tuple(goals), size)


def _layout(bench: Bench, size: int) -> Path:
    """An image of one binary in a raw layer, so that no time goes into packing."""
    layout = bench.room / f"image-{size}"
    if not layout.exists():
        words = [bench.ocibuild, "pack", str(bench.binary(size)), "--compression", "none", "-o", f"oci:{layout}:1"]
        subprocess.run(words, check=True, capture_output=True, timeout=600)
    return layout


@case
def push(bench: Bench, size: int = 1024 * MIB) -> Iterator[Case]:
    layout, has = _layout(bench, size), bench.programs
    for scheme, where, ours, theirs in (
        ("http", bench.registry, "", "--to-plain-http"),
        ("https", bench.secure, f"--ca-file {bench.ca}", f"--to-ca-file {bench.ca}"),
    ):
        authorities = str(bench.ca) if ours else "-"
        contenders = [
            Contender("ocibuild push", f"{bench.ocibuild} push oci:{layout}:1 {where}/r$$/ours:1 {ours}"),
            Contender(
                "oras-py",
                f"{bench.python} {HERE}/orasclient.py {bench.binary(size)} {where}/r$$/oraspy:1 {authorities}",
            ),
        ]
        goals = [Goal("ocibuild push", "oras-py", 1 / 2)]
        if "oras" in has:
            oras = f"{has['oras']} cp --no-tty --from-oci-layout {layout}:1 {where}/r$$/oras:1 {theirs}"
            contenders.append(Contender("oras cp", oras))
            goals.append(Goal("ocibuild push", "oras cp", 1.1))
        if "crane" in has and not ours:
            contenders.append(Contender("crane push", f"{has['crane']} push {layout} {where}/r$$/crane:1"))
        words = f"{size // MIB} MiB to distribution over {scheme}"
        yield Case(f"push-{scheme}", words, tuple(contenders), tuple(goals), size)


@case
def pull(bench: Bench, size: int = 1024 * MIB) -> Iterator[Case]:
    layout, has, there = _layout(bench, size), bench.programs, f"{bench.registry}/pulled:1"
    words = [bench.ocibuild, "push", f"oci:{layout}:1", there]
    subprocess.run(words, check=True, capture_output=True, timeout=600)
    contenders = [Contender("ocibuild pull", f"{bench.ocibuild} pull {there} -o image.oci")]
    goals = []
    if "oras" in has:
        oras = f"{has['oras']} cp --no-tty --from-plain-http {there} --to-oci-layout image:1"
        contenders.append(Contender("oras cp", oras))
        goals.append(Goal("ocibuild pull", "oras cp", 1.1))
    if "crane" in has:
        contenders.append(Contender("crane pull", f"{has['crane']} pull --format oci {there} image"))
    yield Case("pull", f"{size // MIB} MiB from distribution", tuple(contenders), tuple(goals), size)


@case
def push_many(bench: Bench) -> Iterator[Case]:
    count = 200
    crane, driver = bench.programs.get("crane", ""), HERE / "many.py"
    if not crane:
        return
    modules = bench.room / "modules"
    yield Case(
        "push-many",
        f"{count} distinct small images to one registry, the time of one",
        (
            Contender(
                "ocibuild", f"{bench.python} {driver} push {modules} {count} {bench.registry}/r$$/many", work=count
            ),
            Contender(
                "ocibuild again",
                f"{bench.python} {driver} again {modules} {count} {bench.registry}/again",
                work=count,
            ),
            Contender(
                "crane push, in a loop",
                f"for n in $(seq {count}); do {crane} push {modules}/images/$n {bench.registry}/r$$/crane:$n; done",
                work=count,
            ),
        ),
        (Goal("ocibuild", "crane push, in a loop", 1 / 3), Goal("ocibuild again", "ocibuild", 1 / 5)),
        memory=None,
    )
