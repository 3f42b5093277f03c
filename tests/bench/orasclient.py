"""oras-py as its own documentation uses it: a file is pushed, or pulled into a folder.

orasclient.py push|pull REFERENCE AUTHORITIES PATH; AUTHORITIES is a file, or - for plain http.
"""

from __future__ import annotations

import sys

import oras.client

_, verb, reference, authorities, path = sys.argv
secure = authorities != "-"
client = oras.client.OrasClient(insecure=not secure, tls_verify=authorities if secure else True)
if verb == "push":
    client.push(files=[path], target=reference, disable_path_validation=True)
else:
    client.pull(target=reference, outdir=path)
