"""Exercises of lesson 00: right answers in any form, and odd ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo.core import FEATURE_NAMES, FEATURES, Transaction, make_transaction
from fraud_demo.workshop.checks import judge
from fraud_demo.workshop.exercises.core import HARMLESS
from tests.unit.odd_answers import ODD


@given(st.permutations(sorted(HARMLESS)), st.sampled_from([float, np.float32, np.float64]))
def test_a_harmless_transaction_is_right_in_any_order_and_type(names, number):
    assert judge("ex-00-1", make_transaction({name: number(HARMLESS[name][0]) for name in names})).is_right


@given(st.sampled_from(FEATURES), st.floats(0, 1e30))
def test_another_value_is_named(feature, amount):
    wanted = HARMLESS[feature.name][0]
    value = 1 - wanted if feature.kind == "flag" else wanted + 0.1 + amount
    harmless = Transaction(**{name: HARMLESS[name][0] for name in FEATURE_NAMES} | {feature.name: value})
    told = judge("ex-00-1", harmless)
    assert told.state == "not yet" and f"{feature.name} = " in told.text


@st.composite
def draw_planted(draw):
    n = draw(st.integers(1, 5))
    row, column = draw(st.integers(0, n - 1)), draw(st.integers(0, 6))
    planted = np.zeros((n, 7), dtype=draw(st.sampled_from([np.float32, np.float64])))
    planted[row, column] = draw(st.sampled_from([-1, math.nan, math.inf]))
    return planted, row, column


@given(draw_planted(), st.booleans())
def test_a_message_is_foretold(place, as_label):
    planted, row, column = place
    name = FEATURES[column].label if as_label else FEATURE_NAMES[column]
    told = judge("ex-00-2", {"feature": name, "row": row}, planted)
    assert told.is_right and FEATURE_NAMES[column] in told.text
    for other in range(len(planted) + 1):
        for feature in FEATURE_NAMES:
            right = (other, feature) == (row, FEATURE_NAMES[column])
            assert judge("ex-00-2", {"row": other, "feature": feature}, planted).is_right == right


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_get_a_sentence(odd):
    planted = np.zeros((2, 7))
    planted[1, 5] = -1
    feedbacks = [judge("ex-00-1", odd), judge("ex-00-2", odd, planted)]
    for row, feature in ((1, odd), (odd, "used_pin_number")):
        feedbacks.append(judge("ex-00-2", {"row": row, "feature": feature}, planted))
    for told in feedbacks:
        assert told.state == "not yet" and told.text.endswith(".") and "stopped with" not in told.text
