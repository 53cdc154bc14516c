"""Exercises of lesson 02: right answers in any form, and odd ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_demo.data import generate_transactions
from fraud_demo.workshop.checks import judge
from tests.unit.odd_answers import ODD

TABLE = generate_transactions(5_000)
RATES = TABLE.groupby("online_order")["fraud"].mean()
RIGHT = {"online": RATES[1], "other": RATES[0], "factor": RATES[1] / RATES[0]}
FLAG = dict(zip(("legitimate", "fraud"), TABLE.groupby("fraud")["repeat_retailer"].mean(), strict=True))
FORMS = (list, tuple, set, np.array, pd.Series, pd.Index, iter, lambda rows: np.array(rows, dtype=float))


def plant(places: list[int]) -> pd.DataFrame:
    suspect = TABLE.head(50).astype(float)
    suspect.loc[places, ["used_chip", "online_order"]] = -1
    return suspect


@settings(max_examples=20)
@given(st.sets(st.integers(0, 49), min_size=1, max_size=8), st.sampled_from(FORMS), st.randoms())
def test_rows_are_right_in_any_form_and_order(places, form, random):
    order = sorted(places)
    random.shuffle(order)
    assert judge("ex-02-1", form(order), plant(order)).is_right
    assert judge("ex-02-1", form([*order, 60]), plant(order)).state == "not yet"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([3, 7], "You name 2 of 3 rows"),
        ([3, 7, 20, 20], "You name row 20 2 times"),
        ([4, 8, 21], "Rows count from 0"),
        ([3, 7, 20.5], "A row number is whole"),
        (["3", "7", "20"], "It must be one number"),
        (np.arange(50) == 3, "50 values of yes and no"),
        (plant([3, 7, 20]), "You gave a table"),
    ],
)
def test_other_rows_are_explained(answer, words):
    told = judge("ex-02-1", answer, plant([3, 7, 20]))
    assert told.state == "not yet" and words in told.text


@given(st.integers(3, 9), st.sampled_from([float, np.float32, np.float64]))
def test_rates_are_right_as_far_as_one_rounds(digits, number):
    answer = {name: number(round(value, digits)) for name, value in RIGHT.items()}
    assert judge("ex-02-2", answer, TABLE).is_right
    assert judge(
        "ex-02-3", {"flag": "Known retailer"} | {n: round(v, 2) for n, v in FLAG.items()}, TABLE
    ).is_right


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_get_a_sentence(odd):
    feedbacks = [
        judge("ex-02-1", odd, plant([3])),
        judge("ex-02-2", odd, TABLE),
        judge("ex-02-3", odd, TABLE),
    ]
    feedbacks += [judge("ex-02-2", RIGHT | {name: odd}, TABLE) for name in RIGHT]
    feedbacks += [
        judge("ex-02-3", {"flag": "repeat_retailer", **FLAG} | {name: odd}, TABLE) for name in ("flag", *FLAG)
    ]
    for told in feedbacks:
        assert told.state == "not yet" and told.text.endswith(".") and "stopped with" not in told.text
