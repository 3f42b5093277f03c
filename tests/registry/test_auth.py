"""Authentication: realms, scopes, tokens and their lives, and who is told what."""

import base64
import json
import logging
import os
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest
from requests import Response

from ocibuild.content.blob import Blob
from ocibuild.errors import AuthorizationError, RegistryError
from ocibuild.registry import realm, scope, token
from ocibuild.registry.auth import Auth
from ocibuild.registry.client import Client
from ocibuild.registry.credentials import Credential
from ocibuild.registry.keychain import Keychain
from ocibuild.registry.origin import Origin
from ocibuild.registry.scope import needed
from ocibuild.registry.settings import Patience, Settings
from ocibuild.registry.transport import Call, Watch
from ocibuild.spec import mediatype
from tests.registry.scripted import PLANTED, Answer, Scripted, Seen, Server

# Realms.


@pytest.mark.fault(39)
@pytest.mark.parametrize(
    "registry, address",
    [
        ("https://registry-1.docker.io", "https://auth.docker.io/token"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token"),
        ("http://127.0.0.1:5000", "https://auth.example/token"),
        ("https://10.0.0.1", "https://10.0.0.2/token"),
        ("http://registry.lan:5000", "http://registry.lan:5000/token"),
        ("http://registry.lan:5000", "http://registry.lan:5001/token"),
    ],
)
def test_realms_that_are_told(registry, address):
    assert realm.checked(address, Origin.of(registry), {}) == address


@pytest.mark.fault(38)
@pytest.mark.parametrize(
    "registry, address",
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
def test_realms_that_are_not(registry, address):
    with pytest.raises(RegistryError):
        realm.checked(address, Origin.of(registry), {})


@pytest.mark.fault(41)
@pytest.mark.parametrize(
    "life, seconds",
    [(None, 60), (300, 300), ("300", 300), (0, 60), (-1, 60), (1e12, 86400), ("soon", 60), ([], 60), (True, 60)],
)
def test_the_life_of_a_token(life, seconds):
    class Response:
        content = json.dumps({"token": "t", "expires_in": life}).encode()

    assert token.read(Response(), 1000.0).until == pytest.approx(1000 + min(seconds * 0.8, seconds - 30))


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


@pytest.mark.parametrize(
    "granted, wanted, covered",
    [
        ({"repository:a:pull,push"}, {"repository:a:pull"}, True),
        ({"repository:a:push,pull"}, {"repository:a:pull,push"}, True),
        ({"repository:a:pull", "repository:a:push"}, {"repository:a:pull,push"}, True),
        ({"repository:a:pull"}, {"repository:a:pull,push"}, False),
        ({"repository:ab:pull"}, {"repository:a:pull"}, False),
        ({"repository:a:pull"}, {"repository:a:pull", "repository:b:pull"}, False),
        ({"registry:catalog:*"}, set(), True),
        (set(), {"repository:a:pull"}, False),
    ],
)
def test_a_token_for_more_serves_for_less(granted, wanted, covered):
    assert scope.covers(frozenset(granted), frozenset(wanted)) is covered


def test_the_repository_that_is_written_to_is_the_one_whose_login_counts():
    assert scope.repositories(frozenset({"repository:a:pull", "repository:b:pull,push"})) == ["b", "a"]
    assert scope.repositories(frozenset({"registry:catalog:*", "repository:x"})) == []


# Realms that look like something else.


@pytest.mark.fault(38)
@pytest.mark.parametrize(
    "address",
    [
        "https://127.1/token",
        "https://2130706433/token",
        "https://0x7f000001/token",
        "https://0x7f.1/token",
        "https://127.0.0.1./token",
        "https://[::ffff:127.0.0.1]/token",
        "https://[fe80::1]/token",
        "https://100.64.0.1/token",
        "file:///etc/passwd",
        "//auth.example/token",
        "javascript:alert(1)",
    ],
)
def test_realms_in_disguise(address):
    with pytest.raises(RegistryError) as caught:
        realm.checked(address, Origin.of("https://r.example"), {})
    assert caught.value.code == "realm-refused"


@pytest.mark.fault(39)
def test_realms_can_be_narrowed_to_those_one_trusts():
    environ = {realm.TRUSTED: "auth.example, tokens.example:8443"}
    origin = Origin.of("https://r.example")
    for good in (
        "https://auth.example/t",
        "https://tokens.example:8443/t",
        "https://r.example/t",
        "https://r.example:1/t",
    ):
        assert realm.checked(good, origin, environ) == good
    for bad in ("https://other.example/t", "https://tokens.example/t", "https://auth.example.evil/t"):
        with pytest.raises(RegistryError) as caught:
            realm.checked(bad, origin, environ)
        assert "OCIBUILD_TRUSTED_REALMS" in caught.value.message


# A token service, and a registry that wants its tokens.

SECRET = PLANTED
BLOB = Blob.of(mediatype.LAYER, b"a layer")
PULL, PUSH = "repository:a:pull", "repository:a:pull,push"


class Service(Server):
    """`grant` answers a request for a token; any token it gave is good for everything until it is `void`."""

    entrusted = True

    def __init__(self, grant, challenge="") -> None:
        super().__init__()
        self.grant = grant
        self.void: set[str] = set()
        self.challenge = challenge or f'Bearer realm="{self.url}/token",service="here"'

    def respond(self, request: Seen) -> Answer:
        if request.path.startswith("/token"):
            return self.grant(request)
        given = request.headers.get("authorization", "")
        if given.startswith("Bearer ") and given.removeprefix("Bearer ") not in self.void:
            return Answer(404)
        return Answer(401, {"WWW-Authenticate": self.challenge})

    def client(self, credential=None, **settings) -> Client:
        explicit = {self.host: credential} if credential else {}
        known = {"patience": Patience(attempts=2, first=0.01), "credentials": explicit, **settings}
        return Client(self.host, insecure=True, settings=Settings(**known))

    def ask(self, client, method="HEAD", path="/v2/a/blobs/x", watch=None):
        url = f"{self.url}{path}"
        return client.transport(url).send(Call(method, url), watch or Watch())


def granted(value="t", **more) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, json.dumps({"token": value, **more}).encode())


def numbered(**more):
    """A grant of t1, t2, …"""
    count = iter(range(1, 1000))
    lock = threading.Lock()

    def grant(request):
        with lock:
            return granted(f"t{next(count)}", **more)

    return grant


def form(request) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(request.body.decode()).items()}


