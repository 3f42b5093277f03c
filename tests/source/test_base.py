"""Images that stages begin with or copy from: written here with the standard library, in layouts, archives, a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform as machine
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

import ocibuild
from ocibuild.api.build import build
from ocibuild.api.pack import Packed
from ocibuild.errors import OcibuildError
from ocibuild.spec.platform import Platform
from ocibuild.store.layout import LayoutStore
from tests.registry.double import Registry
from tests.source.test_buildkit import entries, offline

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
HOST = Platform.parse(f"linux/{machine.machine()}").architecture


def layer(*members: tarfile.TarInfo | tuple[str, bytes], form: str = "gzip") -> tuple[str, bytes, str]:
    """Media type, blob and diff_id of a layer."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for one in members:
            info, data = (tarfile.TarInfo(one[0]), one[1]) if isinstance(one, tuple) else (one, b"")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    raw = out.getvalue()
    diff_id = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    if form == "gzip":
        return f"{OCI}layer.v1.tar+gzip", gzip.compress(raw, mtime=0), diff_id
    if form == "docker":
        return f"{DOCKER}image.rootfs.diff.tar.gzip", gzip.compress(raw, mtime=0), diff_id
    if form == "zstd":
        return f"{OCI}layer.v1.tar+zstd", zstandard.compress(raw), diff_id
    return f"{OCI}layer.v1.tar", raw, diff_id


