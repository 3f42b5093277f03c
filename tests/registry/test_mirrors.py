"""Mirrors: who is asked, in which order, what is kept from them, and what becomes of those that fail."""

import base64
import json
import os
import socket
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import ocibuild
from ocibuild import ambient
from ocibuild.api.session import Session
from ocibuild.content.blob import Blob
from ocibuild.content.flow import Flow
from ocibuild.errors import ContentError, NetworkError, NotFoundError, UsageError
from ocibuild.registry import hosts, policy, registriesconf
from ocibuild.registry.credentials import Credential
from ocibuild.registry.mirrors import endpoints
from ocibuild.registry.origin import Origin
from ocibuild.registry.settings import Patience, Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.manifest import Manifest
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Pushed, fetch
from ocibuild.store.copy import copy
from ocibuild.store.memory import MemoryStore
from tests.registry.authority import Authority
from tests.registry.double import Registry
from tests.registry.scripted import PLANTED, Answer, Scripted

CONFIG = Blob.of(mediatype.CONFIG, b'{"architecture":"wasm","os":"wasip1"}')
LAYER = Blob.of(mediatype.LAYER, os.urandom(1_000_000))
MANIFEST = Blob.of(mediatype.MANIFEST, Manifest(CONFIG.descriptor, (LAYER.descriptor,)).to_bytes())
QUICK = Patience(attempts=2, first=0.01, longest=0.02)


def fill(registry: Registry, name: str = "team/a") -> Registry:
    """Put the image there, as tag 1."""
    for blob in (CONFIG, LAYER):
        registry.blobs[name, blob.descriptor.digest] = blob.content.data
    registry.manifests[name, MANIFEST.descriptor.digest] = (mediatype.MANIFEST, MANIFEST.content.data)
    registry.tags[name, "1"] = MANIFEST.descriptor.digest
    return registry


def conf(tmp_path: Path, text: str, folder: str = "etc/containers", name: str = "registries.conf") -> Path:
    path = tmp_path / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def mirrored(tmp_path: Path, upstream, *mirrors, **more: str) -> None:
    lines = ["[[registry]]", f'location = "{upstream.host}"']
    for mirror in mirrors:
        lines += ["[[registry.mirror]]", f'location = "{getattr(mirror, "host", mirror)}"']
        lines += [f"{key.replace('_', '-')} = {value}" for key, value in more.items()]
    conf(tmp_path, "\n".join(lines))


def source(tmp_path: Path, server, name: str = "team/a:1", notes=None, failed=None, **settings) -> RegistryStore:
    known = {"patience": QUICK, "home": tmp_path / "home", "system": tmp_path / "etc", **settings}
    known_notes = [] if notes is None else notes

    def observe(event):
        if event.kind == "warning":
            known_notes.append(event.text)

    failed = set() if failed is None else failed
    return RegistryStore(Reference.parse(f"{server.host}/{name}"), Settings(**known), mirrors=failed, observe=observe)


def pull(store: RegistryStore) -> MemoryStore:
    target = MemoryStore()
    with Flow.open() as flow, target:
        copy(store, store.resolve(), target, names=["1"], flow=flow)
    assert target.resolve("1") == MANIFEST.descriptor
    assert fetch(target, LAYER.descriptor) == LAYER.content.data
    return target


def heard(*servers) -> str:
    """All that these servers were told, for a search."""
    said = [(seen.path, dict(seen.headers), seen.body.decode("latin-1")) for server in servers for seen in server.seen]
    return json.dumps(said)


# Who is asked.


def test_a_mirror_that_has_it_leaves_the_registry_alone(tmp_path):
    with fill(Registry()) as mirror, Registry() as upstream:
        mirrored(tmp_path, upstream, mirror)
        notes: list[str] = []
        pull(source(tmp_path, upstream, notes=notes))
        assert upstream.seen == []
        assert notes == []


