"""Certificates: whose are trusted, which are shown to whom, and what is said when a handshake fails."""

import itertools
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Cancel, Flow
from ocibuild.errors import Cancelled, NetworkError, RegistryError, UsageError
from ocibuild.registry import certs
from ocibuild.registry.origin import Origin
from ocibuild.registry.settings import Certificate, Patience, Settings, Timeouts
from ocibuild.registry.store import RegistryStore
from ocibuild.registry.tls import Contexts
from ocibuild.spec import mediatype
from ocibuild.spec.reference import Reference
from ocibuild.store.base import fetch
from tests.registry.authority import Authority
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Scripted, Server

BLOB = Blob.of(mediatype.LAYER, b"some bytes")
ONCE = Patience(attempts=1)


@pytest.fixture
def authority(part, tmp_path):
    return Authority(part("openssl"), tmp_path / "authority")


@pytest.fixture
def other(part, tmp_path):
    return Authority(part("openssl"), tmp_path / "other", "Another authority")


def have(server: Server, context: ssl.SSLContext) -> Server:
    server.tls = context
    if isinstance(server, Registry):
        server.blobs["a", BLOB.descriptor.digest] = BLOB.content.data
    return server


def store(server: Server, tmp_path: Path, **settings) -> RegistryStore:
    known = {"plain_http": False, "patience": ONCE, "home": tmp_path / "home", "system": tmp_path / "etc", **settings}
    return RegistryStore(Reference.parse(f"{server.host}/a:1"), Settings(**known))


def read(server: Server, tmp_path: Path, **settings) -> bytes:
    return fetch(store(server, tmp_path, **settings), BLOB.descriptor)


