"""Checks of lesson 06b: right answers of any form, and odd ones that get a sentence."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_demo.batch import score_batch
from fraud_demo.core import FEATURE_NAMES
from fraud_demo.workshop.checks import judge
from tests.unit.odd_answers import ODD

GOOD = "57.9,0.3,1.9,1,1,0,0"


def spoil(place: int, value: str) -> str:
    """Return a row with another value."""
    return ",".join(value if i == place else cell for i, cell in enumerate(GOOD.split(",")))


FAULTS = {
    "negative": (0, "-1"),
    "huge": (1, "1e39"),
    "infinite": (2, "inf"),
    "flag": (3, "2"),
    "half": (6, "0.5"),
}


@given(
    st.permutations(range(5)),
    st.permutations(["negative", "huge", "flag"]),
    st.sampled_from(["text", "lines", "pairs"]),
)
@settings(deadline=None, max_examples=20)
def test_any_spoiled_file_is_right(rows, kinds, form):
    lines, expected = [GOOD] * 5, {}
    for row, kind in zip(rows[:2], kinds[:2], strict=True):
        place, value = FAULTS[kind]
        lines[row], expected[row] = spoil(place, value), FEATURE_NAMES[place]
    lines = [",".join(FEATURE_NAMES), *lines]
    text = lines if form == "lines" else "\n".join(lines)
    feedback = judge("ex-06b-1", text, list(expected.items()) if form == "pairs" else expected)
    assert feedback.is_right, feedback
    off = {row + 1: column for row, column in expected.items()}
    assert judge("ex-06b-1", text, off).state == "not yet"


@given(st.floats(1.3, 50), st.floats(0.01, 10))
@settings(deadline=None)
def test_slower_small_pieces_are_right(ratio, large_s):
    times = {1_000: ratio * large_s, 1_000_000: large_s}
    assert judge("ex-06b-2", times, 1_000_000).is_right
    assert judge("ex-06b-2", times, 1_000).state == "not yet"
    assert judge("ex-06b-2", {1_000: large_s, 1_000_000: ratio * large_s}, 1_000_000).state == "not yet"


@given(st.integers(1, 400), st.sampled_from(["arrow", "pandas", "two columns", "batches", "dict"]))
@settings(deadline=None, max_examples=20)
def test_any_engine_is_right(size, form):
    def score_all(path, scorer):
        batches = [score_batch(batch, scorer).batch for batch in pq.ParquetFile(path).iter_batches(size)]
        table = pa.Table.from_batches(batches)
        return {"arrow": table, "pandas": table.to_pandas(), "two columns": table.select(["is_fraud", "fraud_probability"]), "batches": batches,
                "dict": table.to_pydict()}[form]  # fmt: skip

    feedback = judge("ex-06b-3", score_all)
    assert feedback.is_right, feedback


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_odd_answers_get_a_sentence(odd):
    expected = {0: "distance_from_home", 1: "used_chip"}
    judged = [judge("ex-06b-1", odd, expected), judge("ex-06b-1", "\n".join([GOOD] * 6), odd), judge("ex-06b-2", odd, 1_000_000),
              judge("ex-06b-2", {1_000: odd, 1_000_000: 1.0}, 1_000_000), judge("ex-06b-2", {1_000: 4.0, 1_000_000: 1.0}, odd),
              judge("ex-06b-3", odd), judge("ex-06b-3", lambda path, scorer: odd)]  # fmt: skip
    for feedback in judged:
        assert feedback.state == "not yet" and feedback.text.endswith("."), feedback
