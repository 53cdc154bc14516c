"""Checks of lesson 07: forms, changes and replies that are right, and odd ones that get a sentence."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_demo.app import EXAMPLES, Example, build_panel, make_form
from fraud_demo.core import Decision, Transaction
from fraud_demo.serving import Scores
from fraud_demo.workshop.checks import judge
from tests.unit.odd_answers import ODD


class NearIsFine:
    """A scorer that calls a payment fraud when it was made far from home without a PIN."""

    def score(self, data):
        data = np.asarray(data)
        probability = np.where((data[:, 0] > 100) & (data[:, 5] == 0), 0.9, 0.1).astype(np.float32)
        return Scores(probability, probability >= 0.5, 0.5, "rule")

    def decide(self, transaction):
        return self.score(transaction.to_array()).get_decision()


SCORER = NearIsFine()
amounts, flags = st.floats(0, 1e6), st.integers(0, 1)
far_payments = st.builds(Transaction, st.floats(100, 1e6), amounts, amounts, flags, st.just(1), flags, flags)


@given(st.text(min_size=1).filter(lambda name: name.strip()), far_payments, st.permutations(EXAMPLES))
@settings(deadline=None, max_examples=10)
def test_any_new_example_is_right(name, payment, others):
    form = make_form((Example(name, payment), *others))
    panel = build_panel(SCORER, form)
    assert judge("ex-07-1", form, panel).state == "not yet"
    panel.button.click()
    feedback = judge("ex-07-1", form, panel)
    assert feedback.is_right, feedback


@given(
    st.one_of(
        st.floats(0, 99).map(lambda km: ("distance_from_home", km)),
        st.sampled_from([True, 1, 1.0, np.int8(1)]).map(lambda yes: ("PIN entered", yes)),
    )
)
@settings(deadline=None, max_examples=20)
def test_any_change_that_turns_is_right(change):
    assert judge("ex-07-2", dict([change]), SCORER).is_right
    assert judge("ex-07-2", change, SCORER).is_right


@given(st.floats(101, 299), st.integers(0, 1))
@settings(deadline=None, max_examples=20)
def test_a_change_that_turns_nothing_is_not(km, flag):
    assert judge("ex-07-2", {"distance_from_home": km}, SCORER).state == "not yet"
    assert judge("ex-07-2", {"used_chip": flag}, SCORER).state == "not yet"


@given(st.floats(0, 1, width=32))
def test_any_form_of_the_reply_is_right(probability):
    result = SimpleNamespace(decision=Decision(probability, 0.5, probability >= 0.5))
    reply = {"outputs": [{"name": "dense_3", "data": [probability]}]}
    for answer in (reply, probability, np.float32(probability), SimpleNamespace(json=lambda: reply)):
        assert judge("ex-07-3", answer, result).is_right
    assert judge("ex-07-3", abs(probability - 0.5), result).state == "not yet" or probability == 0.25


def test_a_rounded_number_is_named():
    result = SimpleNamespace(decision=Decision(0.123449, 0.5, False))
    assert "rounded number of the card" in judge("ex-07-3", 0.1234, result).text


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_get_a_sentence(odd):
    form = make_form((Example("Far", Transaction(500, 1, 1, 1, 1, 0, 0)), *EXAMPLES))
    result = SimpleNamespace(decision=Decision(0.3, 0.5, False))
    judged = [judge("ex-07-1", odd, build_panel(SCORER, form)), judge("ex-07-1", form, odd), judge("ex-07-2", odd, SCORER),
              judge("ex-07-2", {"used_chip": odd}, SCORER), judge("ex-07-3", odd, result),
              judge("ex-07-3", {"outputs": odd}, result), judge("ex-07-3", {"outputs": [{"data": [odd]}]}, result)]  # fmt: skip
    for feedback in judged:
        assert feedback.state == "not yet" and feedback.text.endswith((".", "]")), feedback
