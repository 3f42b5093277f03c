"""Where the images go that `resolve` makes: a repository for each, and no two under one reference."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ocibuild.api.session import Session
from ocibuild.content.flow import Event
from ocibuild.errors import UsageError
from ocibuild.pack import naming
from ocibuild.record import record
from ocibuild.spec.reference import Reference

_VARIABLES = ("OCIBUILD_REPO", "KO_DOCKER_REPO")
_KO_LOCAL = ("ko.local", "kind.local")
_FIELD = re.compile(r"\{([^{}]*)\}")


@record
class Wanted:
    """One thing to make: `key` tells it from others, `name` and `path` are for its repository; `source` is for people.

    `places` are the files and lines that ask for it.
    """

    key: str
    source: str
    name: str
    path: str
    target: bool
    places: tuple[str, ...]


def called(path: str, key: str, *, target: bool) -> tuple[str, str]:
    """`{name}` and `{path}`: the program's name without its ending, and with the folders that were written before it."""
    folders = [part for part in os.path.dirname(path).split("/") if part not in ("", ".", "..")] if not target else []
    base = path if target else naming.program_name(os.path.basename(key)).removesuffix(".wasm")
    parts = [_component(part) for part in (*folders, base)]
    return parts[-1], "/".join(parts)


def _component(text: str) -> str:
    """A component of a repository's name: distribution-spec's letters, what else there is becomes a dash."""
    return "-".join(re.findall(r"[a-z0-9]+", text.lower())) or "image"


def destinations(
    wanted: Sequence[Wanted], repo: str | None, tags: Sequence[str], current: Session
) -> dict[str, list[Reference]]:
    """Each one's references, by its key. Raises UsageError (`repo-missing`, `repo-invalid`, `reference-twice`)."""
    template = _repository(repo, current)
    found: dict[str, list[Reference]] = {}
    taken: dict[str, Wanted] = {}
    for each in wanted:
        bare = Reference.parse(_FIELD.sub(lambda field, each=each: _value(field, each), template), default_tag=None)  # type: ignore[misc]
        if bare.digest or (bare.tag and tags):
            raise UsageError(
                f"the repository {template} has a {'digest' if bare.digest else 'tag'} in it already",
                code="repo-invalid",
                hint="leave it out, or leave --tag out",
            )
        found[each.key] = [bare] if bare.tag else [bare.tagged(tag) for tag in tags or ("latest",)]
        for reference in found[each.key]:
            other = taken.setdefault(str(reference), each)
            if other is not each:
                raise UsageError(
                    f"{other.source} and {each.source} would both be {reference}",
                    code="reference-twice",
                    hint=f"have the folders in the name: --repo '{template.replace('{name}', '{path}')}'",
                )
    return found


def _value(field: re.Match[str], wanted: Wanted) -> str:
    values = {"name": wanted.name, "path": wanted.path}
    if field[1] not in values:
        raise UsageError(
            f"{field[0]} in the repository is not known", code="repo-invalid", hint="there are {name} and {path}"
        )
    return values[field[1]]


def _repository(repo: str | None, current: Session) -> str:
    """The repository with its fields: `ghcr.io/me` is `ghcr.io/me/{name}`."""
    if repo is None:
        for variable in _VARIABLES:
            repo = current.surroundings.environ.get(variable)
            if repo:
                current.observe(Event("note", text=f"images go to {repo}, as {variable} says"))
                break
    if not repo:
        raise UsageError(
            "there is no repository to push to",
            code="repo-missing",
            hint="add --repo REGISTRY/PATH, as in --repo ghcr.io/me, or set OCIBUILD_REPO",
        )
    if repo in _KO_LOCAL:
        raise UsageError(
            f"{repo} is ko's word for an engine on this machine, and not a registry",
            code="repo-invalid",
            hint="push to a registry that the cluster reaches; ocibuild pack --load hands an image to an engine",
        )
    return repo if _FIELD.search(repo) else repo.rstrip("/") + "/{name}"
