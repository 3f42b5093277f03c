"""The small parts: challenges, origins, proxies, scopes, credentials and their helpers."""

import base64
import json
import os
import stat
import sys
import time

import pytest

from ocibuild.errors import RegistryError, UsageError
from ocibuild.registry import challenge, helper, tls
from ocibuild.registry.auth import _checked_realm, _token
from ocibuild.registry.credentials import Credential, Keychain
from ocibuild.registry.gate import retry_after
from ocibuild.registry.origin import Origin, follow, public
from ocibuild.registry.proxy import proxies
from ocibuild.registry.scope import needed
from ocibuild.registry.settings import Settings

# Challenges. The first is the example of RFC 9110 section 11.6.1, the second of distribution's token specification.


@pytest.mark.parametrize(
    "line, expected",
    [
        (
            'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
            [("basic", {"realm": "simple"}), ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'})],
        ),
        (
            (
                'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
                'scope="repository:samalba/my-app:pull,push"'
            ),
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:samalba/my-app:pull,push",
                    },
                )
            ],
        ),
        ('Negotiate, Bearer realm="https://a/t"', [("negotiate", {}), ("bearer", {"realm": "https://a/t"})]),
        ('Negotiate dG9rZW4=, BASIC Realm="Nexus"', [("negotiate", {}), ("basic", {"realm": "Nexus"})]),
        ("Bearer realm=https://a/t , service = s", [("bearer", {"realm": "https://a/t", "service": "s"})]),
        ('Bearer service="",scope="x"', [("bearer", {"service": "", "scope": "x"})]),
        ("", []),
        (',,, ="', []),
        ('"quoted" realm="x"', []),
    ],
)
def test_challenges(line, expected):
    assert [(found.scheme, found.parameters) for found in challenge.parse([line])] == expected


def test_challenges_of_several_lines():
    assert [found.scheme for found in challenge.parse(["Negotiate", 'Basic realm="x"'])] == ["negotiate", "basic"]


@pytest.mark.parametrize("line", ["a" * 100_000, '"' * 100_000, "a=," * 30_000, "Basic " * 20_000, '\\"' * 50_000])
def test_challenges_of_hostile_length_take_no_time(line):
    started = time.monotonic()
    challenge.parse([line])
    assert time.monotonic() - started < 2


# Origins.


@pytest.mark.parametrize(
    "url, location, expected",
    [
        ("https://r.example/v2/a/", "/v2/b?x=%2F", "https://r.example/v2/b?x=%2F"),
        ("https://r.example/v2/a/", "//cdn.example/b", "https://cdn.example/b"),
        ("https://r.example/v2/a/", "https://cdn.example/b", "https://cdn.example/b"),
        ("https://r.example/v2/a/", "http://r.example/b", "https://r.example/b"),  # a proxy's TLS it does not know of
        ("https://r.example:8443/v2/a/", "http://r.example/b", "https://r.example:8443/b"),
        ("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5001/b", "http://127.0.0.1:5001/b"),
    ],
)
def test_locations_that_are_followed(url, location, expected):
    assert follow(url, location) == expected


@pytest.mark.parametrize(
    "location",
    [
        "http://cdn.example/b",
        "https://127.0.0.1/b",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/b",
        "https://10.0.0.1/b",
        "https://localhost/b",
        "file:///etc/passwd",
        "https://user@cdn.example/b",
        "https://[bad/b",
        "https://r.example:99999/",
    ],
)
def test_locations_that_are_refused(location):
    with pytest.raises(RegistryError) as caught:
        follow("https://r.example/v2/a/", location)
    assert caught.value.code == "location-refused"


def test_the_scheme_s_own_port_makes_no_other_origin():
    assert Origin.of("https://r.example:443/a") == Origin.of("https://R.example/b")
    assert Origin.of("https://r.example:443/a").netloc == "r.example"
    assert Origin.of("http://[::1]:5000/").netloc == "[::1]:5000"


def test_a_url_for_people_has_no_secret():
    assert public("https://me:pw@s3.example/b?X-Amz-Signature=abc#f") == "https://s3.example/b"


# Realms.


