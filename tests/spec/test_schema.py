"""The schemas, judged by the image specification's own examples, by broken ones, and by everything pack writes."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ocibuild
from ocibuild.errors import ContentError, UsageError
from ocibuild.image.shapes import SHAPES
from ocibuild.spec import mediatype, schema
from ocibuild.store.base import fetch
from ocibuild.store.graph import walk
from ocibuild.store.layout import LayoutStore

EXAMPLES = Path(__file__).parents[1] / "vectors" / "image-spec"
MODULE = b"\0asm\1\0\0\0"
HEX = "5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270"
GONE: Any = object()


def example(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text())
    return document


def changed(document: Any, path: str, value: Any) -> Any:
    """A copy with one member changed, or gone."""
    whole = copy.deepcopy(document)
    *parents, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    at = whole
    for step in parents:
        at = at[step]
    if value is GONE:
        del at[last]
    else:
        at[last] = value
    return whole


@pytest.mark.parametrize("name", ["descriptor", "descriptor-with-url", "manifest", "index", "config", "layout"])
def test_the_specifications_own_examples_are_valid(name: str) -> None:
    schema.validate(example(name), name.partition("-")[0])


@pytest.mark.parametrize(
    "name, path, value, where",
    [
        # The cases of image-spec's schema tests (descriptor, manifest, index, config), each as one change to a
        # document that is valid.
        ("manifest", "config/size", "1470", "config.size"),
        ("manifest", "layers/1/size", "675598", "layers[1].size"),
        ("manifest", "mediaType", "invalid", "mediaType"),
        ("manifest", "config/mediaType", "invalid", "config.mediaType"),
        ("manifest", "config/digest", "sha256:c86f7763873b6c0aaehhhhhhhhhhhhhhhhmmmmmmmmmmmmmmmm22d9h3bab59b4f", "config.digest"),
        ("manifest", "layers", [], "layers"),
        ("manifest", "layers", GONE, "the document"),
        ("manifest", "schemaVersion", 1, "schemaVersion"),
        ("manifest", "annotations/key", 1, "annotations.key"),
        ("manifest", "config/mediaType", "application/vnd.oci.empty.v1+json", "the document"),  # no artifactType
        ("index", "manifests/0/mediaType", "", "manifests[0].mediaType"),
        ("index", "manifests/0/size", "7682", "manifests[0].size"),
        ("index", "manifests/0/digest", GONE, "manifests[0]"),
        ("index", "manifests/1/platform/os", GONE, "manifests[1].platform"),
        ("index", "manifests", GONE, "the document"),
        ("descriptor", "mediaType", GONE, "the document"),
        ("descriptor", "mediaType", "application", "mediaType"),
        ("descriptor", "mediaType", ".foo/bar", "mediaType"),
        ("descriptor", "mediaType", "foo/.bar", "mediaType"),
        ("descriptor", "mediaType", "1" * 128 + "/bar", "mediaType"),
        ("descriptor", "mediaType", "foo/" + "1" * 128, "mediaType"),
        ("descriptor", "size", GONE, "the document"),
        ("descriptor", "size", -7682, "size"),
        ("descriptor", "size", 2**63, "size"),
        ("descriptor", "digest", GONE, "the document"),
        ("descriptor", "digest", f":{HEX}", "digest"),
        ("descriptor", "digest", "sha256", "digest"),
        ("descriptor", "digest", f"SHA256:{HEX}", "digest"),
        ("descriptor", "digest", f"sha256:{HEX.upper()}", "digest"),
        ("descriptor", "digest", f"sha256+foo+-b:{HEX}", "digest"),
        ("descriptor", "urls", ["value"], "urls[0]"),
        ("descriptor", "artifactType", "foo/.bar", "artifactType"),
        ("descriptor", "data", "aHR0cHM6Ly9naXRodWIuY29tL29wZW5jb250YWluZXJzCg", "data"),  # missing padding
        ("config", "os", 123, "os"),
        ("config", "rootfs", GONE, "the document"),
        ("config", "rootfs/type", "layer", "rootfs.type"),
        ("config", "config/User", 1234, "config.User"),
        ("config", "config/Env", [7353], "config.Env[0]"),
        ("config", "config/Volumes", ["/var/job-result-data"], "config.Volumes"),
        ("config", "history", "should be an array", "history"),
        ("config", "created", "yesterday", "created"),
        ("layout", "imageLayoutVersion", "2.0.0", "imageLayoutVersion"),
    ],
)  # fmt: skip
def test_a_broken_document_is_refused_and_the_member_named(name: str, path: str, value: Any, where: str) -> None:
    with pytest.raises(ContentError) as caught:
        schema.validate(changed(example(name), path, value), name)
    assert caught.value.code == "schema-violated"
    assert f"no valid {name}: {where}: " in str(caught.value)


@pytest.mark.parametrize(
    "name, path, value",
    [
        ("descriptor", "mediaType", "1" * 127 + "/" + "1" * 127),
        ("descriptor", "size", 0),
        ("descriptor", "digest", "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8"),
        ("descriptor", "digest", f"sha256.foo-bar:{HEX}"),
        ("descriptor", "digest", "sha256+b64u.unknownlength:LCa0a2j_xo_5m0U8HTBBNBNCLXBkg7-g-YpeiGJm564="),
        ("descriptor", "data", "aHR0cHM6Ly9naXRodWIuY29tL29wZW5jb250YWluZXJzCg=="),
        ("manifest", "annotations", GONE),
        ("manifest", "layers/0/mediaType", "application/vnd.other.layer"),
        ("index", "manifests/0/platform", GONE),
        ("index", "manifests/0/mediaType", "application/customized.manifest+json"),
        ("index", "manifests", []),  # "While this property MUST be present, the size of the array MAY be zero."
        ("config", "history", GONE),
        ("config", "config", None),  # "Any OPTIONAL field MAY also be set to null"
        ("config", "config/Entrypoint", None),
    ],
)
def test_what_the_specification_allows_is_valid(name: str, path: str, value: Any) -> None:
    schema.validate(changed(example(name), path, value), name)


@pytest.mark.parametrize("document", [[], "text", None, 1])
def test_a_document_that_is_no_object_is_refused(document: Any) -> None:
    with pytest.raises(ContentError, match="the document"):
        schema.validate(document, "manifest")


@pytest.mark.parametrize("shape", SHAPES)
def test_whatever_pack_writes_is_valid(shape: str, tmp_path: Path) -> None:
    assert written(tmp_path, "hello.wasm", format=shape) >= {"manifest", "layout", "index"}


@pytest.mark.parametrize("compression", ["gzip", "gzip-single", "zstd", "none"])
def test_an_image_that_says_everything_is_valid(compression: str, tmp_path: Path) -> None:
    found = written(
        tmp_path, "hello.wasm", compression=compression, env={"A": "b"}, label={"a": "b"}, annotation={"a.b": "c"},
        expose=["8080"], volume=["/data"], user="1:1", cmd='["x"]', author="me", created="2026-01-31T12:00:00Z",
        stop_signal="SIGINT", nonroot=True, also=["linux/amd64"],
    )  # fmt: skip
    assert found == {"manifest", "config", "layout", "index"}


def written(folder: Path, file: str, **said: Any) -> set[str]:
    """Pack, validate every document of the layout, and give the names of the schemas they were held against."""
    (folder / file).write_bytes(MODULE)
    place = folder / "made.oci"
    packed = ocibuild.pack(folder / file, output=f"oci:{place}", **said)
    schema.validate(json.loads((place / "oci-layout").read_bytes()), "layout")
    schema.validate(json.loads((place / "index.json").read_bytes()), "index")
    seen = {"layout", "index"}
    store = LayoutStore(place)
    kinds = {mediatype.MANIFEST: "manifest", mediatype.INDEX: "index", mediatype.CONFIG: "config"}
    for descriptor in walk(store, packed.descriptor):
        schema.validate(descriptor.to_json(), "descriptor")
        if name := kinds.get(descriptor.media_type):
            schema.validate(json.loads(fetch(store, descriptor)), name)
            seen.add(name)
    return seen


def test_every_schema_is_itself_valid_and_named_after_its_file() -> None:
    from jsonschema import Draft202012Validator

    assert set(schema.names()) >= {"config", "descriptor", "index", "layout", "manifest", "ocibuild"}
    for name in schema.names():
        document = schema.load(name)
        Draft202012Validator.check_schema(document)
        assert document.get("$id") in (f"urn:ocibuild:schema:{name}", None)


def test_an_unknown_schema_says_which_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        schema.load("dockerfile")
    assert caught.value.code == "schema-unknown"
    assert "manifest" in (caught.value.hint or "")


def test_an_installed_package_finds_its_schemas_inside(tmp_path: Path) -> None:
    # The wheel's force-include, played by a copy: no checkout around it.
    root = Path(ocibuild.__file__).parent
    for part in ("__init__.py", "errors.py", "spec"):
        target = tmp_path / "ocibuild" / part
        target.parent.mkdir(exist_ok=True)
        target.symlink_to(root / part)
    (tmp_path / "ocibuild" / "schemas").mkdir()
    (tmp_path / "ocibuild" / "schemas" / "only.schema.json").write_text("{}")
    source = "from ocibuild.spec import schema; import sys; sys.exit(schema.names() != ['only'])"
    assert subprocess.run([sys.executable, "-c", source], cwd=tmp_path, timeout=60).returncode == 0
