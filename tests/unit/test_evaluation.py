"""Lesson 03: evaluations, thresholds from costs, plots and baselines."""

import os

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fraud_demo.core import InputError, Transaction
from fraud_demo.data import (
    generate_transactions,
    load_transactions,
    split_transactions,
    validate_transactions,
)
from fraud_demo.evaluation import (
    DecisionCost,
    check_scores,
    choose_threshold,
    count_alarms,
    evaluate,
    fit_gradient_boosting,
    fit_logistic_regression,
    plot_calibration,
    plot_confusion,
    plot_cost,
    plot_precision_recall,
    plot_scores,
    recall_at_precision,
    score_by_rule,
)

# Few distinct values make ties; neighbors of 0.5, 0 and 1 in float32 leave no room between two scores.
ANY_SCORE = st.floats(0, 1, width=32)
CLOSE = [0.0, 1e-45, 0.25, 0.5, float(np.nextafter(np.float32(0.5), np.float32(1)))]
CLOSE += [float(np.nextafter(np.float32(1), np.float32(0))), 1.0]
CASES = (
    st.integers(2, 12)
    .flatmap(
        lambda n: st.tuples(
            arrays.arrays(np.int8, n, elements=st.integers(0, 1)),
            arrays.arrays(np.float32, n, elements=st.sampled_from(CLOSE) | ANY_SCORE),
        )
    )
    .filter(lambda case: 0 < case[0].sum() < len(case[0]))
)
COSTS = st.builds(DecisionCost, st.integers(0, 30), st.integers(0, 30).filter(bool))


def add_up(labels, is_alarm, cost):
    "Add up the cost of decisions, transaction by transaction."
    total = 0
    for label, alarm in zip(labels, is_alarm, strict=True):
        total += cost.missed_fraud * (label == 1 and not alarm) + cost.false_alarm * (label == 0 and alarm)
    return total


# Threshold


@limits(max_examples=150, deadline=None)
@given(CASES, COSTS)
def test_chosen_threshold_is_the_cheapest_of_all(case, cost):
    labels, scores = case
    threshold = choose_threshold(labels, scores, cost)
    candidates = [np.float32(2), np.float32(0), *scores, *np.nextafter(scores, np.float32(2))]
    best = min(add_up(labels, scores >= candidate, cost) for candidate in candidates)
    assert add_up(labels, scores >= np.float32(threshold), cost) == best
    assert evaluate(labels, scores, threshold, cost).cost_per_1000 == pytest.approx(1000 * best / len(labels))


@limits(max_examples=100, deadline=None)
@given(CASES, COSTS)
def test_chosen_threshold_survives_storage(case, cost):
    labels, scores = case
    threshold = choose_threshold(labels, scores, cost)
    assert isinstance(threshold, float) and threshold == np.float32(threshold)
    assert 0 <= threshold <= np.nextafter(np.float32(1), np.float32(2))
    assert float(repr(threshold)) == threshold
    assert ((scores >= threshold) == (scores.astype(np.float64) >= threshold)).all()


@limits(max_examples=100, deadline=None)
@given(CASES, COSTS)
def test_of_equal_costs_the_fewest_alarms_win(case, cost):
    labels, scores = case
    is_alarm = scores >= np.float32(choose_threshold(labels, scores, cost))
    chosen = add_up(labels, is_alarm, cost)
    for candidate in scores:
        if (scores >= candidate).sum() < is_alarm.sum():
            assert add_up(labels, scores >= candidate, cost) > chosen


@limits(max_examples=100, deadline=None)
@given(CASES, COSTS, st.randoms())
def test_order_of_rows_and_unit_of_cost_do_not_matter(case, cost, random):
    labels, scores = case
    order = random.sample(range(len(labels)), len(labels))
    double = DecisionCost(2 * cost.missed_fraud, 2 * cost.false_alarm)
    assert choose_threshold(labels[order], scores[order], double) == choose_threshold(labels, scores, cost)


def test_threshold_lies_halfway_between_two_scores():
    assert choose_threshold([0, 0, 1, 1], [0.25, 0.5, 0.75, 1.0]) == 0.625


def test_threshold_that_raises_no_alarm():
    labels, never = [1, 0, 0], DecisionCost(missed_fraud=1, false_alarm=5)
    for scores in (
        [0.1, 0.5, 0.9],
        [0.1, 0.5, 1.0],
        [0.3, 0.3, 0.3],
        [0.0, 1.0, np.nextafter(1, 0, dtype=np.float32)],
    ):
        assert not (np.float32(scores) >= choose_threshold(labels, scores, never)).any()


