"""Push with one program, pull with another: the same digests and the same program, whoever did which.

    test_peers_agree[skopeo-oras-index]

wkg makes an image of its own out of a .wasm, and gives the .wasm back; the others move layouts.
"""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocibuild.api.pack import pack
from tests.e2e import layouts
from tests.e2e.servers import Ocibuild, Part, Run, Served, serving

pytestmark = pytest.mark.real

SAMPLES = Path(__file__).parents[2] / "samples"
WASM = SAMPLES / "hello.wasm"
NATIVES = {"amd64": SAMPLES / "hello-linux-amd64", "arm64": SAMPLES / "hello-linux-arm64"}
WHAT = ("image", "artifact", "index")
MOVERS = ("ocibuild", "crane", "oras", "regctl", "skopeo")
ACCEPT = ", ".join(f"application/vnd.oci.image.{kind}.v1+json" for kind in ("manifest", "index"))


class Peers:
    """The programs, over one registry; what was pushed once is not pushed again."""

    def __init__(self, served: Served, room: Path, part: Part) -> None:
        self.host = served.host
        self._room = room
        self._part = part
        self._ocibuild = Ocibuild(room / "home")
        self._layouts: dict[str, Path] = {}
        self._pushed: dict[tuple[str, str], str] = {}

    def layout(self, what: str) -> Path:
        """The layout that is pushed."""
        if what not in self._layouts:
            folder = self._room / what
            files = [WASM, *NATIVES.values()] if what == "index" else [WASM]
            pack(
                *files, tags=["localhost/made:1"], output=str(folder), format="artifact" if what == "artifact" else None
            )
            self._layouts[what] = folder
        return self._layouts[what]

    def pushed(self, program: str, what: str, run: Run) -> str:
        """The reference of what a program pushed."""
        if (program, what) not in self._pushed:
            reference = f"{self.host}/{program}/{what}:1"
            push = {
                "ocibuild": self._push_ocibuild,
                "crane": self._push_crane,
                "oras": self._push_oras,
                "regctl": self._push_regctl,
                "skopeo": self._push_skopeo,
                "wkg": self._push_wkg,
            }[program]
            push(what, reference, run)
            self._pushed[program, what] = reference
        return self._pushed[program, what]

    def _push_ocibuild(self, what: str, reference: str, run: Run) -> None:
        self._ocibuild("push", self.layout(what), reference)

    def _push_crane(self, what: str, reference: str, run: Run) -> None:
        words = ["--index"] if what == "index" else []
        folder = self.layout(what)
        if what == "index":
            folder = unwrapped(folder, self._room / "unwrapped")
        run(self._part("crane"), "push", "--insecure", *words, str(folder), reference)

    def _push_oras(self, what: str, reference: str, run: Run) -> None:
        run(self._part("oras"), "cp", "--from-oci-layout", f"{self.layout(what)}:1", "--to-plain-http", reference)

    def _push_regctl(self, what: str, reference: str, run: Run) -> None:
        run(*self.regctl(), "image", "copy", f"ocidir://{self.layout(what)}:1", reference)

    def _push_skopeo(self, what: str, reference: str, run: Run) -> None:
        words = ("copy", "--all", "--preserve-digests", "--dest-tls-verify=false")
        run(self._part("skopeo"), *words, f"oci:{self.layout(what)}:1", f"docker://{reference}")

    def _push_wkg(self, what: str, reference: str, run: Run) -> None:
        run(self._part("wkg"), "oci", "push", "--insecure", self.host, reference, str(WASM))

    def pull(self, program: str, reference: str, to: Path, run: Run) -> None:
        """Pull into a layout."""
        if program == "ocibuild":
            self._ocibuild("copy", reference, f"oci:{to}:1")
        elif program == "crane":
            run(self._part("crane"), "pull", "--insecure", "--format", "oci", reference, str(to))
        elif program == "oras":
            run(self._part("oras"), "cp", "--from-plain-http", reference, "--to-oci-layout", f"{to}:1")
        elif program == "regctl":
            run(*self.regctl(), "image", "copy", reference, f"ocidir://{to}:1")
        else:
            words = ("copy", "--all", "--preserve-digests", "--src-tls-verify=false")
            run(self._part("skopeo"), *words, f"docker://{reference}", f"oci:{to}:1")

    def wkg(self, reference: str, to: Path, run: Run) -> bytes:
        """The program as wkg finds it."""
        run(self._part("wkg"), "oci", "pull", "--insecure", self.host, reference, "-o", str(to))
        return to.read_bytes()

    def regctl(self) -> tuple[str, ...]:
        """regctl and how it reaches the registry."""
        return self._part("regctl"), "--host", f"reg={self.host},tls=disabled"

    def digest(self, reference: str) -> str:
        """The digest of what the registry gives, hashed here."""
        repository, _, tag = reference.removeprefix(f"{self.host}/").rpartition(":")
        request = urllib.request.Request(f"http://{self.host}/v2/{repository}/manifests/{tag}")
        request.add_header("Accept", ACCEPT)
        with urllib.request.urlopen(request, timeout=10) as response:
            return f"sha256:{hashlib.sha256(response.read()).hexdigest()}"


