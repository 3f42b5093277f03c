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


_ERRORS = (
    "unknown access-denied not-supported invalid-argument out-of-memory timeout concurrency-conflict not-in-progress "
    "would-block invalid-state new-socket-limit address-not-bindable address-in-use remote-unreachable "
    "connection-refused connection-reset connection-aborted datagram-too-large name-unresolvable "
    "temporary-resolver-failure permanent-resolver-failure"
)
_WOULD_BLOCK = _ERRORS.split().index("would-block")


def connects(port: int) -> str:
    """A component of WASI 0.2 that opens a TCP connection to a port of 127.0.0.1; its run gives an error where it cannot."""
    errors = " ".join(f'"{name}"' for name in _ERRORS.split())
    return f"""(component
  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type (sub resource)))
    (type $errors (enum {errors})) (export "error-code" (type (eq $errors)))
    (type $families (enum "ipv4" "ipv6")) (export "ip-address-family" (type (eq $families)))
    (type $four (tuple u8 u8 u8 u8)) (export "ipv4-address" (type $ipv4 (eq $four)))
    (type $six (tuple u16 u16 u16 u16 u16 u16 u16 u16)) (export "ipv6-address" (type $ipv6 (eq $six)))
    (type $port4 (record (field "port" u16) (field "address" $ipv4)))
    (export "ipv4-socket-address" (type $socket4 (eq $port4)))
    (type $port6 (record (field "port" u16) (field "flow-info" u32) (field "address" $ipv6) (field "scope-id" u32)))
    (export "ipv6-socket-address" (type $socket6 (eq $port6)))
    (type $either (variant (case "ipv4" $socket4) (case "ipv6" $socket6)))
    (export "ip-socket-address" (type (eq $either)))))
  (alias export $network "network" (type $net))
  (alias export $network "error-code" (type $code))
  (alias export $network "ip-address-family" (type $family))
  (alias export $network "ip-socket-address" (type $address))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "input-stream" (type (sub resource))) (export "output-stream" (type (sub resource)))))
  (alias export $streams "input-stream" (type $input))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:sockets/instance-network@0.2.0" (instance $instance
    (alias outer 1 $net (type $n)) (export "network" (type $own (eq $n)))
    (export "instance-network" (func (result (own $own))))))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (alias outer 1 $net (type $n0)) (export "network" (type $n (eq $n0)))
    (alias outer 1 $code (type $c0)) (export "error-code" (type $c (eq $c0)))
    (alias outer 1 $address (type $a0)) (export "ip-socket-address" (type $a (eq $a0)))
    (alias outer 1 $input (type $i0)) (export "input-stream" (type $i (eq $i0)))
    (alias outer 1 $output (type $o0)) (export "output-stream" (type $o (eq $o0)))
    (export "tcp-socket" (type $s (sub resource)))
    (export "[method]tcp-socket.start-connect" (func (param "self" (borrow $s)) (param "network" (borrow $n))
      (param "remote-address" $a) (result (result (error $c)))))
    (export "[method]tcp-socket.finish-connect" (func (param "self" (borrow $s))
      (result (result (tuple (own $i) (own $o)) (error $c)))))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (alias outer 1 $code (type $c0)) (export "error-code" (type $c (eq $c0)))
    (alias outer 1 $family (type $f0)) (export "ip-address-family" (type $f (eq $f0)))
    (alias outer 1 $socket (type $s0)) (export "tcp-socket" (type $s (eq $s0)))
    (export "create-tcp-socket" (func (param "address-family" $f) (result (result (own $s) (error $c)))))))
  (core module $memory (memory (export "memory") 1))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $memory))
  (core func $instance-network (canon lower (func $instance "instance-network")))
  (core func $create (canon lower (func $create "create-tcp-socket") (memory $memory)))
  (core func $start (canon lower (func $tcp "[method]tcp-socket.start-connect") (memory $memory)))
  (core func $finish (canon lower (func $tcp "[method]tcp-socket.finish-connect") (memory $memory)))
  (core module $m
    (import "m" "memory" (memory 1))
    (import "m" "network" (func $network (result i32)))
    (import "m" "create" (func $create (param i32 i32)))
    (import "m" "start" (func $start (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "m" "finish" (func $finish (param i32 i32)))
    (func (export "run") (result i32) (local $socket i32)
      (call $create (i32.const 0) (i32.const 16))
      (if (i32.load8_u (i32.const 16)) (then (return (i32.const 1))))
      (local.set $socket (i32.load (i32.const 20)))
      (call $start (local.get $socket) (call $network) (i32.const 0) (i32.const {port})
        (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 32))
      (if (i32.load8_u (i32.const 32)) (then (return (i32.const 1))))
      (loop $again
        (call $finish (local.get $socket) (i32.const 48))
        (br_if $again (i32.and (i32.load8_u (i32.const 48))
          (i32.eq (i32.load8_u (i32.const 52)) (i32.const {_WOULD_BLOCK})))))
      (i32.load8_u (i32.const 48))))
  (core instance $m (instantiate $m (with "m" (instance
    (export "memory" (memory $memory)) (export "network" (func $instance-network))
    (export "create" (func $create)) (export "start" (func $start)) (export "finish" (func $finish))))))
  (func $run (result (result)) (canon lift (core func $m "run")))
  (instance $r (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $r)))"""


def assembled(text: str, path: Path) -> Path:
    """The program in binary form, at `path`."""
    from wasmtime import wat2wasm

    path.write_bytes(wat2wasm(text))
    return path
