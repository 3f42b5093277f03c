"""What we write, judged by the programs that people use: nothing here is our own reading of our own bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ocibuild.api.check import check
from ocibuild.api.diff import diff
from ocibuild.api.extract import extract
from ocibuild.api.joining import join
from ocibuild.api.pack import Packed, pack
from ocibuild.api.transfer import copy, push
from tests.e2e.servers import Run, Running, stop

pytestmark = pytest.mark.real

SAMPLES = Path(__file__).parents[2] / "samples"
WASM = SAMPLES / "hello.wasm"
AMD64 = SAMPLES / "hello-linux-amd64"
ARM64 = SAMPLES / "hello-linux-arm64"
SHAPES = ["image", "wasm-layer", "artifact", "compat", "solo", "wasm-to-oci"]

Part = Callable[[str], str]


@pytest.fixture
def mixed(registry: Running) -> tuple[str, Packed]:
    """Wasm and two natives under one tag."""
    tag = f"{registry.host}/hello:1"
    return tag, pack(WASM, AMD64, ARM64, tags=[tag], push=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_comes_back_from_a_registry_as_it_was_pushed(
    shape: str, registry: Running, part: Part, run: Run
) -> None:
    tag = f"{registry.host}/{shape}:1"
    packed = pack(WASM, tags=[tag], push=True, format=shape)
    raw = run(part("skopeo"), "inspect", "--raw", "--tls-verify=false", f"docker://{tag}")
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == packed.digest
    assert run(part("oras"), "manifest", "fetch", "--plain-http", tag).strip() == raw.strip()
    assert run(part("crane"), "digest", "--insecure", tag).strip() == packed.digest


@pytest.mark.parametrize("compression", ["gzip", "gzip:9", "gzip-single"])
def test_crane_finds_images_valid(compression: str, registry: Running, part: Part, run: Run) -> None:
    tag = f"{registry.host}/valid:{compression.replace(':', '-')}"
    pack(AMD64, tags=[tag], push=True, compression=compression)
    said = run(part("crane"), "validate", "--insecure", "--remote", tag)
    assert "PASS" in said


def test_crane_finds_a_large_image_of_many_gzip_members_valid(
    registry: Running, part: Part, run: Run, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    big.write_bytes(AMD64.read_bytes() + bytes(range(256)) * 64 * 1024)
    tag = f"{registry.host}/big:1"
    pack(big, tags=[tag], push=True)
    assert "PASS" in run(part("crane"), "validate", "--insecure", "--remote", tag)


def test_skopeo_copies_the_whole_index(mixed: tuple[str, Packed], part: Part, run: Run, tmp_path: Path) -> None:
    tag, packed = mixed
    run(part("skopeo"), "copy", "--all", "--src-tls-verify=false", f"docker://{tag}", f"oci:{tmp_path}/copied:1")
    index = json.loads((tmp_path / "copied/index.json").read_text())
    assert index["manifests"][0]["digest"] == packed.digest
    ours = {entry["digest"] for entry in json.loads(run(part("crane"), "manifest", "--insecure", tag))["manifests"]}
    assert len(ours) == 3
    assert all((tmp_path / "copied/blobs/sha256" / digest[7:]).exists() for digest in ours)


@pytest.mark.parametrize(
    "os_, architecture, file", [("wasi", "wasm", WASM), ("linux", "amd64", AMD64), ("linux", "arm64", ARM64)]
)
def test_each_platform_finds_its_own_program_in_one_index(
    os_: str, architecture: str, file: Path, mixed: tuple[str, Packed], part: Part, run: Run, tmp_path: Path
) -> None:
    tag, _ = mixed
    tarball = tmp_path / "out.tar"
    run(part("crane"), "export", "--insecure", "--platform", f"{os_}/{architecture}", tag, str(tarball))
    name = "hello.wasm" if os_ == "wasi" else "hello"
    content = subprocess.run(["tar", "-xOf", tarball, name], capture_output=True, check=True, timeout=60).stdout
    assert content == file.read_bytes()


def test_umoci_unpacks_the_layer(part: Part, run: Run, tmp_path: Path) -> None:
    pack(WASM, tags=["localhost/hello:1"], output=str(tmp_path / "hello.oci"))
    run(part("umoci"), "raw", "unpack", "--image", f"{tmp_path}/hello.oci:1", str(tmp_path / "root"))
    assert (tmp_path / "root/hello.wasm").read_bytes() == WASM.read_bytes()
    assert (tmp_path / "root/hello.wasm").stat().st_mode & 0o777 == 0o755


def test_skopeo_reads_our_layout_and_archives(part: Part, run: Run, tmp_path: Path) -> None:
    packed = pack(AMD64, tags=["localhost/hello:1"], output=str(tmp_path / "hello.oci"))
    copy(str(tmp_path / "hello.oci"), str(tmp_path / "hello.tar"))
    copy(str(tmp_path / "hello.oci"), f"docker-archive:{tmp_path}/docker.tar")
    for place in (f"oci:{tmp_path}/hello.oci:1", f"oci-archive:{tmp_path}/hello.tar"):
        raw = run(part("skopeo"), "inspect", "--raw", place)
        assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == packed.digest
    config = json.loads(run(part("skopeo"), "inspect", "--config", f"docker-archive:{tmp_path}/docker.tar"))
    assert config["config"]["Entrypoint"] == ["/hello"]


@pytest.fixture
def podman(part: Part) -> Iterator[Callable[..., str]]:
    """podman with a store of its own."""
    program = part("podman")
    folder = Path(tempfile.mkdtemp(prefix="ob-"))  # podman wants its run folder's path short
    words = (
        "--root",
        f"{folder}/podman",
        "--runroot",
        f"{folder}/run",
        "--storage-driver",
        "vfs",
        "--cgroup-manager",
        "cgroupfs",
    )

    def command(*rest: str) -> str:
        result = subprocess.run([program, *words, *rest], capture_output=True, text=True, timeout=180, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    yield command
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive"])
def test_podman_loads_our_archives(kind: str, compression: str, podman: Callable[..., str], tmp_path: Path) -> None:
    output = f"{kind}:{tmp_path}/hello.tar"
    pack(AMD64, tags=["localhost/hello:1"], output=output, compression=compression)
    podman("load", "-i", str(tmp_path / "hello.tar"))
    shown = json.loads(podman("image", "inspect", "localhost/hello:1"))[0]
    assert (shown["Os"], shown["Architecture"]) == ("linux", "amd64")
    assert shown["Config"]["Entrypoint"] == ["/hello"]
    mounted = Path(podman("image", "mount", "localhost/hello:1").strip())
    assert (mounted / "hello").read_bytes() == AMD64.read_bytes()


def test_buildah_starts_from_our_layout(part: Part, run: Run, tmp_path: Path) -> None:
    pack(AMD64, tags=["localhost/hello:1"], output=str(tmp_path / "hello.oci"))
    words = (part("buildah"), "--root", f"{tmp_path}/store", "--runroot", f"{tmp_path}/run", "--storage-driver", "vfs")
    name = run(*words, "from", f"oci:{tmp_path}/hello.oci:1").strip()
    mounted = Path(run(*words, "mount", name).strip())
    assert (mounted / "hello").read_bytes() == AMD64.read_bytes()
    run(*words, "umount", name)


@pytest.fixture
def containerd(part: Part, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """containerd with folders and a socket of its own; gives `ctr`."""
    program, ctr = part("containerd"), part("ctr")
    folder = tmp_path / "containerd"
    folder.mkdir()
    socket = folder / "s"
    config = folder / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{socket}"\n[ttrpc]\naddress = "{folder}/t"\n'
        f'[plugins."io.containerd.internal.v1.opt"]\npath = "{folder}/opt"\n'
    )
    log = (folder / "log").open("wb")
    process = subprocess.Popen([program, "--config", str(config)], stdout=log, stderr=log)
    deadline = time.monotonic() + 30
    while not socket.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)

    def command(*rest: str) -> str:
        result = subprocess.run(
            [ctr, "-a", str(socket), *rest], capture_output=True, text=True, timeout=120, check=False
        )
        assert result.returncode == 0, result.stderr[-2000:] + (folder / "log").read_text()[-1500:]
        return result.stdout

    try:
        yield command
    finally:
        stop(process)
        log.close()


def test_containerd_imports_our_archive(containerd: Callable[..., str], tmp_path: Path) -> None:
    packed = pack(WASM, tags=["localhost:5000/hello:1"], output=str(tmp_path / "hello.tar"))
    containerd("images", "import", "--no-unpack", str(tmp_path / "hello.tar"))
    assert any(
        "localhost:5000/hello:1" in line and packed.digest in line for line in containerd("images", "ls").splitlines()
    )


def test_containerd_imports_every_platform_of_an_index(containerd: Callable[..., str], tmp_path: Path) -> None:
    packed = pack(WASM, AMD64, ARM64, tags=["localhost:5000/hello:2"], output=str(tmp_path / "hello.tar"))
    containerd("images", "import", "--no-unpack", "--all-platforms", str(tmp_path / "hello.tar"))
    line = next(line for line in containerd("images", "ls").splitlines() if "hello:2" in line)
    assert packed.digest in line
    assert all(platform in line for platform in ("linux/amd64", "linux/arm64", "wasi/wasm"))


def test_images_of_separate_jobs_are_joined(registry: Running, part: Part, run: Run) -> None:
    tags = [f"{registry.host}/joined:{name}" for name in ("wasm", "amd64", "arm64")]
    for tag, file in zip(tags, (WASM, AMD64, ARM64), strict=True):
        pack(file, tags=[tag], push=True)
    joined = join(*tags, tag=f"{registry.host}/joined:1")
    index = json.loads(run(part("crane"), "manifest", "--insecure", f"{registry.host}/joined:1"))
    assert [entry["platform"]["architecture"] for entry in index["manifests"]] == ["amd64", "arm64", "wasm"]
    assert joined.descriptor.digest in joined.reference
    assert "PASS" in run(part("crane"), "validate", "--insecure", "--remote", f"{registry.host}/joined:1")


def test_pushing_again_sends_nothing(registry: Running, tmp_path: Path) -> None:
    pack(WASM, AMD64, output=str(tmp_path / "app.oci"))
    first, second = (push(str(tmp_path / "app.oci"), f"{registry.host}/again:1")[0] for _ in range(2))
    assert first.copied.bytes_written > AMD64.stat().st_size // 4
    assert second.copied.bytes_written == 0


def test_an_image_goes_round_through_skopeo_and_back(registry: Running, part: Part, run: Run, tmp_path: Path) -> None:
    tag = f"{registry.host}/round:1"
    packed = pack(WASM, AMD64, tags=[tag], push=True)
    run(part("skopeo"), "copy", "--all", "--src-tls-verify=false", f"docker://{tag}", f"oci:{tmp_path}/theirs:1")
    back = copy(f"oci:{tmp_path}/theirs:1", str(tmp_path / "ours.oci"))
    assert str(back.descriptor.digest) == packed.digest


@pytest.mark.parametrize("shape", SHAPES)
def test_the_program_comes_back_out_of_a_registry(shape: str, registry: Running, tmp_path: Path) -> None:
    tag = f"{registry.host}/back-{shape}:1"
    pack(WASM, tags=[tag], push=True, format=shape)
    extract(tag, output=str(tmp_path / "back.wasm"))
    assert (tmp_path / "back.wasm").read_bytes() == WASM.read_bytes()


def test_an_image_in_a_registry_is_checked_and_compared(registry: Running) -> None:
    one, other = f"{registry.host}/look:1", f"{registry.host}/look:2"
    pack(WASM, AMD64, tags=[one], push=True)
    pack(WASM, AMD64, tags=[other], push=True, env={"A": "1"})
    assert not [finding for finding in check(one) if finding.severity == "error"]
    assert not diff(one, one)
    assert any("Env" in str(difference) or "env" in str(difference) for difference in diff(one, other))
