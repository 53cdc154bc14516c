"""The checks of lesson 04, on right answers of many forms and on odd ones."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo.training import PARITY_LIMIT, Parity
from fraud_demo.workshop.checks import judge
from fraud_demo.workshop.exercises.training import FAULTS
from tests.unit.odd_answers import ODD

LIMIT = -math.log(1 / (0.5 + PARITY_LIMIT) - 1)  # the bias whose probability differs by exactly the limit
MEASURES = {fault: measure for fault, (measure, _) in FAULTS.items()}


def compare(bias):
    """Compare a sigmoid with itself after a step of its bias."""
    error = float(abs(1 / (1 + np.exp(-np.float64(bias))) - 0.5))
    return Parity(1, {"ONNX Runtime": error}, {"ONNX Runtime": 0})


def make_model(run_id, epochs, cost, fit_s):
    """Make what a training returns, as far as the check looks."""
    evaluation = SimpleNamespace(cost_per_1000=cost)
    return SimpleNamespace(
        run_id=run_id, history={"loss": [0.1] * epochs}, fit_s=fit_s, evaluation=evaluation
    )


TRAINED = make_model("a", 20, 2.0, 8.0)


@given(
    st.floats(0.51, 0.999),
    st.floats(1.002, 1.9),
    st.sampled_from([1, -1]),
    st.sampled_from([float, np.float32]),
)
def test_biases_close_around_the_limit_are_right(below, step, sign, kind):
    passes = sign * LIMIT * below
    caught = passes * min(max(step, 1.002 / below), 1.999)
    assert judge("ex-04-1", {"passes": kind(passes), "caught": kind(caught)}, compare).is_right


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_are_refused_with_sentences(odd):
    good = {"challenger": make_model("b", 5, 5.0, 2.0), "extra_cost_per_1000": 3, "share_of_time": 0.25}
    asked = [("ex-04-1", odd, compare), ("ex-04-2", odd), ("ex-04-3", odd, TRAINED)]
    asked += [("ex-04-1", {"passes": odd, "caught": 1e-4}, compare), ("ex-04-2", MEASURES | {"A": odd})]
    asked += [("ex-04-3", good | {key: odd}, TRAINED) for key in good]
    for name, *answer in asked:
        feedback = judge(name, *answer)
        assert feedback.state == "not yet" and feedback.text.count(". ") >= 2, (name, answer, feedback)
        assert "stopped with" not in feedback.text, feedback


@given(st.floats(0, 20), st.floats(0.1, 30), st.sampled_from([float, np.float64, lambda x: round(x, 2)]))
def test_figures_of_a_shorter_training_may_be_rounded(cost, fit_s, kind):
    challenger = make_model("b", 5, cost, fit_s)
    answer = {
        "challenger": challenger,
        "extra_cost_per_1000": kind(cost - 2.0),
        "share_of_time": kind(fit_s / 8.0),
    }
    feedback = judge("ex-04-3", answer, TRAINED)
    assert feedback.is_right and ("worse" in feedback.text) >= (cost > 2.0)


def test_one_missing_part_is_to_do():
    assert judge("ex-04-1", {"passes": ..., "caught": 1}, compare).state == "to do"
    assert judge("ex-04-2", MEASURES | {"D": ...}).state == "to do"
