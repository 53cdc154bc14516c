"""The two faces of the form, used as a person without a mouse uses them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from fraud_demo.app import FORM
from tests.conftest import ROOT

PICTURES = ROOT / ".ci-output" / "browser"  # what the pages looked like; git does not see it
VERDICTS = re.compile("Fraud|Legitimate|Not asked yet|No answer")
FIELDS = {item.feature.name: item for item in FORM.fields}
MANY = 60  # more than the controls of a form: who has pressed Tab so often will not arrive
# A machine types faster than a page draws: between two keys it waits for two frames.
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
PAYMENT = {
    "distance_from_home": 12.5,
    "distance_from_last_transaction": 0.75,
    "ratio_to_median_purchase_price": 0.5,
    "repeat_retailer": True,
    "used_chip": False,
    "used_pin_number": False,
    "online_order": True,
}  # legitimate at half the usual price, fraud at six times of it


@dataclass
class Face:
    """A form on a page; controls are found by role and label, and reached with the keyboard alone."""

    name: str  # app or panel
    page: Page
    area: Locator  # what of the page is ours
    dark: str  # selector that matches while the page is dark
    key: str  # presses a button: both keys must do
    outside: list[str] = field(default_factory=list)  # requests that would have left this machine

    @property
    def card(self) -> Locator:
        """Where the verdict is."""
        return self.area.get_by_role("status").filter(has_text=VERDICTS)

    @property
    def button(self) -> Locator:
        """The button that asks the model."""
        return self.area.get_by_role("button", name="Predict", exact=True)

    def find(self, name: str) -> Locator:
        """Find the control of a feature."""
        label = FIELDS[name].label
        if FIELDS[name].feature.kind == "amount":
            number, text = (
                self.area.get_by_role(role, name=label, exact=True) for role in ("spinbutton", "textbox")
            )
            return number.or_(text)
        box, switch = (self.area.get_by_role(role, name=label, exact=True) for role in ("checkbox", "switch"))
        return box.or_(switch)

    def press(self, key: str) -> None:
        """Press a key."""
        self.page.keyboard.press(key)

    def tab_to(self, control: Locator) -> None:
        """Press Tab, or Shift and Tab, until a control has the focus."""
        place = "e => e === document.activeElement ? 0 : document.activeElement.compareDocumentPosition(e)"
        for _ in range(MANY):
            where = control.evaluate(place)
            if not where:
                return
            self.press("Shift+Tab" if where & 2 else "Tab")  # 2: it comes before the one that has the focus
        raise AssertionError(f"{control} cannot be reached with the Tab key")

    def fill(self, values: Mapping[str, Any]) -> None:
        """Enter values by feature name: a bool for a flag, a number or any text for an amount."""
        for name, value in values.items():
            control = self.find(name)
            self.tab_to(control)
            if isinstance(value, bool):
                if control.is_checked() != value:
                    self.press("Space")
                expect(control).to_be_checked(checked=value)
            else:
                self.press("Control+A")
                for key in ("Delete", *str(value)):
                    self.press(key)
                    self.page.evaluate(DRAWN)
                assert control.input_value() == str(value), (
                    f"{name} holds {control.input_value()}, not {value}"
                )

    def ask(self) -> Locator:
        """Press the button and wait for the card; at least one value has changed since the card before."""
        self.tab_to(self.button)
        expect(self.card).to_have_count(0)  # a verdict about other values misleads
        self.press(self.key)
        expect(self.card).to_be_visible()
        return self.card

    def read_probability(self) -> float:
        """Unfold the details and read the fraud probability, all digits of it."""
        self.tab_to(self.card.get_by_text("Details", exact=True))
        self.press("Enter")
        name = self.card.get_by_text("Fraud probability", exact=True)
        return float(name.locator("xpath=following-sibling::*[1]").inner_text())

    def wear(self, theme: str) -> None:
        """Switch the system's color scheme, light or dark, and wait until the page has followed."""
        self.page.emulate_media(color_scheme=theme)
        expect(self.page.locator(self.dark)).to_have_count(int(theme == "dark"))
        settle(self.page)

    def shoot(self, name: str) -> None:
        """Keep a picture of what is ours."""
        settle(self.page)
        target = self.area if self.name == "panel" else self.page
        options = {} if self.name == "panel" else {"full_page": True}
        target.screenshot(path=PICTURES / f"{self.name}-{name}.png", **options)


def settle(page: Page) -> None:
    """Wait until no color fades any more."""
    page.wait_for_function("() => !document.getAnimations().some(a => a instanceof CSSTransition)")


def score_rows(app: Face, folder: Path, rows: list[Mapping[str, Any]]) -> Locator:
    """Go to the tab for files, score a CSV file of some rows there, and wait for what is said about it."""
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows({name: float(value) for name, value in row.items()} for row in rows)
    app.tab_to(app.area.get_by_role("tab", name="A file", exact=True))
    app.press("Enter")
    app.area.locator("input[type=file]").set_input_files(path)  # the system's own window is not the page's
    expect(app.area.get_by_role("cell", name=path.name, exact=True).first).to_be_visible()
    app.tab_to(app.area.get_by_role("button", name="Score the file", exact=True))
    app.press(app.key)
    report = app.area.get_by_role("status").filter(has_text="scored")
    expect(report).to_be_visible()
    return report
