"""oras-py as its own documentation uses it: a file is pushed."""

from __future__ import annotations

import sys

import oras.client

_, path, reference, authorities = sys.argv
secure = authorities != "-"
client = oras.client.OrasClient(insecure=not secure, tls_verify=authorities if secure else True)
client.push(files=[path], target=reference, disable_path_validation=True)
