"""See scripts/localbase. The registry's storage is what is kept; without a command its folder is printed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "library/rust:1.70-slim-bullseye"
PACKAGES = "cargo,libstd-rust-dev-wasm32,lld"
VERSION = "1"
"""Counted up when something here changes what is in the image."""

RUSTUP = """#!/bin/sh
# Debian has Rust's targets as packages, and this knows no more of rustup than whether one is there.
set -eu
if [ "${1:-} ${2:-}" != "target add" ] || [ $# -lt 3 ]; then
    echo "rustup: this one, of scripts/localbase, only knows: rustup target add TARGET..." >&2
    exit 2
fi
shift 2
for target; do
    libraries=$(rustc --print target-libdir --target "$target")
    if ! ls "$libraries"/libstd-*.rlib >/dev/null 2>&1; then
        echo "rustup: there is no standard library for $target: $libraries has none" >&2
        exit 1
    fi
    echo "rustup: $target is in $libraries" >&2
done
"""


def main() -> int:
    parts = os.environ.get("OCIBUILD_PARTS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = (Path(parts) if parts else cache / "ocibuild-parts") / "localbase"
    storage = folder / f"registry-{VERSION}"
    if not storage.is_dir():
        make(folder, storage)
    if len(sys.argv) == 1:
        print(storage)
        return 0
    with tempfile.TemporaryDirectory(prefix="localbase-") as room, registry(storage, Path(room)) as host:
        conf = Path(room) / "registries.conf"
        repository = f"docker.io/{NAME.partition(':')[0]}"
        conf.write_text(
            f'[aliases]\n"rust" = "{repository}"\n[[registry]]\nlocation = "{repository}"\n'
            f'[[registry.mirror]]\nlocation = "{host}/{NAME.partition(":")[0]}"\ninsecure = true\n'
        )
        return subprocess.call(sys.argv[1:], env={**os.environ, "CONTAINERS_REGISTRIES_CONF": str(conf)})


def make(folder: Path, storage: Path) -> None:
    """Make the base and put it into the registry's storage, which is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    print("making the base image: 1.1 GB of Debian's packages, about two minutes", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="making-", dir=folder) as place:
        room = Path(place)
        tar = room / "base.tar"
        tell("mmdebstrap", "--quiet", "--variant=apt", f"--include={PACKAGES}", "bookworm", str(tar))
        rustup = room / "rustup"
        rustup.write_text(RUSTUP)
        store = ("--root", f"{room}/store", "--runroot", f"{room}/run", "--storage-driver", "vfs")
        try:
            container = tell("buildah", *store, "from", "scratch")
            tell("buildah", *store, "add", "--quiet", container, str(tar), "/")
            tar.unlink()
            tell(
                "buildah", *store, "copy", "--quiet", "--chmod", "0755", container, str(rustup), "/usr/local/bin/rustup"
            )
            tell("buildah", *store, "config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", "--cmd", "bash", container)
            with registry(room / "storage", room) as host:
                image = tell("buildah", *store, "commit", "--quiet", container)
                tell("buildah", *store, "push", "--quiet", "--tls-verify=false", image, f"docker://{host}/{NAME}")
        finally:
            shutil.rmtree(room / "store", ignore_errors=True)
        (room / "storage").rename(storage)


@contextmanager
def registry(storage: Path, room: Path) -> Iterator[str]:
    """docker-registry over a folder, at a port that the system gives, until the block ends."""
    config, log = room / "config.yml", room / "registry.log"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp: {{addr: 127.0.0.1:0}}\n"
    )
    with log.open("wb") as out:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=out, stderr=out)
    try:
        yield listening(process, log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listening(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.05)
    raise SystemExit(f"docker-registry does not listen:\n{log.read_text(errors='replace')[-2000:]}")


def tell(*words: str) -> str:
    """Run a command to its end, and give the last line that it printed."""
    try:
        done = subprocess.run(
            words, stdout=subprocess.PIPE, text=True, timeout=1800, check=True, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise SystemExit(f"{words[0]} is not installed; scripts/parts installs it") from None
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise SystemExit(f"{words[0]} failed: {error}") from None
    lines = done.stdout.strip().splitlines()
    return lines[-1] if lines else ""


if __name__ == "__main__":
    sys.exit(main())
