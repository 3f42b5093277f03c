"""Python's collector of garbage cycles, which a short run can do without.

What a verb loads stays until the end. Looking through it for rubbish, again and again while it grows, was a tenth of
`ocibuild pack`.
"""

from __future__ import annotations

import gc

_USUAL = gc.get_threshold()
_LOADING = 100_000
"""More objects than any verb needs to be loaded."""


def rest() -> None:
    """Leave what is being loaded alone."""
    gc.set_threshold(_LOADING)


def work() -> None:
    """Collect as ever from now on, but for what has been loaded while it rested."""
    if gc.get_threshold()[0] == _LOADING:
        gc.freeze()
        gc.set_threshold(*_USUAL)
