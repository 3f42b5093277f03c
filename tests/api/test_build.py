"""Dockerfiles become images: the article's own, what BuildKit's vectors do not show, and everything that is refused."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ocibuild.ambient import Ambient
from ocibuild.api import build as module
from ocibuild.api.pack import Packed
from ocibuild.api.session import Session
from ocibuild.content.codec import decompressed
from ocibuild.errors import InputError, OcibuildError, UsageError
from ocibuild.spec.manifest import Index, Manifest
from ocibuild.store.base import fetch
from ocibuild.store.graph import node
from ocibuild.store.layout import LayoutStore
from ocibuild.testing import programs
from tests.source.test_buildkit import offline

SAMPLES = Path(__file__).parents[2] / "samples"
CRATE = SAMPLES / "rust" / "hello-docker"
MODULE = b"\0asm\1\0\0\0"
build = module.build


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A context with a module and some files; the current folder is the one above."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    context = tmp_path / "context"
    (context / "d" / "e").mkdir(parents=True)
    (context / "app.wasm").write_bytes(MODULE)
    (context / "a.txt").write_text("a\n")
    (context / "d" / "b.txt").write_text("b\n")
    (context / "d" / "e" / "c.txt").write_text("c\n")
    return context


def made(here: Path, text: str, **said: Any) -> Packed:
    (here / "Dockerfile").write_text(text)
    known: dict[str, Any] = {"platforms": ["wasi/wasm"], "engine": "none", "session": offline(here.parent)}
    return build(here, output=f"oci:{here.parent}/out.oci", **{**known, **said})


def config(layout: Path, manifest: Manifest | None = None) -> dict[str, Any]:
    store = LayoutStore(layout)
    found = manifest or node(store, store.resolve(""))
    assert isinstance(found, Manifest)
    document: dict[str, Any] = json.loads(fetch(store, found.config))
    return document


def files(layout: Path) -> dict[str, str]:
    """Every file of every layer: its content, or `-> target`; folders end in a slash."""
    store = LayoutStore(layout)
    manifest = node(store, store.resolve(""))
    assert isinstance(manifest, Manifest)
    found = {}
    for layer in manifest.layers:
        data = decompressed(io.BytesIO(fetch(store, layer)), "gzip", "").read()
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                name = member.name + ("/" if member.isdir() else "")
                content = archive.extractfile(member).read().decode("latin-1") if member.isfile() else ""  # type: ignore[union-attr]
                found[name] = f"-> {member.linkname}" if member.issym() else content
    return found


# -- the article's Dockerfiles, as they are


@pytest.fixture
def crate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The article's crate, and what its first stages would have built, in `out`."""
    monkeypatch.chdir(tmp_path)
    wasm, native = tmp_path / "out/target/wasm32-wasi/release", tmp_path / "out/target/release"
    wasm.mkdir(parents=True)
    native.mkdir(parents=True)
    shutil.copy(SAMPLES / "hello.wasm", wasm / "hello-docker.wasm")
    shutil.copy(SAMPLES / "hello-linux-amd64", native / "hello-docker")
    (native / "hello-docker").chmod(0o755)
    return tmp_path


def test_the_articles_wasm_dockerfile_builds_with_no_engine(crate: Path) -> None:
    built = build(CRATE, file=CRATE / "Dockerfile-wasm", build_contexts={"build": "out"})
    assert built.references == (f"oci:hello-docker.oci@{built.digest}",)
    assert built.notes == ()
    document = config(crate / "hello-docker.oci")
    assert (document["os"], document["architecture"]) == ("wasi", "wasm")
    assert document["config"]["Entrypoint"] == ["/wasm.wasm"]
    assert files(crate / "hello-docker.oci")["wasm.wasm"].encode("latin-1") == (SAMPLES / "hello.wasm").read_bytes()


