"""Checks of lesson 08: limits, changes and choices that are right, and odd ones that get a sentence."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fraud_demo.core import FEATURE_NAMES
from fraud_demo.data import generate_transactions
from fraud_demo.monitoring import SHIFTS, WATCHED, Replay, Shift, choose_limits, generate_stream, replay
from fraud_demo.serving import Scores
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


@pytest.fixture(scope="module")
def judge_changes():
    """Return what replays a change as the lesson does, with labels that the model knows."""
    table = generate_transactions(50_000, seed=9)
    reference = table.assign(fraud_probability=table["fraud"].astype(float), is_fraud=table["fraud"] == 1)
    limits = choose_limits(reference, 1000)

    def replay_change(shift):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(SHIFTS, "mine", shift)
            stream = generate_stream(5, "mine", 1000, seed=3)
        flags = stream["fraud"].to_numpy() == 1
        return replay(reference, stream, Scores(flags.astype(np.float32), flags, 0.5, "1"), limits)

    return replay_change


def change(name, factor):
    """Multiply an amount, or set a flag for a share of the payments."""

    def apply(rng, table):
        is_flag = name in FEATURE_NAMES[3:]
        some = rng.random(len(table)) < min(factor / 9, 1)
        values = np.where(some, 1, table[name]) if is_flag else table[name] * factor
        return table.assign(**{name: values.astype(np.float32)})

    return Shift(f"{name} is another", apply)


@given(st.sampled_from(FEATURE_NAMES), st.floats(2, 9))
@settings(deadline=None, max_examples=12)
def test_any_change_with_its_replay_is_right(judge_changes, name, factor):
    shift = change(name, factor)
    seen = judge_changes(shift)
    days = np.flatnonzero(seen.is_drift[14:].any(axis=1))
    assume(len(days))
    columns = [c for c, found in zip(WATCHED, seen.is_drift[14 + days[0]], strict=True) if found]
    is_harmful = bool(seen.is_costly[14:].any())
    for column in columns:
        assert judge("ex-08-3", shift, seen, column, is_harmful).is_right
    assert judge("ex-08-3", shift, seen, columns[0], not is_harmful).state == "not yet"
    for column in set(WATCHED) - set(columns):
        assert judge("ex-08-3", shift, seen, column, is_harmful).state == "not yet"


def test_the_replay_of_another_change_is_not(judge_changes):
    mine, other = change("distance_from_home", 5), change("used_chip", 5)
    feedback = judge("ex-08-3", mine, judge_changes(other), "used_chip", False)
    assert "The replay shows another change" in str(feedback)


@pytest.mark.parametrize("name", [name for name in SHIFTS if name != "none"])
def test_a_change_of_the_lesson_is_not_your_own(name):
    feedback = judge("ex-08-3", SHIFTS[name], see("used_chip"), "used_chip", False)
    assert "That is a change of the lesson" in str(feedback)


@given(st.sampled_from([" used_pin_number", "PIN entered", ["used_pin_number"]]))
def test_forms_of_a_name_are_right(name):
    assert judge("ex-08-2", name, "down").is_right


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_get_a_sentence(odd, reference):
    shift = Shift("more chips", SHIFTS["chip campaign"].change)
    steps = {"harmless": "note it in the report", "unknown": "get labels first", "harmful": odd}
    judged = [judge("ex-08-1", odd, 0.001, 18, reference), judge("ex-08-1", 0.0168, odd, 18, reference), judge("ex-08-1", 0.0168, 0.001, odd, reference),
              judge("ex-08-2", odd, "down"), judge("ex-08-2", "used_pin_number", odd), judge("ex-08-3", odd, see("used_chip"), "used_chip", False),
              judge("ex-08-3", Shift("odd", lambda rng, table: odd), see("used_chip"), "used_chip", False), judge("ex-08-3", shift, odd, "used_chip", False),
              judge("ex-08-3", shift, see("used_chip"), odd, False), judge("ex-08-3", shift, see("used_chip"), "used_chip", odd),
              judge("ex-08-3", shift, see(), "used_chip", False), judge("ex-08-4", odd), judge("ex-08-4", steps)]  # fmt: skip
    for feedback in judged:
        assert feedback.state == "not yet" and feedback.text.endswith((".", "]")), feedback
