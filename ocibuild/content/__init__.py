"""Bytes on the move: blobs that open twice, codecs, tar, verification, atomic files, and the flow that carries them."""