IDENTITY = Credential("ada", "", identity_token=SECRET)


def test_an_identity_token_is_traded_by_post_as_the_specification_has_it():
    with Service(numbered()) as server:
        assert server.ask(server.client(IDENTITY)).status_code == 404
        (request,) = server.requests("POST", "/token")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in request.headers
    assert form(request) == {
        "grant_type": "refresh_token",
        "refresh_token": SECRET,
        "client_id": "ocibuild",
        "service": "here",
        "scope": PULL,
    }


@pytest.mark.fault(37)
@pytest.mark.parametrize("status", [400, 401, 404, 405])
def test_a_token_service_that_knows_no_post_is_asked_by_get(status):
    with Service(lambda request: granted() if request.method == "GET" else Answer(status)) as server:
        assert server.ask(server.client(IDENTITY)).status_code == 404
        (request,) = server.requests("GET", "/token")
    assert base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode() == f"ada:{SECRET}"
    assert parse_qs(urlsplit(request.path).query) == {"service": ["here"], "scope": [PULL]}


def test_without_a_user_name_there_is_no_get():
    with Service(lambda request: Answer(404)) as server:
        with pytest.raises(RegistryError) as caught:
            server.ask(server.client(Credential(identity_token=SECRET)), "POST", "/v2/a/blobs/uploads/")
        assert server.requests("GET", "/token") == []
    assert caught.value.code == "token-failed"
    assert SECRET not in caught.value.message


def test_a_large_identity_token_is_not_put_into_a_header():
    large = Credential("ada", "", identity_token="x" * 7000)
    with Service(lambda request: Answer(400)) as server:
        with pytest.raises(AuthorizationError):
            server.ask(server.client(large), "POST", "/v2/a/blobs/uploads/")
        assert server.requests("GET", "/token") == []


