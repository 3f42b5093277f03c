"""Content management against real registries, and with the programs that people use beside us.

docker-registry (CNCF distribution 2.8) and go-containerregistry's registry know no referrers API: whoever pushes keeps the
list under its tag. oras is the yardstick for that list, crane for tags and deletion.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ocibuild
from tests.e2e.servers import Run, Running, answers, free_port, stop

pytestmark = pytest.mark.real

SAMPLES = Path(__file__).parents[2] / "samples"
Part = Callable[[str], str]
TOGETHER = 6


@pytest.fixture
def crane_registry(part: Part, tmp_path: Path) -> Iterator[Running]:
    """go-containerregistry's registry, in memory."""
    program, log = part("crane"), tmp_path / "crane.log"
    for _ in range(3):
        port = free_port()
        with log.open("wb") as stream:
            words = [program, "registry", "serve", "--address", f"127.0.0.1:{port}"]
            process = subprocess.Popen(words, stdout=stream, stderr=stream)
        try:
            if answers(f"http://127.0.0.1:{port}/v2/", process):
                yield Running(f"127.0.0.1:{port}", log)
                return
        finally:
            stop(process)
    pytest.fail(f"crane registry did not start: {log.read_text()[-2000:]}")


@pytest.fixture(params=["docker-registry", "crane"])
def anywhere(request: pytest.FixtureRequest) -> Running:
    """Each of the real registries."""
    name = {"docker-registry": "registry", "crane": "crane_registry"}[request.param]
    found: Running = request.getfixturevalue(name)
    return found


@pytest.fixture
def image(anywhere: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An index of two platforms under the tag 1."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sbom.json").write_text('{"spdxVersion":"SPDX-2.3"}')
    place = f"{anywhere.host}/team/hello:1"
    ocibuild.pack(SAMPLES / "hello.wasm", SAMPLES / "hello-linux-amd64", tags=[place], push=True)
    return place


def discovered(part: Part, run: Run, place: str, *words: str) -> list[dict[str, str]]:
    said = run(part("oras"), "discover", "--plain-http", "--format", "json", *words, place)
    return list(json.loads(said)["manifests"] or [])


def test_oras_discovers_what_we_attach(image: str, part: Part, run: Run) -> None:
    ours = [
        ocibuild.attach("sbom.json", to=image, artifact_type=f"application/x{n}", annotations={"n": str(n)})
        for n in range(3)
    ]
    found = {entry["digest"]: entry for entry in discovered(part, run, image)}
    assert set(found) == {one.descriptor.digest for one in ours}
    first = found[ours[0].descriptor.digest]
    assert (first["artifactType"], first["annotations"]) == ("application/x0", {"n": "0"})
    (only,) = discovered(part, run, image, "--artifact-type", "application/x2")
    assert only["digest"] == ours[2].descriptor.digest


def test_oras_pulls_what_we_attach(image: str, part: Part, run: Run, tmp_path: Path) -> None:
    done = ocibuild.attach("sbom.json", to=image, artifact_type="application/spdx+json")
    run(part("oras"), "pull", "--plain-http", "-o", str(tmp_path / "pulled"), done.reference)
    assert (tmp_path / "pulled/sbom.json").read_bytes() == (tmp_path / "sbom.json").read_bytes()


def test_we_find_what_oras_attaches(image: str, part: Part, run: Run) -> None:
    words = ("attach", "--plain-http", "--artifact-type", "application/theirs", "--annotation", "a=b")
    run(part("oras"), *words, image, "sbom.json:application/json")
    run(part("oras"), *words, "--platform", "wasi/wasm", image, "sbom.json")
    (found,) = ocibuild.referrers(image)
    assert (found.artifact_type, found.annotations["a"]) == ("application/theirs", "b")
    assert len(ocibuild.referrers(image, platform="wasi/wasm")) == 1
    tree = ocibuild.tree(image)
    assert [entry["artifactType"] for entry in tree["roots"][0]["referrers"]] == ["application/theirs"]


