"""Each real registry: what people do with it every day, and what happens to it on bad ones."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.registry.client import Client
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.manifest import Manifest
from ocibuild.spec.reference import Reference
from tests.e2e import layouts
from tests.e2e.line import Line
from tests.e2e.servers import Ocibuild, Part, Served, finished, serving

pytestmark = pytest.mark.real

SAMPLES = Path(__file__).parents[2] / "samples"
FILES = [SAMPLES / name for name in ("hello.wasm", "hello-linux-amd64", "hello-linux-arm64")]
MIB = 1024 * 1024


def digest_in(host: str, repository: str, tag: str) -> str:
    """The registry's own word for what a tag stands for, through no client of ours."""
    request = urllib.request.Request(f"http://{host}/v2/{repository}/manifests/{tag}", method="HEAD")
    request.add_header("Accept", f"{mediatype.MANIFEST}, {mediatype.INDEX}")
    with urllib.request.urlopen(request, timeout=10) as response:
        return str(response.headers["Docker-Content-Digest"])


def test_three_platforms_go_there_and_come_back(served: Served, ocibuild: Ocibuild, tmp_path: Path) -> None:
    said = ocibuild("pack", *FILES, "-t", f"{served.host}/team/hello:1", "--push").strip()
    name, _, digest = said.partition("@")
    assert name == f"{served.host}/team/hello"
    assert digest_in(served.host, "team/hello", "1") == digest
    ocibuild("copy", f"{served.host}/team/hello:1", f"oci:{tmp_path}/back:1")
    assert layouts.root(tmp_path / "back") == digest
    assert sorted(layouts.graph(tmp_path / "back", digest).values()).count(mediatype.MANIFEST) == 3
    wanted = dict(zip(("wasm", "amd64", "arm64"), (file.read_bytes() for file in FILES), strict=True))
    assert layouts.programs(tmp_path / "back", digest) == wanted
    listed = json.loads(ocibuild("inspect", "--json", said))
    assert digest in json.dumps(listed)


def test_what_is_there_is_not_sent_again(served: Served, ocibuild: Ocibuild, tmp_path: Path) -> None:
    layouts.write(tmp_path / "image", [layouts.pieces(3 * MIB), b""])
    first, second = (
        json.loads(ocibuild("push", "--json", tmp_path / "image", f"{served.host}/again:1")) for _ in range(2)
    )
    assert first["bytes"] > 3 * MIB
    assert second["bytes"] == 0
    assert first["descriptor"] == second["descriptor"]


def test_blobs_are_mounted_from_a_neighbour(served: Served, ocibuild: Ocibuild, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(3 * MIB), layouts.pieces(100, 1)])
    ocibuild("push", tmp_path / "image", f"{served.host}/from/here:1")
    with Line(served.host) as line:  # what goes through it is counted
        said = json.loads(ocibuild("copy", "--json", f"{line.host}/from/here:1", f"{line.host}/to/there:2"))
        assert line.up + line.down < MIB
    assert (said["mounted"] + said["existed"], said["written"]) == (3, 1)
    assert digest_in(served.host, "to/there", "2") == digest
    ocibuild("copy", f"{served.host}/to/there:2", f"oci:{tmp_path}/back:1")
    assert len(layouts.graph(tmp_path / "back", digest)) == 4


def test_five_hundred_blobs(served: Served, ocibuild: Ocibuild, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [b"blob %d" % number for number in range(500)])
    said = json.loads(ocibuild("push", "--json", tmp_path / "image", f"{served.host}/many:1"))
    assert said["written"] == 502
    ocibuild("copy", f"{served.host}/many:1", f"oci:{tmp_path}/back:1")
    assert len(layouts.graph(tmp_path / "back", digest)) == 502


def test_a_thousand_tags_are_all_listed(served: Served, ocibuild: Ocibuild) -> None:
    config = Blob.of(mediatype.CONFIG, b"{}")
    manifest = Blob.of(mediatype.MANIFEST, Manifest(config.descriptor, ()).to_bytes())
    tags = [f"v{number}" for number in range(1050)]
    with Flow.open() as flow, RegistryStore(Reference.parse(f"{served.host}/tags:1")) as store:
        store.push(config, flow)
        store.push(manifest, flow)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda tag: store.tag(manifest.descriptor, tag), tags))
    client = Client(served.host, insecure=True)
    assert sorted(client.get_tags(f"{served.host}/tags")) == sorted(tags)
    assert sorted(ocibuild("tags", f"{served.host}/tags").split()) == sorted(tags)


