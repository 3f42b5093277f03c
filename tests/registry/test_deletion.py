"""Deleting: never more than was asked, and a registry that does not delete says so (fault 92); immutable tags (fault 91)."""

from __future__ import annotations

import json

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import NotFoundError, OcibuildError, RegistryError
from ocibuild.registry.settings import Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.manifest import Manifest
from ocibuild.spec.reference import Reference
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Scripted, Server

CONFIG = Blob.of(mediatype.CONFIG, b'{"os":"wasi"}')
IMAGE = Blob.of(mediatype.MANIFEST, Manifest(CONFIG.descriptor, ()).to_bytes())
OTHER = Blob.of(mediatype.MANIFEST, Manifest(CONFIG.descriptor, (), {"an": "other"}).to_bytes())
JSON = {"Content-Type": "application/json"}


def store(server: Server) -> RegistryStore:
    return RegistryStore(Reference.parse(f"{server.host}/hello:1"), Settings())


def fill(registry: Registry, *tags: str) -> None:
    with Flow.open() as flow, store(registry) as target:
        for blob in (CONFIG, IMAGE):
            target.push(blob, flow)
        for name in tags:
            target.tag(IMAGE.descriptor, name)


def refused(code: str, status: int, message: str = "-") -> Answer:
    return Answer(status, JSON, json.dumps({"errors": [{"code": code, "message": message}]}).encode())


def test_a_tag_goes_and_the_manifest_and_its_other_tags_stay() -> None:
    with Registry() as registry:
        fill(registry, "1", "2")
        store(registry).untag("1")
        assert registry.tags == {("hello", "2"): IMAGE.descriptor.digest}
        assert store(registry).exists(IMAGE.descriptor)
        with pytest.raises(NotFoundError):
            store(registry).untag("1")


def test_a_manifest_goes_with_its_tags() -> None:
    with Registry() as registry:
        fill(registry, "1", "2")
        store(registry).delete(IMAGE.descriptor)
        assert (registry.tags, registry.manifests) == ({}, {})
        with pytest.raises(NotFoundError):
            store(registry).delete(IMAGE.descriptor)


@pytest.mark.fault(92)
@pytest.mark.parametrize(
    "answer",
    [
        refused("UNSUPPORTED", 405),
        refused("UNSUPPORTED", 400),
        refused(
            "DIGEST_INVALID", 400, "provided digest did not match uploaded content"
        ),  # distribution 2.8's word for it
        Answer(405),
        Answer(501),
    ],
)
def test_a_tag_that_cannot_go_alone_stays_and_the_manifest_too(answer: Answer) -> None:
    with Scripted({"DELETE /v2/hello/manifests/1": answer}) as server:
        with pytest.raises(RegistryError) as caught:
            store(server).untag("1")
        assert caught.value.code == "tag-delete-unsupported"
        assert "--manifest" in (caught.value.hint or "")
        assert [request.path for request in server.requests("DELETE")] == ["/v2/hello/manifests/1"]


@pytest.mark.fault(92)
def test_a_registry_that_does_not_delete_says_so() -> None:
    with Registry(deletes="") as registry:
        fill(registry, "1")
        with pytest.raises(RegistryError) as caught:
            store(registry).delete(IMAGE.descriptor)
        assert caught.value.code == "delete-disabled"
        assert "UNSUPPORTED" in caught.value.message


@pytest.mark.fault(92)
@pytest.mark.parametrize("status", [200, 202, 204])
def test_what_was_accepted_and_is_still_to_be_seen_is_no_error(status: int) -> None:
    document = Answer(200, {"Content-Type": mediatype.MANIFEST}, IMAGE.content.data)  # type: ignore[attr-defined]
    path = "/v2/hello/manifests/.*"
    with Scripted({f"DELETE {path}": Answer(status), f"GET {path}": document}) as server:
        store(server).delete(IMAGE.descriptor)
        store(server).untag("1")


