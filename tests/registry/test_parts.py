"""The small parts: origins, proxies, pauses, TLS contexts."""

import pytest

from ocibuild.errors import RegistryError, UsageError
from ocibuild.registry import tls
from ocibuild.registry.gate import retry_after
from ocibuild.registry.origin import Origin, follow, public
from ocibuild.registry.proxy import proxies
from ocibuild.registry.settings import Settings

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


# TLS.


def test_a_ca_file_that_is_none(tmp_path):
    (tmp_path / "ca.pem").write_text("not a certificate")
    for path in ("ca.pem", "missing.pem"):
        with pytest.raises(UsageError) as caught:
            tls.context(Settings(ca_file=str(tmp_path / path)))
        assert caught.value.code == "ca-file-invalid"
    with pytest.raises(UsageError):
        tls.context(Settings(environ={"SSL_CERT_FILE": str(tmp_path / "ca.pem")}))


# How near an address is: nothing is followed nearer than where it came from.


@pytest.mark.parametrize(
    "host, nearness",
    [
        ("r.example", 0),
        ("93.184.216.34", 0),
        ("[2606:2800:220:1::1]", 0),
        ("10.1.2.3", 1),
        ("192.168.1.1", 1),
        ("[fd00::1]", 1),
        ("127.0.0.1", 2),
        ("127.1", 2),  # what resolvers take for 127.0.0.1
        ("2130706433", 2),
        ("0x7f.0.0.1", 2),
        ("0.0.0.0", 2),
        ("169.254.169.254", 2),
        ("[::1]", 2),
        ("[::ffff:127.0.0.1]", 2),
        ("[::ffff:169.254.169.254]", 2),
        ("[fe80::1]", 2),
        ("localhost", 2),
        ("localhost.", 2),
        ("r.localhost", 2),
    ],
)
def test_how_near_an_address_is(host, nearness):
    assert Origin.of(f"https://{host}/").nearness == nearness


@pytest.mark.fault(28)
@pytest.mark.parametrize(
    "here, there, is_followed",
    [
        ("https://r.example/", "https://cdn.example/", True),
        ("https://10.0.0.1/", "https://10.0.0.2/", True),
        ("https://10.0.0.1/", "https://cdn.example/", True),
        ("http://127.0.0.1:1/", "http://127.0.0.1:2/", True),
        ("https://r.example/", "https://10.0.0.1/", False),
        ("https://10.0.0.1/", "https://127.0.0.1/", False),
        ("https://10.0.0.1/", "http://169.254.169.254/latest/meta-data", False),
        ("https://r.example/", "https://127.1/", False),
        ("https://r.example/", "https://[::ffff:10.0.0.1]/", False),
        ("https://r.example/", "file:///etc/passwd", False),
    ],
)
def test_what_is_followed(here, there, is_followed):
    if is_followed:
        assert follow(here, there) == there
    else:
        with pytest.raises(RegistryError) as caught:
            follow(here, there)
        assert caught.value.code == "location-refused"
