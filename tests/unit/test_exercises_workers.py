"""Right answers to the exercises of lesson 09b in many forms, and odd ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo.details.plan import Rates
from fraud_demo.workshop.checks import judge
from fraud_demo.workshop.exercises.workers import GOES_ON, measure_growth
from tests.unit.odd_answers import ODD

RATES = Rates(2.0, 2e-3, 1e-6, 30.0)
RIGHT = {case: epoch for case, (epoch, _) in GOES_ON.items()}


@pytest.mark.parametrize("form", [tuple, list, np.array], ids=lambda form: form.__name__)
def test_moments_may_have_any_form(form):
    told = judge(
        "ex-09b-1", lambda means, variances: form([np.mean(means), np.mean(variances) + np.var(means)])
    )
    assert told.is_right


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_other_moments_are_refused(shift, weight):
    told = judge("ex-09b-1", lambda m, v: (np.mean(m) + shift, np.mean(v) + weight * np.var(m)))
    is_right = abs(shift) < 1e-6 and abs(weight - 1) < 1e-6
    assert told.state == ("right" if is_right else "not yet")


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_moments_are_refused(odd):
    for answer in (odd, lambda m, v: odd, lambda m, v: (odd, odd), lambda m, v: (m.mean(), odd)):
        assert judge("ex-09b-1", answer).state == "not yet"


@given(st.tuples(*[st.sampled_from([0, 3, 4, 5])] * 5), st.sampled_from([int, float, np.int64]))
def test_one_set_of_epochs_is_right(epochs, form):
    answer = dict(zip(GOES_ON, map(form, epochs), strict=True))
    assert judge("ex-09b-2", answer).is_right == (answer == RIGHT)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_epochs_are_refused(odd):
    for answer in (odd, RIGHT | {"A": odd}):
        assert judge("ex-09b-2", answer).state == "not yet"


@pytest.mark.parametrize(("row_s", "row_bytes"), [(1e-6, 30.0), (1e-5, 10.0), (1e-7, 300.0)])
def test_the_growth_of_any_machine_is_right(row_s, row_bytes):
    rates = Rates(2.0, 2e-3, row_s, row_bytes)
    found = measure_growth(rates)
    assert judge("ex-09b-3", found, rates).is_right
    assert judge(
        "ex-09b-3", {name: np.float32(round(factor, 2)) for name, factor in found.items()}, rates
    ).is_right


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_an_odd_growth_is_refused(odd):
    for answer in (odd, {"one node": odd, "64 nodes": odd}):
        assert judge("ex-09b-3", answer, RATES).state == "not yet"


def test_a_stub_is_to_do():
    assert judge("ex-09b-1", lambda m, v: (..., ...)).state == "to do"
    assert judge("ex-09b-2", dict.fromkeys(GOES_ON, ...)).state == "to do"
    assert judge("ex-09b-3", {"one node": 1.3, "64 nodes": ...}, RATES).state == "to do"