def member(name: str, kind: bytes, link: str = "", mode: int = 0o755, uid: int = 0, gid: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.uid, info.gid = kind, link, mode, uid, gid
    return info


# cap_net_bind_service=ep, as setcap writes it: version 2, effective; linux/capability.h.
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")


def capable(name: str) -> tarfile.TarInfo:
    """An empty file that may bind low ports."""
    info = member(name, tarfile.REGTYPE)
    info.pax_headers = {"SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}
    return info


class Layout:
    """An OCI layout in the making."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.roots: list[dict[str, Any]] = []

    def blob(self, media_type: str, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / "blobs" / "sha256" / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def image(
        self, layers: list[tuple[str, bytes, str]], config: dict[str, Any] | None = None, platform: str = "linux/amd64"
    ) -> dict[str, Any]:
        """A manifest."""
        system, _, architecture = platform.partition("/")
        document = {
            "architecture": architecture, "os": system, "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, _, diff_id in layers]},
            "history": [{"created": "2020-01-01T00:00:00Z", "created_by": f"layer {n}"} for n in range(len(layers))],
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2, "mediaType": f"{OCI}manifest.v1+json",
            "config": self.blob(f"{OCI}config.v1+json", json.dumps(document).encode()),
            "layers": [self.blob(media_type, data) for media_type, data, _ in layers],
        }  # fmt: skip
        return self.blob(f"{OCI}manifest.v1+json", json.dumps(manifest).encode())

    def tag(self, entry: dict[str, Any], name: str) -> None:
        self.roots.append({**entry, "annotations": {"org.opencontainers.image.ref.name": name}})
        (self.folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self.roots}))

    def index(self, entries: dict[str, dict[str, Any]], name: str) -> None:
        """An index by platforms."""
        said = []
        for platform, entry in entries.items():
            system, _, architecture = platform.partition("/")
            said.append({**entry, "platform": {"os": system, "architecture": architecture}})
        document = {"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json", "manifests": said}
        self.tag(self.blob(f"{OCI}index.v1+json", json.dumps(document).encode()), name)


class Room:
    """A folder with a layout, a context and what is built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layout = Layout(folder / "base")
        (folder / "context").mkdir()
        (folder / "context" / "a.txt").write_text("a\n")

    def build(self, text: str, *contexts: str, **said: Any) -> Packed:
        (self.folder / "context" / "Dockerfile").write_text(text)
        known: dict[str, Any] = {"platforms": ["linux/amd64"], "output": f"oci:{self.folder}/out.oci", "engine": "none"}
        session = offline(self.folder)
        return build(
            self.folder / "context", build_contexts=contexts, session=session, **{**known, **said}
        )  # fmt: skip

    def manifest(self) -> dict[str, Any]:
        index = json.loads((self.folder / "out.oci" / "index.json").read_bytes())
        found: dict[str, Any] = json.loads(self.blob(index["manifests"][0]["digest"]))
        return found

    def config(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.blob(self.manifest()["config"]["digest"]))
        return found

    def blob(self, digest: str) -> bytes:
        return (self.folder / "out.oci" / "blobs" / digest.replace(":", "/")).read_bytes()

    def files(self, number: int = -1) -> dict[str, tuple[str, int, int, int, bytes]]:
        """A layer of what was built: type, mode, owner, content or link."""
        data = self.blob(self.manifest()["layers"][number]["digest"])
        found = {}
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
            for info in archive:
                content = archive.extractfile(info).read() if info.isfile() else info.linkname.encode()  # type: ignore[union-attr]
                kind = "dir" if info.isdir() else "link" if info.issym() else "file"
                found[info.name] = (kind, info.mode, info.uid, info.gid, content)
        return found


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as running:
        yield running


LOWER = (
    member("etc", tarfile.DIRTYPE),
    ("etc/passwd", b"root:x:0:0::/:/bin/sh\nme:x:1000:1000::/:/\n"),
    ("etc/group", b"root:x:0:\nstaff:x:50:\n"),
    ("gone", b"g"),
    ("bin/tool", b"tool"),  # nothing says that bin is a folder
    ("kept", b"kept"),
    member("kept-too", tarfile.LNKTYPE, "kept", 0o644),
)
UPPER = (
    (".wh.gone", b""),
    (".wh.kept", b""),
    member("data", tarfile.DIRTYPE, mode=0o2750, uid=7, gid=8),
    ("data/x", b"x"),
    member("data/link", tarfile.SYMTYPE, "../etc/passwd"),
    member("data/again", tarfile.LNKTYPE, "data/x", 0o644),
)


@pytest.mark.parametrize("form", ["gzip", "none", "zstd", "docker"])
def test_files_of_an_image_are_copied_as_they_are_with_no_engine(room: Room, form: str) -> None:
    room.layout.tag(room.layout.image([layer(*LOWER, form=form), layer(*UPPER, form=form)]), "1")
    room.build("FROM scratch\nCOPY --from=base / /\n", f"base=oci-layout://{room.folder}/base:1")
    found = room.files()
    passwd = LOWER[1][1]  # type: ignore[index]
    assert found == {
        "bin": ("dir", 0o755, 0, 0, b""), "bin/tool": ("file", 0o644, 0, 0, b"tool"),
        "data": ("dir", 0o2750, 7, 8, b""), "data/x": ("file", 0o644, 0, 0, b"x"),
        "data/link": ("link", 0o777, 0, 0, b"../etc/passwd"), "data/again": ("file", 0o644, 0, 0, b"x"),
        "etc": ("dir", 0o755, 0, 0, b""), "etc/passwd": ("file", 0o644, 0, 0, passwd),
        "etc/group": ("file", 0o644, 0, 0, b"root:x:0:\nstaff:x:50:\n"),
        "kept-too": ("file", 0o644, 0, 0, b"kept"),
    }  # fmt: skip


def test_capabilities_of_a_program_go_along(room: Room) -> None:
    room.layout.tag(room.layout.image([layer(capable("bin/server"))]), "1")
    room.build("FROM scratch\nCOPY --from=base bin/server /\n", f"base=oci-layout://{room.folder}/base:1")
    data = room.blob(room.manifest()["layers"][0]["digest"])
    (entry,) = entries(gzip.decompress(data))
    assert entry["capability"] == CAPABILITY.hex()


def test_links_in_an_image_are_followed_inside_it(room: Room) -> None:
    room.layout.tag(room.layout.image([layer(*LOWER), layer(*UPPER)]), "1")
    room.build("FROM scratch\nCOPY --from=base /data/link /who\n", f"base=oci:{room.folder}/base:1")
    assert room.files() == {"who": ("file", 0o644, 0, 0, LOWER[1][1])}  # type: ignore[index]


@pytest.mark.parametrize("written", ["docker-image://{}", "docker://{}"])
def test_an_image_of_a_registry_is_a_context(room: Room, registry: Registry, written: str) -> None:
    room.layout.tag(room.layout.image([layer(*LOWER)]), "1")
    reference = f"{registry.host}/base:1"
    ocibuild.copy(f"oci:{room.folder}/base", f"docker://{reference}")
    room.build("FROM scratch\nCOPY --from=base kept /\n", f"base={written.format(reference)}")
    assert room.files() == {"kept": ("file", 0o644, 0, 0, b"kept")}
    # As the image itself, with no name for it; and in a stage of its own.
    room.build(f"FROM scratch\nCOPY --from={reference} gone /\n")
    assert set(room.files()) == {"gone"}
    room.build(f"FROM {reference} AS one\nCOPY a.txt /\nFROM scratch\nCOPY --from=one a.txt kept /\n")
    assert set(room.files()) == {"a.txt", "kept"}


def test_a_context_may_be_an_archive_or_a_digest(room: Room, tmp_path: Path) -> None:
    one = room.layout.image([layer(("one", b"1"))])
    room.layout.tag(one, "1")
    room.layout.tag(room.layout.image([layer(("two", b"2"))]), "2")
    for place in (f"oci-layout://{tmp_path}/base@{one['digest']}", f"oci:{tmp_path}/base@{one['digest']}"):
        room.build("FROM scratch\nCOPY --from=c / /\n", f"c={place}")
        assert set(room.files()) == {"one"}
    ocibuild.copy(f"oci:{tmp_path}/base:2", f"oci-archive:{tmp_path}/two.tar")
    room.build("FROM scratch\nCOPY --from=c / /\n", f"c=oci-archive:{tmp_path}/two.tar")
    assert set(room.files()) == {"two"}


def test_an_image_replaces_a_stage(room: Room) -> None:
    room.layout.tag(room.layout.image([layer(("one", b"1"))]), "1")
    text = "FROM scratch AS build\nRUN make\nFROM scratch\nCOPY --from=build /one /\n"
    room.build(text, f"build=oci-layout://{room.folder}/base")
    assert set(room.files()) == {"one"}


BASE_CONFIG = {
    "Env": ["PATH=/bin", "A=1"], "WorkingDir": "/data", "User": "me", "Labels": {"of": "base"}, "Cmd": ["/bin/tool"],
    "OnBuild": ["LABEL built=on"],
}  # fmt: skip


@pytest.mark.parametrize("form", ["gzip", "none", "zstd", "docker"])
def test_an_image_goes_on_from_another_whose_layers_stay(room: Room, form: str) -> None:
    layers = [layer(*LOWER, form=form), layer(*UPPER, form=form)]
    room.layout.tag(room.layout.image(layers, BASE_CONFIG), "1")
    text = 'FROM base\nENV B=$A\nCOPY --chown=me:staff a.txt .\nWORKDIR sub\nENTRYPOINT ["/bin/tool"]\n'
    packed = room.build(text, f"base=oci-layout://{room.folder}/base")
    assert packed.notes == ()
    manifest, config = room.manifest(), room.config()
    digests = [f"sha256:{hashlib.sha256(data).hexdigest()}" for _, data, _ in layers]
    assert [entry["digest"] for entry in manifest["layers"]][:2] == digests
    expected = {"docker": f"{OCI}layer.v1.tar+gzip"}.get(form, layers[0][0])
    assert [entry["mediaType"] for entry in manifest["layers"]][:2] == [expected] * 2
    assert config["rootfs"]["diff_ids"][:2] == [diff_id for _, _, diff_id in layers]
    assert len(manifest["layers"]) == len(config["rootfs"]["diff_ids"]) == 4
    # Dockerfile reference, "CMD and ENTRYPOINT": the base's CMD goes where ENTRYPOINT is set anew.
    assert config["config"] == {
        "User": "me", "Env": ["PATH=/bin", "A=1", "B=1"], "Entrypoint": ["/bin/tool"],
        "WorkingDir": "/data/sub", "Labels": {"of": "base", "built": "on"},
    }  # fmt: skip
    assert [line["created_by"] for line in config["history"]] == [
        "layer 0", "layer 1", "LABEL built=on", "ENV B=1", "COPY --chown=me:staff a.txt . # buildkit", "WORKDIR /data/sub",
        'ENTRYPOINT ["/bin/tool"]',
    ]  # fmt: skip
    assert config["history"][0]["created"] == "2020-01-01T00:00:00Z"
    assert room.files(2) == {
        "data": ("dir", 0o2750, 7, 8, b""),
        "data/a.txt": ("file", 0o644, 1000, 50, b"a\n"),
    }
    first = packed.digest
    assert room.build(text, f"base=oci-layout://{room.folder}/base").digest == first


def test_the_entry_for_the_platform_is_taken(room: Room) -> None:
    entries = {
        name: room.layout.image([layer((name.replace("/", "-"), b""))], platform=name)
        for name in ("linux/amd64", "linux/arm64", "linux/riscv64")
    }
    room.layout.index(entries, "1")
    context = f"base=oci-layout://{room.folder}/base"
    room.build("FROM base\nCOPY a.txt /\n", context, platforms=["linux/arm64"])
    assert set(room.files(0)) == {"linux-arm64"}
    assert room.config()["architecture"] == "arm64"
    room.build("FROM --platform=linux/riscv64 base AS b\nFROM scratch\nCOPY --from=b / /\n", context)
    assert set(room.files()) == {"linux-riscv64"}
    # No base is for wasi/wasm: what only lends its files may be for this machine.
    room.build("FROM scratch\nCOPY --from=base / /\n", context, platforms=["wasi/wasm"])
    assert set(room.files()) == {f"linux-{HOST}"}
    room.build("FROM base AS b\nFROM scratch\nCOPY --from=b / /\n", context, platforms=["wasi/wasm"])
    assert set(room.files()) == {f"linux-{HOST}"}
    for said, code in (
        (["wasi/wasm"], "platform-missing"),
        (["linux/s390x"], "platform-missing"),
        ([], "platform-needed"),
    ):
        with pytest.raises(OcibuildError, match=r"^Dockerfile line 1: ") as refused:
            room.build("FROM base\nCOPY a.txt /\n", context, platforms=said)
        assert refused.value.code == code


def test_a_base_for_another_platform_is_told(room: Room) -> None:
    room.layout.tag(room.layout.image([layer(("one", b"1"))], platform="linux/arm64"), "1")
    packed = room.build("FROM base\nCOPY a.txt /\n", f"base=oci-layout://{room.folder}/base")
    assert packed.notes[0] == "Dockerfile line 1: base is for linux/arm64, and the image is for linux/amd64"
    assert room.config()["architecture"] == "amd64"  # as it was asked, and as in BuildKit
    assert (
        len(room.build("FROM base AS b\nFROM scratch\nCOPY --from=b / /\n", f"base=oci:{room.folder}/base").notes) == 1
    )


def test_what_a_layer_of_ours_cannot_hold_is_refused_where_it_is_copied(room: Room) -> None:
    device = member("dev/null", tarfile.CHRTYPE)
    room.layout.tag(room.layout.image([layer(("one", b"1"), device)]), "1")
    context = f"base=oci-layout://{room.folder}/base"
    with pytest.raises(OcibuildError, match=r"^Dockerfile line 2: /dev/null of .* is a device") as refused:
        room.build("FROM scratch\nCOPY --from=base / /\n", context)
    assert refused.value.code == "input-special"
    room.build("FROM scratch\nCOPY --from=base one /\n", context)
    room.build("FROM base\nCOPY a.txt /\n", context)
    assert len(room.manifest()["layers"]) == 2


def test_what_has_no_files_is_no_base(room: Room, tmp_path: Path) -> None:
    ocibuild.pack(
        Path(__file__).parents[2] / "samples" / "hello.wasm", output=f"oci:{tmp_path}/wasm", format="artifact"
    )
    for text in ("FROM base\nCOPY a.txt /\n", "FROM scratch\nCOPY --from=base / /\n"):
        with pytest.raises(OcibuildError, match="has no files to copy or to build on") as refused:
            room.build(text, f"base=oci:{tmp_path}/wasm")
        assert refused.value.code == "base-invalid"


def test_an_image_that_is_not_there_is_told_with_the_line(room: Room, registry: Registry) -> None:
    for text, line in (
        (f"FROM {registry.host}/none:1\nCOPY a.txt /\n", 1),
        (f"FROM scratch\nCOPY --from={registry.host}/none:1 /x /\n", 2),
    ):
        with pytest.raises(OcibuildError, match=rf"^Dockerfile line {line}: ") as refused:
            room.build(text)
        assert refused.value.code == "not-found"
        assert not (room.folder / "out.oci").exists()
    with pytest.raises(OcibuildError, match=r"^Dockerfile line 1: ") as missing:
        room.build("FROM base\n", f"base=oci-layout://{room.folder}/nowhere")
    assert missing.value.code == "layout-missing"


def test_a_layer_that_is_not_what_it_is_said_to_be_is_not_used(room: Room) -> None:
    found = layer(("one", b"1" * 2000))
    room.layout.tag(room.layout.image([found]), "1")
    blob = room.folder / "base" / "blobs" / "sha256" / hashlib.sha256(found[1]).hexdigest()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    with pytest.raises(OcibuildError, match=r"^Dockerfile line 2: ") as refused:
        room.build("FROM scratch\nCOPY --from=base one /\n", f"base=oci-layout://{room.folder}/base")
    assert refused.value.code in ("layer-invalid", "digest-mismatch")


@pytest.mark.parametrize("form", ["gzip", "none"])
def test_many_files_of_a_layer_are_read_without_unpacking_it_for_each(
    room: Room, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = layer(*((f"d/{number}", str(number).encode()) for number in range(500)), form=form)
    room.layout.tag(room.layout.image([found]), "1")
    whole: list[object] = []
    opening = LayoutStore.open

    def counted(store: LayoutStore, descriptor: Any, offset: int = 0) -> Any:
        if not offset and descriptor.media_type == found[0] and store.path == room.folder / "base":
            whole.append(descriptor)
        return opening(store, descriptor, offset)

    monkeypatch.setattr(LayoutStore, "open", counted)
    room.build("FROM scratch\nCOPY --from=base /d /e\n", f"base=oci-layout://{room.folder}/base")
    assert room.files()["e/499"][4] == b"499"
    assert len(whole) <= 2
