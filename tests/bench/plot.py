"""The picture of cost against size: `scripts/python bench tests/bench/plot.py FIGURES.json PICTURE.svg`.

The same figures give the same bytes. Nothing is drawn behind the lines, and what is written is of a grey that can be
read on white as on black.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "ocibuild", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 10})

from matplotlib import pyplot  # noqa: E402 - the backend comes first

GREY = "#808890"
MIB = 1024 * 1024
LINES = {  # name: colour, dashes
    "ocibuild gzip": ("#2f81f7", "-"),
    "ocibuild zstd": ("#1a9e5c", "-"),
    "ocibuild none": ("#b26be0", "-"),
    "crane append": ("#e5534b", "--"),
    "umoci": ("#cf8a1d", "--"),
    "file_digest and cp": (GREY, ":"),
}


def main(figures: Path, picture: Path) -> None:
    cases = json.loads(figures.read_text(encoding="utf-8"))["cases"]
    grown = sorted((case for name, case in cases.items() if name.startswith("growth-")), key=lambda case: case["size"])
    canvas, both = pyplot.subplots(1, 2, figsize=(10, 4.6), sharey=True, layout="constrained")
    for axes, what, title in ((both[0], "seconds", "time, s"), (both[1], "cpu", "processors' time, s")):
        for name, (colour, dashes) in LINES.items():
            points = [(case["size"] / MIB, case["figures"][name][what]) for case in grown if name in case["figures"]]
            axes.plot(*zip(*points, strict=True), dashes, color=colour, marker="o", markersize=3, label=name)
        axes.set(xscale="log", yscale="log", xlabel="size, MiB", title=title)
        axes.set_xticks([case["size"] / MIB for case in grown], [str(case["size"] // MIB) for case in grown])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
        axes.grid(color=GREY, alpha=0.25)
        axes.tick_params(colors=GREY)
        axes.title.set_color(GREY)
        axes.xaxis.label.set_color(GREY)
        for spine in axes.spines.values():
            spine.set_color(GREY)
    lines = both[0].get_lines()
    canvas.legend(handles=lines, loc="outside lower center", ncols=len(lines), labelcolor=GREY, frameon=False)
    canvas.savefig(picture, format="svg", transparent=True, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
