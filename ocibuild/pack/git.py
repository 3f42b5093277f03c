"""What git knows of the sources, asked only on request: otherwise every commit would change every digest."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from ocibuild.errors import ToolError
from ocibuild.spec import annotation

_SECONDS = 10
_SCP = re.compile(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)")


def facts(folder: Path) -> dict[str, str]:
    """Revision (with `-dirty` where files are changed), source, and the version from a tag on this very commit.

    Raises ToolError (`git-failed`) where git is missing or `folder` is in no repository with a commit.
    """
    revision = _git(folder, "rev-parse", "HEAD")
    dirty = "-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else ""
    found = {annotation.REVISION: revision + dirty}
    tag = _git(folder, "describe", "--tags", "--exact-match", "HEAD", optional=True)
    if tag:
        found[annotation.VERSION] = tag.removeprefix("v") + dirty
    remote = _git(folder, "remote", "get-url", "origin", optional=True)
    if remote and (url := web_address(remote)):
        found[annotation.SOURCE] = url
    return found


def web_address(remote: str) -> str | None:
    """A remote's address as a browser takes it, without credentials; None for a path on this machine."""
    text = remote.strip().removesuffix(".git")
    scheme, separator, rest = text.partition("://")
    if separator:
        if scheme not in ("http", "https", "ssh", "git"):
            return None
        host, slash, path = rest.partition("/")
        host = host.rpartition("@")[2]
        host = host.partition(":")[0] if scheme in ("ssh", "git") else host
        return f"{'http' if scheme == 'http' else 'https'}://{host}{slash}{path}"
    matched = _SCP.fullmatch(text)
    return f"https://{matched[1]}/{matched[2].lstrip('/')}" if matched else None


def _git(folder: Path, *words: str, optional: bool = False) -> str:
    command = ["git", "-C", str(folder), *words]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(
            f"git cannot be asked: {error}", code="git-failed", hint="install git, or leave --git out"
        ) from error
    if result.returncode == 0:
        return result.stdout.strip()
    if optional:
        return ""
    reason = result.stderr.strip().splitlines()
    raise ToolError(
        f"git {words[0]} failed in {folder}: {reason[-1] if reason else 'no reason given'}",
        code="git-failed",
        hint="--git needs a repository with a commit; leave it out otherwise",
    )
