"""The OCI nouns: pure data, no I/O, no clock."""
