"""Edges of fraud_demo.explanation: contributions that add up, changes that turn the verdict, and words that fit both."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud_demo.core import FEATURE_NAMES, FEATURES, Decision, InputError, ServiceError, Transaction
from fraud_demo.explanation import (
    AMOUNTS,
    COALITIONS,
    PHRASES,
    WEIGHTS,
    Change,
    Contribution,
    Explanation,
    draw_background,
    explain_decision,
    find_repeats,
    mix_rows,
    say_value,
    vary_row,
)
from fraud_demo.serving import Scores

from .v2_double import FRAUDULENT, make_rows

PRICE, ONLINE, PIN = 2, 6, 5


class Rule:
    """A scorer that computes the fraud probability with a function of the rows."""

    def __init__(self, compute, threshold=0.5, version="1"):
        self.compute, self.threshold, self.version = compute, threshold, version
        self.asked = 0

    def score(self, data):
        self.asked += 1
        probability = np.asarray(self.compute(np.asarray(data)), np.float32)
        return Scores(probability, probability >= self.threshold, self.threshold, self.version)

    def decide(self, transaction):
        return self.score(transaction.to_array()).get_decision()


def explain(scorer, transaction, background=None):
    """Explain what a scorer says about a payment."""
    return explain_decision(transaction, scorer.decide(transaction), scorer, background)


def get_amounts(explanation):
    """Return the contributions by feature name."""
    return {c.feature.name: c.amount for c in explanation.contributions}


transactions = st.builds(
    Transaction,
    *[st.floats(0, 1e6, width=32)] * 3,
    *[st.integers(0, 1).map(float)] * 4,
)


# --- contributions


def test_contributions_add_up_on_many_payments(local):
    for row in make_rows(100, seed=4):
        transaction = Transaction(*row.tolist())
        found = explain(local, transaction)
        assert found.fraud_probability == local.decide(transaction).fraud_probability
        total = found.base + sum(c.amount for c in found.contributions)
        assert total == pytest.approx(found.fraud_probability, abs=1e-12)
        assert found.base == pytest.approx(local.score(draw_background()).fraud_probability.mean(), abs=1e-6)
        sizes = [abs(c.amount) for c in found.contributions]
        assert sizes == sorted(sizes, reverse=True)


def test_contributions_are_the_mean_over_all_orders(local):
    """The definition itself, with 5,040 orders and a background of three payments."""
    transaction, background = Transaction(*FRAUDULENT), make_rows(3, seed=9)
    row, added = transaction.to_array()[0], np.zeros(7)
    means = {}
    for order in permutations(range(7)):
        for before in range(7):
            for chosen in (frozenset(order[:before]), frozenset(order[: before + 1])):
                if chosen not in means:
                    mixed = background.copy()
                    mixed[:, list(chosen)] = row[list(chosen)]
                    means[chosen] = local.score(mixed).fraud_probability.mean(dtype=np.float64)
            joined = frozenset(order[: before + 1])
            added[order[before]] += means[joined] - means[joined - {order[before]}]
    amounts = get_amounts(explain(local, transaction, background))
    assert [amounts[name] for name in FEATURE_NAMES] == pytest.approx(added / 5040, abs=1e-7)


def test_sum_of_features_is_told_apart():
    """Where the model adds, each contribution is the difference to the background's mean, and nothing else."""
    weights = np.array([1e-4, 2e-4, 3e-2, 0.05, -0.04, -0.03, 0.1])
    scorer = Rule(lambda rows: 0.3 + np.clip(rows, 0, 5) @ weights)
    background = make_rows(50)
    transaction = Transaction(3, 4, 5, 1, 0, 1, 1)
    expected = weights * (transaction.to_array()[0] - np.clip(background, 0, 5).mean(axis=0))
    amounts = get_amounts(explain(scorer, transaction, background))
    assert [amounts[name] for name in FEATURE_NAMES] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("place", range(7))
