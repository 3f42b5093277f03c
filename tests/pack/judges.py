"""The two who say whether a document is an ocibuild.toml: the schema that editors use, and the reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocibuild.errors import ContentError, UsageError
from ocibuild.pack.configfile import ConfigFile
from ocibuild.spec import schema


def verdicts(document: dict[str, Any], folder: Path) -> list[bool]:
    """What each says."""
    config = ConfigFile(folder / "ocibuild.toml", json.dumps(document), document)
    judges: list[Callable[[], None]] = [lambda: schema.validate(document, "ocibuild"), config.check]
    judged = []
    for judge in judges:
        try:
            judge()
            judged.append(True)
        except (ContentError, UsageError):
            judged.append(False)
    return judged