def test_threshold_that_stops_everything():
    assert (np.float32([0, 0.5]) >= choose_threshold([1, 0], [0, 0.5], DecisionCost(missed_fraud=10))).all()


def test_a_dearer_missed_fraud_lowers_the_threshold():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2_000)
    scores = np.clip(rng.normal(0.35 + 0.3 * labels, 0.2), 0, 1)
    found = [choose_threshold(labels, scores, DecisionCost(missed_fraud=m)) for m in (0.1, 1, 10, 100)]
    assert found == sorted(found, reverse=True) and len(set(found)) == 4


@pytest.mark.parametrize("costs", [(-1, 1), (1, -1), (0, 0), (float("nan"), 1), (float("inf"), 1)])
def test_costs_that_cannot_be(costs):
    with pytest.raises(InputError, match="cannot cost"):
        DecisionCost(*costs)


# Evaluation


@limits(max_examples=100, deadline=None)
@given(CASES, ANY_SCORE)
def test_evaluation_agrees_with_scikit_learn(case, threshold):
    from sklearn import metrics

    labels, scores = case
    is_alarm = scores >= np.float32(threshold)
    judged = evaluate(labels, scores, threshold)
    assert [judged.tn, judged.fp, judged.fn, judged.tp] == metrics.confusion_matrix(
        labels, is_alarm
    ).ravel().tolist()
    assert judged.precision == pytest.approx(metrics.precision_score(labels, is_alarm, zero_division=0))
    assert judged.recall == pytest.approx(metrics.recall_score(labels, is_alarm))
    assert judged.pr_auc == pytest.approx(metrics.average_precision_score(labels, scores))
    assert judged.brier == pytest.approx(metrics.brier_score_loss(labels, scores))
    assert judged.recall_at_999 == recall_at_precision(labels, scores, 0.999)
    assert judged.accuracy == pytest.approx((is_alarm == labels).mean())
    assert judged.rows == len(labels) == judged.tn + judged.fp + judged.fn + judged.tp


def test_evaluation_by_hand():
    labels = np.repeat([0, 0, 1, 1], [890, 10, 20, 80])
    scores = np.repeat([0.1, 0.9, 0.2, 0.8], [890, 10, 20, 80])
    judged = evaluate(labels, scores, 0.5, DecisionCost(10, 1))
    assert (judged.tn, judged.fp, judged.fn, judged.tp) == (890, 10, 20, 80)
    assert judged.precision == pytest.approx(80 / 90) and judged.recall == 0.8
    assert judged.cost_per_1000 == 210
    assert judged == evaluate(labels, scores, 0.5)  # the default cost is ten to one


def test_a_score_on_the_threshold_is_an_alarm():
    third = np.float32(1) / np.float32(3)
    assert evaluate([0, 1], [0, third], float(third)).tp == 1
    assert evaluate([0, 1], [0, third], 1 / 3).tp == 1  # read as float32, as the model's own comparison


def test_a_column_of_probabilities_is_read_as_the_model_gives_it():
    scores = np.array([[0.1], [0.9]], dtype=np.float32)
    assert evaluate(np.array([0, 1]), scores, 0.5) == evaluate([0, 1], [0.1, 0.9], 0.5)


def test_metrics_are_plain_numbers():
    metrics = evaluate(np.array([0, 1]), np.array([0.2, 0.9]), np.float32(0.5)).to_metrics()
    wanted = {"rows", "tn", "fp", "fn", "tp", "threshold", "precision", "recall", "pr_auc", "recall_at_999",
              "brier", "cost_per_1000"}  # fmt: skip
    assert set(metrics) == wanted and all(type(value) is float for value in metrics.values())


def test_evaluation_shows_itself():
    judged = evaluate([0, 1, 1], [0.2, 0.9, 0.1], 0.5)
    for text in (str(judged), judged._repr_html_()):
        assert "1 of 2 frauds caught" in text and "1 missed, 0 false alarms" in text


BAD = [
    ([0, 1, 1], [0.5, 0.5], r"shapes \[3\] and \[2\]"),
    ([0, 1], [[0.5, 0.5], [0.5, 0.5]], r"shapes \[2\] and \[2, 2\]"),
    ([[0, 1]], [[0.5, 0.5]], "shapes"),
    (1, 0.5, "shapes"),
    ([0, 1], [0.5, 1.5], "Row 1: a fraud probability cannot be 1.5"),
    ([0, 1], [-0.1, 0.5], "Row 0: a fraud probability"),
    ([0, 1], [0.5, float("nan")], "Row 1: a fraud probability cannot be nan"),
    ([0, 2], [0.5, 0.5], "Row 1: a label cannot be 2"),
    ([0, float("nan")], [0.5, 0.5], "Row 1: a label"),
    ([0, 0], [0.5, 0.5], "2 labels hold 0 frauds"),
    ([1, 1], [0.5, 0.5], "2 labels hold 2 frauds"),
    ([], [], "0 labels hold 0 frauds"),
    (["fraud", "no"], [0.5, 0.5], "not numbers"),
    ([0, 1], ["high", "low"], "not numbers"),
    ([[0], [0, 1]], [0.5, 0.5], "not numbers"),
]


