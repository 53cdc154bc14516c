"""Checks of exercises: whatever an answer is, a learner gets sentences."""

from __future__ import annotations

import html
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fraud_demo.workshop.checks as c
from fraud_demo.core import InputError
from fraud_demo.workshop.exercises.discovery import CASES
from tests.unit.odd_answers import ODD


@pytest.fixture(autouse=True)
def even():
    """A check of an exercise that wants an even number."""

    @c.exercise("ex-99-1")
    def check_even(answer):
        number = c.read_number(answer)
        c.require(number % 2 == 0, f"{number:g} is odd.", "An even number is wanted.", "Add one.")
        return "Two divides it."

    yield
    del c.CHECKS["ex-99-1"]


@pytest.mark.parametrize("stub", [..., (..., 1), [1, ...], {"A": ..., "B": 2}])
def test_a_stub_is_to_do(stub):
    assert c.judge("ex-99-1", stub).state == "to do"


@given(st.integers(-(10**6), 10**6))
def test_right_and_wrong_are_told_apart(number):
    for form in (number, float(number), np.int64(number), np.float32(number), np.array([number])):
        assert c.judge("ex-99-1", form).is_right == (number % 2 == 0)


@pytest.mark.parametrize(
    "answer",
    [odd for odd in ODD if type(odd) is not int and not (isinstance(odd, float) and odd == 1e308)],
    ids=lambda odd: type(odd).__name__,
)
def test_odd_answers_get_a_sentence(answer):
    feedback = c.judge("ex-99-1", answer)
    assert feedback.state == "not yet" and "one number" in feedback.text and feedback.text.endswith(".")


@pytest.mark.parametrize("name", [name for number in c.MODULES for name in c.list_exercises(number)])
@pytest.mark.parametrize("answer", ODD, ids=lambda odd: type(odd).__name__)
def test_every_check_survives_odd_answers(name, answer):
    feedback = c.judge(name, answer)
    assert feedback.state == "not yet", f"{answer!r} was called {feedback}"
    assert "Traceback" not in feedback.text and len(feedback.text) < 800


def test_a_function_that_stops_or_does_nothing_is_explained():
    def stops(service, namespace, port):
        return 1 / 0

    told = c.judge("ex-01-1", stops).text
    assert "the text 'tracking'" in told and "ZeroDivisionError: division by zero" in told
    assert c.judge("ex-01-1", lambda *given: ...).state == "to do"
    assert "A route is a text" in c.judge("ex-01-1", lambda *given: None).text


class Shy:
    def __repr__(self):
        raise AttributeError("half built")


def nest(depth):
    found = []
    for _ in range(depth):
        found = [found]
    return found


@pytest.mark.parametrize(
    "answer",
    [Shy(), nest(2000), 10**5000, [Shy()], {"A": Shy()}, lambda *given: Shy()],
    ids=["shy", "deep", "long", "list", "part", "function"],
)
@pytest.mark.parametrize("name", ["ex-01-1", "ex-01-2", "ex-00-1"])
def test_an_answer_that_cannot_be_shown_gets_a_sentence(name, answer):
    told = c.judge(name, answer)
    assert told.state == "not yet" and "Traceback" not in told.text and len(told.text) < 800


def test_a_function_that_ends_the_program_is_explained():
    def leave(*given):
        sys.exit("enough")

    assert "SystemExit: enough" in c.judge("ex-01-1", leave).text


def test_a_check_without_an_answer_is_named():
    with pytest.raises(InputError, match="gives no answer"):
        c.check("ex-01-2")


def test_a_check_that_fails_itself_is_no_traceback():
    @c.exercise("ex-99-2")
    def broken(answer):
        return answer["nothing"]

    try:
        feedback = c.judge("ex-99-2", {})
    finally:
        del c.CHECKS["ex-99-2"]
    assert feedback.state == "not yet" and "KeyError" in feedback.text


@pytest.mark.parametrize("name", ["ex-01-9", "ex-77-1", "01-1", "", None, 7])
def test_an_exercise_that_does_not_exist_is_named(name):
    with pytest.raises(InputError, match="There is no exercise"):
        c.check(name, 1)


def test_a_strict_run_stops_at_what_is_not_right(monkeypatch):
    assert c.check("ex-99-1", 3).state == "not yet"
    monkeypatch.setenv("FRAUD_DEMO_STRICT_CHECKS", "1")
    assert c.check("ex-99-1", 4).is_right
    for answer, state in ((3, "not yet"), (..., "to do")):
        with pytest.raises(c.ExerciseError, match=state):
            c.check("ex-99-1", answer)


def test_feedback_is_read_by_people_and_programs():
    bundle = c.Feedback("ex-01-2", "not yet", "A < B & 'C'.")._repr_mimebundle_()
    assert bundle["text/plain"] == "Exercise 2: not yet. A < B & 'C'."
    assert html.unescape(re.sub(r"<[^>]*>", "", bundle["text/html"])) == bundle["text/plain"]
    assert bundle[c.FEEDBACK_TYPE] == {"exercise": "ex-01-2", "state": "not yet", "text": "A < B & 'C'."}


def test_the_instructor_is_told_once_and_nobody_waits(monkeypatch):
    told = []
    monkeypatch.setattr(c, "tag_seat", lambda settings, key, value: told.append((key, value)))
    c.TOLD.clear()
    for answer in (..., 3, 5, 4, 4):
        c.check("ex-99-1", answer)
    assert told == [("exercise.ex-99-1", "not yet"), ("exercise.ex-99-1", "right")]
    for answer in (3, 4):
        c.check("ex-99-1", answer)
    assert [state for _, state in told] == ["not yet", "right"] * 2, "the last answer is what the room shows"

    def fail(*_):
        raise ConnectionError("no server")

    with monkeypatch.context() as patch:
        patch.setattr(c, "tag_seat", fail)
        c.TOLD.clear()
        assert c.check("ex-99-1", 4).is_right
    c.check("ex-99-1", 4)
    assert len(told) == 5, "a state that did not arrive is told again"


@given(st.permutations(sorted(CASES)))
def test_the_order_of_letters_does_not_matter(letters):
    assert c.judge("ex-01-2", {letter: CASES[letter][0] for letter in letters}).is_right