def place(folder: Path, **files: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        shutil.copy(path, folder / name.replace("_", "."))
    return folder


def failing(server: Server, tmp_path: Path, **settings) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        read(server, tmp_path, **settings)
    return caught.value


# Whom we trust.

FOLDERS = ["home/.config/containers", "home/.config/docker", "etc/containers", "etc/docker", "etc/containerd"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_authorities_in_every_folder_of_certificates(authority, tmp_path, folder):
    with have(Registry(), authority.serving()) as server:
        assert failing(server, tmp_path).code == "tls-untrusted"
        place(tmp_path / folder / "certs.d" / server.host, ca_crt=authority.certificate)
        assert read(server, tmp_path) == BLOB.content.data


@pytest.mark.parametrize("nearer, farther", list(itertools.pairwise(FOLDERS)))
def test_the_first_folder_that_exists_is_the_one_that_counts(authority, tmp_path, nearer, farther):
    with have(Registry(), authority.serving()) as server:
        first = place(tmp_path / nearer / "certs.d" / server.host)
        place(tmp_path / farther / "certs.d" / server.host, ca_crt=authority.certificate)
        error = failing(server, tmp_path)
        assert error.code == "tls-untrusted"
        assert str(first) in error.message
        place(first, ca_crt=authority.certificate)
        assert read(server, tmp_path) == BLOB.content.data


def test_the_folder_of_another_port_is_another_registry_s(authority, tmp_path):
    with have(Registry(), authority.serving()) as server:
        place(tmp_path / "etc/docker/certs.d/127.0.0.1", ca_crt=authority.certificate)
        assert failing(server, tmp_path).code == "tls-untrusted"


@pytest.mark.parametrize(
    "url, names",
    [
        ("https://r.example", ("r.example", "r.example:443")),
        ("https://r.example:5000", ("r.example:5000",)),
        ("https://registry-1.docker.io", ("docker.io", "registry-1.docker.io", "index.docker.io")),
        ("https://[fd00::1]:5000", ("[fd00::1]:5000",)),
    ],
)
def test_what_folders_are_named(url, names):
    assert certs.names(Origin.of(url)) == names


def test_xdg_s_folder_stands_in_for_the_home_s(authority, tmp_path):
    with have(Registry(), authority.serving()) as server:
        place(tmp_path / "xdg/containers/certs.d" / server.host, ca_crt=authority.certificate)
        assert read(server, tmp_path, environ={"XDG_CONFIG_HOME": str(tmp_path / "xdg")}) == BLOB.content.data


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_variables_that_name_a_file(authority, tmp_path, variable):
    with have(Registry(), authority.serving()) as server:
        assert read(server, tmp_path, environ={variable: str(authority.certificate)}) == BLOB.content.data


def test_the_variable_that_names_folders(authority, other, tmp_path):
    folders = [place(tmp_path / "one", ca_pem=other.certificate), place(tmp_path / "two", ca_crt=authority.certificate)]
    environ = {"SSL_CERT_DIR": os.pathsep.join([str(tmp_path / "gone"), *map(str, folders)])}
    with have(Registry(), authority.serving()) as server:
        assert read(server, tmp_path, environ=environ) == BLOB.content.data


def test_a_folder_of_hashed_names(part, authority, tmp_path):
    folder = place(tmp_path / "hashed", ca_pem=authority.certificate)
    asked = [part("openssl"), "x509", "-noout", "-hash", "-in", str(authority.certificate)]
    name = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    (folder / "ca.pem").rename(folder / f"{name}.0")
    with have(Registry(), authority.serving()) as server:
        assert read(server, tmp_path, environ={"SSL_CERT_DIR": str(folder)}) == BLOB.content.data


def test_a_certificate_that_is_named_itself_is_trusted(authority, tmp_path):
    # As in docker and Go: what is in certs.d need not be an authority's.
    certificate, key = authority.issue("leaf", "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with have(Registry(), context) as server:
        assert read(server, tmp_path, ca_file=str(certificate)) == BLOB.content.data


def test_insecure_is_said_of_one_registry(authority, tmp_path):
    with have(Registry(), authority.serving()) as server, have(Registry(), authority.serving()) as stranger:
        conf = place(tmp_path / "etc/containers") / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{server.host}"\ninsecure = true\n')
        assert read(server, tmp_path) == BLOB.content.data
        assert failing(stranger, tmp_path).code == "tls-untrusted"


@pytest.mark.fault(8)
def test_insecure_is_http_too_where_nobody_speaks_tls(tmp_path):
    with Registry() as server:
        server.blobs["a", BLOB.descriptor.digest] = BLOB.content.data
        # As for a host that is not on loopback: there https comes first.
        conf = place(tmp_path / "etc/containers") / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{server.host}"\ninsecure = true\n')
        hosts = place(tmp_path / "etc/containerd/certs.d" / server.host) / "hosts.toml"
        hosts.write_text(f'server = "https://{server.host}"\n')
        assert read(server, tmp_path, plain_http=None) == BLOB.content.data
        conf.write_text("")
        assert failing(server, tmp_path, plain_http=None).code == "tls-expected"


@pytest.mark.fault(8)
@pytest.mark.parametrize("how", ["ca_file", "insecure", "certs.d"])
def test_on_loopback_what_is_said_of_trust_is_meant_for_tls(authority, tmp_path, how):
    said = {"ca_file": {"ca_file": str(authority.certificate)}, "insecure": {"insecure": True}}.get(how, {})
    with have(Registry(), authority.serving()) as secure, Registry() as plain:
        for server in (secure, plain):
            server.blobs["a", BLOB.descriptor.digest] = BLOB.content.data
            if how == "certs.d":
                place(tmp_path / "etc/docker/certs.d" / server.host, mine_crt=authority.certificate)
        assert read(secure, tmp_path, plain_http=None, **said) == BLOB.content.data
        assert read(plain, tmp_path, plain_http=None, **said) == BLOB.content.data, "http where no TLS is spoken"


@pytest.mark.fault(26, 34)
@pytest.mark.parametrize("what", ["a redirect", "an upload"])
def test_a_step_down_to_http_is_refused_before_anything_is_sent(authority, tmp_path, what):
    with Registry() as plain:
        away = f"http://localhost:{plain.host.rpartition(':')[2]}/v2/a/x"  # by another name, so no mere slip of a proxy
        script = {
            "GET .*": Answer(307, {"Location": away}),
            "HEAD .*": Answer(404),
            "POST .*": Answer(202, {"Location": away}),
        }
        with have(Scripted(script), authority.serving()) as server:
            target = store(server, tmp_path, ca_file=str(authority.certificate))
            with pytest.raises(RegistryError) as caught, Flow.open() as flow:
                fetch(target, BLOB.descriptor) if what == "a redirect" else target.push(BLOB, flow)
        assert caught.value.code == "location-refused"
        assert not plain.seen


@pytest.mark.parametrize("name", ["{0}", "127.0.0.1_{1}_", "_default"])
def test_containerd_s_file_speaks_of_the_registry_itself(authority, tmp_path, name):
    with have(Registry(), authority.serving()) as server:
        folder = name.format(server.host, server.host.rpartition(":")[2])
        hosts = place(tmp_path / "etc/containerd/certs.d" / folder, mine_pem=authority.certificate) / "hosts.toml"
        hosts.write_text('ca = "mine.pem"\n')
        assert read(server, tmp_path) == BLOB.content.data
        hosts.write_text("skip_verify = true\n")
        assert read(server, tmp_path) == BLOB.content.data
        hosts.write_text(f'server = "https://{server.host}"\nskip_verify = true\n')
        assert read(server, tmp_path, plain_http=None) == BLOB.content.data  # https on loopback: it says so
        hosts.write_text("skip_verify = false\n")
        assert failing(server, tmp_path).code == "tls-untrusted"


def test_the_default_s_trust_is_not_for_where_a_registry_leads(authority, tmp_path):
    with have(Registry(), authority.serving()) as far:
        url = f"{far.url}/v2/a/blobs/{BLOB.descriptor.digest}"
        with have(Scripted({"GET /v2/a/.*": Answer(307, {"Location": url})}), authority.serving()) as near:
            hosts = place(tmp_path / "etc/containerd/certs.d/_default") / "hosts.toml"
            hosts.write_text("skip_verify = true\n")
            error = failing(near, tmp_path)
        assert error.code == "tls-untrusted"
        assert far.host in error.message
        assert far.seen == []


# Who we are.


def test_a_client_certificate_out_of_a_folder(authority, other, tmp_path):
    certificate, key = other.issue("ada")
    with have(Registry(), authority.serving(clients=other.certificate)) as server:
        folder = place(tmp_path / "etc/docker/certs.d" / server.host, ca_crt=authority.certificate)
        assert failing(server, tmp_path).code == "client-certificate-missing"
        place(folder, client_cert=certificate, client_key=key)
        assert read(server, tmp_path) == BLOB.content.data
        assert (("commonName", "ada"),) in server.seen[0].shown["subject"]


def test_a_registry_that_misses_our_certificate_says_so(authority, other, tmp_path):
    context = authority.serving(clients=other.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # there it is said within the handshake
    with have(Registry(), context) as server:
        error = failing(server, tmp_path, ca_file=str(authority.certificate))
        assert error.code == "tls-failed"  # the alert leaves open what the handshake failed for
        assert "--cert" in error.hint


def test_a_client_certificate_of_the_wrong_authority(authority, other, tmp_path):
    certificate, key = authority.issue("ada")
    context = authority.serving(clients=other.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with have(Registry(), context) as server:
        ours = {server.host: Certificate(certificate, key)}
        error = failing(server, tmp_path, ca_file=str(authority.certificate), certificates=ours)
        assert error.code == "client-certificate-refused"


@pytest.mark.parametrize("said", ['"client.pem"', '["client.pem"]', '[["client.pem", ""]]', '[["ada.pem", "ada.key"]]'])
def test_a_client_certificate_out_of_containerd_s_file(authority, tmp_path, said):
    certificate, key = authority.issue("ada")
    with have(Registry(), authority.serving(clients=authority.certificate)) as server:
        folder = place(tmp_path / "etc/containerd/certs.d" / server.host, ca_pem=authority.certificate)
        place(folder, ada_pem=certificate, ada_key=key)
        (folder / "client.pem").write_bytes(certificate.read_bytes() + key.read_bytes())
        (folder / "hosts.toml").write_text(f'ca = "ca.pem"\nclient = {said}\n')
        assert read(server, tmp_path) == BLOB.content.data


@pytest.mark.fault(24)
def test_our_certificate_is_not_shown_to_where_a_registry_leads(authority, tmp_path):
    certificate, key = authority.issue("ada")
    wanting = authority.serving(clients=authority.certificate)
    asking = authority.serving(clients=authority.certificate)
    asking.verify_mode = ssl.CERT_OPTIONAL
    with have(Registry(), asking) as far:
        url = f"{far.url}/v2/a/blobs/{BLOB.descriptor.digest}"
        with have(Scripted({"GET /v2/a/.*": Answer(307, {"Location": url})}), wanting) as near:
            ours = {near.host: Certificate(certificate, key)}
            assert read(near, tmp_path, ca_file=str(authority.certificate), certificates=ours) == BLOB.content.data
            assert near.seen[0].shown
        assert [request.shown for request in far.seen] == [None]


def test_a_half_that_is_missing_is_named(tmp_path, authority):
    certificate, key = authority.issue("ada")
    with have(Registry(), authority.serving()) as server:
        folder = tmp_path / "etc/docker/certs.d" / server.host
        for half, path, missing in (("client_cert", certificate, "client.key"), ("client_key", key, "client.cert")):
            place(folder, **{half: path})
            with pytest.raises(UsageError) as caught:
                read(server, tmp_path)
            assert caught.value.code == "certs-invalid"
            assert str(folder / half.replace("_", ".")) in caught.value.message
            assert missing in caught.value.message
            shutil.rmtree(folder)


def test_client_certificates_that_cannot_be_used(tmp_path, authority):
    (certificate, key), (_, stranger) = authority.issue("ada"), authority.issue("eve")
    text = tmp_path / "text"
    text.write_text("no PEM")
    cases = [
        (certificate, stranger, "is not its key"),
        (certificate, authority.encrypt(key), "encrypted"),
        (certificate, tmp_path / "gone", "No such file"),
        (text, key, "not a certificate"),
    ]
    for first, second, why in cases:
        settings = Settings(certificates={"r.example": Certificate(first, second)})
        with pytest.raises(UsageError) as caught:
            Contexts(settings).of("https://r.example/v2/")
        assert caught.value.code == "client-certificate-invalid"
        assert why in caught.value.message


def test_one_context_for_all_connections_to_an_origin(authority, tmp_path):
    place(tmp_path / "etc/docker/certs.d/r.example", ca_crt=authority.certificate)
    contexts = Contexts(Settings(system=tmp_path / "etc"))
    assert contexts.of("https://r.example/v2/") is contexts.of("https://r.example/other?x=1")
    assert contexts.of("https://a.example/") is contexts.of("https://b.example/")
    assert contexts.of("https://a.example/") is not contexts.of("https://r.example/")


# What is said when it fails.


@pytest.mark.fault(7)
def test_an_untrusted_certificate_is_described(authority, tmp_path):
    with have(Registry(), authority.serving()) as server:
        error = failing(server, tmp_path)
    assert error.code == "tls-untrusted"
    for part in (
        "127.0.0.1",
        "issued by Tests, Authority of the tests",
        "valid until",
        str(tmp_path / "etc/docker/certs.d"),
    ):
        assert part in error.message, error.message
    assert "--ca-file" in error.hint


@pytest.mark.fault(7)
def test_an_expired_certificate(authority, tmp_path):
    with have(Registry(), authority.serving(days=-1)) as server:
        error = failing(server, tmp_path, ca_file=str(authority.certificate))
    assert error.code == "tls-untrusted"
    assert "expired" in error.message


@pytest.mark.fault(7)
def test_a_certificate_for_another_host(authority, tmp_path):
    with have(Registry(), authority.serving("DNS:r.example")) as server:
        error = failing(server, tmp_path, ca_file=str(authority.certificate))
    assert error.code == "tls-untrusted"
    assert "r.example" in error.message


@pytest.mark.fault(7)
def test_tls_that_is_too_old(authority, tmp_path):
    context = authority.serving()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is the point of it
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with have(Registry(), context) as server:
        assert failing(server, tmp_path, ca_file=str(authority.certificate)).code == "tls-too-old"


@contextmanager
def raw(answer: bytes | None):
    """A server that sends this at once, or nothing ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def serve() -> None:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                if answer is not None:
                    connection.recv(1024)
                    connection.sendall(answer)
                else:
                    ended.wait(20)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def ask(host: str, **settings) -> None:
    RegistryStore(Reference.parse(f"{host}/a:1"), Settings(**{"patience": ONCE, **settings})).exists(BLOB.descriptor)


@pytest.mark.fault(7)
def test_a_handshake_that_stalls():
    began = time.monotonic()
    with raw(None) as host, pytest.raises(NetworkError) as caught:
        ask(host, plain_http=False, timeouts=Timeouts(connect=0.5))
    assert caught.value.code == "timeout"
    assert "handshake" in caught.value.message
    assert time.monotonic() - began < 5


def test_cancel_ends_a_handshake():
    cancel = Cancel()
    threading.Timer(0.3, cancel.set).start()
    began = time.monotonic()
    settings = Settings(plain_http=False, patience=ONCE)
    with raw(None) as host, pytest.raises(Cancelled):
        RegistryStore(Reference.parse(f"{host}/a:1"), settings, cancel).exists(BLOB.descriptor)
    assert time.monotonic() - began < 2


@pytest.mark.fault(8)
def test_tls_where_plain_http_was_spoken():
    alert = bytes.fromhex("15030100020246")  # a fatal alert, as OpenSSL's and others' servers send it
    with raw(alert) as host, pytest.raises(RegistryError) as caught:
        ask(host)
    assert caught.value.code == "https-expected"


@pytest.mark.fault(8)
@pytest.mark.parametrize(
    "text, code",
    [
        (b"Client sent an HTTP request to an HTTPS server.\n", "https-expected"),  # Go
        (b"<title>400 The plain HTTP request was sent to HTTPS port</title>", "https-expected"),  # nginx
        (b"<title>400 No required SSL certificate was sent</title>", "client-certificate-missing"),  # nginx
    ],
)
def test_servers_that_say_in_http_what_is_wrong_with_tls(text, code):
    kind = "text/html" if b"<" in text else "text/plain"
    script = {"HEAD .*": Answer(400), "GET .*": Answer(400, {"Content-Type": kind}, text)}
    with Scripted(script) as server, pytest.raises(RegistryError) as caught:
        RegistryStore(Reference.parse(f"{server.host}/a:1"), Settings(patience=ONCE)).resolve()
    assert caught.value.code == code


# Records


@pytest.fixture
def line(authority):
    """Two ends of one TLS connection: the registry's, and ours."""
    ours, theirs = socket.socketpair()
    settings = Settings(ca_file=str(authority.certificate))
    made = {}

    def answer() -> None:
        made["theirs"] = authority.serving().wrap_socket(theirs, server_side=True)

    thread = threading.Thread(target=answer)
    thread.start()
    with Contexts(settings).of("https://127.0.0.1").wrap_socket(ours, server_hostname="127.0.0.1") as client:
        thread.join(20)
        client.settimeout(20)
        with made["theirs"] as server:
            yield server, client


def test_records_that_have_come_are_read_as_one(line):
    server, client = line
    for number in range(3):
        server.sendall(bytes([number]) * 1000)
    buffer = bytearray(5000)
    assert client.recv_into(buffer) == 3000  # and the end is not waited for
    assert buffer[:3000] == b"\0" * 1000 + b"\1" * 1000 + b"\2" * 1000
    server.sendall(b"x" * 10)
    assert client.recv_into(memoryview(buffer)[:4]) == 4
    assert client.recv_into(buffer, 3) == 3
    assert client.recv_into(buffer) == 3


def test_what_came_before_a_line_broke_is_read_before_that_is_told(line):
    server, client = line
    server.sendall(b"all that came")
    half = ssl.MemoryBIO()
    half.write(b"\x17\x03\x03\x00\x40 a record that is none of theirs, of sixty-four bytes in all, as it says")
    os.write(server.fileno(), half.read())
    buffer = bytearray(5000)
    assert client.recv_into(buffer) == 13
    with pytest.raises(ssl.SSLError):
        client.recv_into(buffer)
