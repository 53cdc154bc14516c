"""Edges of fraud_demo.app: the form, its results, its two faces, the process."""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from concurrent import futures
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo import app as app_module
from fraud_demo import serving
from fraud_demo.app import (
    EMPTY,
    EXAMPLES,
    FORM,
    Example,
    FormResult,
    Panel,
    build_app,
    build_panel,
    keep_result,
    make_form,
    render_history,
    render_message,
    render_reasons,
    render_result,
    render_upload,
    score_form,
    start_app,
)
from fraud_demo.core import (
    FEATURE_NAMES,
    FEATURES,
    Decision,
    InputError,
    MissingStepError,
    ServiceError,
    Transaction,
    to_features,
)
from fraud_demo.details import csv_reader
from fraud_demo.details import upload as upload_module
from fraud_demo.details.app_process import LazyScorer, read_port
from fraud_demo.details.upload import score_upload
from fraud_demo.serving import EndpointScorer, LocalScorer

from .v2_double import FRAUDULENT, LEGITIMATE, V2Double, make_rows, run_model, save_onnx

FRAUD = dict(zip(FEATURE_NAMES, FRAUDULENT, strict=True))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(serving, "RETRY_WAITS_S", (0.01, 0.02))


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    return LocalScorer(save_onnx(tmp_path_factory.mktemp("model") / "model.onnx"), "7")


@pytest.fixture
def double():
    server = V2Double(version="7")
    yield server
    server.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_press(app):
    """Return the function behind the button of the form."""
    return next(fn.fn for fn in app.fns.values() if fn.fn and fn.fn.__name__ == "press")


