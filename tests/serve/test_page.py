"""The page as it is read: what stands where, for images that ocibuild packs, and what every answer says to a browser."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

import pytest

from ocibuild import pack
from ocibuild.serve.access import Access
from ocibuild.serve.upstream import Absent
from ocibuild.spec.digest import Digest
from tests.serve.paging import CONFIG, INDEX, LAYER, MANIFEST, SAMPLES, Element, Pages, parsed, tarred

POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "script-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """A registry over a folder of layouts that ocibuild packed."""
    root = tmp_path_factory.mktemp("registry")
    natives = [str(SAMPLES / f"hello-linux-{machine}") for machine in ("amd64", "arm64")]
    pack(str(SAMPLES / "hello.wasm"), *natives, output=str(root / "demo/hello"), tags=["x.test/demo/hello:2"])
    pack(str(SAMPLES / "hello.wasm"), output=str(root / "demo/hello"), tags=["x.test/demo/hello:1"])
    pack(str(SAMPLES / "hello-http.wasm"), output=str(root / "http"), tags=["x.test/http:1"], consumer="wkg")
    pack(
        natives[0],
        output=str(root / "service"),
        tags=["x.test/service:3"],
        env=("LOG=debug",),
        label=("team=blue",),
        annotation=("org.opencontainers.image.source=https://example.org/service",),
        nonroot=True,
    )
    return Pages(root)


def table(page: Element) -> list[list[str]]:
    """The rows of the list on a page."""
    (found,) = page.find("table", id="rows")
    (body,) = found.find("tbody")
    return [[cell.text for cell in row.children] for row in body.find("tr")]


def section(page: Element, heading: str) -> Element:
    """The section under a heading; counts behind headings are left out."""
    for found in page.find("section"):
        titles = [re.sub(r" \d+$", "", title.text) for title in found.find("h2")]
        if heading in titles:
            return found
    raise AssertionError(f"there is no section {heading}")


def pairs(element: Element) -> dict[str, str]:
    """What stands in definition lists."""
    found: dict[str, str] = {}
    for row in element.find("div"):
        if [child.tag for child in row.children] == ["dt", "dd"]:
            found[row.children[0].text] = row.children[1].text
    return found


def digest_of(pages: Pages, name: str, tag: str) -> str:
    index = json.loads((pages.root / name / "index.json").read_bytes())
    for entry in index["manifests"]:
        if entry["annotations"]["org.opencontainers.image.ref.name"].endswith(tag):
            digest: str = entry["digest"]
            return digest
    raise AssertionError(tag)


def commands(page: Element) -> list[str]:
    return [found.children[0].text for found in page.find("div", class_="command")]


# --- what stands where ----------------------------------------------------------------------------------------------


def test_the_first_page_lists_repositories_with_counts_and_sizes(pages: Pages) -> None:
    page = pages.page("/")
    rows = table(page)
    assert [row[0] for row in rows] == ["demo/hello", "http", "service"]
    assert [row[1] for row in rows] == ["2", "1", "1"]
    for row, name in zip(rows, ["demo/hello", "http", "service"], strict=True):
        blobs = [path.stat().st_size for path in (pages.root / name / "blobs/sha256").iterdir()]
        number, unit = row[2].split()
        assert float(number.replace(",", "")) * {"B": 1, "KiB": 1024, "MiB": 1024**2}[unit] == pytest.approx(
            sum(blobs), rel=0.05
        )
        assert row[3] == str(len(blobs))
    (summary,) = page.find("p", class_="sum")
    assert summary.text.startswith("3 repositories · ")


def test_links_lead_from_repositories_to_tags_to_manifests(pages: Pages) -> None:
    links = {link.text: link["href"] for link in pages.page("/").find("a")}
    assert links["demo/hello"] == "/r/demo/hello"
    rows = table(pages.page("/r/demo/hello"))
    assert [row[0] for row in rows] == ["1", "2"]  # the one that was pushed last first
    assert "index of 3" in rows[1][1]
    assert all(platform in rows[1][1] for platform in ("linux/amd64", "linux/arm64", "wasi/wasm"))
    links = {link.text: link["href"] for link in pages.page("/r/demo/hello").find("a")}
    assert links["2"] == "/r/demo/hello:2"
    assert pages.get(links["2"]).status_code == 200


def test_an_index_is_a_tree_down_to_the_files(pages: Pages) -> None:
    contents = section(pages.page("/r/demo/hello:2"), "Contents")
    nodes = list(contents.find("li", class_="node"))
    assert [next(node.find("span", class_="role")).text for node in nodes] == [
        "linux/amd64",
        "linux/arm64",
        "wasi/wasm",
    ]
    wasm = nodes[2]
    assert [found.text for found in wasm.find("span", class_="role")][1:] == ["Config", "Layer"]
    assert [cell.text for cell in wasm.find("td", class_="path")] == ["/hello.wasm"]
    assert [code.text for code in wasm.find("code", class_="type")] == [CONFIG, f"{LAYER}+gzip"]
    size = (SAMPLES / "hello.wasm").stat().st_size
    (files_table,) = wasm.find("table", class_="files")
    assert f"{size / 1024:.1f} KiB" in files_table.text
    inside = json.loads(pages.get(f"/v2/demo/hello/manifests/{digest_of(pages, 'demo/hello', '2')}").data)["manifests"]
    links = [link["href"] for link in contents.find("a", class_="mono")]
    assert links == [f"/r/demo/hello@{entry['digest']}" for entry in inside]
    for link in links:
        assert pages.get(link).status_code == 200


def test_a_component_says_its_level_and_what_it_imports_and_exports(pages: Pages) -> None:
    page = pages.page("/r/http:1")
    program = section(page, "Program")
    # What wasm-tools component wit says of samples/hello-http.wasm.
    for name in ("wasi:io/error@0.2.0", "wasi:io/streams@0.2.0", "wasi:http/types@0.2.0"):
        assert name in program.text
    assert "wasi:http/incoming-handler@0.2.0" in program.text
    (head,) = page.find("p", class_="chips")
    assert {chip.text for chip in head.find("span", class_="chip")} >= {
        "Wasm artifact",
        "component",
        "WASI 0.2.0",
        "http",
    }
    assert pairs(program)["Role"] == "an HTTP handler"


def test_a_module_says_what_it_needs_of_wasi(pages: Pages) -> None:
    program = section(pages.page("/r/demo/hello:1"), "Program")
    assert "WASI preview 1" in program.text
    assert {"args_get", "fd_write", "proc_exit"} <= {code.text for code in program.find("code")}
    assert "_start" in program.text


def test_a_native_program_and_its_config(pages: Pages) -> None:
    page = pages.page("/r/service:3")
    assert pairs(section(page, "Program"))["Machine"] == "x86-64, 64 bits, little endian"
    config = section(page, "Config")
    assert pairs(config)["Entrypoint"] == "/hello"
    assert "LOG=debug" in config.text
    assert pairs(config)["team"] == "blue"
    assert pairs(config)["User"] == "65532:65532"
    annotations = section(page, "Annotations")
    (link,) = annotations.find("a")
    assert (link["href"], link.text) == ("https://example.org/service",) * 2
    assert {"noopener", "noreferrer"} <= set(link["rel"].split())


def test_commands_have_the_servers_own_address(pages: Pages) -> None:
    assert commands(pages.page("/r/service:3")) == [
        "ocibuild pull localhost:5000/service:3",
        "ocibuild run localhost:5000/service:3",
        "docker pull localhost:5000/service:3",
        "docker run --rm localhost:5000/service:3",
        "podman pull --tls-verify=false localhost:5000/service:3",
        "podman run --rm localhost:5000/service:3",
        "ctr image pull --plain-http localhost:5000/service:3",
        "ctr run --rm localhost:5000/service:3 service",
    ]
    assert "wasmtime serve http.wasm" in commands(pages.page("/r/http:1"))
    assert "wasmtime run hello.wasm" in commands(pages.page("/r/demo/hello:1"))
    digest = digest_of(pages, "service", "3")
    assert f"docker pull localhost:5000/service@{digest}" in commands(pages.page(f"/r/service@{digest}"))


@pytest.mark.parametrize(
    "host, scheme, first",
    [
        ("registry.example:8443", "https", "ocibuild pull registry.example:8443/service:3"),
        ("registry.example", "http", "ocibuild pull --plain-http registry.example/service:3"),
        ("box", "http", "ocibuild pull --plain-http box:80/service:3"),
        ("box", "https", "ocibuild pull box:443/service:3"),
        ("127.0.0.1:5000", "http", "ocibuild pull 127.0.0.1:5000/service:3"),
        ("[::1]:5000", "http", "ocibuild pull [::1]:5000/service:3"),
        ("localhost", "http", "ocibuild pull localhost/service:3"),
        ("a;rm -rf /", "http", "ocibuild pull localhost/service:3"),
        ("<script>", "http", "ocibuild pull localhost/service:3"),
    ],
)
def test_the_address_is_what_the_browser_asked_for(pages: Pages, host: str, scheme: str, first: str) -> None:
    answer = pages.client.get("/r/service:3", environ_overrides={"HTTP_HOST": host, "wsgi.url_scheme": scheme})
    assert commands(parsed(answer.text))[0] == first


def test_the_commands_for_docker_name_a_platform_only_for_wasm(pages: Pages) -> None:
    assert "docker pull --platform wasi/wasm localhost:5000/demo/hello:1" in commands(pages.page("/r/demo/hello:1"))
    mixed = commands(pages.page("/r/demo/hello:2"))
    assert "docker pull localhost:5000/demo/hello:2" in mixed
    assert any("io.containerd.wasmtime.v1" in line for line in mixed)


def test_what_is_copied_is_what_is_shown(pages: Pages) -> None:
    page = pages.page("/r/demo/hello:2")
    copied = [button["data-copy"] for button in page.find("button", class_="copy")]
    assert digest_of(pages, "demo/hello", "2") in copied
    assert set(commands(page)) <= set(copied)
    # Without JavaScript there are no buttons that do nothing.
    assert all("hidden" in button.attributes for button in page.find("button"))


def test_raw_documents_are_laid_out(pages: Pages) -> None:
    page = pages.page("/r/service:3?show=json")
    (shown,) = page.find("pre")
    data = pages.get("/v2/service/manifests/3").data
    assert json.loads("".join(shown.pieces)) == json.loads(data)
    page = pages.page("/r/service:3?show=config")
    (shown,) = page.find("pre")
    assert json.loads("".join(shown.pieces))["config"]["Entrypoint"] == ["/hello"]
    assert pages.get("/r/demo/hello:2?show=config").status_code == 404  # an index has none


def test_referrers_are_listed_and_lead_back(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "registry")
    digest = pages.image("a", "v1", [(LAYER, tarred(("x", b"1")))])
    subject = {"mediaType": MANIFEST, "digest": digest, "size": pages.registry.manifest("a", "v1").size}
    attached = pages.image("a", None, [], subject=subject, artifactType="application/spdx+json")
    referrers = section(pages.page("/r/a:v1"), "Referrers")
    assert "application/spdx+json" in referrers.text
    assert [link["href"] for link in referrers.find("a")] == [f"/r/a@{attached}"]
    assert f"/r/a@{digest}" in [link["href"] for link in pages.page(f"/r/a@{attached}").find("a")]
    untagged = pages.page("/r/a")
    (details,) = untagged.find("details", id="untagged")
    assert f"/r/a@{attached}" in [link["href"] for link in details.find("a")]


def test_an_empty_registry_says_how_to_begin(tmp_path: Path) -> None:
    page = Pages(tmp_path / "registry").page("/")
    assert "ocibuild pack hello.wasm -t localhost:5000/hello:1 --push" in commands(page)


def test_a_layout_served_alone_is_one_repository(tmp_path: Path) -> None:
    pack(str(SAMPLES / "hello.wasm"), output=str(tmp_path / "hello.oci"), tags=["x.test/hello:1"])
    pages = Pages(tmp_path / "hello.oci")
    assert [row[0] for row in table(pages.page("/"))] == ["hello"]
    assert "/hello.wasm" in pages.page("/r/hello:1").text


def test_many_repositories_and_tags_come_in_pages(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "registry")
    digest = pages.image("r000", "t000", [])
    document = pages.get(f"/v2/r000/manifests/{digest}").data
    for number in range(1, 120):
        pages.put("r000", f"t{number:03}", document)
        (tmp_path / f"registry/r{number:03}").mkdir()
        (tmp_path / f"registry/r{number:03}/index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    first, second = table(pages.page("/")), table(pages.page("/?page=2"))
    assert [row[0] for row in first + second] == [f"r{number:03}" for number in range(120)]
    rows = table(pages.page("/r/r000")) + table(pages.page("/r/r000?page=2"))
    assert [row[0] for row in rows] == [f"t{number:03}" for number in reversed(range(120))]
    assert [link["href"] for link in pages.page("/").find("a", rel="next")] == ["?page=2"]
    assert [row[0] for row in table(pages.page("/?q=r11"))] == [f"r11{number}" for number in range(10)]
    assert [row[0] for row in table(pages.page("/?page=99"))] == [row[0] for row in second]


def test_what_another_tool_changes_is_seen(pages: Pages, tmp_path: Path) -> None:
    root = tmp_path / "registry"
    own = Pages(root)
    before = own.get("/-/state").headers["ETag"]
    pack(str(SAMPLES / "hello.wasm"), output=str(root / "new"), tags=["x.test/new:1"])
    assert [row[0] for row in table(own.page("/"))] == ["new"]
    own.site._shelves._told = (0.0, "")  # the half second is over
    assert own.get("/-/state").headers["ETag"] != before


# --- what answers say -----------------------------------------------------------------------------------------------

PATHS = ["/", "/r/demo/hello", "/r/demo/hello:2", "/r/demo/hello:1?layer=0", "/r/http:1?show=json", "/r/lost", "/nothing", "/-/state", "/-/page.css", "/-/page.js", "/-/icon.svg"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_its_security_headers(pages: Pages, path: str) -> None:
    headers = pages.get(path).headers
    said = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert said == POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "no-cache" in headers["Cache-Control"]
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("path", PATHS[:7])
def test_pages_hold_no_script_or_style_of_their_own_and_nothing_from_elsewhere(pages: Pages, path: str) -> None:
    page = parsed(pages.get(path).text)
    for element in page.find("*"):
        assert "style" not in element.attributes
        assert not [name for name in element.attributes if name.startswith("on")]
        for name in ("src", "href"):
            link = element.attributes.get(name)
            outside = element.tag == "a" and link and link.startswith("https://example.org/")
            assert link is None or link.startswith(("/", "?", "#")) or outside, link
            assert not (link or "").startswith("//")
    assert [(script["src"], script.text) for script in page.find("script")] == [("/-/page.js", "")]
    assert not list(page.find("style"))
    assert not list(page.find("form"))


def test_a_screen_reader_finds_its_way(pages: Pages) -> None:
    for path in PATHS[:7]:
        page = parsed(pages.get(path).text)
        (html,) = page.find("html")
        assert html["lang"] == "en"
        assert len(list(page.find("main", id="main"))) == 1
        assert len(list(page.find("h1"))) == 1
        (skip,) = page.find("a", class_="skip")
        assert skip["href"] == "#main"
        levels = [int(found.tag[1]) for found in page.find("*") if re.fullmatch("h[1-6]", found.tag)]
        assert all(after - before <= 1 for before, after in zip([0, *levels], levels, strict=False)), levels
        assert all(image.attributes.get("alt") is not None for image in page.find("img"))
        assert all(button.attributes.get("aria-label") for button in page.find("button"))
        labels = {label["for"] for label in page.find("label")}
        assert all(field["id"] in labels for field in page.find("input"))
        assert all(cell.attributes.get("scope") for cell in page.find("th"))
        assert re.fullmatch(r".+ · localhost:5000", next(page.find("title")).text)


@pytest.mark.parametrize(
    "path, status",
    [
        ("/nothing", 404),
        ("/r/", 404),
        ("/r/lost", 404),
        ("/r/Upper", 404),
        ("/r/../../etc/passwd", 404),
        ("/r/demo/hello:", 404),
        ("/r/demo/hello:lost", 404),
        ("/r/demo/hello:a b", 404),
        ("/r/demo/hello@sha256:12", 404),
        (f"/r/demo/hello@sha256:{'0' * 64}", 404),
        ("/r/demo/hello:1?layer=9", 404),
        ("/r/demo/hello:1?layer=-1", 404),
        ("/r/demo/hello:1?layer=x", 404),
        ("/r/demo/hello?page=x", 404),
        ("/-/", 404),
        ("/-/../site.py", 404),
        ("/-/state?repository=lost", 404),
        ("/-/state?repository=..", 404),
        ("/favicon.ico", 404),
    ],
)
def test_what_is_not_there_is_a_page_with_its_status(pages: Pages, path: str, status: int) -> None:
    page = pages.page(path, status)
    (heading,) = page.find("h1")
    assert heading.text == "There is nothing here"
    assert "/" in [link["href"] for link in page.find("a")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_pages_are_read_only(pages: Pages, method: str) -> None:
    answer = pages.client.open("/r/demo/hello:1", method=method)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert pages.get("/r/demo/hello:1").status_code == 200


def test_head_is_get_without_the_body(pages: Pages) -> None:
    got, headed = pages.get("/r/service:3"), pages.client.head("/r/service:3", base_url="http://localhost:5000")
    assert (headed.status_code, headed.data) == (200, b"")
    assert headed.headers["Content-Length"] == got.headers["Content-Length"]


def test_a_layout_that_cannot_be_read_is_said_and_the_others_shown(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "registry")
    pages.image("fine", "1", [])
    (tmp_path / "registry/broken").mkdir()
    (tmp_path / "registry/broken/index.json").write_text("{")
    rows = table(pages.page("/"))
    assert [row[0] for row in rows] == ["broken its index.json cannot be read", "fine"]
    page = pages.page("/r/broken", 500)
    assert str(tmp_path) not in page.text


def test_the_state_is_a_tag_that_changes_with_the_repository(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "registry")
    pages.image("a", "1", [])
    pages.image("b", "1", [])
    first = pages.get("/-/state?repository=a")
    again = pages.get("/-/state?repository=a", If_None_Match=first.headers["ETag"])
    assert (first.status_code, again.status_code, again.data) == (200, 304, b"")
    assert f'data-state="{first.headers["ETag"].strip(chr(34))}"' in pages.get("/r/a:1").text
    pages.image("b", "2", [])
    assert pages.get("/-/state?repository=a", If_None_Match=first.headers["ETag"]).status_code == 304
    pages.image("a", "2", [])
    assert pages.get("/-/state?repository=a", If_None_Match=first.headers["ETag"]).status_code == 200


def test_assets_are_kept_by_the_browser_until_they_change(pages: Pages) -> None:
    for name in ("page.css", "page.js", "icon.svg"):
        first = pages.get(f"/-/{name}")
        assert first.data == (files("ocibuild.serve.page") / "assets" / name).read_bytes()
        assert pages.get(f"/-/{name}", If_None_Match=first.headers["ETag"]).status_code == 304


# --- who may see it -------------------------------------------------------------------------------------------------

TOKEN = "t0ken-that-is-long-enough"


def test_pages_ask_for_the_registrys_login(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "registry", Access(tokens=(TOKEN,)))
    for path in ("/", "/r/a", "/-/state", "/nothing"):
        answer = pages.get(path)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Basic ")
        assert next(parsed(answer.text).find("h1")).text == "Log in to see this"
        assert pages.get(path, Authorization=f"Bearer {TOKEN}x").status_code == 401
    assert pages.get("/", Authorization=f"Bearer {TOKEN}").status_code == 200
    assert pages.get("/-/page.css").status_code == 200  # the page that asks wants its style


def test_anonymous_pull_is_anonymous_reading(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "registry", Access(tokens=(TOKEN,), anonymous_pull=True))
    assert pages.get("/").status_code == 200
    assert pages.get("/", Authorization="Bearer wrong-wrong-wrong-wrong").status_code == 401


class Asked:
    """A registry behind this one that has nothing, and notes what it is asked for."""

    place = "behind.example"

    def __init__(self) -> None:
        self.times: list[str] = []

    def name(self, repository: str) -> str:
        return repository

    def look(self, repository: str, tag: str) -> NoReturn:
        self.times.append(tag)
        raise Absent

    def manifest(self, repository: str, digest: Digest) -> NoReturn:
        self.look(repository, digest)

    def size(self, repository: str, digest: Digest) -> NoReturn:
        self.look(repository, digest)

    def blob(self, repository: str, digest: Digest, size: int) -> NoReturn:
        self.look(repository, digest)

    def referrers(self, repository: str, subject: Digest) -> NoReturn:
        self.look(repository, subject)

    def tags(self, repository: str) -> NoReturn:
        self.look(repository, "tags")

    def close(self) -> None:
        pass


def test_looking_asks_no_registry_behind_this_one(tmp_path: Path) -> None:
    behind = Asked()
    Pages(tmp_path / "registry").image("a", "1", [(LAYER, tarred(("f", b"x")))])
    pages = Pages(tmp_path / "registry", upstream=behind)
    lost = "sha256:" + "0" * 64
    for path in ("/", "/r/a", "/r/a:1", "/r/a:2", f"/r/a@{lost}", "/r/b:1", "/r/a:1?layer=0", "/r/a:1?show=config"):
        assert pages.get(path).status_code in (200, 404)
    assert behind.times == []
    assert pages.get("/v2/a/manifests/2").status_code == 404
    assert behind.times == ["2"]  # the registry itself does ask


def test_pages_are_shown_of_a_read_only_registry(tmp_path: Path) -> None:
    Pages(tmp_path / "registry").image("a", "1", [])
    assert Pages(tmp_path / "registry", Access(read_only=True)).get("/r/a:1").status_code == 200


# --- start-up and the wheel -----------------------------------------------------------------------------------------


def test_jinja_is_loaded_with_the_first_page_only() -> None:
    script = "import sys, ocibuild.serve.page.site; sys.exit('jinja2' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2], timeout=60)


def test_the_parts_of_the_page_stand_in_the_package() -> None:
    inside = files("ocibuild.serve.page")
    names = {entry.name for folder in ("templates", "assets") for entry in (inside / folder).iterdir()}
    assert {"base.html", "image.html", "page.css", "page.js", "icon.svg"} <= names
    for entry in (inside / "templates").iterdir():
        text = entry.read_text(encoding="utf-8")
        assert "|safe" not in text.replace(" ", "")
        assert "autoescape" not in text


def test_an_index_of_indexes_and_of_what_is_not_here(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "registry")
    image = pages.image("a", None, [(LAYER, tarred(("file", b"1")))])
    size = pages.registry.manifest("a", Digest(image)).size
    lost = "sha256:" + hashlib.sha256(b"lost").hexdigest()
    inner = json.dumps(
        {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{"mediaType": MANIFEST, "digest": image, "size": size}]}
    ).encode()
    digest = pages.put("a", None, inner, INDEX)
    entries = [
        {"mediaType": INDEX, "digest": digest, "size": len(inner)},
        {"mediaType": MANIFEST, "digest": lost, "size": 7, "platform": {"os": "linux", "architecture": "s390x"}},
        {"mediaType": MANIFEST, "digest": image, "size": size},
    ]
    pages.put("a", "v1", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, INDEX)
    contents = section(pages.page("/r/a:v1"), "Contents")
    assert [cell.text for cell in contents.find("td", class_="path")] == ["/file"]
    assert "linux/s390x" in contents.text
    assert "it is not here" in contents.text
    assert "it stands above already" in contents.text
