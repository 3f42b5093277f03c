"""Every option shows in the image, and is refused where it cannot be meant."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.pack import pack
from ocibuild.binary.artifact import inspect_bytes
from ocibuild.binary.elf import ElfFacts
from ocibuild.binary.gobuild import GoBuild
from ocibuild.content.codec import decompressed
from ocibuild.errors import InputError, OcibuildError, ToolError, UsageError
from ocibuild.pack import additions, git, naming
from ocibuild.pack.describe import described
from ocibuild.pack.options import Options, about
from ocibuild.spec import mediatype
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.store.base import fetch
from ocibuild.store.graph import node
from ocibuild.store.layout import LayoutStore
from ocibuild.testing import programs


class Image:
    """A packed image, opened up."""

    def __init__(self, place: Path) -> None:
        store = LayoutStore(place)
        root = store.resolve("")
        document = node(store, root)
        self.index = document if isinstance(document, Index) else None
        if isinstance(document, Index):
            self.entry = document.manifests[-1]
            document = node(store, self.entry)
        assert isinstance(document, Manifest)
        self.manifest = document
        self.document = json.loads(fetch(store, document.config))
        self.config = self.document.get("config", {})
        compression = mediatype.tar_compression(document.layers[-1].media_type)
        if compression:
            data = fetch(store, document.layers[-1], 64 << 20)
            self.tar = decompressed(io.BytesIO(data), compression, "").read()
            with tarfile.open(fileobj=io.BytesIO(self.tar)) as archive:
                self.members = {member.name: member for member in archive}

    def read(self, name: str) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(self.tar)) as archive:
            stream = archive.extractfile(name)
            assert stream is not None
            return stream.read()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    Path("hello.wasm").write_bytes(programs.MODULE)
    return tmp_path


count = 0


def made(**said: Any) -> Image:
    global count
    count += 1
    pack("hello.wasm", output=f"oci:{count}.oci", **said)
    return Image(Path(f"{count}.oci"))


def refused(code: str, **said: Any) -> OcibuildError:
    with pytest.raises(OcibuildError) as caught:
        made(**said)
    assert caught.value.code == code
    return caught.value


def test_what_is_started(here: Path) -> None:
    image = made(entrypoint="/hello.wasm --x 'a b'", cmd='["one", "two three"]')
    assert image.config["Entrypoint"] == ["/hello.wasm", "--x", "a b"]
    assert image.config["Cmd"] == ["one", "two three"]
    for bad in ("'open", "[1", "[1, 2]", '[["a"]]'):
        assert refused("words-invalid", cmd=bad)


def test_environment_labels_user_and_folder(here: Path) -> None:
    image = made(env=["A=1", "PATH=/bin", "A=2", "E="], label={"l": "x=y"}, user="1000:1000", workdir="/srv")
    assert image.config["Env"] == ["PATH=/bin", "A=2", "E="]
    assert image.config["Labels"] == {"l": "x=y"}
    assert (image.config["User"], image.config["WorkingDir"]) == ("1000:1000", "/srv")
    refused("pair-invalid", env=["A"])
    refused("pair-invalid", label=["=x"])
    refused("path-invalid", workdir="srv")


def test_ports_volumes_signal_author_and_time(here: Path) -> None:
    image = made(
        expose=["8080", "53/udp", "8080/tcp", "443/sctp"],
        volume=["/b", "/a", "/a"],
        stop_signal="SIGINT",
        author="me",
        created="2026-01-31T12:00:00Z",
    )
    assert image.config["ExposedPorts"] == {"443/sctp": {}, "53/udp": {}, "8080/tcp": {}}
    assert image.config["Volumes"] == {"/a": {}, "/b": {}}
    assert image.config["StopSignal"] == "SIGINT"
    assert (image.document["author"], image.document["created"]) == ("me", "2026-01-31T12:00:00Z")
    assert {member.mtime for member in image.members.values()} == {1769860800}
    for bad in ("0", "65536", "x", "80/icmp", "1" * 5000, "-1", "٣"):
        refused("port-invalid", expose=[bad])
    refused("created-invalid", created="yesterday")


def test_created_goes_over_source_date_epoch_which_goes_over_1970(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert made().document["created"] == "1970-01-01T00:00:00Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert made().document["created"] == "2023-11-14T22:13:20Z"
    assert made(created="1").document["created"] == "1970-01-01T00:00:01Z"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    refused("source-date-epoch-invalid")


def test_annotations_go_where_they_are_sent(here: Path) -> None:
    said = ["a=all", "manifest:m=1", "index:i=2", "descriptor:d=3", "org.example:x=4"]
    image = made(annotation=said, index=True)
    assert image.index is not None
    assert image.index.annotations == {"a": "all", "i": "2", "org.example:x": "4"}
    assert image.manifest.annotations == {"a": "all", "m": "1", "org.example:x": "4"}
    assert image.entry.annotations == {"d": "3"}
    refused("pair-invalid", annotation=["a"])
    refused("pair-invalid", annotation=["manifest:=x"])


def test_name_and_mode(here: Path) -> None:
    image = made(name="/opt/x/app.wasm", mode="0555")
    assert list(image.members) == ["opt", "opt/x", "opt/x/app.wasm"]
    assert image.members["opt/x/app.wasm"].mode == 0o555
    assert image.config["Entrypoint"] == ["/opt/x/app.wasm"]
    for bad in ("9", "x", "-1", "77777", "0o755", "7_5", "7 "):
        refused("mode-invalid", mode=bad)
    refused("path-invalid", name="../x")


@pytest.mark.parametrize(
    "text, suffix", [("gzip:6", "+gzip"), ("gzip-single", "+gzip"), ("zstd:3", "+zstd"), ("none", "")]
)
def test_compression(here: Path, text: str, suffix: str) -> None:
    image = made(compression=text)
    assert image.manifest.layers[0].media_type == mediatype.LAYER + suffix
    assert image.read("hello.wasm") == programs.MODULE


def test_files_are_added(here: Path) -> None:
    conf = Path("conf/sub")
    conf.mkdir(parents=True)
    (conf / "a.toml").write_text("a")
    (conf / "run").write_text("#!")
    (conf / "run").chmod(0o700)
    os.symlink("a.toml", conf / "link")
    image = made(add=["conf:/etc/app", "conf/sub/a.toml:/srv/", "conf/sub/a.toml:/b.toml:0600"])
    assert set(image.members) == {
        "etc", "etc/app", "etc/app/sub", "etc/app/sub/a.toml", "etc/app/sub/link", "etc/app/sub/run",
        "srv", "srv/a.toml", "b.toml", "hello.wasm",
    }  # fmt: skip
    assert image.members["etc/app/sub/link"].linkname == "a.toml"
    assert image.members["etc/app/sub/run"].mode == 0o755
    assert image.members["etc/app/sub/a.toml"].mode == 0o644
    assert image.members["b.toml"].mode == 0o600
    assert image.read("srv/a.toml") == b"a"
    assert "hello.wasm" in made(add=["conf:/"]).members
    refused("add-invalid", add=["conf"])
    refused("add-invalid", add=[":x"])
    refused("input-missing", add=["nothing:/x"])
    refused("mode-invalid", add=["conf:/x:abc"])
    refused("path-duplicate", add=["conf/sub/a.toml:/hello.wasm"])
    os.mkfifo("pipe")
    refused("input-special", add=["pipe:/x"])
    if os.name != "nt":
        Path(os.fsdecode(b"conf/bad\xff")).write_text("x")
        refused("path-invalid", add=["conf:/x"])


def test_nonroot_certificates_and_time_zones(here: Path) -> None:
    image = made(nonroot=True, ca_certs=True, tzdata=True)
    assert image.config["User"] == "65532:65532"
    assert b"nonroot:x:65532:65532" in image.read("etc/passwd")
    assert b"nonroot:x:65532" in image.read("etc/group")
    assert image.members["home/nonroot"].uid == 65532
    assert image.members["tmp"].mode == 0o1777
    assert b"BEGIN CERTIFICATE" in image.read("etc/ssl/certs/ca-certificates.crt")
    assert image.read("usr/share/zoneinfo/UTC").startswith(b"TZif")
    assert not [name for name in image.members if name.endswith(".py")]
    assert made(nonroot=True, user="5").config["User"] == "5"


def test_without_a_time_zone_database_it_says_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("pathlib.Path.exists", lambda path: False)
    with pytest.raises(InputError) as caught:
        additions.entries(Options(tzdata=True))
    assert caught.value.code == "tzdata-missing"


def test_a_windows_drive_is_no_separator(here: Path) -> None:
    assert additions._split(r"C:\conf\a:/etc/a:0644") == (r"C:\conf\a", "/etc/a", 0o644)
    assert additions._split("a:/b") == ("a", "/b", None)


def test_git_is_asked_on_request(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words],
            check=True,
            capture_output=True,
            timeout=60,
        )

    with pytest.raises(ToolError) as caught:
        git.facts(here)
    assert caught.value.code == "git-failed"
    run("init", "-q")
    run("add", "hello.wasm")
    run("commit", "-qm", "one")
    run("remote", "add", "origin", "git@github.com:me/hello.git")
    assert "annotations" not in json.loads(made().manifest.to_bytes())
    run("tag", "v1.2.3")
    found = made(git=True).manifest.annotations
    assert len(found["org.opencontainers.image.revision"]) == 40
    assert found["org.opencontainers.image.version"] == "1.2.3"
    assert found["org.opencontainers.image.source"] == "https://github.com/me/hello"
    Path("hello.wasm").write_bytes(programs.command())
    assert made(git=True).manifest.annotations["org.opencontainers.image.revision"].endswith("-dirty")
    monkeypatch.setenv("PATH", str(here))
    with pytest.raises(ToolError) as missing:
        git.facts(here)
    assert missing.value.code == "git-failed"


@pytest.mark.parametrize(
    "remote, address",
    [
        ("https://user:token@github.com/me/x.git", "https://github.com/me/x"),
        ("ssh://git@example.org:2222/me/x.git", "https://example.org/me/x"),
        ("git@github.com:me/x.git", "https://github.com/me/x"),
        ("git://example.org/x", "https://example.org/x"),
        ("http://example.org:8080/x", "http://example.org:8080/x"),
        ("file:///srv/x", None),
        ("/srv/x.git", None),
        ("../x", None),
    ],
)
def test_a_remote_becomes_an_address_without_secrets(remote: str, address: str | None) -> None:
    assert git.web_address(remote) == address


@pytest.mark.parametrize(
    "file, name",
    [
        ("app-linux-amd64", "app"),
        ("app_linux_arm64", "app"),
        ("app-x86_64-unknown-linux-musl", "app"),
        ("app-aarch64-linux-gnu", "app"),
        ("app-armv7", "app"),
        ("app.amd64", "app"),
        ("app-wasi-wasm.wasm", "app.wasm"),
        ("app-wasm32.wasm", "app.wasm"),
        ("hello.wasm", "hello.wasm"),
        ("linux-amd64", "linux-amd64"),
        ("amd64", "amd64"),
        ("wasm32-wasi.wasm", "wasm32-wasi.wasm"),
        ("my-charm", "my-charm"),
        ("alarm64", "alarm64"),
    ],
)
def test_a_program_is_called_without_its_platform(file: str, name: str) -> None:
    assert naming.program_name(file) == name


def test_a_layout_is_called_after_its_program() -> None:
    assert naming.layout_name("hello.wasm") == naming.layout_name("hello-linux-amd64") == "hello.oci"


def test_what_a_module_says_of_itself_is_annotated_and_labelled(here: Path) -> None:
    # https://github.com/WebAssembly/tool-conventions, OCI annotations as custom sections
    def section(name: str, text: str) -> bytes:
        body = bytes([len(name)]) + name.encode() + text.encode()
        return b"\0" + bytes([len(body)]) + body

    module = (
        programs.MODULE
        + section("version", "1.2.3")
        + section("licenses", "MIT")
        + section("description", "a\nb\x1b[31m")
    )
    Path("hello.wasm").write_bytes(module)
    image = made()
    expected = {
        "org.opencontainers.image.description": "a b [31m",
        "org.opencontainers.image.version": "1.2.3",
        "org.opencontainers.image.licenses": "MIT",
    }
    assert image.manifest.annotations == image.config["Labels"] == expected
    assert described(inspect_bytes(programs.elf(), "a")) == {}
    said = made(annotation=["org.opencontainers.image.version=2"])
    assert said.manifest.annotations["org.opencontainers.image.version"] == "2"


def test_what_a_go_program_says_of_itself_is_annotated() -> None:
    # runtime/debug.BuildInfo's words, as `go version -m` prints them
    settings = (("vcs", "git"), ("vcs.revision", "c0ffee"), ("vcs.modified", "true"))
    artifact = inspect_bytes(programs.elf(), "a")
    assert isinstance(artifact.facts, ElfFacts)
    build = GoBuild("go1.22.4", "github.com/me/x/cmd/x", "github.com/me/x", "v1.2.3", settings)
    assert described(replace(artifact, facts=replace(artifact.facts, go=build))) == {
        "org.opencontainers.image.version": "v1.2.3",
        "org.opencontainers.image.revision": "c0ffee-dirty",
        "org.opencontainers.image.source": "https://github.com/me/x",
    }
    private = replace(build, module="corp/x", module_version="(devel)", settings=())
    assert described(replace(artifact, facts=replace(artifact.facts, go=private))) == {}


def test_every_option_is_tried_here_or_in_the_plans_tests() -> None:
    elsewhere = {"format", "consumer", "platform", "also", "index", "allow_dynamic"}
    text = Path(__file__).read_text()
    for option in fields(Options):
        assert option.name in elsewhere or f"{option.name}=" in text
    assert set(about()) == {option.name for option in fields(Options)}
    assert all(entry.help and entry.flags for entry in about().values())


def test_an_unknown_keyword_is_refused(here: Path) -> None:
    with pytest.raises(UsageError) as caught:
        made(colour="red")
    assert caught.value.code == "option-unknown"
