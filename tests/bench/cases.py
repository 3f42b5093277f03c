"""What is measured: for each kind of work its contenders, and what ocibuild has to keep."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.harness import Contender, Figures

MIB = 1024 * 1024
HERE = Path(__file__).parent
LIMIT = 64
"""MiB that no run of ocibuild may go over."""


@dataclass(frozen=True)
class Goal:
    """`ours` takes at most `most` times as long as `theirs`."""

    ours: str
    theirs: str
    most: float

    @property
    def name(self) -> str:
        """For example `ocibuild gzip / umoci`."""
        return f"{self.ours} / {self.theirs}"

    def value(self, figures: Mapping[str, Figures]) -> float:
        """The ratio of the medians."""
        return figures[self.ours].seconds / figures[self.theirs].seconds


@dataclass(frozen=True)
class Busy:
    """`ours` keeps `cores` processors busy for at least `least` of its time: 1 is the limit that the machine sets."""

    ours: str
    cores: int
    least: float = 0.85

    @property
    def name(self) -> str:
        """For example `ocibuild gzip, of the limit of 2 cores`."""
        return f"{self.ours}, of the limit of {self.cores} cores"

    def value(self, figures: Mapping[str, Figures]) -> float:
        """Seconds of processors for each second and core."""
        return figures[self.ours].cpu / (self.cores * figures[self.ours].seconds)


@dataclass(frozen=True)
class Each:
    """One piece of `ours` takes at most `most` milliseconds: a bound as wide as machines are different."""

    ours: str
    most: float

    @property
    def name(self) -> str:
        """For example `ocibuild, milliseconds each`."""
        return f"{self.ours}, milliseconds each"

    def value(self, figures: Mapping[str, Figures]) -> float:
        """Milliseconds of the median."""
        return figures[self.ours].seconds * 1000


@dataclass(frozen=True)
class Case:
    """A kind of work. `size` is in bytes or pieces, and with the name says what figures may be compared.

    `rounds` stands for the usual number where it is not 0; `warm` for a first run that does not count; `settle` and
    `keeps` are the harness's. Goals are held
    where it `is_judged`: most are said of a gigabyte, of which a start of Python is no part.
    """

    name: str
    words: str
    contenders: tuple[Contender, ...]
    goals: tuple[Goal | Busy | Each, ...] = ()
    size: int = 0
    memory: float | None = LIMIT
    rounds: int = 0
    warm: bool = True
    settle: bool = False
    keeps: bool = False
    is_judged: bool = True


@dataclass(frozen=True)
class Bench:
    """What stands ready: programs by name, an installed ocibuild, inputs, registries (two http, one https), and a room.

    `part` finds a program, or ends the bench. `engine` is the environment in which `docker buildx` builds, None where there is no engine. `large` is the size of
    what is large, `sizes` those of the growth, `many` and `pushed` how many small ones are packed and pushed.
    """

    programs: Mapping[str, str]
    engine: Mapping[str, str] | None
    python: str
    module: Path
    binary: Callable[[int], Path]
    registry: str
    second: str
    secure: str
    ca: Path
    room: Path
    cores: int
    part: Callable[[str], str]
    large: int = 1024 * MIB
    sizes: tuple[int, ...] = (MIB, 64 * MIB, 1024 * MIB, 4096 * MIB)
    many: int = 1000
    pushed: int = 200

    @property
    def is_whole(self) -> bool:
        """True where sizes are those that goals are said of."""
        return self.large >= 1024 * MIB

    @property
    def ocibuild(self) -> str:
        """The program as people have it."""
        return str(Path(self.python).with_name("ocibuild"))

    def ours(self, verb: str, *words: object, name: str = "") -> Contender:
        """A run of the command line."""
        return Contender(f"ocibuild {name or verb}", " ".join(map(str, (self.ocibuild, verb, *words))), "ours")

    def layout(self, size: int) -> Path:
        """An image of one binary in a raw layer, so that no time goes into packing."""
        layout = self.room / f"image-{size}"
        if not layout.exists():
            self.run(self.ocibuild, "pack", self.binary(size), "--compression", "none", "-o", f"oci:{layout}:1")
        return layout

    def pushed_layout(self, size: int, name: str) -> str:
        """The same image in the first registry: its reference without the registry."""
        there = f"{name}-{size}:1"
        self.run(self.ocibuild, "push", f"oci:{self.layout(size)}:1", f"{self.registry}/{there}")
        return there

    def run(self, *words: object) -> None:
        """Make something ready; a failure shows what was said."""
        said = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=900, check=False)
        if said.returncode:
            raise RuntimeError(f"{' '.join(map(str, words))} ended with {said.returncode}:\n{said.stderr[-2000:]}")

    def forget(self) -> None:
        """Remove images, binaries and what the registries hold: the disk is not endless."""
        for pattern in ("image-*", "binary-*", "registry/data/*", "second/data/*"):
            for path in self.room.glob(pattern):
                path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)


Maker = Callable[[Bench], Iterator[Case]]
CASES: list[tuple[str, Maker]] = []


def case(maker: Maker) -> Maker:
    """Register what makes the cases of one kind of work, by its function's name."""
    CASES.append((maker.__name__.replace("_", "-"), maker))
    return maker


