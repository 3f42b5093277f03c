"""The contract with oras: what is relied on is there, oras's own code runs through ours, and all its methods work.

When a new oras changes what is relied on here, these tests say so. The defects that are the reason for all this are in
test_defects.
"""

import ast
import gzip
import inspect
import io
import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import oras.auth
import oras.auth.base
import oras.client
import oras.container
import oras.defaults
import oras.layout
import oras.oci
import oras.provider
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from ocibuild.errors import AuthorizationError, ContentError, NotFoundError, OcibuildError, RegistryError, UsageError
from ocibuild.registry.auth import Auth
from ocibuild.registry.client import Client
from ocibuild.registry.container import RegistryContainer
from ocibuild.registry.credentials import Credential
from ocibuild.registry.files import checked
from ocibuild.registry.origin import Origin, follow
from ocibuild.registry.problem import clean
from ocibuild.registry.settings import Patience, Settings
from ocibuild.spec import mediatype
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.digest import Digest
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Scripted
from tests.registry.test_defects import auths, dockerconfig, put_artifact
from tests.registry.test_real import running

QUICK = Settings(patience=Patience(attempts=2, first=0.01))
ROOT = Path(__file__).parents[2]
TITLE = "org.opencontainers.image.title"


@pytest.fixture
def registry():
    with Registry() as running:
        yield running


@pytest.fixture
def client(registry):
    return Client(registry.host, insecure=True, settings=QUICK)


# What is relied on.

# Every method of oras's registry, with the parameters we know of. None: inherited as it is.
KNOWN = {
    "blob_exists": "layer container", "chunked_upload": "blob container layer chunk_size", "delete_tag": "container tag",
    "delete_tags": "name tags", "do_request": "url method data headers json stream",
    "download_blob": "container digest outfile", "get_blob": "container digest stream head", "get_container": "name",
    "get_manifest": "container allowed_media_type validation_schema", "get_tags": "container N",
    "login": "username password password_stdin tls_verify hostname config_path", "logout": "hostname",
    "pull": "target config_path allowed_media_type overwrite outdir",
    "push": "target config_path disable_path_validation files manifest_config annotation_file manifest_annotations "
            "subject do_chunked chunk_size quiet",
    "put_upload": "blob container layer", "set_header": "name value",
    "upload_blob": "blob container layer do_chunked chunk_size", "upload_manifest": "manifest container",
    "version": "return_items", "__init__": "hostname insecure tls_verify auth_backend",
    "_check_200_response": "response", "_do_paginated_request": "url callable", "_get_location": "r container",
    "_validate_path": "path", "_parse_manifest_ref": "ref", "_parse_response_errors": "response",
    "_download_blob": "container digest outfile", "_put_upload": "blob container layer",
    "_chunked_upload": "blob container layer", "_upload_manifest": "manifest container",
    "_upload_blob": "blob container layer do_chunked", "__repr__": "", "__str__": "",
}  # fmt: skip
INHERITED = {
    "get_tags", "get_blob", "push", "delete_tags", "version", "__repr__", "__str__", "_parse_manifest_ref",
    "_parse_response_errors", "_download_blob", "_put_upload", "_chunked_upload", "_upload_manifest", "_upload_blob",
}  # fmt: skip


def parameters(method):
    return list(inspect.signature(inspect.unwrap(method)).parameters)[1:]


def test_orass_methods_are_those_we_know():
    found = {
        name: " ".join(parameters(method))
        for name, method in inspect.getmembers(oras.provider.Registry, inspect.isfunction)
    }
    assert found == KNOWN, "oras's registry has changed: look at what is new, and override or know it"


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_override_has_orass_parameters_and_defaults(name):
    theirs, ours = getattr(oras.provider.Registry, name), getattr(Client, name)
    assert (ours is theirs) == (name in INHERITED), f"{name} is {'no longer ' if name in INHERITED else ''}inherited"
    assert parameters(ours)[: len(parameters(theirs))] == parameters(theirs)
    before = inspect.signature(inspect.unwrap(theirs)).parameters
    for key, parameter in inspect.signature(inspect.unwrap(ours)).parameters.items():
        if key in before and before[key].default is not inspect.Parameter.empty and key != "auth_backend":
            assert parameter.default == before[key].default
        elif key not in before:
            assert parameter.default is not inspect.Parameter.empty, (
                f"{name} wants {key}, which oras's callers do not give"
            )


