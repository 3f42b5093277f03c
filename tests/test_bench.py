"""The bench counts right, and its documents say what was counted."""

from __future__ import annotations

import copy
import json
import sys
import zlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench import __main__ as bench
from tests.bench import baking, harness, inputs, many, report
from tests.bench.cases import CASES, Bench, Busy, Case, Each, Goal
from tests.bench.harness import Contender, Figures, Sample, alternate, measure
from tests.registry.double import Registry

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads Linux's accounts")
ALLOCATES = f"{sys.executable} -c 'held = bytearray(100 << 20); held[::4096] = bytes(len(held[::4096]))'"


def test_a_run_is_measured_with_all_that_it_starts(tmp_path: Path) -> None:
    found = measure(Contender("it", f"{ALLOCATES}\n: and then"), tmp_path / "run")
    assert 100 < found.peak < 140
    busy = measure(Contender("it", f"{sys.executable} -c 'for _ in range(4_000_000): pass'"), tmp_path / "run")
    assert 0 < busy.cpu <= busy.seconds * 1.5
    idle = measure(Contender("it", "sleep 0.3"), tmp_path / "run")
    assert idle.seconds >= 0.3
    assert idle.cpu < 0.2
    assert idle.peak < 20


def test_a_run_begins_in_an_empty_folder_after_what_is_not_measured(tmp_path: Path) -> None:
    made = []
    contender = Contender(
        "it", 'test -z "$(ls)"\necho > left\ntest "$WHO" = me', ready=lambda: made.append(1), environ={"WHO": "me"}
    )
    for _ in range(2):
        measure(contender, tmp_path / "run")
    assert made == [1, 1]


def test_a_run_that_fails_ends_the_bench_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"broken ended with 3:\n(.|\n)*the disk is gone"):
        alternate([Contender("broken", "echo the disk is gone >&2\nexit 3")], 1, tmp_path / "run", lambda line: None)
    with pytest.raises(RuntimeError, match="ended with 1"):
        measure(Contender("in the middle", "false\ntrue"), tmp_path / "run")


def test_a_run_that_does_not_end_is_ended(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="endless was still running after 1 s"):
        measure(Contender("endless", "sleep 60 & wait"), tmp_path / "run", seconds=1)


def samples(*seconds: float, cpu: float = 1, peak: float = 10) -> Figures:
    return Figures(tuple(Sample(each, cpu, peak) for each in seconds))


def test_figures_are_medians_the_largest_peak_and_a_piece_of_the_work() -> None:
    found = Figures((Sample(3, 1, 10), Sample(1, 5, 30), Sample(2, 2, 20)), work=10)
    assert (found.seconds, found.cpu, found.peak, found.spread) == (0.2, 0.2, 30, 1.0)
    assert samples(2.0, 4.0).seconds == 3


def test_all_run_in_turn_and_a_noisy_one_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    took = {"even": iter([9, 1.0, 1.1]), "noisy": iter([9, 1.0, 2.0, 1.0, 1.0])}
    monkeypatch.setattr(harness, "measure", lambda contender, room: Sample(next(took[contender.name]), 1, 10))
    told: list[str] = []
    found = alternate([Contender("even", ""), Contender("noisy", "")], 2, tmp_path, told.append)
    assert [line.split()[0].rstrip(":") for line in told] == [
        *("noisy", "even"),
        *("even", "noisy", "noisy", "even"),
        *("noisy", "noisy"),
    ]
    assert [one.seconds for one in found.values()] == [1.05, 1.0]
    assert "once more" in told[-1]
    assert "not counted" in told[0]


def test_where_no_more_runs_are_wanted_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([1.0, 2.0])
    monkeypatch.setattr(harness, "measure", lambda contender, room: Sample(next(took), 1, 10))
    found = alternate([Contender("noisy", "")], 2, tmp_path, lambda line: None, more=0, warm=False)
    assert len(found["noisy"].samples) == 2