def _mib(size: int) -> str:
    return f"{size // MIB} MiB" if size % (1024 * MIB) else f"{size // MIB // 1024} GiB"


@case
def start(bench: Bench) -> Iterator[Case]:
    """The time until help, version and completion are there."""
    floor = _click(bench)
    completion = {"_OCIBUILD_COMPLETE": "bash_complete", "COMP_WORDS": "ocibuild pa", "COMP_CWORD": "1"}
    yield Case(
        "start",
        "the time until help, version and completion are there",
        (
            Contender("python -c pass", f"{bench.python} -c pass", "floor"),
            floor,
            bench.ours("--version"),
            bench.ours("--help"),
            Contender("ocibuild completion", bench.ocibuild, "ours", environ=completion),
        ),
        tuple(Goal(f"ocibuild {name}", floor.name, 1.6) for name in ("--version", "--help", "completion")),
    )


def _click(bench: Bench) -> Contender:
    return Contender("python -c 'import click'", f"{bench.python} -c 'import click'", "floor")


@case
def pack_small(bench: Bench) -> Iterator[Case]:
    """A module of about a megabyte."""
    size = bench.module.stat().st_size
    ours, floor = bench.ours("pack", bench.module, "-o", "image.oci"), _click(bench)
    peers = tuple(_packers(bench, bench.module, "hello.wasm", small=True))
    named = {one.name for one in peers}
    goals = [Goal(ours.name, floor.name, 1.6)]
    for peer, times in (("buildah", 2), ("docker buildx", 2.5)):
        if peer in named:
            goals.append(Goal(ours.name, peer, 1 / times))
    about = round(size, -5)  # the compiler writes the folder's name into it
    words = f"a module of {size / MIB:.1f} MiB"
    yield Case("pack-small", words, (floor, ours, *peers), tuple(goals), about, keeps=True)


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
    if "buildah" in has and small:
        yield Contender(
            "buildah",
            'made=$(buildah from scratch)\nbuildah copy -q "$made" ' + f"{file} /{name}\n"
            f'buildah config --entrypoint \'["/{name}"]\' "$made"\n'
            'buildah commit -q "$made" oci:image:1\nbuildah rm "$made"',
            environ={"CONTAINERS_STORAGE_CONF": str(_storage(bench.room))},
        )
    if bench.engine is not None:
        yield _buildx(bench, bench.engine, file, name)


def _storage(room: Path) -> Path:
    config = room / "storage.conf"
    config.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{room}/root"\nrunroot = "{room}/run"\n')
    return config


def _buildx(bench: Bench, engine: Mapping[str, str], file: Path, name: str) -> Contender:
    """A Dockerfile of three lines without the cache; processors and memory are the client's alone, not the engine's."""
    context = bench.room / f"context-{file.name}"
    if not context.exists():
        context.mkdir()
        (context / name).hardlink_to(file)
        (context / "Dockerfile").write_text(f'FROM scratch\nCOPY {name} /{name}\nENTRYPOINT ["/{name}"]\n')

    def pruned() -> None:  # or each run's layers stay on the disk
        words = ["docker", "buildx", "prune", "--all", "--force"]
        subprocess.run(words, env=dict(engine), check=True, capture_output=True, timeout=120)

    words = "docker buildx build --no-cache --quiet --provenance=false --output type=oci,dest=image.tar"
    return Contender("docker buildx", f"{words} {context}", ready=pruned, environ=engine)


@case
def pack_many(bench: Bench) -> Iterator[Case]:
    """Small modules in one process."""
    count = bench.many
    script = f"{bench.python} {HERE}/many.py pack {bench.room}/modules {count}"
    yield Case(
        "pack-many",
        f"each of {count} modules packed in one process",
        (_click(bench), Contender("ocibuild", script, "ours", work=count)),
        (Each("ocibuild", 3), Goal("ocibuild", "python -c 'import click'", 0.1)),
        count,
        keeps=True,
        is_judged=bench.is_whole,
    )