def test_what_is_used_of_oras_beside_the_registry():
    assert oras.auth.auth_backends["ocibuild"] is Auth
    assert issubclass(Auth, oras.auth.base.AuthBackend)
    place = RegistryContainer("r.example/a/b:1")
    assert place.get_blob_url("d") == "r.example/v2/a/b/blobs/d"
    assert place.upload_blob_url() == "r.example/v2/a/b/blobs/uploads/"
    assert place.manifest_url() == "r.example/v2/a/b/manifests/1"
    assert place.tags_url(N=3) == "r.example/v2/a/b/tags/list?n=3"
    assert oras.defaults.annotation_title == TITLE
    assert oras.defaults.default_blob_dir_media_type == mediatype.LAYER_GZIP
    assert oras.defaults.registry.index_name == "docker.io"
    policy = Client("r.example").session.cookies._policy
    assert policy.allowed_domains() == (), "cookies make Harbor take us for a browser"


def test_nothing_of_ours_uses_orass_retrying():
    for path in (ROOT / "ocibuild").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            assert "oras.decorator" not in named, path
            assert getattr(node, "module", "") != "oras.decorator", path
            assert not (isinstance(node, ast.Attribute) and node.attr in ("decorator", "retry")), path
    assert not hasattr(Client.do_request, "__wrapped__")
    # Only do_request is decorated so; what is inherited goes through ours.
    decorated = [name for name in INHERITED if "retry" in inspect.getsource(getattr(oras.provider.Registry, name))]
    assert decorated == []


# oras's own code through ours.


class Counting(Client):
    """Counts what goes through do_request; anything else on oras's session is a failure."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.asked = []

        def refuse(*args, **options):
            raise AssertionError("a request went past do_request")

        self.session.request = self.session.get = self.session.post = self.session.put = refuse

    def do_request(self, url, method="GET", *args, **options):
        self.asked.append(method)
        return super().do_request(url, method, *args, **options)


def test_orass_push_tags_and_blob_run_through_do_request(registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.wasm").write_bytes(b"\0asm\1\0\0\0" + os.urandom(300_000))
    (tmp_path / "empty").write_bytes(b"")
    client, target = Counting(registry.host, insecure=True, settings=QUICK), f"{registry.host}/team/hello:1"
    pushed = client.push(target, files=["hello.wasm:application/wasm", "empty"], quiet=True)
    assert pushed.status_code == 201
    assert pushed.headers["Docker-Content-Digest"] == registry.tags["team/hello", "1"]
    manifest = client.get_manifest(target)
    assert [layer["size"] for layer in manifest["layers"]] == [300_008, 0]
    layer, data = manifest["layers"][0], (tmp_path / "hello.wasm").read_bytes()
    for ask, expected in [
        (lambda: client.get_tags(target), ["1"]),
        (lambda: client.get_blob(target, layer["digest"]).content, data),
        (lambda: client.get_blob(target, layer["digest"], head=True).status_code, 200),
        (lambda: client.delete_tags(target, "absent"), []),
    ]:
        before = len(client.asked)
        assert ask() == expected
        assert len(client.asked) == before + 1
    with client.get_blob(target, layer["digest"], stream=True) as response:
        assert b"".join(response.iter_content(65536)) == data
    assert client.version(return_items=True)["Version"] == oras.__version__


def test_orass_client_is_the_registry_that_ours_is(registry, tmp_path, monkeypatch):
    """OrasClient is another name for the registry, and code that makes its own class of it may name ours as well."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    assert isinstance(Client(registry.host), oras.client.OrasClient)
    mixed = type("OrasClient", (Client, oras.client.OrasClient), {})(registry.host, insecure=True, settings=QUICK)
    mixed.push(f"{registry.host}/hello:1", files=["a.txt"])
    pulled = mixed.pull(f"{registry.host}/hello:1", outdir=str(tmp_path / "out"))
    assert [Path(path).read_text() for path in pulled] == ["a"]


