"""Exercises of lesson 03: right answers in any form, and odd ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_demo.data import generate_transactions, split_transactions
from fraud_demo.evaluation import (
    DecisionCost,
    choose_threshold,
    count_alarms,
    evaluate,
    fit_logistic_regression,
)
from fraud_demo.workshop.checks import judge
from tests.unit.odd_answers import ODD

SPLIT = split_transactions(generate_transactions(3_000))
MODEL = fit_logistic_regression(SPLIT.train.features, SPLIT.train.labels)
LABELS, SCORES = SPLIT.validation.labels, MODEL.score(SPLIT.validation.features)
COSTS = (DecisionCost(10), DecisionCost(50))
BEST = choose_threshold(LABELS, SCORES, COSTS[1])
COUNTS = {"tn": 1780, "fp": 20, "fn": 40, "tp": 160}
MEASURES = {"precision": 160 / 180, "recall": 0.8, "cost": 210.0}
TRUTH = np.array([0, 0, 0, 1, 0, 1])
SUSPECTS = {"a": np.full(6, 0.5), "b": np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7]), "c": TRUTH * 0.9}


@settings(max_examples=25)
@given(st.floats(0, 1, width=32), st.sampled_from([float, np.float32]))
def test_each_threshold_with_the_cheapest_decisions_is_right(threshold, number):
    least = evaluate(LABELS, SCORES, BEST, COSTS[1]).cost_per_1000
    is_right = (
        evaluate(LABELS, SCORES, threshold, COSTS[1]).cost_per_1000 == least or abs(threshold - BEST) < 6e-5
    )
    told = judge("ex-03-1", {"direction": "down", "threshold": number(threshold)}, MODEL, SPLIT, *COSTS)
    assert told.is_right == is_right


def test_a_threshold_may_lie_anywhere_between_two_scores():
    highest = max(score for score in count_alarms(LABELS, SCORES)[0] if score < BEST)
    for threshold in (np.nextafter(highest, np.float32(1)), (highest + BEST) / 2, round(BEST, 4)):
        assert judge("ex-03-1", {"threshold": threshold, "direction": "down"}, MODEL, SPLIT, *COSTS).is_right


def test_the_direction_follows_from_the_costs():
    ways = ("up", "down", "stays")
    for costs, right in ((COSTS, "down"), (COSTS[::-1], "up"), ((COSTS[1], COSTS[1]), "stays")):
        threshold = choose_threshold(LABELS, SCORES, costs[1])
        told = [
            judge("ex-03-1", {"direction": way, "threshold": threshold}, MODEL, SPLIT, *costs) for way in ways
        ]
        assert [feedback.is_right for feedback in told] == [way == right for way in ways]


@given(*[st.integers(1, 10**6)] * 4, st.floats(1, 100), st.sampled_from([float, np.float64]))
def test_measures_of_any_counts_are_right(tn, fp, fn, tp, missed, number):
    counts, cost = {"tn": tn, "fp": fp, "fn": fn, "tp": tp}, DecisionCost(missed)
    right = {"precision": tp / (tp + fp), "recall": tp / (tp + fn)}
    right["cost"] = 1000 * (missed * fn + fp) / (tn + fp + fn + tp)
    assert judge("ex-03-2", {name: number(value) for name, value in right.items()}, counts, cost).is_right
    assert judge("ex-03-2", right | {"cost": 2 * right["cost"]}, counts, cost).state == "not yet"


def test_the_leak_is_told_from_a_rule_and_a_coin():
    for letter, words in (("a", "A coin"), (" B", "as a rule"), ("C", "No feature that is known")):
        told = judge("ex-03-3", letter, SUSPECTS, TRUTH)
        assert words in told.text and told.is_right == (letter == "C")


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_get_a_sentence(odd):
    given = (MODEL, SPLIT, *COSTS)
    feedbacks = [
        judge("ex-03-1", odd, *given),
        judge("ex-03-2", odd, COUNTS, COSTS[0]),
        judge("ex-03-3", odd, SUSPECTS, TRUTH),
    ]
    right = {"direction": "down", "threshold": BEST}
    feedbacks += [judge("ex-03-1", right | {name: odd}, *given) for name in right]
    feedbacks += [judge("ex-03-2", MEASURES | {name: odd}, COUNTS, COSTS[0]) for name in MEASURES]
    for told in feedbacks:
        assert told.state == "not yet" and told.text.endswith(".") and "stopped with" not in told.text