def test_the_articles_native_dockerfile_builds_as_written_with_a_warning(crate: Path) -> None:
    built = build(CRATE, file=CRATE / "Dockerfile-native", build_contexts={"build": "out"})
    assert built.notes == ("the image starts nothing: add ENTRYPOINT to the Dockerfile, or --entrypoint",)
    document = config(crate / "hello-docker.oci")
    assert (document["os"], document["architecture"]) == ("linux", "amd64")
    assert "Entrypoint" not in document["config"]
    native = (SAMPLES / "hello-linux-amd64").read_bytes()
    assert files(crate / "hello-docker.oci")["native"].encode("latin-1") == native


def test_an_entrypoint_cures_it(crate: Path) -> None:
    built = build(CRATE, file=CRATE / "Dockerfile-native", build_contexts=["build=out"], entrypoint="/native")
    assert built.notes == ()
    assert config(crate / "hello-docker.oci")["config"]["Entrypoint"] == ["/native"]


def test_without_the_stages_files_the_error_says_how_to_give_them(crate: Path) -> None:
    with pytest.raises(InputError, match=r"^Dockerfile-wasm line 5: RUN in stage build needs an engine") as refused:
        build(CRATE, file=CRATE / "Dockerfile-wasm", engine="none")
    assert refused.value.code == "stage-unbuilt"
    assert "install buildah, podman or docker" in (refused.value.hint or "")
    assert "--build-context build=DIR" in (refused.value.hint or "")
    assert not (crate / "hello-docker.oci").exists()


# -- the digest


def test_the_digest_does_not_know_times_umask_owner_or_order(here: Path) -> None:
    text = "FROM scratch\nCOPY . /all/\nWORKDIR /w\nENV B=1 A=2\nLABEL z=1 a=2\n"
    first = made(here, text).digest
    names = ["d/e/c.txt", "d/b.txt", "a.txt", "app.wasm"]
    other = here.parent / "other" / "context"
    for name in names:
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_bytes((here / name).read_bytes())
        (other / name).chmod(0o600)
        os.utime(other / name, (1e9, 1e9))
    (other / "d").chmod(0o700)
    assert made(other, text).digest == first
    assert made(here, text).digest == first
    assert made(here, text.replace("B=1", "B=2")).digest != first


def test_an_image_does_not_hold_the_one_before(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    (here / "Dockerfile").write_text('FROM scratch\nCOPY . /\nENTRYPOINT ["/app.wasm"]\n')
    first = build().digest
    assert build().digest == first
    assert not [name for name in files(here / "context.oci") if name.startswith("context.oci")]


def test_the_time_is_what_source_date_epoch_says(here: Path, tmp_path: Path) -> None:
    session = Session(surroundings=Ambient({"SOURCE_DATE_EPOCH": "86400"}, tmp_path, Session().surroundings.now))
    made(here, "FROM scratch\nCOPY app.wasm /\n", session=session)
    assert config(tmp_path / "out.oci")["created"] == "1970-01-02T00:00:00Z"


# -- platforms


def test_several_platforms_are_one_index_and_each_gets_its_files(here: Path, tmp_path: Path) -> None:
    for name in ("amd64", "arm64"):
        shutil.copy(SAMPLES / f"hello-linux-{name}", here / f"app-{name}")
    text = 'FROM scratch\nARG TARGETARCH\nCOPY app-${TARGETARCH} /app\nENTRYPOINT ["/app"]\n'
    built = made(here, text, platforms=["linux/amd64,linux/arm64"])
    assert built.notes == ()
    store = LayoutStore(tmp_path / "out.oci")
    index = node(store, store.resolve(""))
    assert isinstance(index, Index)
    assert [str(entry.platform) for entry in index.manifests] == ["linux/amd64", "linux/arm64"]
    assert [artifact.platform and artifact.platform.architecture for artifact in built.artifacts] == ["amd64", "arm64"]


def test_a_program_for_another_platform_is_told(here: Path) -> None:
    built = made(here, 'FROM scratch\nCOPY app.wasm /\nENTRYPOINT ["/app.wasm"]\n', platforms=["linux/amd64"])
    assert built.notes == ("app.wasm was built for wasi/wasm, and the image is for linux/amd64",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FROM scratch\nCOPY a.txt /\n", "no program in it tells"),
        ("FROM scratch\nCOPY app.wasm native /\n", "its programs are for linux/amd64, wasi/wasm"),
        ("FROM scratch\nARG TARGETARCH\nCOPY app.wasm /\n", "Dockerfile line 2: the value of TARGETARCH"),
        ("FROM --platform=$BUILDPLATFORM scratch\nCOPY app.wasm /\n", "Dockerfile line 1: the value of BUILDPLATFORM"),
    ],
)
def test_a_platform_that_nothing_says_is_asked_for(here: Path, text: str, said: str) -> None:
    shutil.copy(SAMPLES / "hello-linux-amd64", here / "native")
    with pytest.raises(UsageError) as refused:
        made(here, text, platforms=[])
    assert refused.value.code == "platform-needed"
    assert said in refused.value.message
    assert "--platform" in (refused.value.hint or "") or "--build-arg" in (refused.value.hint or "")