def test_what_ours_pushed_oras_pulls_and_the_other_way_round(tmp_path, monkeypatch, part):
    with running(part("docker-registry"), tmp_path) as host:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "folder" / "below").mkdir(parents=True)
        (tmp_path / "folder" / "below" / "b").write_bytes(os.urandom(2_000_000))
        (tmp_path / "a.wasm").write_bytes(b"\0asm" + os.urandom(100_000))
        sides = {
            "ours": Client(host, insecure=True, settings=QUICK),
            "theirs": oras.client.OrasClient(host, insecure=True),
        }
        for name, side in sides.items():
            side.push(f"{host}/{name}:1", files=["a.wasm:application/wasm", "folder"], manifest_annotations={"k": name})
        for name in sides:
            for reader, side in sides.items():
                out = tmp_path / f"{name}-{reader}"
                side.pull(f"{host}/{name}:1", outdir=str(out))
                assert (out / "a.wasm").read_bytes() == (tmp_path / "a.wasm").read_bytes()
                assert (out / "folder" / "below" / "b").read_bytes() == (
                    tmp_path / "folder" / "below" / "b"
                ).read_bytes()
            assert {side.get_manifest(f"{host}/{name}:1")["annotations"]["k"] for side in sides.values()} == {name}


test_what_ours_pushed_oras_pulls_and_the_other_way_round = pytest.mark.real(
    test_what_ours_pushed_oras_pulls_and_the_other_way_round
)


