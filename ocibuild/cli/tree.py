"""`ocibuild tree PLACE`"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ocibuild.api.tree import tree
from ocibuild.cli import output as show
from ocibuild.cli.common import json_option, registry_options, session
from ocibuild.cli.copy import host_of
from ocibuild.cli.verbs import verb

_TITLE = "org.opencontainers.image.title"


@verb("tree")
@click.argument("place")
@click.option("--referrers/--no-referrers", default=True, help="Ask for what is attached.  [default: yes]")
@registry_options
@json_option
def tree_command(place: str, referrers: bool, as_json: bool, quiet: bool, **reach: Any) -> None:
    """Show the index, manifests, configs and layers at PLACE, with sizes and platforms, and what is attached to each."""
    with session(host_of(place), quiet=quiet, **reach) as current:
        document = tree(place, referrers=referrers, session=current)
    if as_json:
        show.result_json(document)
        return
    for root in document["roots"]:
        name = f":{root['name']}" if root["name"] else f"@{root['digest']}"
        show.result(show.plain(f"{document['place']}{name}"))
        for line in _drawn(root, "", "", ""):
            show.result(show.plain(line))
    show.result(f"{document['blobs']} blobs, {show.size(document['totalSize'])}")


def _drawn(node: dict[str, Any], lead: str, below: str, relation: str) -> Iterator[str]:
    yield f"{lead}{relation}{_said(node)}"
    branches = [(child, "") for child in node.get("children", ())]
    branches += [(entry, "attached: ") for entry in node.get("referrers", ())]
    for number, (branch, word) in enumerate(branches):
        last = number == len(branches) - 1
        yield from _drawn(branch, f"{below}{'└─ ' if last else '├─ '}", f"{below}{'   ' if last else '│  '}", word)


def _said(node: dict[str, Any]) -> str:
    what = [node["kind"], node["platform"], node["artifactType"] or _kind(node), node["annotations"].get(_TITLE)]
    words = "  ".join(word for word in what if word)
    state = "  (missing)" if node.get("missing") else "  (shown above)" if node.get("seen") else ""
    return f"{words}  {node['digest']}  {show.size(node['size'])}{state}"


def _kind(node: dict[str, Any]) -> str | None:
    """The media type, where the word before it does not say as much."""
    return node["mediaType"] if node["kind"] in ("config", "layer", "other") else None
