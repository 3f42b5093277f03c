"""The stylesheet, computed: contrast in light and in dark as WCAG 2.2 has it, and that it holds to its own variables."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

CSS = (files("ocibuild.serve.page") / "assets" / "page.css").read_text(encoding="utf-8")
PLAIN = re.sub(r"/\*.*?\*/", "", CSS, flags=re.DOTALL)
SURFACES = ("paper", "card", "code")


def variables(text: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+):\s*(#[0-9a-f]{6});", text))


LIGHT = variables(PLAIN[: PLAIN.index("@media")])
DARK = {**LIGHT, **variables(PLAIN[PLAIN.index("prefers-color-scheme: dark") : PLAIN.index("*, *::before")])}


def luminance(colour: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, two: str) -> float:
    """WCAG 2.2, "contrast ratio"."""
    light, dark = sorted((luminance(one), luminance(two)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_yardstick_measures_what_wcag_says() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the grey that just fails


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_contrast_on_every_surface(colours: dict[str, str]) -> None:
    pairs = [(ink, surface) for ink in ("ink", "quiet", "accent") for surface in SURFACES]
    pairs += [("accent", "soft"), ("ink", "soft"), ("quiet", "soft"), ("good", "card"), ("good", "good-soft")]
    pairs += [
        ("warn", "warn-soft"),
        ("bad", "bad-soft"),
        ("ink", "good-soft"),
        ("quiet", "good-soft"),
        ("accent", "good-soft"),
    ]
    low = {pair: round(contrast(*(colours[name] for name in pair)), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_the_mark_of_focus_is_seen(colours: dict[str, str]) -> None:
    assert all(contrast(colours["accent"], colours[surface]) >= 3 for surface in SURFACES)


def test_every_pair_that_the_rules_make_is_among_those() -> None:
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", PLAIN)
    made = set()
    for _, body in rules:
        ink = re.search(r"(?<![-\w])color:\s*var\(--([a-z-]+)\)", body)
        surface = re.search(r"background:\s*var\(--([a-z-]+)\)", body)
        if ink and surface:
            made.add((ink[1], surface[1]))
    known = {(ink, surface) for ink in ("ink", "quiet", "accent") for surface in (*SURFACES, "soft")}
    known |= {("good", "good-soft"), ("warn", "warn-soft"), ("bad", "bad-soft")}
    assert made <= known
    assert ("quiet", "code") in made


def test_colours_stand_in_variables_only_and_both_schemes_set_them_all() -> None:
    rules = PLAIN[PLAIN.index("*, *::before") : PLAIN.index("@media print")]
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(", rules) == []
    assert set(LIGHT) == set(variables(PLAIN[PLAIN.index("prefers-color-scheme: dark") : PLAIN.index("*, *::before")]))
    used = set(re.findall(r"var\(--([a-z-]+)\)", PLAIN))
    assert used <= set(LIGHT) | {"shade", "mono", "sans"}


def test_nothing_is_fetched_by_the_stylesheet_or_the_script() -> None:
    script = (files("ocibuild.serve.page") / "assets" / "page.js").read_text(encoding="utf-8")
    icon = (files("ocibuild.serve.page") / "assets" / "icon.svg").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?:", PLAIN)
    assert not re.search(
        r"https?:|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script
    )
    assert "script" not in icon
    assert re.findall(r"https?://[^\"]+", icon) == ["http://www.w3.org/2000/svg"]


def test_motion_can_be_declined_and_focus_is_never_hidden() -> None:
    reduced = PLAIN[PLAIN.index("prefers-reduced-motion") :]
    for name in re.findall(r"([.\w-]+) \{[^}]*animation:", PLAIN[: PLAIN.index("@media (max-width")]):
        assert name in reduced
    hiding = re.findall(r"([^{}]*)\{[^{}]*outline:\s*(?:none|0)", PLAIN)
    assert [selector.strip() for selector in hiding] == ["main:focus"]
