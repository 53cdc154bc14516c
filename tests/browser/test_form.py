"""Values go in by keyboard alone, the same verdict comes out of both faces, and a wrong value is explained."""

from __future__ import annotations

import csv
import re
from html import unescape

import pytest
import requests
from playwright.sync_api import Error, expect

from fraud_demo.app import FORM, render_result, score_form
from tests.browser.faces import PAYMENT, score_rows


@pytest.fixture(scope="module")
def near(scorer):
    """Two payments on both sides of the threshold, by verdict: there the fraud probability has many digits."""
    below, above = 0.5, 6.0
    for _ in range(10):
        middle = (below + above) / 2
        is_fraud = scorer.decide({**PAYMENT, "ratio_to_median_purchase_price": middle}).is_fraud
        below, above = (below, middle) if is_fraud else (middle, above)
    prices = {"Legitimate": below, "Fraud": above}
    return {
        verdict: {**PAYMENT, "ratio_to_median_purchase_price": price} for verdict, price in prices.items()
    }


@pytest.fixture
def count_asked(urls):
    """A function that counts how often the model server was asked for a decision."""

    def count_asked() -> float:
        lines = requests.get(f"{urls['model_server']}/metrics", timeout=30).text.splitlines()
        asked = re.compile(r'model_server_requests_total\{.*operation="infer".*\} (\S+)')
        return sum(float(match.group(1)) for line in lines if (match := asked.match(line)))

    return count_asked


@pytest.mark.parametrize("verdict", ["Fraud", "Legitimate"])
def test_verdict_probability_and_reasons_are_those_of_the_model(face, near, scorer, verdict):
    expected = score_form(near[verdict], scorer)
    assert expected.verdict == verdict and 0.001 < expected.decision.fraud_probability < 0.999
    face.fill(near[verdict])
    card = face.ask()
    for words in (verdict, expected.summary, expected.reasons.reason, expected.reasons.remedy):
        expect(card).to_contain_text(words)
    names = re.findall('role="img" aria-label="([^"]+)"', render_result(expected))
    assert len(names) == 2, "the scale and the chart"
    for name in names:
        expect(card.get_by_role("img", name=unescape(name), exact=True)).to_be_visible()
    assert face.read_probability() == expected.decision.fraud_probability


def test_negative_value_is_explained_beside_its_field(face, count_asked):
    face.fill(PAYMENT)
    before = count_asked()
    face.fill({"distance_from_last_transaction": -3})
    expect(face.ask()).to_contain_text("Not asked yet")
    message = face.area.get_by_role("alert").filter(visible=True)
    expect(message).to_contain_text("negative")
    place, field = message.bounding_box(), face.find("distance_from_last_transaction").bounding_box()
    gap = place["y"] - field["y"] - field["height"]
    assert 0 <= gap < 40, f"the message is {gap} pixels under its field"
    assert count_asked() == before, "the model was asked about a wrong value"
    face.fill({"distance_from_last_transaction": 3})
    expect(face.ask()).to_contain_text("Legitimate")
    expect(message).to_have_count(0)
    assert count_asked() > before


def test_empty_field_is_explained(face, count_asked):
    face.fill({"distance_from_home": 4.5})
    before = count_asked()
    face.fill({"distance_from_home": ""})
    expect(face.ask()).to_contain_text("Not asked yet")
    expect(face.area.get_by_role("alert").filter(visible=True)).to_contain_text("empty")
    assert count_asked() == before, "the model was asked about an empty field"


def test_word_in_a_field_of_the_panel_is_explained(panel, count_asked):
    before = count_asked()
    panel.fill({"distance_from_home": "12,5"})
    expect(panel.ask()).to_contain_text("Not asked yet")
    expect(panel.area.get_by_role("alert").filter(visible=True)).to_contain_text("'12,5' is not a number")
    assert count_asked() == before, "the model was asked about a word"


def test_focus_stays_on_the_button(face):
    """Keys that come next belong to the form: without the focus JupyterLab would take them for commands."""
    face.fill({**PAYMENT, "distance_from_home": 3})
    face.ask()
    expect(face.button).to_be_focused()


def test_enter_in_a_field_of_the_app_asks(app):
    app.fill({"distance_from_home": 2})
    app.press("Enter")
    expect(app.card).to_be_visible()


def test_example_fills_the_form(face):
    item = FORM.examples[2]
    face.fill({"distance_from_home": 1})
    face.tab_to(face.area.get_by_role("button", name=item.name, exact=True))
    face.press("Space")
    for name, value in FORM.get_example(item.name).items():
        if isinstance(value, bool):
            expect(face.find(name)).to_be_checked(checked=value)
        else:
            expect(face.find(name)).to_have_value(re.compile(rf"{value:g}(\.0)?"))


def test_file_is_scored_and_its_bad_row_told(app, near, tmp_path):
    rows = [near["Fraud"], {**PAYMENT, "distance_from_home": -3}, near["Legitimate"], near["Fraud"]]
    report = score_rows(app, tmp_path, rows)
    expect(report).to_contain_text("3 rows scored")
    expect(report).to_contain_text("2 called fraud")
    expect(app.area.get_by_role("row", name="distance_from_home -3.0 It is negative.")).to_be_visible()
    with app.page.expect_download() as download:
        app.tab_to(app.area.get_by_role("row", name="rows.scored.csv").get_by_role("link"))
        app.press("Enter")
    with open(download.value.path(), newline="") as file:
        assert [row["is_fraud"] for row in csv.DictReader(file)] == ["1", "", "0", "1"]


def test_app_asks_nobody_outside(app, urls):
    app.ask()
    assert app.outside == []
    with pytest.raises(Error, match="ERR_NAME_NOT_RESOLVED"):  # the same app, by a name that is not 127.0.0.1
        app.page.goto(urls["app"].replace("127.0.0.1", "localhost"))
