"""convert: every shape into every other. The yardsticks are what packing the same file gives, and what extract gives back."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ocibuild.api.convert import convert
from ocibuild.api.extract import extract
from ocibuild.api.pack import pack
from ocibuild.errors import ContentError, UsageError
from ocibuild.registry.credentials import Credential
from ocibuild.spec.schema import validate
from tests.registry.double import Registry

SAMPLES = Path(__file__).parents[2] / "samples"
WASM = ("hello.wasm", "hello-command.wasm", "hello-c.wasm", "hello-http.wasm")
SHAPES = ("image", "compat", "wasm-layer", "artifact", "solo", "wasm-to-oci")
PAIRS = [(one, other) for one in SHAPES for other in SHAPES]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def document(layout: str, digest: str) -> Any:
    return json.loads((Path(layout) / "blobs" / digest.replace(":", "/")).read_bytes())


def config(layout: str, digest: str) -> Any:
    return document(layout, document(layout, digest)["config"]["digest"])


def files(layout: str, digest: str) -> list[str]:
    layer = document(layout, digest)["layers"][0]["digest"]
    with tarfile.open(Path(layout) / "blobs" / layer.replace(":", "/")) as archive:
        return archive.getnames()


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("sample", WASM)
def test_the_program_is_the_same_and_the_digest_is_what_packing_gives(one: str, other: str, sample: str) -> None:
    pack(SAMPLES / sample, output="one.oci", format=one)
    straight = pack(SAMPLES / sample, output="straight.oci", format=other)
    # These two do not hold the file's own name.
    name = {"name": sample} if one in ("compat", "solo") else {}
    done = convert("one.oci", "two.oci", format=other, **name)  # type: ignore[arg-type]
    assert str(done.descriptor.digest) == straight.digest
    manifest = document("two.oci", straight.digest)
    validate(manifest, "manifest")
    extract("two.oci", "out.wasm")
    assert Path("out.wasm").read_bytes() == (SAMPLES / sample).read_bytes()


@pytest.mark.parametrize(("one", "other"), [pair for pair in PAIRS if pair[0] != pair[1]])
def test_there_and_back_through_a_registry(one: str, other: str) -> None:
    with Registry() as registry:
        pack(SAMPLES / "hello.wasm", tags=[f"{registry.host}/a/one:1"], push=True, format=one, name="hello.wasm")
        there = convert(f"{registry.host}/a/one:1", f"{registry.host}/b/two:1", format=other, name="hello.wasm")
        back = convert(there.reference, "back.tar", format=one, name="hello.wasm")
    assert back.descriptor.digest == pack(SAMPLES / "hello.wasm", output="x.oci", format=one).descriptor.digest
    extract("back.tar", "out.wasm")
    assert Path("out.wasm").read_bytes() == (SAMPLES / "hello.wasm").read_bytes()


def test_between_raw_shapes_of_one_registry_the_program_is_mounted() -> None:
    with Registry() as registry:
        pack(SAMPLES / "hello.wasm", tags=[f"{registry.host}/a:1"], push=True, format="artifact")
        done = convert(f"{registry.host}/a:1", f"{registry.host}/b:1", format="wasm-layer")
    assert [layer.size for layer in done.copied.mounted] == [(SAMPLES / "hello.wasm").stat().st_size]


def test_what_is_said_goes_along_and_gives_what_packing_gives() -> None:
    said: dict[str, Any] = {
        "env": ("A=1",), "cmd": "x y", "label": ("l=1",), "annotation": ("k=v",), "user": "65532", "workdir": "/w",
        "expose": ("80",), "stop_signal": "SIGINT", "author": "Ada", "created": "2026-01-31T12:00:00Z",
        "platform": ("wasip1/wasm",),
    }  # fmt: skip
    sample = SAMPLES / "hello.wasm"
    pack(sample, output="image.oci", format="image", **said)
    for other in ("wasm-layer", "compat"):
        straight = pack(sample, output=f"{other}.oci", format=other, **said)
        assert str(convert("image.oci", f"to-{other}.oci", format=other).descriptor.digest) == straight.digest
        back = convert(f"{other}.oci", f"back-{other}.oci", format="image", name="hello.wasm")
        assert str(back.descriptor.digest) == pack(sample, output="image.oci", format="image", **said).digest
    lost = convert("image.oci", "artifact.oci", format="artifact")
    assert lost.notes[1] == (
        "artifact has no place for: user, exposed ports, default arguments, stop signal, environment, "
        "working directory, labels, platform wasip1/wasm"
    )
    made = config("artifact.oci", str(lost.descriptor.digest))
    assert (made["created"], made["author"]) == ("2026-01-31T12:00:00Z", "Ada")
    assert document("artifact.oci", str(lost.descriptor.digest))["annotations"]["k"] == "v"


def test_files_beside_the_program_go_where_there_is_room() -> None:
    Path("app.toml").write_text("a = 1\n")
    big = os.urandom(3 * 1024 * 1024)
    Path("big").write_bytes(big)
    add = ("app.toml:/etc/app.toml", "big:/srv/data/big:0600")
    pack(SAMPLES / "hello.wasm", output="a.oci", add=add, nonroot=True)
    straight = pack(SAMPLES / "hello.wasm", output="b.oci", add=add, nonroot=True, format="compat")
    done = convert("a.oci", "c.oci", format="compat")
    assert str(done.descriptor.digest) == straight.digest
    assert {"etc/app.toml", "srv/data/big", "etc/passwd", "plugin.wasm"} <= set(files("c.oci", straight.digest))
    with pytest.raises(UsageError, match=r"beside it there is /etc/passwd, /etc/group, /etc/app\.toml") as caught:
        convert("a.oci", "d.oci", format="artifact")
    assert caught.value.code == "shape-conflict"
    assert not Path("d.oci").exists()


def test_the_entrypoint_follows_the_program() -> None:
    sample = SAMPLES / "hello.wasm"
    pack(sample, output="a.oci", name="/usr/bin/app.wasm", entrypoint='["/usr/bin/app.wasm#run", "-v"]')
    done = convert("a.oci", "b.oci", format="compat")
    assert config("b.oci", str(done.descriptor.digest))["config"]["Entrypoint"] == ["/plugin.wasm#run", "-v"]
    assert files("b.oci", str(done.descriptor.digest)) == ["plugin.wasm"]
    done = convert("a.oci", "c.oci", format="wasm-layer")
    assert config("c.oci", str(done.descriptor.digest))["config"]["Entrypoint"] == ["/usr/bin/app.wasm#run", "-v"]
    lost = convert("a.oci", "d.oci", format="artifact")
    assert lost.notes == ("image becomes artifact", "artifact has no place for: entrypoint")


def test_the_original_is_the_subject_where_that_is_asked_for() -> None:
    with Registry() as registry:
        packed = pack(SAMPLES / "hello.wasm", tags=[f"{registry.host}/a:1"], push=True)
        done = convert(f"{registry.host}/a:1", f"{registry.host}/b:1", format="artifact", subject=True)
        _, manifest = registry.manifests["b", str(done.descriptor.digest)]
        assert ("b", packed.digest) in registry.manifests, "the subject is not where its referrer is"
        found = json.loads(manifest)
        assert found["subject"]["digest"] == packed.digest
        assert found["annotations"]["ocibuild.converted-from"] == f"image {registry.host}/a@{packed.digest}"
        assert registry.tags["b", "1"] == str(done.descriptor.digest)
    assert done.copied.mounted


def test_an_index_of_images_keeps_its_natives() -> None:
    pack(SAMPLES / "hello.wasm", output="wasm.oci", format="wasm-layer")
    packed = pack(SAMPLES / "hello.wasm", SAMPLES / "hello-linux-amd64", output="many.oci")
    # An index as no consumer reads it: the Wasm entry is a raw layer.
    index = document("many.oci", packed.digest)
    raw = json.loads(Path("wasm.oci/index.json").read_bytes())["manifests"][0]
    index["manifests"][1] |= {"digest": raw["digest"], "size": raw["size"]}
    put_index("many.oci", index)
    for blob in Path("wasm.oci/blobs/sha256").iterdir():
        (Path("many.oci/blobs/sha256") / blob.name).write_bytes(blob.read_bytes())
    done = convert("many.oci", "mended.oci", format="image")
    assert str(done.descriptor.digest) == packed.digest
    assert done.notes == ("wasi/wasm: wasm-layer becomes image",)


def foreign(layout: str, layers: list[list[tarfile.TarInfo]], process: dict[str, Any]) -> None:
    """An image as other tools make them: several layers, a config with what they say in it."""
    import hashlib
    import io

    program = (SAMPLES / "hello.wasm").read_bytes()
    pack(SAMPLES / "hello.wasm", output=layout)
    blobs = Path(layout) / "blobs/sha256"

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(data)}

    found = []
    for members in layers:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for member in members:
                data = program if member.name.endswith(".wasm") else b"text"
                member.size = len(data) if member.isreg() else 0
                archive.addfile(member, io.BytesIO(data))
        found.append(put(stream.getvalue(), "layer.v1.tar"))
    said = {
        "architecture": "wasm", "os": "wasi", "created": "2026-01-31T12:00:00.123456789Z", "config": process,
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in found]},
    }  # fmt: skip
    config = put(json.dumps(said).encode(), "config.v1+json")
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    put_index(layout, {**manifest, "config": config, "layers": found})


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname = kind, mode, link
    return info


def test_layers_of_others_become_one_and_whiteouts_have_done_their_work() -> None:
    below = [
        member("etc", tarfile.DIRTYPE, 0o755),
        member("etc/gone"),
        member("etc/kept", mode=0o600),
        member("old.wasm"),
    ]
    above = [
        member("etc/.wh.gone"),
        member(".wh.old.wasm"),
        member("bin/hello.wasm", mode=0o755),
        member("etc/hard", tarfile.LNKTYPE, link="etc/kept"),
        member("etc/soft", tarfile.SYMTYPE, link="kept"),
    ]
    foreign("a.oci", [below, above], {"Cmd": ["/bin/hello.wasm", "-v"], "Env": ["A=1"]})
    done = convert("a.oci", "b.oci", format="compat")
    assert files("b.oci", str(done.descriptor.digest)) == ["etc", "etc/kept", "etc/hard", "etc/soft", "plugin.wasm"]
    made = config("b.oci", str(done.descriptor.digest))
    # Arguments that began with the program are arguments of it now.
    assert made["config"] == {"Env": ["A=1"], "Entrypoint": ["/plugin.wasm"], "Cmd": ["-v"]}
    assert made["created"] == "2026-01-31T12:00:00.123456789Z"
    extract("b.oci", "out.wasm")
    assert Path("out.wasm").read_bytes() == (SAMPLES / "hello.wasm").read_bytes()


def test_a_file_that_no_layer_of_ours_holds_is_refused() -> None:
    foreign("a.oci", [[member("dev/null", tarfile.CHRTYPE), member("hello.wasm")]], {"Entrypoint": ["hello.wasm"]})
    with pytest.raises(ContentError, match="/dev/null is a device") as caught:
        convert("a.oci", "b.oci", format="compat")
    assert caught.value.code == "not-convertible"
    assert not Path("b.oci").exists()


def test_a_file_in_the_programs_new_place_is_refused() -> None:
    foreign("a.oci", [[member("plugin.wasm"), member("hello.wasm")]], {"Entrypoint": ["/hello.wasm"]})
    with pytest.raises(UsageError) as caught:
        convert("a.oci", "b.oci", format="compat")
    assert caught.value.code == "path-duplicate"


def test_an_attestation_about_what_was_converted_is_left_out() -> None:
    pack(SAMPLES / "hello.wasm", output="many.oci", format="wasm-layer")
    raw = json.loads(Path("many.oci/index.json").read_bytes())["manifests"][0]
    about = pack(SAMPLES / "hello.wasm", output="many.oci", format="artifact").descriptor
    entry = {"mediaType": raw["mediaType"], "digest": raw["digest"], "size": raw["size"]}
    statement = {
        "mediaType": about.media_type, "digest": str(about.digest), "size": about.size,
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": raw["digest"]},
    }  # fmt: skip
    entries = [{**entry, "platform": {"os": "wasi", "architecture": "wasm"}}, statement]
    put_index(
        "many.oci", {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
    )
    done = convert("many.oci", "b.oci", format="image")
    straight = pack(SAMPLES / "hello.wasm", output="c.oci", format="image").digest
    assert [child["digest"] for child in document("b.oci", str(done.descriptor.digest))["manifests"]] == [straight]
    assert done.notes[1] == "left out: attestations about manifests that were converted (1)"
    again = convert("b.oci", "d.oci", format="image")
    assert (again.descriptor.digest, again.notes) == (
        done.descriptor.digest,
        ("every entry has the shape image already; copied as it is",),
    )


@pytest.mark.parametrize("output", ["b.tar", "oci:b:2"])
def test_a_subject_goes_into_layouts_and_archives_too(output: str) -> None:
    from ocibuild.api import places

    packed = pack(SAMPLES / "hello.wasm", output="a.oci")
    done = convert("a.oci", output, format="wasm-layer", subject=True)
    store = places.source(places.parse(output))
    assert store.exists(packed.descriptor)
    extract(done.reference, "out.wasm")
    extract(f"{done.reference.partition('@')[0]}@{packed.digest}", "original.wasm")
    assert Path("out.wasm").read_bytes() == Path("original.wasm").read_bytes()


def put_index(layout: str, index: Any) -> None:
    import hashlib

    data = json.dumps(index).encode()
    digest = hashlib.sha256(data).hexdigest()
    (Path(layout) / "blobs/sha256" / digest).write_bytes(data)
    entry = {"mediaType": index["mediaType"], "digest": f"sha256:{digest}", "size": len(data)}
    (Path(layout) / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))


def test_a_shape_that_no_index_holds_asks_which_entry() -> None:
    pack(SAMPLES / "hello.wasm", SAMPLES / "hello-linux-amd64", output="many.oci")
    with pytest.raises(UsageError) as caught:
        convert("many.oci", "a.oci", format="artifact")
    assert caught.value.code == "platform-needed"
    done = convert("many.oci", "a.oci", format="artifact", platform="wasi/wasm")
    assert str(done.descriptor.digest) == pack(SAMPLES / "hello.wasm", output="b.oci", format="artifact").digest
    with pytest.raises(UsageError, match="is a native binary") as caught:
        convert("many.oci", "a.oci", format="artifact", platform="linux/amd64")
    assert caught.value.code == "shape-conflict"


def test_a_consumer_chooses_the_shape_and_refuses_what_it_cannot_run() -> None:
    pack(SAMPLES / "hello.wasm", output="a.oci")
    done = convert("a.oci", "b.oci", consumer="kubernetes")
    assert str(done.descriptor.digest) == pack(SAMPLES / "hello.wasm", output="c.oci", consumer="kubernetes").digest
    with pytest.raises(UsageError, match="it loads proxy-wasm modules only") as caught:
        convert("a.oci", "d.oci", consumer="istio")
    assert caught.value.code == "consumer-refuses"


def test_what_is_no_program_is_refused() -> None:
    packed = pack(SAMPLES / "hello.wasm", output="a.oci", format="artifact")
    manifest = document("a.oci", packed.digest)
    manifest["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    put_index("a.oci", manifest)
    with pytest.raises(ContentError) as caught:
        convert("a.oci", "b.oci", format="image")
    assert caught.value.code == "not-convertible"


@pytest.mark.parametrize("other", ["image", "wasm-layer"])
def test_what_is_larger_than_what_is_held_is_made_again(other: str) -> None:
    # 9 MiB in several gzip members, and beyond the 4 MiB that are kept between learning the digest and writing.
    size = 9 * 1024 * 1024
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14 & 0x7F | 0x80, size >> 21])
    Path("big.wasm").write_bytes(b"\0asm\1\0\0\0\0" + length + b"\1x" + os.urandom(size - 2))
    with Registry(user="ada", password="lovelace") as registry:
        from ocibuild.api.session import Session

        session = Session(credentials={registry.host: Credential("ada", "lovelace")})
        one = "artifact" if other == "image" else "image"
        pack("big.wasm", tags=[f"{registry.host}/a:1"], push=True, format=one, session=session)
        done = convert(f"{registry.host}/a:1", f"{registry.host}/b:1", format=other, session=session)
        extract(done.reference, "out.wasm", session=session)
    assert str(done.descriptor.digest) == pack("big.wasm", output="c.oci", format=other).digest
    assert Path("out.wasm").read_bytes() == Path("big.wasm").read_bytes()
