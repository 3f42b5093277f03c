"""The one way out of oras: what its inherited methods run through, made safe.

Below every method of `oras.provider.Registry` lie `do_request` and a few helpers. Here they are ours: one exchange with
`transport`, references by our grammar, addresses followed as RFC 3986 has it, pages that end, accounts by host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self

import oras.provider
from oras.container import Container
from requests import Response

from ocibuild.errors import AuthorizationError, RegistryError, UsageError
from ocibuild.record import replace
from ocibuild.registry import problem
from ocibuild.registry.connection import Connection
from ocibuild.registry.container import RegistryContainer
from ocibuild.registry.credentials import Credential
from ocibuild.registry.keychain import Keychain
from ocibuild.registry.origin import Origin, follow
from ocibuild.registry.settings import Settings
from ocibuild.registry.transport import Body, Call, Transport, Watch
from ocibuild.spec import jsonform
from ocibuild.spec.reference import Reference

_PAGES = 10_000
_IN_MEMORY = 256 * 1024 * 1024
"""The largest blob `get_blob` gives whole, in bytes; with `stream` it gives any."""

_BACKENDS = ("ocibuild", "token", "basic")


class Seam(oras.provider.Registry):  # type: ignore[misc]  # oras is untyped
    """An `oras.provider.Registry` for many threads. `insecure` is plain http, as oras has it; `settings` say the rest.

    Over a `connection` it shares that one's connections, tokens, scheme and settings.

    `tls_verify` may be the path of a file with authorities. Of oras's auth backends, this one does what `token` and
    `basic` do; `ecr` is a credential helper's work.

    `do_request` returns answers of any status; it raises NetworkError, AuthorizationError and RegistryError for what is
    no answer.
    """

    def __init__(
        self,
        hostname: str | None = None,
        insecure: bool = False,
        tls_verify: bool | str = True,
        auth_backend: str = "ocibuild",
        *,
        settings: Settings | None = None,
        watch: Watch | None = None,
        connection: Connection | None = None,
    ) -> None:
        if auth_backend not in _BACKENDS:
            raise RegistryError(
                f"oras's auth backend {auth_backend!r} is not offered",
                code="unsupported",
                hint="name a credential helper in docker's config.json instead, such as ecr-login for Amazon's registry",
            )
        # tls_verify=False would silence urllib3's warnings for the whole process; our context takes care of it.
        super().__init__(hostname, insecure, True, auth_backend="ocibuild")
        ca_file = tls_verify if isinstance(tls_verify, str) else None
        settings = settings or Settings(insecure=not tls_verify, ca_file=ca_file)
        self.watch = watch or Watch()
        self.connection = connection or Connection(settings, "http" if insecure else "https")
        self.settings = self.connection.settings
        self.prefix: str = self.connection.prefix
        self.session, self.auth = self.connection.session, self.connection.auth

    @classmethod
    def of(cls, reference: Reference, settings: Settings, watch: Watch | None = None) -> Self:
        """The client for a reference's registry: http where asked for, or on loopback; else https.

        Raises UsageError (`registry-blocked`, and for files that cannot be used).
        """
        watch = watch or Watch()
        return cls(reference.api_host, watch=watch, connection=Connection.of(reference, settings, watch))

    def transport(self, url: str) -> Transport:
        """The way to the origin of a URL."""
        return self.connection.transport(url)

    def close(self) -> None:
        """Close pooled connections."""
        self.connection.close()

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        stream: bool = False,
    ) -> Response:
        """One exchange; see the class for what is raised."""
        fields = dict(headers or {})
        if json is not None:
            data = jsonform.dump(json)
            fields.setdefault("Content-Type", "application/json")
        call = Call(method, url, fields, _body(data), stream=stream)
        if "/blobs/" in url and method == "GET":
            call = replace(call, limit=_IN_MEMORY)
        return self.transport(url).send(call, self.watch)

    def get_container(self, name: Any) -> Container:
        """Parse a reference by our grammar; also what was parsed by oras's."""
        if isinstance(name, RegistryContainer):
            return name
        return RegistryContainer(name.uri if isinstance(name, Container) else name, registry=self.hostname)

    def ping(self, hostname: str | None = None) -> bool:
        """True when the registry answers and accepts us. Raises AuthorizationError, RegistryError, NetworkError."""
        response = self.do_request(f"{self.prefix}://{self._host(hostname)}/v2/")
        if response.status_code != 200:
            raise problem.refusal(response, "to be spoken to")
        return True

    def login(
        self,
        username: str,
        password: str,
        password_stdin: bool = False,
        tls_verify: bool = True,
        hostname: str | None = None,
        config_path: str | None = None,
    ) -> dict[str, str]:
        """Use an account with one registry, for as long as this client lives, if the registry accepts it.

        Nothing is asked on a terminal and nothing is written to a file. Raises AuthorizationError.
        """
        host = self._host(hostname)
        if not (username and password) or password_stdin or config_path:
            raise AuthorizationError(
                "a login needs a user name and a password, and no file",
                code="credentials-missing",
                hint="ocibuild login keeps it in a file; docker login and podman login do so too, and all are read",
            )
        before = self.auth.keychain
        self._know(replace(before, explicit={**before.explicit, host: Credential(username, password)}, notes=[]), host)
        try:
            self.ping(host)
        except BaseException:
            self._know(before, host)
            raise
        return {"Status": "Login Succeeded"}

    def logout(self, hostname: str) -> None:
        """Forget a registry's account and tokens. Files are left alone."""
        before = self.auth.keychain
        explicit = {host: account for host, account in before.explicit.items() if host != hostname}
        self._know(replace(before, explicit=explicit, notes=[]), hostname)

    def set_header(self, name: str, value: str) -> None:
        """A header for `get_blob`, as oras has it. Raises AuthorizationError for Authorization: it names no host."""
        if name.lower() == "authorization":
            self.auth.set_basic_auth("", "")
        super().set_header(name, value)

    # What oras's own methods call on the way.

    def _validate_path(self, path: str) -> bool:
        return Path(path).resolve().is_relative_to(Path.cwd().resolve())

    def _check_200_response(self, response: Response) -> None:
        if response.status_code not in (200, 201, 202, 204):
            raise problem.refusal(response, "the request")

    def _get_location(self, r: Response, container: Container) -> str:
        location = r.headers.get("Location", "")
        return follow(r.url, location) if location else ""

    def _do_paginated_request(self, url: str, callable: Callable[[Response], bool]) -> None:
        seen: set[str] = set()
        while url not in seen and len(seen) < _PAGES:
            seen.add(url)
            response = self.do_request(url, "GET", headers={"Accept": "application/json"})
            self._check_200_response(response)
            _is_object(response)
            link = response.links.get("next", {}).get("url") if callable(response) else None
            if not link:
                return
            url = follow(response.url, link)
            if Origin.of(url) != Origin.of(response.url):
                raise RegistryError("the next page of a list lies on another host", code="location-refused")
        raise RegistryError("the pages of a list do not end", code="location-refused")

    def _host(self, hostname: str | None = None) -> str:
        host = hostname or self.hostname
        if not host:
            raise UsageError("which registry is not said", hint="give the client or the call a host name")
        return str(host)

    def _to(self, container: Container) -> Transport:
        return self.transport(f"{self.prefix}://{container.registry}")

    def _know(self, keychain: Keychain, host: str) -> None:
        self.auth.keychain = keychain
        self.auth.logout(host)


def _is_object(response: Response) -> None:
    try:
        is_object = isinstance(response.json(), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise problem.stranger(response, "a list")


def _body(data: Any) -> Body:
    if data is None:
        return b""
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, bytes):
        return data
    if isinstance(data, Mapping):
        from urllib.parse import urlencode

        return urlencode(data).encode()
    return partial(_rewound, data, data.tell())


@contextmanager
def _rewound(stream: BinaryIO, start: int) -> Iterator[BinaryIO]:
    stream.seek(start)  # a file that was sent once is at its end, and would be sent as nothing
    yield stream
