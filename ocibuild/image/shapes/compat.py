"""Shape `compat`: solo.io's compatible variant, which Istio's and Envoy Gateway's WasmPlugin read.

An ordinary image whose last layer is a gzip tar with `plugin.wasm`. The annotation is for people and registries;
neither consumer reads it. solo-io/wasm, spec-compat.md.
"""

from __future__ import annotations

from ocibuild.errors import UsageError
from ocibuild.image.plan import ImagePlan
from ocibuild.image.shapes import tarball
from ocibuild.image.shapes.request import Request
from ocibuild.record import replace
from ocibuild.spec import annotation

NAME = "compat"
PLUGIN = "plugin.wasm"


def author(request: Request) -> ImagePlan:
    """The tar image with the file called plugin.wasm. Raises UsageError for a compression these consumers refuse."""
    if not request.compression.startswith("gzip"):
        raise UsageError(
            f"Istio and Envoy Gateway read gzip layers only, not {request.compression}",
            code="shape-conflict",
            hint="leave --compression out",
        )
    variant = (annotation.WASM_VARIANT, "compat")
    annotations = (*(pair for pair in request.annotations if pair[0] != variant[0]), variant)
    # These readers stop nowhere, but some decompress the first gzip member only.
    compression = request.compression.replace("gzip:", "gzip-single:")
    renamed = replace(request, name=PLUGIN, annotations=annotations, compression=compression)
    return replace(tarball.author(renamed), shape=NAME)
