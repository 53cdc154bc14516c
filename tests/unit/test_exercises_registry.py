"""The checks of lesson 05, on right answers of many forms and on odd ones."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo.registry import Promotion, Rule
from fraud_demo.workshop.checks import judge
from tests.unit.odd_answers import ODD

PREFIX = "models/credit-card-fraud/version-1"
PUBLISHED, KEPT = f"{PREFIX}/1/model.onnx", "1/models/m-a/artifacts/artifacts/model.onnx"
BUCKET = {PUBLISHED: b"abc", KEPT: b"abc", "1/models/m-b/artifacts/artifacts/model.onnx": b"abd"}
CHAMPION = SimpleNamespace(version="1", tags={"onnx_digest": hashlib.sha256(b"abc").hexdigest()})
KEYS = {"published": PUBLISHED, "mlflow": KEPT}
SERVES = {"A": 3, "B": 2, "C": 3}


def make_refusal(measured, limit, words="at most {:.2f}, as version 1"):
    """Make a refusal with these costs, as the gate writes them."""
    cost = Rule("cost", f"{measured:.2f} per 1,000", words.format(limit), False)
    return Promotion("3", "1", (Rule("parity", "2e-07", "2e-05", True), cost), promoted=False)


REFUSAL = {"promotion": make_refusal(7.25, 2.25), "rule": "cost", "too_much": 5}


@given(st.integers(100, 99_999), st.integers(1, 99_999), st.sampled_from([float, np.float32, np.float64]))
def test_any_excess_is_right(limit, excess, kind):
    """Cents, so that the texts of the rules are exact."""
    for words in ("at most {:.2f}, as version 1", "below {:.2f}, what never saying fraud costs"):
        refused = make_refusal((limit + excess) / 100, limit / 100, words)
        answer = {"promotion": refused, "rule": " Cost", "too_much": kind(excess / 100)}
        assert judge("ex-05-1", answer).is_right, answer


@given(st.sampled_from(["", "/", "s3://fraud/", "mlflow-artifacts:/"]), st.sampled_from(["", " ", "\n"]))
def test_keys_may_carry_an_address(before, behind):
    keys = {name: f"{before}{key}{behind}" for name, key in KEYS.items()}
    assert judge("ex-05-2", keys, CHAMPION, PREFIX, BUCKET.get).is_right


@pytest.mark.parametrize("form", ["{}", "version {}", "v{}", " {} ", "version-{}", "{}.0"])
def test_versions_may_be_written_in_many_ways(form):
    assert judge("ex-05-3", {step: form.format(version) for step, version in SERVES.items()}).is_right
    assert judge("ex-05-3", {step: np.int64(version) for step, version in SERVES.items()}).is_right


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_are_refused_with_sentences(odd):
    bucket = (CHAMPION, PREFIX, BUCKET.get)
    asked = [("ex-05-1", odd), ("ex-05-2", odd, *bucket), ("ex-05-3", odd)]
    asked += [("ex-05-1", REFUSAL | {key: odd}) for key in REFUSAL]
    asked += [("ex-05-2", KEYS | {key: odd}, *bucket) for key in KEYS]
    asked += [("ex-05-3", SERVES | {key: odd}) for key in SERVES]
    for name, *answer in asked:
        feedback = judge(name, *answer)
        assert feedback.state == "not yet" and feedback.text.count(". ") >= 2, (name, answer, feedback)
        assert "stopped with" not in feedback.text, feedback


def test_file_of_another_version_is_refused():
    other = KEYS | {"mlflow": "1/models/m-b/artifacts/artifacts/model.onnx"}
    assert "other bytes" in judge("ex-05-2", other, CHAMPION, PREFIX, BUCKET.get).text
