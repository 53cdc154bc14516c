"""Checks of lesson 06c: right answers for any payment of the background and any model, and odd ones that get a sentence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_demo.core import FEATURE_NAMES, Transaction
from fraud_demo.explanation import draw_background, explain_decision
from fraud_demo.serving import Scores
from fraud_demo.workshop.checks import judge
from tests.unit.odd_answers import ODD


class Rule:
    """A scorer that computes the fraud probability with weights."""

    def __init__(self, weights):
        self.weights = np.asarray(weights, np.float64)

    def score(self, data):
        points = np.minimum(np.asarray(data, np.float64), 50) @ self.weights - 1
        probability = (1 / (1 + np.exp(-points))).astype(np.float32)
        return Scores(probability, probability >= 0.5, 0.5, "rule")

    def decide(self, transaction):
        data = transaction.to_array() if hasattr(transaction, "to_array") else [list(transaction.values())]
        return self.score(data).get_decision()


def explain(scorer, payment, background=None):
    """Explain a payment, with its own decision."""
    return explain_decision(payment, scorer.decide(payment), scorer, background)


SECOND = Transaction(15.69, 175.99, 0.86, 1, 0, 0, 1)
SCORER, BACKGROUND = Rule([0.01, 0.02, 0.3, 0.1, -1, -2, 1]), draw_background()
weights = st.lists(st.floats(-1, 1).map(lambda w: round(w, 2)), min_size=7, max_size=7)


@given(weights)
@settings(deadline=None, max_examples=20)
def test_second_payment_is_right_for_any_model(weights):
    scorer = Rule(weights)
    second = explain(scorer, SECOND)
    leader = max(second.contributions, key=lambda item: item.amount).feature
    for name in (leader, leader.name, leader.label.upper()):
        feedback = judge("ex-06c-1", name, second, scorer, second.base)
        assert feedback.is_right, feedback


@given(st.integers(0, 99), weights, st.sampled_from([0, 0.0, np.float32(0)]))
@settings(deadline=None, max_examples=20)
def test_any_row_compared_with_itself_is_right(row, weights, zero):
    scorer, payment = Rule(weights), Transaction(*BACKGROUND[row])
    nothing = explain(scorer, payment, BACKGROUND[row : row + 1])
    feedback = judge("ex-06c-2", zero, nothing, BACKGROUND)
    assert feedback.is_right == (nothing.base > 0.5) and (
        feedback.is_right or "A fraud is wanted" in str(feedback)
    )
    assert judge("ex-06c-2", 0.2, nothing, BACKGROUND).state == "not yet"


@given(st.builds(Transaction, *[st.floats(0, 100)] * 3, *[st.integers(0, 1)] * 4), st.integers(2, 9))
@settings(deadline=None, max_examples=15)
def test_any_payment_with_three_backgrounds_is_right(payment, digits):
    by_size = {rows: explain(SCORER, payment, draw_background(1_000)[:rows]) for rows in (10, 100, 1_000)}
    amounts = {rows: {c.feature.name: c.amount for c in item.contributions} for rows, item in by_size.items()}
    far = {
        n: round(max(abs(amounts[n][f] - amounts[1_000][f]) for f in FEATURE_NAMES), digits)
        for n in (10, 100)
    }
    feedback = judge("ex-06c-3", by_size, far, SCORER, by_size[100])
    assert feedback.is_right, feedback
    assert judge("ex-06c-3", by_size, {10: 0.9, 100: 0.9}, SCORER, by_size[100]).state == "not yet"


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_get_a_sentence(odd):
    second = explain(SCORER, SECOND)
    by_size = dict.fromkeys((10, 100, 1_000), second)
    judged = [judge("ex-06c-1", odd, second, SCORER, second.base), judge("ex-06c-1", "used_chip", odd, SCORER, second.base),
              judge("ex-06c-2", odd, second, BACKGROUND), judge("ex-06c-2", 0, odd, BACKGROUND),
              judge("ex-06c-3", odd, {10: 0, 100: 0}, SCORER, second), judge("ex-06c-3", by_size, odd, SCORER, second),
              judge("ex-06c-3", {**by_size, 10: odd}, {10: odd, 100: 0}, SCORER, second)]  # fmt: skip
    for feedback in judged:
        assert feedback.state == "not yet" and feedback.text.endswith("."), feedback