def test_one_platform_cannot_stand_twice_in_an_index(here: Path) -> None:
    with pytest.raises(UsageError) as refused:
        made(here, "FROM --platform=linux/arm64 scratch\nCOPY a.txt /\n", platforms=["linux/amd64", "linux/arm64"])
    assert refused.value.code == "platform-twice"


def test_from_may_say_the_platform(here: Path, tmp_path: Path) -> None:
    made(here, "ARG P=linux/arm64\nFROM --platform=$P scratch\nCOPY a.txt /\n", platforms=[])
    assert config(tmp_path / "out.oci")["architecture"] == "arm64"


# -- files


def test_links_are_kept_in_folders_and_followed_where_they_are_named(here: Path, tmp_path: Path) -> None:
    (here / "d" / "link").symlink_to("b.txt")
    (here / "named").symlink_to("d")
    (here / "out").symlink_to("/../../a.txt")  # the context is its own root
    made(here, "FROM scratch\nCOPY named /n\nCOPY out /o\nCOPY named/e/c.txt /\n")
    assert files(tmp_path / "out.oci") == {
        "n/": "", "n/b.txt": "b\n", "n/e/": "", "n/e/c.txt": "c\n", "n/link": "-> b.txt", "o": "a\n", "c.txt": "c\n",
    }  # fmt: skip


def test_a_link_in_the_image_is_followed_to_the_destination(here: Path, tmp_path: Path) -> None:
    (here / "usr").mkdir()
    (here / "usr" / "bin").mkdir()
    (here / "usr" / "x").write_text("")
    (here / "root").mkdir()
    (here / "root" / "bin").symlink_to("usr/bin")
    made(here, "FROM scratch\nCOPY usr /usr\nCOPY root /\nCOPY a.txt /bin/\n")
    assert files(tmp_path / "out.oci")["usr/bin/a.txt"] == "a\n"


def test_parents_keep_their_folders_from_the_pivot_on(here: Path, tmp_path: Path) -> None:
    # The reference's example: COPY --parents ./x/./y/*.txt /parents/ keeps y/.
    made(here, "FROM scratch\nCOPY --parents d/./e/*.txt /p/\nCOPY --parents **/b.txt /q/\n")
    assert set(files(tmp_path / "out.oci")) == {"p/", "p/e/", "p/e/c.txt", "q/", "q/d/", "q/d/b.txt"}


def test_the_dockerfiles_own_ignore_file_goes_first(here: Path, tmp_path: Path) -> None:
    (here / ".dockerignore").write_text("d\n")
    (here / "Dockerfile.dockerignore").write_text("**\n!d/e\n")
    made(here, "FROM scratch\nCOPY . /\n")
    assert files(tmp_path / "out.oci") == {"d/": "", "d/e/": "", "d/e/c.txt": "c\n"}


