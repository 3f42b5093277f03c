"""`ocibuild formats`"""

from __future__ import annotations

from ocibuild.cli import output as show
from ocibuild.cli.common import json_option
from ocibuild.cli.verbs import verb
from ocibuild.image.shapes import SHAPES
from ocibuild.pack.presets import PRESETS


@verb("formats")
@json_option
def formats_command(as_json: bool) -> None:
    """List the shapes an image can have, and which one --for chooses for whom."""
    if as_json:
        shapes = [
            {
                "name": shape.name,
                "config": shape.config_type,
                "layer": shape.layer_type,
                "index": shape.indexable,
                "consumers": shape.consumers,
            }
            for shape in SHAPES.values()
        ]
        chosen = [
            {"name": p.name, "format": p.shape, "platform": str(p.platform), "natives": p.natives, "why": p.why}
            for p in PRESETS.values()
        ]
        show.result_json({"formats": shapes, "for": chosen})
        return
    width = max(len(name) for name in SHAPES)
    show.result("--format")
    for shape in SHAPES.values():
        show.result(f"  {shape.name:<{width}}  {shape.consumers}")
        show.result(f"  {'':<{width}}  config {shape.config_type}")
        show.result(f"  {'':<{width}}  layer  {shape.layer_type}")
    width = max(len(name) for name in PRESETS)
    show.result("\n--for")
    for entry in PRESETS.values():
        show.result(f"  {entry.name:<{width}}  {entry.shape:<12} {entry.why}")