@case
def pack_large(bench: Bench) -> Iterator[Case]:
    """A large binary, with each compressor."""
    size = bench.large
    file = bench.binary(size)
    peers = list(_packers(bench, file, "binary"))
    goals: list[Goal | Busy] = [Goal("ocibuild none", "file_digest and cp", 1.3)]
    named = {one.name for one in peers}
    for peer, gzip, zstd in (("crane append", 4.5, 9.0), ("umoci", 1.6, 3.0), ("docker buildx", 4.5, 9.0)):
        if peer in named:
            goals += [Goal("ocibuild gzip", peer, 1 / gzip), Goal("ocibuild zstd", peer, 1 / zstd)]
    goals += [Busy(f"ocibuild {name}", bench.cores) for name in ("gzip", "zstd")]
    yield Case(
        "pack-large",
        f"a binary of {_mib(size)}",
        (*_compressors(bench, file), _floor(bench, file), *peers),
        tuple(goals),
        size,
        settle=True,
        is_judged=bench.is_whole,
    )
    shutil.rmtree(bench.room / f"context-{file.name}", ignore_errors=True)  # a second name of it


def _compressors(bench: Bench, file: Path) -> Iterator[Contender]:
    for name in ("gzip", "zstd", "none"):
        yield bench.ours("pack", file, "--compression", name, "-o", "image.oci", name=name)


def _floor(bench: Bench, file: Path) -> Contender:
    program = 'import hashlib,sys; hashlib.file_digest(open(sys.argv[1],"rb"), "sha256")'
    return Contender("file_digest and cp", f"{bench.python} -c '{program}' {file}\ncp {file} copy", "floor")


@case
def push(bench: Bench) -> Iterator[Case]:
    """A large image to distribution, over http and https."""
    size, layout, oras, crane = (
        bench.large,
        bench.layout(bench.large),
        _program(bench, "oras"),
        _program(bench, "crane"),
    )
    for scheme, where, ours, theirs, authorities, trust in _schemes(bench):
        peers = {
            "oras-py": f"{_oras_py(bench)} push {where}/r$$/oraspy:1 {authorities} {bench.binary(size)}",
            "oras cp": f"{oras} cp --no-tty --from-oci-layout {layout}:1 {where}/r$$/oras:1 --to-{theirs}",
            "crane push": f"{crane} push {layout} {where}/r$$/crane:1",
        }
        mine = bench.ours("push", f"oci:{layout}:1", f"{where}/r$$/ours:1", ours)
        yield _moved(bench, f"push-{scheme}", f"{_mib(size)} to distribution over {scheme}", mine, peers, trust)


def _program(bench: Bench, name: str) -> str:
    """What stands in a script; one of a program that is missing is not run."""
    return bench.programs.get(name, name)


def _oras_py(bench: Bench) -> str:
    return f"{bench.python} {HERE}/orasclient.py"


_MOVING = {"oras-py": 1 / 2, "oras cp": 1.1}
"""How long it may take us to move something large, in times of those who do the same."""


def _moved(
    bench: Bench, name: str, words: str, ours: Contender, peers: Mapping[str, str], environ: Mapping[str, str]
) -> Case:
    """Something large is moved, by us and by those of the peers that are here; `environ` is theirs."""
    there = [peer for peer in peers if peer == "oras-py" or peer.split()[0] in bench.programs]
    contenders = (ours, *(Contender(peer, peers[peer], environ=environ) for peer in there))
    goals = tuple(Goal(ours.name, peer, _MOVING[peer]) for peer in there if peer in _MOVING)
    return Case(name, words, contenders, goals, bench.large, settle=True, is_judged=bench.is_whole)


def _schemes(bench: Bench) -> Iterator[tuple[str, str, str, str, str, dict[str, str]]]:
    """Scheme, registry, what ocibuild, oras and oras-py are told about it, and the environment of Go's programs."""
    yield "http", bench.registry, "", "plain-http", "-", {}
    ca = str(bench.ca)
    yield "https", bench.secure, f"--ca-file {ca}", f"ca-file {ca}", ca, {"SSL_CERT_FILE": ca}


