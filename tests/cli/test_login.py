"""`login`, `logout` and `auth explain`, from outside: what is kept, who else reads it, and what is never shown."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

import ocibuild
from ocibuild.errors import AuthorizationError
from ocibuild.registry import helper
from tests.cli.conftest import Ran
from tests.registry.double import Registry
from tests.registry.scripted import PLANTED, Answer, Scripted
from tests.registry.test_credentials import KEEPER, program

Run = Callable[..., Ran]
ROOT = Path(__file__).parents[2]
SECRET = f"{PLANTED}:lace"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of one's own, and nothing of the machine's."""
    for name in ("XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "GITHUB_ACTIONS", "CI_REGISTRY", "CI_DEPENDENCY_PROXY_SERVER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What comes in on stdin."""
    return lambda text: monkeypatch.setattr(sys, "stdin", StringIO(text))


def kept(home: Path) -> dict[str, object]:
    document = json.loads((home / ".docker" / "config.json").read_text())
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize("basic", [True, False], ids=["basic", "tokens"])
def test_a_login_is_proven_and_kept_and_used(run: Run, folder: Path, home: Path, say, basic: bool) -> None:
    with Registry(user="ada", password=SECRET, basic=basic) as registry:
        say(SECRET + "\n")
        ran = run("login", registry.host, "-u", "ada", "--password-stdin")
        assert (ran.status, ran.out) == (0, f"logged in to {registry.host}\n")
        assert f"unencrypted in {home}/.docker/config.json" in ran.err
        path = home / ".docker" / "config.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert run("pack", "hello.wasm", "-t", f"{registry.host}/a:1", "--push").status == 0
        ran = run("logout", registry.host)
        assert (ran.status, ran.out) == (0, f"logged out of {registry.host}\n")
        assert kept(home) == {"auths": {}}
        assert "[credentials-missing]" in run("digest", f"{registry.host}/a:1").err


@pytest.mark.parametrize("basic", [True, False], ids=["basic", "tokens"])
def test_a_wrong_password_is_not_kept(run: Run, home: Path, say, basic: bool) -> None:
    with Registry(user="ada", password="other", basic=basic) as registry:
        say(SECRET)
        ran = run("login", registry.host, "-u", "ada", "--password-stdin")
    assert (ran.status, ran.out) == (4, "")
    assert SECRET not in ran.err
    assert list(home.iterdir()) == []


def test_a_login_as_json(run: Run, home: Path, say) -> None:
    with Registry(user="ada", password=SECRET, basic=True) as registry:
        say(SECRET)
        ran = run("login", f"http://{registry.host}/", "-u", "ada", "--password-stdin", "--json", "-q")
    assert ran.err == ""
    assert json.loads(ran.out) == {
        "registry": registry.host,
        "username": "ada",
        "where": str(home / ".docker" / "config.json"),
        "unencrypted": True,
        "proven": True,
        "shadowed": None,
    }


@pytest.mark.fault(45)
def test_a_password_of_many_lines(run: Run, folder: Path, home: Path, say) -> None:
    key = '{\n  "type": "service_account"\n}'
    with Registry(user="_json_key", password=key, basic=True) as registry:
        say(key + "\n")
        assert run("login", registry.host, "-u", "_json_key", "--password-stdin").status == 0
        say(key + "\n")
        words = ("--username", "_json_key", "--password-stdin")
        assert run("pack", "hello.wasm", "-t", f"{registry.host}/a:1", "--push", *words).status == 0


def test_a_registry_that_asks_for_nothing_proves_nothing(run: Run, home: Path, say) -> None:
    with Registry() as registry:
        say(SECRET)
        ran = run("login", registry.host, "-u", "ada", "--password-stdin")
    assert ran.status == 0
    assert "did not ask for a login" in ran.err


@pytest.mark.parametrize(
    "answer, status, code",
    [
        (Answer(200, {"Content-Type": "text/html"}, b"<title>Sign in</title>"), 1, "not-a-registry"),
        (Answer(404), 1, "repository-unknown"),
        (Answer(403), 4, "forbidden"),
    ],
)
def test_what_is_no_registry_gets_no_login(run: Run, home: Path, say, answer: Answer, status: int, code: str) -> None:
    with Scripted({"GET /v2/": answer}) as server:
        say(SECRET)
        ran = run("login", server.host, "-u", "ada", "--password-stdin")
    assert ran.status == status
    assert f"[{code}]" in ran.err
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "words, code",
    [
        (("login",), "usage"),
        (("login", "r.example/team", "-u", "a", "--password-stdin"), "reference-invalid"),
        (("login", "r.example:0", "-u", "a", "--password-stdin"), "reference-invalid"),
        (("login", "r.example", "--password-stdin"), "usage"),
        (("login", "r.example", "-u", "a"), "usage"),
        (("login", "r.example", "-u", "a:b", "--password-stdin"), "credentials-invalid"),
        (("login", "r.example", "-u", "a\nb", "--password-stdin"), "credentials-invalid"),
        (("logout", "r.example/team"), "reference-invalid"),
        (("auth", "explain", "Upper/Case"), "reference-invalid"),
        (("auth", "forget", "r.example"), "usage"),
    ],
)
def test_what_cannot_be_meant(run: Run, home: Path, say, words: tuple[str, ...], code: str) -> None:
    say(SECRET)
    ran = run(*words)
    assert (ran.status, ran.out) == (2, "")
    assert f"[{code}]" in ran.err
    assert SECRET not in ran.err


def test_an_empty_password(run: Run, home: Path, say) -> None:
    say("\n")
    assert "[credentials-invalid]" in run("login", "r.example", "-u", "a", "--password-stdin").err


def test_another_file(run: Run, home: Path, say, monkeypatch: pytest.MonkeyPatch) -> None:
    with Registry(user="ada", password=SECRET, basic=True) as registry:
        for number, named in enumerate(("option.json", "variable.json")):
            path = home / named
            words = ("--authfile", str(path)) if number == 0 else ()
            if number:
                monkeypatch.setenv("REGISTRY_AUTH_FILE", str(path))
            say(SECRET)
            assert run("login", registry.host, "-u", "ada", "--password-stdin", *words).status == 0
            assert registry.host in json.loads(path.read_text())["auths"]
            assert f"{registry.host}  password of ada  {path}" in run("login", "--list", *words).out
            assert run("logout", registry.host, *words).status == 0
            assert json.loads(path.read_text()) == {"auths": {}}
    assert not (home / ".docker").exists()


def test_a_login_that_another_place_goes_before(run: Run, home: Path, say, monkeypatch: pytest.MonkeyPatch) -> None:
    with Registry(user="ada", password=SECRET, basic=True) as registry:
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", json.dumps({"auths": {registry.host: {"auth": "YTpi"}}}))
        say(SECRET)
        ran = run("login", registry.host, "-u", "ada", "--password-stdin")
        assert (ran.status, f"DOCKER_AUTH_CONFIG knows {registry.host} too" in ran.err) == (0, True)
        ran = run("logout", registry.host)
        assert f"DOCKER_AUTH_CONFIG still knows {registry.host}" in ran.err


def test_logging_out_where_nobody_is_logged_in(run: Run, home: Path) -> None:
    ran = run("logout", "r.example")
    assert (ran.status, ran.out, ran.err) == (0, "", "there was no login for r.example\n")
    assert list(home.iterdir()) == []
    assert json.loads(run("logout", "r.example", "--json").out)["removed"] == []


def test_a_helper_keeps_it(run: Run, home: Path, say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", program(tmp_path / "bin", "keeper", KEEPER))
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credsStore": "keeper"}')
    with Registry(user="ada", password=SECRET) as registry:
        say(SECRET)
        ran = run("login", registry.host, "-u", "ada", "--password-stdin")
        assert (ran.status, ran.err) == (0, "")
        assert kept(home) == {"credsStore": "keeper", "auths": {registry.host: {}}}
        assert run("login", "--list").out == f"{registry.host}  password of ada  docker-credential-keeper\n"
        account = run("auth", "explain", registry.host)
        assert (account.status, "password of ada from docker-credential-keeper" in account.out) == (0, True)
        assert run("logout", registry.host, "--json").out.count("docker-credential-keeper") == 1
        assert run("login", "--list").out == ""


def test_a_helper_is_asked_once_a_command(
    run: Run, folder: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", program(tmp_path / "bin", "keeper", KEEPER))
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credsStore": "keeper"}')
    with Registry(user="ada", password=SECRET) as registry:
        helper.store("keeper", registry.host, "ada", SECRET, os.environ)
        tags = [word for name in ("a", "b", "c") for word in ("-t", f"{registry.host}/{name}:1")]
        assert run("pack", "hello.wasm", *tags, "--push").status == 0
        assert run("auth", "explain", registry.host).status == 0
    log = tmp_path / "bin" / "docker-credential-keeper.log"
    assert log.read_text().split() == ["store", "get", "get"]


def test_a_helper_that_is_missing(run: Run, home: Path, say) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credsStore": "none-such"}')
    with Registry(user="ada", password=SECRET) as registry:
        say(SECRET)
        ran = run("login", registry.host, "-u", "ada", "--password-stdin")
        assert (ran.status, "[helper-missing]" in ran.err) == (1, True)
        assert "not installed" in run("login", "--list").err


# The terminal.


def test_the_password_is_asked_for_and_not_shown(home: Path) -> None:
    with Registry(user="ada", password=SECRET, basic=True) as registry:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", "ocibuild", "login", registry.host],
            stdin=slave, stdout=subprocess.PIPE, stderr=slave, cwd=ROOT, start_new_session=True,
        )  # fmt: skip
        os.close(slave)
        try:
            shown = typed(master, b"Username: ", b"ada\n")
            shown += typed(master, b"Password: ", SECRET.encode() + b"\n")
            out, _ = process.communicate(timeout=20)
            shown += rest(master)
        finally:
            process.kill()
            os.close(master)
    assert out.decode() == f"logged in to {registry.host}\n"
    assert b"ada" in shown
    assert SECRET.encode() not in shown
    assert registry.host in kept(home)["auths"]  # type: ignore[operator]


def typed(master: int, prompt: bytes, answer: bytes) -> bytes:
    """What the terminal showed up to a prompt, which is then answered. The blank at its end comes when the echo is off."""
    shown = b""
    deadline = time.monotonic() + 20
    while prompt not in shown and time.monotonic() < deadline:
        if select.select([master], [], [], 0.1)[0]:
            shown += os.read(master, 4096)
    os.write(master, answer)
    return shown


def rest(master: int) -> bytes:
    shown = b""
    while select.select([master], [], [], 0.1)[0]:
        try:
            piece = os.read(master, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not piece:
            break
        shown += piece
    return shown


def test_ctrl_c_ends_a_helper_that_waits_for_somebody(folder: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    path = program(tmp_path / "bin", "sleepy", "import pathlib, time\npathlib.Path('asked').touch()\ntime.sleep(60)")
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"credsStore": "sleepy"}')
    with Registry(user="ada", password=SECRET) as registry:
        source = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from ocibuild.cli import main; main()"
        words = ("pack", "hello.wasm", "-t", f"{registry.host}/a:1", "--push")
        environ = {"HOME": str(home), "PATH": path}
        process = subprocess.Popen(
            [sys.executable, "-c", source, *words], stderr=subprocess.PIPE, text=True, cwd=folder, env=environ
        )
        deadline = time.monotonic() + 30
        while not (folder / "asked").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert time.monotonic() - started < 2
    assert "Traceback" not in said


# Explaining.


def test_an_account_of_a_registry(run: Run, home: Path, say) -> None:
    with Registry(user="ada", password=SECRET) as registry:
        say(SECRET)
        run("login", registry.host, "-u", "ada", "--password-stdin")
        ran = run("auth", "explain", f"{registry.host}/team/app", "--json")
        people = run("auth", "explain", f"{registry.host}/team/app")
        token = next(iter(registry.tokens))
    assert ran.status == people.status == 0
    account = json.loads(ran.out)
    path = str(home / ".docker" / "config.json")
    assert [look["source"] for look in account["looked"] if look["used"]] == [path]
    assert account["used"] == {"source": path, "kind": "password", "username": "ada"}
    assert account["scopes"] == {"pull": ["repository:team/app:pull"], "push": ["repository:team/app:pull,push"]}
    ping = account["ping"]
    assert (ping["scheme"], ping["service"], ping["accepted"]) == ("bearer", "double", True)
    assert ping["realm"] == f"{registry.url}/token"
    for text in ("> " + path, "realm     " + ping["realm"], "accepted  yes", "to push   repository:team/app:pull,push"):
        assert text in people.out
    for secret in (SECRET, token):
        assert secret not in ran.out + ran.err + people.out + people.err


def test_an_account_of_a_refusal_has_its_status(run: Run, home: Path) -> None:
    (home / ".docker").mkdir()
    with Registry(user="ada", password=SECRET) as registry:
        entry = {"username": "ada", "password": "planted-wrong"}
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {registry.host: entry}}))
        ran = run("auth", "explain", registry.host, "--json")
        people = run("auth", "explain", registry.host)
        assert run("auth", "explain", registry.host, "--offline").status == 0
    assert (ran.status, people.status) == (4, 4)
    assert json.loads(ran.out)["ping"]["problem"]["code"] == "token-refused"
    assert "[token-refused]" in people.out
    assert "planted-wrong" not in ran.out + ran.err + people.out + people.err


def test_an_account_of_an_open_registry(run: Run, home: Path) -> None:
    with Registry() as registry:
        ran = run("auth", "explain", registry.host)
    assert ran.status == 0
    assert "used      nothing: requests are anonymous" in ran.out
    assert "asked for no login" in ran.out


def test_an_account_of_a_realm_that_is_not_told(run: Run, home: Path) -> None:
    challenge = 'Bearer realm="http://user:planted@elsewhere.example/token?planted=1",scope="a\x1b[31m"'
    with Scripted({"GET /v2/": Answer(401, {"WWW-Authenticate": challenge})}) as server:
        ran = run("auth", "explain", server.host)
    assert ran.status == 1
    assert "[realm-refused]" in ran.out
    assert "realm     http://elsewhere.example/token" in ran.out
    assert "planted" not in ran.out
    assert "\x1b" not in ran.out


def test_an_account_of_a_registry_that_is_not_there(run: Run, home: Path) -> None:
    ran = run("auth", "explain", "127.0.0.1:9", "--json")
    assert ran.status == 5
    assert json.loads(ran.out)["ping"]["problem"]["code"] == "connection-refused"


def test_an_account_without_a_network(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_TOKEN", "planted-github")
    ran = run("auth", "explain", "ghcr.io/me/app", "--offline")
    assert ran.status == 0
    assert "password of x-access-token" in ran.out
    assert "planted" not in ran.out
    account = json.loads(run("auth", "explain", "ubuntu/", "--offline", "--json").out)
    assert account["ping"] is None
    hub = json.loads(run("auth", "explain", "docker.io/ubuntu", "--offline", "--json").out)
    assert (hub["host"], hub["scopes"]["pull"]) == ("registry-1.docker.io", ["repository:library/ubuntu:pull"])


def test_a_damaged_file_is_named_in_the_account(run: Run, home: Path) -> None:
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text('{"auths": {"r.example": {"auth": "planted"')
    ran = run("auth", "explain", "r.example", "--offline")
    assert "is not a JSON object (line 1)" in ran.out
    assert "planted" not in ran.out


def test_credentials_for_one_command_are_in_the_account(run: Run, home: Path, say) -> None:
    say(SECRET)
    ran = run("auth", "explain", "r.example/a", "--offline", "--username", "ada", "--password-stdin")
    assert "> --username" in ran.out
    assert SECRET not in ran.out


# Nothing secret is shown, whatever is asked for.


@pytest.mark.fault(46)
@pytest.mark.parametrize("words", [("login",), ("auth", "explain"), ("digest",)], ids=lambda words: words[0])
@pytest.mark.parametrize("grant", ["refuses", "gives nonsense", "gives a void token"])
def test_secrets_are_in_no_output(home: Path, words: tuple[str, ...], grant: str) -> None:
    answers = {
        "refuses": Answer(401),
        "gives nonsense": Answer(200, {"Content-Type": "text/html"}, b"<title>planted-page</title>"[:7]),
        "gives a void token": Answer(200, body=b'{"token": "planted-token"}'),
    }
    (home / ".docker").mkdir()
    with Scripted({"GET /token.*": answers[grant]}) as server:
        server.entrusted = True
        server._script["GET /v2/.*"] = [Answer(401, {"WWW-Authenticate": f'Bearer realm="{server.url}/token"'})]
        server._script["HEAD /v2/.*"] = server._script["GET /v2/.*"]
        entry = {"username": "ada", "password": SECRET}
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {server.host: entry}}))
        place = f"{server.host}/a:1" if words[0] == "digest" else server.host
        login = ["-u", "ada", "--password-stdin"] if words[0] == "login" else []
        command = [sys.executable, "-m", "ocibuild", "--debug", *words, place, *login]
        done = subprocess.run(command, input=SECRET, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode != 0
    assert "planted" not in done.stdout + done.stderr


# In CI, with nothing set up but the service's own variables.


def test_a_gitlab_job_pushes_with_what_it_has(
    run: Run, folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Registry(user="gitlab-ci-token", password=SECRET) as registry, Registry() as other:
        monkeypatch.setenv("CI_REGISTRY", registry.host)
        monkeypatch.setenv("CI_JOB_TOKEN", SECRET)
        assert run("pack", "hello.wasm", "-t", f"{registry.host}/a:1", "--push").status == 0
        assert run("pack", "hello.wasm", "-t", f"{other.host}/a:1", "--push").status == 0
        assert all("authorization" not in request.headers for request in other.seen)


# The library.


def test_the_library_logs_in_and_out(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    with Registry(user="ada", password=SECRET, basic=True) as registry:
        done = ocibuild.login(registry.host, "ada", SECRET, authfile=str(path))
        assert (done.where, done.is_plain, done.is_proven) == (str(path), True, True)
        with pytest.raises(AuthorizationError):
            ocibuild.login(registry.host, "ada", "wrong", authfile=str(path))
        account = ocibuild.explain(registry.host, authfile=str(path))
        assert account["ping"]["accepted"] is True
        assert [login.host for login in ocibuild.logins(authfile=str(path))[0]][:1] == [registry.host]
        assert ocibuild.logout(registry.host, authfile=str(path)).removed == (str(path),)
