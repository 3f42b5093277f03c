;; The compact import section proposal: one module name, then one type, for several imports.
(module
  (import "env"
    (item "read" (func (param i32)))
    (item "memory" (memory 3)))
  (import "env" 
    (item "width")
    (item "height")
    (global i32)))