@case
def pull(bench: Bench) -> Iterator[Case]:
    """A large image from distribution, over http and https."""
    size, oras, crane = bench.large, _program(bench, "oras"), _program(bench, "crane")
    there = bench.pushed_layout(size, "pulled")
    bench.run(*_oras_py(bench).split(), "push", f"{bench.registry}/oraspy-{size}:1", "-", bench.binary(size))
    for scheme, where, ours, theirs, authorities, trust in _schemes(bench):
        peers = {
            "oras-py": f"{_oras_py(bench)} pull {where}/oraspy-{size}:1 {authorities} pulled",
            "oras cp": f"{oras} cp --no-tty {where}/{there} --from-{theirs} --to-oci-layout image:1",
            "crane pull": f"{crane} pull --format oci {where}/{there} image",
        }
        mine = bench.ours("pull", f"{where}/{there}", "-o", "image.oci", ours)
        yield _moved(bench, f"pull-{scheme}", f"{_mib(size)} from distribution over {scheme}", mine, peers, trust)


@case
def copy(bench: Bench) -> Iterator[Case]:
    """A large image from one registry to another."""
    there, second = f"{bench.registry}/{bench.pushed_layout(bench.large, 'copied')}", bench.second
    oras, crane, skopeo = (_program(bench, name) for name in ("oras", "crane", "skopeo"))
    peers = {
        "oras cp": f"{oras} cp --no-tty --from-plain-http {there} --to-plain-http {second}/r$$/oras:1",
        "crane copy": f"{crane} copy {there} {second}/r$$/crane:1",
        "skopeo copy": f"{skopeo} copy --preserve-digests --src-tls-verify=false --dest-tls-verify=false"
        f" docker://{there} docker://{second}/r$$/skopeo:1",
    }
    mine = bench.ours("copy", there, f"{second}/r$$/ours:1")
    words = f"{_mib(bench.large)} from one registry to another"
    yield _moved(bench, "copy", words, mine, peers, _forgetful(bench))


def _forgetful(bench: Bench) -> dict[str, str]:
    """Or skopeo remembers from run to run where a registry has a blob, and mounts it. This has it look in a new folder."""
    return {"_CONTAINERS_ROOTLESS_UID": "1000", "XDG_DATA_HOME": f"{bench.room}/run/skopeo"}


@case
def push_many(bench: Bench) -> Iterator[Case]:
    """Small images to one registry in one process, first and again."""
    count, driver, modules = bench.pushed, HERE / "many.py", bench.room / "modules"
    words = f"{bench.python} {driver}"
    contenders = [
        Contender("ocibuild", f"{words} push {modules} {count} {bench.registry}/r$$/many", "ours", work=count),
        Contender("ocibuild again", f"{words} again {modules} {count} {bench.registry}/again", "ours", work=count),
    ]
    goals = [Goal("ocibuild again", "ocibuild", 1 / 5)]
    if crane := bench.programs.get("crane"):
        loop = f"for n in $(seq {count}); do {crane} push {modules}/images/$n {bench.registry}/r$$/crane:$n; done"
        contenders.append(Contender("crane push, in a loop", loop, work=count))
        goals.append(Goal("ocibuild", "crane push, in a loop", 1 / 3))
    what = f"each of {count} distinct small images to one registry"
    yield Case("push-many", what, tuple(contenders), tuple(goals), count, is_judged=bench.is_whole)


@case
def growth(bench: Bench) -> Iterator[Case]:
    """Everything that moves bytes, from small to large: cost against size, and memory that does not grow."""
    for size in bench.sizes:
        bench.forget()
        file, layout = bench.binary(size), bench.layout(size)
        there = bench.pushed_layout(size, "grown")
        image = f"oci:{layout}:1"
        peers = [one for one in _packers(bench, file, "binary") if one.name in ("crane append", "umoci")]
        contenders = (
            *_compressors(bench, file),
            bench.ours("push", image, f"{bench.registry}/r$$/ours:1"),
            bench.ours("pull", f"{bench.registry}/{there}", "-o", "image.oci"),
            bench.ours("copy", f"{bench.registry}/{there}", f"{bench.second}/r$$/ours:1"),
            bench.ours("inspect", image),
            bench.ours("extract", image, "-o", "program"),
            bench.ours("save", image, "-o", "image.tar"),
            _floor(bench, file),
            *peers,
        )
        large = size >= 1024 * MIB
        words = f"everything with a binary of {_mib(size)}"
        name = f"growth-{size // MIB}MiB"
        few, warm = (2, False) if large or not bench.is_whole else (3, True)
        yield Case(name, words, contenders, size=size, rounds=few, warm=warm, settle=large)
    bench.forget()
