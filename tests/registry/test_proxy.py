"""Proxies: what goes through them, what they never hear, and what is said when they refuse."""

import base64
import importlib.machinery
import socket
import sys
import types

import pytest
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

from ocibuild.content.blob import Blob
from ocibuild.errors import NetworkError, UsageError
from ocibuild.registry import problem
from ocibuild.registry.credentials import Credential
from ocibuild.registry.proxy import proxies
from ocibuild.registry.settings import Patience, Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.reference import Reference
from ocibuild.store.base import fetch
from tests.registry.authority import Authority
from tests.registry.double import Registry
from tests.registry.scripted import PLANTED, Answer, Scripted
from tests.registry.tunnel import Proxy

BLOB = Blob.of(mediatype.LAYER, b"some bytes")
ONCE = Patience(attempts=1)


@pytest.fixture
def authority(part, tmp_path):
    return Authority(part("openssl"), tmp_path / "authority")


def registry(authority: Authority, *hosts: str) -> Registry:
    server = Registry(user="ada", password=PLANTED)
    server.blobs["a", BLOB.descriptor.digest] = BLOB.content.data
    server.tls = authority.serving(*(hosts or ("DNS:r.example",)))
    return server


def read(authority: Authority, environ: dict[str, str], host: str = "r.example", **settings) -> bytes:
    known = {
        "ca_file": str(authority.certificate),
        "environ": environ,
        "patience": ONCE,
        "credentials": {host: Credential("ada", PLANTED)},
        **settings,
    }
    return fetch(RegistryStore(Reference.parse(f"{host}/a:1"), Settings(**known)), BLOB.descriptor)


def test_a_tunnel_leads_to_the_registry_and_hears_no_secret(authority):
    with registry(authority) as server, Proxy(server.host) as proxy:
        server_realm = server.host  # the token's realm is the double's own address, which is loopback: not proxied
        environ = {"HTTPS_PROXY": f"http://{proxy.host}"}
        server.basic = True
        assert read(authority, environ) == BLOB.content.data
        assert proxy.seen[0].startswith("CONNECT r.example:443 HTTP/1.")
        assert server_realm not in "".join(proxy.seen)
        said = "".join(proxy.seen).lower()
        assert "\r\nauthorization" not in said
        assert base64.b64encode(f"ada:{PLANTED}".encode()).decode().lower() not in said


def test_a_login_is_decoded_and_for_the_proxy_alone(authority):
    wanted = "Basic " + base64.b64encode(b"me@home:p:w/d %").decode()
    with registry(authority) as server, Proxy(server.host, wanted=wanted) as proxy:
        server.basic = True
        environ = {"https_proxy": f"http://me%40home:p%3Aw%2Fd%20%25@{proxy.host}"}
        assert read(authority, environ) == BLOB.content.data
        assert all("proxy-authorization" not in request.headers for request in server.seen)


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    "status, code, word",
    [
        ("407 Proxy Authentication Required", "proxy-login", "login"),
        ("403 Forbidden", "proxy-refused", "403"),
        ("502 Bad Gateway", "proxy-refused", "502"),
    ],
)
def test_a_proxy_that_refuses_is_the_one_that_is_named(authority, status, code, word):
    with registry(authority) as server, Proxy(server.host, status=status) as proxy:
        with pytest.raises(NetworkError) as caught:
            read(authority, {"HTTPS_PROXY": f"http://me:{PLANTED}@{proxy.host}"})
        assert caught.value.code == code
        assert f"the proxy http://{proxy.host}" in caught.value.message
        assert word in caught.value.message
        assert PLANTED not in repr(caught.value) + str(caught.value.hint)


@pytest.mark.fault(16)
def test_a_proxy_that_wants_a_login_says_so_in_plain_http_too():
    with Registry() as server, Proxy(server.host, status="407 Proxy Authentication Required") as proxy:
        settings = Settings(plain_http=True, patience=ONCE, environ={"HTTP_PROXY": f"http://me:x@{proxy.host}"})
        with pytest.raises(NetworkError) as caught:
            RegistryStore(Reference.parse("r.example/a:1"), settings).exists(BLOB.descriptor)
    assert caught.value.code == "proxy-login"


@pytest.mark.fault(16)
def test_a_proxy_that_is_not_there():
    with pytest.raises(NetworkError) as caught:
        RegistryStore(
            Reference.parse("r.example/a:1"), Settings(patience=ONCE, environ={"ALL_PROXY": "http://127.0.0.1:9"})
        ).exists(BLOB.descriptor)
    assert caught.value.code == "proxy-failed"
    assert "127.0.0.1:9" in caught.value.message


def test_a_proxy_over_tls(authority):
    with registry(authority) as server, Proxy(server.host, tls=authority.serving()) as proxy:
        server.basic = True
        assert read(authority, {"HTTPS_PROXY": f"https://{proxy.host}"}) == BLOB.content.data
        assert proxy.seen[0].startswith("CONNECT r.example:443")