def test_folders_that_are_kept_are_there_until_the_last_run_has_ended(tmp_path: Path) -> None:
    counts = "find .. -name made | wc -l >> ../../counted\ntouch made"
    alternate([Contender("it", counts)], 2, tmp_path / "run", lambda line: None, more=0, keeps=True)
    assert (tmp_path / "counted").read_text().split() == ["0", "1", "2"]
    assert not (tmp_path / "run").exists()


def made(**changed: float) -> dict[str, Any]:
    """A document of two cases and two sizes, in which everything is as it has to be, but for what is `changed`."""
    value = {"ours": 1.0, "peer": 2.0, "cpu": 1.8, "peak": 40.0, "large": 64.0, "size": 1024.0} | changed
    ours, peer = Contender("ocibuild gzip", "", "ours"), Contender("umoci", "")
    small = {
        "ocibuild gzip": samples(value["ours"], cpu=value["cpu"], peak=value["peak"]),
        "umoci": samples(value["peer"], peak=99),
    }
    goals = (Goal("ocibuild gzip", "umoci", 0.625), Busy("ocibuild gzip", 2), Each("ocibuild gzip", 1500))
    found = [report.Measured(Case("pack-large", "a binary", (ours, peer), goals, size=int(value["size"])), small)]
    for size, seconds in ((1 << 20, 1.0), (1 << 26, value["large"])):
        figures = {"ocibuild gzip": samples(seconds, cpu=seconds, peak=44), "umoci": samples(seconds * 3, cpu=seconds)}
        found.append(report.Measured(Case(f"growth-{size >> 20}MiB", "everything", (ours, peer), size=size), figures))
    return report.document(found, "2026-01-31", {"umoci": "0.4.7"}, ["docker buildx"])


def test_a_document_in_which_all_is_well_has_no_failures() -> None:
    assert report.failures(made()) == []
    assert json.loads(json.dumps(made())) == made()


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"ours": 1.4}, "pack-large: ocibuild gzip / umoci is 0.70, and 0.62 are allowed"),
        ({"cpu": 1.6}, "pack-large: ocibuild gzip, of the limit of 2 cores is 0.80, and 0.85 are wanted"),
        (
            {"ours": 1.6, "peer": 4, "cpu": 3},
            "pack-large: ocibuild gzip, milliseconds each is 1600.00, and 1500.00 are allowed",
        ),
        ({"peak": 65}, "pack-large: ocibuild gzip had 65 MiB resident, and 64 are allowed"),
        ({"large": 90}, "growth: a byte of the largest costs ocibuild gzip 1.41 × the time, and 1.30 are allowed"),
    ],
)
def test_what_is_missed_is_said(changed: dict[str, float], said: str) -> None:
    failures = report.failures(made(**changed))
    assert said in failures
    assert all(line == said or "processors' time" in line or "of the limit" in line for line in failures)


def test_where_the_disk_is_slower_with_more_it_is_for_all() -> None:
    cases = made(large=90)["cases"]
    for name, seconds in (("growth-1MiB", 1.0), ("growth-64MiB", 90.0)):
        cases[name]["figures"]["cp"] = {"kind": "floor", "seconds": seconds, "cpu": 0.1 * cases[name]["size"]}
    bounds = report.growth(cases)["ocibuild gzip"]["most"]
    assert bounds == {"seconds": pytest.approx(1.3 * 90 / 64, abs=1e-3), "cpu": 1.3}


def test_a_document_as_markdown() -> None:
    page = report.markdown(made(ours=1.4)).splitlines()
    for line in (
        "Versions: umoci 0.4.7.",
        "Not to be had, and left out: docker buildx.",
        "### pack-large: a binary",
        "| ocibuild gzip | 1.40 s | 0% | 1.80 s | 40 MiB | 1 |",
        "- ocibuild gzip / umoci: 0.70 (at most 0.62) **missed**",
        "- ocibuild gzip, milliseconds each: 1400.00 (at most 1500.00)",
        "| | 1 MiB | 64 MiB |",
        "| ocibuild gzip | 44 MiB | 44 MiB |",
        "| ocibuild gzip | 1.00 (at most 1.30) | 1.00 (at most 1.30) |",
        "| umoci | 1.00 | 1.00 |",
    ):
        assert line in page


