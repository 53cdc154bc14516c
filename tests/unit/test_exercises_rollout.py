"""Right answers to the exercises of lesson 10b in many forms, and odd ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo.workshop.checks import judge
from fraud_demo.workshop.exercises.rollout import CALLS, STEPS, WINNERS
from tests.unit.odd_answers import ODD

FORMS = (int, str, float, np.int64, "version {}".format, "models/credit-card-fraud/version-{}".format,
         "models/credit-card-fraud/version-{}/".format)  # fmt: skip


@given(st.integers(1, 98), st.sampled_from(FORMS))
def test_a_version_may_have_any_form(first, form):
    assert judge("ex-10b-1", {"refused": "mine", "named": form(first)}, str(first), "0").is_right


@given(st.sampled_from(WINNERS), st.integers(0, 120))
def test_one_outcome_is_right(refused, named):
    told = judge("ex-10b-1", {"refused": refused, "named": named}, "7", "6")
    assert told.is_right == (refused == "mine" and named == 7)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_an_odd_outcome_is_refused(odd):
    for answer in (odd, {"refused": odd, "named": 7}, {"refused": "mine", "named": odd}):
        assert judge("ex-10b-1", answer, "7", "6").state == "not yet"


@given(st.permutations(STEPS))
def test_one_order_of_the_steps_is_right(steps):
    assert judge("ex-10b-2", dict(zip(CALLS, steps, strict=True))).is_right == (tuple(steps) == STEPS)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_an_odd_call_is_refused(odd):
    for answer in (odd, dict.fromkeys(CALLS, odd)):
        assert judge("ex-10b-2", answer).state == "not yet"


def test_a_stub_is_to_do():
    assert judge("ex-10b-1", {"refused": "mine", "named": ...}, "7", "6").state == "to do"
    assert judge("ex-10b-2", dict.fromkeys(CALLS, ...)).state == "to do"
