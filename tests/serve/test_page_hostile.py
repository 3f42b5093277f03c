"""What strangers pushed, on a page: names, annotations, labels, imports, exports and files that would be markup, that cannot be
seen, that have no end, or that unpack without one.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import threading
import time
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from markupsafe import Markup

from ocibuild.serve.page import files, image, program, shown
from ocibuild.serve.page.files import Bounds
from ocibuild.serve.page.program import Program
from tests.serve.paging import INDEX, LAYER, MANIFEST, SAMPLES, Element, Pages, parsed, tarred

# OWASP's and others' ways into markup, attributes and addresses.
ATTACKS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><script>alert(1)</script>",
    "</textarea></style></template><b>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "<!--",
    "&lt;script&gt;",
    "<a href=//evil.example>x</a>",
]
HIDDEN = "safe\u202etxt.exe\u2066\u200b\u0000\u0007\x1b[31m\ufeff\u2028\U000e0041"
KNOWN = {
    "a", "article", "base", "bdi", "body", "button", "caption", "code", "dd", "del", "details", "div", "dl", "dt", "em",
    "footer", "h1", "h2", "h3", "h4", "head", "header", "html", "img", "input", "kbd", "label", "li", "link", "main",
    "meta", "nav", "ol", "p", "pre", "script", "section", "span", "strong", "summary", "table", "tbody", "td", "th", "thead",
    "time", "title", "tr", "ul",
}  # fmt: skip


def harmless(page: Element) -> None:
    """Nothing on a page but what its templates hold."""
    assert [script["src"] for script in page.find("script")] == ["/-/page.js"]
    assert [found["src"] for found in page.find("img")] == ["/-/icon.svg"]
    for element in page.find("*"):
        assert element.tag in KNOWN, element.tag
        assert not [name for name in element.attributes if name.startswith("on") or name in ("style", "srcdoc")]
        link = element.attributes.get("href") or element.attributes.get("src") or "/"
        assert link.startswith(("/", "?", "#", "http://", "https://")), link
        assert not link.startswith("//")
    bad = [sign for sign in "".join(page.pieces) if not sign.isprintable() and sign != "\n"]
    assert not bad, bad


def leb(number: int) -> bytes:
    out = b""
    while True:
        number, low = number >> 7, number & 0x7F
        out += bytes([low | (0x80 if number else 0)])
        if not number:
            return out


def named(text: str) -> bytes:
    data = text.encode()
    return leb(len(data)) + data


def module(imports: list[tuple[str, str]], exports: list[str]) -> bytes:
    """A core module with functions of those names. WebAssembly Core Specification, 5.5."""
    entries = leb(len(imports)) + b"".join(named(one) + named(two) + b"\0\0" for one, two in imports)
    names = leb(len(exports)) + b"".join(named(name) + b"\0\0" for name in exports)
    types = b"\x01\x60\x00\x00"
    sections = [(1, types), (2, entries), (7, names)]
    return b"\0asm\1\0\0\0" + b"".join(bytes([code]) + leb(len(data)) + data for code, data in sections)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """A repository whose every word is an attack."""
    pages = Pages(tmp_path_factory.mktemp("registry"))
    wasm = module([(attack, attack) for attack in [*ATTACKS, HIDDEN]], [*ATTACKS, HIDDEN])
    entries = [(f"{attack}/{attack}", b"x") for attack in ATTACKS if ".." not in attack]
    layer = tarred(*entries, ("../../etc/passwd", b"x"), ("new\nline\u202e", b"x"), ("app.wasm", wasm), zipped=True)
    words = {f"{attack}{number}": attack for number, attack in enumerate([*ATTACKS, HIDDEN])}
    config = {
        "author": ATTACKS[0],
        "created": ATTACKS[1],
        "os": ATTACKS[2],
        "architecture": ATTACKS[3],
        "config": {
            "Entrypoint": ATTACKS,
            "Cmd": [HIDDEN, *ATTACKS],
            "Env": [f"{attack}={attack}" for attack in ATTACKS],
            "User": ATTACKS[0],
            "WorkingDir": ATTACKS[1],
            "Volumes": {attack: {} for attack in ATTACKS},
            "ExposedPorts": {attack: {} for attack in ATTACKS},
            "StopSignal": ATTACKS[4],
            "Labels": words,
        },
        "history": [{"created_by": attack, "comment": attack} for attack in ATTACKS],
    }
    title = {"org.opencontainers.image.title": ATTACKS[3]}
    digest = pages.image("evil", "v1", [(f"{LAYER}+gzip", layer)], config, annotations=words)
    subject = {"mediaType": MANIFEST, "digest": digest, "size": 1}
    pages.image("evil", None, [], annotations=words, subject=subject, artifactType="text/x")
    raw = {"mediaType": "application/wasm", "annotations": title, **pages.blob("evil", wasm)}
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", **pages.blob("evil", b"{}")}
    pages.put(
        "evil",
        "raw",
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": [raw], "annotations": words},
    )
    entry = {"mediaType": MANIFEST, "digest": digest, "size": 1, "platform": {"os": ATTACKS[0], "architecture": HIDDEN}}
    pages.put(
        "evil", "index", {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry], "annotations": words}, INDEX
    )
    return pages


@pytest.mark.parametrize(
    "path", ["/", "/r/evil", "/r/evil:v1", "/r/evil:raw", "/r/evil:index", "/r/evil:v1?layer=0", "/r/evil:v1?show=json", "/r/evil:v1?show=config"]
)  # fmt: skip
def test_nothing_that_was_pushed_is_markup(hostile: Pages, path: str) -> None:
    harmless(hostile.page(path))


def test_what_was_pushed_is_shown_as_it_is(hostile: Pages) -> None:
    text = hostile.page("/r/evil:v1").text
    for attack in ATTACKS:
        assert attack in text
    for name in ("U+202E", "U+2066", "U+200B", "U+0000", "U+001B", "U+FEFF", "U+2028", "U+E0041"):
        assert name in text
    assert "leaves the root" in text


def test_imports_and_exports_are_shown_as_they_are(hostile: Pages) -> None:
    for tag in ("v1", "raw"):
        text = hostile.page(f"/r/evil:{tag}").text
        assert "Imports 13" in text
        assert text.count(ATTACKS[2]) >= 3


def test_an_address_that_asks_for_anything_is_harmless(hostile: Pages) -> None:
    for attack in [*ATTACKS, HIDDEN, "a" * 5000]:
        for path in ("/r/", "/r/evil:", "/r/evil@", "/", "/-/state?repository=", "/r/evil:v1?show=", "/?q=", "/?page="):
            answer = hostile.client.get(path + attack.replace("{", "%7B").replace("%}", "%25%7D"))
            assert answer.status_code in (200, 404)
            harmless(parsed(answer.text)) if "html" in answer.content_type else None


# --- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, link",
    [
        ("https://example.org/a?b=1&c=2#d", True),
        ("HTTP://EXAMPLE.ORG", True),
        ("http://[::1]:5000/x", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        (" https://example.org", False),
        ("https:/example.org", False),
        ("https://", False),
        ("//example.org", False),
        ("data:text/html,x", False),
        ("vbscript:x", False),
        ("https://user@example.org/", False),
        ("https://example.org\\@evil.example", False),
        ("https://example.org/\njavascript:1", False),
        ("https://example.org/\u202e", False),
        ("https://exämple.org/", False),
        ("https://example.org:99999/", False),
        ('https://example.org/"onclick=x', False),
        ("https://example.org/" + "a" * 3000, False),
        ("see https://example.org", False),
    ],
)
def test_only_plain_web_addresses_are_links(text: str, link: bool) -> None:
    assert ("<a " in shown.linked(text)) is link


def test_long_text_is_cut_and_the_whole_is_at_hand() -> None:
    text = "".join(f"{number:06}" for number in range(1000))
    element = parsed(f"<div>{shown.long(text)}</div>")
    (whole,) = element.find("details")
    assert "all 6,000 characters" in whole.text
    assert text in whole.text
    assert "raw document" in shown.long("x" * 30_000)
    assert len(shown.long("x" * 10_000_000)) < 25_000


@pytest.mark.parametrize("sign", ["\u202e", "\0", "\U000e0041", "\u0301", "\ud800", "\n", "<"])
def test_text_does_not_grow_to_a_flood(sign: str) -> None:
    assert len(shown.long(sign * 1_000_000)) < 200_000


def test_marks_do_not_pile_up_and_scripts_keep_theirs() -> None:
    assert "U+0301" in shown.visible("e" + "\u0301" * 10)
    for text in ("é", "שָׁלוֹם", "ไทย", "हिन्दी", "日本語", "e\u0301"):
        assert "U+" not in shown.visible(text)
    assert shown.visible("שלום").startswith("<bdi>")


def test_sizes_and_counts_are_in_words() -> None:
    said = {0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 102_400: "100.0 KiB", 2**20 - 1: "1.0 MiB", 34 << 20: "34.0 MiB",
            1_500_000_000: "1.4 GiB", 2**63: "8,192.0 PiB"}  # fmt: skip
    assert {count: shown.size(count) for count in said} == said
    assert [shown.plural(1, "tag"), shown.plural(1200, "tag")] == ["1 tag", "1,200 tags"]
    assert shown.when(1e30) == Markup("unknown")


# --- layers ---------------------------------------------------------------------------------------------------------


def written(folder: Path, data: bytes) -> Path:
    path = folder / "layer"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_is_left_before_it_goes_off(tmp_path: Path, kind: str) -> None:
    zeros = bytes(16 * 1024 * 1024)
    packed = gzip.compress(zeros, 6) if kind == "gzip" else zstandard.compress(zeros)
    info = tarfile.TarInfo("bomb")
    info.size = len(zeros) * 1000
    head = info.tobuf()
    data = (gzip.compress(head) if kind == "gzip" else zstandard.compress(head)) + packed * 1000
    path = written(tmp_path, data)
    tracemalloc.start()
    try:
        listing = files.look(path, f"{LAYER}+{kind}", bounds=Bounds(unpacked=40 * 1024 * 1024, seconds=30))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert listing.stopped == "it unpacks to more than 40 MiB"
    assert [file.path for file in listing.files] == ["/bomb"]
    assert listing.total is None
    assert peak < 16 * 1024 * 1024


def test_a_layer_of_very_many_files_is_left_in_time(tmp_path: Path) -> None:
    path = written(tmp_path, tarred(*((f"f{number}", b"") for number in range(3000))))
    listing = files.look(path, LAYER, most=10, bounds=Bounds(entries=1000))
    assert (len(listing.files), listing.more, listing.total) == (10, True, None)
    assert listing.stopped == "it has more than 1,000 entries"
    late = files.look(path, LAYER, bounds=Bounds(seconds=0))
    assert late.is_late
    assert late.stopped == "reading it takes longer than 0 seconds"


def test_a_global_header_is_not_copied_for_every_file(tmp_path: Path) -> None:
    out = io.BytesIO()
    words = {f"key{number}": "x" * 100 for number in range(5000)}
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers=words) as archive:
        for number in range(300):
            archive.addfile(tarfile.TarInfo(f"f{number}"))
    path = written(tmp_path, out.getvalue())
    tracemalloc.start()
    try:
        listing = files.look(path, LAYER)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert listing.total == 300
    assert peak < 16 * 1024 * 1024


@pytest.mark.parametrize(
    "data, media_type",
    [
        (b"", LAYER),
        (b"no tar at all", LAYER),
        (b"x" * 10_000, LAYER),
        (b"no gzip", f"{LAYER}+gzip"),
        (gzip.compress(b"x" * 10_000, mtime=0)[:-20], f"{LAYER}+gzip"),
        (b"no zstd", f"{LAYER}+zstd"),
        (zstandard.compress(b"x" * 10_000), f"{LAYER}+zstd"),
        (tarred(("a", b"x" * 5000))[:2000], LAYER),
        (tarred(("a", b"x"))[:512].replace(b"0000644", b"\xff\xff\xff\xff\xff\xff\xff"), LAYER),
        (b"x", "text/plain"),
    ],
    ids=["empty", "text", "long", "not-gzip", "cut-gzip", "not-zstd", "zstd-of-none", "cut-tar", "bad-header", "plain"],
)
def test_a_layer_that_is_none_says_so_and_nothing_breaks(tmp_path: Path, data: bytes, media_type: str) -> None:
    listing = files.look(written(tmp_path, data), media_type)
    assert listing.total is None or listing.files == ()
    pages = Pages(tmp_path / "registry")
    pages.image("a", "v1", [(media_type, data)])
    assert pages.get("/r/a:v1").status_code == 200


def test_headers_are_refused_before_they_are_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 512 * 1024 * 1024
    listing = files.look(written(tmp_path, info.tobuf() + bytes(1024)), LAYER)
    assert listing.stopped.startswith("it is damaged")


def test_whiteouts_say_what_they_remove(tmp_path: Path) -> None:
    path = written(tmp_path, tarred(("etc/.wh.shadow", b""), ("var/.wh..wh..opq", b""), (".wh.top", b"")))
    assert [file.removes for file in files.look(path, LAYER).files] == ["/etc/shadow", "/var/*", "/top"]


def test_a_layer_is_read_in_parts(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "registry")
    pages.image("a", "v1", [(LAYER, tarred(*((f"f{number:04}", b"x") for number in range(1200))))])
    page = pages.page("/r/a:v1")
    assert len(list(page.find("td", class_="path"))) == 200
    (link,) = [found for found in page.find("a") if found.text == "All files of this layer"]
    found: list[str] = []
    where: str | None = link["href"]
    for _ in range(5):
        assert where is not None
        page = pages.page(where)
        found += [cell.text for cell in page.find("td", class_="path")]
        following = [next_["href"] for next_ in page.find("a", rel="next")]
        where = where.partition("?")[0] + following[0] if following else None
        if where is None:
            break
    assert found == [f"/f{number:04}" for number in range(1200)]


def seen(data: bytes, name: str) -> Program:
    return program.read_held(memoryview(data), name)


def test_a_large_layer_is_looked_into_on_its_own_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = Pages(tmp_path / "registry")
    pages.image("a", "v1", [(LAYER, tarred(("small", b"x"))), (LAYER, tarred(("large", bytes(50_000))))])
    monkeypatch.setattr(image, "_LOOKED_AT", 20_000)
    page = pages.page("/r/a:v1")
    assert [cell.text for cell in page.find("td", class_="path")] == ["/small"]
    (link,) = [found["href"] for found in page.find("a") if found.text == "Look into this layer"]
    assert [cell.text for cell in pages.page(link).find("td", class_="path")] == ["/large"]


def test_programs_are_looked_into_within_bounds() -> None:
    many = seen(module([(f"m{n}", "f") for n in range(1000)], [f"e{n}" for n in range(5000)]), "many")
    assert (many.import_count, many.export_count) == (1000, 5000)
    assert len(many.exports) == len(many.imports) == 400
    long = seen(module([], ["x" * 100_000]), "long")
    assert len(long.exports[0][0]) == 1024
    flood = seen(module([], ["x" * 1000] * 5000), "flood")
    assert "more names and texts than any program" in flood.problem
    cut = seen((SAMPLES / "hello.wasm").read_bytes()[:5000], "cut")
    assert "cut short" in cut.problem


def test_a_program_in_a_tar_is_held_once_and_only_up_to_a_size(tmp_path: Path) -> None:
    # A module of one custom section called x. WebAssembly Core Specification, 5.5.3.
    size = 30 * 1024 * 1024
    wasm = b"\0asm\1\0\0\0\0" + leb(size) + named("x") + bytes(size - 2)
    path = written(
        tmp_path, tarred(("a.wasm", wasm), ("b.wasm", wasm + b"\0" + leb(size) + named("x") + bytes(size - 2)))
    )
    tracemalloc.start()
    try:
        first, second = files.look(path, LAYER).programs
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert first.kind == "WebAssembly module"
    assert "not looked into" in second.problem
    assert peak < size * 1.3


def test_readings_are_few_and_nobody_waits_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "_PATIENCE", 0.2)
    pages = Pages(tmp_path / "registry")
    layer = tarred(("f", b"x"), zipped=True)
    for number in range(30):
        pages.image(f"r{number}", "v1", [(f"{LAYER}+gzip", layer + gzip.compress(bytes(number)))])
    images = pages.site._images
    with images.reading() as first, images.reading() as second:
        assert first
        assert second
        began, texts = time.monotonic(), dict[int, str]()
        ask = [threading.Thread(target=lambda n=n: texts.update({n: pages.get(f"/r/r{n}:v1").text})) for n in range(30)]
        for thread in ask:
            thread.start()
        for thread in ask:
            thread.join(20)
        assert time.monotonic() - began < 10
        assert len(texts) == 30
        assert all("the registry is busy" in text for text in texts.values())
    assert "the registry is busy" not in pages.get("/r/r0:v1").text


# --- documents ------------------------------------------------------------------------------------------------------


def test_documents_that_are_large_or_strange_are_pages_too(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "registry")
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", **pages.blob("a", b"{}")}
    base = {"schemaVersion": 2, "mediaType": MANIFEST, "config": empty, "layers": []}
    huge = {**base, "annotations": {f"k{number}": "v" * 7000 for number in range(900)}}
    pages.put("a", "huge", huge)
    answer = pages.get("/r/a:huge")
    assert answer.status_code == 200
    assert len(answer.data) < 3_000_000
    assert "700 more are in the raw document" in parsed(answer.text).text
    assert "Cut here" in pages.get("/r/a:huge?show=json").text
    layers = [{"mediaType": LAYER, "digest": f"sha256:{number:064x}", "size": number} for number in range(5000)]
    pages.put("a", "wide", {**base, "layers": layers})
    answer = pages.get("/r/a:wide")
    assert len(answer.data) < 300_000
    assert "4900 more are not shown" in answer.text
    pages.put("a", "other", json.dumps({"schemaVersion": 2, "x": "<script>"}).encode(), "application/vnd.other+json")
    page = pages.page("/r/a:other")
    harmless(page)
    assert "neither a manifest nor an index" in page.text
    assert pages.get("/r/a").status_code == 200


def test_a_config_that_is_no_config_is_left_out(tmp_path: Path) -> None:
    pages = Pages(tmp_path / "registry")
    kind = "application/vnd.oci.image.config.v1+json"
    for number, data in enumerate(
        (b"\xff\xfe", b"[]", b'{"config": 7}', b"[" * 10_000, b'{"a":1,"a":2}', b'"\\ud800"')
    ):
        config = {"mediaType": kind, **pages.blob("a", data)}
        pages.put("a", f"v{number}", {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []})
        assert pages.get(f"/r/a:v{number}").status_code == 200
        answer = pages.get(f"/r/a:v{number}?show=config")
        assert answer.status_code == 200
        harmless(parsed(answer.text))