def test_readme_has_a_line_for_each_way_with_the_quickest_peers() -> None:
    table = report.readme(made()).splitlines()
    assert table[-1] == "| pack gzip: a binary | 1.00 s | 40 MiB | umoci 2.00 s (2.0 ×) |"
    assert "2026-01-31" in table[0]
    alone = made()
    alone["cases"]["bake-dask"] = alone["cases"].pop("pack-large")
    assert len(report.readme(alone).splitlines()) == len(table) - 1


def test_an_earlier_run_is_held_against_this_one() -> None:
    assert report.against(made(), made()) == ([], [])
    assert report.against(made(ours=1.14), made()) == ([], [])
    assert report.against(made(ours=1.16), made())[0] == [
        "pack-large: ocibuild gzip / umoci is 0.58, and was 0.5",
        "pack-large: ocibuild gzip, of the limit of 2 cores is 0.776, and was 0.9",
    ]
    assert report.against(made(peak=47), made())[0] == ["pack-large: ocibuild gzip has 47 MiB resident, and had 40"]
    assert report.against(made(ours=0.5, peer=1, cpu=0.9), made()) == ([], [])  # a quicker machine


def test_only_figures_of_one_size_are_compared_and_the_others_named() -> None:
    worse, unseen = report.against(made(size=64, ours=9), made())
    assert (worse, unseen) == ([], ["pack-large: there is no earlier figure for this size"])
    fewer = made()
    del fewer["cases"]["pack-large"]["goals"]["ocibuild gzip / umoci"]
    line = "pack-large: ocibuild gzip / umoci was measured in one of the runs alone"
    assert report.against(fewer, made()) == ([], [line])
    assert report.against(made(), fewer) == ([], [line])


def test_a_quick_run_is_compared_with_the_quick_part_of_a_whole_one() -> None:
    quick, whole = made(ours=0.9) | {"is_quick": True}, made(ours=0.2)
    assert report.against(quick, whole)[0] == []
    assert len(report.against(quick, whole)[1]) == 3
    whole["quick"] = made(ours=0.7) | {"is_quick": True}
    assert report.against(quick, whole)[0][0] == "pack-large: ocibuild gzip / umoci is 0.45, and was 0.35"
    assert report.against(copy.deepcopy(whole["quick"]), whole["quick"]) == ([], [])


def test_a_table_goes_between_its_markers() -> None:
    page = f"# It\n{report.BEGIN}\nold\n{report.END}\nend\n"
    new = report.within(page, "new\n")
    assert new == f"# It\n{report.BEGIN}\nnew\n{report.END}\nend\n"
    assert report.within(new, "new\n") == new
    with pytest.raises(ValueError, match="README"):
        report.within("# It\n", "new\n")


def test_one_bench_runs_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".cache").mkdir()
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    with bench.alone(), pytest.raises(SystemExit, match="another bench"), bench.alone():
        pass
    with bench.alone():
        pass


def test_without_an_engine_buildx_is_named_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OCIBUILD_ENGINES", str(tmp_path))
    missing: list[str] = []
    with ExitStack() as stack:
        assert bench.engine_of(stack, missing, bench.asked([])) is None
    assert missing == ["docker buildx"]
    assert "scripts/parts installs it" in capsys.readouterr().err


