"""Checks of lesson 08: limits, changes and choices that are right, and odd ones that get a sentence."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_demo.data import generate_transactions
from fraud_demo.monitoring import SHIFTS, WATCHED, Replay, Shift, choose_limits
from fraud_demo.workshop.checks import judge
from tests.unit.odd_answers import ODD


@pytest.fixture(scope="module")
def reference():
    return generate_transactions(20_000, seed=4).assign(fraud_probability=0.0, is_fraud=False)


def see(first=None, day=20, is_harmful=False):
    """Return a replay in which one column finds a change on a day."""
    is_drift, is_costly = np.zeros((42, 8), bool), np.zeros(42, bool)
    if first:
        is_drift[day:, WATCHED.index(first)] = True
    is_costly[30:] = is_harmful
    return Replay(is_drift * 1.0, is_drift, is_costly * 1.0, is_costly)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("books", [16, 18, 20])
def test_limits_of_another_simulation_are_right(reference, seed, books):
    small, large = (choose_limits(reference, rows, seed=seed) for rows in (100, 10_000))
    assert judge("ex-08-1", small, large.psi["online_order"], books, reference).is_right
    assert judge("ex-08-1", small, large, 50 * books, reference).state == "not yet"


@given(st.sampled_from(WATCHED), st.integers(14, 41), st.booleans(), st.floats(1.1, 9))
@settings(deadline=None, max_examples=20)
def test_any_change_with_its_replay_is_right(column, day, is_harmful, factor):
    shift = Shift(
        "prices",
        lambda rng, table: table.assign(
            ratio_to_median_purchase_price=table["ratio_to_median_purchase_price"] * np.float32(factor)
        ),
    )
    seen = see(column, day, is_harmful)
    assert judge("ex-08-3", shift, seen, column, is_harmful).is_right
    assert judge("ex-08-3", shift, seen, column, not is_harmful).state == "not yet"
    other = next(name for name in WATCHED if name != column)
    assert judge("ex-08-3", shift, seen, other, is_harmful).state == "not yet"


@pytest.mark.parametrize("name", [name for name in SHIFTS if name not in ("none", "label rule")])
def test_changes_of_the_lesson_are_right(name):
    assert judge("ex-08-3", SHIFTS[name], see("used_chip"), "used_chip", False).is_right


@given(st.sampled_from([" used_pin_number", "PIN entered", ["used_pin_number"]]))
def test_forms_of_a_name_are_right(name):
    assert judge("ex-08-2", name, "down").is_right


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_get_a_sentence(odd, reference):
    shift = SHIFTS["chip campaign"]
    steps = {"harmless": "note it in the report", "unknown": "get labels first", "harmful": odd}
    judged = [judge("ex-08-1", odd, 0.001, 18, reference), judge("ex-08-1", 0.0168, odd, 18, reference), judge("ex-08-1", 0.0168, 0.001, odd, reference),
              judge("ex-08-2", odd, "down"), judge("ex-08-2", "used_pin_number", odd), judge("ex-08-3", odd, see("used_chip"), "used_chip", False),
              judge("ex-08-3", Shift("odd", lambda rng, table: odd), see("used_chip"), "used_chip", False), judge("ex-08-3", shift, odd, "used_chip", False),
              judge("ex-08-3", shift, see("used_chip"), odd, False), judge("ex-08-3", shift, see("used_chip"), "used_chip", odd),
              judge("ex-08-3", shift, see(), "used_chip", False), judge("ex-08-4", odd), judge("ex-08-4", steps)]  # fmt: skip
    for feedback in judged:
        assert feedback.state == "not yet" and feedback.text.endswith((".", "]")), feedback