@pytest.mark.parametrize("kind", ["docker-registry", "distribution"])
@pytest.mark.parametrize("delete", [True, False], ids=["deletes", "keeps"])
def test_what_is_removed_is_gone_and_nothing_else(
    kind: str, delete: bool, part: Part, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    digests = [layouts.write(tmp_path / f"image{n}", [layouts.pieces(1000), b"%d" % n]) for n in (1, 2)]
    with serving(kind, part, tmp_path / "registry", delete=delete) as served:
        for n in (1, 2):
            ocibuild("push", tmp_path / f"image{n}", f"{served.host}/a:{n}")
        said = ocibuild.run("rm", f"{served.host}/a@{digests[0]}")
        assert (said.status == 0) is delete, said.err
        assert "Traceback" not in said.err
        assert (ocibuild.run("digest", f"{served.host}/a:1").status == 0) is not delete
        assert digest_in(served.host, "a", "2") == digests[1]
        ocibuild("copy", f"{served.host}/a:2", f"oci:{tmp_path}/back:1")
    assert len(layouts.graph(tmp_path / "back", digests[1])) == 4


@pytest.mark.fault(82)
def test_two_processes_push_the_same_tag(served: Served, ocibuild: Ocibuild, tmp_path: Path) -> None:
    shared = list(layouts.pieces(4 * MIB))
    digests = [
        layouts.write(tmp_path / f"image{n}", [iter(shared), layouts.pieces(4 * MIB, n), b"%d" % n]) for n in (1, 2)
    ]
    for turn in range(3):
        running = [ocibuild.begin("push", tmp_path / f"image{n}", f"{served.host}/race{turn}:1") for n in (1, 2)]
        for process in running:
            said = finished(process)
            assert said.status == 0, said.err
        assert digest_in(served.host, f"race{turn}", "1") in digests
        for digest in digests:
            folder = tmp_path / f"back{turn}-{digest[7:15]}"
            ocibuild("copy", f"{served.host}/race{turn}@{digest}", f"oci:{folder}:1")
            assert len(layouts.graph(folder, digest)) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_push_within_a_second_and_leaves_nothing_named(
    number: signal.Signals, served: Served, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(40 * MIB), layouts.pieces(1000, 1)])
    with Line(served.host, speed=8 * MIB) as line:
        process = ocibuild.begin("push", tmp_path / "image", f"{line.host}/stopped:1")
        assert line.passed(lambda line: line.up > 4 * MIB)
        asked = time.monotonic()
        process.send_signal(number)
        said = finished(process)
        assert time.monotonic() - asked < 1.5  # of which the interpreter takes some for itself
        assert said.status == 130
        assert said.out == ""
        assert said.err.strip().splitlines()[-1] == "cancelled"
        assert "Traceback" not in said.err
        assert ocibuild.run("digest", f"{line.host}/stopped:1").status == 1
    ocibuild("push", tmp_path / "image", f"{served.host}/stopped:1")
    assert digest_in(served.host, "stopped", "1") == digest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_pull_within_a_second_and_leaves_no_image(
    number: signal.Signals, served: Served, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    layouts.write(tmp_path / "image", [layouts.pieces(40 * MIB)])
    ocibuild("push", tmp_path / "image", f"{served.host}/stopped:1")
    with Line(served.host, speed=8 * MIB) as line:
        process = ocibuild.begin("copy", f"{line.host}/stopped:1", f"oci-archive:{tmp_path}/back.tar")
        assert line.passed(lambda line: line.down > 4 * MIB)
        asked = time.monotonic()
        process.send_signal(number)
        said = finished(process)
        assert time.monotonic() - asked < 1.5
    assert said.status == 130
    assert said.err.strip().splitlines()[-1] == "cancelled"
    assert [path.name for path in tmp_path.glob("*back*")] == []


def test_a_registry_killed_in_the_middle_returns_and_gets_the_rest(
    served: Served, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(24 * MIB), layouts.pieces(24 * MIB, 1), b"small"])
    with Line(served.host, speed=16 * MIB) as line:
        process = ocibuild.begin("push", tmp_path / "image", f"{line.host}/killed:1")
        assert line.passed(lambda line: line.up > 16 * MIB)
        served.kill()
        time.sleep(0.5)
        served.start()
        said = finished(process)
    assert said.status == 0, said.err
    assert digest_in(served.host, "killed", "1") == digest
    ocibuild("copy", f"{served.host}/killed:1", f"oci:{tmp_path}/back:1")
    assert len(layouts.graph(tmp_path / "back", digest)) == 5


