"""Answers to the exercises of lesson 03: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-03-1
dearer = {
    "direction": "down",
    "threshold": choose_threshold(split.validation.labels, validation_scores, dear_cost),
}

# %% ex-03-1 also
dear_scores, dear_tp, dear_fp = count_alarms(
    split.validation.labels, logistic.score(split.validation.features)
)
total = dear_cost.missed_fraud * (dear_tp[-1] - dear_tp) + dear_cost.false_alarm * dear_fp
dearer = {"direction": " Down", "threshold": dear_scores[total.argmin()]}

# %% ex-03-1 also
dearer = {
    "direction": "down",
    "threshold": round(choose_threshold(split.validation.labels, validation_scores, dear_cost), 4),
}

# %% ex-03-1 wrong: A low threshold raises an alarm early
dearer = {
    "direction": "up",
    "threshold": choose_threshold(split.validation.labels, validation_scores, dear_cost),
}

# %% ex-03-1 wrong: A low threshold raises an alarm early
dearer = {
    "direction": "stays",
    "threshold": choose_threshold(split.validation.labels, validation_scores, dear_cost),
}

# %% ex-03-1 wrong: must be one of
dearer = {
    "direction": "left",
    "threshold": choose_threshold(split.validation.labels, validation_scores, dear_cost),
}

# %% ex-03-1 wrong: That is the threshold for the cost above
dearer = {"direction": "down", "threshold": threshold}

# %% ex-03-1 wrong: which only judge
dearer = {"direction": "down", "threshold": choose_threshold(split.test.labels, by_logistic, dear_cost)}

# %% ex-03-1 wrong: a false alarm is the dear one
swapped = DecisionCost(missed_fraud=dear_cost.false_alarm, false_alarm=dear_cost.missed_fraud)
dearer = {
    "direction": "down",
    "threshold": choose_threshold(split.validation.labels, validation_scores, swapped),
}

# %% ex-03-1 wrong: calibrated to the last digit
dearer = {"direction": "down", "threshold": 1 / (1 + dear_cost.missed_fraud)}

# %% ex-03-1 wrong: That is a habit
dearer = {"direction": "down", "threshold": 0.5}

# %% ex-03-1 wrong: the habit of the original demo
dearer = {"direction": "down", "threshold": 0.995}

# %% ex-03-1 wrong: Another threshold makes cheaper mistakes
by_boosting = boosting.score(split.validation.features)
dearer = {"direction": "down", "threshold": choose_threshold(split.validation.labels, by_boosting, dear_cost)}

# %% ex-03-1 wrong: rounded too far
rounded = round(choose_threshold(split.validation.labels, validation_scores, dear_cost), 2)
dearer = {"direction": "down", "threshold": rounded}

# %% ex-03-1 wrong: must be between 0 and 1
dearer = {"direction": "down", "threshold": 50}

# %% ex-03-1 wrong: The answer has the parts direction, threshold
dearer = choose_threshold(split.validation.labels, validation_scores, dear_cost)

# %% ex-03-2
measures = {
    "precision": counts["tp"] / (counts["tp"] + counts["fp"]),
    "recall": counts["tp"] / (counts["tp"] + counts["fn"]),
    "cost": 1000 * (cost.missed_fraud * counts["fn"] + counts["fp"]) / sum(counts.values()),
}

# %% ex-03-2 also
measures = {"precision": 0.889, "recall": np.float32(0.8), "cost": (40 * cost.missed_fraud + 20) / 2}

# %% ex-03-2 wrong: That is the recall
measures = {"precision": 160 / 200, "recall": 160 / 180, "cost": 210}

# %% ex-03-2 wrong: That is the accuracy
measures = {"precision": 1940 / 2000, "recall": 160 / 200, "cost": 210}

# %% ex-03-2 wrong: must be between 0 and 1
measures = {"precision": 88.9, "recall": 80, "cost": 210}

# %% ex-03-2 wrong: share of caught frauds among all transactions
measures = {"precision": 160 / 180, "recall": 160 / 2000, "cost": 210}

# %% ex-03-2 wrong: That is the precision
measures = {"precision": 160 / 180, "recall": 160 / 180, "cost": 210}

# %% ex-03-2 wrong: The counts give another share
measures = {"precision": 20 / 160, "recall": 0.8, "cost": 210}

# %% ex-03-2 wrong: That is the cost of all 2,000 transactions
measures = {"precision": 160 / 180, "recall": 0.8, "cost": cost.missed_fraud * 40 + 20}

# %% ex-03-2 wrong: There the two costs have changed places
measures = {"precision": 160 / 180, "recall": 0.8, "cost": (cost.missed_fraud * 20 + 40) / 2}

# %% ex-03-2 wrong: There the false alarms are missing
measures = {"precision": 160 / 180, "recall": 0.8, "cost": cost.missed_fraud * 40 / 2}

# %% ex-03-2 wrong: The counts give another cost
measures = {"precision": 160 / 180, "recall": 0.8, "cost": 60 / 2}

# %% ex-03-2 wrong: The answer has the parts precision, recall, cost
measures = (160 / 180, 0.8, 210)

# %% ex-03-3
leak = max(suspects, key=lambda name: evaluate(truth, suspects[name], 0.5).pr_auc)

# %% ex-03-3 also
leak = max(
    suspects, key=lambda name: suspects[name][truth == 1].mean() - suspects[name][truth == 0].mean()
).upper()

# %% ex-03-3 wrong: A coin does as well
leak = min(suspects, key=lambda name: evaluate(truth, suspects[name], 0.5).pr_auc)

# %% ex-03-3 wrong: as a rule does that sees the payment only
leak = next(name for name in suspects if suspects[name] is by_rule)

# %% ex-03-3 wrong: The answer is one of a, b, c
leak = suspects["a"]

# %% ex-03-3 wrong: The answer is one of a, b, c
leak = "d"
