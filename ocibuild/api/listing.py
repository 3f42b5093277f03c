"""`tags` and `repositories`: what there is to ask for."""

from __future__ import annotations

from ocibuild.api import places
from ocibuild.api.session import Session
from ocibuild.errors import UsageError
from ocibuild.spec.reference import Reference
from ocibuild.store.base import Roots


def tags(repository: str, *, session: Session | None = None) -> tuple[str, ...]:
    """The tags of a repository in the registry's order, or the names in a layout or an archive.

    Raises UsageError for a reference that names a tag or digest already, RegistryError (`repository-unknown`,
    `list-endless`, `not-a-registry`), StoreError.
    """
    place = places.parse(repository, default_tag=None)
    session = (session or Session()).begin()
    if place.name or (place.reference is not None and (place.reference.tag or place.reference.digest)):
        raise UsageError(f"{repository} names one image already", hint="leave the tag or digest away")
    if place.reference is not None:
        with session.registry(place.reference) as registry:
            return tuple(registry.tags())
    store = places.source(place)
    assert isinstance(store, Roots)
    return tuple(dict.fromkeys(name for name, _ in store.roots() if name is not None))


def repositories(registry: str, *, prefix: str = "", session: Session | None = None) -> tuple[str, ...]:
    """The repositories a registry shows to who is asking, those whose names begin with `prefix`.

    Raises UsageError (`reference-invalid`), RegistryError: many public registries have no such list.
    """
    # A registry alone is no reference: it is asked for by way of any repository in it.
    host = registry.removeprefix("docker://").rstrip("/")
    reference = Reference.parse(f"{host}/all", default_tag=None)
    if reference.repository not in ("all", "library/all"):
        raise UsageError(
            f"{registry!r} is no registry",
            code="reference-invalid",
            hint="write host[:port], for example localhost:5000",
        )
    with (session or Session()).begin().registry(reference) as store:
        return tuple(name for name in store.repositories() if name.startswith(prefix))