def test_the_obvious_feature_leads(place):
    """A model that looks at one feature is explained by it alone."""
    transaction = Transaction(500, 500, 50, 0, 0, 0, 1)
    limit = [100, 50, 4, 0.5, 0.5, 0.5, 0.5][place]
    is_high = transaction.to_array()[0, place] > limit
    scorer = Rule(lambda rows: (rows[:, place] > limit) == is_high)
    found = explain(scorer, transaction)
    first, *others = found.contributions
    assert first.feature is FEATURES[place] and first.amount == pytest.approx(1 - found.base)
    assert all(other.amount == pytest.approx(0, abs=1e-12) for other in others)
    assert found.reason == f"For fraud: {first.phrase}." and found.is_fraud


def test_two_that_only_work_together_share():
    scorer = Rule(lambda rows: (rows[:, PRICE] > 4) & (rows[:, ONLINE] == 1))
    background = make_rows(40)
    background[:, [PRICE, ONLINE]] = 1, 0
    amounts = get_amounts(explain(scorer, Transaction(1, 1, 6, 1, 0, 0, 1), background))
    assert amounts["ratio_to_median_purchase_price"] == pytest.approx(0.5)
    assert amounts["online_order"] == pytest.approx(0.5)


def test_weights_share_out_every_order():
    assert COALITIONS.shape == (128, 7) and len({tuple(row) for row in COALITIONS.tolist()}) == 128
    assert np.where(COALITIONS.T, WEIGHTS, 0).sum(axis=1) == pytest.approx(1)
    assert WEIGHTS.sum(axis=1) == pytest.approx(0)
    mixed = mix_rows(np.arange(7, dtype=np.float32), make_rows(3)).reshape(128, 3, 7)
    assert (mixed[-1] == np.arange(7)).all() and (mixed[0] == make_rows(3)).all()


@given(transactions)
def test_no_payment_is_asked_about_twice_and_none_is_left_out(transaction):
    row, background = transaction.to_array()[0], make_rows(20)
    mixed = mix_rows(row, background).reshape(128, 20, 7)
    repeats = find_repeats(row, background)
    assert (mixed[repeats, np.arange(20)] == mixed).all()
    for number in range(20):
        assert len(np.unique(mixed[:, number], axis=0)) == len(set(repeats[:, number]))


# --- changes


@given(transactions)
def test_each_change_turns_the_verdict_and_none_smaller_does(transaction):
    def compute(rows):
        points = 4 * (rows[:, 2] > 4) + 3 * (rows[:, 0] > 100) + 3 * (rows[:, 1] > 50) + 2 * rows[:, 6]
        return (points - rows[:, 4] - 4 * rows[:, 5] + (1 - rows[:, 3])) / 13

    scorer = Rule(compute, 5 / 13)
    found = explain(scorer, transaction)
    assert [c.size for c in found.changes] == sorted(c.size for c in found.changes)
    for change in found.changes:
        other = replace(transaction, **{change.feature.name: change.value})
        assert scorer.decide(other).is_fraud != found.is_fraud
        if change.feature.kind == "flag":
            assert change.size == 1
            continue
        lower, upper = sorted((getattr(transaction, change.feature.name), change.value))
        for value in filter(lambda value: lower < value < upper, AMOUNTS):
            between = replace(transaction, **{change.feature.name: value})
            assert scorer.decide(between).is_fraud == found.is_fraud
    missing = {f.name for f in FEATURES} - {c.feature.name for c in found.changes}
    for name in missing & set(FEATURE_NAMES[3:]):
        other = replace(transaction, **{name: 1 - getattr(transaction, name)})
        assert scorer.decide(other).is_fraud == found.is_fraud


def test_varied_payments_differ_in_one_value():
    row = Transaction(*FRAUDULENT).to_array()[0]
    rows, places = vary_row(row)
    assert rows.dtype == np.float32 and np.bincount(places).tolist() == [len(AMOUNTS)] * 3 + [1] * 4
    for number, place in enumerate(places):
        assert (np.delete(rows[number], place) == np.delete(row, place)).all()
    assert (np.diff(AMOUNTS) > 0).all() and AMOUNTS[0] == 0.1 and AMOUNTS[-1] == 9900