@pytest.mark.parametrize(("labels", "scores", "message"), BAD)
def test_scores_that_cannot_be_judged(labels, scores, message):
    functions = [
        check_scores,
        count_alarms,
        choose_threshold,
        recall_at_precision,
        plot_cost,
        plot_precision_recall,
        lambda labels, scores: evaluate(labels, scores, 0.5),
        lambda labels, scores: plot_scores(labels, scores, 0.5),
    ]
    for function in functions:
        with pytest.raises(InputError, match=message):
            function(labels, scores)


def test_threshold_that_is_no_number():
    with pytest.raises(InputError, match="threshold"):
        evaluate([0, 1], [0.1, 0.9], float("nan"))


@limits(max_examples=100, deadline=None)
@given(CASES, st.sampled_from([0.0, 0.5, 0.9, 0.999, 1.0]))
def test_recall_at_precision_against_every_threshold(case, precision):
    labels, scores = case
    possible = [evaluate(labels, scores, score) for score in scores]
    good = [judged.recall for judged in possible if judged.precision >= precision]
    assert recall_at_precision(labels, scores, precision) == pytest.approx(max(good, default=0))


@limits(max_examples=100, deadline=None)
@given(CASES)
def test_counts_are_those_of_every_threshold(case):
    labels, scores = case
    distinct, tp, fp = count_alarms(labels, scores)
    assert distinct.tolist() == sorted(set(scores.tolist()), reverse=True)
    for score, hits, alarms in zip(distinct, tp, fp, strict=True):
        judged = evaluate(labels, scores, score)
        assert (judged.tp, judged.fp) == (hits, alarms)


# Plots


@pytest.fixture(scope="module")
def judged_scores():
    rng = np.random.default_rng(0)
    labels = (rng.random(3_000) < 0.1).astype(np.int8)
    return labels, np.clip(rng.normal(0.2 + 0.5 * labels, 0.2), 0, 1).astype(np.float32)


def draw_all(labels, scores, threshold):
    return {
        "precision_recall": plot_precision_recall(labels, scores, threshold),
        "cost": plot_cost(labels, scores),
        "confusion": plot_confusion(evaluate(labels, scores, threshold)),
        "scores": plot_scores(labels, scores, threshold),
        "calibration": plot_calibration(labels, scores),
    }


def test_plots_have_titles_axes_and_words(judged_scores, tmp_path):
    from matplotlib import pyplot

    open_figures = pyplot.get_fignums()
    for name, figure in draw_all(*judged_scores, 0.5).items():
        assert figure.axes[0].get_title(), name
        assert all(axis.get_ylabel() for axis in figure.axes if axis.get_label() != "<colorbar>"), name
        assert any(axis.get_xlabel() for axis in figure.axes), name
        assert len(figure.get_label()) > 60
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000
    assert pyplot.get_fignums() == open_figures  # nothing is left for pyplot to show a second time


def test_words_of_the_plots_say_the_numbers(judged_scores):
    judged = evaluate(*judged_scores, 0.5)
    figures = draw_all(*judged_scores, 0.5)
    assert f"{judged.fp:,} false alarms" in figures["confusion"].get_label()
    assert f"{judged.fn:,} frauds below" in figures["scores"].get_label()
    assert f"recall {judged.recall:.4f}" in figures["precision_recall"].get_label()
    assert f"{choose_threshold(*judged_scores):.4f}" in figures["cost"].get_label()


def test_curve_passes_through_the_marked_point(judged_scores):
    judged = evaluate(*judged_scores, 0.5)
    curve, _, mark = plot_precision_recall(*judged_scores, 0.5).axes[0].lines
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (judged.recall, judged.precision)
    at = np.argmin(abs(curve.get_xdata() - judged.recall) + abs(curve.get_ydata() - judged.precision))
    assert curve.get_xdata()[at] == judged.recall and curve.get_ydata()[at] == pytest.approx(judged.precision)


