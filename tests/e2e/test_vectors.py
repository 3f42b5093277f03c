"""What BuildKit makes of Dockerfiles, asked anew: the recorded vectors and others, built by a Docker engine and by us."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ocibuild.content.codec import decompressed
from ocibuild.errors import OcibuildError
from tests.e2e.engines import Docker, containerd, docker
from tests.e2e.servers import Part
from tests.source.test_base import LOWER, UPPER, Layout, capable, layer, member
from tests.source.test_buildkit import CASES, built, entries, fill

pytestmark = [pytest.mark.real, pytest.mark.heavy]

Made = tuple[dict[str, Any], list[list[dict[str, Any]]]]

BASE = "--build-context base=oci-layout://{place}/base:1"
# What needs more than the vectors' context: Dockerfile, flags.
MORE: dict[str, tuple[str, str]] = {
    "add-archives": ("FROM scratch\nADD some.tar.gz some.tar one.txt /to\nADD some.tar /\nADD not.tar.gz /\n", ""),
    "add-archive-with-flags": ("FROM scratch\nADD --chown=5:6 --chmod=0640 some.tar /x/\n", ""),
    "add-archive-as-it-is": ("FROM scratch\nADD --unpack=false some.tar /x\n", ""),
    "base-image": ("FROM base\nENV B=$A\nCOPY --chown=me:staff one.txt .\nENTRYPOINT [\"/bin/tool\"]\n", BASE),
    "base-image-onbuild": ("FROM base AS one\nFROM one\nCOPY one.txt /\nUSER root\n", BASE),
    "base-image-files": ("FROM scratch\nCOPY --from=base /data /d\nCOPY --from=base /data/link /kept-too /e/\nCOPY --from=base /e*/ /f/\n", BASE),
    "base-image-whole": ("FROM scratch\nCOPY --from=base / /\n", BASE),
    "base-image-replaces-a-stage": ("FROM scratch AS base\nCOPY one.txt /\nFROM scratch\nCOPY --from=base /kept-too /\n", BASE),
    "base-image-for-copy-into": ("FROM base\nCOPY one.txt /etc/new/\nCOPY conf /data/\nWORKDIR /bin/x\nCOPY two.txt ../tool\n", BASE),
    "capabilities": ("FROM scratch\nCOPY --from=able / /\n", "--build-context able=oci-layout://{place}/base:2"),
    "capabilities-changed": (
        "FROM scratch\nCOPY --from=able --chown=1:2 / /a\nCOPY --from=able --chmod=0700 / /b\n",
        "--build-context able=oci-layout://{place}/base:2",
    ),
    "bad-archive": ("FROM scratch\nADD cut.tar.gz /\n", ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def daemon(part: Part) -> Iterator[Docker]:
    """One Docker engine for all cases: it takes longer to start than to build."""
    with containerd(part) as beside, docker(part, beside) as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The vectors' context, archives, and a base image with an ONBUILD, links, whiteouts and owners."""
    fill(tmp_path)
    context = tmp_path / "context"
    some = layer(*LOWER[:4], member("d", tarfile.DIRTYPE, mode=0o700, uid=3, gid=4), form="none")[1]
    large = layer(("large", random.Random(1).randbytes(20_000)))[1]
    packed = layer(("inner", b"i"), member("l", tarfile.SYMTYPE, "inner"))[1]
    for name, data in {
        "some.tar": some,
        "some.tar.gz": packed,
        "not.tar.gz": packed[:15],
        "cut.tar.gz": large[:9000],
    }.items():
        (context / name).write_bytes(data)
        (context / name).chmod(0o644)
    config = {
        "Env": ["PATH=/bin", "A=1"], "WorkingDir": "/data", "User": "me", "Labels": {"of": "base"}, "Cmd": ["/bin/tool"],
        "OnBuild": ["LABEL built=on", "COPY one.txt /onbuild/"],
    }  # fmt: skip
    base = Layout(tmp_path / "base")
    base.tag(base.image([layer(*LOWER), layer(*UPPER)], config), "1")
    base.tag(base.image([layer(capable("bin/server"))]), "2")
    return tmp_path


def vector(case: str, place: Path) -> dict[str, Any]:
    if case in CASES:
        return CASES[case]
    text, flags = MORE[case]
    command = f"docker buildx build -f Dockerfile {flags.format(place=place)} context"
    return {"dockerfile": text, "dockerignore": None, "command": command}


def theirs(daemon: Docker, told: dict[str, Any], place: Path) -> Made | str:
    """Config and layers as BuildKit makes them, or what it says where it refuses."""
    (place / "Dockerfile").write_bytes(told["dockerfile"].encode())
    if told["dockerignore"]:
        (place / "context" / ".dockerignore").write_text(told["dockerignore"])
    words = told["command"].split()
    assert words[:3] == ["docker", "buildx", "build"]
    words = [str(place / word) if word in ("Dockerfile", "context") else word for word in words[3:]]
    words = [word.replace("=stage", f"={place}/stage") for word in words]
    out = place / "theirs.tar"
    said = daemon.docker("buildx", "build", "--provenance=false", "--no-cache", "-o", f"type=oci,dest={out}", *words)
    if said.status != 0:
        return said.err

    def blob(digest: str) -> bytes:
        with tarfile.open(out) as archive:
            return archive.extractfile(f"blobs/{digest.replace(':', '/')}").read()  # type: ignore[union-attr]

    with tarfile.open(out) as archive:
        index = json.loads(archive.extractfile("index.json").read())  # type: ignore[union-attr]
    manifest = json.loads(blob(index["manifests"][0]["digest"]))
    raw = [decompressed(io.BytesIO(blob(one["digest"])), "gzip", "").read() for one in manifest["layers"]]
    return json.loads(blob(manifest["config"]["digest"])), [entries(one) for one in raw]


def plain(made: Made) -> Made:
    """Without times, and without what is Windows' own and out of use."""
    config, layers = made
    config = {name: value for name, value in config.items() if name != "created"}
    config["config"] = {name: value for name, value in config["config"].items() if name != "ArgsEscaped"}
    config["history"] = [{k: v for k, v in line.items() if k != "created"} for line in config["history"]]
    config["rootfs"] = {**config["rootfs"], "diff_ids": len(config["rootfs"]["diff_ids"])}
    return config, layers


@pytest.mark.parametrize("case", [*CASES, *MORE])
def test_the_image_is_what_this_buildkit_makes(case: str, daemon: Docker, place: Path) -> None:
    told = vector(case, place)
    made = theirs(daemon, told, place)
    if isinstance(made, str):
        with pytest.raises(OcibuildError):
            built(told, place)
        return
    ours = plain(built(told, place))
    assert ours[0] == plain(made)[0]
    assert ours[1] == plain(made)[1]