def layout(folder):
    """An OCI layout with an index over two manifests, written with nothing of ours; the index's bytes."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data, kind):
        (blobs / Digest.of(data).hex).write_bytes(data)
        return {"mediaType": kind, "digest": str(Digest.of(data)), "size": len(data)}

    entries = []
    for number in range(2):
        layer = put(os.urandom(200_000), mediatype.LAYER_GZIP)
        config = put(b'{"n":%d}' % number, mediatype.CONFIG)
        document = {"schemaVersion": 2, "mediaType": mediatype.MANIFEST, "config": config, "layers": [layer]}
        entries.append(put(json.dumps(document, indent=1).encode(), mediatype.MANIFEST))
    index = json.dumps({"schemaVersion": 2, "mediaType": mediatype.INDEX, "manifests": entries}, indent=3).encode()
    root = {**put(index, mediatype.INDEX), "annotations": {"org.opencontainers.image.ref.name": "1"}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return index


def there_and_back(client, host, tmp_path):
    index = layout(tmp_path / "layout")
    oras.layout.Layout(str(tmp_path / "layout")).push_to_registry(provider=client, target=f"{host}/hello:1", tag="1")
    assert client.fetch_manifest(f"{host}/hello:1") == (Descriptor.of(mediatype.INDEX, index), index)
    oras.layout.NewLayoutFromRegistry(str(tmp_path / "back"), client, f"{host}/hello:1", tag="1").validate()
    sent, came = (
        {p.name: p.read_bytes() for p in (tmp_path / n / "blobs" / "sha256").iterdir()} for n in ("layout", "back")
    )
    assert came == sent


def test_orass_layout_code_through_ours(registry, client, tmp_path):
    there_and_back(client, registry.host, tmp_path)


@pytest.mark.real
def test_orass_layout_code_through_ours_and_a_real_registry(tmp_path, part):
    (tmp_path / "registry").mkdir()
    with running(part("docker-registry"), tmp_path / "registry") as host:
        there_and_back(Client(host, insecure=True, settings=QUICK), host, tmp_path)


def test_sixteen_threads_push_through_one_client(tmp_path):
    for number in range(16):
        (tmp_path / f"{number}.bin").write_bytes(os.urandom(50_000) + bytes([number]))
    with Registry(user="ada", password="lovelace") as registry:
        settings = replace(QUICK, credentials={registry.host: Credential("ada", "lovelace")})
        client = Client(registry.host, insecure=True, settings=settings)

        def push(number):
            # Half of them share a repository, and so a token.
            target = f"{registry.host}/{'shared' if number % 2 else f'own{number}'}:{number}"
            path = str(tmp_path / f"{number}.bin")
            client.push(target, files=[path], disable_path_validation=True)
            (pulled,) = client.pull(target, outdir=str(tmp_path / f"out{number}"))
            return Path(pulled).read_bytes() == Path(path).read_bytes()

        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(push, range(16))) == [True] * 16
        assert sorted(client.get_tags(f"{registry.host}/shared"), key=int) == [str(n) for n in range(1, 16, 2)]
        assert len(registry.requests("GET", "/token")) <= 2 * 9, "two tokens a repository"
        assert client.headers == {}


# Each method.


def test_a_file_named_by_config_path_is_looked_at_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("a")
    with Registry(user="ada", password="lovelace") as registry:
        config = dockerconfig(tmp_path / "c", auths(registry.host, "ada", "lovelace")) / "config.json"
        client, target = Client(registry.host, insecure=True, settings=QUICK), f"{registry.host}/hello:1"
        with pytest.raises(AuthorizationError):
            client.push(target, files=["a.txt"])
        client.push(target, config_path=str(config), files=["a.txt"])
        assert client.pull(target, config_path=str(config), outdir=str(tmp_path / "out")) == [
            str(tmp_path / "out" / "a.txt")
        ]


def test_a_manifest_given_as_bytes_stays_as_it_is(registry, client):
    data = b'{ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [] }'
    client.upload_manifest(data, f"{registry.host}/hello:1")
    assert client.fetch_manifest(f"{registry.host}/hello:1") == (Descriptor.of(mediatype.INDEX, data), data)


@pytest.mark.parametrize(
    "document, given, expected",
    [
        ({"manifests": []}, None, mediatype.INDEX),
        ({"config": {}, "layers": []}, None, mediatype.MANIFEST),
        ({"config": {}, "layers": []}, mediatype.DOCKER_MANIFEST, mediatype.DOCKER_MANIFEST),
    ],
)
def test_a_manifest_that_does_not_say_what_it_is(document, given, expected):
    with Scripted({"PUT .*": Answer(201)}) as server:
        client = Client(server.host, insecure=True, settings=QUICK)
        client.upload_manifest({"schemaVersion": 2, **document}, f"{server.host}/hello:1", media_type=given)
        assert server.seen[0].headers["content-type"] == expected


def test_only_manifests_of_an_allowed_type(registry, client):
    client.upload_manifest(
        {"schemaVersion": 2, "mediaType": mediatype.INDEX, "manifests": []}, f"{registry.host}/hello:1"
    )
    assert client.get_manifest(f"{registry.host}/hello:1", [mediatype.INDEX])["manifests"] == []
    with pytest.raises(ContentError) as caught:
        client.get_manifest(f"{registry.host}/hello:1", [mediatype.MANIFEST])
    assert caught.value.code == "media-type-mismatch"


def test_resolving(registry, client):
    data = b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
    client.upload_manifest(data, f"{registry.host}/hello:1")
    expected = Descriptor.of(mediatype.INDEX, data)
    assert client.resolve(f"{registry.host}/hello:1") == client.head_manifest(f"{registry.host}/hello:1") == expected
    assert client.resolve(f"{registry.host}/hello@{expected.digest}") == expected
    assert not registry.requests("GET")
    assert client.head_manifest(f"{registry.host}/hello:2") is None
    with pytest.raises(NotFoundError):
        client.resolve(f"{registry.host}/hello:2")
    bare = {
        "HEAD .*": Answer(200, {"Content-Type": mediatype.INDEX}),
        "GET .*": Answer(200, {"Content-Type": mediatype.INDEX}, data),
    }
    with Scripted(bare) as server:
        assert Client(server.host, insecure=True, settings=QUICK).resolve(f"{server.host}/hello:1") == expected


def test_mounting(registry, client):
    digest = Digest.of(b"x")
    registry.blobs["one", digest] = b"x"
    assert client.mount_blob(f"{registry.host}/two", digest, "one") is True
    assert registry.blobs["two", digest] == b"x"
    assert client.mount_blob(f"{registry.host}/two", Digest.of(b"y"), "one") is False
    assert not registry.uploads, "the upload offered instead is given back"


def test_an_uploads_life(registry, client):
    place = f"{registry.host}/hello"
    url = client.start_upload(place)
    (upload,) = registry.uploads
    assert client.upload_status(place, url) == 0
    registry.uploads[upload] = b"12345"
    assert client.upload_status(place, url) == 5
    client.cancel_upload(place, url)
    assert not registry.uploads
    assert client.upload_status(place, url) is None
    client.cancel_upload(place, url)


@pytest.mark.parametrize("what, path", [("manifest", "manifests"), ("blob", "blobs")])
def test_deleting_by_digest(what, path):
    digest = Digest.of(b"m")
    with Scripted({f"DELETE /v2/hello/{path}/{digest}": [Answer(202), Answer(404), Answer(405)]}) as server:
        delete = getattr(Client(server.host, insecure=True, settings=QUICK), f"delete_{what}")
        assert [delete(f"{server.host}/hello:1", digest), delete(f"{server.host}/hello:1", digest)] == [True, False]
        with pytest.raises(RegistryError):
            delete(f"{server.host}/hello:1", digest)
        for wrong in ("1", "sha256:xyz", ""):
            with pytest.raises(ContentError):
                delete(f"{server.host}/hello:1", wrong)
        assert len(server.seen) == 3


def test_deleting_a_tag_that_is_no_more_or_cannot_be():
    with Scripted({"DELETE /v2/hello/manifests/1": [Answer(202), Answer(404), Answer(405)]}) as server:
        client = Client(server.host, insecure=True, settings=QUICK)
        assert client.delete_tags(f"{server.host}/hello", ["1", "1"]) == ["1"]
        with pytest.raises(RegistryError):
            client.delete_tag(f"{server.host}/hello", "1")


def test_ping_and_catalog():
    pages = [
        Answer(200, {"Link": '</v2/_catalog?last=b&n=2>; rel="next"'}, b'{"repositories":["a","b"]}'),
        Answer(200, {}, b'{"repositories":["c"]}'),
    ]
    with Scripted({"GET /v2/": Answer(200), "GET /v2/_catalog.*": pages}) as server:
        client = Client(server.host, insecure=True, settings=QUICK)
        assert client.ping() is True
        assert client.catalog() == ["a", "b", "c"]
    with Scripted({"GET /v2/_catalog.*": pages}) as server:
        client = Client(server.host, insecure=True, settings=QUICK)
        assert client.catalog(N=1) == ["a"]
        assert [request.path for request in server.seen] == ["/v2/_catalog?n=1"]
        with pytest.raises(RegistryError):
            client.ping()
    with pytest.raises(UsageError):
        Client().ping()


@pytest.mark.fault(94)
def test_pages_of_tags_are_followed_and_end():
    pages = [
        Answer(200, {"Link": '</v2/hello/tags/list?last=a&n=1>; rel="next"'}, b'{"tags":["a"]}'),
        Answer(200, {}, b'{"tags":["b"]}'),
    ]
    with Scripted({"GET /v2/hello/tags/list.*": pages}) as server:
        assert Client(server.host, insecure=True, settings=QUICK).get_tags(f"{server.host}/hello") == ["a", "b"]
    endless = Answer(200, {"Link": '</v2/hello/tags/list>; rel="next"'}, b'{"tags":["a"]}')
    away = Answer(200, {"Link": '<http://127.0.0.1:1/v2/>; rel="next"'}, b'{"tags":["a"]}')
    for answer in (endless, away):
        with Scripted({"GET .*": answer}) as server, pytest.raises(RegistryError) as caught:
            Client(server.host, insecure=True, settings=QUICK).get_tags(f"{server.host}/hello")
        assert caught.value.code == "location-refused"


@pytest.mark.fault(67, 94)
@pytest.mark.parametrize("body", [b"<title>Log in</title>", b"[]", b"null", b"", b"[" * 100_000])
def test_a_list_that_is_none(body):
    with Scripted({"GET .*": Answer(200, body=body)}) as server, pytest.raises(RegistryError) as caught:
        Client(server.host, insecure=True, settings=QUICK).get_tags(f"{server.host}/hello")
    assert caught.value.code == "not-a-registry"


def test_a_blob_larger_than_a_page_is_had_whole(registry, client):
    data = os.urandom(17 * 1024 * 1024)
    registry.blobs["hello", Digest.of(data)] = data
    assert client.get_blob(f"{registry.host}/hello", Digest.of(data)).content == data


@pytest.mark.parametrize("head", [Answer(200), Answer(403), Answer(405)])
def test_a_blob_whose_size_head_does_not_tell(head, tmp_path):
    class Silent(Scripted):
        def respond(self, request):
            answer = super().respond(request)
            return replace(answer, lines=[("Content-Length", "")]) if request.method == "HEAD" else answer

    with Silent({"HEAD .*": head, "GET .*": Answer(200, body=b"abc")}) as server:
        client = Client(server.host, insecure=True, settings=QUICK)
        client.download_blob(f"{server.host}/hello", Digest.of(b"abc"), str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"abc"


def test_a_blob_that_is_not_there(registry, client, tmp_path):
    with pytest.raises(NotFoundError):
        client.download_blob(f"{registry.host}/hello", Digest.of(b"x"), str(tmp_path / "out"))
    with pytest.raises(ContentError):
        client.download_blob(f"{registry.host}/hello", "sha256:../../x", str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_a_header_of_ones_own(registry, client):
    client.set_header("X-Team", "blue")
    client.get_blob(f"{registry.host}/hello", Digest.of(b"x"))
    assert registry.seen[-1].headers["x-team"] == "blue"
    with pytest.raises(AuthorizationError) as caught:
        client.set_header("authorization", "Bearer x")
    assert caught.value.code == "credentials-unbound"


@pytest.mark.parametrize(
    "wanted", [{"username": ""}, {"password": ""}, {"password_stdin": True}, {"config_path": "c.json"}]
)
def test_a_login_asks_nobody_and_writes_nothing(wanted, client):
    with pytest.raises(AuthorizationError) as caught:
        client.login(**{"username": "ada", "password": "lovelace", **wanted})
    assert caught.value.hint


def test_what_is_not_offered_says_so(client):
    for act in (lambda: Client(auth_backend="ecr"), lambda: client.auth.set_basic_auth("a", "b")):
        with pytest.raises(OcibuildError) as caught:
            act()
        assert caught.value.hint
    assert Client("r.example", auth_backend="basic").auth.keychain.explicit == {}


def test_a_file_of_authorities_as_oras_has_it(tmp_path):
    assert Client("r.example", tls_verify=str(tmp_path / "ca.pem")).settings.ca_file == str(tmp_path / "ca.pem")
    assert Client("r.example", tls_verify=False).settings.insecure is True


# Pulling files.


def archive(*entries):
    """A gzip tar of (name, bytes or a link's target, kind)."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content, kind in entries:
            entry = tarfile.TarInfo(name)
            entry.type = kind
            if kind == tarfile.REGTYPE:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            else:
                entry.linkname = content
                tar.addfile(entry)
    return data.getvalue()


def artifact(registry, *files):
    """hello:1 with files (title, bytes, media type)."""
    put_artifact(registry, [
        ({"mediaType": kind, "digest": Digest.of(data), "size": len(data), "annotations": {TITLE: name} if name else {}}, data)
        for name, data, kind in files
    ])  # fmt: skip
    return f"{registry.host}/hello:1"


def test_pulling_files(registry, client, tmp_path):
    target = artifact(registry, ("a.wasm", b"a", "application/wasm"), ("below/b", b"b", "x/y"), ("", b"c", "x/y"))
    pulled = client.pull(target, outdir=str(tmp_path))
    assert [Path(path).relative_to(tmp_path).as_posix() for path in pulled] == ["a.wasm", "below/b", Digest.of(b"c")]
    assert [Path(path).read_bytes() for path in pulled] == [b"a", b"b", b"c"]
    (tmp_path / "a.wasm").write_bytes(b"mine")
    assert [Path(path).name for path in client.pull(target, overwrite=False, outdir=str(tmp_path))] == []
    assert (tmp_path / "a.wasm").read_bytes() == b"mine"
    client.pull(target, outdir=str(tmp_path))
    assert (tmp_path / "a.wasm").read_bytes() == b"a"


def test_pulling_a_folder(registry, client, tmp_path):
    data = archive(("in", "", tarfile.DIRTYPE), ("in/a", b"a", tarfile.REGTYPE), ("in/below/b", b"b", tarfile.REGTYPE))
    target = artifact(registry, ("in", data, mediatype.LAYER_GZIP))
    for _ in range(2):
        assert client.pull(target, outdir=str(tmp_path)) == [str(tmp_path / "in")]
    assert (tmp_path / "in" / "a").read_bytes() + (tmp_path / "in" / "below" / "b").read_bytes() == b"ab"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    "name", ["../x", "/etc/x", "a/../../x", "..", ".", "a\nb", "..\\x", "C:\\x", "c:x", "a\0b", "\u202ex"]
)
def test_names_that_lead_out_are_refused_before_anything_is_written(name, registry, client, tmp_path):
    target = artifact(registry, ("good", b"a", "x/y"), (name, b"b", "x/y"))
    with pytest.raises(ContentError) as caught:
        client.pull(target, outdir=str(tmp_path / "out"))
    assert caught.value.code == "name-refused"
    assert not (tmp_path / "out").exists()


