"""The guest's side: one Wasm program on the embedded wasmtime, in a process of its own.

Started by path, with the job that engine.py wrote; imports nothing of ours, so that it starts fast. How the program
ended is written into the job's `outcome`, and the process ends with the program's status. A process can be ended
whatever the program does, also while it waits for the host, which no interruption inside the engine can.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

TRAPPED = 134
"""128 + SIGABRT: what a shell sees of a program that aborted, and what the wasmtime program ends with."""

_LOOK_UP = 1.0


class Left(Exception):
    """The program called proc_exit with this status."""


def play(job: dict[str, Any]) -> tuple[str, int, str]:
    """Run the program to its end: `exit`, `trap` or `refused`, the status, and the engine's words."""
    import wasmtime

    try:
        call = _component(job) if job["component"] else _module(job)
    except Left as left:
        return "exit", left.args[0], ""
    except wasmtime.Trap as trap:
        return "trap", TRAPPED, str(trap)
    except wasmtime.WasmtimeError as error:
        return "refused", 1, str(error)
    try:
        return "exit", call(), ""
    except Left as left:
        return "exit", left.args[0], ""
    except wasmtime.ExitTrap as stop:
        return "exit", stop.code & 0xFF, ""
    except (wasmtime.Trap, wasmtime.WasmtimeError) as trap:
        return "trap", TRAPPED, str(trap)


def _store(job: dict[str, Any]) -> Any:
    import wasmtime

    store = wasmtime.Store(wasmtime.Engine())
    if job["memory"] is not None:
        store.set_limits(memory_size=job["memory"])
    wasi = wasmtime.WasiConfig()
    wasi.argv = job["words"]
    wasi.env = job["env"]
    wasi.inherit_stdin()
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    for host, guest, read_only in job["folders"]:
        wasi.preopen_dir(host, guest, not read_only)
    store.set_wasi(wasi)
    return store


def _leave(status: int) -> None:
    raise Left(status & 0xFF)


def _module(job: dict[str, Any]) -> Any:
    import wasmtime

    store = _store(job)
    linker = wasmtime.Linker(store.engine)
    linker.define_wasi()
    # The engine's own takes statuses below 126 alone, and calls the others a fault of the program.
    linker.allow_shadowing = True
    leaving = wasmtime.FuncType([wasmtime.ValType.i32()], [])
    linker.define_func("wasi_snapshot_preview1", "proc_exit", leaving, _leave)
    module = wasmtime.Module.from_file(store.engine, job["program"])
    start = linker.instantiate(store, module).exports(store).get(job["start"])
    if not isinstance(start, wasmtime.Func):
        raise wasmtime.WasmtimeError(f"it exports no function {job['start']}")

    def call() -> int:
        start(store)
        return 0

    return call


def _component(job: dict[str, Any]) -> Any:
    import wasmtime
    from wasmtime import component

    store = _store(job)
    linker = component.Linker(store.engine)
    linker.add_wasip2()
    program = component.Component.from_file(store.engine, job["program"])
    if job["asks"]:
        # Many name wasi:http because their language's runtime can do it: they may start, and not ask.
        linker.define_unknown_imports_as_traps(program)
    instance = linker.instantiate(store, program)
    inside = instance.get_export_index(store, job["start"])
    index = instance.get_export_index(store, "run", inside)
    run = instance.get_func(store, index) if index is not None else None
    if run is None:
        raise wasmtime.WasmtimeError(f"{job['start']} has no function run")

    def call() -> int:
        # result<_, _>: a program says that it failed, and has no number to say more.
        return 0 if run(store).tag == "ok" else 1

    return call


def _outlive_nobody(parent: int) -> None:
    """End when whoever started us was killed: a program without end would run on, and nobody knew of it."""
    while os.getppid() == parent:
        time.sleep(_LOOK_UP)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the job that the first argument names, and end with its status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    sys.path[:] = job["path"]
    threading.Thread(target=_outlive_nobody, args=(job["parent"],), daemon=True).start()
    reason, status, text = play(job)
    with open(job["outcome"], "w", encoding="utf-8") as file:
        json.dump([reason, status, text], file)
    # No tidying up: a thread of the engine may still wait for stdin.
    os._exit(status)


if __name__ == "__main__":
    main()