class Balanced(HTMLParser):
    """Check that the tags of a piece of HTML match; keep its text and attributes."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.found = [], "", []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.found.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


# --- the form


def test_form_follows_the_features():
    assert [item.feature for item in FORM.fields] == list(FEATURES)
    for item in FORM.fields:
        assert (item.feature.unit in item.label) and item.feature.help
        assert isinstance(item.start, bool) == (item.feature.kind == "flag")


def test_examples_are_valid_and_named():
    names = [item.name for item in EXAMPLES]
    assert len(set(names)) == len(names) >= 3
    assert list(FORM.get_example(names[0]).values()) == list(LEGITIMATE)
    assert list(FORM.get_example(names[1]).values()) == list(FRAUDULENT)
    with pytest.raises(InputError, match=re.escape(names[0])):
        FORM.get_example("no such thing")


def test_own_example_comes_first():
    own = Example("Mine", Transaction(1, 2, 3, 0, 1, 0, 1))
    form = make_form((own, *EXAMPLES))
    assert [item.start for item in form.fields] == [1.0, 2.0, 3.0, False, True, False, True]


# --- the result


@pytest.mark.parametrize("values", [FRAUD, {**FRAUD, "repeat_retailer": True, "used_chip": False}])
def test_decision_is_the_scorers(local, values):
    result = score_form(values, local)
    expected = local.decide(values)
    assert result.decision.fraud_probability == expected.fraud_probability
    assert result.verdict == "Fraud" and result.decision.model_version == "7"
    assert result.seconds >= result.decision.seconds > 0


@pytest.mark.parametrize(
    "name, value, word",
    [
        ("distance_from_home", -1, "negative"),
        ("distance_from_home", None, "empty"),
        ("distance_from_home", "12,5", "'12,5' is not a number"),
        ("distance_from_home", float("nan"), "finite"),
        ("distance_from_home", float("inf"), "finite"),
        ("distance_from_home", 1e39, "32-bit"),
        ("distance_from_home", True, "bool"),
        ("used_chip", 2, "two values"),
        ("used_chip", None, "empty"),
        ("used_chip", "yes", "'yes' is not a number"),
    ],
)
def test_wrong_value_is_told_beside_its_field(double, name, value, word):
    result = score_form({**FRAUD, name: value}, EndpointScorer(double.url))
    assert set(result.field_errors) == {name} and word in result.field_errors[name]
    assert "Give" in result.field_errors[name]
    assert result.decision is None and result.service_error is None
    assert not double.seen  # nobody was asked


def test_all_wrong_fields_are_told_at_once(local):
    result = score_form({"distance_from_home": -1, "color": "red"}, local)
    assert set(result.field_errors) == {*FEATURE_NAMES, "color"}
    assert "8 values" in result.summary


@given(
    st.dictionaries(
        st.sampled_from((*FEATURE_NAMES, "x")),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    )
)
def test_no_entry_breaks_the_form(values):
    class Never:
        def decide(self, transaction):
            return Decision(0.5, 0.5, True)

        def score(self, data):
            raise ServiceError("Nobody is there.", "It is night.", "Wait.")

    result = score_form(values, Never())
    assert bool(result.service_error) == bool(result.decision)  # no reasons, and still a verdict
    assert bool(result.field_errors) != bool(result.decision)
    Balanced(render_result(result))


@pytest.mark.parametrize(
    "fault, word",
    [
        (("close",) * 3, "broke"),
        (((401, "text/plain", b""),), "token"),
        (((404, "application/json", b'{"error": "unknown model"}'),), "lesson 05"),
        (((500, "text/plain", b"<script>alert(1)</script>"),), "not the client's fault"),
        (((200, "text/html", b"<html>login</html>"),), "web page"),
        (((200, "application/json", b'{"outputs": 3}'),), "cannot be read"),
        ((0.6,), "in time"),
    ],
)
def test_each_service_fault_has_its_sentence_in_both_faces(double, fault, word):
    scorer = EndpointScorer(double.url, timeout_s=0.3)
    assert scorer.metadata
    double.script = list(fault)
    result = score_form(FRAUD, scorer)
    assert word in result.service_error and result.verdict == "No answer" and result.decision is None
    assert "<script>" not in render_result(result)
    panel, press = build_panel(scorer), find_press(build_app(scorer))
    double.script = list(fault)
    panel.button.click()
    assert word in Balanced(panel.result.value).text and not panel.button.disabled
    double.script = list(fault)
    assert word in Balanced(press((), *FRAUDULENT)[2]).text
    panel.button.click()
    assert panel.last.decision and "Why" in press((), *FRAUDULENT)[2]  # the fault is over


def ask_both_faces(scorer):
    """Return what panel and page say."""
    panel = build_panel(scorer)
    panel.button.click()
    assert not panel.button.disabled
    page = find_press(build_app(scorer))((), *FRAUDULENT)[2]
    return [Balanced(html).text for html in (panel.result.value, page)]


def test_untrusted_certificate_is_told_in_both_faces(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server = V2Double(context=context)
    try:
        for text in ask_both_faces(EndpointScorer(server.url)):
            assert "No answer" in text and "not trusted" in text and "FRAUD_DEMO_CA_BUNDLE" in text
        for text in ask_both_faces(EndpointScorer(server.url, ca_bundle=str(certificate[0]))):
            assert "No answer" not in text and "Why" in text
    finally:
        server.close()


def test_wrong_model_is_told_in_both_faces(double):
    wide = {"name": "dense_input", "datatype": "FP32", "shape": [-1, 30]}
    double.metadata = {**double.describe(), "inputs": [wide]}
    for text in ask_both_faces(EndpointScorer(double.url)):
        assert "No answer" in text and "30" in text


def test_missing_step_is_a_result():
    def fail():
        raise MissingStepError("There is no model server.", "Nobody started it.", "Run `fraud-demo up`.")

    result = score_form(FRAUD, LazyScorer(fail))
    assert "fraud-demo up" in result.service_error


def test_lazy_scorer_tries_again_and_makes_one(local):
    calls = []

    def make():
        calls.append(1)
        if len(calls) == 1:
            raise MissingStepError("a.", "b.", "c.")
        return local

    lazy = LazyScorer(make)
    with pytest.raises(MissingStepError):
        lazy.decide(FRAUD)
    assert lazy.decide(FRAUD).is_fraud and len(lazy.score([FRAUD, FRAUD])) == 2
    assert len(calls) == 2


# --- drawing


@pytest.mark.parametrize(
    "probability, threshold", [(0.0, 0.5), (1.0, 0.5), (0.5, 0.5), (1e-9, 0.0), (0.2, 1.0)]
)
def test_card_tells_everything_in_words(probability, threshold):
    decision = Decision(probability, threshold, probability >= threshold, "12", 0.001)
    html = render_result(FormResult(decision, Transaction(*FRAUDULENT), seconds=0.0034))
    card = Balanced(html)
    verdict = "Fraud" if probability >= threshold else "Legitimate"
    for word in (
        verdict,
        f"{probability:.4f}",
        f"{threshold:.4f}",
        "version 12",
        "3 ms",
        "175.98918151972342",
    ):
        assert word in card.text
    scale = next(attrs for _, attrs in card.found if attrs.get("role") == "img")
    assert scale["aria-label"] == f"Fraud probability {probability:.4f}, threshold {threshold:.4f}"
    assert any(attrs.get("role") == "status" for _, attrs in card.found)


def test_card_says_why(local):
    result = score_form(FRAUD, local)
    reasons, card = result.reasons, Balanced(render_result(result))
    assert reasons.reason in card.text and reasons.remedy in card.text
    charts = [attrs["aria-label"] for _, attrs in card.found if attrs.get("role") == "img"]
    assert len(charts) == 2
    points = [float(number) for number in re.findall(r"([+-][0-9.]+)(?:,|$)", charts[1])]
    assert points == [pytest.approx(100 * c.amount, abs=0.051) for c in reasons.contributions]
    assert [f"{point:+.1f}" in card.text for point in points] == [True] * 7
    widths = [
        float(width) for width in re.findall(r"left:[0-9.]+%;width:([0-9.]+)%", render_reasons(reasons))
    ]
    assert widths == sorted(widths, reverse=True) and len(widths) == 7
    sides = [
        max((w for w, p in zip(widths, points, strict=True) if p * sign > 0), default=0) for sign in (1, -1)
    ]
    assert sum(sides) == pytest.approx(100, abs=0.02), "the longest bars of both sides fill the width"


def test_verdict_without_reasons_is_a_verdict(double):
    scorer = EndpointScorer(double.url)
    assert scorer.metadata
    double.script = [0, *[(500, "text/plain", b"boom")] * 5]
    result = score_form(FRAUD, scorer)
    assert result.verdict == "Fraud" and result.reasons is None and "boom" in result.service_error
    card = Balanced(render_result(result)).text
    assert "Fraud" in card and "No reasons" in card and "boom" in card


def test_program_pays_for_no_reasons(double):
    assert score_form(FRAUD, EndpointScorer(double.url), is_explained=False).reasons is None
    assert double.count("/infer") == 1


def test_sitting_keeps_the_last_ten(local):
    history = ()
    for distance in range(15):
        history = keep_result(history, score_form({**FRAUD, "distance_from_home": float(distance)}, local))
    assert [item.transaction.distance_from_home for item in history] == list(range(14, 4, -1))
    table = Balanced(render_history(history))
    assert sum(tag == "tr" for tag, _ in table.found) == 11
    assert sum(attrs.get("scope") == "col" for _, attrs in table.found) == 3
    assert render_history(history[:1]) == ""


# --- files


GOOD_LINES = [",".join(FEATURE_NAMES), ",".join(map(str, FRAUDULENT)), ",".join(map(str, LEGITIMATE))]


def write_upload(folder, *lines, name="cards.csv"):
    """Write a file as gradio keeps an uploaded one."""
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return path


def test_upload_is_scored_beside_itself(tmp_path, local):
    path = write_upload(tmp_path, *GOOD_LINES, "-1" + GOOD_LINES[1][2:])
    seen = []
    result = score_upload(str(path), local, lambda *step: seen.append(step))
    scored, rejected = result.files
    assert scored.name == "cards.scored.csv" and rejected.name == "cards.scored.rejected.csv"
    assert scored.parent.parent == tmp_path and seen[-1] == (3, 1.0)
    assert (result.scores.rows, result.scores.frauds, result.scores.rejected) == (3, 1, 1)
    assert score_upload(path, local).files[0].parent != scored.parent  # two people may send the same file
    page = Balanced(render_upload(result))
    assert "2 rows scored by model version 7" in page.text and "No score for 1 row:" in page.text
    for word in ("distance_from_home", "-1", "It is negative."):
        assert word in page.text


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([""], "has no distance_from_home|is empty"),
        (["a,b", "1,2"], "has no distance_from_home"),
        (GOOD_LINES[:1], "no rows"),
        ([*GOOD_LINES[:1], "x,1,1,0,0,0,0"], "None of the 1 rows"),
        (["PK\x03\x04\x00 not a table"], "distance_from_home|cannot be read"),
    ],
)
def test_upload_that_cannot_be_scored_is_told(tmp_path, local, lines, words):
    path = write_upload(tmp_path, *lines)
    result = score_upload(path, local)
    assert result.scores is None and result.files == () and re.search(words, result.problem)
    assert Balanced(render_upload(result)).text.strip() == result.problem
    assert score_upload(write_upload(tmp_path, *GOOD_LINES), local).scores.rows == 2


def test_upload_has_limits(tmp_path, local, monkeypatch):
    path = write_upload(tmp_path, *GOOD_LINES)
    assert "not a CSV file" in score_upload(path.rename(tmp_path / "cards.zip"), local).problem
    assert "Nobody chose one" in score_upload(None, local).problem
    assert "Send it again" in score_upload(path, local).problem
    path = write_upload(tmp_path, *GOOD_LINES)
    monkeypatch.setattr(upload_module, "ROWS_PER_UPLOAD", 1)
    result = score_upload(path, local)
    assert "more than 1 rows" in result.problem and "fraud-demo score" in result.problem
    monkeypatch.setattr(upload_module, "BYTES_PER_UPLOAD", 10)
    assert "too large" in score_upload(path, local).problem


def test_upload_when_the_service_is_down(tmp_path, double):
    double.script = [(401, "text/plain", b"")] * 5
    result = score_upload(write_upload(tmp_path, *GOOD_LINES), EndpointScorer(double.url))
    assert "token" in result.problem and result.scores is None


def test_half_a_result_is_not_kept(tmp_path, local, monkeypatch):
    """Nobody comes back for it: the next press scores into another folder."""
    monkeypatch.setattr(csv_reader, "BYTES_PER_PIECE", 300)
    scored = []

    class Failing:
        def score(self, data):
            scored.append(len(data))
            if len(scored) > 4:
                raise ServiceError("It is down.", "Its cable was pulled.", "Plug it in.")
            return local.score(data)

    path = write_upload(tmp_path, *GOOD_LINES, *GOOD_LINES[1:] * 50)
    result = score_upload(path, Failing())
    assert result.problem.endswith("Plug it in.") and [item.name for item in tmp_path.iterdir()] == [
        "cards.csv"
    ]


def test_upload_in_capitals_and_with_a_long_name(tmp_path, local):
    assert score_upload(write_upload(tmp_path, *GOOD_LINES, name="CARDS.CSV"), local).scores.rows == 2
    result = score_upload(write_upload(tmp_path, *GOOD_LINES, name="x" * 249 + ".csv"), local)
    assert result.scores is None and "shorter name" in result.problem


def test_upload_with_very_many_columns_is_refused_at_its_header(tmp_path, local):
    """Each column of a CSV costs memory, in each block that is in work: a small file would take gigabytes."""
    for header in (GOOD_LINES[0] + "," * 100_000, '"' + "," * 5000, GOOD_LINES[0] + ',"' + "x" * 9_000_000):
        result = score_upload(write_upload(tmp_path, header, GOOD_LINES[1]), local)
        assert result.scores is None and re.search(
            "too many columns|cannot be read|line of names", result.problem
        )


def test_old_files_go_whoever_left_them(tmp_path):
    young, old = tmp_path / "a" / "young.csv", tmp_path / "b" / ".half.scores" / "000.npy"
    for path in (young, old):
        path.parent.mkdir(parents=True)
        path.write_text("8,0.5,6")
    (tmp_path / "b" / "link").symlink_to(young)
    os.utime(old, (0, 0))
    os.utime(tmp_path / "b" / "link", (0, 0), follow_symlinks=False)
    upload_module.sweep(tmp_path)
    assert young.exists() and not old.exists() and not (tmp_path / "b" / "link").is_symlink()
    upload_module.sweep(tmp_path, older_s=-1)
    assert list(tmp_path.iterdir()) == []


def test_inbox_lies_in_the_folder_that_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "given"))
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "mine.txt").write_text("not an upload")
    inbox = upload_module.open_inbox()
    assert inbox.startswith(str(tmp_path / "given" / "fraud-demo-app-"))
    monkeypatch.setenv("GRADIO_TEMP_DIR", inbox)
    assert upload_module.open_inbox() == inbox
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "given" / "mine.txt"))
    with pytest.raises(InputError, match="GRADIO_TEMP_DIR"):
        upload_module.open_inbox()


def test_app_starts_although_a_proxy_is_set(tmp_path):
    """Gradio asks its own server whether it is there, and would ask a proxy for it."""
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
    process, url = start_process(FRAUD_DEMO_HOME=str(tmp_path), NO_PROXY="", no_proxy="", **proxies)
    try:
        wait_for(url, process, "/livez")
    finally:
        process.kill()
        process.communicate()


def test_page_takes_no_larger_file(running):
    parts = requests.get(f"{running[2]}config", timeout=10).json()
    assert parts["max_file_size"] == app_module.BYTES_PER_UPLOAD
    large = {"files": ("large.csv", b"0" * 200 * 2**20)}
    refused = requests.post(f"{running[2]}gradio_api/upload", files=large, timeout=60)
    assert refused.status_code == 413 and "exceeded maximum allowed size" in refused.text
    assert requests.get(running[2], timeout=10).status_code == 200


def test_only_the_first_bad_rows_are_shown(tmp_path, local):
    path = write_upload(tmp_path, *GOOD_LINES, *["1,1,1,0,0,0,<b>"] * 50)
    result = score_upload(path, local)
    page = render_upload(result)
    assert page.count("<tr ") == 21 and "The first 20" in page and "<b>" not in page
    assert len(result.files[1].read_text().splitlines()) == 51


def test_card_escapes_what_comes_from_elsewhere():
    decision = Decision(0.5, 0.1, True, "<b>1</b>")
    assert "<b>" not in render_result(FormResult(decision, Transaction(*FRAUDULENT)))
    assert "<b>" not in render_result(FormResult(service_error="<b>x</b>"))
    assert "<b>" not in render_message("<b>x</b>")
    assert render_message(None) == ""


def test_colors_are_readable_on_light_and_dark():
    def luminance(color):
        parts = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        parts = np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return parts @ [0.2126, 0.7152, 0.0722]

    for color in app_module.COLORS.values():
        for page in ("#ffffff", "#111111"):
            high, low = sorted((luminance(color), luminance(page)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 3, (color, page)


# --- the panel


def test_panel_works_without_a_front_end(local):
    panel = build_panel(local)
    assert isinstance(panel, Panel) and list(panel.fields) == list(FEATURE_NAMES)
    for item in EXAMPLES[1:] + EXAMPLES[:1]:
        panel.examples[item.name].click()
        assert panel.read_values() == FORM.get_example(item.name)
        assert panel.result.value == EMPTY
        panel.button.click()
        expected = local.score(item.transaction)
        assert panel.last.decision.fraud_probability == expected.fraud_probability[0]
        assert panel.last.verdict in panel.result.value and panel.status.value == ""
    assert "widget-view" in str(panel._repr_mimebundle_())
    for widget in panel.fields.values():
        assert widget.style.description_width and widget.description, (
            "a label of the default width is cut off"
        )


def test_panel_marks_the_wrong_field_and_forgets_it(local):
    panel = build_panel(local)
    panel.fields["distance_from_home"].value = "-3"
    panel.button.click()
    assert "negative" in panel.messages["distance_from_home"].value
    assert [bool(m.value) for m in panel.messages.values()] == [True] + [False] * 6
    panel.fields["distance_from_home"].value = "3"
    assert panel.result.value == EMPTY
    panel.button.click()
    assert not panel.messages["distance_from_home"].value and panel.last.decision


@pytest.mark.parametrize(
    "text, word",
    [("", "empty"), ("  ", "empty"), ("12,5", "is not a number like"), ("nan", "finite"), ("-0.1", "negative"),
     ("1e39", "32-bit")],
)  # fmt: skip
def test_panel_explains_what_was_typed(local, text, word):
    panel = build_panel(local)
    panel.fields["distance_from_home"].value = text
    panel.button.click()
    assert word in panel.messages["distance_from_home"].value and panel.last.decision is None


def test_example_fills_the_panel_again_after_a_change(local):
    panel, item = build_panel(local), EXAMPLES[0]
    panel.fields["distance_from_home"].value = " 7.5 "
    assert panel.read_values()["distance_from_home"] == 7.5
    panel.examples[item.name].click()
    assert panel.read_values() == FORM.get_example(item.name)


def test_panel_survives_a_bug():
    class Broken:
        def decide(self, transaction):
            assert panel.button.disabled  # no second press while it works
            raise ZeroDivisionError("<b>oops</b>")

    panel = build_panel(Broken())
    panel.button.click()
    assert "oops" in panel.status.value and "<b>" not in panel.status.value
    assert not panel.button.disabled


# --- the app


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """The app in front of a double, in this process."""
    server = V2Double(version="7")
    app = build_app(EndpointScorer(server.url, timeout_s=2.0))
    url = start_app(app, port=free_port())
    yield server, app, url
    app.close(verbose=False)
    server.close()


@pytest.fixture(scope="module")
def client(running):
    from gradio_client import Client

    return Client(running[2], verbose=False, analytics_enabled=False)


def test_page_answers(running):
    response = requests.get(running[2], timeout=10)
    assert response.status_code == 200 and "Is this payment fraud?" in response.text


def test_endpoint_is_stable_and_described(client, running):
    api = client.view_api(return_format="dict")
    assert list(api["named_endpoints"]) == ["/predict"] and not api["unnamed_endpoints"]
    names = [p["parameter_name"] for p in api["named_endpoints"]["/predict"]["parameters"]]
    assert names == list(FEATURE_NAMES)
    assert "seven values in the order of the features" in api["named_endpoints"]["/predict"]["description"]


def test_program_gets_the_decision(client):
    answer = client.predict(*FRAUDULENT, api_name="/predict")
    expected = run_model(np.array([FRAUDULENT], dtype=np.float32))["fraud_probability"][0, 0]
    assert answer["fraud_probability"] == float(expected)
    assert answer["is_fraud"] is True and answer["verdict"] == "Fraud" and answer["model_version"] == "7"
    assert client.predict(**FRAUD, api_name="/predict")["fraud_probability"] == float(expected)
    flags = client.predict(*FRAUDULENT[:3], True, False, False, True, api_name="/predict")
    assert flags["fraud_probability"] == float(expected)


@pytest.mark.parametrize("value, word", [(-1, "negative"), (None, "empty"), ("1", "not a number")])
def test_program_is_told_which_value_is_wrong(client, value, word):
    with pytest.raises(Exception, match=f"distance_from_home: .*{word}"):
        client.predict(value, *FRAUDULENT[1:], api_name="/predict")


def test_program_is_told_what_is_wrong_with_the_service(client, running):
    running[0].script = [(404, "application/json", b'{"error": "unknown model"}')]
    with pytest.raises(Exception, match="run lesson 05 first"):
        client.predict(*FRAUDULENT, api_name="/predict")


def test_app_and_library_agree_for_several_people_at_once(running):
    """Each person has a client of their own, as each browser is one; a shared one loses answers now and then."""
    from gradio_client import Client

    rows = make_rows(20, seed=1)
    expected = EndpointScorer(running[0].url).score(rows).fraud_probability

    def ask(own):
        client = Client(running[2], verbose=False, analytics_enabled=False)
        return [client.predict(*row.tolist(), api_name="/predict")["fraud_probability"] for row in own]

    with futures.ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(ask, np.split(rows, 5)))
    assert np.concatenate(answers).tolist() == expected.astype(float).tolist()


def test_page_handler_shows_what_the_form_gives(running):
    app = running[1]
    press = find_press(app)
    history, sitting, card, *messages = press((), *FRAUDULENT)
    assert "Fraud" in card and "Why" in card and not any(m["visible"] for m in messages)
    assert len(history) == 1 and not sitting
    history, sitting, card, *messages = press(history, -1.0, *FRAUDULENT[1:])
    assert "Not asked yet" in card and [message["visible"] for message in messages] == [True] + [False] * 6
    assert len(history) == 1
    running[0].script = ["close"] * 3
    history, sitting, card, *_ = press(history, *FRAUDULENT)
    assert "No answer" in card and len(history) == 1
    history, sitting, card, *_ = press(history, *LEGITIMATE)
    assert [item.verdict for item in history] == ["Legitimate", "Fraud"]
    assert sitting.index("Legitimate") < sitting.index("Fraud")


def test_examples_are_filled_in_by_the_browser(running):
    import json

    events = [fn for fn in running[1].fns.values() if fn.fn is None and fn.js]
    filled = [json.loads(fn.js.removeprefix("() => ")) for fn in events]
    for item, values in zip(EXAMPLES, filled, strict=False):
        assert values == [*FORM.get_example(item.name).values(), EMPTY]
    assert filled[-1] == EMPTY  # after an edit


@pytest.mark.parametrize("text, port", [(None, 7860), ("", 7860), ("8080", 8080), (" 8080 ", 8080)])
def test_port(text, port):
    assert read_port({"GRADIO_SERVER_PORT": text} if text is not None else {}) == port


@pytest.mark.parametrize("text", ["0", "-1", "65536", "http", "80.5", "8e3"])
def test_port_refused(text):
    with pytest.raises(InputError, match="GRADIO_SERVER_PORT"):
        read_port({"GRADIO_SERVER_PORT": text})


# --- the process


def start_process(**environ):
    """Start the app as the entry point does; return (process, url)."""
    port = free_port()
    env = {**os.environ, "GRADIO_SERVER_PORT": str(port), **environ}
    command = [
        sys.executable,
        "-c",
        "import sys; from fraud_demo.details.app_process import main; sys.exit(main())",
    ]
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, f"http://127.0.0.1:{port}"


def wait_for(url, process, path="/", timeout_s=60):
    until = time.monotonic() + timeout_s
    while time.monotonic() < until and process.poll() is None:
        try:
            if requests.get(url + path, timeout=2).status_code == 200:
                return
        except requests.exceptions.RequestException:
            time.sleep(0.1)
    process.kill()
    raise AssertionError(process.communicate()[1])


def test_app_starts_without_its_services_and_ends_at_sigterm(tmp_path):
    from gradio_client import Client

    process, url = start_process(INFERENCE_ENDPOINT=f"127.0.0.1:{free_port()}", FRAUD_DEMO_HOME=str(tmp_path))
    try:
        wait_for(url, process)
        client = Client(url, verbose=False, analytics_enabled=False)
        with pytest.raises(Exception, match="connection was refused"):
            client.predict(*FRAUDULENT, api_name="/predict")
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=15)
        assert process.returncode == 0, errors
        assert time.monotonic() - started < 8
        assert "Traceback" not in errors
    finally:
        process.kill()


def count_wakes(pid):
    """How often the threads of a process went to sleep of their own will."""
    states = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", state, re.M)[1]) for state in states)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how often a process wakes")
def test_app_that_nobody_asks_hardly_wakes(tmp_path):
    process, url = start_process(INFERENCE_ENDPOINT=f"127.0.0.1:{free_port()}", FRAUD_DEMO_HOME=str(tmp_path))
    try:
        wait_for(url, process)
        time.sleep(1)
        before = count_wakes(process.pid)
        time.sleep(3)
        assert count_wakes(process.pid) - before < 1000
    finally:
        process.kill()
        process.communicate()


def test_taken_port_is_told(running, local):
    port = int(running[2].rsplit(":", 1)[1].strip("/"))
    with pytest.raises(InputError, match="GRADIO_SERVER_PORT"):
        start_app(build_app(local), port=port)


def test_import_is_light():
    heavy = "tensorflow mlflow gradio ipywidgets pandas pyarrow onnxruntime nbdev fastcore IPython"
    code = (
        "import sys, fraud_demo.app\n"
        f"found = [name for name in {heavy.split()} if name in sys.modules]\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_rows_of_the_form_are_the_models(local):
    for item in EXAMPLES:
        assert to_features(FORM.get_example(item.name)).tolist() == item.transaction.to_array().tolist()