def test_names_of_owners_are_those_of_the_stage(here: Path, tmp_path: Path) -> None:
    text = (
        "FROM scratch\nCOPY <<EOF /etc/passwd\nme:x:1000:1000::/:/\nEOF\nUSER me\nWORKDIR /w\nCOPY --chown=me a.txt .\n"
    )
    made(here, text)
    store = LayoutStore(tmp_path / "out.oci")
    manifest = node(store, store.resolve(""))
    assert isinstance(manifest, Manifest)
    data = decompressed(io.BytesIO(fetch(store, manifest.layers[-1])), "gzip", "").read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert [(m.name, m.uid, m.gid) for m in archive] == [("w", 1000, 1000), ("w/a.txt", 1000, 1000)]


def test_a_stage_may_begin_with_a_build_context(here: Path, tmp_path: Path) -> None:
    made(here, 'FROM base\nCOPY a.txt /\nENTRYPOINT ["/b.txt"]\n', build_contexts=["base=context/d"])
    assert set(files(tmp_path / "out.oci")) == {"b.txt", "e/", "e/c.txt", "a.txt"}
    document = config(tmp_path / "out.oci")
    assert len([line for line in document["history"] if not line.get("empty_layer")]) == 2
    assert len(document["rootfs"]["diff_ids"]) == 2


def test_a_stage_that_nothing_needs_is_not_looked_at(here: Path, tmp_path: Path) -> None:
    made(here, "FROM scratch AS one\nCOPY a.txt /\nFROM golang\nRUN go test\n", target="one")
    assert set(files(tmp_path / "out.oci")) == {"a.txt"}


def test_add_takes_an_archive_as_it_is_when_told(here: Path, tmp_path: Path) -> None:
    (here / "x.gz").write_bytes(b"\x1f\x8b\x08")
    made(here, "FROM scratch\nADD --unpack=false x.gz /\nCOPY x.gz /y\n")
    assert set(files(tmp_path / "out.oci")) == {"x.gz", "y"}


# -- words


def test_arguments_come_from_the_caller_and_the_environment(here: Path, tmp_path: Path) -> None:
    session = Session(surroundings=Ambient({"FROM_ENV": "e"}, tmp_path, Session().surroundings.now))
    text = "FROM scratch\nARG FROM_ENV\nARG GIVEN=no\nARG ABSENT=kept\nLABEL a=$FROM_ENV b=$GIVEN c=$ABSENT\nCOPY a.txt /\n"
    built = made(here, text, build_args=["FROM_ENV", "GIVEN=g", "ABSENT", "OTHER=1"], session=session)
    assert config(tmp_path / "out.oci")["config"]["Labels"] == {"a": "e", "b": "g", "c": "kept"}
    assert built.notes[0] == "no ARG takes --build-arg OTHER"


def test_labels_and_annotations_may_be_added(here: Path, tmp_path: Path) -> None:
    made(here, "FROM scratch\nLABEL a=1\nCOPY a.txt /\n", label={"b": "2"}, annotation={"c": "3"})
    store = LayoutStore(tmp_path / "out.oci")
    manifest = node(store, store.resolve(""))
    assert isinstance(manifest, Manifest)
    assert manifest.annotations == {"c": "3"}
    assert config(tmp_path / "out.oci")["config"]["Labels"] == {"a": "1", "b": "2"}


def test_health_checks_are_written_with_gos_times(here: Path, tmp_path: Path) -> None:
    made(
        here, "FROM scratch\nHEALTHCHECK --interval=1m30.5s --timeout=500ms --start-period=1h CMD check\nCOPY a.txt /\n"
    )
    document = config(tmp_path / "out.oci")
    assert document["config"]["Healthcheck"] == {
        "Test": ["CMD-SHELL", "check"], "Interval": 90_500_000_000, "Timeout": 500_000_000, "StartPeriod": 3_600_000_000_000,
    }  # fmt: skip
    assert "Interval:1m30.5s Timeout:500ms StartPeriod:1h0m0s" in document["history"][0]["created_by"]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("COPY app.wasm /\nCMD run me\n", "Dockerfile line 3: CMD needs a shell, and there is no /bin/sh in the image"),
        ('COPY app.wasm /\nENTRYPOINT ["/other"]\n', "/other is to be started, and is not in the image"),
        ('COPY app.wasm a.txt /one\nENTRYPOINT ["/one"]\n', "Dockerfile line 2: /one keeps only the last of 2 files"),
    ],
)
def test_what_was_hardly_meant_is_told(here: Path, text: str, note: str) -> None:
    assert any(told.startswith(note) for told in made(here, f"FROM scratch\n{text}").notes)


