"""manifest, config, blob, digest: the stored bytes and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ocibuild.api import raw
from ocibuild.api.pack import pack
from ocibuild.cli.verbs import cli
from ocibuild.errors import ContentError, NotFoundError, UsageError
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest, parse

SAMPLES = Path(__file__).parents[2] / "samples"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pack(SAMPLES / "hello.wasm", output="one.oci")
    pack(*(SAMPLES / name for name in ("hello.wasm", "hello-linux-amd64")), output="many.oci")
    return tmp_path


def stored(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()


def test_the_manifest_is_the_bytes_that_the_digest_is_of(here: Path) -> None:
    data = raw.manifest("one.oci")
    assert Digest.of(data) == raw.digest("one.oci")
    assert data == stored(here / "one.oci", raw.digest("one.oci"))


def test_the_command_line_adds_no_newline(here: Path) -> None:
    for verb, expected in (("manifest", raw.manifest("one.oci")), ("config", raw.config("one.oci"))):
        assert CliRunner().invoke(cli, [verb, "one.oci"]).stdout_bytes == expected
    assert CliRunner().invoke(cli, ["digest", "one.oci"]).stdout == raw.digest("one.oci") + "\n"


def test_a_platform_picks_an_entry(here: Path) -> None:
    index = parse(raw.manifest("many.oci"), "application/vnd.oci.image.index.v1+json")
    assert isinstance(index, Index)
    for entry in index.manifests:
        assert raw.digest("many.oci", platform=str(entry.platform)) == entry.digest
        manifest = parse(raw.manifest("many.oci", platform=str(entry.platform)), entry.media_type)
        assert isinstance(manifest, Manifest)
        assert Digest.of(raw.config("many.oci", platform=str(entry.platform))) == manifest.config.digest


def test_the_config_of_several_needs_a_platform(here: Path) -> None:
    with pytest.raises(UsageError, match="linux/amd64, wasi/wasm") as caught:
        raw.config("many.oci")
    assert caught.value.code == "platform-needed"


def test_a_platform_that_is_not_there_lists_what_is(here: Path) -> None:
    with pytest.raises(NotFoundError) as caught:
        raw.manifest("many.oci", platform="linux/s390x")
    assert caught.value.code == "platform-missing"
    assert "linux/amd64" in (caught.value.hint or "")


def test_a_blob_below_the_place(here: Path) -> None:
    manifest = parse(raw.manifest("one.oci"), "application/vnd.oci.image.manifest.v1+json")
    assert isinstance(manifest, Manifest)
    digest = manifest.layers[0].digest
    assert CliRunner().invoke(cli, ["blob", "one.oci", digest]).stdout_bytes == stored(here / "one.oci", digest)


def test_a_blob_that_nothing_refers_to(here: Path) -> None:
    with pytest.raises(NotFoundError) as caught, raw.blob("one.oci", Digest.of(b"elsewhere")):
        pass
    assert caught.value.code == "blob-missing"
    with pytest.raises(ContentError), raw.blob("one.oci", "sha256:12"):
        pass


def test_a_damaged_blob_is_an_error_and_not_an_answer(here: Path) -> None:
    digest = raw.digest("one.oci")
    path = here / "one.oci" / "blobs" / digest.replace(":", "/")
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data.replace(b"schemaVersion", b"schemaversion"))
    with pytest.raises(ContentError) as caught:
        raw.manifest("one.oci")
    assert caught.value.code == "digest-mismatch"
