"""`bake`: files become images in layouts and registries, side by side, again only where something changed."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import ocibuild
from ocibuild import Session
from ocibuild.api.away import Order, Reach
from ocibuild.api.bake import Baked, _Oven, bake
from ocibuild.api.bakeplaces import Goes
from ocibuild.api.bakeplan import plan
from ocibuild.api.baking import Task, perform
from ocibuild.bake import crews
from ocibuild.bake.fingerprint import Digests
from ocibuild.bake.job import Happened
from ocibuild.bake.ledger import Ledger
from ocibuild.errors import InputError, NotFoundError, UsageError
from ocibuild.spec import schema
from ocibuild.store.layout import LayoutStore
from tests.registry.double import Registry

MODULE = b"\0asm\1\0\0\0"
SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a cache of its own beside it."""
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        yield registry


def module_of(name: str) -> bytes:
    """A module that is told from others: a custom section of this content (core specification, 5.5.3)."""
    data = bytes([len(name)]) + name.encode()
    return MODULE + b"\0" + bytes([len(data)]) + data


def config(text: str, **modules: str) -> None:
    Path("ocibuild.toml").write_text("schema = 1\n" + text)
    for name, content in modules.items():
        Path(f"{name}.wasm").write_bytes(module_of(content))


THREE = """
[vars]
host = "localhost:5000"
[targets.a]
files = ["a.wasm"]
tags = ["${host}/a:1", "${host}/a:latest"]
[targets.b]
files = ["b.wasm"]
tags = ["${host}/team/b:1"]
label = { team = "b" }
[targets.all]
files = ["a.wasm", "native"]
tags = ["${host}/all:1"]
"""


def three() -> None:
    config(THREE, a="a", b="b")
    shutil.copy(SAMPLES / "hello-linux-amd64", "native")


def states(done: Baked) -> dict[str, str]:
    return {image.name: image.state for image in done.images}


def digests(done: Baked) -> dict[str, str | None]:
    return {image.name: image.digest for image in done.images}


def by_packing() -> dict[str, str]:
    """What `pack` makes of the same targets."""
    return {
        "a": ocibuild.pack("a.wasm", dry_run=True).digest,
        "b": ocibuild.pack("b.wasm", label={"team": "b"}, dry_run=True).digest,
        "all": ocibuild.pack("a.wasm", "native", dry_run=True).digest,
    }


# --- where images go


def test_one_layout_holds_all_under_their_names_in_the_files_order() -> None:
    three()
    done = bake()
    assert digests(done) == by_packing()
    store = LayoutStore("bake.oci")
    assert [name for name, _ in store.roots()] == ["a", "b", "all"]
    for image in done.images:
        assert image.references == (f"oci:bake.oci@{image.digest}",)
        assert str(store.resolve(image.name).digest) == image.digest
        assert ocibuild.inspect(image.references[0])
    assert store.resolve("localhost:5000/a:1").digest == store.resolve("a").digest


def test_a_folder_has_a_layout_for_each() -> None:
    three()
    done = bake("a", "all", output="out")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.oci", "all.oci"]
    assert done.images[0].references == (f"oci:out/a.oci@{done.images[0].digest}",)
    assert [name for name, _ in LayoutStore("out/a.oci").roots()] == ["a"]
    assert states(bake("a", "all", output="out")) == {"a": "cached", "all": "cached"}


def test_pushed_images_stand_behind_all_their_tags(registry: Registry) -> None:
    three()
    done = bake(push=True, variables={"host": registry.host})
    assert digests(done) == by_packing()
    assert registry.tags == {
        ("a", "1"): done.images[0].digest, ("a", "latest"): done.images[0].digest,
        ("team/b", "1"): done.images[1].digest, ("all", "1"): done.images[2].digest,
    }  # fmt: skip
    assert done.images[1].references == (f"{registry.host}/team/b@{done.images[1].digest}",)
    assert not Path("bake.oci").exists()
    assert all(image.sent for image in done.images)


