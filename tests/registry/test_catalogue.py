"""The page of the fault catalogue holds what was run, and every entry has a test."""

import re
from pathlib import Path

from tests.registry.faults import FAULTS

ROOT = Path(__file__).parents[2]
_MARK = re.compile(
    r"@pytest\.mark\.fault\(([\d, ]+)\)\n(?:@(?:.|\n)*?\n)??(?:@[^\n]*\n|[ )\]}][^\n]*\n)*def (test_\w+)"
)


def marked() -> dict[int, set[str]]:
    """The names of the tests of each entry, as the sources have them."""
    found: dict[int, set[str]] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        for numbers, name in _MARK.findall(path.read_text(encoding="utf-8")):
            for number in numbers.split(","):
                found.setdefault(int(number), set()).add(name)
    return found


def rows() -> dict[int, tuple[str, set[str], str]]:
    """Entry, tests and result of each row of the page."""
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    lines = [line.strip("|").split(" | ") for line in page.splitlines() if re.match(r"\| \d", line)]
    return {
        int(n): (fault.strip(), set(re.findall(r"`(\w+)`", tests)), result.strip())
        for n, fault, _, tests, result in lines
    }


def test_every_entry_has_a_test_and_no_test_another_number():
    assert set(marked()) == set(FAULTS) == set(range(1, 97))


def test_the_page_names_the_tests_there_are_and_all_of_them_passed():
    page = rows()
    assert {number: entry[0] for number, entry in page.items()} == {n: fault for n, (fault, _) in FAULTS.items()}
    assert {number: entry[1] for number, entry in page.items()} == marked(), "run scripts/faults"
    assert {entry[2] for entry in page.values()} == {"passed"}
