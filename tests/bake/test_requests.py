"""What a bake asks of a registry, and with how many threads and connections: counted, so that no clock decides.

distribution-spec "Push": a POST and a PUT for a blob, a PUT for a manifest. A look at the tag comes first.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ocibuild.api.bake import Baked, bake
from ocibuild.testing import programs
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Seen

MANY = 24
JOBS = 3


class Counting(Registry):
    """A registry that also knows who was connected; one that `is_curt` answers HEAD without a digest."""

    is_curt = False

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()

    def respond(self, request: Seen) -> Answer:
        self.threads.add(threading.get_ident())  # one for each connection
        answer = super().respond(request)
        if self.is_curt and request.method == "HEAD":
            answer = replace(answer, headers={k: v for k, v in answer.headers.items() if k != "Docker-Content-Digest"})
        return answer

    def asked(self) -> dict[str, Counter[str]]:
        """What was asked of each repository, and is forgotten."""
        found: dict[str, Counter[str]] = {}
        for request in self.seen:
            name, _, rest = request.path.removeprefix("/v2/").partition("/")
            found.setdefault(name, Counter())[f"{request.method} {rest.partition('/')[0]}"] += 1
        self.seen.clear()
        return found


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("in").mkdir()
    for number in range(MANY):
        Path(f"in/m{number:02}.wasm").write_bytes(programs.command(b"number %d" % number))
    Path("ocibuild.toml").write_text(
        'schema = 1\n[vars]\nhost = ""\nversion = "1"\nfew = ""\n'
        '[targets."${stem}"]\neach = "in/m${few}*.wasm"\ntags = ["${host}/${stem}:${version}"]\n'
    )
    with Counting() as registry:
        yield registry


def pushed(registry: Counting, **said: str) -> Baked:
    done = bake(push=True, jobs=JOBS, variables={"host": registry.host, **said})
    assert done.failed == ()
    return done


FIRST = Counter({"HEAD manifests": 1, "POST blobs": 2, "PUT blobs": 2, "PUT manifests": 1})


def test_a_first_push_is_six_requests_a_target(registry: Counting) -> None:
    pushed(registry)
    asked = registry.asked()
    assert len(asked) == MANY
    assert all(each == FIRST for each in asked.values()), asked


def test_what_is_up_to_date_is_one_look_a_target(registry: Counting) -> None:
    pushed(registry)
    registry.seen.clear()
    done = pushed(registry)
    assert {image.state for image in done.images} == {"cached"}
    asked = registry.asked()
    assert len(asked) == MANY
    assert all(each == {"HEAD manifests": 1} for each in asked.values()), asked


def test_a_registry_that_tells_no_digest_is_asked_once_more_and_not_pushed_to(registry: Counting) -> None:
    registry.is_curt = True
    pushed(registry)
    registry.seen.clear()
    done = pushed(registry)
    assert {image.state for image in done.images} == {"cached"}
    asked = registry.asked()
    assert all(each == {"HEAD manifests": 1, "GET manifests": 1} for each in asked.values()), asked


def test_the_same_image_under_another_tag_is_looked_for_once(registry: Counting) -> None:
    pushed(registry)
    registry.seen.clear()
    pushed(registry, version="2")
    for each in registry.asked().values():
        assert each["HEAD manifests"] == 1
        assert each["PUT manifests"] == 1
        assert each["PUT blobs"] == each["GET manifests"] == 0
    assert {tag for _, tag in registry.tags} == {"1", "2"}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Our threads that were started, by the name of their pool."""
    found: Counter[str] = Counter()
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        if thread.name.startswith("ocibuild"):
            found[thread.name.partition("_")[0]] += 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    return found


def test_small_targets_take_no_threads_beside_the_bakes_own(registry: Counting, started: Counter[str]) -> None:
    pushed(registry)
    assert started["ocibuild-bake"] == JOBS
    assert set(started) <= {"ocibuild-bake", "ocibuild-deadlines"}, started
    assert len(registry.threads) <= JOBS, "a connection for each who works, and no more"


def test_the_blobs_of_a_few_targets_go_side_by_side(registry: Counting, started: Counter[str]) -> None:
    pushed(registry, few="0")
    assert started["ocibuild-io"] > 1
