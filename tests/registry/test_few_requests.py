"""How many requests a push is, counted by the registry. distribution-spec "Push" has a POST and a PUT for a blob, a PUT for a manifest."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import ocibuild
from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.registry import dial
from ocibuild.registry.settings import Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.manifest import Index
from ocibuild.spec.reference import Reference
from ocibuild.store.copy import copy
from ocibuild.store.layout import LayoutStore
from ocibuild.testing.contract import image
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Seen


def asked(requests: Sequence[Seen]) -> list[tuple[str, str]]:
    return [(request.method, request.path.split("/hello/")[1].partition("/")[0]) for request in requests]


def layout(folder: Path, *images: list[Blob], indexed: bool = False) -> str:
    """A layout with these images, and where it is."""
    with Flow.open(cpu=1, io=1) as flow, LayoutStore(folder) as store:
        for number, blobs in enumerate(images):
            for blob in blobs:
                store.push(blob, flow)
            if not indexed:
                store.tag(blobs[-1].descriptor, f"n{number}")
        if indexed:
            entries = Index(tuple(blobs[-1].descriptor for blobs in images))
            root = Blob.of(mediatype.INDEX, entries.to_bytes())
            store.push(root, flow)
            store.tag(root.descriptor, "n0")
    return f"oci:{folder}:n0"


def pushed(place: str, registry: Registry, name: str = "1") -> list[tuple[str, str]]:
    before = len(registry.seen)
    ocibuild.push(place, f"{registry.host}/hello:{name}")
    return asked(registry.seen[before:])


def test_a_first_push_is_two_requests_a_blob_one_a_manifest_and_a_look_at_the_name(tmp_path: Path) -> None:
    blobs = image(b"a")
    place = layout(tmp_path / "a.oci", blobs)
    with Registry() as registry:
        first = pushed(place, registry)
        assert first[0] == ("HEAD", "manifests")
        assert first[-1] == ("PUT", "manifests")
        assert Counter(first[1:-1]) == {("POST", "blobs"): 2, ("PUT", "blobs"): 2}
        assert len(blobs) == 3


def test_a_push_of_what_its_name_stands_for_is_one_request(tmp_path: Path) -> None:
    place = layout(tmp_path / "a.oci", image(b"a"))
    entries = layout(tmp_path / "b.oci", image(b"a"), image(b"b"), indexed=True)
    with Registry() as registry:
        pushed(place, registry)
        done = ocibuild.push(place, f"{registry.host}/hello:1")[0]
        assert len(done.copied.existed) == 3
        assert not done.copied.written
        assert pushed(place, registry) == [("HEAD", "manifests")]
        pushed(entries, registry, "2")
        assert pushed(entries, registry, "2") == [("HEAD", "manifests")]


def test_a_push_under_another_name_is_one_request_for_all_that_is_there(tmp_path: Path) -> None:
    place = layout(tmp_path / "a.oci", image(b"a"))
    with Registry() as registry:
        pushed(place, registry)
        again = pushed(place, registry, "2")
        assert Counter(again) == {("HEAD", "manifests"): 1, ("POST", "blobs"): 2, ("PUT", "manifests"): 1}


def test_what_the_registry_has_lost_is_sent_again_under_another_name(tmp_path: Path) -> None:
    place = layout(tmp_path / "a.oci", image(b"a"))
    with Registry() as registry:
        pushed(place, registry)
        registry.blobs.clear()
        assert pushed(place, registry) == [("HEAD", "manifests")]  # it vouches for what is below
        pushed(place, registry, "2")
        assert len(registry.blobs) == 2


def test_another_image_of_the_same_name_is_pushed(tmp_path: Path) -> None:
    one, two = layout(tmp_path / "a.oci", image(b"a")), layout(tmp_path / "b.oci", image(b"b"))
    with Registry() as registry:
        pushed(one, registry)
        pushed(two, registry)
        assert registry.tags["hello", "1"] == image(b"b")[-1].descriptor.digest


class _Strict(Registry):
    """Will not hear of a mount from the very repository."""

    def respond(self, request: Seen) -> Answer:
        return Answer(400) if "mount=" in request.path else super().respond(request)


def test_a_registry_that_mounts_nothing_of_its_own_is_asked_so_once(tmp_path: Path) -> None:
    with _Strict() as registry, ocibuild.Session() as session:
        for number in range(3):
            place = layout(tmp_path / f"{number}.oci", image(b"%d" % number))
            ocibuild.push(place, f"{registry.host}/hello:{number}", session=session)
        assert len(registry.blobs) == 6
        mounts = registry.requests("POST", "mount=")
        assert 1 <= len(mounts) <= 2  # two threads may ask at once
        assert len(registry.requests("HEAD", "/blobs/")) == 6


@pytest.mark.parametrize("mounts", [True, False])
def test_a_large_blob_is_looked_for_and_never_sent_twice(tmp_path: Path, mounts: bool) -> None:
    layer = Blob.of(mediatype.LAYER, bytes(300_000))
    with Registry(mounts=mounts) as registry, Flow.open(cpu=1, io=1) as flow:
        target = RegistryStore(Reference.parse(f"{registry.host}/hello:1"), Settings())
        target.push(layer, flow)
        target.push(layer, flow)
        assert asked(registry.seen) == [("HEAD", "blobs"), ("POST", "blobs"), ("PUT", "blobs"), ("HEAD", "blobs")]


def test_small_requests_share_a_connection_and_are_one_packet_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    opened: list[socket.socket] = []

    class Counting(socket.socket):
        def connect(self, address: Any) -> None:
            opened.append(self)
            super().connect(address)

        def sendall(self, data: Any, *flags: int) -> None:
            if self in opened:  # the others are the registry's own
                sent.append(len(data))
            super().sendall(data, *flags)

    blobs = image(b"a")
    layout(tmp_path / "a.oci", blobs)
    with Registry() as registry:
        monkeypatch.setattr(dial.socket, "socket", Counting)
        target = RegistryStore(Reference.parse(f"{registry.host}/hello:1"), Settings())
        with target, Flow.open(cpu=1, io=1) as flow:
            copy(LayoutStore(tmp_path / "a.oci"), blobs[-1].descriptor, target, names=["1"], flow=flow)
            assert all(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for sock in opened)
        assert len(opened) <= 2  # the threads that send: the one of the pool, and this one
        assert len(sent) == len(registry.seen) == 6
