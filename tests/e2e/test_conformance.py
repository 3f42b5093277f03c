"""The distribution specification's own conformance suite against `ocibuild serve`: nothing fails, nothing is left out."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serve.asking import answering

pytestmark = pytest.mark.real

# What is off in a version because it is not in it yet, or is for registries that say so: `--sparse` is tried too.
OFF = {
    "1.1": {"Blob upload cancel", "Manifest put with tag params", "Tag Param", "Tag Param sha512"},
    "dev": set[str](),
}


@pytest.mark.parametrize("sparse", [False, True], ids=["complete", "sparse"])
@pytest.mark.parametrize("version", ["1.1", "dev"])
def test_the_conformance_suite_passes(part: Callable[[str], str], tmp_path: Path, version: str, sparse: bool) -> None:
    with answering(tmp_path / "registry", sparse=sparse) as served:
        done = subprocess.run(
            [part("conformance")],
            env={
                "HOME": str(tmp_path),
                "OCI_REGISTRY": f"127.0.0.1:{served.port}",
                "OCI_TLS": "disabled",
                "OCI_REPO1": "conformance/one",
                "OCI_REPO2": "conformance/two",
                "OCI_VERSION": version,
                "OCI_DATA_SPARSE": str(sparse).lower(),
                "OCI_RESULTS_DIR": str(tmp_path),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    counts = {name: int(count) for name, count in re.findall(r"^  (\w+)\.+: +(\d+)$", done.stdout, re.MULTILINE)}
    results = dict(re.findall(r"^  (\w[\w ]*?)\.+: +([A-Za-z]\w*)$", done.stdout, re.MULTILINE))
    print(done.stdout)
    assert done.returncode == 0
    assert counts["FAIL"] == counts["Error"] == counts["Skip"] == 0
    assert counts["Pass"] > 700
    off = OFF[version] | (set() if sparse else {"Sparse Manifests"})
    assert {name for name, result in results.items() if result != "Pass"} == off