def test_a_refresh_token_that_comes_back_is_the_next_one_to_trade():
    with Service(lambda request: granted(refresh_token="second")) as server:
        client = server.client(IDENTITY)
        server.ask(client)
        server.ask(client, path="/v2/b/blobs/x")
        assert [form(request)["refresh_token"] for request in server.requests("POST")] == [SECRET, "second"]
    assert "second" not in repr(client.auth._tokens)


def test_tokens_are_renewed_before_they_lapse_and_not_sooner():
    with Service(numbered(expires_in=300)) as server:
        client = server.client(Credential("ada", SECRET))
        now = [1000.0]
        client.auth._clock = lambda: now[0]
        for moment, fetched in ((1000, 1), (1239, 1), (1241, 2), (1300, 2)):
            now[0] = moment
            server.ask(client)
            assert len(server.requests("GET", "/token")) == fetched, moment
    sent = [request.headers.get("authorization") for request in server.requests("HEAD")]
    assert sent == [None, "Bearer t1", "Bearer t1", "Bearer t2", "Bearer t2"]


def test_what_takes_long_begins_with_a_token_in_its_first_half():
    with Service(numbered(expires_in=300)) as server:
        client = server.client(Credential("ada", SECRET))
        now = [1000.0]
        client.auth._clock = lambda: now[0]
        url = f"{server.url}/v2/a/blobs/uploads/u1"
        for moment, size, token in ((1000, 1, "t1"), (1160, 1, "t1"), (1160, 1 << 30, "t2"), (1161, 1 << 30, "t2")):
            now[0] = moment
            client.transport(url).send(Call("PUT", url, body=b"x", size=size), Watch())
            assert server.requests("PUT")[-1].headers["authorization"] == f"Bearer {token}", (moment, size)


@pytest.mark.fault(42)
@pytest.mark.parametrize("stamp", ["1999-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "soon", 7])
def test_what_the_service_takes_for_the_time_does_not_matter(stamp):
    with Service(numbered(expires_in=300, issued_at=stamp)) as server:
        client = server.client(Credential("ada", SECRET))
        server.ask(client)
        server.ask(client)
        assert len(server.requests("GET", "/token")) == 1


@pytest.mark.fault(41)
def test_the_other_name_of_a_token():
    body = json.dumps({"token": "", "access_token": "other"}).encode()
    with Service(lambda request: Answer(200, body=body)) as server:
        server.ask(server.client())
        assert server.requests("HEAD")[-1].headers["authorization"] == "Bearer other"


def test_many_threads_wait_for_one_token():
    def grant(request):
        time.sleep(0.2)
        return granted()

    with Service(grant) as server:
        client = server.client(Credential("ada", SECRET))
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda number: server.ask(client, path=f"/v2/a/blobs/{number}"), range(32)))
        assert {answer.status_code for answer in answers} == {404}
        assert len(server.requests("GET", "/token")) == 1


def test_many_threads_with_a_token_that_was_revoked_fetch_one_new_one():
    with Service(numbered()) as server:
        client = server.client(Credential("ada", SECRET))
        server.ask(client)
        server.void.add("t1")
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: server.ask(client), range(16)))
        assert {answer.status_code for answer in answers} == {404}
        assert len(server.requests("GET", "/token")) == 2


def test_tokens_of_two_repositories_are_two():
    with Service(numbered()) as server:
        client = server.client(Credential("ada", SECRET))
        for path in ("/v2/a/blobs/x", "/v2/b/blobs/x", "/v2/a/blobs/y"):
            server.ask(client, path=path)
        asked = [parse_qs(urlsplit(request.path).query)["scope"] for request in server.requests("GET", "/token")]
    assert asked == [[PULL], ["repository:b:pull"]]


def test_a_token_to_push_also_pulls():
    with Service(numbered()) as server:
        client = server.client(Credential("ada", SECRET))
        server.ask(client, "POST", "/v2/a/blobs/uploads/")
        server.ask(client)
        assert len(server.requests("GET", "/token")) == 1


def test_the_challenge_s_scope_comes_first_and_others_repositories_not_at_all():
    challenge = 'Bearer realm="{}/token",scope="repository:victim:push repository:a:pull,push registry:catalog:*"'
    with Service(numbered()) as server:
        server.challenge = challenge.format(server.url)
        server.ask(server.client(Credential("ada", SECRET)))
        (request,) = server.requests("GET", "/token")
    assert parse_qs(urlsplit(request.path).query)["scope"] == [PUSH, PULL]


