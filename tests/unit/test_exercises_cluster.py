"""Right answers to the exercises of lesson 10 in many forms, and odd ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo.workshop.checks import judge
from fraud_demo.workshop.exercises.cluster import FOUR, PLACES, ROWS, WAYS
from tests.unit.odd_answers import ODD

TABLES = {"ex-10-1": (PLACES, FOUR), "ex-10-2": (WAYS, ROWS)}


@pytest.mark.parametrize("name", TABLES)
@given(data=st.data())
def test_one_choice_is_right(name, data):
    choices, cases = TABLES[name]
    form = data.draw(st.sampled_from([str, str.upper, str.title, lambda text: f" {text}. "]))
    answer = {case: data.draw(st.sampled_from(choices)) for case in cases}
    told = judge(name, {case: form(text) for case, text in answer.items()})
    assert told.is_right == all(answer[case] == right for case, (right, _) in cases.items())
    assert told.text.count(". ") >= (0 if told.is_right else 2)


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
@pytest.mark.parametrize("name", TABLES)
def test_an_odd_answer_is_refused(name, odd):
    _, cases = TABLES[name]
    for answer in (odd, {case: right for case, (right, _) in cases.items()} | {next(iter(cases)): odd}):
        assert judge(name, answer).state == "not yet"


@pytest.mark.parametrize("name", TABLES)
def test_a_stub_is_to_do(name):
    assert judge(name, dict.fromkeys(TABLES[name][1], ...)).state == "to do"
