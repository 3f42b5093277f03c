"""`ocibuild pack` from outside: what stands on stdout, what in files, and what a config file gives it."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ocibuild.cli import output
from ocibuild.spec import schema
from tests.cli.conftest import Ran

Run = Callable[..., Ran]


def config_of(folder: Path, layout: str = "hello.oci") -> dict[str, object]:
    """The config of the one image in a layout."""
    blobs = folder / layout / "blobs"

    def load(digest: str) -> dict[str, object]:
        document: dict[str, object] = json.loads((blobs / digest.replace(":", "/")).read_bytes())
        return document

    index = json.loads((folder / layout / "index.json").read_bytes())
    manifest = load(index["manifests"][-1]["digest"])
    return load(manifest["config"]["digest"])  # type: ignore[index]


def test_stdout_is_the_name_alone_and_every_command_takes_it(run: Run, folder: Path) -> None:
    ran = run("pack", "hello.wasm")
    assert ran.status == 0
    assert ran.out.startswith("oci:hello.oci@sha256:")
    assert ran.out.count("\n") == 1
    assert run("copy", ran.out.strip(), "again.tar").status == 0


def test_json_names_digest_size_and_inputs(run: Run, folder: Path) -> None:
    document = json.loads(run("pack", "hello.wasm", "--json", "-t", "localhost:5000/hello:1").out)
    schema.validate(document["containerimage.descriptor"], "descriptor")
    assert document["containerimage.descriptor"]["digest"] == document["containerimage.digest"]
    assert document["inputs"] == [{"path": "hello.wasm", "kind": "module", "size": 8}]
    assert document["image.name"] == "localhost:5000/hello:1"
    assert document["references"] == [f"oci:hello.oci@{document['containerimage.digest']}"]


def test_a_dry_run_gives_the_digest_and_writes_nothing(run: Run, folder: Path) -> None:
    before = sorted(folder.iterdir())
    dry = run("pack", "hello.wasm", "--dry-run", "--json")
    assert sorted(folder.iterdir()) == before
    real = run("pack", "hello.wasm", "--json")
    documents = json.loads(dry.out), json.loads(real.out)
    assert documents[0]["containerimage.digest"] == documents[1]["containerimage.digest"]
    written = {path.name for path in (folder / "hello.oci/blobs/sha256").iterdir()}
    assert {blob["digest"].removeprefix("sha256:") for blob in documents[0]["blobs"]} == written


def test_the_digest_and_the_account_go_to_files(run: Run, folder: Path) -> None:
    ran = run("pack", "hello.wasm", "--iidfile", "iid", "--metadata-file", "meta.json")
    digest = (folder / "iid").read_text()
    assert ran.out == f"oci:hello.oci@{digest}\n"
    assert json.loads((folder / "meta.json").read_text())["containerimage.digest"] == digest


def test_an_archive_on_stdout_is_nothing_but_the_archive(folder: Path) -> None:
    source = f"import sys; sys.path[:0] = {sys.path!r}; from ocibuild.cli import main; main()"
    command = [sys.executable, "-c", source, "pack", "hello.wasm", "-o", "-"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (folder / "out.tar").write_bytes(done.stdout)
    with tarfile.open(folder / "out.tar", "r:") as archive:
        assert {"oci-layout", "index.json"} <= set(archive.getnames())


def test_a_config_file_gives_files_tags_and_options(run: Run, folder: Path) -> None:
    (folder / "ocibuild.toml").write_text(
        'schema = 1\n[targets.a]\nfiles = ["hello.wasm"]\ntags = ["localhost:5000/hello:1"]\nenv = { A = "1", B = "1" }'
    )
    document = json.loads(run("pack", "--config", "ocibuild.toml", "--env", "B=2", "--json").out)
    assert document["image.name"] == "localhost:5000/hello:1"
    process = config_of(folder)["config"]
    assert isinstance(process, dict)
    assert process["Env"][1:] == ["A=1", "B=2"]


def test_files_and_tags_on_the_command_line_go_over_the_config_file(run: Run, folder: Path) -> None:
    (folder / "ocibuild.toml").write_text('schema = 1\n[targets.a]\nfiles = ["no.wasm"]\ntags = ["localhost:1/a:1"]')
    words = ("--config", ".", "--target", "a", "-t", "localhost:2/b:2", "--json")
    document = json.loads(run("pack", "hello.wasm", *words).out)
    assert document["image.name"] == "localhost:2/b:2"
    assert [entry["path"] for entry in document["inputs"]] == ["hello.wasm"]


def test_an_error_in_the_config_file_names_its_line(run: Run, folder: Path) -> None:
    (folder / "ocibuild.toml").write_text("schema = 1\n[targets.a]\nentrypont = 'x'\n")
    ran = run("pack", "--config", "ocibuild.toml")
    assert ran.status == 2
    assert ran.err == (
        "error: ocibuild.toml:3: targets.a.entrypont is not known [config-key-unknown]\n"
        "  hint: did you mean entrypoint?\n"
    )


def test_formats_lists_every_shape_and_preset(run: Run, folder: Path) -> None:
    from ocibuild.image.shapes import SHAPES
    from ocibuild.pack.presets import PRESETS

    text, document = run("formats").out, json.loads(run("formats", "--json").out)
    assert [shape["name"] for shape in document["formats"]] == list(SHAPES)
    assert [entry["name"] for entry in document["for"]] == list(PRESETS)
    assert all(f"  {name} " in text for name in (*SHAPES, *PRESETS))


@pytest.mark.parametrize(
    "count, text",
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 * 1024, "1.5 MiB"), (3 << 40, "3.0 TiB"), (5 << 50, "5120.0 TiB")],
)  # fmt: skip
def test_sizes_are_for_people(count: int, text: str) -> None:
    assert output.size(count) == text


def test_progress_says_nothing_where_nobody_watches(run: Run, folder: Path) -> None:
    assert run("copy", run("pack", "hello.wasm").out.strip(), "out.tar", "--quiet").err == ""


def test_a_login_needs_both_halves(run: Run, folder: Path) -> None:
    ran = run("pack", "hello.wasm", "--username", "me")
    assert (ran.status, "[usage]" in ran.err) == (2, True)
    assert "--password-stdin" in ran.err