def test_the_realm_s_own_query_stays():
    with Service(numbered()) as server:
        server.challenge = f'Bearer realm="{server.url}/token?tenant=a%2Fb"'
        server.ask(server.client())
        assert server.requests("GET", "/token")[0].path == "/token?tenant=a%2Fb&scope=repository%3Aa%3Apull"


def test_a_registry_token_is_sent_as_it_is_and_nowhere_else():
    with Service(numbered()) as server:
        assert server.ask(server.client(Credential(registry_token="given"))).status_code == 404
        assert server.requests("GET") == []
        assert server.requests("HEAD")[-1].headers["authorization"] == "Bearer given"


@pytest.mark.fault(37)
@pytest.mark.parametrize("trouble", [Answer(503), Answer(429, {"Retry-After": "0"}), Answer(reset=True)])
def test_a_token_service_in_trouble_is_asked_again(trouble):
    answers = [trouble, granted()]
    with Service(lambda request: answers.pop(0)) as server:
        client = server.client(Credential("ada", SECRET), patience=Patience(attempts=3, first=0.01))
        assert server.ask(client).status_code == 404
        assert len(server.requests("GET", "/token")) == 2


# Refusals.


def test_stored_credentials_that_are_refused_for_a_pull_are_left_out_once_and_said_so():
    notes = []
    anonymous = numbered()
    with Service(lambda request: Answer(401) if "authorization" in request.headers else anonymous(request)) as server:
        client = server.client(Credential("ada", SECRET, source="config.json"))
        watch = Watch(warn=notes.append)
        assert server.ask(client, watch=watch).status_code == 404
        assert server.ask(client, path="/v2/b/blobs/x", watch=watch).status_code == 404
    assert len(notes) == 1
    assert "config.json" in notes[0]
    assert "without them" in notes[0]
    assert SECRET not in notes[0]


@pytest.mark.fault(37)
def test_they_are_not_left_out_for_a_push():
    with Service(lambda request: Answer(401) if "authorization" in request.headers else granted()) as server:
        with pytest.raises(AuthorizationError) as caught:
            server.ask(server.client(Credential("ada", SECRET, source="config.json")), "POST", "/v2/a/blobs/uploads/")
        assert all("authorization" in request.headers for request in server.requests("GET", "/token"))
    assert caught.value.code == "token-refused"
    assert "config.json" in caught.value.message


@pytest.mark.fault(40)
def test_a_registry_that_says_at_its_front_door_what_it_wants():
    with Service(numbered()) as server:
        there = server.challenge

        def respond(request):
            server.challenge = there if request.path == "/v2/" else "Negotiate"
            return Service.respond(server, request)

        server.respond = respond
        client = server.client(Credential("ada", SECRET))
        assert server.ask(client).status_code == 404
        assert server.ask(client, path="/v2/b/blobs/x").status_code == 404
        pings = server.requests("GET", "/v2/")
        assert len(pings) == 1
        assert "authorization" not in pings[0].headers


@pytest.mark.fault(40)
def test_a_registry_that_never_says_what_it_wants_is_asked_once():
    with Scripted({"HEAD .*": Answer(401), "GET .*": Answer(401)}) as server:
        client = Client(
            server.host, insecure=True, settings=Settings(credentials={server.host: Credential("a", SECRET)})
        )
        url = f"{server.url}/v2/a/blobs/x"
        with pytest.raises(AuthorizationError):
            client.transport(url).send(Call("HEAD", url), Watch())
        assert [(request.method, request.path) for request in server.seen] == [
            ("HEAD", "/v2/a/blobs/x"),
            ("GET", "/v2/"),
        ]


@pytest.mark.fault(40)
def test_bearer_goes_before_basic_and_other_schemes_are_passed_over():
    with Service(numbered()) as server:
        server.challenge = f'Negotiate, Basic realm="x", Bearer realm="{server.url}/token"'
        server.ask(server.client(Credential("ada", SECRET)))
        assert server.requests("HEAD")[-1].headers["authorization"] == "Bearer t1"


