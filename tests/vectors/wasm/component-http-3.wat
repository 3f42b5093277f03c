;; WASI 0.3: another interface, asynchronous, and its canonical names inside.
(component
  (import "wasi:http/types@0.3.0-rc-2025-09-16" (instance))
  (import "next" (instance $next (export "handle" (func async (param "request" u32)))))
  (core module
    (import "[export]wasi:http/handler@0.3.0-rc-2025-09-16" "[task-return]handle" (func (param i32)))
    (func (export "[async-lift]wasi:http/handler@0.3.0-rc-2025-09-16#handle") (param i32) (result i32) unreachable))
  (export "wasi:http/handler@0.3.0-rc-2025-09-16" (instance $next)))
