"""Real registries that believe a token server and grant no more than was asked: RS256 tokens of our own making."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.e2e import layouts
from tests.e2e.line import Line
from tests.e2e.servers import Ocibuild, Part, Served, finished, self_signed, serving
from tests.e2e.tokens import Tokens
from tests.registry.scripted import PLANTED

pytestmark = pytest.mark.real
MIB = 1024 * 1024
LOGIN = ("--username", "ada", "--password-stdin")
PASSWORD = f"{PLANTED}\n"

Guarded = Callable[..., AbstractContextManager[tuple[Served, Tokens]]]


@pytest.fixture(params=["docker-registry", "distribution"])
def guarded(request: pytest.FixtureRequest, part: Part, tmp_path: Path) -> Guarded:
    """Starts a registry and the token server it believes; keywords are the token server's."""

    @contextmanager
    def start(**rules: object) -> Iterator[tuple[Served, Tokens]]:
        openssl = part("openssl")
        certificate, key = self_signed(openssl, tmp_path, "tokens")
        people = {"ada": PLANTED}
        with (
            Tokens(openssl, certificate, key, people, **rules) as tokens,  # type: ignore[arg-type]
            serving(request.param, part, tmp_path / "registry", tokens.lines) as served,
        ):
            yield served, tokens

    return start


def test_each_repository_has_its_own_token(guarded: Guarded, ocibuild: Ocibuild, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(2 * MIB), b"a", b"b", b"c"])
    with guarded() as (served, tokens):
        host = served.host
        ocibuild("push", *LOGIN, tmp_path / "image", f"{host}/one/a:1", f"{host}/two/b:1", stdin=PASSWORD)
        assert len(set(map(frozenset, tokens.scopes))) == len(tokens.scopes) <= 5, tokens.scopes
        asked = {scope for scopes in tokens.scopes for scope in scopes}
        assert all("one/a" in scope or "two/b" in scope for scope in asked)
        ocibuild("copy", *LOGIN, f"{host}/one/a:1", f"oci:{tmp_path}/back:1", stdin=PASSWORD)
        assert layouts.root(tmp_path / "back") == digest


def test_a_mount_asks_for_both_repositories(guarded: Guarded, ocibuild: Ocibuild, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(2 * MIB), b"a"])
    with guarded() as (served, tokens):
        ocibuild("push", *LOGIN, tmp_path / "image", f"{served.host}/from:1", stdin=PASSWORD)
        words = ("copy", "--json", *LOGIN, f"{served.host}/from:1", f"{served.host}/to:1")
        said = json.loads(ocibuild(*words, stdin=PASSWORD))
        assert (said["mounted"], said["written"]) == (3, 1)
        assert any({"repository:from:pull"} <= set(scopes) and len(scopes) > 1 for scopes in tokens.scopes)
        assert ocibuild("digest", *LOGIN, f"{served.host}/to:1", stdin=PASSWORD).strip() == digest


def test_without_a_login_what_is_public_may_be_pulled_and_nothing_else(
    guarded: Guarded, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    digest = layouts.write(tmp_path / "image", [b"a"])
    with guarded(public=["open"]) as (served, _):
        host = served.host
        ocibuild("push", *LOGIN, tmp_path / "image", f"{host}/open:1", f"{host}/shut:1", stdin=PASSWORD)
        assert ocibuild("digest", f"{host}/open:1").strip() == digest
        ocibuild("copy", f"{host}/open:1", f"oci:{tmp_path}/back:1")
        assert len(layouts.graph(tmp_path / "back", digest)) == 3
        for words in (("digest", f"{host}/shut:1"), ("push", tmp_path / "image", f"{host}/open:2")):
            said = ocibuild.run(*words)
            assert said.status == 4, said.err
            assert "Traceback" not in said.err


def test_a_wrong_password_is_said_to_be_wrong(guarded: Guarded, ocibuild: Ocibuild, tmp_path: Path) -> None:
    layouts.write(tmp_path / "image", [b"a"])
    with guarded() as (served, tokens):
        said = ocibuild.run("push", *LOGIN, tmp_path / "image", f"{served.host}/a:1", stdin="wrong-and-secret\n")
        assert said.status == 4
        assert "wrong-and-secret" not in said.err + said.out
        assert len(tokens.seen) <= 2, "a refused password was tried again and again"
        assert said.seconds < 20


def test_login_keeps_what_every_command_then_uses(guarded: Guarded, ocibuild: Ocibuild, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [b"a"])
    with guarded() as (served, _):
        said = ocibuild.run("login", served.host, *LOGIN, stdin="wrong-and-secret\n")
        assert said.status == 4, said.err
        ocibuild("login", served.host, *LOGIN, stdin=PASSWORD)
        ocibuild("push", tmp_path / "image", f"{served.host}/a:1")
        assert ocibuild("digest", f"{served.host}/a:1").strip() == digest
        ocibuild("logout", served.host)
        assert ocibuild.run("digest", f"{served.host}/a:1").status == 4


def test_tokens_that_lapse_during_an_upload_are_renewed(guarded: Guarded, ocibuild: Ocibuild, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(4 * MIB, n) for n in range(6)])
    with guarded(good=3) as (served, tokens), Line(served.host, speed=MIB) as line:
        said = ocibuild.run("push", *LOGIN, tmp_path / "image", f"{line.host}/slow:1", stdin=PASSWORD)
        assert said.status == 0, said.err
        assert said.seconds > 4
        assert 2 <= len(tokens.seen) <= 40
        assert ocibuild("digest", *LOGIN, f"{served.host}/slow:1", stdin=PASSWORD).strip() == digest


def test_tokens_that_lapse_sooner_than_was_said_are_renewed(
    guarded: Guarded, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(4 * MIB, n) for n in range(6)])
    with guarded(good=3, told=300) as (served, tokens), Line(served.host, speed=MIB) as line:
        said = ocibuild.run("push", *LOGIN, tmp_path / "image", f"{line.host}/slow:1", stdin=PASSWORD)
        assert said.status == 0, said.err
        assert said.seconds > 4
        assert ocibuild("digest", *LOGIN, f"{served.host}/slow:1", stdin=PASSWORD).strip() == digest
        assert 2 <= len(tokens.seen) <= 40


def test_a_registry_killed_and_returned_still_gets_its_token(
    guarded: Guarded, ocibuild: Ocibuild, tmp_path: Path
) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(24 * MIB), b"a"])
    with guarded(good=3) as (served, _), Line(served.host, speed=8 * MIB) as line:
        ocibuild("login", line.host, *LOGIN, stdin=PASSWORD)
        process = ocibuild.begin("push", tmp_path / "image", f"{line.host}/killed:1")
        assert line.passed(lambda line: line.up > 12 * MIB)
        served.kill()
        time.sleep(0.5)
        served.start()
        said = finished(process)
        assert said.status == 0, said.err
        assert ocibuild("digest", *LOGIN, f"{served.host}/killed:1", stdin=PASSWORD).strip() == digest