def test_an_identity_token_where_a_password_is_wanted():
    with Service(numbered(), 'Basic realm="x"') as server, pytest.raises(AuthorizationError) as caught:
        server.ask(server.client(Credential(identity_token=SECRET)))
    assert caught.value.code == "credentials-missing"
    assert "identity token" in caught.value.message
    assert SECRET not in caught.value.message


@pytest.mark.fault(36)
def test_a_refusal_names_what_was_asked_and_what_is_wanted():
    with Service(lambda request: granted("void")) as server:
        server.void.add("void")
        server.challenge += f',scope="{PUSH}",error="insufficient_scope"'
        with pytest.raises(AuthorizationError) as caught:
            server.ask(server.client(Credential("ada", SECRET)))
        assert len(server.requests("HEAD")) == 2
    assert f"asked for {PULL}" in caught.value.message
    assert f"it wants {PUSH}" in caught.value.message


@pytest.mark.fault(44)
def test_a_damaged_file_is_spoken_of_and_stops_nothing(tmp_path):
    notes = []
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text('{"auths": {"planted')
    environ = {"REGISTRY_AUTH_FILE": str(tmp_path / "none.json")}
    with Service(numbered()) as server:
        client = server.client(home=tmp_path, environ=environ)
        for path in ("/v2/a/blobs/x", "/v2/b/blobs/x"):
            assert server.ask(client, path=path, watch=Watch(warn=notes.append)).status_code == 404
    assert notes == [
        f"REGISTRY_AUTH_FILE names {tmp_path / 'none.json'}, which does not exist",
        f"{tmp_path / '.docker' / 'config.json'} is not a JSON object (line 1)",
    ]


# Helpers whose secrets lapse.

COUNTING = """import json, pathlib, sys
path = pathlib.Path(__file__).with_suffix(".count")
number = int(path.read_text()) + 1 if path.exists() else 1
path.write_text(str(number))
print(json.dumps({"Username": "AWS", "Secret": f"secret-{number}"}))
"""
posix = pytest.mark.skipif(os.name == "nt", reason="the helper of these tests is a script with a #! line")


