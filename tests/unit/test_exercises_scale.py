"""Right answers to the exercises of lesson 09 in many forms, and odd ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo.workshop.checks import judge
from fraud_demo.workshop.exercises.scale import HELD_UP, HOLDERS
from tests.unit.odd_answers import ODD


def line(small, large, many):
    row_s = (large[1] - small[1]) / (large[0] - small[0])
    return small[1] + (many - small[0]) * row_s


@pytest.mark.parametrize(
    "form", [float, round, np.float64, lambda x: np.array([x])], ids=lambda form: form.__name__
)
def test_a_prediction_may_have_any_form(form):
    assert judge("ex-09-1", lambda *given: form(line(*given))).is_right


@given(st.floats(0, 100), st.floats(-10, 10))
def test_another_line_is_no_prediction(start_s, factor):
    told = judge("ex-09-1", lambda small, large, many: start_s + factor * many)
    assert told.state == "not yet" and told.text.count(".") >= 3


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_an_odd_prediction_is_refused(odd):
    for answer in (odd, lambda small, large, many: odd):
        assert judge("ex-09-1", answer).state == "not yet"


@given(st.permutations(HOLDERS))
def test_one_order_of_the_four_is_right(holders):
    answer = dict(zip("ABCD", holders, strict=True))
    assert judge("ex-09-2", answer).is_right == all(answer[run] == HELD_UP[run][0] for run in HELD_UP)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_an_odd_choice_is_refused(odd):
    for answer in (odd, dict.fromkeys("ABCD", odd)):
        assert judge("ex-09-2", answer).state == "not yet"


@given(st.integers(84, 1000), st.sampled_from([int, float, np.int64, np.float32, np.array]))
def test_any_number_between_the_limits_is_right(shards, form):
    assert judge("ex-09-3", form(shards)).is_right


@given(st.integers(-(10**30), 83) | st.integers(1001, 10**300) | st.floats())
def test_any_other_number_is_refused(shards):
    is_right = 84 <= shards <= 1000 and shards == int(shards)
    assert judge("ex-09-3", shards).state == ("right" if is_right else "not yet")


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_shards_are_refused(odd):
    assert judge("ex-09-3", odd).state == "not yet"


def test_a_stub_is_to_do():
    assert judge("ex-09-1", lambda *given: ...).state == "to do"
    assert judge("ex-09-2", dict.fromkeys("ABCD", ...)).state == "to do"
    assert judge("ex-09-3", ...).state == "to do"