def test_a_mirror_that_does_not_is_passed_over_with_one_note(tmp_path):
    with Registry() as mirror, fill(Registry()) as upstream:
        mirrored(tmp_path, upstream, mirror)
        notes: list[str] = []
        pull(source(tmp_path, upstream, notes=notes))
        assert [request.path for request in mirror.seen] == ["/v2/team/a/manifests/1"]  # and no blob
        [note] = notes
        assert mirror.host in note
        assert str(tmp_path / "etc/containers/registries.conf") in note


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503])
def test_a_mirror_that_refuses_is_asked_once(tmp_path, status):
    with Scripted({"GET .*": Answer(status), "HEAD .*": Answer(status)}) as mirror, fill(Registry()) as upstream:
        mirrored(tmp_path, upstream, mirror)
        notes: list[str] = []
        pull(source(tmp_path, upstream, notes=notes))
        assert 1 <= len(mirror.seen) <= 2
        assert len(notes) == 1


def test_the_second_mirror_is_asked_when_the_first_fails(tmp_path):
    with Registry() as first, fill(Registry()) as second, Registry() as upstream:
        mirrored(tmp_path, upstream, first, second)
        pull(source(tmp_path, upstream))
        assert upstream.seen == []


def test_what_nobody_has_is_the_registry_s_answer(tmp_path):
    with Registry() as mirror, Registry() as upstream:
        mirrored(tmp_path, upstream, mirror)
        with pytest.raises(NotFoundError) as caught:
            source(tmp_path, upstream).resolve()
        assert upstream.host in caught.value.message


def test_exists_asks_the_registry_where_a_mirror_says_no(tmp_path):
    with Registry() as mirror, fill(Registry()) as upstream:
        mirrored(tmp_path, upstream, mirror)
        store = source(tmp_path, upstream)
        assert store.exists(LAYER.descriptor) is True
        assert store.exists(Blob.of(mediatype.LAYER, b"else").descriptor) is False


