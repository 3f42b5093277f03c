"""The names and fixed bytes of an OCI image layout. OCI image-spec, image-layout.md."""

from __future__ import annotations

from ocibuild.spec import jsonform
from ocibuild.spec.digest import Digest

HEADER_FILE = "oci-layout"
INDEX_FILE = "index.json"
BLOBS = "blobs"
VERSION = "1.0.0"
HEADER_BYTES = jsonform.dump({"imageLayoutVersion": VERSION})


def blob_path(digest: Digest) -> str:
    """Where a blob stands, relative to the layout: `blobs/sha256/<hex>`."""
    return f"{BLOBS}/{digest.algorithm}/{digest.hex}"
