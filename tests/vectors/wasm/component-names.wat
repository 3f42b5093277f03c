;; Names with options: what they implement, and a version that was cut to what it is compatible with.
(component
  (import "a:b/c@0.1" (version-suffix ".3") (instance $i))
  (import "primary" (implements "a:b/store") (instance))
  (type $word u32)
  (import "bound" (type $t (eq $word)))
  (core module $m (func (export "f")))
  (export "module" (core module $m))
  (export "a:b/c@1" (version-suffix ".2.3") (instance $i)))
