"""The page in a browser: Debian's chromium, driven. What a person sees and does, in light, in dark and on a phone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ocibuild import pack
from ocibuild.api.serve import Serving, serve
from tests.serve.asking import Asker

pytestmark = pytest.mark.real

SAMPLES = Path(__file__).parents[2] / "samples"
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
)  # fmt: skip
PATIENCE = 15.0
EVIL = {
    "<script>document.title='owned'</script>": "<img src=x onerror=\"document.title='owned'\">",
    "bidi": "safe \u202e txt.exe",
    "link": "javascript:document.title='owned'",
    "attribute": "\" onmouseover=\"document.title='owned'",
    "address": "https://example.org/fine",
    "wide": "W" * 3000,
}


@dataclass
class Browser:
    """A browser at a registry's pages."""

    driver: webdriver.Chrome
    address: str

    def open(self, path: str) -> None:
        self.driver.get(f"http://{self.address}{path}")

    def run(self, script: str, *words: Any) -> Any:
        return self.driver.execute_script(script, *words)

    def all(self, selector: str) -> list[Any]:
        return list(self.driver.find_elements(By.CSS_SELECTOR, selector))

    def one(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """What they say, taken at one moment: a page that is live has others at the next."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent.trim())", selector
        )
        return found

    def press(self, *keys: str) -> None:
        """To whatever has the focus."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for it, within bounds."""
        ends = time.monotonic() + PATIENCE
        while time.monotonic() < ends:
            if found := condition():
                return found
            time.sleep(0.05)
        raise AssertionError(f"not within {PATIENCE} seconds: {what}")

    def screen(self, width: int, height: int = 800, *, dark: bool = False) -> None:
        """The size of the window and the scheme that the person prefers."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def asked(self) -> set[str]:
        """The origins of all that was asked for since the last time."""
        found = set()
        for line in self.driver.get_log("performance"):
            said = json.loads(line["message"])["message"]
            if said["method"] == "Network.requestWillBeSent":
                where = urlsplit(said["params"]["request"]["url"])
                # The page that a browser begins with is its own, and so are chrome:// and data: addresses.
                found |= {where.netloc} if where.scheme in ("http", "https", "ws", "wss") else set()
        return found

    def complaints(self) -> list[str]:
        """What the console says since the last time."""
        return [line["message"] for line in self.driver.get_log("browser")]


@contextmanager
def driven(part: Callable[[str], str], folder: Path, address: str, *flags: str) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = part("chromium")
    for flag in (*FLAGS, *flags, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # The driver's path is given, so that selenium looks for none and fetches none.
    driver = webdriver.Chrome(options=options, service=Service(part("chromedriver")))
    try:
        driver.set_page_load_timeout(30)
        driver.set_script_timeout(30)
        yield Browser(driver, address)
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with samples and something hostile in it; gives its address."""
    root = tmp_path_factory.mktemp("registry")
    natives = [str(SAMPLES / f"hello-linux-{machine}") for machine in ("amd64", "arm64")]
    pack(str(SAMPLES / "hello.wasm"), *natives, output=str(root / "demo/hello"), tags=["x.test/demo/hello:1"])
    pack(str(SAMPLES / "hello-http.wasm"), output=str(root / "http"), tags=["x.test/http:1"], consumer="wkg")
    with serve(Serving(root, port=0)) as served:
        asker = Asker(int(served.address.rpartition(":")[2]))
        asker.image("evil", "v1", annotations=EVIL)
        asker.image("evil", "w" * 128)
        yield served.address


@pytest.fixture
def browser(part: Callable[[str], str], tmp_path: Path, filled: str) -> Iterator[Browser]:
    with driven(part, tmp_path, filled) as found:
        yield found
        assert found.complaints() == []
        assert found.asked() <= {filled}


PATHS = ["/", "/r/demo/hello", "/r/demo/hello:1", "/r/http:1", "/r/evil:v1", "/r/evil", "/r/demo/hello:1?show=json"]


def test_a_person_finds_the_way_by_links(browser: Browser) -> None:
    browser.open("/")
    assert browser.texts("#rows th a") == ["demo/hello", "evil", "http"]
    browser.one("#rows th a").click()
    assert browser.one("h1").text == "demo/hello"
    browser.one("#rows th a").click()
    assert browser.one("h1").text == "demo/hello:1"
    (wasm,) = [node for node in browser.all(".node") if "wasi/wasm" in node.text]
    assert "/hello.wasm" in wasm.text
    assert "wasi_snapshot_preview1" in browser.one("main").text
    wasm.find_element(By.CSS_SELECTOR, "a.mono").click()
    assert "/r/demo/hello@sha256:" in browser.driver.current_url
    assert "WASI preview 1" in browser.one("main").text
    browser.one(".crumbs a").click()
    assert browser.one("h1").text == "Repositories"


def test_everything_can_be_reached_with_the_keyboard(browser: Browser) -> None:
    browser.open("/")
    browser.press(Keys.TAB)
    skip = browser.driver.switch_to.active_element
    assert skip.text == "Skip to the content"
    assert skip.rect["y"] >= 0
    browser.press(Keys.ENTER)
    assert browser.run("return location.hash") == "#main"
    browser.press(Keys.TAB)
    assert browser.driver.switch_to.active_element.get_attribute("id") == "filter"
    browser.press(Keys.TAB)
    focused = browser.driver.switch_to.active_element
    assert focused.text == "demo/hello"
    width, style = browser.run(
        "const s = getComputedStyle(document.activeElement); return [parseFloat(s.outlineWidth), s.outlineStyle]"
    )
    assert (width >= 2, style) == (True, "solid")
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.driver.current_url.endswith("/r/demo/hello"), "the link was followed")
    browser.open("/r/demo/hello:1")
    summary = browser.one(".tree summary")
    browser.run("arguments[0].focus()", summary)
    browser.press(Keys.ENTER)
    assert browser.one(".tree details").get_attribute("open") is None
    browser.press(Keys.SPACE)
    assert browser.one(".tree details").get_attribute("open") is not None


