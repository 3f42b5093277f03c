;; What a C or Rust compiler makes of a main function for WASI preview 1, as small as it gets.
(module $greeter
  (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
  (memory (export "memory") 2 16)
  (func (export "_start"))
)