def test_a_dynamic_program_without_its_loader_is_told(here: Path) -> None:
    (here / "app").write_bytes(programs.elf(interpreter=b"/lib/ld.so"))
    text = 'FROM scratch\nCOPY app /\nENTRYPOINT ["/app"]\n'
    told = "app is linked dynamically, and its loader /lib/ld.so is not in the image: link it statically"
    assert made(here, text, platforms=[]).notes == (told,)
    assert made(here, text + "COPY a.txt /lib/ld.so\n", platforms=[]).notes == ()


# -- refusals

REFUSALS = [
    ("RUN make", "dockerfile-unsupported", "RUN in the stage that becomes the image"),
    ("ADD https://example.com/x /x", "dockerfile-unsupported", "ADD https://example.com/x is not fetched"),
    ("ADD github.com/a/b /x", "dockerfile-unsupported", "is not fetched"),
    ("ADD git@example.com:a/b.git /x", "dockerfile-unsupported", "is not fetched"),
    ("ADD --checksum=sha256:0 a.txt /x", "dockerfile-unsupported", "--checksum is for what is fetched"),
    ("ADD x.tgz /x", "archive-add", "ADD cannot unpack x.tgz"),
    ("COPY --chmod=u+y a.txt /x", "dockerfile-invalid", "--chmod: u+y is no mode"),
    ("ENV --a=b", "dockerfile-invalid", "ENV has no flag --a"),
    ("COPY --link", "dockerfile-invalid", "COPY says nothing behind its flags"),
    ("COPY --chown=nobody a.txt /x", "dockerfile-invalid", "/etc/passwd in this stage does not know 'nobody'"),
    ("COPY --chown=99999999999 a.txt /x", "dockerfile-invalid", "larger than any user's number"),
    (
        "COPY --from=alpine /x /y",
        "stage-unknown",
        "alpine is neither a stage before this one nor a build context, nor an image: ",
    ),
    ("COPY --from=0 /x /y", "stage-unknown", "there is no stage 0 before this one"),
    ("COPY a.txt", "dockerfile-invalid", "COPY says no destination"),
    ("COPY *.none /", "copy-missing", "there is no /*.none to copy"),
    ("COPY ${A /", "dockerfile-invalid", "is not closed"),
    ("COPY [a /", "dockerfile-invalid", "[ is not closed"),
    ("COPY loop /", "link-loop", "lead in a circle"),
    ("COPY a.txt /d\\nCOPY d /d", "path-duplicate", "/d is a file and a folder in one image"),
    ("COPY a.txt /.wh.a", "path-invalid", ".wh."),
    ("COPY --exclude=[ d /d", "dockerfile-invalid", "[ is not closed"),
    ("ENV A", "dockerfile-invalid", "ENV A has no value"),
    ("ENV A=1 B", "dockerfile-invalid", "B is not KEY=VALUE"),
    ("ARG 1=2", "dockerfile-invalid", "'1' is no name for an ARG"),
    ("EXPOSE http", "dockerfile-invalid", "http is no port"),
    ("EXPOSE 70000", "dockerfile-invalid", "70000 is no port"),
    ("SHELL sh", "dockerfile-invalid", "SHELL takes an array"),
    ("HEALTHCHECK check", "dockerfile-invalid", "neither CMD nor NONE"),
    ("HEALTHCHECK --interval=5 CMD check", "dockerfile-invalid", "--interval=5 is no time"),
    ("HEALTHCHECK --retries=x CMD check", "dockerfile-invalid", "--retries=x is no number"),
]


