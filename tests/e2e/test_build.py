"""What COPY means where BuildKit's vectors say nothing, links above all: buildah builds the same Dockerfile."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ocibuild.api.build import build
from tests.e2e.servers import Run

pytestmark = pytest.mark.real

DOCKERFILE = """\
FROM scratch AS one
COPY named /n
COPY out /o
COPY usr /usr
COPY root /
COPY a.txt /bin/
FROM scratch
COPY --from=one / /all
COPY *.txt out /flat/
COPY d* a.txt /mix/
WORKDIR /w/x
COPY a.txt ../up
COPY --chown=5:6 d ./d
"""


def files(layout: Path) -> dict[str, tuple[bytes, int, int, int, str, bytes]]:
    """Everything in the image's layers: type, mode, owner, link, content."""

    def blob(digest: str) -> bytes:
        return (layout / "blobs" / digest.replace(":", "/")).read_bytes()

    index = json.loads((layout / "index.json").read_bytes())
    manifest = json.loads(blob(index["manifests"][0]["digest"]))
    found = {}
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(blob(layer["digest"])), mode="r:*") as archive:
            for member in archive:
                content = archive.extractfile(member).read() if member.isfile() else b""  # type: ignore[union-attr]
                # buildah writes the type into the mode as well.
                about = (member.type, member.mode & 0o7777, member.uid, member.gid, member.linkname, content)
                found[member.name.rstrip("/")] = about
    return found


def test_files_are_where_buildah_has_them(part: Callable[[str], str], run: Run, tmp_path: Path) -> None:
    context = tmp_path / "context"
    for folder in ("d/e", "usr/bin", "root"):
        (context / folder).mkdir(parents=True)
    for name in ("a.txt", "d/b.txt", "d/e/c.txt", "usr/x"):
        (context / name).write_text(name)
        (context / name).chmod(0o644)
    for name, target in {"d/link": "b.txt", "named": "d", "out": "/a.txt", "root/bin": "usr/bin"}.items():
        (context / name).symlink_to(target)
    (context / ".dockerignore").write_text("d/e\n")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    store = ("--root", f"{tmp_path}/store", "--runroot", f"{tmp_path}/run", "--storage-driver", "vfs")
    words = ("bud", "--isolation", "chroot", "-f", f"{tmp_path}/Dockerfile", "-t", f"oci:{tmp_path}/theirs")
    run(part("buildah"), *store, *words, str(context))
    build(context, file=tmp_path / "Dockerfile", platforms=["linux/amd64"], output=f"oci:{tmp_path}/ours")
    theirs = files(tmp_path / "theirs")
    assert len(theirs) > 20
    assert files(tmp_path / "ours") == theirs