def unwrapped(folder: Path, to: Path) -> Path:
    """The same layout with the image index itself as index.json: what `crane push --index` pushes."""
    if not to.exists():
        to.mkdir()
        for name in ("blobs", "oci-layout"):
            os.symlink(folder / name, to / name)
        index = folder / "blobs" / layouts.root(folder).replace(":", "/")
        (to / "index.json").write_bytes(index.read_bytes())
    return to


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory, part: Part) -> Iterator[Peers]:
    """All peers over CNCF distribution v3."""
    room = tmp_path_factory.mktemp("peers")
    with serving("distribution", part, room / "registry") as served:
        yield Peers(served, room, part)


def expected(what: str) -> dict[str, bytes]:
    """The programs that must come back."""
    if what != "index":
        return {"": WASM.read_bytes()}
    return {"wasm": WASM.read_bytes(), **{name: file.read_bytes() for name, file in NATIVES.items()}}


@pytest.mark.parametrize(
    "pusher, puller, what",
    [
        pytest.param(pusher, puller, what, id=f"{pusher}-{puller}-{what}")
        for what in WHAT
        for pusher in MOVERS
        for puller in MOVERS
    ],
)
def test_peers_agree(pusher: str, puller: str, what: str, peers: Peers, run: Run, tmp_path: Path) -> None:
    made = layouts.root(peers.layout(what))
    reference = peers.pushed(pusher, what, run)
    assert peers.digest(reference) == made
    peers.pull(puller, reference, tmp_path / "back", run)
    assert layouts.root(tmp_path / "back") == made
    assert layouts.graph(tmp_path / "back", made) == layouts.graph(peers.layout(what), made)
    assert layouts.programs(tmp_path / "back", made) == expected(what)


@pytest.mark.heavy
@pytest.mark.parametrize("pusher", [pytest.param(name, id=f"{name}-wkg-artifact") for name in (*MOVERS, "wkg")])
def test_wkg_reads_what_peers_pushed(pusher: str, peers: Peers, run: Run, tmp_path: Path) -> None:
    assert peers.wkg(peers.pushed(pusher, "artifact", run), tmp_path / "back.wasm", run) == WASM.read_bytes()


@pytest.mark.heavy
@pytest.mark.parametrize("puller", [pytest.param(name, id=f"wkg-{name}-artifact") for name in MOVERS])
def test_peers_read_what_wkg_pushed(puller: str, peers: Peers, run: Run, tmp_path: Path) -> None:
    reference = peers.pushed("wkg", "artifact", run)
    peers.pull(puller, reference, tmp_path / "back", run)
    assert layouts.root(tmp_path / "back") == peers.digest(reference)
    assert layouts.programs(tmp_path / "back", peers.digest(reference)) == expected("artifact")
