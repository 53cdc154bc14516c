"""Both faces for everybody: axe-core, names of controls and pictures, light and dark, a narrow screen."""

from __future__ import annotations

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.faces import FIELDS, PAYMENT, score_rows, settle

THEMES = ("light", "dark")
STATES = {  # what is entered before the picture is taken, and what the card says then
    "fraud": ({**PAYMENT, "ratio_to_median_purchase_price": 6.0}, "Fraud"),
    "legitimate": (PAYMENT, "Legitimate"),
    "wrong": ({"distance_from_home": -3, "ratio_to_median_purchase_price": -1}, "Not asked yet"),
}
# What axe finds in markup that is not ours, by page and theme: rule and selector, and what it is. Nothing so far.
FOREIGN = {}
NAMED = "button|checkbox|combobox|img|link|option|radio|slider|spinbutton|switch|tab|textbox"


def list_violations(face) -> set[tuple[str, str]]:
    """Run axe on what is ours; give rule and selector of each serious or critical violation."""
    settle(face.page)
    face.area.evaluate("e => e.dataset.tested = 'yes'")
    found = Axe().run(face.page, context="[data-tested]").response["violations"]
    return {
        (violation["id"], " ".join(node["target"]))
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    }


def check_violations(face, page: str, theme: str) -> None:
    """Compare what axe finds with what is known."""
    found, known = list_violations(face), set(FOREIGN.get((page, theme), {}))
    assert not found - known
    assert not known - found, "no longer found: delete it from FOREIGN"


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious(face, theme, state):
    values, words = STATES[state]
    face.wear(theme)
    face.fill(values)
    expect(face.ask()).to_contain_text(words)
    face.shoot(f"{theme}-{state}")
    check_violations(face, face.name, theme)


@pytest.mark.parametrize("theme", THEMES)
def test_axe_finds_nothing_serious_beside_a_scored_file(app, theme, tmp_path):
    app.wear(theme)
    score_rows(app, tmp_path, [PAYMENT, {**PAYMENT, "distance_from_home": -3}])
    app.shoot(f"{theme}-file")
    check_violations(app, "file", theme)


def test_axe_would_find_something(app):
    """What the test above looks for is seen when it is there."""
    app.find("distance_from_home").evaluate(
        "e => { e.removeAttribute('aria-label'); e.closest('label').replaceWith(e) }"
    )
    app.button.evaluate("e => e.style.color = '#77a'")
    assert {rule for rule, _ in list_violations(app)} >= {"label", "color-contrast"}


def test_every_control_and_picture_has_a_name(face):
    for name in FIELDS:
        expect(face.find(name)).to_have_count(1)
    face.fill({**PAYMENT, "distance_from_home": 7})
    expect(face.ask()).to_contain_text("Legitimate")
    lines = face.area.aria_snapshot().splitlines()
    nameless = [line for line in lines if re.match(rf"\s*- (?:{NAMED})(?!\w| \")", line)]
    assert nameless == [], "\n".join(lines)
    assert sum("- img " in line for line in lines) >= 1, "the scale is a picture with a name"


@pytest.mark.parametrize("theme", THEMES)
def test_narrow_screen_needs_no_scrolling_sideways(open_app, theme):
    app = open_app(viewport={"width": 390, "height": 844}, color_scheme=theme)
    app.wear(theme)
    app.fill({**PAYMENT, "ratio_to_median_purchase_price": 6.0})
    app.ask()
    app.shoot(f"{theme}-phone")
    assert app.page.evaluate("document.documentElement.scrollWidth") <= 390
