"""The end of a run: everybody who waits for it is called, and the memory goes back to the system in one piece.

Python takes its modules and objects apart before it ends, one after the other: a fifteenth of `ocibuild pack`.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress


def leave(status: int) -> None:
    """End the process with `status`. Returns where Python had better end it, since other threads still run."""
    if threading.active_count() > 1:
        return
    atexit._run_exitfuncs()  # nobody is called twice
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # what could not be written was told before
            if stream is not None:
                stream.flush()
    os._exit(status)
