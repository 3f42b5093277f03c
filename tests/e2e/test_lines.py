"""Bad lines between us and a real registry: cuts, delay, loss of speed, silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ocibuild.content.flow import Flow
from ocibuild.registry.settings import Patience, Settings, Timeouts
from ocibuild.registry.store import RegistryStore
from ocibuild.spec.reference import Reference
from ocibuild.store.copy import copy
from ocibuild.store.layout import LayoutStore
from tests.e2e import layouts
from tests.e2e.line import Line
from tests.e2e.servers import Ocibuild, Part, Running, Served, serving

pytestmark = pytest.mark.real
MIB = 1024 * 1024


def test_a_push_that_is_cut_again_and_again_arrives(served: Served, ocibuild: Ocibuild, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(24 * MIB), b"small"])
    with Line(served.host, cut_up=9 * MIB, cuts=3) as line:
        said = ocibuild.run("push", tmp_path / "image", f"{line.host}/cut:1")
        assert said.status == 0, said.err
        assert line.cut >= 2
        if served.kind == "distribution":  # 2.8 has forgotten such an upload, ggcr never says how much it has
            assert line.up < 40 * MIB, "what had arrived was sent again"
    ocibuild("copy", f"{served.host}/cut:1", f"oci:{tmp_path}/back:1")
    assert len(layouts.graph(tmp_path / "back", digest)) == 4


def test_a_pull_that_is_cut_again_and_again_arrives(served: Served, ocibuild: Ocibuild, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(24 * MIB), b"small"])
    ocibuild("push", tmp_path / "image", f"{served.host}/cut:1")
    with Line(served.host, cut_down=7 * MIB, cuts=3) as line:
        said = ocibuild.run("copy", f"{line.host}/cut:1", f"oci:{tmp_path}/back:1")
        assert said.status == 0, said.err
        assert line.cut == 3
        if served.kind != "ggcr":  # which knows no Range without an end
            # From the start each time it would be 45 MiB; a busy reader loses what a cut found in its socket.
            assert line.down < 40 * MIB, "what had come was asked for again"
    assert len(layouts.graph(tmp_path / "back", digest)) == 4


def test_a_copy_between_registries_over_two_lines_that_break(
    served: Served, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(24 * MIB), b"small"])
    ocibuild("push", tmp_path / "image", f"{served.host}/from:1")
    with Line(served.host, cut_down=11 * MIB) as here, Line(served.host, cut_up=7 * MIB) as there:
        said = ocibuild.run("copy", f"{here.host}/from:1", f"{there.host}/to:1")
        assert said.status == 0, said.err
        if served.kind != "ggcr":  # whose repositories share all blobs, so nothing is sent
            assert here.cut == there.cut == 1
    ocibuild("copy", f"{served.host}/to:1", f"oci:{tmp_path}/back:1")
    assert len(layouts.graph(tmp_path / "back", digest)) == 4


def test_small_blobs_do_not_wait_for_each_other_on_a_line_with_delay(
    served: Served, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    layouts.write(tmp_path / "image", [b"blob %d" % number for number in range(60)])
    with Line(served.host, delay=0.05) as line:
        said = ocibuild.run("push", "--json", tmp_path / "image", f"{line.host}/far:1")
    assert said.status == 0, said.err
    assert json.loads(said.out)["written"] == 62
    # HEAD, POST and PUT of each take 0.1 s and more there and back: 18 s one after the other.
    assert said.seconds < 9


def test_a_slow_line_is_not_a_stalled_one(registry: Running, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(6 * MIB)])
    # What stands in the kernel's buffers is on its way still when the last byte has been written: hence `reply`.
    with Line(registry.host, speed=MIB) as line, Flow.open() as flow:
        settings = Settings(timeouts=Timeouts(write=2, reply=5, stall=2, commit=5))
        with RegistryStore(Reference.parse(f"{line.host}/slow:1"), settings) as store:
            source = LayoutStore(tmp_path / "image")
            copied = copy(source, source.resolve("1"), store, names=["1"], flow=flow)
    assert copied.root.digest == digest
    assert len(copied.written) == 3


# go-containerregistry's holds a lock while a body arrives: for it one silent line silences all.
@pytest.mark.parametrize("kind", ["docker-registry", "distribution"])
def test_a_line_that_falls_silent_is_given_up_and_another_is_taken(kind: str, part: Part, tmp_path: Path) -> None:
    layouts.write(tmp_path / "image", [layouts.pieces(24 * MIB)])
    with (
        serving(kind, part, tmp_path / "registry") as served,
        Line(served.host, stall_up=6 * MIB) as line,
        Flow.open() as flow,
    ):
        _through(line, flow, tmp_path / "image")
        assert line.stalled == 1


def _through(line: Line, flow: Flow, image: Path) -> None:
    settings = Settings(timeouts=Timeouts(write=2, reply=4, stall=2), patience=Patience(first=0.05))
    with RegistryStore(Reference.parse(f"{line.host}/silent:1"), settings) as store:
        source = LayoutStore(image)
        copied = copy(source, source.resolve("1"), store, names=["1"], flow=flow)
    assert len(copied.written) == 3
