"""Pages of other sites, which a browser carries as far as localhost. Fetch Metadata Request Headers (W3C); RFC 9110, 15.5.20."""

from __future__ import annotations

import http.client
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from werkzeug.test import Client

from ocibuild.api.serve import Serving, serve
from ocibuild.serve.browser import Browsers, is_local

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def reached(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("299 Reached", [])
    return [b""]


def status(method: str, host: str, *, is_local: bool = True, **headers: str) -> int:
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    client = Client(Browsers(reached, is_local=is_local))
    return client.open("/v2/a/blobs/uploads/", method=method, headers={"Host": host, **said}).status_code


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.parametrize("host", ["localhost:5000", "registry.example.com", "evil.example:5000"])
def test_container_clients_are_not_concerned(method: str, host: str) -> None:
    assert status(method, host) == 299


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "said",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},  # another port of localhost is another program's
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "null"},
        {"Origin": "http://localhost:5000", "Sec_Fetch_Site": "cross-site"},
    ],
)
def test_another_sites_page_changes_nothing(method: str, said: dict[str, str]) -> None:
    assert status(method, "localhost:5000", **said) == 403
    assert status(method, "localhost:5000", is_local=False, **said) == 403


def test_a_link_from_elsewhere_and_our_own_page_may_read() -> None:
    assert status("GET", "localhost:5000", Sec_Fetch_Site="cross-site") == 299
    assert status("GET", "localhost:5000", Sec_Fetch_Site="same-origin") == 299
    assert status("POST", "localhost:5000", Sec_Fetch_Site="same-origin", Origin="http://localhost:5000") == 299


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_strangers_name_for_this_machine_is_misdirected(method: str) -> None:
    said = {"Sec_Fetch_Site": "same-origin", "Origin": "http://evil.example:5000"}
    assert status(method, "evil.example:5000", **said) == 421
    # Beyond loopback a registry has whatever name it was given.
    assert status(method, "evil.example:5000", is_local=False, **said) == 299


@pytest.mark.parametrize(
    "host, known",
    [
        ("localhost", True),
        ("LOCALHOST:5000", True),
        ("localhost.", True),
        ("127.0.0.1:5000", True),
        ("[::1]:5000", True),
        ("registry:5000", True),
        ("hub.localhost:1", True),
        ("host.docker.internal:5000", True),
        ("laptop.local", True),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example", False),
    ],
)
def test_names_of_this_machine(host: str, known: bool) -> None:
    assert is_local(host) is known


def test_the_registry_that_is_started_stands_behind_it(tmp_path: Path) -> None:
    with serve(Serving(folder=tmp_path, port=0)) as served:
        port = int(served.address.rpartition(":")[2])
        for host, expected in ((f"localhost:{port}", 200), (f"evil.example:{port}", 421)):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/v2/", headers={"Host": host, "Sec-Fetch-Site": "same-origin"})
            assert connection.getresponse().status == expected
            connection.close()
