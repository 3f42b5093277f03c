"""`ocibuild.resolve`: the same from Python."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ocibuild
from tests.registry.double import Registry

SAMPLES = Path(__file__).parents[2] / "samples"


def test_it_gives_the_text_and_the_images(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "hello.wasm", tmp_path)
    (tmp_path / "app.yaml").write_text("image: ocibuild://hello.wasm # here\n")
    with Registry() as registry:
        done = ocibuild.resolve(tmp_path / "app.yaml", repo=f"{registry.host}/me", tags=["v1"])
        (image,) = done.images
        assert done.text == f"image: {image.reference} # here\n"
        assert image.places == (f"{tmp_path / 'app.yaml'}:1",)
        assert registry.tags[("me/hello", "v1")] == image.reference.partition("@")[2]


def test_a_session_that_is_called_off_stops_it(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "hello.wasm", tmp_path)
    (tmp_path / "app.yaml").write_text("image: ocibuild://hello.wasm\n")
    session = ocibuild.Session()
    session.cancel.set()
    with pytest.raises(ocibuild.Cancelled):
        ocibuild.resolve(tmp_path / "app.yaml", repo="127.0.0.1:1/me", session=session)


def test_it_needs_a_file() -> None:
    with pytest.raises(ocibuild.UsageError):
        ocibuild.resolve()