@pytest.mark.parametrize(
    "scores",
    [[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0], [0.3] * 4],
)
def test_plots_of_extreme_scores(scores):
    for figure in draw_all([0, 0, 1, 1], scores, 0.5).values():
        figure.canvas.draw()


def test_calibration_plot_shows_the_widest_gap():
    """Half of what is called 80 % is fraud, and nothing of what is called 10 %."""
    figure = plot_calibration(np.repeat([0, 0, 1], [90, 5, 5]), np.repeat([0.1, 0.8, 0.8], [90, 5, 5]))
    assert "where the model says 80%, 50% are fraud" in figure.get_label()
    _, curve = figure.axes[0].lines
    assert curve.get_xdata().tolist() == pytest.approx([0.1, 0.8])
    assert curve.get_ydata().tolist() == [0.0, 0.5]


def test_plot_without_a_mark(judged_scores):
    assert len(plot_precision_recall(*judged_scores).axes[0].lines) == 2


# Baselines


@pytest.fixture(scope="module")
def split():
    path = os.environ.get("FRAUD_DEMO_REAL_CSV")
    table = validate_transactions(load_transactions(path)) if path else generate_transactions(20_000, seed=0)
    return split_transactions(table)


def test_rule_is_the_share_of_warning_signs():
    quiet = Transaction(1.0, 1.0, 1.0, repeat_retailer=1, used_chip=1, used_pin_number=1, online_order=0)
    loud = Transaction(60.0, 30.0, 5.0, repeat_retailer=0, used_chip=0, used_pin_number=0, online_order=1)
    scores = score_by_rule([quiet, loud])
    assert scores.dtype == np.float32 and scores.tolist() == [0, 1]


def test_baselines_are_in_the_order_the_lesson_says(split):
    logistic = fit_logistic_regression(split.train.features, split.train.labels)
    boosting = fit_gradient_boosting(split.train.features, split.train.labels)
    areas = []
    for score in (lambda features: np.zeros(len(features)), score_by_rule, logistic.score, boosting.score):
        areas.append(evaluate(split.test.labels, score(split.test.features), 0.5).pr_auc)
    assert areas == sorted(areas)
    assert areas[2] > 0.7 and areas[3] > 0.99


def test_baselines_are_determined_by_their_rows(split):
    for fit in (fit_logistic_regression, fit_gradient_boosting):
        first, second = (fit(split.train.features, split.train.labels, max_rows=3_000) for _ in range(2))
        scores = first.score(split.test.features)
        assert np.array_equal(scores, second.score(split.test.features))
        assert scores.shape == (len(split.test),) and scores.dtype == np.float32


def test_baseline_scores_one_transaction(split):
    logistic = fit_logistic_regression(split.train.features, split.train.labels, max_rows=3_000)
    risky = Transaction(200.0, 60.0, 8.0, repeat_retailer=1, used_chip=0, used_pin_number=0, online_order=1)
    assert logistic.score(risky).shape == (1,) and logistic.score(risky)[0] > 0.5


@pytest.mark.parametrize("fit", [fit_logistic_regression, fit_gradient_boosting])
def test_baselines_refuse_what_they_cannot_learn_from(split, fit):
    with pytest.raises(InputError, match="shapes"):
        fit(split.train.features, split.train.labels[:-1])
    with pytest.raises(InputError, match="hold 0 frauds"):
        fit(split.train.features, np.zeros(len(split.train)))
    with pytest.raises(InputError, match="frauds"):
        fit(split.train.features, split.train.labels, max_rows=1)


@limits(max_examples=100, deadline=None)
@given(st.integers(1, 10_000), st.integers(0, 3))
def test_pr_auc_of_a_constant_is_the_base_rate(n_other, power):
    n_fraud = 10**power
    assume(n_fraud + n_other < 12_000)
    labels = np.repeat([0, 1], [n_other, n_fraud])
    judged = evaluate(labels, np.full(len(labels), 0.4), 0.5)
    assert judged.pr_auc == pytest.approx(n_fraud / len(labels))


def test_of_equal_costs_the_fewest_alarms_win_with_fractions_too():
    labels, scores = np.array([0, 1, 0, 1, 0, 1]), np.array([0, 1, 0, 1, 1, 1])
    threshold = choose_threshold(labels, scores, DecisionCost(0.1, 0.3))
    assert threshold > 1, "no alarm costs 0.3, and so do four"


def test_costs_of_nothing_are_drawn_on_a_linear_scale():
    figure = plot_cost(np.array([0, 1, 0, 1]), np.array([0.1, 0.9, 0.8, 0.2]), DecisionCost(0, 1))
    assert figure.axes[0].get_yscale() == "linear"