@pytest.mark.parametrize(("line", "code", "said"), REFUSALS)
def test_what_is_not_supported_is_refused_with_the_line(here: Path, line: str, code: str, said: str) -> None:
    (here / "x.tgz").write_bytes(gzip.compress(tarfile.TarInfo("a").tobuf() + b"half of a header"))
    (here / "loop").symlink_to("loop")
    lines = line.split("\\n")
    with pytest.raises(OcibuildError) as refused:
        made(here, "FROM scratch\n" + "\n".join(lines) + "\n")
    assert refused.value.code == code
    assert refused.value.message.startswith(f"Dockerfile line {len(lines) + 1}: ")
    assert said in refused.value.message
    assert refused.value.hint
    assert not (here.parent / "out.oci").exists()


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("FROM alpine\nCOPY a.txt /\n", "registry-blocked", "Dockerfile line 1: docker.io/library/alpine is blocked"),
        ("FROM scratch AS b\nRUN x\nFROM scratch\nCOPY --from=b /a /\n", "stage-unbuilt", "Dockerfile line 2: RUN in stage b"),
        ("FROM scratch\nRUN x\nFROM scratch\nCOPY --from=0 /a /\n", "stage-unbuilt", "Dockerfile line 2: RUN in stage 0"),
        ("FROM scratch AS b\nCOPY a.txt /\nFROM b\nRUN x\n", "dockerfile-unsupported", "line 4: RUN in the stage"),
        ("FROM a b\n", "dockerfile-invalid", "line 1: FROM a b cannot be read"),
        ("FROM scratch AS Über\n", "dockerfile-invalid", "line 1: Über is no name for a stage"),
        ("ARG A=1\n", "dockerfile-invalid", "line 1: there is no FROM"),
        ("FROM scratch\nONBUILD COPY <<E /x\nx\nE\n", "dockerfile-unsupported", "line 2: a here-document behind ONBUILD"),
    ],
)  # fmt: skip
def test_stages_that_cannot_be_made_are_refused(here: Path, text: str, code: str, said: str) -> None:
    with pytest.raises(OcibuildError) as refused:
        made(here, text)
    assert refused.value.code == code
    assert said in refused.value.message


def test_what_is_asked_for_wrongly_is_refused(here: Path, tmp_path: Path) -> None:
    text = "FROM scratch AS one\nCOPY a.txt /\n"
    with pytest.raises(UsageError, match="there is no such stage") as refused:
        made(here, text, target="two")
    assert (refused.value.code, refused.value.hint) == ("target-unknown", "there is only one")
    with pytest.raises(InputError, match="there is no such folder") as missing:
        made(here, text, build_contexts=["a=https://example.com/a.git"])
    assert missing.value.code == "context-missing"
    with pytest.raises(InputError, match="there is no folder") as absent:
        build(tmp_path / "none")
    assert absent.value.code == "context-missing"
    with pytest.raises(InputError) as lost:
        build(here, file="none")
    assert lost.value.code == "dockerfile-missing"
    with pytest.raises(UsageError, match="a build does not take 'user'"):
        made(here, text, user="5")
    (here / ".dockerignore").write_text("a[\n")
    with pytest.raises(InputError) as broken:
        made(here, text)
    assert broken.value.code == "dockerignore-invalid"


def test_a_file_that_is_no_file_is_refused_unless_ignored(here: Path, tmp_path: Path) -> None:
    os.mkfifo(here / "pipe")
    with pytest.raises(InputError) as refused:
        made(here, "FROM scratch\nCOPY . /\n")
    assert refused.value.code == "input-special"
    (here / ".dockerignore").write_text("pipe\n")
    made(here, "FROM scratch\nCOPY . /\n")
    assert "pipe" not in files(tmp_path / "out.oci")


@pytest.mark.parametrize("count, is_read", [(100, True), (101, False), (5000, False)])
def test_stages_on_stages_have_an_end(here: Path, count: int, is_read: bool) -> None:
    text = "FROM scratch AS s1\nCOPY a.txt /\n" + "".join(f"FROM s{n} AS s{n + 1}\n" for n in range(1, count))
    if is_read:
        made(here, text)
        return
    with pytest.raises(InputError) as caught:
        made(here, text)
    assert caught.value.code == "dockerfile-invalid"
    assert "line 102" in caught.value.message
