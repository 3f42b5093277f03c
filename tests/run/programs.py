"""Small WASI preview 1 programs, in text, for what the samples do not do: files, stdin, traps, memory, no end."""

from __future__ import annotations

from pathlib import Path

# Numbers of wasi_snapshot_preview1's errno, rights and oflags.
BADF, NOENT = 8, 44
READ, WRITE = 1 << 1, 1 << 6
CREATE = 1

_CAT = """
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func $cat (param $fd i32) (local $error i32)
    (loop $more
      (i32.store (i32.const 8) (i32.const 2048))
      (i32.store (i32.const 12) (i32.const 4096))
      (local.set $error (call $read (local.get $fd) (i32.const 8) (i32.const 1) (i32.const 16)))
      (if (local.get $error) (then (call $exit (local.get $error))))
      (if (i32.load (i32.const 16))
        (then
          (i32.store (i32.const 12) (i32.load (i32.const 16)))
          (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
          (br $more)))))
"""

CAT = f'(module {_CAT} (func (export "_start") (call $cat (i32.const 0))))'
"""stdin to stdout."""

ENVIRON = f"""(module
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $get (param i32 i32) (result i32))) {_CAT}
  (func (export "_start")
    (drop (call $sizes (i32.const 0) (i32.const 12)))
    (drop (call $get (i32.const 4096) (i32.const 8192)))
    (i32.store (i32.const 8) (i32.const 8192))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))))"""
"""Its variables, each with a zero byte behind it."""

TRAP = '(module (memory (export "memory") 1) (func (export "_start") unreachable))'

ENDLESS = f"""(module {_CAT}
  (data (i32.const 2048) "here\\n")
  (func (export "_start")
    (i32.store (i32.const 8) (i32.const 2048))
    (i32.store (i32.const 12) (i32.const 5))
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
    (loop (br 0))))"""
"""Says `here`, and never ends."""

GROW = f"""(module {_CAT}
  (func (export "_start") (call $exit (i32.eq (memory.grow (i32.const 256)) (i32.const -1)))))"""
"""Status 1 where the memory does not grow by 16 MiB."""

LARGE = '(module (memory (export "memory") 64) (func (export "_start")))'
"""Wants 4 MiB from the start."""

NAMED = f"""(module {_CAT}
  (func (export "other") (call $exit (i32.const 7))) (func (export "_start") (call $exit (i32.const 8))))"""

STRANGE = '(module (import "env" "unheard_of" (func)) (memory (export "memory") 1) (func (export "_start")))'

LIBRARY = '(module (func (export "add") (param i32 i32) (result i32) (i32.const 0)))'

COMPONENT_FAILS = """(component
  (core module $m (func (export "run") (result i32) (i32.const 1)))
  (core instance $i (instantiate $m))
  (func $run (result (result)) (canon lift (core func $i "run")))
  (instance $r (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $r)))"""
"""A command whose run gives an error."""

COMPONENT_TRAPS = COMPONENT_FAILS.replace("(i32.const 1)", "unreachable")


def opens(path: str, *, fd: int = 3, rights: int = READ, oflags: int = 0) -> str:
    """Opens a path below a preopened folder and prints the file; a failure's errno is the exit status."""
    return f"""(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32))) {_CAT}
  (data (i32.const 1024) "{path}")
  (func (export "_start") (local $error i32)
    (local.set $error (call $open (i32.const {fd}) (i32.const 1) (i32.const 1024) (i32.const {len(path)})
      (i32.const {oflags}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 0)))
    (if (local.get $error) (then (call $exit (local.get $error))))
    {"(call $cat (i32.load (i32.const 0)))" if rights & READ else ""}))"""


def assembled(text: str, path: Path) -> Path:
    """The program in binary form, at `path`."""
    from wasmtime import wat2wasm

    path.write_bytes(wat2wasm(text))
    return path
