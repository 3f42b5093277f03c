"""Lists of tags and repositories: pages by Link, in all the ways registries and proxies get it wrong (fault 94)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from ocibuild.errors import OcibuildError, RegistryError
from ocibuild.registry.settings import Patience, Settings
from ocibuild.registry.store import RegistryStore
from ocibuild.spec.reference import Reference
from tests.registry.double import Registry
from tests.registry.scripted import Answer, Scripted, Seen, Server

QUICK = Settings(patience=Patience(attempts=2, first=0.01))
JSON = {"Content-Type": "application/json"}


def page(names: Sequence[str] | None, link: str = "", status: int = 200) -> Answer:
    headers = {**JSON, **({"Link": f'<{link}>; rel="next"'} if link else {})}
    return Answer(status, headers, json.dumps({"name": "hello", "tags": names}).encode())


@contextmanager
def asked(respond: Callable[[Seen], Answer]) -> Iterator[tuple[RegistryStore, Server]]:
    with Server(respond) as server:
        yield RegistryStore(Reference.parse(f"{server.host}/hello"), QUICK), server


def scripted(*answers: Answer) -> Callable[[Seen], Answer]:
    left = list(answers)
    return lambda request: left.pop(0)


def test_pages_are_followed_in_the_registrys_order() -> None:
    answers = scripted(page(["b", "a"], "/v2/hello/tags/list?n=1000&last=a"), page(["d", "c"]))
    with asked(answers) as (store, server):
        assert list(store.tags()) == ["b", "a", "d", "c"]
        assert [request.path for request in server.seen] == [
            "/v2/hello/tags/list?n=1000",
            "/v2/hello/tags/list?n=1000&last=a",
        ]


@pytest.mark.parametrize(
    "link", ["list?last=a", "?last=a", "/v2/hello/tags/list?last=a", "//{host}/v2/hello/tags/list?last=a"]
)
def test_a_relative_link_is_resolved(link: str) -> None:
    left: list[Answer] = []
    with asked(lambda request: left.pop(0)) as (store, server):
        left += [page(["a"], link.replace("{host}", server.host)), page(["b"])]
        assert list(store.tags()) == ["a", "b"]
        assert server.seen[-1].path == "/v2/hello/tags/list?last=a"


@pytest.mark.fault(94)
def test_a_link_to_another_host_is_asked_of_the_registry_itself() -> None:
    """Proxies let a registry's internal name through; nobody else gets a request, and the list is whole."""
    with Scripted({}) as elsewhere:
        answers = scripted(page(["a"], f"{elsewhere.url}/internal/v2/hello/tags/list?last=a&n=1"), page(["b"]))
        with asked(answers) as (store, server):
            assert list(store.tags()) == ["a", "b"]
            assert server.seen[-1].path == "/v2/hello/tags/list?last=a&n=1"
        assert elsewhere.seen == []


@pytest.mark.parametrize("status", [400, 404])
def test_a_link_with_a_path_of_its_own_is_repaired(status: int) -> None:
    """Nexus and Artifactory put their inner path into it."""

    def respond(request: Seen) -> Answer:
        if request.path.startswith("/repository/"):
            return Answer(status, JSON, b"{}")
        return page(["b"]) if "last" in request.path else page(["a"], "/repository/docker/v2/hello/tags/list?last=a")

    with asked(respond) as (store, _):
        assert list(store.tags()) == ["a", "b"]


def test_a_full_page_without_a_link_is_followed_by_what_comes_after() -> None:
    everything = [f"v{n:05}" for n in range(2500)]

    def respond(request: Seen) -> Answer:
        query = parse_qs(urlsplit(request.path).query)
        after = query.get("last", [""])[0]
        return page([name for name in everything if name > after][: int(query["n"][0])])

    with asked(respond) as (store, server):
        assert list(store.tags()) == everything
        assert len(server.seen) == 3


def test_a_registry_that_knows_no_last_is_not_asked_for_ever() -> None:
    everything = [f"v{n:05}" for n in range(1000)]
    with asked(lambda request: page(everything)) as (store, server):
        assert list(store.tags()) == everything
        assert len(server.seen) == 2


