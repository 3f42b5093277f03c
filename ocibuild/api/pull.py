"""`pull`: an image from a registry, into a layout or an archive. The program alone is what `extract` gives."""

from __future__ import annotations

import os
from typing import BinaryIO

from ocibuild.api import places
from ocibuild.api.places import Place
from ocibuild.api.session import Session
from ocibuild.api.transfer import Transferred, transferred
from ocibuild.errors import UsageError
from ocibuild.record import replace


def pull(
    reference: str,
    output: str | None = None,
    *,
    platform: str | None = None,
    session: Session | None = None,
    out: BinaryIO | None = None,
) -> Transferred:
    """Copy an image from a registry to `output`: a layout folder, `FILE.tar`, `docker-archive:FILE`, or - for `out`.

    Without `output` it goes into the layout `NAME.oci` in the current folder, NAME being the repository's last part.
    An index comes whole, or, with `platform`, the one manifest of it for that platform. What is there already is not
    fetched again. Raises UsageError, NotFoundError (`platform-missing`), NetworkError, AuthorizationError, StoreError.
    """
    session = (session or Session()).begin()
    source = places.parse(reference if reference.startswith("docker:") else f"docker://{reference}")
    assert source.reference is not None
    name = source.reference.repository.rpartition("/")[2]
    return transferred(source, _destination(output or f"{name}.oci", reference), session, out, platform)


def _destination(output: str, reference: str) -> Place:
    if output.endswith(".wasm"):
        raise UsageError(
            "pull fetches an image, not the program in it",
            code="usage",
            hint=f"ocibuild extract {reference} -o {output}",
        )
    if output.startswith("docker://"):
        raise UsageError(f"{output} is a registry", code="usage", hint=f"ocibuild copy {reference} {output}")
    place = places.parse(output, writing=True)
    if place.reference is None:
        return place
    # No prefix and no known ending: -o names a local place, so it is the folder of a layout.
    return replace(place, transport="oci", path=os.fspath(output), name="", reference=None)
