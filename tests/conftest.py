"""Real parts: programs that PyPI does not bring. A missing one fails in CI, and is named at the end elsewhere."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.e2e import enginetable
from tests.registry import faults
from tests.registry.scripted import leaks

settings.register_profile("default", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("deep", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

MISSING = pytest.StashKey[Counter[str]]()
_WORKER_KEY = "missing_parts"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engines-table", help="write the table of images and engines into this file")
    parser.addoption("--faults-table", help="write the table of faults, tests and results into this file")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MISSING] = Counter()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        numbers = [number for mark in item.iter_markers("fault") for number in mark.args]
        if numbers:
            item.user_properties.append(("faults", numbers))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[pytest.TestReport]:
    """Whatever a test makes the program print or log is searched for the secrets that tests plant."""
    report = yield
    leaked = [name for name, text in report.sections if leaks(text)]
    if leaked and report.outcome == "passed":
        report.outcome = "failed"
        report.longrepr = f"a planted secret stands in: {', '.join(leaked)}"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    cell = dict(report.user_properties).get("cell")
    if cell and report.when == "call":
        engine, image, status, out, err = cell
        _cells[engine, image] = report.outcome == "passed"
        _printed.append(f"{engine} | {image} | {' / '.join(out.splitlines() or err) or status}")
    if report.when == "call" or report.outcome != "passed":
        for number in dict(report.user_properties).get("faults", ()):
            _fault_results.setdefault(number, {}).setdefault(report.nodeid.partition("[")[0], set()).add(report.outcome)


_cells: dict[tuple[str, str], bool] = {}
_printed: list[str] = []
_fault_results: dict[int, dict[str, set[str]]] = {}


def pytest_sessionfinish(session: pytest.Session) -> None:
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_WORKER_KEY] = dict(session.config.stash[MISSING])
    elif path := session.config.getoption("--faults-table"):
        Path(path).write_text(faults.table(_fault_results), encoding="utf-8")
    elif path := session.config.getoption("--engines-table"):
        Path(path).write_text(enginetable.page(_cells), encoding="utf-8")


@pytest.fixture(scope="session")
def part(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """`part("skopeo")` is the program's path; where it is missing the test fails in CI and is skipped elsewhere.

    `part("engines/ctr")` is one of `scripts/parts --engines`, which are not on PATH.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    engines = os.environ.get("OCIBUILD_ENGINES", str(cache / "ocibuild-parts" / "engines" / "bin"))

    def find(name: str) -> str:
        if name.startswith("engines/"):
            found = shutil.which(name.removeprefix("engines/"), path=engines)
        else:
            found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
        if found:
            return found
        request.config.stash[MISSING][name] += 1
        if os.environ.get("CI"):
            pytest.fail(f"the real part {name} is missing; scripts/parts installs it")
        pytest.skip(f"the real part {name} is missing")

    return find


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """What a worker of pytest-xdist missed, the whole run missed."""
    output = getattr(node, "workeroutput", {})
    node.config.stash[MISSING].update(output.get(_WORKER_KEY, {}))  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in sorted(_printed):
        terminalreporter.write_line(line)
    missing = config.stash[MISSING]
    if missing:
        named = ", ".join(f"{name} ({count} tests)" for name, count in sorted(missing.items()))
        terminalreporter.write_line(f"real parts missing: {named}; scripts/e2e installs them and runs these tests")


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a developer's shell says must not reach a digest or a registry under test."""
    for name in (
        "SOURCE_DATE_EPOCH",
        "DOCKER_CONFIG",
        "DOCKER_AUTH_CONFIG",
        "REGISTRY_AUTH_FILE",
        "CONTAINERS_REGISTRIES_CONF",
    ):
        monkeypatch.delenv(name, raising=False)