def test_oras_and_we_keep_one_list(image: str, part: Part, run: Run) -> None:
    words = ("attach", "--plain-http", "--artifact-type", "application/theirs", image, "sbom.json")
    ocibuild.attach("sbom.json", to=image, artifact_type="application/first")
    run(part("oras"), *words)
    ocibuild.attach("sbom.json", to=image, artifact_type="application/last")
    kinds = {"application/first", "application/theirs", "application/last"}
    assert {entry.artifact_type for entry in ocibuild.referrers(image)} == kinds
    assert {entry["artifactType"] for entry in discovered(part, run, image)} == kinds


def test_a_layouts_attachments_are_oras_own_and_theirs_ours(part: Part, run: Run, tmp_path: Path) -> None:
    (tmp_path / "sbom.json").write_text("[]")
    where = f"oci:{tmp_path}/hello:1"
    ocibuild.pack(SAMPLES / "hello.wasm", output=where)
    words = ("--oci-layout", f"{tmp_path}/hello:1")
    run(part("oras"), "attach", "--artifact-type", "application/theirs", *words, "sbom.json")
    ocibuild.attach(tmp_path / "sbom.json", to=where, artifact_type="application/ours")
    kinds = {"application/theirs", "application/ours"}
    assert {entry.artifact_type for entry in ocibuild.referrers(where)} == kinds
    said = json.loads(run(part("oras"), "discover", "--format", "json", *words))
    assert {entry["artifactType"] for entry in said["manifests"]} == kinds


def test_referrers_move_between_registries_and_oras_finds_them_there(
    registry: Running, crane_registry: Running, part: Part, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "sbom.json").write_text("[]")
    here, there = f"{registry.host}/a:1", f"{crane_registry.host}/b:1"
    ocibuild.pack(SAMPLES / "hello.wasm", tags=[here], push=True)
    sbom = ocibuild.attach(tmp_path / "sbom.json", to=here, artifact_type="a/sbom")
    ocibuild.attach(tmp_path / "sbom.json", to=sbom.reference, artifact_type="a/signature")
    ocibuild.copy(here, f"oci:{tmp_path}/between:1", referrers=True)
    ocibuild.push(f"oci:{tmp_path}/between:1", there, referrers=True)
    assert [entry["artifactType"] for entry in discovered(part, run, there)] == ["a/sbom"]
    on_it = discovered(part, run, f"{crane_registry.host}/b@{sbom.descriptor.digest}")
    assert [entry["artifactType"] for entry in on_it] == ["a/signature"]


def test_crane_lists_the_tags_we_make_and_we_those_it_makes(
    image: str, anywhere: Running, part: Part, run: Run
) -> None:
    name = image.removesuffix(":1")
    before = anywhere.log.read_text().count("POST /v2")
    ocibuild.tag(image, "ours", "more")
    run(part("crane"), "tag", "--insecure", image, "theirs")
    assert set(run(part("crane"), "ls", "--insecure", name).split()) == set(ocibuild.tags(name))
    assert {"1", "ours", "more", "theirs"} <= set(ocibuild.tags(name))
    assert ocibuild.digest(f"{name}:theirs") == ocibuild.digest(f"{name}:ours")
    assert ocibuild.repositories(anywhere.host) == ("team/hello",)
    assert run(part("crane"), "catalog", "--insecure", anywhere.host).split() == ["team/hello"]
    assert anywhere.log.read_text().count("POST /v2") == before


def test_repositories_come_in_the_pages_a_registry_likes(part: Part, tmp_path: Path) -> None:
    """docker-registry refuses to be asked for more at a time than it gives, and says where more are in a relative Link."""
    from tests.registry.test_real import running

    names = [f"r{n:02}" for n in range(25)]
    with running(part("docker-registry"), tmp_path, "catalog: {maxentries: 10}") as host:
        ocibuild.pack(SAMPLES / "hello.wasm", tags=[f"{host}/{name}:1" for name in names], push=True)
        assert ocibuild.repositories(host) == tuple(names)
        assert ocibuild.repositories(host, prefix="r1") == tuple(names[10:20])