def test_a_large_target_says_how_far_it_is(registry: Registry) -> None:
    config('[targets.big]\nfiles = ["big.wasm"]\ntags = ["${host}/big:1"]\n[vars]\nhost = ""')
    noise = random.Random(8).randbytes(3 * 1024 * 1024)
    length = len(noise) + 1  # and the empty name of the section
    leb = bytes([length & 127 | 128, length >> 7 & 127 | 128, length >> 14 & 127 | 128, length >> 21])
    Path("big.wasm").write_bytes(MODULE + b"\0" + leb + b"\0" + noise)
    seen: list[Happened] = []
    (image,) = bake(push=True, variables={"host": registry.host}, observe=seen.append).images
    steps = [one.step for one in seen if one.step is not None]
    assert [step.phase for step in steps if step.phase == "pushing"]
    assert steps[0].phase == "packing"
    assert all(0 <= step.moved <= step.size for step in steps)
    assert max(step.size for step in steps if step.phase == "pushing") <= image.sent
    assert [(one.job.name, one.count, one.total) for one in seen if one.step] == [("big", 0, 1)] * len(steps)
    assert seen[-1].ended is not None


def test_a_layout_and_a_registry_at_once(registry: Registry) -> None:
    three()
    done = bake("b", push=True, output="oci:l", variables={"host": registry.host})
    (image,) = done.images
    assert image.references == (f"{registry.host}/team/b@{image.digest}", f"oci:l@{image.digest}")


def test_what_was_asked_for_and_what_is_there() -> None:
    three()
    assert list(states(bake("all", "a"))) == ["a", "all"]
    config(THREE + '[groups]\ndefault = ["b"]\nboth = ["a", "default"]')
    assert list(states(bake())) == ["b"]
    assert list(states(bake("both"))) == ["a", "b"]
    for names, code in ((["c"], "config-target-unknown"), (["bot"], "config-target-unknown")):
        with pytest.raises(UsageError) as caught:
            bake(*names)
        assert caught.value.code == code


def test_the_hint_of_an_unknown_name_says_what_there_is() -> None:
    hints = {"[targets.one]": "there is only one", "[targets.one]\n[targets.two]": "there are one, two"}
    for text, hint in hints.items():
        config(text)
        with pytest.raises(UsageError) as caught:
            bake("zebra")
        assert caught.value.hint == hint


def test_a_target_that_is_only_inherited_from_is_not_made() -> None:
    config('[targets.base]\nuser = "7"\n[targets.a]\ninherits = ["base"]\nfiles = ["a.wasm"]', a="a")
    assert states(bake()) == {"a": "made"}
    config("[targets.base]")
    with pytest.raises(UsageError) as caught:
        bake()
    assert caught.value.code == "config-target-missing"


def test_what_cannot_be_pushed_is_refused_before_anything_is_made(registry: Registry) -> None:
    config('[targets.a]\nfiles = ["a.wasm"]', a="a")
    with pytest.raises(UsageError, match="a has nowhere to be pushed to"):
        bake(push=True)
    assert registry.seen == []


@pytest.mark.parametrize(
    "text, code",
    [
        ('[targets.a]\nfiles = ["a"]\ntags = ["x/y:1"]\n[targets.b]\nfiles = ["b"]\ntags = ["docker.io/x/y:1"]', "reference-twice"),
        ('[targets.a]\nfiles = ["a"]\ntags = ["x/Y:1"]', "reference-invalid"),
        ('[targets."a b"]\nfiles = ["a"]', "config-invalid"),
        ('[targets.a]\nfiles = ["a"]\nneeds = ["b"]', "config-invalid"),
        ('[targets.a]\nfiles = ["a"]\nneeds = ["b"]\n[targets.b]\nfiles = ["a"]\nneeds = ["a"]', "needs-circle"),
        ('[targets.a]\nbuild = "."\nbuild-context = { x = "target:m" }\n[targets.m]\nmatrix = { n = ["1", "2"] }', "config-invalid"),
    ],
)  # fmt: skip
def test_what_is_wrong_between_targets(text: str, code: str) -> None:
    config(text)
    with pytest.raises(UsageError) as caught:
        bake(*(["a"] if "[targets.m]" in text else []))
    assert caught.value.code == code


