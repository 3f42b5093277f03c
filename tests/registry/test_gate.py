"""Waiting for one host: by all threads together, in a smaller crowd afterwards, and not for ever."""

import io
import shutil
import threading
import time

import pytest

from ocibuild.content.flow import Cancel, Flow
from ocibuild.errors import Cancelled, NetworkError, RegistryError
from ocibuild.registry.deadline import Deadline
from ocibuild.registry.gate import Gate
from ocibuild.registry.settings import Patience, Settings, Timeouts
from ocibuild.registry.store import RegistryStore
from ocibuild.spec.descriptor import Descriptor
from ocibuild.spec.reference import Reference
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Raw, Scripted, Seen

BLOBS = [Descriptor.of("application/octet-stream", b"%d" % n) for n in range(200)]


@pytest.mark.fault(77)
def test_a_host_that_asks_for_a_pause_is_left_alone_by_all():
    class Busy(Registry):
        def __init__(self):
            super().__init__()
            self.times = []

        def respond(self, request: Seen) -> Answer:
            self.times.append(time.monotonic())
            return Answer(429, {"Retry-After": "1"}) if len(self.times) == 1 else Answer(404)

    with Busy() as registry, Flow.open() as flow:
        target = RegistryStore(Reference.parse(f"{registry.host}/a:1"), Settings())
        asked = [flow.io.submit(target.exists, BLOBS[0])]
        while not registry.times:
            time.sleep(0.005)
        time.sleep(0.1)
        asked += [flow.io.submit(target.exists, blob) for blob in BLOBS[1:8]]
        assert [future.result(20) for future in asked] == [False] * 8
        assert min(registry.times[1:]) - registry.times[0] >= 1


@pytest.mark.fault(88)
def test_a_storm_of_refusals_is_met_by_fewer_threads_and_ends_well():
    class Stormy(Registry):
        """Answers four at a time; to whoever comes fifth it is too much."""

        def __init__(self):
            super().__init__()
            self.inside = self.refused = 0
            self.count = threading.Lock()

        def respond(self, request: Seen) -> Answer:
            with self.count:
                if self.inside >= 4:
                    self.refused += 1
                    return Answer(429)
                self.inside += 1
            time.sleep(0.005)
            with self.count:
                self.inside -= 1
            return Answer(404)

    with Stormy() as registry, Flow.open() as flow:
        target = RegistryStore(Reference.parse(f"{registry.host}/a:1"), Settings(patience=Patience(first=0.02)))
        done = [future.result(60) for future in [flow.io.submit(target.exists, blob) for blob in BLOBS]]
        assert done == [False] * 200
        assert registry.refused < 200, "each storm would be followed by another as large"


@pytest.mark.fault(78)
def test_the_budget_of_a_host_ends_what_would_go_on():
    patience = Patience(attempts=1_000, first=0.05, longest=0.05, budget=0.5)
    with Scripted({"HEAD .*": Answer(503)}) as server:
        target = RegistryStore(Reference.parse(f"{server.host}/a:1"), Settings(patience=patience))
        began = time.monotonic()
        with pytest.raises(RegistryError) as caught:
            target.exists(BLOBS[0])
        assert caught.value.code == "registry-failing"
        assert time.monotonic() - began < 3


def test_threads_that_wait_together_wait_once():
    gate = Gate("host", Patience(budget=0.6), 16)
    threads = [threading.Thread(target=gate.wait, args=(0.2, Cancel())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert gate.wait(0.2, Cancel()), "eight that waited side by side have spent the time of one"
    assert not gate.wait(10, Cancel())


def test_a_crowd_grows_again_when_all_goes_well():
    gate = Gate("host", Patience(), 4)
    gate.asked(429, {"Retry-After": "0"}, 1)
    gate.asked(429, {"Retry-After": "0"}, 1)
    assert places(gate) == 1
    for _ in range(5):
        gate.passed()
    assert places(gate) == 2
    for _ in range(100):
        gate.passed()
    assert places(gate) == 4


def places(gate: Gate) -> int:
    """How many are let in at a time."""
    entered, leave = [], threading.Event()

    def enter() -> None:
        with gate.entered(Cancel()):
            entered.append(1)
            leave.wait(5)

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    count = len(entered)
    leave.set()
    for thread in threads:
        thread.join(5)
    return count


def test_cancel_ends_the_wait_at_the_gate():
    gate, cancel = Gate("host", Patience(), 1), Cancel()
    gate.asked(429, {"Retry-After": "60"}, 1)
    threading.Timer(0.1, cancel.set).start()
    began = time.monotonic()
    with pytest.raises(Cancelled), gate.entered(cancel):
        pass
    assert time.monotonic() - began < 1


# Peers that trickle.


@pytest.mark.fault(13)
def test_headers_that_trickle_have_a_deadline():
    with Raw(b"HTTP/1.1 404 Not Found\r\nX-Long: " + b"y" * 1000, pause=0.05) as server:
        settings = Settings(timeouts=Timeouts(reply=0.5), patience=Patience(first=0.01))
        began = time.monotonic()
        with pytest.raises(NetworkError) as caught:
            RegistryStore(Reference.parse(f"{server.host}/a:1"), settings).exists(BLOBS[0])
        assert caught.value.code == "timeout"
        assert time.monotonic() - began < 5


@pytest.mark.fault(14)
def test_a_body_that_trickles_is_given_up():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    with Raw(head + b"z" * 1000, pause=0.02, at_once=len(head)) as server:
        settings = Settings(timeouts=Timeouts(stall=0.5, slowest=1024), patience=Patience(first=0.01))
        blob = Descriptor("application/octet-stream", BLOBS[0].digest, 1_000_000)
        began = time.monotonic()
        with (
            pytest.raises(NetworkError) as caught,
            RegistryStore(Reference.parse(f"{server.host}/a:1"), settings).open(blob) as stream,
        ):
            shutil.copyfileobj(stream, io.BytesIO())
        assert caught.value.code == "stalled"
        assert time.monotonic() - began < 10
        assert server.connections > 1, "it was tried to read on"


def test_a_slow_reader_is_not_a_slow_registry():
    data = b"x" * 3_000_000
    blob = Descriptor.of("application/octet-stream", data)
    with Registry() as registry:
        registry.blobs["a", blob.digest] = data
        settings = Settings(timeouts=Timeouts(stall=0.2, slowest=10_000_000), patience=Patience(attempts=1))
        with RegistryStore(Reference.parse(f"{registry.host}/a:1"), settings).open(blob) as stream:
            got = stream.read(100)
            time.sleep(0.5)  # our own work between two reads
            while piece := stream.read(1 << 20):
                got += piece
        assert got == data


def test_deadlines_fire_in_time_and_in_any_order():
    fired = []
    began = time.monotonic()
    late, early, never = (
        Deadline(lambda name=name: fired.append((name, time.monotonic() - began)))
        for name in ("late", "early", "never")
    )
    late.arm(0.4)
    never.arm(0.3)
    early.arm(0.1)
    never.disarm()
    time.sleep(0.8)
    assert [name for name, _ in fired] == ["early", "late"]
    assert 0.1 <= fired[0][1] < 0.3
    assert 0.4 <= fired[1][1] < 0.6