def test_plain_http_through_a_proxy_over_tls(authority):
    with Registry() as server, Proxy(server.host, tls=authority.serving()) as proxy:
        server.blobs["a", BLOB.descriptor.digest] = BLOB.content.data
        environ = {"HTTP_PROXY": f"https://{proxy.host}"}
        assert read(authority, environ, plain_http=True) == BLOB.content.data
        assert proxy.seen[0].startswith("GET http://r.example/v2/a/blobs/")


def test_insecure_is_said_of_the_registry_and_not_of_the_proxy(authority):
    with registry(authority) as server, Proxy(server.host, tls=authority.serving()) as proxy:
        with pytest.raises(NetworkError):
            read(authority, {"HTTPS_PROXY": f"https://{proxy.host}"}, ca_file=None, insecure=True)
        assert server.seen == []


def test_a_redirect_is_asked_anew_which_proxy_it_takes(authority, monkeypatch):
    with Scripted({"GET /blob": Answer(200, body=BLOB.content.data)}) as far:
        where = {"Location": f"https://cdn.example:{far.host.rpartition(':')[2]}/blob"}
        with Scripted({"GET /v2/a/.*": Answer(307, where)}) as near, Proxy(near.host) as proxy:
            near.tls, far.tls = authority.serving("DNS:r.example"), authority.serving("DNS:cdn.example")
            asked = []

            def lookup(host, port, *rest, **more):
                asked.append(host)
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

            monkeypatch.setattr(socket, "getaddrinfo", lookup)
            environ = {"HTTPS_PROXY": f"http://{proxy.host}", "NO_PROXY": "cdn.example"}
            assert read(authority, environ) == BLOB.content.data
            assert [head.split()[1] for head in proxy.seen] == ["r.example:443"]
            assert set(asked) == {"127.0.0.1", "cdn.example"}  # the proxy asks for its own target too


@pytest.mark.fault(17)
def test_loopback_is_never_proxied():
    with Registry() as server, Proxy(server.host) as proxy:
        server.blobs["a", BLOB.descriptor.digest] = BLOB.content.data
        environ = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), f"http://{proxy.host}")
        store = RegistryStore(Reference.parse(f"{server.host}/a:1"), Settings(environ=environ))
        assert fetch(store, BLOB.descriptor) == BLOB.content.data
        assert proxy.seen == []


# The variables.


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "socks5h"])
def test_socks_needs_a_package(monkeypatch, scheme):
    monkeypatch.setitem(sys.modules, "socks", None)
    with pytest.raises(UsageError) as caught:
        proxies("https://r.example/", {"ALL_PROXY": f"{scheme}://127.0.0.1:1080"})
    assert caught.value.code == "proxy-unsupported"


def test_a_socks_proxy_that_is_not_there_is_the_one_that_is_named(monkeypatch):
    package = types.ModuleType("socks")  # PySocks is not needed to read its failure
    package.__spec__ = importlib.machinery.ModuleSpec("socks", None)
    monkeypatch.setitem(sys.modules, "socks", package)
    settings = Settings(environ={"ALL_PROXY": f"socks5h://me:{PLANTED}@127.0.0.1:9"})
    failure = NewConnectionError(HTTPConnection("r.example"), "Connection refused")
    error = problem.unreachable(failure, "http://r.example/v2/", settings)
    assert error.code == "proxy-failed"
    assert "the proxy socks5h://127.0.0.1:9" in error.message
    assert PLANTED not in repr(error)


@pytest.mark.parametrize("value", ["http://", "ftp://p:1", "http://p:port", "http://me:planted-password@:99999", "://"])
def test_what_is_no_proxy_is_not_repeated(value):
    with pytest.raises(UsageError) as caught:
        proxies("https://r.example/", {"HTTPS_PROXY": value})
    assert caught.value.code == "proxy-invalid"
    assert "HTTPS_PROXY" in caught.value.message
    assert "planted-password" not in repr(caught.value)


@pytest.mark.fault(17)
@pytest.mark.parametrize(
    "url, no_proxy, direct",
    [
        ("https://r.example/", "other.example r.example", True),
        ("https://r.example/", "other.example,\tR.Example", True),
        ("https://a.r.example/", "*.r.example", True),
        ("https://r.example/", "example", True),
        ("https://rexample/", "example", False),
        ("https://r.example:5000/", "r.example:5001", False),
        ("https://10.1.2.3/", "10.1.2.0/24", True),
        ("https://10.1.3.3/", "10.1.2.0/24", False),
        ("https://10.1.2.3/", "10.1.2", False),
        ("https://[fd00:0:0::1]/", "fd00::1", True),
        ("https://[fd00::1]:5000/", "[fd00::1]:5000", True),
        ("https://[fd00::1]:5000/", "[fd00::1]:5001", False),
        ("https://[fd01::1]/", "fd00::/16", False),
        ("https://r.example/", "10.0.0.0/8,not/a/network", False),
    ],
)
def test_no_proxy(url, no_proxy, direct):
    assert (proxies(url, {"HTTPS_PROXY": "http://p:1", "no_proxy": no_proxy}) == {}) is direct
