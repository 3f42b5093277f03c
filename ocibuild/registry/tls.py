"""The TLS context of a registry: TLS 1.2 or later, the system's authorities, and those named from outside."""

from __future__ import annotations

import os
import ssl
import threading

from ocibuild.errors import UsageError
from ocibuild.registry.settings import Settings

_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


class Context:
    """The context of some settings, made at the first https request: parsing the authorities takes a while."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._made: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        """One and the same for all connections. Raises UsageError (`ca-file-invalid`)."""
        with self._lock:
            self._made = self._made or context(self._settings)
            return self._made


def context(settings: Settings) -> ssl.SSLContext:
    """One context for all connections of a client. Raises UsageError (`ca-file-invalid`)."""
    made = ssl.create_default_context()
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if not made.cert_store_stats()["x509_ca"] and not _has_system_folder():
        import certifi

        made.load_verify_locations(certifi.where())
    for variable in _VARIABLES:
        if path := settings.environ.get(variable):
            _load(made, path, variable)
    if settings.ca_file:
        _load(made, settings.ca_file, "the CA file")
    if settings.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _has_system_folder() -> bool:
    folder = ssl.get_default_verify_paths().capath
    return bool(folder and os.path.isdir(folder) and os.listdir(folder))


def _load(made: ssl.SSLContext, path: str, what: str) -> None:
    try:
        made.load_verify_locations(capath=path) if os.path.isdir(path) else made.load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        reason = "holds no PEM certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageError(
            f"{what} {path} cannot be used: {reason}",
            code="ca-file-invalid",
            hint="give a file of certificates in PEM form",
        ) from error
