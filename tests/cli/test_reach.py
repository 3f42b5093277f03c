"""The options that say how a registry is reached, and this machine's files, from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.registry.authority import Authority
from tests.registry.double import Registry

Run = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, so that nothing of the user's is read."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return folder


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as found:
        yield found


def pushed(run: Run, registry: Registry) -> str:
    ran = run("pack", "hello.wasm", "-t", f"{registry.host}/hello:1", "--push")
    assert ran.status == 0, ran.err
    return ran.out.strip().partition("@")[2]


def test_a_mirror_of_the_user_s_file_is_read_from_and_not_written_to(
    run: Run, folder: Path, home: Path, registry: Registry
) -> None:
    with Registry() as upstream:
        conf = home / ".config/containers/registries.conf"
        conf.parent.mkdir(parents=True)
        conf.write_text(
            f'[[registry]]\nlocation = "{upstream.host}"\n[[registry.mirror]]\nlocation = "{registry.host}"\n'
        )
        digest = pushed(run, registry)
        registry.seen.clear()
        assert run("digest", f"{upstream.host}/hello:1").out.strip() == digest
        assert upstream.seen == []
        assert registry.seen
        registry.seen.clear()
        assert pushed(run, upstream) == digest
        assert registry.seen == []
        upstream.seen.clear()
        assert run("digest", f"{upstream.host}/hello:1", "--no-mirrors").out.strip() == digest
        assert registry.seen == []


def test_a_mirror_that_fails_is_told_on_stderr_and_not_when_quiet(
    run: Run, folder: Path, home: Path, registry: Registry
) -> None:
    digest = pushed(run, registry)
    conf = home / ".config/containers/registries.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(f'[[registry]]\nlocation = "{registry.host}"\n[[registry.mirror]]\nlocation = "127.0.0.1:9"\n')
    ran = run("digest", f"{registry.host}/hello:1")
    assert (ran.status, ran.out.strip()) == (0, digest)
    assert ran.err.count("going on without the mirror 127.0.0.1:9") == 1
    assert len(ran.err.splitlines()) == 1
    assert run("digest", f"{registry.host}/hello:1", "--quiet").err == ""


def test_a_blocked_registry_is_wrong_usage(run: Run, folder: Path, home: Path, registry: Registry) -> None:
    conf = home / ".config/containers/registries.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(f'[[registry]]\nlocation = "{registry.host}"\nblocked = true\n')
    run("pack", "hello.wasm")
    for words in (["push", "hello.oci", f"{registry.host}/hello:1"], ["digest", f"{registry.host}/hello:1"]):
        ran = run(*words)
        assert ran.status == 2
        assert "[registry-blocked]" in ran.err
    assert registry.seen == []


def test_a_client_certificate_on_the_command_line(
    run: Run, folder: Path, home: Path, part: Callable[[str], str], tmp_path: Path
) -> None:
    authority = Authority(part("openssl"), tmp_path / "authority")
    certificate, key = authority.issue("ada")
    with Registry() as registry:
        registry.tls = authority.serving(clients=authority.certificate)
        hosts = home / ".config/containerd/certs.d" / registry.host / "hosts.toml"
        hosts.parent.mkdir(parents=True)
        hosts.write_text(f'server = "https://{registry.host}"\n')
        words = [
            "pack",
            "hello.wasm",
            "-t",
            f"{registry.host}/hello:1",
            "--push",
            "--ca-file",
            str(authority.certificate),
        ]
        ran = run(*words)
        assert ran.status == 5
        assert "[client-certificate-missing]" in ran.err
        ran = run(*words, "--cert", str(certificate), "--key", str(key))
        assert ran.status == 0, ran.err
        assert all(seen.shown for seen in registry.seen)
        ran = run(*words, "--cert", str(certificate), "--key", str(authority.certificate))
        assert ran.status == 2
        assert "[client-certificate-invalid]" in ran.err


def test_a_key_alone_is_wrong_usage(run: Run, folder: Path) -> None:
    ran = run("pack", "hello.wasm", "-t", "127.0.0.1:9/hello:1", "--push", "--key", "k.pem")
    assert ran.status == 2
    assert "--cert" in ran.err
    assert run("copy", "hello.wasm", "oci:x", "--cert", "c.pem").status == 2
