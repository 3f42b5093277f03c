"""Connecting: all addresses in one race, within bounds, and called off at once."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest

from ocibuild.content.blob import Blob
from ocibuild.content.flow import Cancel
from ocibuild.errors import Cancelled, NetworkError
from ocibuild.registry import dial as dialling
from ocibuild.registry.dial import alternating, dial
from ocibuild.registry.settings import Patience, Settings, Timeouts
from ocibuild.registry.store import RegistryStore
from ocibuild.spec import mediatype
from ocibuild.spec.reference import Reference
from tests.registry.scripted import Answer, Scripted

BLOB = Blob.of(mediatype.LAYER, b"some bytes")


@contextmanager
def black_hole(family=socket.AF_INET6, host="::1"):
    """A socket address of loopback that answers no connection: its queue is full."""
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen(0)
        waiting = [socket.socket(family) for _ in range(3)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        time.sleep(0.05)
        yield listener.getsockname()
        for sock in waiting:
            sock.close()


@pytest.fixture
def names(monkeypatch):
    """`names[...]` are what r.example resolves to; every lookup is kept under "asked"."""
    table: dict[str, list] = {"r.example": [], "asked": []}

    def lookup(host, port, **more):
        table["asked"].append(host)
        return [
            ((len(address) == 4 and socket.AF_INET6) or socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in table["r.example"]
        ]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return table


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


@pytest.mark.fault(5)
def test_a_black_hole_first_costs_a_fraction_of_a_second(names, listener):
    with black_hole() as hole:
        names["r.example"] = [hole, listener.getsockname()]
        began = time.monotonic()
        with dial("r.example", 1, 10, None, None) as sock:
            assert sock.getpeername() == listener.getsockname()
        assert 0.2 < time.monotonic() - began < 1


def test_a_refusal_lets_the_next_start_at_once(names, listener):
    names["r.example"] = [("::1", 9, 0, 0), listener.getsockname()]
    began = time.monotonic()
    dial("r.example", 1, 10, None, None).close()
    assert time.monotonic() - began < dialling.STAGGER


def test_the_first_is_kept_when_it_answers(names, listener):
    with black_hole() as hole:
        names["r.example"] = [listener.getsockname(), hole]
        with dial("r.example", 1, 10, None, None) as sock:
            assert sock.getpeername() == listener.getsockname()


def test_families_take_turns():
    four, six = [(socket.AF_INET, 1, 6, n) for n in "abc"], [(socket.AF_INET6, 1, 6, n) for n in "12"]
    assert [each[3] for each in alternating([*six, *four])] == ["1", "a", "2", "b", "c"]
    assert [each[3] for each in alternating([*four, *six])] == ["a", "1", "b", "2", "c"]


@pytest.mark.fault(4)
def test_black_holes_only_end_in_time(names):
    with black_hole() as one, black_hole(socket.AF_INET, "127.0.0.1") as two:
        names["r.example"] = [one, two]
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            dial("r.example", 1, 0.5, None, None)
        assert 0.5 <= time.monotonic() - began < 2


@pytest.mark.fault(4)
def test_many_addresses_have_one_bound(names, monkeypatch):
    monkeypatch.setattr(dialling, "LONGEST", 0.8)
    with black_hole() as hole:
        names["r.example"] = [hole] * 50
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            dial("r.example", 1, 10, None, None)
        assert time.monotonic() - began < 2


def test_nobody_listens_anywhere(names):
    names["r.example"] = [("::1", 9, 0, 0), ("127.0.0.1", 9)]
    with pytest.raises(ConnectionRefusedError):
        dial("r.example", 1, 10, None, None)


def test_cancel_ends_a_race(names):
    cancel = Cancel()
    with black_hole() as hole:
        names["r.example"] = [hole]
        threading.Timer(0.2, cancel.set).start()
        began = time.monotonic()
        with pytest.raises(Cancelled):
            dial("r.example", 1, 10, None, cancel)
        assert time.monotonic() - began < 1


def test_cancel_ends_the_lookup_of_a_name(monkeypatch):
    cancel, ended = Cancel(), threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **more: ended.wait(20) and [])
    threading.Timer(0.2, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        dial("r.example", 1, 10, None, cancel)
    assert time.monotonic() - began < 1
    ended.set()


def test_a_name_no_resolver_takes(monkeypatch):
    with pytest.raises(socket.gaierror):
        dial(f"{'a' * 64}.example", 1, 10, None, None)


def test_a_connection_that_lost_the_race_is_closed(names, listener):
    with black_hole() as hole:
        names["r.example"] = [hole, listener.getsockname()]
        dial("r.example", 1, 10, None, None).close()  # an unclosed socket would be a warning, and so a failure


# Addresses in references.


def exists(host: str, **settings) -> bool:
    known = {"patience": Patience(attempts=1), "timeouts": Timeouts(connect=2), **settings}
    return RegistryStore(Reference.parse(f"{host}/a:1"), Settings(**known)).exists(BLOB.descriptor)


@pytest.mark.fault(6)
def test_an_address_of_ipv6():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        heads = []

        def serve():
            sock, _ = server.accept()
            with sock:
                heads.append(sock.recv(4096))
                sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        assert exists(f"[::1]:{port}") is False
        thread.join(5)
        assert f"Host: [::1]:{port}\r\n".encode() in heads[0]


@pytest.mark.fault(6)
def test_a_zone_is_for_the_system_and_not_for_the_registry(names):
    with Scripted({"HEAD /v2/a/.*": Answer(404)}) as server:
        host, _, port = server.host.partition(":")
        names["r.example"] = [(host, int(port))]
        assert exists(f"[fe80::1%eth0]:{port}", plain_http=True) is False
        assert names["asked"] == ["fe80::1%eth0"]
        assert server.seen[0].headers["host"] == f"[fe80::1]:{port}"


@pytest.mark.fault(4)
def test_a_registry_behind_a_black_hole_is_a_timeout(names):
    with black_hole() as hole:
        names["r.example"] = [hole]
        with pytest.raises(NetworkError) as caught:
            exists("r.example", timeouts=Timeouts(connect=0.3))
        assert caught.value.code == "timeout"