@pytest.fixture
def counting(tmp_path):
    """Settings whose helper gives another secret each time it is asked."""
    path = tmp_path / "docker-credential-counting"
    path.write_text(f"#!{sys.executable}\n{COUNTING}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text('{"credsStore": "counting"}')
    return {"home": tmp_path, "environ": {"PATH": str(tmp_path)}}


def basic(secret: str) -> str:
    return "Basic " + base64.b64encode(f"AWS:{secret}".encode()).decode()


EXPIRED = (
    b'{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}'
)


@posix
@pytest.mark.parametrize("refusal", [Answer(403, body=EXPIRED), Answer(401, {"WWW-Authenticate": 'Basic realm="x"'})])
def test_a_secret_that_lapsed_is_asked_for_once_more(counting, refusal):
    good = ["secret-1"]

    def respond(request):
        given = request.headers.get("authorization")
        if given is None:
            return Answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
        return Answer(404) if given == basic(good[0]) else refusal

    with Server(respond) as server:
        client = Client(server.host, insecure=True, settings=Settings(**counting))
        url = f"{server.url}/v2/a/blobs/x"
        for _ in range(2):
            assert (
                client.transport(url).send(Call("HEAD" if refusal.status == 401 else "GET", url), Watch()).status_code
                == 404
            )
        assert (counting["home"] / "docker-credential-counting.count").read_text() == "1"
        good[0] = "secret-2"
        assert client.transport(url).send(Call("GET", url), Watch()).status_code == 404
        good[0] = "never"
        if refusal.status == 403:  # the registry's own words are the better error
            assert client.transport(url).send(Call("GET", url), Watch()).status_code == 403
        else:
            with pytest.raises(AuthorizationError) as caught:
                client.transport(url).send(Call("GET", url), Watch())
            assert "docker-credential-counting" in caught.value.message
        assert (counting["home"] / "docker-credential-counting.count").read_text() == "3"


@posix
def test_a_403_to_a_head_may_be_a_secret_that_lapsed(counting):
    good = ["secret-1"]

    def respond(request):
        given = request.headers.get("authorization")
        if given is None:
            return Answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
        return Answer(404 if given == basic(good[0]) else 403)

    with Server(respond) as server:
        client = Client(server.host, insecure=True, settings=Settings(**counting))
        url = f"{server.url}/v2/a/blobs/x"
        answers = []
        for good[0] in ("secret-1", "secret-2", "never"):
            answers.append(client.transport(url).send(Call("HEAD", url), Watch()).status_code)
        assert answers == [404, 404, 403]
        assert (counting["home"] / "docker-credential-counting.count").read_text() == "3"
        assert len(server.seen) == 2 + 2 + 2


def test_any_other_403_is_final():
    body = b'{"errors":[{"code":"DENIED","message":"quota exceeded"}]}'
    with Scripted({"GET .*": Answer(403, body=body), "HEAD .*": Answer(403)}) as server:
        client = Client(
            server.host, insecure=True, settings=Settings(credentials={server.host: Credential("a", SECRET)})
        )
        url = f"{server.url}/v2/a/blobs/x"
        for method in ("GET", "HEAD"):
            assert client.transport(url).send(Call(method, url), Watch()).status_code == 403
        assert len(server.seen) == 2


@posix
def test_a_token_service_that_refuses_a_lapsed_secret_sees_a_new_one(counting):
    good = ["secret-2"]

    def grant(request):
        return granted() if request.headers["authorization"] == basic(good[0]) else Answer(401)

    with Service(grant) as server:
        client = server.client(**counting)
        assert server.ask(client, "POST", "/v2/a/blobs/uploads/").status_code == 404
        assert len(server.requests("GET", "/token")) == 2


# Where secrets may not be seen.


@pytest.mark.fault(46)
def test_no_secret_is_in_a_log_a_repr_or_a_traceback(caplog):
    caplog.set_level(logging.DEBUG)
    for grant in (lambda request: Answer(401), lambda request: granted(SECRET + "-token"), lambda request: Answer(200)):
        for credential in (Credential("ada", SECRET), IDENTITY, Credential(registry_token=SECRET)):
            with Service(grant) as server:
                client = server.client(credential)
                try:
                    server.ask(client)
                except RegistryError as error:
                    chain = [error, error.__cause__, error.__context__]
                    assert not any(SECRET in repr(link) or SECRET in str(link) for link in chain)
                for held in (client.settings, client.auth.keychain, client.auth._tokens, client.auth._credentials):
                    assert SECRET not in repr(held)
    assert SECRET not in caplog.text
    assert "has its tokens from" in caplog.text


@pytest.mark.fault(38)
def test_a_realm_that_is_refused_hears_nothing():
    with Scripted({"GET .*": granted(), "POST .*": granted()}) as evil, Service(numbered()) as server:
        server.challenge = f'Bearer realm="{evil.url.replace("127.0.0.1", "evil@127.0.0.1")}/token"'
        for credential in (Credential("ada", SECRET), IDENTITY):
            with pytest.raises(RegistryError) as caught:
                server.ask(server.client(credential))
            assert caught.value.code == "realm-refused"
        assert evil.seen == []


def elsewhere(other):
    return Answer(307, {"Location": f"{other.url}/token"})


@pytest.mark.fault(38)
def test_a_realm_that_redirects_keeps_the_credentials_to_itself():
    with Scripted({"GET .*": granted()}) as other, Service(lambda request: elsewhere(other)) as server:
        with pytest.raises(RegistryError) as caught:
            server.ask(server.client(Credential("ada", SECRET)))
        assert other.seen == []
    assert caught.value.code == "token-failed"


def test_another_registry_hears_nothing_of_this_one_s_login():
    with Service(numbered()) as first, Service(numbered()) as second:
        client = first.client(Credential("ada", SECRET))
        first.ask(client)
        second.ask(client)
        assert all("Basic" not in str(request.headers) for request in second.seen)
        assert second.requests("HEAD")[0].headers.get("authorization") is None


def test_an_auth_of_its_own_has_no_credentials():
    auth = Auth()
    assert auth.header(Origin.of("https://r.example"), frozenset(), lambda *words: Response()) is None
    assert Keychain({}, {}, None).find("r.example") is None
