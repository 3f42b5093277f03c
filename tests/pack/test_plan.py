"""From files and options to a plan: platforms, indexes, presets, contradictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ocibuild.binary.artifact import inspect_bytes
from ocibuild.errors import UsageError
from ocibuild.image.plan import ImagePlan, IndexPlan, Plan
from ocibuild.pack.naming import split_input
from ocibuild.pack.options import Options
from ocibuild.pack.plan import Context, Input, parse_created, rfc3339
from ocibuild.pack.plan import plan as make_plan
from ocibuild.pack.presets import PRESETS, preset
from ocibuild.spec.platform import Platform
from ocibuild.testing import programs

WASM = ("app.wasm", programs.command())
AMD64 = ("app-linux-amd64", programs.elf("amd64"))
ARM64 = ("app-linux-arm64", programs.elf("arm64"))


def planned(*files: tuple[str, bytes] | tuple[str, bytes, str], **said: Any) -> Plan:
    inputs = []
    for name, data, *platform in files:
        inputs.append(Input(inspect_bytes(data, name), Platform.parse(platform[0]) if platform else None))
    return make_plan(inputs, Options(**said), Context())


def platforms(made: Plan) -> list[str]:
    images = made.images if isinstance(made, IndexPlan) else (made,)
    return [str(image.platform) for image in images]


def refused(code: str, *files: Any, **said: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        planned(*files, **said)
    assert caught.value.code == code
    return caught.value


def test_nothing_to_pack_is_wrong_usage() -> None:
    refused("usage")


def test_natives_come_first_in_a_fixed_order_whatever_the_command_line_says() -> None:
    expected = ["linux/amd64", "linux/arm64", "linux/riscv64", "wasi/wasm"]
    riscv = ("app-riscv64", programs.elf("riscv64"))
    for files in ((WASM, riscv, ARM64, AMD64), (AMD64, ARM64, riscv, WASM), (ARM64, WASM, AMD64, riscv)):
        made = planned(*files)
        assert isinstance(made, IndexPlan)
        assert platforms(made) == expected


def test_a_machine_without_a_place_in_the_order_goes_after_those_that_have_one() -> None:
    made = planned(WASM, AMD64, also=("plan9/sparc64",))
    assert platforms(made) == ["linux/amd64", "plan9/sparc64", "wasi/wasm"]


def test_two_files_of_one_platform_are_named_both() -> None:
    error = refused("platform-twice", AMD64, ("other", programs.elf("amd64")))
    assert "app-linux-amd64" in error.message
    assert "other" in error.message
    assert "linux/amd64" in error.message


def test_file_equals_platform_says_what_detection_cannot_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = planned((*WASM, "wasip1/wasm"), ("other.wasm", programs.MODULE, "wasip2/wasm"))
    assert platforms(made) == ["wasip1/wasm", "wasip2/wasm"]
    monkeypatch.chdir(tmp_path)
    assert split_input("app.wasm=wasip1/wasm") == ("app.wasm", Platform("wasip1", "wasm"))
    assert split_input("app.wasm") == ("app.wasm", None)
    (tmp_path / "a=b").write_bytes(b"")
    assert split_input("a=b") == ("a=b", None)
    with pytest.raises(UsageError):
        split_input("app.wasm=wasm")


def test_platform_is_for_the_file_it_fits() -> None:
    made = planned(WASM, AMD64, ("app-arm", programs.elf("arm64")), platform=("wasip1/wasm", "linux/amd64/v3"))
    assert platforms(made) == ["linux/amd64/v3", "linux/arm64", "wasip1/wasm"]
    assert platforms(planned(WASM, platform=("linux/amd64",))) == ["linux/amd64"]
    refused("platform-mismatch", AMD64, platform=("linux/arm64",))
    refused("platform-mismatch", (*AMD64, "wasi/wasm"))


def test_also_lists_the_wasm_layer_under_the_hosts_platforms() -> None:
    made = planned(WASM, also=("linux/amd64,linux/arm64", "linux/riscv64"))
    assert isinstance(made, IndexPlan)
    assert platforms(made) == ["linux/amd64", "linux/arm64", "linux/riscv64", "wasi/wasm"]
    assert len({image.layers for image in made.images}) == 1
    refused("platform-twice", WASM, AMD64, also=("linux/amd64",))
    refused("shape-conflict", WASM, format="wasm-layer", also=("linux/amd64",))
    assert platforms(planned(AMD64, also=("linux/arm64",))) == ["linux/amd64"]


def test_contradictions_are_refused_with_a_cure() -> None:
    for code, files, said in (
        ("shape-conflict", (AMD64,), {"format": "artifact"}),
        ("shape-conflict", (WASM, AMD64), {"format": "wasm-layer"}),
        ("shape-conflict", (WASM,), {"format": "compat", "compression": "zstd"}),
        ("shape-unknown", (WASM,), {"format": "tar"}),
        ("consumer-unknown", (WASM,), {"consumer": "mainframe"}),
        ("compression-invalid", (WASM,), {"compression": "lzma"}),
        ("platform-invalid", (WASM,), {"platform": ("wasm",)}),
        ("platform-invalid", (WASM,), {"also": ("linux",)}),
    ):
        assert refused(code, *files, **said).hint


def test_files_cannot_be_added_to_a_shape_without_any() -> None:
    from ocibuild.content.blob import Bytes
    from ocibuild.content.tar import Entry

    extra = (Entry("a", "file", 0o644, Bytes(b"a")),)
    entry = [Input(inspect_bytes(programs.MODULE, "a.wasm"))]
    for shape in ("wasm-layer", "artifact", "solo", "wasm-to-oci"):
        with pytest.raises(UsageError) as caught:
            make_plan(entry, Options(format=shape), Context(additions=extra))
        assert caught.value.code == "shape-conflict"
    assert make_plan(entry, Options(format="compat"), Context(additions=extra))


PROGRAMS = {
    "module": ("a.wasm", programs.command()),
    "component": ("a.wasm", programs.component((), ("wasi:cli/run@0.2.0",))),
    "proxy": ("a.wasm", programs.proxy_wasm()),
    "native": AMD64,
}
# What each consumer takes, as read in its source: crun, youki and podman load core modules only, Istio and Envoy
# Gateway proxy-wasm only, wasmCloud components only, and registries of Wasm no natives.
TAKES = {
    "docker": ("image", {"module", "component", "proxy", "native"}),
    "containerd": ("image", {"module", "component", "proxy", "native"}),
    "kubernetes": ("wasm-layer", {"module", "component", "proxy", "native"}),
    "runwasi": ("wasm-layer", {"module", "component", "proxy", "native"}),
    "podman": ("image", {"module", "proxy", "native"}),
    "cri-o": ("image", {"module", "proxy", "native"}),
    "crun": ("image", {"module", "proxy", "native"}),
    "youki": ("image", {"module", "proxy", "native"}),
    "istio": ("compat", {"proxy"}),
    "envoy-gateway": ("compat", {"proxy"}),
    "wkg": ("artifact", {"module", "component", "proxy"}),
    "wasmcloud": ("artifact", {"component"}),
    "spin": ("artifact", {"module", "component", "proxy"}),
    "kubewarden": ("wasm-to-oci", {"module", "proxy"}),
}


def test_every_preset_is_in_the_table() -> None:
    assert set(TAKES) == set(PRESETS)
    assert preset("docker") is PRESETS["docker"]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("consumer", TAKES)
def test_a_preset_takes_what_runs_there_and_refuses_the_rest(consumer: str, program: str) -> None:
    shape, takes = TAKES[consumer]
    if program in takes:
        made = planned(PROGRAMS[program], consumer=consumer)
        assert isinstance(made, ImagePlan)
        assert made.shape == ("image" if program == "native" else shape)
    else:
        error = refused("consumer-refuses", PROGRAMS[program], consumer=consumer)
        assert consumer in error.message


def test_a_format_said_goes_over_the_presets() -> None:
    made = planned(WASM, consumer="kubernetes", format="image")
    assert isinstance(made, ImagePlan)
    assert made.shape == "image"
    mixed = planned(WASM, AMD64, consumer="kubernetes")
    assert isinstance(mixed, IndexPlan)
    assert {image.shape for image in mixed.images} == {"image"}


@pytest.mark.parametrize(
    "text, epoch",
    [
        ("0", 0),
        ("1700000000", 1_700_000_000),
        ("1970-01-01T00:00:00Z", 0),
        ("2026-01-31T12:00:00+02:00", 1_769_853_600),
        ("1969-12-31T23:59:59Z", -1),
        ("0999-01-01T00:00:00Z", -30_641_760_000),
    ],
)
def test_created_is_rfc3339_or_seconds(text: str, epoch: int) -> None:
    assert parse_created(text) == epoch
    assert parse_created(rfc3339(epoch)) == epoch
    assert len(rfc3339(epoch)) == 20


@pytest.mark.parametrize(
    "text", ["", "now", "2026-01-31", "2026-01-31T12:00:00", "9" * 30, "9" * 5000, "-5", "2026-13-01T00:00:00Z"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_created(text)
    assert caught.value.code == "created-invalid"
