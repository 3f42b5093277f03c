"""Descriptors, manifests, indexes and configs, held against the examples printed in OCI's image-spec (v1.1)."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.errors import ContentError, OcibuildError
from ocibuild.spec import jsonform, layout, mediatype
from ocibuild.spec.config import History, ImageConfig, Process
from ocibuild.spec.descriptor import EMPTY, Descriptor
from ocibuild.spec.digest import Digest
from ocibuild.spec.manifest import Index, Manifest, parse
from ocibuild.spec.platform import Platform

# manifest.md, "Example Image Manifest"; white space removed.
MANIFEST = jsonform.dump(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": "sha256:b5b2b2c507a0944348e0303114d8d93aaaa081732b86451d9bce1f432a537bc7",
            "size": 7023,
        },
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": "sha256:9834876dcfb05cb167a5c24953eba58c4ac89b1adf57f28f2f9d09af107ee8f0",
                "size": 32654,
            },
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": "sha256:3c3a4604a545cdc127456d94e421cd355bca5b528f4a9c1905b15da2eb4a4c6b",
                "size": 16724,
            },
        ],
        "subject": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": "sha256:5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270",
            "size": 7682,
        },
        "annotations": {"com.example.key1": "value1", "com.example.key2": "value2"},
    }
)

# image-index.md, "Example Image Index".
INDEX = jsonform.dump(
    {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": "sha256:e692418e4cbaf90ca69d05a66403747baa33ee08806650b51fab815ad7fc331f",
                "size": 7143,
                "platform": {"architecture": "ppc64le", "os": "linux"},
            },
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": "sha256:5b0bcabd1ed22e9fb1310cf6c2dec7cdef19f0ad69efa1f392e94a4333501270",
                "size": 7682,
                "platform": {"architecture": "amd64", "os": "linux"},
            },
        ],
        "annotations": {"com.example.key1": "value1", "com.example.key2": "value2"},
    }
)

# config.md, "Example" (with the members we write; Windows' and Docker's own are left out there too).
CONFIG: dict[str, Any] = {
    "created": "2015-10-31T22:22:56.015925234Z",
    "author": "Alyssa P. Hacker <alyspdev@example.com>",
    "architecture": "amd64",
    "os": "linux",
    "config": {
        "User": "alice",
        "ExposedPorts": {"8080/tcp": {}},
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "FOO=oci_is_a", "BAR=well_written_spec"],
        "Entrypoint": ["/bin/my-app-binary"],
        "Cmd": ["--foreground", "--config", "/etc/my-app.d/default.cfg"],
        "Volumes": {"/var/job-result-data": {}, "/var/log/my-app-logs": {}},
        "WorkingDir": "/home/alice",
        "Labels": {
            "com.example.project.git.url": "https://example.com/project.git",
            "com.example.project.git.commit": "45a939b2999782a3f005621a8d0f29aa387e1d6b",
        },
    },
    "rootfs": {
        "type": "layers",
        "diff_ids": [
            "sha256:c6f988f4874bb0add23a778f753c65efe992244e148a1d2ec2a8b664fb66bbd1",
            "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
        ],
    },
    "history": [
        {
            "created": "2015-10-31T22:22:54.690851953Z",
            "created_by": "/bin/sh -c #(nop) ADD file:a3bc1e842b69636f9df5256c49c5374fb4eef1e281fe3f282c65fb853ee171c5 in /",
        },
        {
            "created": "2015-10-31T22:22:55.613815829Z",
            "created_by": "/bin/sh -c #(nop) CMD [\"sh\"]",
            "empty_layer": True,
        },
        {
            "created": "2015-10-31T22:22:56.329850019Z",
            "created_by": "/bin/sh -c apk add curl",
        },
    ],
}  # fmt: skip


def test_the_specifications_manifest_is_read_and_written_to_the_byte() -> None:
    manifest = parse(MANIFEST, mediatype.MANIFEST)
    assert isinstance(manifest, Manifest)
    assert [layer.size for layer in manifest.layers] == [32654, 16724]
    assert manifest.kind == mediatype.CONFIG
    assert manifest.subject is not None
    assert manifest.subject not in manifest.children
    assert len(manifest.children) == 3
    assert manifest.to_bytes() == MANIFEST


def test_the_specifications_index_is_read_and_written_to_the_byte() -> None:
    index = parse(INDEX, mediatype.INDEX)
    assert isinstance(index, Index)
    assert [str(entry.platform) for entry in index.children] == ["linux/ppc64le", "linux/amd64"]
    assert index.to_bytes() == INDEX


def test_an_artifact_says_its_type() -> None:
    subject = Descriptor.of(mediatype.MANIFEST, MANIFEST)
    manifest = Manifest(EMPTY, (EMPTY,), artifact_type="application/vnd.example+type", subject=subject)
    document = json.loads(manifest.to_bytes())
    assert list(document) == ["schemaVersion", "mediaType", "artifactType", "config", "layers", "subject"]
    assert parse(manifest.to_bytes(), mediatype.MANIFEST) == manifest
    assert manifest.kind == "application/vnd.example+type"
    index = Index((subject,), artifact_type="application/vnd.example+type", subject=subject)
    assert parse(index.to_bytes(), mediatype.INDEX) == index


def test_the_empty_descriptor_is_the_specifications() -> None:
    # manifest.md, "Guidance for an Empty Descriptor"
    assert EMPTY.digest == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert (EMPTY.media_type, EMPTY.size) == ("application/vnd.oci.empty.v1+json", 2)


def test_a_body_without_media_type_is_what_its_descriptor_says() -> None:
    body = jsonform.dump({"schemaVersion": 2, "manifests": []})
    assert isinstance(parse(body, mediatype.INDEX), Index)
    assert isinstance(parse(body, mediatype.DOCKER_INDEX), Index)


@pytest.mark.parametrize(
    "body, media_type, code, said",
    [
        # distribution-spec: a client SHOULD verify that the mediaType in the body is the Content-Type
        (MANIFEST, mediatype.DOCKER_MANIFEST, "media-type-mismatch", "calls itself"),
        (MANIFEST, mediatype.INDEX, "media-type-mismatch", "calls itself"),
        (b'{"schemaVersion":2,"manifests":[],"config":{}}', mediatype.INDEX, "media-type-mismatch", "has layers"),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', mediatype.INDEX, "media-type-mismatch", "has layers"),
        (b'{"schemaVersion":2,"manifests":[]}', mediatype.MANIFEST, "media-type-mismatch", "lists manifests"),
        (b'{"schemaVersion":2}', mediatype.CONFIG, "media-type-mismatch", "neither"),
        (b'{"schemaVersion":1}', mediatype.MANIFEST, "document-invalid", "schemaVersion 1"),
        (b"{}", mediatype.MANIFEST, "document-invalid", "m.schemaVersion is missing"),
        (b'{"schemaVersion":2,"layers":[]}', mediatype.MANIFEST, "document-invalid", "m.config is missing"),
        (b'{"schemaVersion":2,"config":3,"layers":[]}', mediatype.MANIFEST, "document-invalid", "m.config is a number"),
        (b'{"schemaVersion":2,"manifests":[7]}', mediatype.INDEX, "document-invalid", "m.manifests[0] is a number"),
        (b'{"schemaVersion":2,"manifests":{}}', mediatype.INDEX, "document-invalid", "m.manifests is an object"),
        (b'{"schemaVersion":2,"manifests":[{}]}', mediatype.INDEX, "document-invalid", "m.manifests[0].mediaType"),
        (b'{"schemaVersion":2,"manifests":[],"annotations":{"a":1}}', mediatype.INDEX, "document-invalid", "m.annotations.a"),
        (b'{"schemaVersion":2,"manifests":[],"subject":{}}', mediatype.INDEX, "document-invalid", "m.subject.mediaType"),
        (b'{"schemaVersion":2,"manifests":[' + b",".join([b"{}"] * 10_001) + b"]}", mediatype.INDEX, "document-invalid", "10001"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_document_is_named_by_its_path(body: bytes, media_type: str, code: str, said: str) -> None:
    with pytest.raises(ContentError) as caught:
        parse(body, media_type, "m")
    assert caught.value.code == code
    assert said in caught.value.message


def test_a_larger_limit_can_be_allowed() -> None:
    body = INDEX + b" " * jsonform.MAX_DOCUMENT
    with pytest.raises(ContentError):
        parse(body, mediatype.INDEX)
    assert parse(body, mediatype.INDEX, limit=2 * jsonform.MAX_DOCUMENT)


GOOD: dict[str, Any] = {"mediaType": "application/x", "digest": str(EMPTY.digest), "size": 2}


@pytest.mark.parametrize(
    "change, code, said",
    [
        ({"mediaType": "text"}, "document-invalid", "d.mediaType is 'text'"),
        ({"mediaType": "a/b; charset=utf-8"}, "document-invalid", "d.mediaType"),
        ({"mediaType": "a/" + "b" * 128}, "document-invalid", "d.mediaType"),
        ({"digest": "sha256:x"}, "digest-invalid", "d.digest"),
        ({"size": -1}, "document-invalid", "d.size is -1"),
        ({"size": 2**63}, "document-invalid", "d.size"),
        ({"size": "2"}, "document-invalid", "d.size is a string"),
        ({"data": "!"}, "document-invalid", "d.data is not base64"),
        ({"platform": {"os": "x"}}, "document-invalid", "d.platform.architecture is missing"),
        ({"urls": [1]}, "document-invalid", "d.urls[0]"),
        ({"annotations": {"a": None}}, "document-invalid", "d.annotations.a is null"),
    ],
)
def test_a_descriptors_wrong_member_is_named(change: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(ContentError) as caught:
        Descriptor.from_json(GOOD | change, "d")
    assert caught.value.code == code
    assert said in caught.value.message


def test_a_descriptor_with_everything_round_trips_in_order() -> None:
    full = Descriptor(
        "application/x",
        EMPTY.digest,
        2,
        {"b": "1", "a": "2"},
        Platform("linux", "arm", "v7"),
        "application/y",
        b"{}",
        ("https://example.org/a",),
    )
    document = full.to_json()
    assert list(document) == ["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"]
    assert document["data"] == "e30="  # manifest.md prints the empty descriptor's data so
    assert Descriptor.from_json(document) == full
    assert full.bare.to_json() == {"mediaType": "application/x", "digest": str(EMPTY.digest), "size": 2}
    assert full.bare.key == full.key
    assert full.with_annotations({"a": "3"}).annotations == {"b": "1", "a": "3"}
    assert full.with_platform(None).platform is None


def test_the_specifications_config_round_trips() -> None:
    data = jsonform.dump(CONFIG)
    config = ImageConfig.parse(data)
    assert config.process.user == "alice"
    assert config.process.exposed_ports == ("8080/tcp",)
    assert len(config.diff_ids) == 2
    assert [line.empty_layer for line in config.history] == [False, True, False]
    assert ImageConfig.parse(config.to_bytes()) == config
    assert json.loads(config.to_bytes()) == CONFIG
    assert list(json.loads(config.to_bytes())) == list(CONFIG)


def test_rootfs_stands_in_every_config() -> None:
    # "architecture", "os", "rootfs" are REQUIRED; diff_ids is a list even when it is empty
    document = json.loads(ImageConfig(Platform("wasi", "wasm")).to_bytes())
    assert document == {"architecture": "wasm", "os": "wasi", "rootfs": {"type": "layers", "diff_ids": []}}


def test_a_strangers_poor_config_is_read() -> None:
    config = ImageConfig.parse(b'{"os":"Wasip1","architecture":"wasm","config":null,"rootfs":null,"history":null}')
    assert str(config.platform) == "Wasip1/wasm"
    assert config.process == Process()
    assert ImageConfig.parse(b"{}").platform == Platform("", "")


def test_a_history_line_with_everything() -> None:
    line = History("COPY a /a", "1970-01-01T00:00:00Z", "c", "me", True)
    assert list(line.to_json()) == ["created", "created_by", "author", "comment", "empty_layer"]


@pytest.mark.parametrize(
    "document, said",
    [
        ({"config": {"Env": ["a", 1]}}, "config.config.Env[1]"),
        ({"config": {"Labels": {"a": 1}}}, "config.config.Labels.a"),
        ({"config": []}, "config.config is an array"),
        ({"rootfs": {"diff_ids": ["x"]}}, "config.rootfs.diff_ids[0]"),
        ({"history": [{}, 3]}, "config.history[1] is a number"),
        ({"history": [{"empty_layer": "x"}]}, "config.history[0].empty_layer"),
        ({"os": 3}, "config.os"),
    ],
)
def test_a_configs_wrong_member_is_named(document: dict[str, Any], said: str) -> None:
    with pytest.raises(ContentError) as caught:
        ImageConfig.parse(jsonform.dump(document))
    assert said in caught.value.message


@given(st.binary(), st.sampled_from([mediatype.MANIFEST, mediatype.INDEX, mediatype.CONFIG]))
def test_random_bytes_give_only_our_errors(data: bytes, media_type: str) -> None:
    for read in (lambda: parse(data, media_type), lambda: ImageConfig.parse(data)):
        with contextlib.suppress(OcibuildError):
            read()


MEMBERS = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "annotations", "subject", "platform", "digest", "size",
     "os", "architecture", "rootfs", "diff_ids", "history", "data", "urls", "Env", "Labels", "ExposedPorts"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([2, "sha256:" + "0" * 64, "application/x", mediatype.MANIFEST, mediatype.INDEX]) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=6),
    max_leaves=30,
)  # fmt: skip


@given(st.dictionaries(MEMBERS, VALUES))
def test_documents_of_the_right_words_in_the_wrong_places_give_only_our_errors(document: dict[str, Any]) -> None:
    data = jsonform.dump({**document, "schemaVersion": 2})
    for media_type in (mediatype.MANIFEST, mediatype.INDEX):
        try:
            parsed = parse(data, document.get("mediaType") if document.get("mediaType") == media_type else media_type)
            assert parse(parsed.to_bytes(), media_type) == parsed
        except OcibuildError:
            pass
    try:
        config = ImageConfig.parse(data)
        assert ImageConfig.parse(config.to_bytes()) == config
    except OcibuildError:
        pass


def test_media_types_are_asked_about() -> None:
    assert mediatype.is_valid(mediatype.RUNWASI_LAYER)
    assert not mediatype.is_valid("a/b\n")
    assert mediatype.is_manifest(mediatype.DOCKER_MANIFEST)
    assert mediatype.is_index(mediatype.DOCKER_INDEX)
    assert mediatype.is_node(mediatype.INDEX)
    assert mediatype.is_node(mediatype.MANIFEST)
    assert not mediatype.is_node(mediatype.CONFIG)
    assert mediatype.tar_compression("application/vnd.oci.image.layer.v1.tar+zstd") == "zstd"
    assert mediatype.tar_compression("application/vnd.docker.image.rootfs.diff.tar.gzip") == "gzip"
    assert mediatype.tar_compression("application/wasm") is None


def test_the_layouts_fixed_bytes() -> None:
    # image-layout.md, "oci-layout Example" and "Blobs"
    assert layout.HEADER_BYTES == b'{"imageLayoutVersion":"1.0.0"}'
    assert layout.blob_path(Digest(str(EMPTY.digest))) == (
        "blobs/sha256/44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    )
