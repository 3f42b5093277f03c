(component
  (import "wasi:io/streams@0.2.3" (instance))
  (import "wasi:cli/environment@0.2.0" (instance))
  (import "log" (func (param "text" string)))
  (core module $main
    (memory (export "memory") 17)
    (func (export "run") (result i32) (i32.const 0))
    (@custom "producers" "\01\08language\01\04Rust\041.80"))
  (core instance $main (instantiate $main))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (component $interface
    (import "run" (func $run (result (result))))
    (export "run" (func $run)))
  (instance $command (instantiate $interface (with "run" (func $run))))
  (export "wasi:cli/run@0.2.3" (instance $command)))
