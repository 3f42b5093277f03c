"""Logins against Debian's docker-registry behind htpasswd, read and written by podman, skopeo and crane too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.registry.test_credentials import KEEPER
from tests.registry.test_credentials import program as helper_program
from tests.registry.test_real import HTPASSWD, running

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]
PASSWORD = "love:lace"


@dataclass(frozen=True)
class Person:
    """Somebody with a home folder, and a registry that knows her as ada."""

    home: Path
    host: str

    def run(self, *command: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """A program, in her surroundings."""
        environ = {"HOME": str(self.home), "PATH": os.environ["PATH"]}
        return subprocess.run(
            command, input=said, env=environ, capture_output=True, text=True, timeout=120, cwd=self.home
        )

    def ocibuild(self, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """Us, in her surroundings."""
        source = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from ocibuild.cli import main; main()"
        return self.run(sys.executable, "-c", source, *words, said=said)

    def logged_in(self) -> Person:
        """Herself, after logging in with us."""
        done = self.ocibuild("login", self.host, "-u", "ada", "--password-stdin", said=PASSWORD)
        assert done.returncode == 0, done.stderr
        return self


@pytest.fixture
def person(part: Callable[[str], str], tmp_path: Path) -> Iterator[Person]:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    (tmp_path / "home").mkdir()
    lines = ("auth:", f"  htpasswd: {{realm: here, path: {tmp_path / 'htpasswd'}}}")
    with running(part("docker-registry"), tmp_path, *lines) as host:
        yield Person(tmp_path / "home", host)


@pytest.mark.parametrize("name", ["podman", "skopeo"])
def test_others_read_what_we_write(person: Person, part: Callable[[str], str], name: str) -> None:
    reader = part(name)
    assert person.run(reader, "login", "--get-login", person.host).returncode != 0
    person.logged_in()
    found = person.run(reader, "login", "--get-login", person.host)
    assert found.stdout == "ada\n", found.stderr
    person.ocibuild("logout", person.host)
    assert person.run(reader, "login", "--get-login", person.host).returncode != 0


def test_skopeo_pulls_with_our_login_what_we_push(person: Person, part: Callable[[str], str]) -> None:
    skopeo = part("skopeo")
    (person.home / "hello.wasm").write_bytes(b"\0asm\1\0\0\0")
    person.logged_in()
    assert person.ocibuild("pack", "hello.wasm", "-t", f"{person.host}/a:1", "--push").returncode == 0
    inspect = (skopeo, "inspect", "--raw", "--tls-verify=false", f"docker://{person.host}/a:1")
    assert json.loads(person.run(*inspect).stdout)["schemaVersion"] == 2
    person.ocibuild("logout", person.host)
    assert person.run(*inspect).returncode != 0


def test_crane_reads_our_login_and_the_helper_s(person: Person, part: Callable[[str], str], tmp_path: Path) -> None:
    crane = part("crane")
    person.logged_in()
    assert json.loads(person.run(crane, "auth", "get", person.host).stdout) == {"Username": "ada", "Secret": PASSWORD}
    (tmp_path / "bin").mkdir()
    helper_program(tmp_path / "bin", "keeper", KEEPER)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    (person.home / ".docker" / "config.json").write_text('{"credsStore": "keeper"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", path)
        person.logged_in()
        assert PASSWORD not in (person.home / ".docker" / "config.json").read_text()
        found = person.run(crane, "auth", "get", person.host)
        assert json.loads(found.stdout) == {"Username": "ada", "Secret": PASSWORD}, found.stderr


def test_oras_lists_with_our_login(person: Person, part: Callable[[str], str]) -> None:
    command = (part("oras"), "repo", "ls", "--plain-http", person.host)
    assert person.run(*command).returncode != 0
    person.logged_in()
    done = person.run(*command)
    assert done.returncode == 0, done.stderr
    person.ocibuild("logout", person.host)
    assert person.run(*command).returncode != 0


@pytest.mark.parametrize("name", ["podman", "skopeo", "crane"])
def test_we_read_what_others_write(person: Person, part: Callable[[str], str], name: str) -> None:
    words = ["login", person.host, "-u", "ada", "-p", PASSWORD]
    flags = {"podman": ["--tls-verify=false"], "skopeo": ["--tls-verify=false"], "crane": []}[name]
    authfile = str(person.home / "theirs.json")
    flags += ["--authfile", authfile] if name != "crane" else []
    verb = ["auth"] if name == "crane" else []
    done = person.run(part(name), *verb, *words, *flags)
    assert done.returncode == 0, done.stderr
    ours = ("--authfile", authfile) if name != "crane" else ()
    account = person.ocibuild("auth", "explain", f"{person.host}/a", "--json", *ours)
    assert account.returncode == 0, account.stderr
    document = json.loads(account.stdout)
    assert (document["used"]["username"], document["ping"]["accepted"]) == ("ada", True)
    assert PASSWORD not in account.stdout
    assert person.host in person.ocibuild("login", "--list", *ours).stdout


def test_a_wrong_password_is_found_out(person: Person) -> None:
    done = person.ocibuild("login", person.host, "-u", "ada", "--password-stdin", said="wrong")
    assert (done.returncode, done.stdout) == (4, "")
    assert "[unauthorized]" in done.stderr
    assert list(person.home.iterdir()) == []


def test_docker_hub_s_entry_is_the_one_others_look_for(person: Person, part: Callable[[str], str]) -> None:
    # Without the network: the entry is written as `login` writes it, and crane and podman say whom they find.
    source = (
        "import sys; from pathlib import Path; from ocibuild.registry import login;"
        "from ocibuild.registry.credentials import Credential;"
        "login.keep(Path(sys.argv[1]), 'docker.io', Credential('ada', 'x'), {})"
    )
    config = str(person.home / ".docker" / "config.json")
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = [{str(ROOT)!r}]; {source}", config]
    assert person.run(*command).returncode == 0
    assert json.loads(person.run(part("crane"), "auth", "get", "index.docker.io").stdout)["Username"] == "ada"
    assert person.run(part("podman"), "login", "--get-login", "docker.io").stdout == "ada\n"