@pytest.mark.parametrize(
    "registry, realm",
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
        ("http://127.0.0.1:5000", "https://auth.example/token"),
        ("https://10.0.0.1", "https://10.0.0.2/token"),
        ("http://registry.lan:5000", "http://registry.lan:5000/token"),
        ("http://registry.lan:5000", "http://registry.lan:5001/token"),
    ],
)
def test_realms_that_are_told(registry, realm):
    assert _checked_realm(realm, Origin.of(registry)) == realm


@pytest.mark.parametrize(
    "registry, realm",
    [
        ("https://r.example", "http://r.example/token"),
        ("https://r.example", "https://127.0.0.1/token"),
        ("https://r.example", "https://169.254.169.254/token"),
        ("http://registry.lan:5000", "http://evil.example/token"),
        ("https://r.example", "https://me@auth.example/token"),
        ("https://r.example", "auth.example/token"),
        ("https://r.example", ""),
    ],
)
def test_realms_that_are_not(registry, realm):
    with pytest.raises(RegistryError):
        _checked_realm(realm, Origin.of(registry))


@pytest.mark.parametrize(
    "life, seconds",
    [(None, 60), (300, 300), ("300", 300), (0, 60), (-1, 60), (1e12, 86400), ("soon", 60), ([], 60), (True, 60)],
)
def test_the_life_of_a_token(life, seconds):
    class Response:
        content = json.dumps({"token": "t", "expires_in": life}).encode()

    assert _token(Response(), 1000.0).until == pytest.approx(1000 + seconds * 0.8)


# Scopes.


@pytest.mark.parametrize(
    "method, path, expected",
    [
        ("GET", "/v2/a/b/manifests/1", {"repository:a/b:pull"}),
        ("HEAD", "/v2/a/blobs/sha256:0", {"repository:a:pull"}),
        ("POST", "/v2/a/blobs/uploads/", {"repository:a:pull,push"}),
        ("POST", "/v2/a/blobs/uploads/?mount=d&from=c%2Fd", {"repository:a:pull,push", "repository:c/d:pull"}),
        ("GET", "/v2/a/blobs/uploads/u", {"repository:a:pull,push"}),
        ("DELETE", "/v2/a/blobs/uploads/u", {"repository:a:pull,push"}),
        ("DELETE", "/v2/a/manifests/1", {"repository:a:pull,delete"}),
        ("GET", "/v2/a/blobs/manifests/manifests/1", {"repository:a/blobs/manifests:pull"}),
        ("GET", "/v2/_catalog?n=10", {"registry:catalog:*"}),
        ("GET", "/v2/", set()),
        ("PUT", "/elsewhere/u", set()),
    ],
)
def test_scopes(method, path, expected):
    assert needed(method, f"https://r.example{path}") == expected


# Proxies.