@contextmanager
def black_hole():
    """An address of loopback that answers no connection: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            waiting.append(sock)
        time.sleep(0.05)
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        for sock in waiting:
            sock.close()


def test_a_dead_mirror_costs_one_wait_in_a_session(tmp_path):
    with black_hole() as dead, fill(Registry()) as upstream:
        hosts_toml(tmp_path, upstream, f'[host."http://{dead}"]\ndial_timeout = "600ms"\n')
        notes: list[str] = []
        failed: set[str] = set()
        began = time.monotonic()
        pull(source(tmp_path, upstream, notes=notes, failed=failed))
        first = time.monotonic() - began
        pull(source(tmp_path, upstream, notes=notes, failed=failed))
        assert 0.6 <= first < 3
        assert time.monotonic() - began - first < 0.5
        assert len(notes) == 1


def test_mirrors_for_digests_only_are_not_asked_for_tags(tmp_path):
    with fill(Registry()) as mirror, fill(Registry()) as upstream:
        mirrored(tmp_path, upstream, mirror, pull_from_mirror='"digest-only"')
        pull(source(tmp_path, upstream))
        assert mirror.seen == []
        pull(source(tmp_path, upstream, f"team/a@{MANIFEST.descriptor.digest}"))
        assert len(mirror.seen) == 3


def test_mirrors_for_tags_only_are_not_asked_for_digests(tmp_path):
    with fill(Registry()) as mirror, fill(Registry()) as upstream:
        mirrored(tmp_path, upstream, mirror, pull_from_mirror='"tag-only"')
        pull(source(tmp_path, upstream, f"team/a@{MANIFEST.descriptor.digest}"))
        assert mirror.seen == []
        upstream.seen.clear()
        pull(source(tmp_path, upstream))
        assert upstream.seen == []


# What a mirror may do to us.


def test_a_manifest_that_a_mirror_made_up_is_not_taken(tmp_path):
    with fill(Registry()) as mirror, fill(Registry()) as upstream:
        mirror.manifests["team/a", MANIFEST.descriptor.digest] = (mediatype.MANIFEST, MANIFEST.content.data + b" ")
        mirrored(tmp_path, upstream, mirror)
        notes: list[str] = []
        pull(source(tmp_path, upstream, f"team/a@{MANIFEST.descriptor.digest}", notes=notes))
        assert len(notes) == 1


def test_a_blob_that_a_mirror_made_up_is_an_error_and_the_mirror_is_out(tmp_path):
    with fill(Registry()) as mirror, fill(Registry()) as upstream:
        mirror.blobs["team/a", LAYER.descriptor.digest] = bytes(LAYER.descriptor.size)
        mirrored(tmp_path, upstream, mirror)
        store = source(tmp_path, upstream)
        with pytest.raises(ContentError) as caught:
            fetch(store, LAYER.descriptor)
        assert caught.value.code == "digest-mismatch"
        assert mirror.host in caught.value.message
        assert "--no-mirrors" in caught.value.hint
        assert fetch(store, LAYER.descriptor) == LAYER.content.data
        assert len(mirror.seen) == 1


def test_a_mirror_that_breaks_off_is_carried_on_elsewhere(tmp_path):
    size = LAYER.descriptor.size
    broken = Answer(200, {"Content-Length": str(size)}, LAYER.content.data, cut=300_000)
    with Scripted({"GET /v2/team/a/blobs/.*": broken}) as mirror, fill(Registry()) as upstream:
        mirrored(tmp_path, upstream, mirror)
        notes: list[str] = []
        assert fetch(source(tmp_path, upstream, notes=notes), LAYER.descriptor) == LAYER.content.data
        [request] = upstream.seen
        assert request.headers["range"] == f"bytes=300000-{size - 1}"
        assert len(notes) == 1


def test_bytes_of_two_places_are_verified_as_one(tmp_path):
    size = LAYER.descriptor.size
    broken = Answer(200, {"Content-Length": str(size)}, bytes(size), cut=300_000)
    with Scripted({"GET /v2/team/a/blobs/.*": broken}) as mirror, fill(Registry()) as upstream:
        mirrored(tmp_path, upstream, mirror)
        with pytest.raises(ContentError) as caught:
            fetch(source(tmp_path, upstream), LAYER.descriptor)
        assert caught.value.code == "digest-mismatch"
        assert "--no-mirrors" in caught.value.hint


def test_what_a_mirror_s_tag_stands_for_is_pinned(tmp_path):
    with fill(Registry()) as mirror, fill(Registry()) as upstream:
        mirrored(tmp_path, upstream, mirror)
        store = source(tmp_path, upstream)
        root = store.resolve()
        mirror.tags["team/a", "1"] = "sha256:" + "0" * 64
        target = MemoryStore()
        with Flow.open() as flow, target:
            copy(store, root, target, flow=flow)
        asked = [request.path for request in mirror.seen if "/manifests/" in request.path]
        assert asked == ["/v2/team/a/manifests/1"]
        again = source(tmp_path, upstream, f"team/a@{root.digest}")
        assert again.resolve() == root
        assert mirror.seen[-1].path == f"/v2/team/a/manifests/{root.digest}"
        assert upstream.seen == []


# What is kept from a mirror.


def test_a_registry_s_credentials_are_not_for_its_mirrors(tmp_path):
    with fill(Registry()) as mirror, fill(Registry(user="ada", password=PLANTED)) as upstream:
        mirror.user, mirror.password, mirror.basic = "eve", "other-secret", True
        mirrored(tmp_path, upstream, mirror)
        ours = {upstream.host: Credential("ada", PLANTED)}
        pull(source(tmp_path, upstream, credentials=ours))
        said = heard(mirror)
        assert mirror.seen
        encoded = base64.b64encode(f"ada:{PLANTED}".encode()).decode()
        assert PLANTED not in said
        assert encoded not in said
        assert "authorization" not in said.lower()
        assert encoded in heard(upstream)


def test_a_mirror_is_shown_the_credentials_of_its_own_host(tmp_path):
    with fill(Registry(user="eve", password=PLANTED)) as mirror, Registry() as upstream:
        mirrored(tmp_path, upstream, mirror)
        docker = tmp_path / "home/.docker/config.json"
        docker.parent.mkdir(parents=True)
        docker.write_text(json.dumps({"auths": {mirror.host: {"username": "eve", "password": PLANTED}}}))
        pull(source(tmp_path, upstream))
        assert upstream.seen == []


@pytest.mark.fault(24)
def test_a_mirror_s_headers_and_credentials_go_no_further(tmp_path):
    with fill(Registry()) as far:
        where = {"Location": f"{far.url}/v2/team/a/blobs/{LAYER.descriptor.digest}"}
        with Scripted({"GET /v2/team/a/blobs/.*": Answer(307, where)}) as mirror, Registry() as upstream:
            mirror.entrusted = True
            text = f'[host."{mirror.url}"]\n[host."{mirror.url}".header]\nx-key = ["{PLANTED}", "b"]\n'
            text += f'Authorization = "Basic {PLANTED}"\n'
            hosts_toml(tmp_path, upstream, text)
            assert fetch(source(tmp_path, upstream), LAYER.descriptor) == LAYER.content.data
            assert mirror.seen[0].headers["x-key"] == f"{PLANTED}, b"
            assert mirror.seen[0].headers["authorization"] == f"Basic {PLANTED}"
        assert len(far.seen) == 1
        assert PLANTED not in heard(far, upstream)


# What is written goes to the registry, and what is pushed to is read from itself.


def test_nothing_is_pushed_to_a_mirror_nor_looked_for_there(tmp_path):
    with fill(Registry()) as mirror, Registry() as upstream:
        mirrored(tmp_path, upstream, mirror)
        settings = Settings(home=tmp_path / "home", system=tmp_path / "etc")
        target = RegistryStore(Reference.parse(f"{upstream.host}/team/a:1"), settings)
        with Flow.open() as flow, target:
            assert [target.push(blob, flow) for blob in (CONFIG, LAYER, MANIFEST)] == [Pushed.WRITTEN] * 3
            target.tag(MANIFEST.descriptor, "1")
            assert target.resolve("1") == MANIFEST.descriptor
        assert mirror.seen == []


def session(tmp_path: Path, **fields) -> Session:
    here = ambient.read()
    return Session(surroundings=ambient.Ambient({}, tmp_path / "home", here.now, system=tmp_path / "etc"), **fields)


def test_a_copy_between_registries_reads_from_the_one_s_mirror_and_writes_to_the_other(tmp_path):
    with fill(Registry()) as mirror, Registry() as upstream, Registry() as target, fill(Registry()) as decoy:
        text = f'[[registry]]\nlocation = "{upstream.host}"\n[[registry.mirror]]\nlocation = "{mirror.host}"\n'
        text += f'[[registry]]\nlocation = "{target.host}"\n[[registry.mirror]]\nlocation = "{decoy.host}"\n'
        conf(tmp_path, text)
        done = ocibuild.copy(f"{upstream.host}/team/a:1", f"{target.host}/b:1", session=session(tmp_path))
        assert done.descriptor.digest == MANIFEST.descriptor.digest
        assert target.tags["b", "1"] == MANIFEST.descriptor.digest
        assert upstream.seen == decoy.seen == []


def test_no_mirrors_means_none(tmp_path):
    with fill(Registry()) as mirror, fill(Registry()) as upstream:
        mirrored(tmp_path, upstream, mirror)
        current = session(tmp_path, mirrors=False)
        ocibuild.copy(f"{upstream.host}/team/a:1", f"oci:{tmp_path / 'out'}", session=current)
        assert mirror.seen == []
        assert upstream.seen


def test_a_session_says_once_that_a_mirror_failed(tmp_path):
    with fill(Registry()) as upstream:
        mirrored(tmp_path, upstream, "127.0.0.1:9")
        events = []
        current = session(tmp_path, observe=events.append)
        for number in (1, 2):
            ocibuild.copy(f"{upstream.host}/team/a:1", f"oci:{tmp_path / str(number)}", session=current)
        notes = [event.text for event in events if event.kind == "warning"]
        assert [note for note in notes if "without the mirror 127.0.0.1:9" in note] == notes
        assert len(notes) == 1


# registries.conf.


def test_a_blocked_registry_is_not_spoken_to(tmp_path):
    with fill(Registry()) as server:
        path = conf(tmp_path, f'[[registry]]\nprefix = "{server.host}/team"\nblocked = true\n')
        settings = Settings(system=tmp_path / "etc")
        reference = Reference.parse(f"{server.host}/team/a:1")
        for store in (RegistryStore(reference, settings), RegistryStore(reference, settings, mirrors=set())):
            with pytest.raises(UsageError) as caught:
                store.resolve()
            assert caught.value.code == "registry-blocked"
            assert str(path) in caught.value.message
        assert server.seen == []
        fill(server, "other/a")
        assert RegistryStore(Reference.parse(f"{server.host}/other/a:1"), settings).resolve()


def test_a_location_stands_in_for_the_registry_when_reading(tmp_path):
    with fill(Registry(), "vendor/team/a") as real, Registry() as named:
        conf(tmp_path, f'[[registry]]\nprefix = "{named.host}"\nlocation = "{real.host}/vendor"\n')
        pull(source(tmp_path, named))
        with pytest.raises(NotFoundError) as caught:
            source(tmp_path, named, "team/other:1").resolve()
        assert real.host in caught.value.message
        assert named.seen == []


def test_an_insecure_mirror_is_tried_without_verification_and_then_in_plain_http(tmp_path, part):
    authority = Authority(part("openssl"), tmp_path / "authority")
    with fill(Registry()) as mirror, Registry() as upstream:
        mirror.tls = authority.serving()
        mirrored(tmp_path, upstream, mirror, insecure="true")
        pull(source(tmp_path, upstream))
        assert upstream.seen == []
        mirrored(tmp_path, upstream, mirror)
        with pytest.raises(NotFoundError):
            source(tmp_path, upstream).resolve()
    found = endpoints(
        Reference.parse("r.example/a:1"),
        Settings(
            system=tmp_path / "etc",
            environ={
                registriesconf.VARIABLE: str(
                    conf(
                        tmp_path,
                        '[[registry]]\nlocation="r.example"\n[[registry.mirror]]\nlocation="m.example"\ninsecure=true',
                    )
                )
            },
        ),
    )
    assert [(end.root, end.trust.insecure) for end in found] == [
        ("https://m.example/v2", True),
        ("http://m.example/v2", True),
    ]


NAMES = """
[[registry]]
prefix = "r.example"
location = "one.example"
[[registry]]
prefix = "r.example/team"
location = "two.example/deep"
[[registry]]
prefix = "*.example.com"
location = "three.example"
[[registry]]
prefix = "a.example.com"
location = "four.example"
"""


@pytest.mark.parametrize(
    "name, root, repository",
    [
        ("r.example/app", "https://one.example/v2", "app"),
        ("r.example/team", None, None),  # its location would be a host alone
        ("r.example/team/app", "https://two.example/v2", "deep/app"),
        ("r.example/teams/app", "https://one.example/v2", "teams/app"),
        ("b.example.com/app", "https://three.example/v2", "app"),
        ("c.b.example.com/app", "https://three.example/v2", "app"),
        ("a.example.com/app", "https://four.example/v2", "app"),
        ("example.com/app", "", ""),
        ("other.example/a.example.com/app", "", ""),
    ],
)
def test_the_longest_prefix_is_the_one_that_counts(tmp_path, name, root, repository):
    conf(tmp_path, NAMES)
    found = endpoints(Reference.parse(name), Settings(system=tmp_path / "etc"))
    if root is None:
        assert [(end.root, end.repository) for end in found] == [("https://two.example/v2", "deep")]
    else:
        assert [(end.root, end.repository, end.is_mirror) for end in found] == (
            [(root, repository, False)] if root else []
        )


def test_the_user_s_file_the_system_s_and_what_lies_beside_them(tmp_path):
    def location(**more) -> str:
        settings = Settings(home=tmp_path / "home", system=tmp_path / "etc", **more)
        found = registriesconf.find("r.example/a", settings)
        return found.location if found else ""

    def write(folder: str, name: str, value: str) -> None:
        conf(tmp_path, f'[[registry]]\nprefix = "r.example"\nlocation = "{value}"\n', folder, name)

    assert location() == ""
    write("etc/containers", "registries.conf", "system")
    assert location() == "system"
    write("etc/containers/registries.conf.d", "20-b.conf", "system-b")
    write("etc/containers/registries.conf.d", "10-a.conf", "system-a")
    assert location() == "system-b"
    write("home/.config/containers/registries.conf.d", "00.conf", "mine-d")
    assert location() == "mine-d"
    (tmp_path / "home/.config/containers/registries.conf.d/00.conf").unlink()
    write("home/.config/containers", "registries.conf", "mine")
    assert location() == "mine"  # and nothing of the system's
    write("else", "one.conf", "named")
    (tmp_path / "etc/containers/registries.conf.d/20-b.conf").unlink()
    (tmp_path / "etc/containers/registries.conf.d/10-a.conf").unlink()
    assert location(environ={registriesconf.VARIABLE: str(tmp_path / "else/one.conf")}) == "named"


@pytest.mark.parametrize(
    "text",
    [
        "[[registry]\n",
        "[registries.search]\nregistries = []\n",
        "[[registry]]\ninsecure = true\n",
        "[[registry]]\nlocation = 1\n",
        '[[registry]]\nlocation = "https://r.example"\n',
        '[[registry]]\nprefix = "a.*.example"\nlocation = "r.example"\n',
        '[[registry]]\nlocation = "r.example"\nblocked = "yes"\n',
        '[[registry]]\nlocation = "r.example"\n[[registry.mirror]]\ninsecure = true\n',
        '[[registry]]\nlocation = "r.example"\n[[registry.mirror]]\nlocation = "m"\npull-from-mirror = "never"\n',
        (
            '[[registry]]\nlocation = "r.example"\nmirror-by-digest-only = true\n'
            '[[registry.mirror]]\nlocation = "m"\npull-from-mirror = "all"\n'
        ),
        "registry = 1\n",
        '[[registry]]\nlocation = "r.example"\n[[registry.mirror]]\nlocation = "m:port/x"\n',
    ],
)
def test_a_registries_conf_that_cannot_be_used_is_named(tmp_path, text):
    path = conf(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        endpoints(Reference.parse("r.example/a:1"), Settings(system=tmp_path / "etc"))
    assert caught.value.code == "registries-conf-invalid"
    assert str(path) in caught.value.message


# hosts.toml.


def hosts_toml(tmp_path: Path, server, text: str) -> Path:
    return conf(tmp_path, text, f"etc/containerd/certs.d/{getattr(server, 'host', server)}", "hosts.toml")


def test_hosts_are_tried_in_their_order_and_told_which_registry_is_meant(tmp_path):
    missing = Answer(404)
    with Scripted({"GET .*": missing, "HEAD .*": missing}) as first, fill(Registry()) as second, Registry() as upstream:
        hosts_toml(tmp_path, upstream, f'[host."{first.url}"]\n[host."{second.url}"]\n')
        pull(source(tmp_path, upstream))
        asked = {request.path.partition("?")[2] for request in (*first.seen, *second.seen)}
        assert asked == {f"ns={upstream.host}"}
        assert first.seen[0].path == f"/v2/team/a/manifests/1?ns={upstream.host}"
        assert upstream.seen == []


def test_a_host_that_may_not_resolve_is_not_asked_what_a_tag_is(tmp_path):
    with fill(Registry()) as mirror, fill(Registry()) as upstream:
        hosts_toml(tmp_path, upstream, f'[host."{mirror.url}"]\ncapabilities = ["pull"]\n')
        pull(source(tmp_path, upstream))
        assert all("/manifests/1" not in request.path for request in mirror.seen)
        assert [request.path for request in upstream.seen] == ["/v2/team/a/manifests/1"]


def test_a_host_that_may_only_be_pushed_to_is_not_asked_at_all(tmp_path):
    with fill(Registry()) as mirror, fill(Registry()) as upstream:
        hosts_toml(tmp_path, upstream, f'[host."{mirror.url}"]\ncapabilities = ["push"]\n')
        pull(source(tmp_path, upstream))
        assert mirror.seen == []


@pytest.mark.parametrize("overrides, path", [("false", "/proxy/v2"), ("true", "/proxy")])
def test_paths_of_hosts(tmp_path, overrides, path):
    digest = LAYER.descriptor.digest
    script = {f"GET {path}/team/a/blobs/{digest}.*": Answer(200, body=LAYER.content.data)}
    with Scripted(script) as mirror, Registry() as upstream:
        hosts_toml(tmp_path, upstream, f'[host."{mirror.url}/proxy"]\noverride_path = {overrides}\n')
        assert fetch(source(tmp_path, upstream), LAYER.descriptor) == LAYER.content.data
        assert upstream.seen == []


def test_rights_are_asked_for_the_repository_whatever_the_path(tmp_path):
    with Registry() as token:
        token.user, token.password = "eve", "x"
        challenge = {"WWW-Authenticate": f'Bearer realm="{token.url}/token",service="s"'}
        with Scripted({"GET /proxy/.*": Answer(401, challenge)}) as mirror, fill(Registry()) as upstream:
            hosts_toml(tmp_path, upstream, f'[host."{mirror.url}/proxy"]\noverride_path = true\n')
            fetch(source(tmp_path, upstream), LAYER.descriptor)
        assert "scope=repository%3Ateam%2Fa%3Apull" in token.seen[0].path


def test_another_server_is_where_content_is(tmp_path):
    with fill(Registry()) as real, Registry() as named:
        hosts_toml(tmp_path, named, f'server = "{real.url}"\n')
        pull(source(tmp_path, named))
        assert named.seen == []


@pytest.mark.parametrize(
    "text",
    [
        "server = 1\n",
        "[host]\nx = 1\n",
        '[host."ftp://m.example"]\n',
        f'[host."https://me:{PLANTED}@m.example"]\n',
        f'[host."https://m.example"]\nheader = "{PLANTED}"\n',
        '[host."https://m.example"]\ncapabilities = ["read"]\n',
        '[host."https://m.example"]\nskip_verify = "no"\n',
        '[host."https://m.example"]\ndial_timeout = "soon"\n',
        '[host."https://m.example"]\nca = 1\n',
        '[host."https://m.example"]\nclient = [["a", "b", "c"]]\n',
        '[host."https://m.example".header]\n"x y" = "1"\n',
        '[host."https://m.example".header]\nx = "1\\nx-other: 2"\n',
        "= 1\n",
    ],
)
def test_a_hosts_toml_that_cannot_be_used_is_named(tmp_path, text):
    path = hosts_toml(tmp_path, "r.example", text)
    with pytest.raises(UsageError) as caught:
        endpoints(Reference.parse("r.example/a:1"), Settings(system=tmp_path / "etc"))
    assert caught.value.code == "hosts-toml-invalid"
    assert str(path) in caught.value.message
    assert PLANTED not in repr(caught.value)


@pytest.mark.parametrize("text, seconds", [("3s", 3), ("500ms", 0.5), ("1m30s", 90), ("1.5h", 5400)])
def test_durations_as_go_writes_them(tmp_path, text, seconds):
    hosts_toml(tmp_path, "r.example", f'[host."m.example"]\ndial_timeout = "{text}"\n')
    found = hosts.find(Origin.of("https://r.example"), Settings(system=tmp_path / "etc"))
    assert found.mirrors[0].connect == pytest.approx(seconds)
    assert found.mirrors[0].root == "https://m.example/v2"


def test_podman_s_file_comes_before_containerd_s(tmp_path):
    conf(tmp_path, '[[registry]]\nlocation = "r.example"\n[[registry.mirror]]\nlocation = "podman.example"\n')
    hosts_toml(tmp_path, "r.example", '[host."https://containerd.example"]\n')
    found = endpoints(Reference.parse("r.example/a:1"), Settings(system=tmp_path / "etc"))
    assert [end.origin.host for end in found] == ["podman.example"]
    conf(tmp_path, '[[registry]]\nlocation = "r.example"\n')
    found = endpoints(Reference.parse("r.example/a:1"), Settings(system=tmp_path / "etc"))
    assert [end.origin.host for end in found] == ["containerd.example"]


# daemon.json.


def test_docker_s_mirrors_are_for_docker_hub_only(tmp_path):
    conf(
        tmp_path,
        json.dumps({"registry-mirrors": ["https://m.example/", "http://n.example:5000"]}),
        "etc/docker",
        "daemon.json",
    )
    settings = Settings(system=tmp_path / "etc")
    found = endpoints(Reference.parse("hello:1"), settings)
    assert [(end.root, end.repository) for end in found] == [
        ("https://m.example/v2", "library/hello"),
        ("http://n.example:5000/v2", "library/hello"),
    ]
    assert endpoints(Reference.parse("r.example/hello:1"), settings) == ()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"registry-mirrors": [1]}',
        '{"registry-mirrors": ["m.example"]}',
        f'{{"registry-mirrors": ["https://me:{PLANTED}@m.example"]}}',
        '{"insecure-registries": "r"}',
    ],
)
def test_a_daemon_json_that_cannot_be_used_is_named(tmp_path, text):
    path = conf(tmp_path, text, "etc/docker", "daemon.json")
    with pytest.raises(UsageError) as caught:
        endpoints(Reference.parse("hello:1"), Settings(system=tmp_path / "etc"))
    assert caught.value.code == "daemon-json-invalid"
    assert str(path) in caught.value.message
    assert PLANTED not in repr(caught.value)


@pytest.mark.parametrize(
    "entry, reference, is_insecure",
    [
        ("r.example:5000", "r.example:5000/a", True),
        ("r.example", "r.example:5000/a", False),
        ("r.example", "r.example/a", True),
        ("r.example:443", "r.example/a", True),
        ("10.0.0.0/8", "10.1.2.3:5000/a", True),
        ("10.0.0.0/8", "11.1.2.3:5000/a", False),
        ("fd00::/8", "[fd00::1]:5000/a", True),
    ],
)
def test_registries_that_docker_was_told_are_insecure(tmp_path, entry, reference, is_insecure):
    conf(tmp_path, json.dumps({"insecure-registries": [entry]}), "home/.config/docker", "daemon.json")
    found = policy.approach(Reference.parse(reference), Settings(home=tmp_path / "home"))
    assert found.is_doubtful is is_insecure
    assert found.settings.trusts[str(found.origin)].insecure is is_insecure


def test_a_store_without_files_has_no_mirrors(tmp_path):
    assert endpoints(Reference.parse("hello:1"), Settings()) == ()
    with pytest.raises(NetworkError):
        RegistryStore(
            Reference.parse("127.0.0.1:9/a:1"), Settings(patience=Patience(attempts=1)), mirrors=set()
        ).resolve()