HOSTILE = [
    (("../evil", b"x", tarfile.REGTYPE),),
    (("/evil", b"x", tarfile.SYMTYPE),),
    (("link", "../..", tarfile.SYMTYPE), ("link/evil", b"x", tarfile.REGTYPE)),
    (("link", "/etc/passwd", tarfile.LNKTYPE),),
    (("fifo", "", tarfile.FIFOTYPE),),
    (("twice", b"1", tarfile.REGTYPE), ("twice", b"2", tarfile.REGTYPE)),
]


@pytest.mark.fault(72)
@pytest.mark.parametrize("entries", HOSTILE)
def test_archives_that_want_more_than_files_are_refused(entries, registry, client, tmp_path):
    data = archive(
        ("good", b"g", tarfile.REGTYPE), *[(n, c if k == tarfile.REGTYPE else str(c), k) for n, c, k in entries]
    )
    with pytest.raises(ContentError) as caught:
        client.pull(artifact(registry, ("in", data, mediatype.LAYER_GZIP)), outdir=str(tmp_path / "out"))
    assert caught.value.code == "name-refused"
    assert list((tmp_path / "out").iterdir()) == []


NO_ARCHIVES = {
    "empty": b"",
    "text": b"no archive",
    "no tar": gzip.compress(b"no tar" * 200),
    "cut short": archive(("a", b"a" * 9000, tarfile.REGTYPE))[:-30],
}


