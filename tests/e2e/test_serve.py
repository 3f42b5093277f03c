"""`ocibuild serve`, used by the programs that people have, and under weight."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import engines, layouts
from tests.e2e.servers import Ocibuild, Part, Run, Served, self_signed, serving
from tests.serve.asking import Asker, digest_of

pytestmark = pytest.mark.real

NATIVE = Path(__file__).parents[2] / "samples/hello-linux-amd64"
MIB = 1024 * 1024


@pytest.fixture
def ours(part: Part, tmp_path: Path) -> Iterator[Served]:
    with serving("ocibuild", part, tmp_path / "registry") as running:
        yield running


def oras_push(part: Part, run: Run, layout: Path, reference: str) -> None:
    run(part("oras"), "cp", "--from-oci-layout", f"{layout}:1", "--to-plain-http", reference)


def oras_pull(part: Part, run: Run, reference: str, layout: Path) -> None:
    run(part("oras"), "cp", "--from-plain-http", reference, "--to-oci-layout", f"{layout}:1")


def crane_pull(part: Part, run: Run, reference: str, layout: Path) -> None:
    run(part("crane"), "pull", "--insecure", "--format", "oci", reference, str(layout))


def regctl(part: Part, run: Run, host: str, source: str, target: str) -> None:
    run(part("regctl"), "--host", f"reg={host},tls=disabled", "image", "copy", source, target)


def regctl_push(part: Part, run: Run, layout: Path, reference: str) -> None:
    regctl(part, run, reference.partition("/")[0], f"ocidir://{layout}:1", reference)


def regctl_pull(part: Part, run: Run, reference: str, layout: Path) -> None:
    regctl(part, run, reference.partition("/")[0], reference, f"ocidir://{layout}:1")


def skopeo(part: Part, run: Run, plain: str, source: str, target: str) -> None:
    run(part("skopeo"), "copy", "--all", "--preserve-digests", f"--{plain}-tls-verify=false", source, target)


def skopeo_push(part: Part, run: Run, layout: Path, reference: str) -> None:
    skopeo(part, run, "dest", f"oci:{layout}:1", f"docker://{reference}")


def skopeo_pull(part: Part, run: Run, reference: str, layout: Path) -> None:
    skopeo(part, run, "src", f"docker://{reference}", f"oci:{layout}:1")


CLIENTS = {
    "oras": (oras_push, oras_pull),
    "regctl": (regctl_push, regctl_pull),
    "skopeo": (skopeo_push, skopeo_pull),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_what_others_push_is_pulled_by_all_and_read_from_the_folder(
    client: str, ours: Served, image: tuple[Path, str], part: Part, run: Run, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    layout, digest = image
    reference = f"{ours.host}/team/hello:1"
    CLIENTS[client][0](part, run, layout, reference)
    want = layouts.graph(layout, digest)
    for name, (_, pull) in CLIENTS.items():
        pull(part, run, reference, tmp_path / name)
        assert layouts.graph(tmp_path / name, digest) == want
    assert run(part("crane"), "digest", "--insecure", reference).strip() == digest
    crane_pull(part, run, reference, tmp_path / "crane")
    ocibuild("copy", reference, f"oci:{tmp_path}/ours:1")
    assert layouts.graph(tmp_path / "ours", digest) == want
    # The folder itself, without the registry: any tool reads what was pushed.
    folder = ours.folder / "data" / "team" / "hello"
    assert layouts.graph(folder, digest) == want
    raw = run(part("skopeo"), "inspect", "--raw", f"oci:{folder}:1")
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
    run(part("oras"), "cp", "--from-oci-layout", f"{folder}:1", "--to-oci-layout", f"{tmp_path}/copied:1")
    assert ocibuild("digest", f"oci:{folder}:1").strip() == digest


def test_crane_pushes_mounts_tags_lists_and_deletes(
    ours: Served, image: tuple[Path, str], part: Part, run: Run, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    layout, digest = image
    crane, name = part("crane"), f"{ours.host}/team/hello"
    ocibuild("push", layout, f"{name}:1")
    run(crane, "copy", "--insecure", f"{name}:1", f"{ours.host}/other:2")
    run(crane, "tag", "--insecure", f"{name}:1", "two")
    assert run(crane, "ls", "--insecure", name).split() == ["1", "two"]
    assert run(crane, "catalog", "--insecure", ours.host).split() == ["other", "team/hello"]
    assert "PASS" in run(crane, "validate", "--insecure", "--remote", f"{name}:two")
    run(crane, "delete", "--insecure", f"{name}@{digest}")
    assert run(crane, "ls", "--insecure", name).split() == []
    assert run(crane, "digest", "--insecure", f"{ours.host}/other:2").strip() == digest


def test_oras_attaches_and_discovers(
    ours: Served, image: tuple[Path, str], part: Part, run: Run, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    layout, _ = image
    place = f"{ours.host}/team/hello:1"
    ocibuild("push", layout, place)
    (tmp_path / "sbom.json").write_text("{}")
    words = ("attach", "--plain-http", "--artifact-type", "application/sbom", place, "sbom.json")
    run(part("oras"), *words, cwd=tmp_path)
    said = json.loads(run(part("oras"), "discover", "--plain-http", "--format", "json", place))
    entries = said.get("manifests") or said["referrers"]
    assert [entry["artifactType"] for entry in entries] == ["application/sbom"]
    assert run(part("crane"), "ls", "--insecure", f"{ours.host}/team/hello").split() == ["1"]  # no tag in its stead
    assert "application/sbom" in ocibuild("referrers", place)


def test_podman_pushes_and_pulls(ours: Served, part: Part, ocibuild: Ocibuild, tmp_path: Path) -> None:
    with engines.podman(part) as engine:
        ocibuild("pack", NATIVE, "-t", f"{ours.host}/native:1", "--push")
        place = f"{ours.host}/native:1"
        for words in (
            ("pull", "--tls-verify=false", place),
            ("tag", place, f"{ours.host}/native:2"),
            ("push", "--tls-verify=false", f"{ours.host}/native:2"),
            ("rmi", "--all", "--force"),
            ("pull", "--tls-verify=false", f"{ours.host}/native:2"),
        ):
            said = engine.podman(*words)
            assert said.status == 0, said.err
    assert ocibuild("tags", f"{ours.host}/native").split() == ["1", "2"]


@pytest.mark.heavy
def test_docker_pulls_and_pushes(docker_engine: engines.Docker, ours: Served, ocibuild: Ocibuild) -> None:
    place = f"{ours.host}/native"
    ocibuild("pack", NATIVE, "-t", f"{place}:1", "--push")
    for words in (
        ("pull", f"{place}:1"),
        ("tag", f"{place}:1", f"{place}:2"),
        ("push", f"{place}:2"),
        ("rmi", f"{place}:1", f"{place}:2"),
        ("pull", f"{place}:2"),
        ("rmi", f"{place}:2"),
    ):
        said = docker_engine.docker(*words)
        assert said.status == 0, said.err
    assert ocibuild("tags", place).split() == ["1", "2"]


def test_containerd_pulls_and_pushes(containerd_engine: engines.Containerd, ours: Served, ocibuild: Ocibuild) -> None:
    place = f"{ours.host}/native"
    ocibuild("pack", NATIVE, "-t", f"{place}:1", "--push")
    for words in (
        ("images", "pull", "--plain-http", f"{place}:1"),
        ("images", "tag", f"{place}:1", f"{place}:2"),
        ("images", "push", "--plain-http", f"{place}:2"),
        ("images", "rm", f"{place}:1", f"{place}:2"),
    ):
        said = containerd_engine.ctr(*words)
        assert said.status == 0, said.err
    assert ocibuild("tags", place).split() == ["1", "2"]


def test_a_layout_of_skopeo_is_served_as_it_is(
    image: tuple[Path, str], part: Part, run: Run, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    layout, digest = image
    folder = tmp_path / "registry" / "data"
    folder.parent.mkdir()
    run(part("skopeo"), "copy", "--all", f"oci:{layout}:1", f"oci:{folder}:theirs")
    with serving("ocibuild", part, tmp_path / "registry") as served:
        assert ocibuild("digest", f"{served.host}/data:theirs").strip() == digest
        skopeo_push(part, run, layout, f"{served.host}/data:ours")
        run(part("skopeo"), "inspect", "--raw", f"oci:{folder}:ours")


def test_over_tls_with_a_token(
    image: tuple[Path, str], part: Part, run: Run, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    layout, digest = image
    certificate, key = self_signed(part("openssl"), tmp_path)
    (tmp_path / "tokens").write_text("0123456789abcdef0123456789abcdef\n")
    words = (
        "--tls-cert",
        certificate,
        "--tls-key",
        key,
        "--token",
        tmp_path / "tokens",
        "--port",
        "0",
        "--host",
        "0.0.0.0",
    )
    process = ocibuild.begin("serve", tmp_path / "tls", *words)
    try:
        assert process.stdout is not None
        host = "127.0.0.1:" + process.stdout.readline().strip().rpartition(":")[2]
        refused = ocibuild.run("push", layout, f"{host}/hello:1", "--ca-file", certificate)
        assert refused.status == 4, refused.err
        login = ("-u", "anybody", "--password-stdin", "--ca-file", certificate)
        ocibuild("push", layout, f"{host}/hello:1", *login, stdin="0123456789abcdef0123456789abcdef")
        words_ = ("--tls-verify=false", "--creds", "x:0123456789abcdef0123456789abcdef")
        raw = run(part("skopeo"), "inspect", "--raw", *words_, f"docker://{host}/hello:1")
        assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == digest
        # Who connects and does not speak TLS, or does not speak at all, keeps nobody waiting.
        with (
            socket.create_connection(("127.0.0.1", int(host.partition(":")[2]))),
            socket.create_connection(("127.0.0.1", int(host.partition(":")[2]))) as plain,
        ):
            plain.sendall(b"GET /v2/ HTTP/1.1\r\n\r\n")
            began = time.monotonic()
            ocibuild("digest", f"{host}/hello:1", *login, stdin="0123456789abcdef0123456789abcdef")
            assert time.monotonic() - began < 4
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.heavy
def test_four_gibibytes_and_two_hundred_clients_take_constant_memory(part: Part, room: Path) -> None:
    with serving("ocibuild", part, room) as served:
        asker = Asker(served.port)
        number = served._process.pid  # type: ignore[union-attr]
        asker.image("warm", "up")
        before = resident(number)
        piece = os.urandom(MIB)
        hasher = hashlib.sha256()

        def body() -> Iterator[bytes]:
            for _ in range(4096):
                hasher.update(piece)
                yield piece

        path = asker.ask("POST", "/v2/big/blobs/uploads/", b"").headers["location"]
        assert asker.ask("PATCH", path, body(), seconds=600).status == 202
        told = asker.ask("PUT", f"{path}?digest=sha256:{hasher.hexdigest()}", b"", seconds=600)
        assert told.status == 201
        blob = piece * 4
        digest = digest_of(blob)
        failed: list[object] = []

        def push(number: int) -> None:
            try:
                for _ in range(2):
                    assert (
                        asker.ask("POST", f"/v2/r{number}/blobs/uploads/?digest={digest}", blob, seconds=300).status
                        == 201
                    )
                    assert asker.ask("GET", f"/v2/r{number}/blobs/{digest}", seconds=300).body == blob
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=push, args=(number,)) for number in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)
        assert failed == []
        peak = resident(number, "VmHWM")
        print(f"resident: {before // 1024} MiB before, {peak // 1024} MiB at most")
        assert peak - before < 40 * 1024


def resident(number: int, what: str = "VmRSS") -> int:
    """KiB of a process."""
    lines = Path(f"/proc/{number}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))
