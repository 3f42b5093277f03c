"""Assembly: one pass, the same image whatever the threads, and nothing left of what went wrong."""

from __future__ import annotations

import gzip
import os
import pickle
import random
from pathlib import Path

import pytest

from ocibuild.binary.artifact import inspect
from ocibuild.content.blob import Bytes, File
from ocibuild.content.flow import Cancel, Event, Flow
from ocibuild.content.tar import Entry
from ocibuild.errors import Cancelled, ContentError, InputError
from ocibuild.image.assemble import assemble
from ocibuild.image.plan import Files, FixedConfig, ImagePlan, IndexPlan, Plan, Raw
from ocibuild.pack.options import Options
from ocibuild.pack.plan import Context, Input, plan
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.manifest import Manifest
from ocibuild.store.graph import node
from ocibuild.store.layout import LayoutStore
from ocibuild.store.memory import MemoryStore, dry
from ocibuild.testing import programs

BIG = programs.MODULE + b"\0\x80\x80\x80\x06\1x" + random.Random(3).randbytes(12 * 1024 * 1024 - 2)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("big") / "big.wasm"
    path.write_bytes(BIG)
    return path


def planned(*paths: Path, **said: object) -> Plan:
    return plan([Input(inspect(path)) for path in paths], Options(**said), Context())  # type: ignore[arg-type]


def assembled(made: Plan, workers: int = 2) -> tuple[Descriptor, MemoryStore]:
    store = MemoryStore()
    with Flow.open(cpu=workers) as flow, store:
        return assemble(made, store, flow), store


@pytest.mark.parametrize("compression", ["gzip:1", "gzip-single:1", "zstd:3", "none"])
def test_threads_do_not_matter_and_a_plan_can_be_used_again(big: Path, compression: str) -> None:
    made = planned(big, compression=compression)
    found = {assembled(made, workers)[0].digest for workers in (1, 2, 8, 2)}
    assert len(found) == 1


def test_a_plan_goes_to_another_process_and_means_the_same(big: Path, tmp_path: Path) -> None:
    native = tmp_path / "big-linux-arm64"
    native.write_bytes(programs.elf("arm64"))
    made = planned(big, native)
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    assert assembled(again)[0].digest == assembled(made)[0].digest


def test_a_large_layer_is_many_members_a_single_one_on_request(big: Path) -> None:
    def members(compression: str) -> int:
        root, store = assembled(planned(big, compression=compression))
        manifest = node(store, root)
        assert isinstance(manifest, Manifest)
        data = store.blobs[manifest.layers[0].digest]
        assert BIG in gzip.decompress(data)
        return data.count(b"\x1f\x8b\x08" + bytes(5))

    assert members("gzip:1") >= 12
    assert members("gzip-single:1") < 3


def test_the_root_carries_its_platform_and_equal_layers_are_written_once(tmp_path: Path) -> None:
    path = tmp_path / "hello.wasm"
    path.write_bytes(programs.MODULE)
    root, _ = assembled(planned(path))
    assert str(root.platform) == "wasi/wasm"
    made = planned(path, also=("linux/amd64,linux/arm64",))
    root, store = assembled(made)
    assert isinstance(made, IndexPlan)
    assert root.platform is None
    assert len(store.blobs) == 1 + 3 + 3 + 1


def test_a_dry_run_has_the_same_digests_and_keeps_no_program(big: Path) -> None:
    made = planned(big)
    store = dry()
    with Flow.open() as flow, store:
        root = assemble(made, store, flow)
    assert root.digest == assembled(made)[0].digest
    assert max(len(data) for data in store.blobs.values()) < 64 * 1024
    assert max(store.sizes.values()) > 10 * 1024 * 1024


def test_a_file_that_changes_under_way_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "hello.wasm"
    path.write_bytes(programs.MODULE)
    made = planned(path)
    path.write_bytes(programs.command())
    with pytest.raises(InputError) as caught:
        assembled(made)
    assert caught.value.code == "input-changed"


@pytest.mark.parametrize("size", [4, 12])
@pytest.mark.parametrize("shape", ["tar", "raw"])
def test_content_of_another_length_is_noticed(tmp_path: Path, size: int, shape: str) -> None:
    path = tmp_path / "hello.wasm"
    path.write_bytes(programs.MODULE)
    content = File(str(path), size)
    layer = Files((Entry("a", "file", 0o644, content),)) if shape == "tar" else Raw(content, "application/wasm")
    with pytest.raises(InputError) as caught:
        assembled(ImagePlan("image", (layer,), FixedConfig("application/x", b"{}")))
    assert caught.value.code == "input-changed"


def test_calling_it_off_stops_between_blocks_and_leaves_nothing(big: Path, tmp_path: Path) -> None:
    cancel = Cancel()

    def observe(event: Event) -> None:
        cancel.set()

    store = LayoutStore(tmp_path / "out.oci")
    with pytest.raises(Cancelled), Flow.open(observe, cancel=cancel) as flow, store:
        assemble(planned(big), store, flow)
    assert not (tmp_path / "out.oci").exists()
    with pytest.raises(Cancelled), Flow.open(cancel=cancel) as flow, store:
        assemble(planned(big, format="wasm-layer"), store, flow)
    assert os.listdir(tmp_path) == []


def test_a_store_that_cannot_ingest_says_so(tmp_path: Path) -> None:
    class Known:
        place = "elsewhere"

        def push(self, blob: object, flow: object) -> None: ...

    made = ImagePlan("image", (Raw(Bytes(b"x"), "application/wasm"),), FixedConfig("application/x", b"{}"))
    with Flow.open() as flow, pytest.raises(ContentError) as caught:
        assemble(made, Known(), flow)  # type: ignore[arg-type]
    assert caught.value.code == "cannot-ingest"
