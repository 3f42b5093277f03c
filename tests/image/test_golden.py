"""Digests computed apart from this program, from the formats' descriptions, and those of the samples, checked in.

`scripts/regen-goldens` rewrites tests/golden; a change there is a change of what everybody's images are called.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocibuild.api.pack import pack
from ocibuild.spec.digest import Digest
from ocibuild.store.layout import LayoutStore
from ocibuild.testing import programs

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "samples.json"


def test_the_programs_themselves() -> None:
    assert Digest.of(programs.MODULE).hex == "93a44bbb96c751218e4c00d479e4c14358122a389acca16205b1e4d0dc5f9476"
    assert Digest.of(programs.component()).hex == "24eaf3439a60c96764c4f2c92a0a81b52bd4fe5d5b91f090184a0f6486b1bf29"


def packed(tmp_path: Path, shape: str) -> tuple[bytes, bytes]:
    module = tmp_path / "hello.wasm"
    module.write_bytes(programs.MODULE)
    made = pack(module, output=f"oci:{tmp_path}/{shape}.oci", format=shape, created="0")
    blobs = tmp_path / f"{shape}.oci" / "blobs" / "sha256"
    manifest = (blobs / made.descriptor.digest.hex).read_bytes()
    return manifest, (blobs / json.loads(manifest)["config"]["digest"].removeprefix("sha256:")).read_bytes()


def test_the_cncf_artifacts_config_is_192_bytes_and_its_manifest_429(tmp_path: Path) -> None:
    manifest, config = packed(tmp_path, "artifact")
    assert (len(config), len(manifest)) == (192, 429)
    assert hashlib.sha256(config).hexdigest() == "076cea0c5c71cf4b8737b94f2efaef4813815586b3d77c4109c043318399482a"
    assert hashlib.sha256(manifest).hexdigest() == "2775bca4c305e06142c4c876d25646fb62ccb3bea22f148e17d92677e9b216b7"


def test_oci_client_would_have_written_the_same_but_for_the_order(tmp_path: Path) -> None:
    # oci-client writes manifests as canonical JSON, keys sorted.
    manifest, _ = packed(tmp_path, "artifact")
    canonical = json.dumps(json.loads(manifest), sort_keys=True, separators=(",", ":")).encode()
    assert hashlib.sha256(canonical).hexdigest() == "5fe5e1c9ee8075236f83a02f77dff1e7d926bf8998e5456d55a5eafa38d8ec5d"


def test_the_tar_layers_diff_id(tmp_path: Path) -> None:
    _, config = packed(tmp_path, "image")
    assert json.loads(config)["rootfs"]["diff_ids"] == [
        "sha256:409a60a276413cf4b15a7d4709846651dcafe2dc175b2ff1368c38641a222fd0"
    ]


def test_wasm_to_ocis_empty_config(tmp_path: Path) -> None:
    _, config = packed(tmp_path, "wasm-to-oci")
    assert hashlib.sha256(config).hexdigest() == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def _goldens() -> list[tuple[str, str]]:
    return list(json.loads(GOLDEN.read_text())["digests"].items()) if GOLDEN.exists() else []


@pytest.mark.parametrize("command, digest", _goldens())
def test_a_samples_digest_is_what_it_was(command: str, digest: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ocibuild", *command.split(), "-o", f"oci:{tmp_path}/out.oci"], capture_output=True,
        text=True, timeout=120, cwd=ROOT / "samples", check=False, env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert LayoutStore(tmp_path / "out.oci").resolve("").digest == digest


def test_the_samples_are_the_ones_the_goldens_were_made_of() -> None:
    for name, digest in json.loads(GOLDEN.read_text())["samples"].items():
        assert Digest.of((ROOT / "samples" / name).read_bytes()) == digest, f"{name} changed: run scripts/regen-goldens"
