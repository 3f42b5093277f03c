"""A registry in this process, for tests: whole, on a loopback port, and as unreliable as a test wants it.

with Registry() as registry:
    registry.refuse(503, times=2, path="/manifests/")
    push(registry.reference("hello:1"))
    assert registry.count("PUT", "/manifests/") == 3
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from ocibuild import ambient
from ocibuild.api.serve import equipped
from ocibuild.spec import jsonform, mediatype
from ocibuild.spec.digest import Digest

if TYPE_CHECKING:
    from ocibuild.serve.limits import Limits
    from ocibuild.serve.registry import Registry as Content
    from ocibuild.serve.uploads import Body
    from ocibuild.testing.faults import Fault, Seen


class Registry:
    """An OCI registry (distribution-spec 1.1) that runs while the `with` lasts, over `folder` or one of its own.

    With `user` and `password` it wants a login: a token from its own service, or with `basic` the two themselves. A token
    is good for `token_uses` requests, None for any number; `token_seconds` is the life that clients are told.
    `referrers=False` answers as registries do that do not know the referrers API, and `ranges=False` as those that do not
    know ranges. `content` is what it holds (`ocibuild.serve.registry.Registry`).

    Faults are planned by `refuse`, `drop`, `slow`, `lie`, `damage` and `truncate`, for the requests whose method and path
    (with its query) the given regular expressions find: the first `skip` of them are left alone, the next `times` are met,
    None for all from now on. Each gives a Fault, which counts how often it was met, and can be lifted or used in a `with`.

    Raises ToolError (`extra-missing`) where ocibuild[serve] is not installed.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        user: str = "",
        password: str = "",
        basic: bool = False,
        token_uses: int | None = None,
        token_seconds: int = 300,
        referrers: bool = True,
        ranges: bool = True,
        limits: Limits | None = None,
    ) -> None:
        equipped()
        from ocibuild.serve.app import App
        from ocibuild.serve.registry import Registry as Content
        from ocibuild.serve.server import Server
        from ocibuild.testing.faults import Faults
        from ocibuild.testing.login import Login

        self._temporary = tempfile.TemporaryDirectory(prefix="oci-registry-") if folder is None else None
        self.folder = folder if folder is not None else Path(cast(Any, self._temporary).name)
        self.content: Content = Content(self.folder, clock=ambient.seconds, limits=limits)
        app: Any = App(self.content)
        self._login: Login | None = None
        if user:
            app = self._login = Login(app, user, password, basic=basic, uses=token_uses, seconds=token_seconds)
        self._faults = Faults(app)
        self._faults.ranges = ranges
        if not referrers:
            self._faults.always += [_without_referrers(), _without_subjects()]
        self._limits = limits
        self._server_of = Server
        self._server: Server | None = None
        self._port = 0

    # Where it is

    @property
    def address(self) -> str:
        """127.0.0.1:port, as references begin with it."""
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """http://127.0.0.1:port."""
        return f"http://{self.address}"

    def reference(self, name: str) -> str:
        """The reference of `name:tag` or `name@digest` here."""
        return f"{self.address}/{name}"

    # Its life

    def start(self) -> None:
        """Listen; after `stop`, on the same port again."""
        if self._server is None:
            self._faults.ended.clear()
            self._server = self._server_of(self._faults, port=self._port, limits=self._limits)
            self._server.begin()
            self._port = self._server.port

    def stop(self) -> None:
        """Stop listening, and break every connection; what it holds stays."""
        server, self._server = self._server, None
        if server is not None:
            self._faults.ended.set()
            server.end()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Nobody listens while the `with` lasts."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    # What happened

    @property
    def requests(self) -> tuple[Seen, ...]:
        """Every request so far, those that were met by faults too."""
        return tuple(self._faults.seen)

    def seen(self, method: str = "", path: str = "") -> list[Seen]:
        """The requests whose method and path the regular expressions find."""
        import re

        return [one for one in self.requests if re.search(method, one.method) and re.search(path, one.path)]

    def count(self, method: str = "", path: str = "") -> int:
        """How many those are."""
        return len(self.seen(method, path))

    @property
    def tokens(self) -> int:
        """How many tokens were given out."""
        return self._login.issued if self._login is not None else 0

    # What it holds

    def blob(self, name: str, data: bytes) -> str:
        """Have a blob in a repository, without a request: its digest."""
        digest = Digest.of(data)
        upload = self.content.begin(name)
        self.content.append(upload, cast("Body", BytesIO(data)))
        self.content.finish(name, upload, digest)
        return str(digest)

    def manifest(self, name: str, document: Mapping[str, Any] | bytes, media_type: str | None = None) -> str:
        """Have a manifest as `name:tag`, or `name` alone, without a request: its digest. Its blobs must be there."""
        data = document if isinstance(document, bytes) else jsonform.dump(dict(document))
        repository, _, tag = name.partition(":")
        target = tag or Digest.of(data)
        return str(self.content.put(repository, target, data, media_type).digest)

    def image(self, name: str, *layers: bytes, **members: Any) -> str:
        """Have an image of these layers as `name:tag`, without a request: its digest. `members` are the manifest's."""
        repository = name.partition(":")[0]
        config = b"{}"
        entries = [
            {"mediaType": "application/octet-stream", "digest": self.blob(repository, layer), "size": len(layer)}
            for layer in layers or (name.encode(),)
        ]
        document = {
            "schemaVersion": 2,
            "mediaType": mediatype.MANIFEST,
            "config": {
                "mediaType": "application/vnd.oci.empty.v1+json",
                "digest": self.blob(repository, config),
                "size": len(config),
            },
            "layers": entries,
            **members,
        }
        return self.manifest(name, document, mediatype.MANIFEST)

    # Faults

    def plan(self, fault: Fault) -> Fault:
        """Have any fault happen from now on; the methods below plan the usual ones. Raises ValueError, and re.error."""
        return self._faults.plan(fault)

    def clear(self) -> None:
        """Nothing is wrong any more."""
        self._faults.clear()

    def refuse(
        self,
        status: int,
        *,
        retry_after: int | None = None,
        body: bytes = b"",
        method: str = "",
        path: str = "",
        times: int | None = 1,
        skip: int = 0,
    ) -> Fault:
        """Answer with a status, as 429 or 503, and with Retry-After in seconds where that is given."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return self._plan(method, path, times, skip, status=status, headers=headers, body=body)

    def drop(
        self,
        at: Literal["request", "answer"] = "request",
        *,
        received: int | None = None,
        sent: int | None = None,
        method: str = "",
        path: str = "",
        times: int | None = 1,
        skip: int = 0,
    ) -> Fault:
        """Break the connection: before the request is looked at, or `at` the answer, which is lost then.

        Or in the middle of a body: after so many bytes `received` of the request's, which are kept, or `sent` of the answer's.
        """
        if received is not None or sent is not None:
            return self._plan(method, path, times, skip, received=received, sent=sent)
        return self._plan(method, path, times, skip, drop=at)

    def slow(
        self,
        *,
        delay: float = 0,
        rate: int | None = None,
        method: str = "",
        path: str = "",
        times: int | None = None,
        skip: int = 0,
    ) -> Fault:
        """Wait `delay` seconds before an answer, and move bodies at `rate` bytes a second."""
        return self._plan(method, path, times, skip, delay=delay, rate=rate)

    def lie(self, digest: str = "", *, method: str = "", path: str = "", times: int | None = 1, skip: int = 0) -> Fault:
        """Say another digest in Docker-Content-Digest than the content has: `digest`, or that of nothing."""
        said = digest or f"sha256:{hashlib.sha256(b'').hexdigest()}"
        return self._plan(method, path, times, skip, headers={"Docker-Content-Digest": said})

    def damage(self, *, method: str = "GET", path: str = "", times: int | None = 1, skip: int = 0) -> Fault:
        """Answer with other bytes than were pushed, as many of them."""
        return self._plan(method, path, times, skip, damage=True)

    def truncate(
        self, size: int, *, method: str = "GET", path: str = "", times: int | None = 1, skip: int = 0
    ) -> Fault:
        """Answer with the first `size` bytes, as if that were all."""
        return self._plan(method, path, times, skip, truncate=size)

    def revoke(self) -> None:
        """Every token given so far is void."""
        if self._login is not None:
            self._login.revoke()

    def _plan(self, method: str, path: str, times: int | None, skip: int, **what: Any) -> Fault:
        from ocibuild.testing.faults import Fault

        return self._faults.plan(Fault(method=method, path=path, times=times, skip=skip, **what))


def _without_referrers() -> Fault:
    from ocibuild.testing.faults import Fault

    return Fault(path="/referrers/", times=None, status=404, body=b"404 page not found\n")


def _without_subjects() -> Fault:
    from ocibuild.testing.faults import Fault

    return Fault(method="PUT", path="/manifests/", times=None, headers={"OCI-Subject": ""})
