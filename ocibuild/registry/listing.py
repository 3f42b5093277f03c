"""Lists a registry gives page by page: tags and repositories. distribution-spec "Listing Tags"; docker's `_catalog`.

The next page is where the Link header says, as long as that is this registry. Some registries and proxies say it wrong:
with an internal host, or with a path of their own; then the path that was asked for is asked again with the link's query.
Some say nothing: then a full page is followed by asking for what comes after its last name.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote, urlsplit, urlunsplit

from requests import Response

from ocibuild.errors import ContentError, RegistryError
from ocibuild.registry import problem
from ocibuild.registry.origin import Origin, follow
from ocibuild.registry.transport import Call, Transport, Watch
from ocibuild.spec import jsonform
from ocibuild.spec.reference import is_tag

PAGE = 1000
"""Names asked for at a time; some registries refuse to give more."""

_NAMES = 1_000_000
_BARREN = 10
_LIMIT = 64 * 1024 * 1024
_JSON = {"Accept": "application/json"}


def tags(transport: Transport, repository: str, watch: Watch) -> Iterator[str]:
    """The tags of a repository, in the registry's order, each once.

    Raises RegistryError (`repository-unknown`, `not-a-registry`, `list-endless`), AuthorizationError, NetworkError.
    """
    url = f"{transport.origin}/v2/{repository}/tags/list"
    return (name for name in _names(transport, url, "tags", f"the tags of {repository}", watch) if is_tag(name))


def repositories(transport: Transport, watch: Watch) -> Iterator[str]:
    """The repositories the registry shows to who is asking. Raises as `tags` does; many registries have no such list."""
    url = f"{transport.origin}/v2/_catalog"
    found = _names(transport, url, "repositories", "its repositories", watch)
    return (name for name in found if name and problem.clean(name) == name)


def _names(transport: Transport, where: str, member: str, what: str, watch: Watch) -> Iterator[str]:
    url, seen, barren = f"{where}?n={PAGE}", set[str](), 0
    while True:
        response = _page(transport, url, where, watch)
        if response.status_code == 400 and not seen:
            response = _page(
                transport, where, where, watch
            )  # it may give fewer at a time, and is asked for its own measure
        if response.status_code != 200:
            raise problem.refusal(response, f"to list {what}")
        names = _parsed(response, member)
        new = [name for name in dict.fromkeys(names) if name not in seen]
        yield from new
        seen.update(new)
        link = next_page(response, where)
        if link is None and (len(names) != PAGE or not new):
            return
        url = link or f"{where}?n={PAGE}&last={quote(names[-1], safe='')}"
        # Pages that tell nothing new are a circle, or soon will be.
        barren = 0 if new else barren + 1
        if barren > _BARREN or (names and not new) or len(seen) > _NAMES:
            raise endless(transport, what)


def _page(transport: Transport, url: str, where: str, watch: Watch) -> Response:
    response = transport.send(Call("GET", url, _JSON, limit=_LIMIT), watch)
    repaired = repair(url, where)
    if response.status_code in (400, 404) and repaired != url:
        response.close()
        response = transport.send(Call("GET", repaired, _JSON, limit=_LIMIT), watch)
    return response


def next_page(response: Response, where: str) -> str | None:
    """The address of the page after an answer's; None at the end. `where` is the list's address, without a query."""
    link = response.links.get("next", {}).get("url")
    if not link:
        return None
    try:
        url = follow(response.url, link)
        at_home = Origin.of(url) == Origin.of(where)
    except RegistryError:
        return repair(link, where)
    return url if at_home else repair(link, where)


def repair(url: str, where: str) -> str:
    """The list's own address with the query of a page's."""
    return urlunsplit(urlsplit(where)._replace(query=urlsplit(url).query))


def endless(transport: Transport, what: str) -> RegistryError:
    """The error for pages without end."""
    return RegistryError(
        f"{transport.origin.netloc} lists {what} without end",
        code="list-endless",
        hint="its pages lead in a circle: this is a fault of the registry, or of a proxy before it",
    )


def _parsed(response: Response, member: str) -> list[str]:
    # Some registries call their lists text/plain; what is JSON with that member is a list.
    try:
        names = jsonform.load(response.content, "the list", _LIMIT).get(member)
    except ContentError as error:
        raise problem.stranger(response, "a list") from error
    if names is None:
        return []
    if not isinstance(names, list):
        raise problem.stranger(response, "a list")
    return [name for name in names if isinstance(name, str)]