def test_change_that_passes_no_ordinary_payment_is_the_smallest():
    """The price is 6, and no ordinary payment lies between 4 and 6; the flag would turn it as well."""
    scorer = Rule(lambda rows: (rows[:, PRICE] > 4) & (rows[:, PIN] == 0))
    background = make_rows(40)
    background[:, PRICE] = np.linspace(0.1, 3, 40)
    found = explain(scorer, Transaction(1, 1, 6, 1, 0, 0, 1), background)
    assert [(c.feature.name, c.value, c.size) for c in found.changes] == [
        ("ratio_to_median_purchase_price", 4.0, 0.0),
        ("used_pin_number", 1.0, 1.0),
    ]
    assert found.remedy == (
        "The smallest change that would make it legitimate: 4 times the usual price. So would: PIN entered."
    )


def test_nothing_would_change_it():
    found = explain(Rule(lambda rows: np.zeros(len(rows))), Transaction(1, 1, 1, 1, 1, 1, 1))
    assert found.remedy == "No single change would make it fraud." and found.reason == "No value stands out."
    assert str(found) == "No value stands out. No single change would make it fraud."


# --- words


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, 0.0, "0 km from home"),
        (0, 175.98918, "176 km from home"),
        (1, 12345.6, "12,346 km from the last payment"),
        (2, 0.8556, "0.86 times the usual price"),
        (2, 3.9, "3.9 times the usual price"),
        (2, 1e30, f"{1e30:,.0f} times the usual price"),
        (3, 0.0, "new retailer"),
        (4, 1.0, "chip used"),
        (5, 0.0, "no PIN"),
        (6, 1.0, "ordered online"),
    ],
)
def test_values_in_words(place, value, words):
    assert say_value(FEATURES[place], value) == words


def test_every_feature_has_a_phrase():
    assert list(PHRASES) == list(FEATURE_NAMES)


def test_both_sides_are_named_and_small_ones_are_not():
    contributions = tuple(
        Contribution(FEATURES[place], 1.0, amount)
        for place, amount in ((2, 0.6), (5, -0.3), (6, 0.019), (0, 0.0))
    )
    found = Explanation(0.1, 0.4, False, contributions, (Change(FEATURES[0], 100.0, 0.1),))
    assert found.reason == "For fraud: 1 times the usual price; against it: PIN entered."
    assert found.remedy == "The smallest change that would make it fraud: 100 km from home."


# --- faults


def test_one_request_is_enough(local):
    scorer = Rule(lambda rows: rows[:, ONLINE])
    transaction = Transaction(*FRAUDULENT)
    explain_decision(transaction, Decision(1.0, 0.5, True, "1"), scorer)
    assert scorer.asked == 1


def test_reasons_of_another_version_are_refused():
    scorer = Rule(lambda rows: rows[:, ONLINE], version="2")
    with pytest.raises(ServiceError, match="Version 1 decided, and version 2 was asked why"):
        explain_decision(Transaction(*FRAUDULENT), Decision(1.0, 0.5, True, "1"), scorer)


@pytest.mark.parametrize(
    ("background", "words"),
    [(draw_background()[0], r"have shape \[7\]"), (draw_background()[:0], r"have shape \[0, 7\]"), (np.full((2, 7), np.nan), "Row 0")],
)  # fmt: skip
def test_a_background_that_is_none_is_refused(background, words):
    scorer, payment = Rule(lambda rows: rows[:, ONLINE]), Transaction(*FRAUDULENT)
    with pytest.raises(InputError, match=words):
        explain_decision(payment, Decision(1.0, 0.5, True, "1"), scorer, background)
    assert scorer.asked == 0


def test_background_is_the_same_and_cannot_be_spoiled():
    background = draw_background()
    assert background.shape == (100, 7) and background.dtype == np.float32
    assert (draw_background(100, 0) == background).all() and (draw_background(100, 1) != background).any()
    with pytest.raises(ValueError, match="read-only"):
        background[0, 0] = 1
