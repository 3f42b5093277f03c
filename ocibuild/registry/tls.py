"""TLS contexts, one for each origin: TLS 1.2 or later, the system's authorities, and what certs.d and variables add.

An origin a registry redirects to gets a context of its own, so that our certificate for the one is never shown to the
other. A handshake that fails tells which certificate it was about.
"""

from __future__ import annotations

import errno
import os
import re
import select
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from ocibuild.errors import UsageError
from ocibuild.registry import certs
from ocibuild.registry.origin import Origin
from ocibuild.registry.proxy import origin_of
from ocibuild.registry.settings import UNKNOWN, Certificate, Settings, Trust

FILES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that name authorities beside the system's: a file in PEM, or a folder."""

FOLDERS = "SSL_CERT_DIR"
"""The variable that names folders of them, separated as PATH is."""

_CAN_POLL = hasattr(select, "poll")  # Windows cannot
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")


class Contexts:
    """The contexts of some settings, made when first asked for: parsing the system's authorities takes a while."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._made: dict[Trust, ssl.SSLContext] = {}
        self._chosen: dict[tuple[Origin, bool], ssl.SSLContext] = {}

    def of(self, url: str) -> ssl.SSLContext:
        """For a registry, or where it leads to. Raises UsageError (`ca-file-invalid`, `certs-invalid`)."""
        return self._choose(Origin.of(url), self._settings.insecure)

    def of_proxy(self, url: str) -> ssl.SSLContext:
        """For an https proxy, to which "any certificate of the registry" was not meant."""
        return self._choose(origin_of(url), False)

    def _choose(self, origin: Origin, insecure: bool) -> ssl.SSLContext:
        with self._lock:
            if (origin, insecure) not in self._chosen:
                trust = certs.trust(origin, self._settings) | Trust(insecure=insecure)
                if trust not in self._made:
                    self._made[trust] = context(self._settings, trust)
                self._chosen[origin, insecure] = self._made[trust]
            return self._chosen[origin, insecure]


class _Socket(ssl.SSLSocket):
    """A socket whose handshake ends in time, and whose failure says which certificate was shown."""

    _arrivals: Any = None
    _failure: OSError | None = None

    def do_handshake(self, block: bool = False) -> None:
        before = self.gettimeout()
        self.settimeout(getattr(self.context, "handshake", before))  # of the whole, however it trickles
        try:
            super().do_handshake(block)
        except ssl.SSLCertVerificationError as error:
            with suppress(Exception):  # what is not public may not be there
                shown: Any = self._sslobj.get_unverified_chain()[0].get_info()  # type: ignore[attr-defined]
                error.shown = shown  # type: ignore[attr-defined]
            raise
        self.settimeout(before)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As ssl has it, and on with the records that have come already: it gives one, and each goes a long way up."""
        if self._failure is not None:
            raise self._failure
        view = memoryview(buffer).cast("B")[: nbytes or None]
        got = super().recv_into(view, None, flags)
        if not 0 < got < len(view) or not _CAN_POLL:
            return got
        if self._arrivals is None:
            self._arrivals = select.poll()
            self._arrivals.register(self, select.POLLIN)
        poll, read = self._arrivals.poll, self._sslobj.read  # type: ignore[attr-defined]
        try:
            while got < len(view) and poll(0) and (more := read(len(view) - got, view[got:])):
                got += more
        except OSError as error:  # TimeoutError and what TLS finds wrong are such
            self._failure = error  # who comes for the next bytes is told
        return got

    def send(self, data: Any, flags: int = 0) -> int:
        try:
            return super().send(data, flags)
        except ssl.SSLEOFError as error:
            # The peer is gone, perhaps with a last word (an alert, an early answer) that urllib3 reads after this.
            raise BrokenPipeError(errno.EPIPE, "the peer closed the connection") from error


class _Context(ssl.SSLContext):
    sslsocket_class = _Socket
    handshake: float


def context(settings: Settings, trust: Trust = UNKNOWN) -> ssl.SSLContext:
    """A context that trusts the system's authorities and `trust`. Raises UsageError."""
    made = _Context(ssl.PROTOCOL_TLS_CLIENT)
    made.handshake = settings.timeouts.connect
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    # As OpenSSL, curl and Go have it on every Python: from 3.13 on it would refuse private authorities for want of
    # extensions, and a certificate that was put into certs.d is trusted though another signed it.
    made.verify_flags = (made.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN) & ~ssl.VERIFY_X509_STRICT
    made.load_default_certs()
    if not made.cert_store_stats()["x509_ca"] and not _has_system_folder():
        import certifi

        made.load_verify_locations(certifi.where())
    for variable in FILES:
        if path := settings.environ.get(variable):
            _load(made, path, variable)
    for path in settings.environ.get(FOLDERS, "").split(os.pathsep):
        if path and os.path.isdir(path):
            _load(made, path, FOLDERS)
    if settings.ca_file:
        _load(made, settings.ca_file, "the CA file")
    for authority in trust.authorities:
        _load(made, str(authority), "the authority")
    for certificate in reversed(trust.certificates):  # of one kind of key, OpenSSL keeps what it was told last
        _introduce(made, certificate)
    if trust.insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made


def _has_system_folder() -> bool:
    folder = ssl.get_default_verify_paths().capath
    return bool(folder and os.path.isdir(folder) and os.listdir(folder))


def _load(made: ssl.SSLContext, path: str, what: str) -> None:
    try:
        if not os.path.isdir(path):
            made.load_verify_locations(cafile=path)
            return
        names = os.listdir(path)
        if any(_HASHED.fullmatch(name) for name in names):
            made.load_verify_locations(capath=path)
            return
        for name in sorted(names):  # OpenSSL sees hashed names only, others every file
            if name.endswith((".pem", ".crt")):
                made.load_verify_locations(cafile=os.path.join(path, name))
    except OSError as error:  # ssl.SSLError is one
        reason = "holds no PEM certificates" if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageError(
            f"{what} {path} cannot be used: {reason}",
            code="ca-file-invalid",
            hint="give a file of certificates in PEM form",
        ) from error


def _introduce(made: ssl.SSLContext, certificate: Certificate) -> None:
    """Let our own certificate be shown where it is asked for."""

    def locked() -> str:
        raise _unusable(certificate.key, "it is encrypted", "decrypt the key: openssl pkey -in KEY -out PLAIN")

    for path in (certificate.certificate, certificate.key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise _unusable(path, str(error.strerror), "give two files in PEM form") from error
    try:
        made.load_cert_chain(certificate.certificate, certificate.key, password=locked)
    except (OSError, ValueError) as error:
        is_other = "MISMATCH" in str(error)
        why = f"{certificate.key} is not its key" if is_other else "they are not a certificate and a key in PEM form"
        raise _unusable(certificate.certificate, why, "give two files in PEM form that belong together") from error


def _unusable(path: Path, why: str, hint: str) -> UsageError:
    return UsageError(
        f"the client certificate {path} cannot be used: {why}", code="client-certificate-invalid", hint=hint
    )