@pytest.mark.parametrize("status, code", [(401, "credentials-missing"), (403, "forbidden"), (500, "registry-failing")])
def test_another_refusal_is_told_as_it_is(status: int, code: str) -> None:
    headers = {**JSON, "WWW-Authenticate": 'Basic realm="x"'} if status == 401 else JSON
    with Scripted({"DELETE /v2/hello/manifests/1": Answer(status, headers, b"{}")}) as server:
        with pytest.raises(OcibuildError) as caught:
            store(server).untag("1")
        assert caught.value.code == code


def test_the_right_to_delete_is_asked_for_and_for_nothing_else() -> None:
    from ocibuild.registry.credentials import Credential

    with Registry(user="ada", password="love") as registry:
        settings = Settings(credentials={registry.host: Credential("ada", "love")})
        registry.tags["hello", "1"] = "sha256:0"
        RegistryStore(Reference.parse(f"{registry.host}/hello:1"), settings).untag("1")
        asked = [request.path for request in registry.requests("GET", "/token")]
        assert any("hello%3Apull%2Cdelete" in path for path in asked)
        assert not any("push" in path for path in asked)


# What ECR, Harbor, Nexus and GitLab answer, as users have reported it.
IMMUTABLE = [
    refused(
        "TAG_INVALID",
        400,
        "The image tag '1' already exists in the 'hello' repository and cannot be overwritten because the tag is immutable.",
    ),
    refused("PRECONDITION", 412, "Failed to process request due to 'hello:1' configured as immutable."),
    refused("BLOB_UPLOAD_INVALID", 400, "Repository does not allow updating assets: docker-releases"),
    refused("DENIED", 403, "tag is immutable"),
]


class Immutable(Registry):
    """A tag that is there stays what it is."""

    no = IMMUTABLE[0]

    def _put_manifest(self, request, name, last):  # type: ignore[no-untyped-def]
        return self.no if (name, last) in self.tags else super()._put_manifest(request, name, last)


@pytest.mark.fault(91)
@pytest.mark.parametrize("answer", IMMUTABLE, ids=lambda answer: str(answer.status))
def test_an_immutable_tag_says_what_it_is(answer: Answer) -> None:
    with Immutable() as registry, Flow.open() as flow:
        registry.no = answer
        fill(registry, "1")
        with store(registry) as target:
            target.push(OTHER, flow)
            with pytest.raises(RegistryError) as caught:
                target.tag(OTHER.descriptor, "1")
        assert caught.value.code == "tag-immutable"
        assert f"stays {IMAGE.descriptor.digest}" in caught.value.message
        assert registry.tags["hello", "1"] == IMAGE.descriptor.digest


@pytest.mark.fault(91)
def test_pushing_what_an_immutable_tag_is_already_is_success() -> None:
    with Immutable() as registry:
        fill(registry, "1")
        fill(registry, "1")


@pytest.mark.fault(91)
def test_it_is_success_too_where_somebody_else_was_first() -> None:
    """HEAD says the tag is not there; by the time of the PUT it is, and is the same."""

    class Late(Immutable):
        def _manifest(self, name: str, last: str) -> Answer:
            seen = self.requests("HEAD", "/manifests/1")
            return (
                Answer(404)
                if last == "1" and len(seen) == 2 and not self.requests("GET", "/1")
                else super()._manifest(name, last)
            )

    with Late() as registry:
        fill(registry, "1")
        fill(registry, "1")
        assert len(registry.requests("PUT", "/manifests/1")) == 2


@pytest.mark.fault(95)
def test_a_strangers_colours_are_taken_out_whole() -> None:
    """Fault 95: no escape, and no litter where one was."""
    coloured = refused(
        "DENIED", 400, "\x1b[1;31mno\x1b[0m \x1b]8;;https://evil.example\x07link\x1b]8;;\x07\r\n\u202eback"
    )
    with Scripted({"DELETE /v2/hello/manifests/1": coloured}) as server, pytest.raises(RegistryError) as caught:
        store(server).untag("1")
    assert caught.value.message.endswith("no link back")