@pytest.mark.parametrize("data", NO_ARCHIVES.values(), ids=NO_ARCHIVES)
def test_archives_that_are_none(data, registry, client, tmp_path):
    with pytest.raises(ContentError) as caught:
        client.pull(artifact(registry, ("in", data, mediatype.LAYER_GZIP)), outdir=str(tmp_path / "out"))
    assert caught.value.code == "layer-invalid"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.fault(72)
def test_links_in_the_folder_are_not_followed_out(registry, client, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "out" / "file").symlink_to(tmp_path / "elsewhere" / "mine")
    with pytest.raises(ContentError) as caught:
        client.pull(artifact(registry, ("link/evil", b"x", "x/y")), outdir=str(tmp_path / "out"))
    assert caught.value.code == "name-refused"
    data = archive(("link/evil", b"x", tarfile.REGTYPE))
    with pytest.raises(ContentError):
        client.pull(artifact(registry, ("in", data, mediatype.LAYER_GZIP)), outdir=str(tmp_path / "out"))
    client.pull(artifact(registry, ("file", b"x", "x/y")), outdir=str(tmp_path / "out"))
    assert (tmp_path / "out" / "file").read_bytes() == b"x", "the link is replaced, not what it points at"
    with pytest.raises(ContentError):
        client.pull(artifact(registry, ("link", b"x", "x/y")), outdir=str(tmp_path / "out"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


@given(st.text(max_size=30))
def test_no_name_leads_out(name):
    try:
        accepted = checked(name)
    except ContentError:
        return
    assert os.path.normpath(os.path.join("/base/folder", accepted)).startswith("/base/folder/")


# References, origins and words.


@pytest.mark.parametrize(
    "name, expected",
    [
        ("[::1]:5000/a/b:1", "[::1]:5000/a/b:1"),
        ("r.example/a@sha256:" + "0" * 64, "r.example/a@sha256:" + "0" * 64),
        ("r.example/a:1@sha256:" + "0" * 64, "r.example/a@sha256:" + "0" * 64),
    ],
)
def test_references_are_read_by_our_grammar(name, expected):
    assert RegistryContainer(name).uri == expected


def test_a_host_of_its_own_is_the_default():
    assert RegistryContainer("a/b:1", registry="r.example:5000").uri == "r.example:5000/a/b:1"
    assert RegistryContainer("other.example/b:1", registry="r.example:5000").uri == "other.example/b:1"


def test_a_container_of_orass_is_read_again():
    client = Client()
    assert client.get_container(oras.container.Container("ubuntu")).uri == "registry-1.docker.io/library/ubuntu:latest"
    with pytest.raises(UsageError):
        client.get_container(oras.container.Container("r.example/../../etc"))
    place = client.get_container("r.example/a")
    assert client.get_container(place) is place


# RFC 3986 section 5.4.1 and 5.4.2, against the base http://a/b/c/d;p?q, without those that lead to no http address.
RESOLVED = [
    ("g", "http://a/b/c/g"), ("./g", "http://a/b/c/g"), ("g/", "http://a/b/c/g/"), ("/g", "http://a/g"),
    ("//g", "http://g"), ("?y", "http://a/b/c/d;p?y"), ("g?y", "http://a/b/c/g?y"), ("#s", "http://a/b/c/d;p?q#s"),
    ("g#s", "http://a/b/c/g#s"), ("g?y#s", "http://a/b/c/g?y#s"), (";x", "http://a/b/c/;x"), ("g;x", "http://a/b/c/g;x"),
    ("g;x?y#s", "http://a/b/c/g;x?y#s"), ("", "http://a/b/c/d;p?q"), (".", "http://a/b/c/"), ("./", "http://a/b/c/"),
    ("..", "http://a/b/"), ("../", "http://a/b/"), ("../g", "http://a/b/g"), ("../..", "http://a/"),
    ("../../", "http://a/"), ("../../g", "http://a/g"),
    ("../../../g", "http://a/g"), ("../../../../g", "http://a/g"), ("/./g", "http://a/g"), ("/../g", "http://a/g"),
    ("g.", "http://a/b/c/g."), (".g", "http://a/b/c/.g"), ("g..", "http://a/b/c/g.."), ("..g", "http://a/b/c/..g"),
    ("./../g", "http://a/b/g"), ("./g/.", "http://a/b/c/g/"), ("g/./h", "http://a/b/c/g/h"), ("g/../h", "http://a/b/c/h"),
    ("g;x=1/./y", "http://a/b/c/g;x=1/y"), ("g;x=1/../y", "http://a/b/c/y"), ("g?y/./x", "http://a/b/c/g?y/./x"),
    ("g?y/../x", "http://a/b/c/g?y/../x"), ("g#s/./x", "http://a/b/c/g#s/./x"), ("g#s/../x", "http://a/b/c/g#s/../x"),
]  # fmt: skip


@pytest.mark.parametrize("location, expected", RESOLVED)
def test_locations_are_resolved_as_in_the_rfc(location, expected):
    assert follow("http://a/b/c/d;p?q", location) == expected


@given(st.text(alphabet="abcZ09-._~%2F=&+;:@!$'()*,/?", max_size=60))
def test_a_query_is_kept_to_the_byte(query):
    for location in (f"/v2/u?{query}", f"https://cdn.example/u?{query}"):
        assert follow("https://r.example/v2/", location).partition("?")[2] == query


HOSTS = [
    "r.example",
    "r.example:444",
    "cdn.example",
    "127.0.0.1",
    "10.0.0.1",
    "169.254.169.254",
    "[::1]",
    "localhost",
    "a.b@c",
]
ADDRESSES = st.builds(
    "{}{}/{}".format,
    st.sampled_from(["http://", "https://", "ftp://", "//", "HTTPS://", ""]),
    st.sampled_from(HOSTS),
    st.text(max_size=9),
)


@given(ADDRESSES | st.text(max_size=60), st.sampled_from(["https://r.example/v2/x", "http://127.0.0.1:5000/v2/x"]))
def test_no_location_steps_down_or_inside(location, base):
    try:
        found = follow(base, location)
    except RegistryError:
        return
    here, there = Origin.of(base), Origin.of(found)
    assert there.scheme == "https" or here.scheme == "http"
    assert here.is_private or not there.is_private
    said = urlsplit(urljoin(base, location))
    assert there.host == said.hostname, "another place than the one that was named"
    assert "@" not in said.netloc


@given(st.text(max_size=600))
def test_words_of_strangers_are_fit_for_a_terminal(text):
    said = clean(text)
    assert len(said) <= 400
    assert not any(
        ord(mark) < 32 or 0x7F <= ord(mark) < 0xA0 or mark in "\u202a\u202e\u2066\u2069\u200f\u2028" for mark in said
    )


@given(
    st.text(alphabet="abcdef0123456789", min_size=8, max_size=12),
    st.text(alphabet="xyz \t.,;", max_size=20),
    st.sampled_from(
        ["https://s3.example/k?sig={}", "http://ada:{}@r.example/p", "https://r.example/v2/?a=b&token={}#f"]
    ),
)
def test_secrets_in_addresses_are_not_repeated(secret, around, address):
    assert secret not in clean(f"{around} {address.format(secret)} {around}")


def test_requests_is_what_answers(registry, client):
    """Callers of oras look at requests' Response: its status, headers, json, raise_for_status."""
    response = client.do_request(f"{registry.url}/v2/hello/manifests/none")
    assert isinstance(response, requests.Response)
    assert response.json()["errors"][0]["code"] == "MANIFEST_UNKNOWN"
    with pytest.raises(requests.HTTPError):
        response.raise_for_status()
