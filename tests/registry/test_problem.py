"""What a registry's refusals and the network's failures are called. distribution-spec, "Error Codes"."""

from __future__ import annotations

import json
import socket
import ssl

import pytest
from requests import Response
from requests.exceptions import ConnectionError as Lost
from requests.exceptions import ProxyError

from ocibuild.errors import AuthorizationError, NetworkError, RegistryError
from ocibuild.registry import problem, realm
from ocibuild.registry.auth import Auth
from ocibuild.registry.origin import Origin


def answer(status: int, body: object = b"", kind: str = "application/json") -> Response:
    response = Response()
    response.status_code = status
    response.url = "https://registry.example.com/v2/app/blobs/x?signature=secret"
    response.headers["Content-Type"] = kind
    response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return response


def errors(code: str, message: str = "words of the registry") -> dict[str, object]:
    return {"errors": [{"code": code, "message": message}]}


@pytest.mark.parametrize(
    "status, name, code",
    [
        (404, "NAME_UNKNOWN", "repository-unknown"),
        (400, "NAME_INVALID", "repository-invalid"),
        (400, "TAG_INVALID", "tag-refused"),
        (400, "MANIFEST_INVALID", "manifest-refused"),
        (404, "MANIFEST_BLOB_UNKNOWN", "blob-unknown"),
        (404, "BLOB_UPLOAD_UNKNOWN", "upload-lost"),
        (400, "DIGEST_INVALID", "digest-mismatch"),
        (400, "SIZE_INVALID", "size-mismatch"),
        (405, "UNSUPPORTED", "unsupported"),
        (429, "TOOMANYREQUESTS", "rate-limited"),
        (400, "SOMETHING_ELSE", "registry-refused"),
    ],
)
def test_the_registrys_own_codes_are_kept_apart(status: int, name: str, code: str) -> None:
    error = problem.refusal(answer(status, errors(name)), "to store it")
    assert isinstance(error, RegistryError)
    assert error.code == code
    assert "registry.example.com refused to store it" in str(error)
    assert "words of the registry" in str(error)


@pytest.mark.parametrize(
    "status, body, code",
    [
        (404, b"", "repository-unknown"),
        (413, b"", "too-large"),
        (429, b"", "rate-limited"),
        (500, b"", "registry-failing"),
        (503, b"<html><title>Down</title></html>", "registry-failing"),
        (418, b"", "registry-refused"),
        (400, b"Client sent an HTTP request to an HTTPS server.", "https-expected"),  # Go's net/http says so
    ],
)
def test_without_a_code_the_status_tells(status: int, body: bytes, code: str) -> None:
    kind = "text/html" if b"<html" in body else "text/plain"
    assert problem.refusal(answer(status, body, kind), "to store it").code == code


@pytest.mark.parametrize("status, code", [(401, "unauthorized"), (403, "forbidden")])
def test_who_is_asking_is_an_error_of_its_own(status: int, code: str) -> None:
    error = problem.refusal(answer(status, errors("DENIED")), "to store it")
    assert isinstance(error, AuthorizationError)
    assert (error.code, error.exit_status) == (code, 4)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"errors": 1}', b'{"errors": [1]}', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_list_of_errors_does_no_harm(body: bytes) -> None:
    assert problem.refusal(answer(400, body), "to store it").code == "registry-refused"


def test_words_of_strangers_are_cleaned_and_cut() -> None:
    words = "\x1b[2Jsee https://user:word@cdn.example.com/blob?X-Signature=secret " + "x" * 5000
    error = problem.refusal(answer(400, errors("DENIED", words)), "to store it")
    assert "\x1b" not in str(error)
    assert "secret" not in str(error)
    assert "user:word" not in str(error)
    assert len(str(error)) < 1000


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError("certificate verify failed")
    error.verify_message = "self-signed certificate"  # OpenSSL's binding sets it
    return error


@pytest.mark.parametrize(
    "cause, code",
    [
        (socket.gaierror(socket.EAI_NONAME, "not known"), "dns-failed"),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), "dns-unavailable"),
        (ConnectionRefusedError(), "connection-refused"),
        (TimeoutError(), "timeout"),
        (ConnectionResetError(), "connection-lost"),
        (untrusted(), "tls-untrusted"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "tls-expected"),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_PROTOCOL_VERSION] alert"), "tls-too-old"),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_INTERNAL_ERROR] alert"), "tls-failed"),
    ],
)
def test_the_networks_failures_are_told_by_their_cause(cause: Exception, code: str) -> None:
    wrapped = Lost("wrapped")
    wrapped.__cause__ = cause
    error = problem.unreachable(wrapped, "https://registry.example.com/v2/")
    assert isinstance(error, NetworkError)
    assert (error.code, error.exit_status) == (code, 5)


def test_a_proxy_that_fails_is_named() -> None:
    assert problem.unreachable(ProxyError("no"), "https://registry.example.com/v2/").code == "proxy-failed"


def test_credentials_without_a_host_are_refused() -> None:
    with pytest.raises(AuthorizationError) as caught:
        Auth().set_basic_auth("me", "word")
    assert caught.value.code == "credentials-unbound"


@pytest.mark.parametrize(
    "address, registry",
    [
        ("http://auth.example.com/token", "https://registry.example.com"),  # a token over plain http
        ("http://elsewhere.example.com/token", "http://registry.example.com"),
        ("https://10.0.0.1/token", "https://registry.example.com"),  # a public registry that points inside
        ("https://localhost/token", "https://registry.example.com"),
    ],
)
def test_credentials_are_not_sent_where_a_challenge_should_not_point(address: str, registry: str) -> None:
    with pytest.raises(RegistryError) as caught:
        realm.checked(address, Origin.of(registry), {})
    assert caught.value.code == "realm-refused"