def test_the_filter_leaves_what_is_looked_for(browser: Browser) -> None:
    browser.open("/")
    browser.one("body").send_keys("/")
    browser.press("h", "e", "l")
    assert [row.text.split()[0] for row in browser.all("#rows tbody tr") if row.is_displayed()] == ["demo/hello"]
    browser.press("z")
    assert browser.one("#none").is_displayed()
    browser.press(Keys.ESCAPE)
    assert len([row for row in browser.all("#rows tbody tr") if row.is_displayed()]) == 3


def test_a_digest_is_copied(browser: Browser) -> None:
    granted = {"origin": f"http://{browser.address}", "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    browser.driver.execute_cdp_cmd("Browser.grantPermissions", granted)
    browser.open("/r/demo/hello:1")
    button = browser.one(".glance .copy")
    wanted = browser.one(".glance code").text
    assert wanted.startswith("sha256:")
    button.click()
    browser.until(lambda: browser.texts("#said") == ["Copied"], "it says so")
    assert button.text == "Copied"
    read = "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
    assert browser.driver.execute_async_script(read) == wanted
    assert len(browser.all(".command .copy")) == len(browser.all(".command"))


def test_a_push_appears_by_itself(part: Callable[[str], str], tmp_path: Path) -> None:
    with serve(Serving(tmp_path / "registry", port=0)) as served, driven(part, tmp_path, served.address) as browser:
        asker = Asker(int(served.address.rpartition(":")[2]))
        browser.open("/")
        assert "Nothing has been pushed yet" in browser.one("main").text
        asker.image("first", "v1")
        browser.until(lambda: browser.texts("#rows th a") == ["first"], "the repository appears")
        browser.one("#rows th a").click()
        # What a person is doing stays: an open part, the focus, the place.
        asker.image("first", None, "untagged")
        browser.until(lambda: browser.all("#untagged"), "the one without a tag appears")
        browser.one("#untagged summary").click()
        browser.run("document.querySelector('#rows th a').focus(); window.same = true")
        asker.image("first", "v2", "more")
        browser.until(lambda: browser.texts("#rows th a") == ["v2", "v1"], "the tag appears")
        assert browser.one("#untagged").get_attribute("open") is not None
        assert browser.run("return document.activeElement.textContent") == "v1"
        assert browser.run("return window.same")
        assert browser.texts("tr.new th") == ["v2"]
        browser.until(lambda: "1 new" in browser.texts("#said")[0], "it is said aloud")
        told = asker.ask("DELETE", "/v2/first/manifests/v1")
        assert told.status == 202
        browser.until(lambda: browser.texts("#rows th a") == ["v2"], "the tag goes")
        assert browser.complaints() == []
        assert browser.asked() == {served.address}


def test_a_page_that_rests_asks_little(browser: Browser) -> None:
    browser.open("/r/demo/hello:1")
    time.sleep(1)
    browser.asked()
    time.sleep(5)
    lines = [json.loads(line["message"])["message"] for line in browser.driver.get_log("performance")]
    told = [said["params"]["response"] for said in lines if said["method"] == "Network.responseReceived"]
    assert 1 <= len(told) <= 3
    assert {answer["status"] for answer in told} == {304}


def test_what_is_hostile_does_nothing(browser: Browser) -> None:
    for path in ("/r/evil:v1", "/r/evil:v1?show=json"):
        browser.open(path)
        for element in browser.all("main dd, main dt"):
            browser.run("arguments[0].dispatchEvent(new MouseEvent('mouseover', {bubbles: true}))", element)
        text = browser.one("main").text
        assert "<script>document.title" in text
        assert "U+202E" in text
        assert "owned" not in browser.driver.title
        assert browser.run("return document.querySelectorAll('main script, main img, main [onmouseover]').length") == 0
        links = [link.get_attribute("href") for link in browser.all("main a")]
        assert not [link for link in links if link.startswith("javascript")]
    # Were something let through after all, the policy would stop it.
    browser.run(
        "const s = document.createElement('script'); s.textContent = \"document.title='owned'\"; document.body.append(s)"
    )
    assert "owned" not in browser.driver.title
    (complaint,) = browser.complaints()
    assert "Content Security Policy" in complaint


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_colours_are_those_that_the_person_prefers(browser: Browser, dark: bool) -> None:
    browser.screen(1280, dark=dark)
    for path in PATHS:
        browser.open(path)
        surface, ink = browser.run("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
        brightness = [sum(map(int, colour[4:-1].split(","))) / 3 for colour in (surface, ink)]
        assert (brightness[0] < 40 and brightness[1] > 200) if dark else (brightness[0] > 230 and brightness[1] < 60)
        assert browser.run(CONTRAST) == []


# Every text that is seen, against the colour behind it: WCAG 2.2, "contrast ratio", at least 4.5.
CONTRAST = """
const parts = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255;
  return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const behind = (e) => { for (; e; e = e.parentElement) { const c = parts(getComputedStyle(e).backgroundColor);
  if (c.length === 3 || c[3] === 1) return c; } return [255, 255, 255]; };
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const e = walk.currentNode.parentElement;
  if (!walk.currentNode.data.trim() || !e.checkVisibility()) continue;
  const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) found.push(e.outerHTML.slice(0, 200));
}
return found;
"""


def test_a_phone_shows_all_of_it_without_sideways_scrolling(browser: Browser) -> None:
    for width in (360, 320):
        browser.screen(width)
        for path in PATHS:
            browser.open(path)
            wide = browser.run(
                "return [document.documentElement.scrollWidth, ...[...document.querySelectorAll('main *')]"
                ".filter((e) => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)"
                ".map((e) => e.outerHTML.slice(0, 120))]"
            )
            assert wide == [width], path
            assert [each.text for each in browser.all("h1")]


def test_it_is_read_without_javascript(part: Callable[[str], str], tmp_path: Path, filled: str) -> None:
    with driven(part, tmp_path, filled, "--blink-settings=scriptEnabled=false") as browser:
        browser.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        for path in PATHS:
            browser.open(path)
            assert browser.one("h1").text
            assert not [button for button in browser.all("button") if button.is_displayed()]
            assert not [field for field in browser.all("input") if field.is_displayed()]
        browser.open("/r/demo/hello:1")
        summary = browser.one(".tree summary")
        summary.click()
        assert browser.one(".tree details").get_attribute("open") is None


def test_a_login_is_asked_for_and_kept(part: Callable[[str], str], tmp_path: Path) -> None:
    token = "t0ken-that-is-long-enough"
    (tmp_path / "tokens").write_text(token)
    pack(str(SAMPLES / "hello.wasm"), output=str(tmp_path / "registry/hello"), tags=["x.test/hello:1"])
    serving = Serving(tmp_path / "registry", port=0, token_file=tmp_path / "tokens")
    with serve(serving) as served, driven(part, tmp_path, served.address) as browser:
        browser.driver.get(f"http://anybody:{token}@{served.address}/r/hello:1")
        assert browser.one("h1").text == "hello:1"
        browser.driver.get(f"http://anybody:{token}@{served.address}/r/hello")
        asker = Asker(int(served.address.rpartition(":")[2]))
        document = json.loads(asker.ask("GET", "/v2/hello/manifests/1", Authorization=f"Bearer {token}").body)
        told = asker.ask(
            "PUT",
            "/v2/hello/manifests/2",
            json.dumps({**document, "annotations": {"later": "yes"}}).encode(),
            Content_Type=document["mediaType"],
            Authorization=f"Bearer {token}",
        )
        assert told.status == 201
        browser.until(lambda: browser.texts("#rows th a") == ["2", "1"], "the page is live")
        browser.open("/r/hello:2")
        assert browser.one("h1").text == "hello:2"
        assert browser.complaints() == []
