(component
  (type $handler (instance (export "handle" (func (param "request" u32)))))
  (import "wasi:http/types@0.2.0" (instance))
  (import "next" (instance $next (type $handler)))
  (import "resources" (type (sub resource)))
  (import "plugin" (core module))
  (import "filter" (component))
  (export "wasi:http/incoming-handler@0.2.0" (instance $next)))
