"""A certificate authority of the tests' own, by openssl, and the contexts of servers that it vouches for."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    """`certificate` is what to trust."""

    def __init__(self, openssl: str, folder: Path, name: str = "Authority of the tests") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / "authority.pem"
        self._openssl = openssl
        self._key = folder / "authority.key"
        said = ["-subj", f"/O=Tests/CN={name}", "-keyout", str(self._key), "-out", str(self.certificate)]
        self._run("req", "-x509", *_KEY, "-days", "3", *said)

    def issue(self, name: str, *hosts: str, days: int = 2) -> tuple[Path, Path]:
        """Certificate and key; `hosts` as IP:127.0.0.1 or DNS:r.example. Negative `days`: it is over."""
        certificate, key, request = (self.folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={','.join(hosts)}\n" if hosts else "basicConstraints=CA:FALSE\n")
        self._run("req", *_KEY, "-subj", f"/O=Tests/CN={name}", "-keyout", str(key), "-out", str(request))
        signing = [
            "-CA",
            str(self.certificate),
            "-CAkey",
            str(self._key),
            "-CAcreateserial",
            "-extfile",
            str(extensions),
        ]
        self._run("x509", "-req", "-in", str(request), *signing, "-days", str(days), "-out", str(certificate))
        return certificate, key

    def encrypt(self, key: Path) -> Path:
        """The same key behind a password."""
        out = key.with_suffix(".encrypted")
        self._run("ec", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(out))
        return out

    def serving(self, *hosts: str, clients: Path | None = None, days: int = 2) -> ssl.SSLContext:
        """A server's context; with `clients`, one that wants certificates of that authority."""
        certificate, key = self.issue(
            f"server{len(list(self.folder.iterdir()))}", *(hosts or ("IP:127.0.0.1",)), days=days
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cafile=str(clients))
        return context

    def _run(self, *words: str) -> None:
        subprocess.run([self._openssl, *words], check=True, capture_output=True, timeout=60)
