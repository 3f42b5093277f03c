"""A real registry behind nginx: TLS, a limit on bodies, a limit on requests, and a line before it that breaks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from ocibuild.api.session import Session
from ocibuild.api.transfer import copy, push
from ocibuild.errors import NetworkError, OcibuildError, RegistryError
from tests.e2e import layouts
from tests.e2e.line import Line
from tests.e2e.servers import Part, free_port, nginx, self_signed, serving

pytestmark = pytest.mark.real
MIB = 1024 * 1024

Behind = Callable[..., AbstractContextManager[str]]


@pytest.fixture(params=["docker-registry", "distribution"])
def behind(request: pytest.FixtureRequest, part: Part, tmp_path: Path) -> Behind:
    """Starts a registry and nginx before it; what is given are lines of nginx's configuration."""

    @contextmanager
    def start(*lines: str) -> Iterator[str]:
        tls = self_signed(part("openssl"), tmp_path)
        with (
            serving(request.param, part, tmp_path / "registry") as served,
            nginx(part, tmp_path / "nginx", served.host, *lines, tls=tls) as host,
        ):
            yield host

    return start


@pytest.fixture
def trust(tmp_path: Path) -> Session:
    """Speaks TLS to loopback and believes the certificate."""
    return Session(plain_http=False, ca_file=str(tmp_path / "tls.pem"))


def statuses(folder: Path, method: str) -> list[int]:
    """What nginx answered, by its own log."""
    log = (folder / "nginx/access.log").read_text()
    return [int(status) for status in re.findall(rf'"{method} [^"]*" (\d+)', log)]


def test_bodies_beyond_the_limit_go_in_chunks(behind: Behind, trust: Session, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(20 * MIB), layouts.pieces(10 * MIB, 1), b"small"])
    with behind("client_max_body_size 4m;") as host:
        push(str(tmp_path / "image"), f"{host}/limited:1", session=trust)
        assert 413 in statuses(tmp_path, "PUT")
        assert statuses(tmp_path, "PATCH").count(202) >= 8
        copy(f"{host}/limited:1", f"oci:{tmp_path}/back:1", session=trust)
    assert len(layouts.graph(tmp_path / "back", digest)) == 5


def test_a_limit_that_nothing_fits_through_is_said(behind: Behind, trust: Session, tmp_path: Path) -> None:
    layouts.write(tmp_path / "image", [layouts.pieces(MIB)])
    started = time.monotonic()
    with behind("client_max_body_size 1;") as host, pytest.raises(RegistryError, match="413") as caught:
        push(str(tmp_path / "image"), f"{host}/shut:1", session=trust)
    assert host in caught.value.message
    assert "<html>" not in str(caught.value)
    assert time.monotonic() - started < 30


def test_a_rate_limit_is_kept_to(behind: Behind, trust: Session, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [b"blob %d" % number for number in range(15)])
    few = (
        "location @few { add_header Retry-After 1 always; default_type application/json;"
        ' return 429 \'{"errors":[{"code":"TOOMANYREQUESTS","message":"slower"}]}\'; }'
    )
    limit = (
        "http:limit_req_zone $binary_remote_addr zone=few:1m rate=30r/s;",
        "limit_req zone=few burst=5 nodelay; limit_req_status 429;",
        "error_page 429 = @few;",
        few,
    )
    with behind(*limit) as host:
        push(str(tmp_path / "image"), f"{host}/busy:1", session=trust)
        refused = len(re.findall(r'HTTP/1.1" 429', (tmp_path / "nginx/access.log").read_text()))
        assert 0 < refused < 60, "one pause of the host is for all that wait"
        copy(f"{host}/busy:1", f"oci:{tmp_path}/back:1", session=trust)
    assert len(layouts.graph(tmp_path / "back", digest)) == 17


def test_tls_lines_that_break(behind: Behind, trust: Session, tmp_path: Path) -> None:
    digest = layouts.write(tmp_path / "image", [layouts.pieces(24 * MIB), b"small"])
    with behind("client_max_body_size 0;") as host:
        with Line(host, cut_up=9 * MIB, cuts=2) as line:
            push(str(tmp_path / "image"), f"{line.host}/cut:1", session=trust)
            assert line.cut == 2
        with Line(host, cut_down=7 * MIB, cuts=3) as line:
            copy(f"{line.host}/cut:1", f"oci:{tmp_path}/back:1", session=trust)
            assert line.cut == 3
            # A reset throws away what stands in buffers; without going on it would be 45 MiB.
            assert line.down < 40 * MIB, "what had come was asked for again"
    assert len(layouts.graph(tmp_path / "back", digest)) == 4


def test_a_proxy_whose_registry_is_away_is_waited_for_and_then_said(part: Part, trust: Session, tmp_path: Path) -> None:
    tls = self_signed(part("openssl"), tmp_path)
    layouts.write(tmp_path / "image", [b"a"])
    away = f"127.0.0.1:{free_port()}"
    with nginx(part, tmp_path / "nginx", away, tls=tls) as host, pytest.raises(OcibuildError, match="502") as caught:
        push(str(tmp_path / "image"), f"{host}/away:1", session=trust)
    assert len(statuses(tmp_path, "HEAD")) > 2
    assert "<html>" not in str(caught.value)


def test_an_unknown_certificate_is_refused(behind: Behind, trust: Session, tmp_path: Path) -> None:
    layouts.write(tmp_path / "image", [b"a"])
    with behind() as host:
        push(str(tmp_path / "image"), f"{host}/a:1", session=Session(plain_http=False, insecure=True))
        name = host.replace("127.0.0.1", "localhost")  # which the certificate does not speak for
        for session, place in ((trust, f"{name}/a:1"), (Session(plain_http=False), f"{host}/a:1")):
            with pytest.raises(NetworkError, match="certificate") as caught:
                push(str(tmp_path / "image"), place, session=session)
            assert caught.value.code == "tls-untrusted"