def test_a_registry_that_gives_all_at_once_is_asked_once() -> None:
    everything = [f"v{n:05}" for n in range(1500)]
    with asked(lambda request: page(everything)) as (store, server):
        assert list(store.tags()) == everything
        assert len(server.seen) == 1


@pytest.mark.fault(94)
def test_no_tags_at_all_may_be_null() -> None:
    with asked(lambda request: page(None)) as (store, _):
        assert list(store.tags()) == []


@pytest.mark.fault(94)
def test_a_circle_of_pages_ends() -> None:
    with asked(lambda request: page(["a"], request.path)) as (store, server):
        with pytest.raises(RegistryError) as caught:
            list(store.tags())
        assert caught.value.code == "list-endless"
        assert len(server.seen) == 2


@pytest.mark.fault(94)
def test_empty_pages_without_end_end() -> None:
    count = iter(range(10_000))
    with asked(lambda request: page([], f"/v2/hello/tags/list?last={next(count)}")) as (store, server):
        with pytest.raises(RegistryError) as caught:
            list(store.tags())
        assert caught.value.code == "list-endless"
        assert len(server.seen) < 20


@pytest.mark.fault(94)
def test_new_names_for_ever_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from ocibuild.registry import listing

    monkeypatch.setattr(listing, "_NAMES", 5000)
    count = iter(range(10_000))

    def respond(request: Seen) -> Answer:
        number = next(count)
        return page([f"v{number}-{n}" for n in range(1000)], f"/v2/hello/tags/list?last={number}")

    with asked(respond) as (store, server):
        with pytest.raises(RegistryError) as caught:
            list(store.tags())
        assert caught.value.code == "list-endless"
        assert len(server.seen) < 10


def test_what_is_no_tag_is_left_out() -> None:
    """Artifactory has listed such; and nothing of a stranger steers the terminal."""
    with asked(lambda request: page(["good", "\x1b[31mred", "a b", ".hidden", 5, "x" * 129])) as (store, _):  # type: ignore[list-item]
        assert list(store.tags()) == ["good"]


@pytest.mark.parametrize(
    "answer, code",
    [
        (Answer(200, {"Content-Type": "text/html"}, b"<title>Sign in</title>"), "not-a-registry"),
        (Answer(200, JSON, b'{"tags": "a"}'), "not-a-registry"),
        (Answer(404, JSON, b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such"}]}'), "repository-unknown"),
        (Answer(403, JSON, b"{}"), "forbidden"),
        (Answer(503, JSON, b""), "registry-failing"),
    ],
)
def test_what_is_no_list_says_so(answer: Answer, code: str) -> None:
    with asked(lambda request: answer) as (store, _):
        with pytest.raises(OcibuildError) as caught:
            list(store.tags())
        assert caught.value.code == code


def test_a_list_called_text_is_read() -> None:
    """go-containerregistry's registry says text/plain."""
    with asked(lambda request: Answer(200, {"Content-Type": "text/plain"}, b'{"tags":["a"]}')) as (store, _):
        assert list(store.tags()) == ["a"]


def test_repositories_are_asked_for_with_the_right_to_see_them() -> None:
    from ocibuild.registry.credentials import Credential

    with Registry(user="ada", password="love") as registry:
        registry.manifests["b/two", "sha256:0"] = registry.manifests["a", "sha256:0"] = ("", b"{}")
        settings = Settings(credentials={registry.host: Credential("ada", "love")})
        store = RegistryStore(Reference.parse(f"{registry.host}/any"), settings)
        assert list(store.repositories()) == ["a", "b/two"]
        assert any("registry%3Acatalog%3A%2A" in request.path for request in registry.requests("GET", "/token"))


def test_a_registry_that_gives_fewer_at_a_time_is_asked_without_a_number() -> None:
    """distribution answers a number beyond its own limit so."""

    def respond(request: Seen) -> Answer:
        if "n=1000" in request.path:
            return Answer(400, JSON, b'{"errors":[{"code":"PAGINATION_NUMBER_INVALID"}]}')
        return page(["b"]) if "last=a" in request.path else page(["a"], "/v2/hello/tags/list?last=a&n=1")

    with asked(respond) as (store, _):
        assert list(store.tags()) == ["a", "b"]