def test_we_delete_what_crane_no_longer_sees(anywhere: Running, image: str, part: Part, run: Run) -> None:
    name, digest = image.removesuffix(":1"), ocibuild.digest(image)
    ocibuild.tag(image, "2")
    told = ocibuild.remove(f"{name}@{digest}")
    assert set(told.tags) == {"1", "2"}
    gone = subprocess.run(
        [part("crane"), "digest", "--insecure", f"{name}@{digest}"], capture_output=True, text=True, timeout=60
    )
    assert gone.returncode != 0
    assert "MANIFEST_UNKNOWN" in gone.stderr or "404" in gone.stderr


def test_crane_registry_deletes_a_tag_alone(crane_registry: Running) -> None:
    name = f"{crane_registry.host}/hello"
    packed = ocibuild.pack(SAMPLES / "hello.wasm", tags=[f"{name}:1", f"{name}:2"], push=True)
    ocibuild.remove(f"{name}:1")
    assert ocibuild.tags(name) == ("2",)
    assert ocibuild.digest(f"{name}@{packed.digest}") == packed.digest


def test_docker_registry_cannot_and_keeps_everything(registry: Running) -> None:
    name = f"{registry.host}/hello"
    packed = ocibuild.pack(SAMPLES / "hello.wasm", tags=[f"{name}:1", f"{name}:2"], push=True)
    with pytest.raises(ocibuild.RegistryError) as caught:
        ocibuild.remove(f"{name}:1")
    assert caught.value.code == "tag-delete-unsupported"
    assert set(ocibuild.tags(name)) == {"1", "2"}
    assert ocibuild.digest(f"{name}:1") == packed.digest


def test_a_docker_registry_without_deletion_says_so(part: Part, tmp_path: Path) -> None:
    from tests.registry.test_real import running

    with running(part("docker-registry"), tmp_path) as host:
        packed = ocibuild.pack(SAMPLES / "hello.wasm", tags=[f"{host}/hello:1"], push=True)
        with pytest.raises(ocibuild.RegistryError) as caught:
            ocibuild.remove(f"{host}/hello@{packed.digest}")
        assert caught.value.code == "delete-disabled"


def test_a_referrer_that_we_delete_oras_no_longer_discovers(image: str, part: Part, run: Run) -> None:
    one = ocibuild.attach("sbom.json", to=image, artifact_type="a/one")
    two = ocibuild.attach("sbom.json", to=image, artifact_type="a/two")
    ocibuild.remove(one.reference)
    assert [entry["digest"] for entry in discovered(part, run, image)] == [two.descriptor.digest]
    # docker-registry refuses an index with something in it that is gone: the list can be added to all the same.
    ocibuild.attach("sbom.json", to=image, artifact_type="a/three")
    assert {entry["artifactType"] for entry in discovered(part, run, image)} == {"a/two", "a/three"}


ATTACH = """
import sys, time
sys.path[:0] = {path!r}
import ocibuild
time.sleep(max(0, {start} - time.time()))
print(ocibuild.attach("sbom.json", to={place!r}, artifact_type="a/b", annotations={{"n": sys.argv[1]}}).descriptor.digest)
"""


@pytest.mark.fault(84)
def test_processes_that_attach_at_once_are_all_listed(image: str, part: Part, run: Run, tmp_path: Path) -> None:
    """Fault 84, on registries that know neither the API nor If-Match."""
    source = ATTACH.format(path=sys.path, start=time.time() + 2, place=image)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", source, str(n)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for n in range(TOGETHER)
    ]
    try:
        done = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * TOGETHER, [error for _, error in done]
    attached = {out.strip() for out, _ in done}
    assert len(attached) == TOGETHER
    assert {entry.digest for entry in ocibuild.referrers(image)} == attached
    assert {entry["digest"] for entry in discovered(part, run, image)} == attached
