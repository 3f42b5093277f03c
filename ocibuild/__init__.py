"""ocibuild: OCI images from Wasm modules and static binaries, without a daemon."""

__version__ = "0.1.0"