@pytest.mark.parametrize(
    "url, environ, expected",
    [
        ("https://r.example/", {}, {}),
        ("https://r.example/", {"HTTPS_PROXY": "http://p:3128"}, {"https": "http://p:3128"}),
        ("https://r.example/", {"HTTPS_PROXY": "http://p", "https_proxy": "http://q"}, {"https": "http://q"}),
        ("https://r.example/", {"ALL_PROXY": "p:1"}, {"https": "http://p:1"}),
        ("http://r.example/", {"HTTPS_PROXY": "http://p"}, {}),
        ("http://r.example/", {"HTTP_PROXY": "http://p", "REQUEST_METHOD": "GET"}, {}),
        ("https://localhost:5000/", {"HTTPS_PROXY": "http://p"}, {}),
        ("https://127.0.0.1:5000/", {"HTTPS_PROXY": "http://p"}, {}),
        ("https://[::1]:5000/", {"HTTPS_PROXY": "http://p"}, {}),
        ("https://r.example/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "r.example"}, {}),
        ("https://a.r.example/", {"HTTPS_PROXY": "http://p", "NO_PROXY": " .r.example "}, {}),
        ("https://ar.example/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "r.example"}, {"https": "http://p"}),
        ("https://r.example/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "r.example:8443"}, {"https": "http://p"}),
        ("https://r.example:8443/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "r.example:8443"}, {}),
        ("https://10.1.2.3/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, {}),
        ("https://[fd00::1]/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "fd00::/8"}, {}),
        ("https://r.example/", {"HTTPS_PROXY": "http://p", "NO_PROXY": "*"}, {}),
        ("https://r.example/", {"HTTPS_PROXY": "http://p", "NO_PROXY": ","}, {"https": "http://p"}),
    ],
)
def test_proxies(url, environ, expected):
    assert proxies(url, environ) == expected


# Retry-After. The date is RFC 9110 section 10.2.3's example.


@pytest.mark.parametrize(
    "headers, seconds",
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "Fri, 31 Dec 1999 23:59:49 GMT"}, 10),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "Sat, 01 Jan 2000 00:00:00 GMT"}, 0),
        ({"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers) == seconds


# Credentials.


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def docker(home, document) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(document if isinstance(document, str) else json.dumps(document))


def find(home, registry="r.example", repository="a", explicit=None, **environ):
    return Keychain(explicit or {}, environ, home).find(registry, repository)


def test_docker_s_config(tmp_path):
    docker(tmp_path, {"auths": {"r.example": {"auth": encoded("ada:pass:word%ü")}}})
    found = find(tmp_path)
    assert (found.username, found.password) == ("ada", "pass:word%ü")
    assert found.source == str(tmp_path / ".docker" / "config.json")
    assert "pass:word" not in repr(found)
    assert base64.b64decode(found.basic.removeprefix("Basic ")).decode() == "ada:pass:word%ü"


@pytest.mark.parametrize("key", ["https://r.example", "https://r.example/v1/", "http://r.example/v2/", "r.example/"])
def test_keys_older_clients_wrote(tmp_path, key):
    docker(tmp_path, {"auths": {key: {"username": "ada", "password": "x"}}})
    assert find(tmp_path).username == "ada"


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"])
def test_docker_hub_by_its_names(tmp_path, key):
    docker(tmp_path, {"auths": {key: {"auth": encoded("ada:x")}}})
    assert find(tmp_path, "registry-1.docker.io", "library/hello").username == "ada"


def test_the_most_particular_key_wins(tmp_path):
    entry = {name: {"auth": encoded(f"{name}:x")} for name in ("r.example", "r.example/team", "r.example/team/app")}
    docker(tmp_path, {"auths": entry})
    assert find(tmp_path, repository="team/app").username == "r.example/team/app"
    assert find(tmp_path, repository="team/other").username == "r.example/team"
    assert find(tmp_path, repository="teams").username == "r.example"


def test_a_port_is_part_of_the_host(tmp_path):
    docker(tmp_path, {"auths": {"r.example": {"auth": encoded("ada:x")}}})
    assert find(tmp_path, "r.example:5000") is None


def test_order_of_the_places(tmp_path):
    def file(path, user):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"auths": {"r.example": {"auth": encoded(f"{user}:x")}}}))
        return str(path)

    file(tmp_path / ".config/containers/auth.json", "podman")
    assert find(tmp_path).username == "podman"
    file(tmp_path / "run/containers/auth.json", "runtime")
    places = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    assert find(tmp_path, **places).username == "runtime"
    file(tmp_path / ".docker/config.json", "docker")
    assert find(tmp_path, **places).username == "docker"
    file(tmp_path / "other/config.json", "elsewhere")
    places["DOCKER_CONFIG"] = str(tmp_path / "other")
    assert find(tmp_path, **places).username == "elsewhere"
    places["REGISTRY_AUTH_FILE"] = file(tmp_path / "auth.json", "named")
    assert find(tmp_path, **places).username == "named"
    places["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"r.example": {"auth": encoded("ci:x")}}})
    assert find(tmp_path, **places).username == "ci"
    assert find(tmp_path, explicit={"r.example": Credential("given", "x")}, **places).username == "given"
    assert find(tmp_path, "other.example", explicit={"r.example": Credential("given", "x")}, **places) is None


@pytest.mark.parametrize(
    "document",
    ["{", "[]", "null", '{"auths":null}', '{"auths":{"r.example":{"auth":"%%%"}}}', '{"auths":{"r.example":1}}'],
)
def test_broken_files_are_passed_over_and_noted(tmp_path, document):
    docker(tmp_path, document)
    keychain = Keychain({}, {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}, tmp_path)
    (tmp_path / "xdg/containers").mkdir(parents=True)
    (tmp_path / "xdg/containers/auth.json").write_text(json.dumps({"auths": {"r.example": {"auth": encoded("ada:x")}}}))
    assert keychain.find("r.example").username == "ada"
    if document in ("{", "[]", "null"):
        assert keychain.notes == [f"{tmp_path / '.docker' / 'config.json'} is not a JSON object"]


def test_a_byte_order_mark_and_a_folder_in_the_place_of_a_file(tmp_path):
    docker(tmp_path, "\ufeff" + json.dumps({"auths": {"r.example": {"auth": encoded("ada:x")}}}))
    assert find(tmp_path).username == "ada"
    keychain = Keychain({}, {"DOCKER_CONFIG": str(tmp_path / "d")}, tmp_path)
    (tmp_path / "d/config.json").mkdir(parents=True)
    assert keychain.find("r.example") is None
    assert len(keychain.notes) == 1


def program(folder, name, body) -> str:
    path = folder / f"docker-credential-{name}"
    path.write_text(f"#!{sys.executable}\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(folder)


ANSWER = 'import json, sys\nprint(json.dumps({"ServerURL": "", "Username": "ada", "Secret": sys.stdin.read()}))'
posix = pytest.mark.skipif(os.name == "nt", reason="the helpers of these tests are scripts with a #! line")


@posix
def test_a_helper_gets_the_host_and_gives_the_secret(tmp_path):
    path = program(tmp_path, "here", ANSWER)
    docker(tmp_path, {"credHelpers": {"r.example": "here"}, "auths": {"r.example": {"auth": encoded("no:x")}}})
    found = find(tmp_path, PATH=path)
    assert (found.username, found.password, found.source) == ("ada", "r.example", "docker-credential-here")
    docker(tmp_path, {"credsStore": "here"})
    assert find(tmp_path, "docker.io", PATH=path).password == "https://index.docker.io/v1/"


@posix
def test_a_helper_s_identity_token(tmp_path):
    path = program(tmp_path, "here", ANSWER.replace('"ada"', '"<token>"'))
    docker(tmp_path, {"credsStore": "here"})
    found = find(tmp_path, PATH=path)
    assert (found.username, found.identity_token, found.basic) == ("", "r.example", "")


@posix
@pytest.mark.parametrize(
    "body, expected",
    [
        ("print('credentials not found in native keychain'); raise SystemExit(1)", None),
        ("raise SystemExit(3)", "docker-credential-x failed with status 3"),
        ("print('hello')", "docker-credential-x did not answer with a user name and a secret"),
        ("print('[]')", "docker-credential-x did not answer with a user name and a secret"),
        ("import sys\nwhile True: sys.stdout.write('x' * 65536)", "docker-credential-x failed with status -9"),
        ("import time; time.sleep(60)", "docker-credential-x gave no answer within 0.5 s"),
    ],
)
def test_helpers_that_fail(tmp_path, body, expected):
    started = time.monotonic()
    assert helper.get("x", "r.example", {"PATH": program(tmp_path, "x", body)}, 0.5) == expected
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["none-such", "../x", "a/b", "a;b", ""])
def test_helpers_that_are_not_there(tmp_path, name):
    assert "not installed" in helper.get(name, "r.example", {"PATH": str(tmp_path)})


# TLS.


def test_a_ca_file_that_is_none(tmp_path):
    (tmp_path / "ca.pem").write_text("not a certificate")
    for path in ("ca.pem", "missing.pem"):
        with pytest.raises(UsageError) as caught:
            tls.context(Settings(ca_file=str(tmp_path / path)))
        assert caught.value.code == "ca-file-invalid"
    with pytest.raises(UsageError):
        tls.context(Settings(environ={"SSL_CERT_FILE": str(tmp_path / "ca.pem")}))