# go-containerregistry's keeps manifests in memory only.
@pytest.mark.parametrize("kind", ["docker-registry", "distribution"])
def test_a_registry_killed_in_the_middle_of_a_pull_returns_and_gives_the_rest(
    kind: str, part: Part, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(32 * MIB), b"small"])
    with serving(kind, part, tmp_path / "registry") as served, Line(served.host, speed=16 * MIB) as line:
        ocibuild("push", tmp_path / "image", f"{served.host}/killed:1")
        process = ocibuild.begin("copy", f"{line.host}/killed:1", f"oci:{tmp_path}/back:1")
        assert line.passed(lambda line: line.down > 16 * MIB)
        served.kill()
        time.sleep(0.5)
        served.start()
        said = finished(process)
        assert said.status == 0, said.err
        assert line.down < 40 * MIB, "what had come was asked for again"
    assert len(layouts.graph(tmp_path / "back", digest)) == 4


def test_a_registry_that_stays_away_is_an_error_of_the_network(
    served: Served, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    layouts.write(tmp_path / "image", [layouts.pieces(24 * MIB)])
    with Line(served.host, speed=16 * MIB) as line:
        process = ocibuild.begin("push", "--json", tmp_path / "image", f"{line.host}/gone:1")
        assert line.passed(lambda line: line.up > 8 * MIB)
        served.kill()
        said = finished(process)
    assert said.status == 5, said.err
    assert "Traceback" not in said.err
    assert line.host in said.err + said.out


def test_a_repository_that_is_not_there(served: Served, ocibuild: Ocibuild) -> None:
    said = ocibuild.run("digest", f"{served.host}/none/such:1")
    assert said.status == 1
    assert "none/such" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("kind", ["docker-registry", "distribution"])
def test_htpasswd(kind: str, part: Part, ocibuild: Ocibuild, tmp_path: Path) -> None:
    # What `htpasswd -Bbn ada love:lace` of Apache 2.4 prints.
    (tmp_path / "htpasswd").write_text("ada:$2y$05$N.PyR4Pvktyl0OkEoUCRDudewdI.VqtgLULuoTYnr1CKFRwSGBPLK\n")
    digest = layouts.write(tmp_path / "image", [layouts.pieces(2 * MIB), b"x"])
    lines = ["auth:", f"  htpasswd: {{realm: here, path: {tmp_path}/htpasswd}}"]
    with serving(kind, part, tmp_path / "registry", lines) as served:
        place = f"{served.host}/team/hello:1"
        login = ["--username", "ada", "--password-stdin"]
        assert digest in ocibuild("push", *login, tmp_path / "image", place, stdin="love:lace\n")
        assert ocibuild("digest", *login, place, stdin="love:lace\n").strip() == digest
        for words, stdin in ((login, "wrong\n"), ([], None)):
            said = ocibuild.run("push", *words, tmp_path / "image", place, stdin=stdin)
            assert said.status == 4, said.err
            assert served.host in said.err
        kept = ("login", served.host, "--username", "ada", "--password-stdin")
        said = ocibuild.run(*kept, stdin="wrong\n")
        assert said.status == 4, said.err
        ocibuild(*kept, stdin="love:lace\n")
        assert ocibuild("digest", place).strip() == digest
        ocibuild("logout", served.host)
        assert ocibuild.run("digest", place).status == 4
