"""COPY --chmod against the chmod of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ocibuild.source.modes import Mode

CHMOD = shutil.which("chmod") or "chmod"
pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no chmod")


def theirs(text: str, mode: int, path: Path) -> int:
    """What chmod makes of a file's or folder's mode, with no umask in the way."""
    path.chmod(mode)
    subprocess.run(["/bin/sh", "-c", 'umask 0; exec "$@"', "sh", CHMOD, text, str(path)], check=True, timeout=30)
    return path.stat().st_mode & 0o7777


@pytest.mark.parametrize(
    "text",
    ["0644", "7", "4755", "+x", "a+x", "u=rwX,go=rX", "g=u", "a-w", "go=", "u+s", "g+s", "+t", "-t", "u=rw,g=r-w+x", "a=r,u+w"],
)  # fmt: skip
@pytest.mark.parametrize("mode", [0o644, 0o755, 0o600, 0o4711])
def test_modes_become_what_chmod_makes_of_them(text: str, mode: int, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert oct(Mode.of(text).applied(mode, is_dir=False)) == oct(theirs(text, mode, file))
    folder = tmp_path / "folder"
    folder.mkdir()
    if text[0] in "47":
        return  # GNU's chmod keeps a folder's set-ID bits; BuildKit's takes the number as it is
    assert oct(Mode.of(text).applied(0o755, is_dir=True)) == oct(theirs(text, 0o755, folder))


CLAUSE = st.builds(
    lambda who, steps: who + "".join(steps),
    st.sampled_from(["", "u", "g", "o", "a", "ug", "go", "uo"]),
    st.lists(
        st.builds(lambda sign, what: sign + what, st.sampled_from("-+="), st.sampled_from(["", "r", "w", "x", "X", "rw", "rX", "u", "g", "o"])),
        min_size=1,
        max_size=3,
    ),
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(text=st.lists(CLAUSE, min_size=1, max_size=3).map(",".join), mode=st.integers(0, 0o777))
def test_symbols_mean_what_they_mean_to_chmod(text: str, mode: int, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert oct(Mode.of(text).applied(mode, is_dir=False)) == oct(theirs(text, mode, file))


@pytest.mark.parametrize("text", ["", "8", "0o755", "755555", "x", "u", "u+y", "u+x,", "z+x", "u+ug", "+rg"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no mode"):
        Mode.of(text)
