"""An image, or a bare file, becomes a running program: what is started, in which sandbox, and how it ended."""
