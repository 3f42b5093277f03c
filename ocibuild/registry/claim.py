"""Small blobs: whether a repository has one, and the opening of an upload if not, in one request.

To mount a blob from the very repository is both, by distribution-spec "Mounting a blob from another repository": 201 where
it is there, 202 and an upload where it is not. A registry that mounts nothing answers 202 for what it has, too; then a
small blob is sent once more, which costs no more than to look for it first. A large one would.
"""

from __future__ import annotations

from typing import Literal

from ocibuild.errors import AuthorizationError, NetworkError, RegistryError
from ocibuild.registry import upload
from ocibuild.registry.session import Upload
from ocibuild.registry.transport import Transport, Watch
from ocibuild.spec.descriptor import Descriptor

SMALL = 256 * 1024
"""Bytes of a blob that is sent without a look of its own."""


def claimed(
    transport: Transport, repository: str, descriptor: Descriptor, watch: Watch
) -> Upload | Literal["there"] | None:
    """`there`, or the upload to send it in; None where only a look can tell. Raises AuthorizationError, Cancelled."""
    if descriptor.size > SMALL or not transport.limits.mounts_own:
        return None
    try:
        return upload.mount(transport, repository, descriptor.digest, repository, watch) or "there"
    except AuthorizationError:
        raise
    except RegistryError:
        transport.limits.mounts_own = False  # it will not hear of it the next time either
    except NetworkError:
        pass  # the look says what is wrong, and is tried again
    return None
