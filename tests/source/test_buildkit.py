"""Our images against BuildKit's, recorded from a real engine (tests/vectors/buildkit): config and files, case by case."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ocibuild.ambient import Ambient
from ocibuild.api.build import build
from ocibuild.api.session import Session
from ocibuild.content.codec import decompressed
from ocibuild.errors import OcibuildError
from ocibuild.spec.manifest import Manifest
from ocibuild.store.base import fetch
from ocibuild.store.graph import node
from ocibuild.store.layout import LayoutStore

VECTORS = Path(__file__).parents[1] / "vectors" / "buildkit"
CASES = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(VECTORS.glob("*.json"))}
BUILT = [name for name, vector in CASES.items() if "config" in vector]
REFUSED = [name for name, vector in CASES.items() if "error" in vector]
ENGINE = "linux/amd64"  # where the vectors were recorded: BuildKit's default platform is the machine's


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The context that all cases share."""
    fill(tmp_path)
    return tmp_path


def fill(folder: Path) -> None:
    """Write it, as tests/vectors/buildkit/README.md has it."""
    context = folder / "context"
    (context / "conf" / "sub").mkdir(parents=True)
    (folder / "stage" / "dist").mkdir(parents=True)
    files = {
        "app.wasm": b"\0asm\1\0\0\0", "native": b"\x7fELF-not-really", "conf/a.conf": b"a\n", "conf/sub/b.conf": b"b\n",
        "conf/.hidden": b"h\n", "x y.txt": b"space\n", "one.txt": b"1\n", "two.txt": b"2\n", "notes.md": b"n\n",
        "../stage/dist/app.wasm": b"\0asm\1\0\0\0",
    }  # fmt: skip
    for name, data in files.items():
        (context / name).write_bytes(data)
        (context / name).chmod(0o755 if name == "native" else 0o644)


def built(vector: dict[str, Any], place: Path) -> tuple[dict[str, Any], list[list[dict[str, Any]]]]:
    """Our config and layers for a vector, built with the flags that it was recorded with."""
    context = place / "context"
    (place / "Dockerfile").write_bytes(vector["dockerfile"].encode())
    if vector["dockerignore"]:
        (context / ".dockerignore").write_text(vector["dockerignore"], encoding="utf-8")
    words = shlex.split(vector["command"])[3:]
    assert words.pop() == "context"
    flags = dict(zip(words[::2], words[1::2], strict=True))
    assert set(flags) <= {"-f", "--platform", "--target", "--build-arg", "--build-context"}
    name, _, folder = flags.get("--build-context", "").partition("=")
    build(
        context,
        file=place / "Dockerfile",
        target=flags.get("--target"),
        build_args=[flags["--build-arg"]] if "--build-arg" in flags else [],
        build_contexts={name: folder if "://" in folder else str(place / folder)} if name else {},
        engine="none",
        session=offline(place),
        platforms=[flags.get("--platform", ENGINE)],
        output=f"oci:{place}/out.oci",
    )
    store = LayoutStore(place / "out.oci")
    manifest = node(store, store.resolve(""))
    assert isinstance(manifest, Manifest)
    layers = [decompressed(io.BytesIO(fetch(store, layer)), "gzip", "").read() for layer in manifest.layers]
    return json.loads(fetch(store, manifest.config)), [entries(layer) for layer in layers]


def offline(folder: Path) -> Session:
    """A session that reaches no registry but loopback ones."""
    conf = folder / "registries.conf"
    conf.write_text('[[registry]]\nlocation = "docker.io"\nblocked = true\n')
    return Session(surroundings=Ambient({"CONTAINERS_REGISTRIES_CONF": str(conf)}, folder, Session().surroundings.now))


def entries(layer: bytes) -> list[dict[str, Any]]:
    """A layer as the vectors write it."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        for member in archive:
            entry: dict[str, Any] = {
                "path": member.name,
                "type": "dir" if member.isdir() else "link" if member.issym() else "file",
                "mode": f"0o{member.mode:o}",
                "uid": member.uid,
                "gid": member.gid,
            }
            if member.isfile() or member.islnk():  # a hard link is a file as well
                entry["content"] = archive.extractfile(member).read().decode("latin-1")  # type: ignore[union-attr]
            if capability := member.pax_headers.get("SCHILY.xattr.security.capability"):
                entry["capability"] = capability.encode("utf-8", "surrogateescape").hex()
            found.append(entry)
    return found


@pytest.mark.parametrize("case", BUILT)
def test_config_and_files_are_buildkits(case: str, place: Path) -> None:
    vector = CASES[case]
    config, layers = built(vector, place)
    expected = dict(vector["config"])
    # Windows' own, and out of use (config.md: "ArgsEscaped is deprecated"): on purpose it is not written here.
    expected["config"] = {name: value for name, value in expected["config"].items() if name != "ArgsEscaped"}
    assert config.pop("created") == "1970-01-01T00:00:00Z"
    assert {line.pop("created") for line in config["history"]} == {"1970-01-01T00:00:00Z"}
    config["rootfs"]["diff_ids"] = len(config["rootfs"]["diff_ids"])
    assert config == expected
    assert layers == vector["layers"]


# Theirs speak of BuildKit's inner life; ours name the line, and what to do.
ERRORS = {
    "e1-missing-file": ("copy-missing", "Dockerfile line 2: there is no /nothing to copy"),
    "e2-unknown-instruction": ("dockerfile-invalid", "Dockerfile line 2: unknown instruction COPPY"),
    "e3-no-from": ("dockerfile-invalid", "Dockerfile line 1: COPY stands before FROM"),
    "e4-outside": ("copy-missing", "Dockerfile line 2: there is no /etc/passwd to copy"),
    "e5-unknown-stage": (
        "stage-unknown",
        (
            "Dockerfile line 2: nowhere is neither a stage before this one nor a build context, nor an image: "
            "docker.io/library/nowhere is blocked: CONF says so of docker.io"
        ),
    ),
    "e6-bad-flag": ("dockerfile-invalid", "Dockerfile line 2: COPY has no flag --chmood"),
    "e8-bad-array": ("dockerfile-invalid", "Dockerfile line 2: CMD takes strings in its array"),
    "e9-bad-flag": ("dockerfile-invalid", "Dockerfile line 2: ENV has no flag --a"),
    "e10-bad-mode": ("dockerfile-invalid", "Dockerfile line 2: --chmod: u+y is no mode"),
    "e7-empty": ("dockerfile-invalid", "Dockerfile: there are no instructions in it"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_buildkit_refuses_is_refused_with_the_line(case: str, place: Path) -> None:
    with pytest.raises(OcibuildError) as refused:
        built(CASES[case], place)
    conf = str(place / "registries.conf")
    assert (refused.value.code, refused.value.message.replace(conf, "CONF")) == ERRORS[case]
    assert refused.value.hint
    assert not (place / "out.oci").exists()


def test_no_case_is_left_out() -> None:
    assert (len(BUILT), len(REFUSED)) == (63, 10)