def test_a_large_binary_is_machine_code(tmp_path: Path) -> None:
    made = inputs.binary(3 << 20, tmp_path, sys.executable)
    data = made.read_bytes()
    assert len(data) == 3 << 20
    assert data.startswith(b"\x7fELF")
    pieces = [len(zlib.compress(data[at : at + (1 << 18)], 1)) / (1 << 18) for at in range(0, len(data), 1 << 18)]
    assert 0.2 < sum(pieces) / len(pieces) < 0.8
    assert inputs.binary(3 << 20, tmp_path, "not asked for again") == made


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "docs/benchmarks/figures.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("page, table", [("README.md", report.readme), ("docs/benchmarks/README.md", report.markdown)])
def test_the_pages_show_the_figures_that_are_checked_in(page: str, table: Any, figures: dict[str, Any]) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text == report.within(text, table(figures)), (
        "scripts/bench --redraw writes them from docs/benchmarks/figures.json"
    )


def test_the_figures_have_every_kind_of_work_and_a_quick_part(figures: dict[str, Any]) -> None:
    for document in (figures, figures["quick"]):
        assert {name.partition("-")[0] for name in document["cases"]} == {name.partition("-")[0] for name, _ in CASES}
    assert (ROOT / "docs/benchmarks/size.svg").stat().st_size > 1000


def test_the_command_line_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.asked(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for name, _ in CASES:
        assert name in said
    assert bench.asked([]).is_whole
    assert not bench.asked(["--only", "push"]).is_whole
    assert not bench.asked(["--quick"]).is_whole
    with pytest.raises(SystemExit):
        bench.asked(["--only", "nothing"])


@pytest.fixture
def oven(tmp_path: Path) -> Bench:
    """A bench of three small targets that measures the checkout; the registry's host is filled in by the test."""
    program = tmp_path / "bin/ocibuild"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -P -m ocibuild "$@"\n')
    program.chmod(0o755)
    python = program.with_name("python")
    python.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    many.make(tmp_path / "modules", 5)
    return Bench(
        programs={"crane": "crane"},
        engine=None,
        python=str(python),
        module=tmp_path,
        binary=lambda size: tmp_path,
        registry="",
        second="",
        secure="",
        ca=tmp_path,
        room=tmp_path,
        cores=2,
        part=str,
        large=1,
        many=3,
        pushed=3,
    )


def test_what_bakes_does_is_what_it_is_held_against(
    oven: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baking, "WORKERS", ((1, 2),))
    with Registry() as registry:
        cases = baking.bake(replace(oven, registry=registry.host))
        layout = next(cases)
        for contender in layout.contenders:
            measure(contender, tmp_path / "run")
            assert len(json.loads((tmp_path / "run/image/index.json").read_text())["manifests"]) == 3
        found = {}
        for case in cases:
            for contender in case.contenders:
                if "crane" not in contender.name:
                    measure(contender, tmp_path / "run")
                    found[contender.name] = dict(registry.tags)
                    registry.tags.clear()
                assert contender.work == (1 if "crane" in contender.name else 3)
    nothing = {name for name, tags in found.items() if not tags}
    assert nothing == {f"nothing, by {who}" for who in ("the engine on threads", "the engine on Dask", "Dask alone")}
    pushed = [tags for name, tags in found.items() if name not in nothing]
    assert len(pushed) == 4
    # The same images, each time in a repository of its own.
    assert {frozenset((tag, digest) for (_, tag), digest in tags.items()) for tags in pushed} == {
        frozenset((tag, digest) for (_, tag), digest in pushed[0].items())
    }
    assert [len(tags) for tags in pushed] == [3, 3, 3, 3]
    assert len({name for tags in pushed for name, _ in tags}) == 4


def test_a_whole_run_bakes_twice_in_one_room(oven: Bench) -> None:
    whole, quick = replace(oven, large=1 << 30, many=4), oven
    first, second = next(baking.bake(whole)), next(baking.bake(quick))
    assert [first.size, second.size] == [4, 3]
    assert len(list(oven.room.glob("bake-4/modules/*"))) == 4
    assert len(list(oven.room.glob("bake-3/modules/*"))) == 3
