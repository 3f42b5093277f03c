"""`ocibuild serve`: how it starts, who it lets in, how it ends."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from ocibuild.api import serve as api
from ocibuild.api.serve import Serving, serve
from ocibuild.errors import OcibuildError
from ocibuild.serve.access import Access, read_htpasswd
from tests.serve.asking import MANIFEST, Asker, answering, digest_of

ROOT = Path(__file__).parents[2]
TOKEN = "t0ken-that-is-long-enough"


@contextmanager
def process(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """`ocibuild serve` as people run it; killed where the test did not end it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(
        [sys.executable, "-m", "ocibuild", "serve", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate(timeout=10)


def port_of(running: subprocess.Popen[str]) -> int:
    assert running.stdout is not None
    host, _, port = running.stdout.readline().strip().partition(":")
    assert host == "localhost"
    return int(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_where_it_listens_and_ends_within_a_second(tmp_path: Path, number: int) -> None:
    with process(tmp_path / "new" / "registry", "--port", "0") as running:
        served = Asker(port_of(running))
        served.image("a", "v1")
        with socket.create_connection(("127.0.0.1", served.port)) as idle:
            idle.sendall(b"GET /v2/ HT")
            began = time.monotonic()
            running.send_signal(number)
            assert running.wait(10) == 0
            assert time.monotonic() - began < 2
        assert running.stderr is not None
        assert running.stderr.read() == f"serving {tmp_path}/new/registry; Ctrl-C ends it\n"
    assert json.loads((tmp_path / "new/registry/a/index.json").read_bytes())["manifests"]


def test_json_says_where_it_listens(tmp_path: Path) -> None:
    with process(tmp_path, "--port", "0", "--json", "--quiet") as running:
        assert running.stdout is not None
        text = ""
        for _ in range(5):
            text += running.stdout.readline()
        said = json.loads(text)
        assert said["scheme"] == "http"
        assert Asker(int(said["address"].partition(":")[2])).ask("GET", "/v2/").status == 200


def test_a_signal_cuts_an_upload_that_goes_on_after_it(tmp_path: Path) -> None:
    with process(tmp_path, "--port", "0") as running:
        served = Asker(port_of(running))
        location = served.ask("POST", "/v2/a/blobs/uploads/", b"").headers["location"]
        with socket.create_connection(("127.0.0.1", served.port)) as slow:
            slow.sendall(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello".encode())
            time.sleep(0.2)
            began = time.monotonic()
            running.send_signal(signal.SIGTERM)
            assert running.wait(10) == 0
            assert time.monotonic() - began < 2
    with answering(tmp_path) as served:
        assert served.ask("GET", location).headers["range"] == "0-4"


# A layout that is there already


def test_a_layout_is_served_as_it_is(tmp_path: Path) -> None:
    with answering(tmp_path / "registry") as served:
        digest = served.image("made/elsewhere", "v1")
    folder = tmp_path / "registry" / "made" / "elsewhere"
    before = sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))
    with answering(folder, access=Access(read_only=True)) as served:
        assert served.ask("GET", "/v2/_catalog").json == {"repositories": ["elsewhere"]}
        assert served.ask("GET", "/v2/elsewhere/manifests/v1").headers["docker-content-digest"] == digest
        told = served.ask("POST", "/v2/elsewhere/blobs/uploads/", b"")
        assert (told.status, told.code) == (405, "UNSUPPORTED")
        assert served.ask("DELETE", "/v2/elsewhere/manifests/v1").status == 405
        assert served.ask("GET", "/v2/other/tags/list").code == "NAME_UNKNOWN"
    assert sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*")) == before
    with answering(folder, name="team/app") as served:
        assert served.ask("GET", "/v2/team/app/tags/list").json["tags"] == ["v1"]
        served.image("team/app", "v2", "two")
        assert served.ask("POST", "/v2/other/blobs/uploads/", b"").code == "NAME_UNKNOWN"


@pytest.mark.parametrize(("folder", "name"), [("Hello World.oci", "hello-world"), ("app", "app"), ("___", "image")])
def test_a_lone_layout_is_called_as_its_folder(tmp_path: Path, folder: str, name: str) -> None:
    with answering(tmp_path / "registry") as served:
        served.image("a", "v1")
    (tmp_path / "registry" / "a").rename(tmp_path / folder)
    with answering(tmp_path / folder) as served:
        assert served.ask("GET", f"/v2/{name}/tags/list").json["tags"] == ["v1"]


# Who is let in


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def test_without_a_token_nothing_is_shown(tmp_path: Path) -> None:
    with answering(tmp_path, access=Access(tokens=(TOKEN,))) as served:
        told = served.ask("GET", "/v2/")
        assert (told.status, told.code) == (401, "UNAUTHORIZED")
        assert told.headers["www-authenticate"].startswith("Basic realm=")
        for right in (f"Bearer {TOKEN}", basic("anybody", TOKEN)):
            assert served.ask("GET", "/v2/", Authorization=right).status == 200
        for wrong in ("Bearer x", basic("a", "b"), "Basic ???", "Basic", "Digest x", basic(TOKEN, ""), "Basic /w=="):
            assert served.ask("GET", "/v2/", Authorization=wrong).status == 401, wrong


def test_everybody_may_pull_where_that_was_said(tmp_path: Path) -> None:
    with answering(tmp_path) as served:
        digest = served.image("a", "v1")
    with answering(tmp_path, access=Access(tokens=(TOKEN,), anonymous_pull=True)) as served:
        assert served.ask("GET", "/v2/a/manifests/v1").status == 200
        for method, path in (("POST", "/v2/a/blobs/uploads/"), ("DELETE", f"/v2/a/manifests/{digest}")):
            assert served.ask(method, path, b"").status == 401
            assert served.ask(method, path, b"", Authorization=f"Bearer {TOKEN}").status == 202
        assert served.ask("GET", "/v2/", Authorization="Bearer wrong").status == 401


def test_a_read_only_registry_refuses_those_it_knows_too(tmp_path: Path) -> None:
    with answering(tmp_path, access=Access(tokens=(TOKEN,), read_only=True)) as served:
        told = served.ask("PUT", "/v2/a/manifests/v1", b"{}", Content_Type=MANIFEST, Authorization=f"Bearer {TOKEN}")
        assert (told.status, told.code) == (405, "UNSUPPORTED")


# What is refused before it listens


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"host": "0.0.0.0"}, "serve-exposed"),
        ({"host": "0.0.0.0", "token": f"{TOKEN}\n"}, "serve-exposed"),
        ({"host": "example.com"}, "serve-exposed"),
        ({"htpasswd": "no colon\n"}, "htpasswd-invalid"),
        ({"htpasswd": "plain:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n"}, "htpasswd-invalid"),
        ({"htpasswd": "ada:$2y$99$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC\n"}, "htpasswd-invalid"),
        ({"htpasswd": "# nobody\n"}, "htpasswd-invalid"),
        ({"token": "short\n"}, "token-file-invalid"),
        ({"token": "\n"}, "token-file-invalid"),
        ({"tls_cert": "no certificate"}, "tls-invalid"),
        ({"tls_key": "a key alone"}, "usage"),
        ({"name": "../up"}, "reference-invalid"),
        ({"folder": Path(__file__)}, "not-a-layout"),
        ({"folder": Path("nowhere"), "read_only": True}, "not-a-layout"),
    ],
)
def test_what_cannot_be_served_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(api.importlib.util, "find_spec", lambda name: name)
    serving = Serving(tmp_path / "registry", port=0)
    for field, value in more.items():
        if field in ("htpasswd", "token", "tls_cert", "tls_key"):
            file = tmp_path / field
            file.write_text(value)
            field, value = {"token": "token_file"}.get(field, field), file
        serving = replace(serving, **{field: value})
    with pytest.raises(OcibuildError) as caught, serve(serving):
        pass
    assert caught.value.code == code
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize(
    ("option", "code"),
    [
        ("token_file", "token-file-invalid"),
        ("htpasswd", "htpasswd-invalid"),
        ("tls_cert", "tls-invalid"),
    ],
)
def test_a_file_that_is_not_there_or_is_no_text_is_said_in_words(tmp_path: Path, option: str, code: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    for name, words in (
        ("none", "is not there"),
        ("binary", "no text in UTF-8|cannot be used"),
        (".", "cannot|not there"),
    ):
        with pytest.raises(OcibuildError) as caught:
            serve(Serving(tmp_path, **{option: tmp_path / name}))  # type: ignore[arg-type]
        assert caught.value.code == code
        assert re.search(words, caught.value.message)
        assert "Errno" not in caught.value.message


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(OcibuildError) as caught:
        serve(Serving(tmp_path, port=other.getsockname()[1])).__enter__()
    assert caught.value.code == "address-in-use"
    assert caught.value.message.endswith("cannot be listened on: Address already in use")


@pytest.mark.parametrize("missing", ["cheroot", "bcrypt"])
def test_packages_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(api.importlib.util, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(OcibuildError) as caught:
        serve(Serving(tmp_path, htpasswd=tmp_path / "users"))
    assert caught.value.code == "extra-missing"
    assert missing in caught.value.message


def test_anybody_may_come_where_it_was_said_that_they_may(tmp_path: Path) -> None:
    with serve(Serving(tmp_path, host="0.0.0.0", port=0, insecure=True)) as served:
        port = int(served.address.rpartition(":")[2])
        assert Asker(port).ask("GET", "/v2/").status == 200


# In this process


def test_a_registry_within_a_program(tmp_path: Path) -> None:
    with serve(Serving(tmp_path, port=0, collect=3600.0)) as served:
        asker = Asker(int(served.address.removeprefix("localhost:")))
        asker.image("a", "v1")
        assert served.registry.tags("a") == ["v1"]
        told = asker.ask("GET", f"/v2/a/blobs/{digest_of(b'hello')}")
        assert told.body == b"hello"
    with pytest.raises(ConnectionRefusedError):
        asker.ask("GET", "/v2/")


# Names and passwords


# Made by the C library's crypt(3), of libxcrypt 4.4.
ENTRIES = """\
# those who may come
ada:$2y$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC
bob:$2y$04$abcdefghijklmnopqrstuuWPyT3zuK3JxmyXx5UFcdTiysSm3GF5K
"""


def test_names_and_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    checkpw = bcrypt.checkpw

    def counted(password: bytes, entry: bytes) -> bool:
        asked.append(password)
        return checkpw(password, entry)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    (tmp_path / "users").write_text(ENTRIES)
    with answering(tmp_path / "registry", access=Access(users=read_htpasswd(tmp_path / "users"))) as served:
        assert served.ask("GET", "/v2/").status == 401
        for _ in range(3):
            assert served.ask("GET", "/v2/", Authorization=basic("ada", "right")).status == 200
        assert len(asked) == 1  # bcrypt is slow on purpose: who was right once is not computed again
        assert served.ask("GET", "/v2/", Authorization=basic("bob", "pässwort")).status == 200
        wrong = [("ada", "wrong"), ("ada", ""), ("bob", "right"), ("eve", "right"), ("", ""), ("ada", "x" * 500)]
        for name, password in [*wrong, ("ada", "right\0")]:
            assert served.ask("GET", "/v2/", Authorization=basic(name, password)).status == 401
        assert len(asked) == 2 + len(wrong) + 1  # names that are not there take as long as wrong passwords
        assert served.ask("GET", "/v2/", Authorization="Bearer right").status == 401
