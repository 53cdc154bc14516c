"""The checks of lesson 06, on right answers of many forms and on odd ones."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo.workshop.checks import judge
from fraud_demo.workshop.exercises.serving import ANSWERS
from tests.unit.odd_answers import ODD

METADATA = {"inputs": [{"name": "dense_input", "datatype": "FP32", "shape": [-1, 7]}]}
ROWS = ([57.9, 0.3, 1.9, 1.0, 1.0, 0.0, 0.0], [15.7, 176.0, 0.9, 1.0, 0.0, 0.0, 1.0])
TENSOR = {"name": "dense_input", "shape": [2, 7], "datatype": "FP32", "data": ROWS[0] + ROWS[1]}
SIDES = {answer: side for answer, (side, _) in ANSWERS.items()}
SAVING = {"post_s": [0.004] * 50, "decide_s": [0.002] * 50, "with_tls": "larger"}
FORMS = (
    lambda body: body,
    json.dumps,
    lambda body: json.dumps(body).encode(),
    lambda body: {"id": "1", **body},
)
SHAPES = (list, tuple)
DATA = (lambda rows: rows[0] + rows[1], list, lambda rows: np.float32(rows).ravel().tolist())


def ask_payload(payload):
    """Judge a payload as the lesson does."""
    return judge("ex-06-1", payload, METADATA, ROWS)


@given(st.sampled_from(FORMS), st.sampled_from(SHAPES), st.sampled_from(DATA), st.booleans())
def test_payload_may_be_written_in_many_ways(form, shape, data, wants_outputs):
    body = {"inputs": [{**TENSOR, "shape": shape(TENSOR["shape"]), "data": data(ROWS)}]}
    body |= {"outputs": [{"name": "fraud_probability"}]} if wants_outputs else {}
    assert ask_payload(form(body)).is_right


@given(st.floats(0.0015, 0.3), st.floats(0.1, 0.9), st.sampled_from([list, tuple, np.array, pd.Series]))
def test_times_of_any_machine_are_right(post_s, ratio, kind):
    jitter = np.random.default_rng(0).uniform(0.95, 1.05, 50)
    post, decide = (kind(list(size * jitter)) for size in (post_s, post_s * ratio))
    assert judge("ex-06-3", {"post_s": post, "decide_s": decide, "with_tls": "larger"}).is_right


def test_other_programs_may_slow_down_most_calls_of_the_faster_way():
    busy = [0.002] + [0.0055] * 49
    assert judge("ex-06-3", SAVING | {"post_s": [0.003] * 50, "decide_s": busy}).is_right


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_are_refused_with_sentences(odd):
    feedbacks = [ask_payload(odd), judge("ex-06-2", odd), judge("ex-06-3", odd), ask_payload({"inputs": odd})]
    feedbacks += [ask_payload({"inputs": [odd]})]
    feedbacks += [ask_payload({"inputs": [TENSOR | {key: odd}]}) for key in TENSOR]
    feedbacks += [judge("ex-06-2", SIDES | {key: odd}) for key in SIDES]
    feedbacks += [judge("ex-06-3", SAVING | {key: odd}) for key in SAVING]
    for feedback in feedbacks:
        assert feedback.state == "not yet" and feedback.text.count(". ") >= 2, feedback
        assert "stopped with" not in feedback.text, feedback


def test_sorted_times_are_no_clock():
    times = sorted(np.random.default_rng(0).uniform(0.002, 0.02, 50))
    assert judge("ex-06-3", SAVING | {"post_s": times}).is_right
