"""The documentation does what it says: examples run, references are current, links lead somewhere."""

from __future__ import annotations

import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from ocibuild.cli.verbs import cli
from ocibuild.pack import configfile, configkeys

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CONTEXT = click.Context(cli, info_name="ocibuild", **cli.context_settings)
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = {"scripts/test", "pip", "pipx", "python"}  # set up whole environments: tried by tests/e2e


@dataclass(frozen=True)
class Block:
    """A fenced block: `kind` is its language, `note` what follows it, as `norun`."""

    kind: str
    note: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(m[1], m[2].strip(), m[3]) for m in BLOCK.finditer(page.read_text(encoding="utf-8"))]


def commands(block: Block) -> list[tuple[str, list[str]]]:
    """Each `$ ` line with the lines of output below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line.strip() and found:
            found[-1][1].append(line)
    return found


def words_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a fresh checkout, as far as examples look at one; README's config file stands in it."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "samples", folder / "samples", ignore=shutil.ignore_patterns("target"))
    for block in blocks(README):
        if block.kind == "toml":
            (folder / "ocibuild.toml").write_text(block.text, encoding="utf-8")
    return folder


def test_the_readmes_examples_run_one_after_the_other(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert examples(README, checkout) >= 10


def test_the_examples_of_bakes_page_run_with_its_file(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    page = ROOT / "docs" / "bake.md"
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "samples").symlink_to(checkout / "samples")
    for block in blocks(page):
        if block.kind == "toml" and block.note != "norun":
            (tmp_path / "work" / "ocibuild.toml").write_text(block.text, encoding="utf-8")
    assert examples(page, tmp_path / "work") >= 4


def examples(page: Path, checkout: Path) -> int:
    """Run them, and hold what they print against the page."""
    ran = 0
    for block in blocks(page):
        if block.kind != "console" or block.note == "norun":
            continue
        for line, expected in commands(block):
            words = words_of(line)
            if words[0] in ELSEWHERE:
                continue
            assert words[0] in ("ocibuild", "scripts/ocibuild"), f"a test cannot run: {line}"
            done = ocibuild(words[1:], checkout)
            assert done.returncode == 0, f"$ {line}\n{done.stderr}"
            for wanted in expected:
                assert shown(wanted, done.stdout), f"$ {line}\nsaid {done.stdout!r}, and {page.name} {wanted!r}"
            ran += 1
    return ran


def ocibuild(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    source = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from ocibuild.cli import main; main()"
    command = [sys.executable, "-c", source, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def shown(wanted: str, output: str) -> bool:
    """True where a line of output is the wanted one; … stands for anything."""
    pattern = ".*".join(re.escape(piece) for piece in wanted.split("…"))
    return any(re.fullmatch(pattern, line) for line in output.splitlines())


def test_an_example_is_held_against_what_it_prints() -> None:
    assert shown("oci:hello.oci@sha256:…", "oci:hello.oci@sha256:00ff\n")
    assert not shown("oci:other.oci@sha256:…", "oci:hello.oci@sha256:00ff\n")


def test_the_readmes_library_example_runs(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [block.text for block in blocks(README) if block.kind == "python"]
    assert sources
    monkeypatch.chdir(checkout)
    for source in sources:
        out = io.StringIO()
        with redirect_stdout(out):
            exec(compile(source, "README.md", "exec"), {})
        assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", out.getvalue())


def test_examples_that_do_not_run_use_flags_there_are() -> None:
    checked = 0
    for page in PAGES:
        for block in blocks(page):
            if block.kind == "console":
                for line, _ in commands(block):
                    checked += parsed(line)
    assert checked >= 12


def parsed(line: str) -> bool:
    """Have click read an example's flags, without running it. Its complaint is the test's failure."""
    words = words_of(line.partition(" | ")[2] or line)
    if not words[0].endswith("ocibuild") or len(words) < 2:
        return False
    verb = cli.get_command(CONTEXT, words[1])
    assert verb is not None, line
    verb.make_context(words[1], words[2:], parent=CONTEXT)
    return True


@pytest.mark.parametrize("name", cli.list_commands(CONTEXT))
def test_every_verb_and_every_flag_has_help(name: str) -> None:
    verb = cli.get_command(CONTEXT, name)
    assert verb is not None
    assert verb.help
    assert verb.short_help
    assert [p.name for p in verb.params if isinstance(p, click.Option) and not p.help] == []


@pytest.mark.parametrize("page", ["docs/cli.md", "docs/oras.md", "schemas/ocibuild.schema.json"])
def test_what_is_made_from_the_source_is_current(page: str) -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "reference.py"))["pages"]()
    assert (ROOT / page).read_text(encoding="utf-8") == made[page], "run scripts/docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_config_files_in_the_documentation_are_valid(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        if block.kind == "toml" and "schema" in block.text:
            path = tmp_path / ("pyproject.toml" if "[tool." in block.text else "ocibuild.toml")
            path.write_text(block.text, encoding="utf-8")
            if not (tmp_path / "samples").exists():
                (tmp_path / "samples").symlink_to(ROOT / "samples")
            config = configfile.read(path)
            assert config.targets
            for name in config.targets:
                config.target(name)
            path.unlink()


def test_the_config_page_names_every_key() -> None:
    text = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    keys = (*configkeys.facts(), *configkeys.LISTS, *configkeys.SPREAD, *configkeys.VARIABLE, *configkeys.TOP)
    assert [key for key in keys if f"`{key}`" not in text] == []