# --- what changed


def test_a_second_bake_makes_nothing() -> None:
    three()
    first, second = bake(), bake()
    assert states(second) == {"a": "cached", "b": "cached", "all": "cached"}
    assert digests(first) == digests(second)
    assert [image.references for image in first.images] == [image.references for image in second.images]
    assert states(bake(no_cache=True)) == {"a": "made", "b": "made", "all": "made"}


def test_only_what_changed_is_made_again() -> None:
    three()
    bake()
    Path("b.wasm").write_bytes(module_of("c"))
    assert states(bake()) == {"a": "cached", "b": "made", "all": "cached"}
    config(THREE.replace('team = "b"', 'team = "c"'))
    assert states(bake()) == {"a": "cached", "b": "made", "all": "cached"}
    config(THREE)  # as it was before: that image is in the layout, but not under the name
    assert states(bake()) == {"a": "cached", "b": "made", "all": "cached"}


def test_a_file_with_the_same_size_and_times_but_other_bytes_is_made_again() -> None:
    three()
    before = digests(bake())
    status = os.stat("b.wasm")
    Path("b.wasm").write_bytes(module_of("x"))
    os.utime("b.wasm", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digests(bake())["b"] != before["b"]


def test_touching_a_file_changes_nothing() -> None:
    three()
    bake()
    os.utime("b.wasm", (1, 1))
    assert set(states(bake()).values()) == {"cached"}


def test_an_image_that_is_no_longer_whole_is_made_again() -> None:
    three()
    done = bake()
    assert done.images[1].descriptor is not None
    blob = Path("bake.oci/blobs/sha256") / str(done.images[1].digest).partition(":")[2]
    manifest = json.loads(blob.read_bytes())
    layer = Path("bake.oci/blobs/sha256") / manifest["layers"][0]["digest"].partition(":")[2]
    layer.unlink()
    assert states(bake()) == {"a": "cached", "b": "made", "all": "cached"}
    assert layer.exists()
    shutil.rmtree("bake.oci")
    assert set(states(bake()).values()) == {"made"}


def test_the_registry_is_asked_and_not_believed_to_be_as_it_was(registry: Registry) -> None:
    three()
    said = {"host": registry.host}
    done = bake(push=True, variables=said)
    registry.seen.clear()
    assert set(states(bake(push=True, variables=said)).values()) == {"cached"}
    assert {request.method for request in registry.seen} <= {"HEAD", "GET"}
    registry.tags["a", "latest"] = str(done.images[1].digest)
    registry.manifests["a", str(done.images[1].digest)] = registry.manifests["team/b", str(done.images[1].digest)]
    del registry.tags["all", "1"]
    assert states(bake(push=True, variables=said)) == {"a": "made", "b": "cached", "all": "made"}
    assert registry.tags["a", "latest"] == done.images[0].digest


def test_a_lost_ledger_costs_time_and_nothing_else(tmp_path: Path) -> None:
    three()
    before = digests(bake())
    for path in (tmp_path / "cache" / "ocibuild" / "bake").iterdir():
        path.write_bytes(b"{damaged")
    done = bake()
    assert set(states(done).values()) == {"made"}
    assert digests(done) == before
    assert set(states(bake()).values()) == {"cached"}
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("no folder")
    done = bake()
    assert digests(done) == before
    assert "not remembered" in done.notes[0]


# --- needs


DOCKER = """
[targets.plugin]
files = ["a.wasm"]
[targets.site]
build = "site"
platform = ["wasi/wasm"]
build-context = { plugin = "target:plugin" }
"""


def site(
    text: str = 'FROM scratch\nCOPY --from=plugin /a.wasm /plugins/\nCOPY main.wasm /\nENTRYPOINT ["/main.wasm"]\n',
) -> None:
    config(DOCKER, a="a")
    Path("site").mkdir(exist_ok=True)
    Path("site/main.wasm").write_bytes(MODULE)
    Path("site/Dockerfile").write_text(text)


def names_in(reference: str) -> set[str]:
    import gzip
    import io
    import tarfile

    store, _, digest = reference.removeprefix("oci:").partition("@")
    blobs = Path(store) / "blobs" / "sha256"
    manifest = json.loads((blobs / digest.partition(":")[2]).read_bytes())
    found: set[str] = set()
    for layer in manifest["layers"]:
        data = gzip.decompress((blobs / layer["digest"].partition(":")[2]).read_bytes())
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            found |= set(archive.getnames())
    return found


def test_a_target_takes_files_of_another() -> None:
    site()
    done = bake("site")
    assert done.plan.asked == ("site",)
    assert states(done) == {"plugin": "made", "site": "made"}
    assert {"plugins/a.wasm", "main.wasm"} <= names_in(done.asked[0].references[0])
    before = done.asked[0].digest
    config(DOCKER, a="changed")
    assert bake("site").asked[0].digest != before


def test_a_dockerfile_names_a_target_itself() -> None:
    site('FROM scratch\nCOPY --from=target:plugin /a.wasm /plugins/\nENTRYPOINT ["/plugins/a.wasm"]\n')
    config(DOCKER.replace("build-context", "#"), a="a")
    done = bake("site", output="out")
    assert states(done) == {"plugin": "made", "site": "made"}
    assert "plugins/a.wasm" in names_in(done.asked[0].references[0])


def test_a_needed_target_without_tags_stays_here_when_the_other_is_pushed(registry: Registry) -> None:
    site()
    text = DOCKER + f'tags = ["{registry.host}/site:1"]'
    config(text, a="a")
    done = bake("site", push=True)
    assert {repository for repository, _ in registry.tags} == {"site"}
    assert registry.tags["site", "1"] == done.asked[0].digest
    assert sorted(path.name for path in Path().iterdir()) == ["a.wasm", "ocibuild.toml", "site"]


def test_a_needed_target_is_read_from_where_it_was_pushed(registry: Registry) -> None:
    site()
    text = DOCKER.replace('files = ["a.wasm"]', f'files = ["a.wasm"]\ntags = ["{registry.host}/plugin:1"]')
    config(text + f'tags = ["{registry.host}/site:1"]', a="a")
    done = bake(push=True)
    assert set(registry.tags) == {("plugin", "1"), ("site", "1")}
    assert done.failed == ()


# --- failures


def test_a_failure_ends_the_bake_and_is_told() -> None:
    config("""
[targets.a]
files = ["a.wasm"]
[targets.bad]
files = ["none.wasm"]
needs = ["a"]
[targets.c]
files = ["a.wasm"]
needs = ["bad"]
[targets.d]
files = ["a.wasm"]
needs = ["a"]
cmd = "d"
""", a="a")  # fmt: skip
    done = bake(jobs=1)
    assert states(done) == {"a": "made", "bad": "failed", "c": "skipped", "d": "skipped"}
    assert [image.name for image in done.failed] == ["bad", "c", "d"]
    assert isinstance(done.images[1].error, InputError)
    done = bake(keep_going=True)
    assert states(done) == {"a": "cached", "bad": "failed", "c": "skipped", "d": "made"}
    assert [name for name, _ in LayoutStore("bake.oci").roots()] == ["a", "d"]


def test_a_bake_that_makes_nothing_leaves_no_layout() -> None:
    config('[targets.a]\nfiles = ["none.wasm"]')
    bake()
    assert not Path("bake.oci/index.json").exists() or list(LayoutStore("bake.oci").roots()) == []


def test_called_off_it_ends_soon_and_leaves_only_whole_images(registry: Registry) -> None:
    names = [f"t{n}" for n in range(40)]
    lines = [f'[targets.{name}]\nfiles = ["{name}.wasm"]\ntags = ["{registry.host}/{name}:1"]' for name in names]
    config("\n".join(lines), **{name: name for name in names})
    session = Session()
    ended = []

    def observe(happened: Happened) -> None:
        if happened.ended is not None:
            ended.append(happened.job.name)
            if len(ended) == 5:
                session.cancel.set()

    began = time.monotonic()
    with pytest.raises(ocibuild.Cancelled):
        bake(push=True, output="oci:l", jobs=2, session=session, observe=observe)
    assert time.monotonic() - began < 10
    store = LayoutStore("l")
    whole = [name for name, _ in store.roots()]
    assert set(whole) >= set(ended[:5])
    assert len(whole) < len(names)
    for name in whole:
        assert name is not None
        ocibuild.copy(f"oci:l:{name}", "oci:copy")  # every blob is there, and is what it should be
    assert list(Path("l").rglob("*.part")) == []


# --- other executors


def test_processes_make_the_same_images_and_find_them_up_to_date(registry: Registry) -> None:
    three()
    said = {"host": registry.host}
    here = bake()
    there = bake(executor="process", jobs=2, output="oci:other", push=True, variables=said)
    assert states(there) == {"a": "made", "b": "made", "all": "made"}
    assert digests(there) == digests(here) == by_packing()
    assert registry.tags["all", "1"] == here.images[2].digest
    assert Path("other/index.json").read_bytes() == Path("bake.oci/index.json").read_bytes().replace(
        b"localhost:5000", registry.host.encode()
    )
    again = bake(executor="process", jobs=2, output="oci:other", push=True, variables=said)
    assert set(states(again).values()) == {"cached"}
    assert set(states(bake(output="oci:other", push=True, variables=said)).values()) == {"cached"}


def test_any_executor_does(registry: Registry) -> None:
    three()
    with ThreadPoolExecutor(2) as pool:
        done = bake(executor=pool, push=True, variables={"host": registry.host})
    assert digests(done) == by_packing()


def test_a_processes_failure_is_that_targets() -> None:
    config('[targets.a]\nfiles = ["none.wasm"]')
    (image,) = bake(executor="process", jobs=1).images
    assert image.error is not None
    assert (image.error.code, image.state) == ("file-not-found", "failed")


def test_explicit_logins_are_not_handed_to_strangers() -> None:
    three()
    session = Session(credentials={"localhost:5000": ocibuild.Credential("ada", "lovelace")})
    for executor in ("dask://127.0.0.1:1", ThreadPoolExecutor(1)):
        with pytest.raises(UsageError, match="login"):
            bake(executor=executor, session=session)


def test_a_scheduler_that_is_not_there_is_an_error_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    three()
    monkeypatch.setattr(crews, "_CONNECT", "1s")
    with pytest.raises(ocibuild.NetworkError) as caught:
        bake(executor="dask://127.0.0.1:9")
    assert caught.value.code == "scheduler-unreachable"


# --- tasks


def orders() -> list[Order]:
    """The tasks that a cluster would be given."""
    made = plan((), ".", {}, Session())
    from contextlib import ExitStack

    with ExitStack() as stack:
        goes = Goes(made, True, None, stack, True)
        oven = _Oven(
            made, goes, Ledger({}), Session(), Digests(), lambda happened: None, False,
            cluster=True, reach=Reach(),
        )  # fmt: skip
        return [oven.task(job, {}) for job in oven.jobs() if "#" not in job.name and not job.needs]


def test_a_task_is_a_value_without_secrets_that_brings_small_files_along(tmp_path: Path) -> None:
    three()
    order = orders()[0]
    (tmp_path / "elsewhere").mkdir()
    sent = pickle.dumps(order)
    Path("a.wasm").unlink()  # the worker has no such file
    os.chdir(tmp_path / "elsewhere")
    task = pickle.loads(sent).task
    done = perform(Task(task.target, layout="l", alone=True, inlined=task.inlined), Session())
    assert done.descriptor is not None
    shutil.copy(tmp_path / "here" / "b.wasm", ".")
    (tmp_path / "elsewhere" / "a.wasm").write_bytes(module_of("a"))
    assert str(done.descriptor.digest) == ocibuild.pack("a.wasm", dry_run=True).digest
    assert len(sent) < 8192


def test_what_git_says_and_added_files_travel_too(tmp_path: Path) -> None:
    config('[targets.a]\nfiles = ["a.wasm"]\nadd = ["conf:/etc/conf", "run.sh:/run"]\ntags = ["localhost/a:1"]', a="a")
    Path("conf").write_text("x = 1")
    Path("run.sh").write_text("#!")
    os.chmod("run.sh", 0o755)
    here = ocibuild.pack("a.wasm", add=["conf:/etc/conf", "run.sh:/run"], dry_run=True).digest
    (order,) = orders()
    for path in Path().iterdir():
        path.unlink()
    done = perform(Task(order.task.target, layout="l", alone=True, inlined=order.task.inlined), Session())
    assert done.descriptor is not None
    assert str(done.descriptor.digest) == here


def test_files_are_read_through_urls(tmp_path: Path) -> None:
    Path("a.wasm").write_bytes(module_of("a"))
    config(
        f'[targets.a]\nfiles = ["file://{tmp_path}/here/a.wasm"]\n[targets.b]\nfiles = ["file://{tmp_path}/none.wasm"]'
    )
    done = bake(keep_going=True)
    assert done.images[0].digest == ocibuild.pack("a.wasm", dry_run=True).digest
    assert done.images[1].error is not None
    assert done.images[1].error.code == "url-unreadable"


def test_the_same_task_twice_at_once_is_one_image(registry: Registry) -> None:
    three()
    made = plan(("all",), ".", {"host": registry.host}, Session())
    task = Task(made.targets[0], push=True)
    found = []
    threads = [threading.Thread(target=lambda: found.append(perform(task, Session()))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {str(done.descriptor.digest) for done in found if done.descriptor} == {by_packing()["all"]}
    assert len(found) == 6


# --- the plan


def test_the_plan_is_the_published_one() -> None:
    site()
    document = json.loads(json.dumps(plan((), ".", {}, Session()).to_json()))
    schema.validate(document, "bake-plan")
    assert document["targets"]["site"] == {
        "files": [], "tags": [], "needs": ["plugin"], "options": {"platform": ["wasi/wasm"]},
        "sources": {"build": "site", "build-context": {"plugin": "target:plugin"}},
    }  # fmt: skip


def test_the_time_is_the_same_wherever_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    three()
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    (order, _) = orders()
    assert order.task.target.options.created == "1000000000"
    assert digests(bake("a"))["a"] == ocibuild.pack("a.wasm", dry_run=True).digest


def test_a_name_that_is_not_there_is_not_found() -> None:
    three()
    bake("a")
    with pytest.raises(NotFoundError):
        LayoutStore("bake.oci").resolve("b")


def test_check_finds_all_that_is_wrong_without_writing() -> None:
    from ocibuild.api.bakeplan import check

    site()
    config(DOCKER + """
[targets.gone]
files = ["gone.wasm"]
[targets.text]
files = ["ocibuild.toml"]
[targets.conflict]
files = ["a.wasm"]
format = "artifact"
env = { A = "b" }
[targets.folder]
build = "nowhere"
[targets.refused]
build = "site"
user = "7"
[targets.language]
build = "site"
language = "cobol"
""", a="a")  # fmt: skip
    before = sorted(Path().rglob("*"))
    found: dict[str, Any] = {one.target: one.error.code for one in check(plan((), ".", {}, Session()), Session())}
    assert found == {
        "gone": "file-not-found", "text": "format-text", "conflict": "shape-conflict", "folder": "context-missing",
        "refused": "option-unknown", "language": "language-unknown",
    }  # fmt: skip
    assert sorted(Path().rglob("*")) == before
