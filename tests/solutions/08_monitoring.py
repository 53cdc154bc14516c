"""Answers to the exercises of lesson 08: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-08-1
limit_100 = choose_limits(reference, 100).psi["online_order"]
limit_10_000 = choose_limits(reference, 10_000).psi["online_order"]
books_rows = 18

# %% ex-08-1 also
limit_100, limit_10_000 = (choose_limits(reference, n, window_days, seed=5) for n in (100, 10_000))
books_rows = round(100 * limit_100.psi["online_order"] / 0.1)

# %% ex-08-1 wrong: in each other's place
limit_10_000 = choose_limits(reference, 100).psi["online_order"]
limit_100 = choose_limits(reference, 10_000).psi["online_order"]
books_rows = 18

# %% ex-08-1 wrong: The books say 0.1. Try fewer rows
limit_100 = choose_limits(reference, 100).psi["online_order"]
limit_10_000 = choose_limits(reference, 10_000).psi["online_order"]
books_rows = 1_000

# %% ex-08-1 wrong: The books say 0.1. Try more rows
limit_100 = choose_limits(reference, 100).psi["online_order"]
limit_10_000 = choose_limits(reference, 10_000).psi["online_order"]
books_rows = 2

# %% ex-08-1 wrong: give another limit for online_order
limit_100 = choose_limits(reference, 100).psi["distance_from_home"]
limit_10_000 = choose_limits(reference, 10_000).psi["distance_from_home"]
books_rows = 18

# %% ex-08-1 wrong: It must be one number
limit_100 = "small"
limit_10_000 = choose_limits(reference, 10_000).psi["online_order"]
books_rows = 18

# %% ex-08-2
strange_scores = scorer.score(strange)
print(drift_report(reference, strange.assign(fraud_probability=strange_scores.fraud_probability), limits))
moved = "used_pin_number"
direction = "down"

# %% ex-08-2 also
found_drift = drift_report(
    reference, strange.assign(fraud_probability=scorer.score(strange).fraud_probability), limits
)
(moved,) = (column for column in found_drift.columns if column.is_drift and column.name in FEATURE_NAMES)
direction = "up" if moved.now > moved.before else "down"

# %% ex-08-2 also
moved, direction = "PIN entered", "Down"

# %% ex-08-2 wrong: and no part of them
moved, direction = "fraud_probability", "up"

# %% ex-08-2 wrong: no more than chance gives
moved, direction = "distance_from_home", "up"

# %% ex-08-2 wrong: PSI has no sign
moved, direction = "used_pin_number", "up"

# %% ex-08-2 wrong: It must be one of: up; down
moved, direction = "used_pin_number", "less"

# %% ex-08-2 wrong: It must be one of distance_from_home
moved, direction = "pin", "down"


# %% ex-08-3
def go_on_holiday(rng, table):
    away = rng.random(len(table)) < 0.3
    table = table.copy()
    for name in ("distance_from_home", "ratio_to_median_purchase_price"):
        table.loc[away, name] *= np.float32(3)
    return table


my_shift = Shift("30 % are on holiday", go_on_holiday)
SHIFTS["holiday"] = my_shift
holiday_stream = generate_stream(weeks, "holiday", rows_per_day)
seen = replay(reference, holiday_stream, scorer.score(holiday_stream), limits, champion.cost)
first_day = 14 + int(seen.is_drift[14:].any(axis=1).argmax())
first_column = WATCHED[int(seen.is_drift[first_day].argmax())]
does_harm = seen.find_first(seen.is_costly, 14) is not None

# %% ex-08-3 also
my_shift = Shift("more chips", lambda rng, table: spread_chips(rng, table))
seen = replays["chip campaign"]
first_column = "used_chip"
does_harm = bool(seen.is_costly[14:].any())

# %% ex-08-3 also
my_shift = Shift("all online", lambda rng, table: table.assign(online_order=np.float32(1)), relabel=False)
SHIFTS["all online"] = my_shift
online_stream = generate_stream(weeks, "all online", rows_per_day)
seen = replay(reference, online_stream, scorer.score(online_stream), limits, champion.cost)
first_column = "online_order"
does_harm = seen.is_costly[14:].any()

# %% ex-08-3 wrong: That is a change of the lesson
my_shift, seen, first_column, does_harm = (
    SHIFTS["chip campaign"],
    replays["chip campaign"],
    "used_chip",
    False,
)

# %% ex-08-3 wrong: The replay shows another change
my_shift = Shift("all online", lambda rng, table: table.assign(online_order=np.float32(1)))
seen, first_column, does_harm = replays["chip campaign"], "used_chip", False

# %% ex-08-3 wrong: Others use that table
my_shift = Shift("chips", lambda rng, table: table.__setitem__("used_chip", 1.0) or table)
seen, first_column, does_harm = replays["chip campaign"], "used_chip", False

# %% ex-08-3 wrong: A change has words and a function
my_shift = spread_chips
seen, first_column, does_harm = replays["chip campaign"], "used_chip", False

# %% ex-08-3 wrong: Add a return
my_shift = Shift("chips", lambda rng, table: None)
seen, first_column, does_harm = replays["chip campaign"], "used_chip", False

# %% ex-08-3 wrong: Return the whole table
my_shift = Shift("chips", lambda rng, table: table[table["used_chip"] == 1])
seen, first_column, does_harm = replays["chip campaign"], "used_chip", False

# %% ex-08-3 wrong: No model takes such a payment
my_shift = Shift("chips", lambda rng, table: table.assign(used_chip=table["used_chip"] + 1))
seen, first_column, does_harm = replays["chip campaign"], "used_chip", False

# %% ex-08-3 wrong: the payments are what they were
my_shift = Shift("friends", count_friends)
seen, first_column, does_harm = replays["label rule"], "used_chip", True

# %% ex-08-3 wrong: Your change goes unnoticed
my_shift = Shift(
    "one meter", lambda rng, table: table.assign(distance_from_home=table["distance_from_home"] + 0.001)
)
seen, first_column, does_harm = (
    replace(replays["none"], is_drift=np.zeros_like(replays["none"].is_drift)),
    "used_chip",
    False,
)

# %% ex-08-3 wrong: it was still within its limit
my_shift, seen, first_column, does_harm = (
    Shift("more chips", lambda rng, table: spread_chips(rng, table)),
    replays["chip campaign"],
    "distance_from_home",
    False,
)

# %% ex-08-3 wrong: Look at `is_costly`
my_shift = Shift("more chips", lambda rng, table: spread_chips(rng, table))
seen, first_column = replays["chip campaign"], "used_chip"
does_harm = not seen.is_costly[14:].any()

# %% ex-08-3 wrong: Write True or False
my_shift, seen, first_column, does_harm = (
    Shift("more chips", lambda rng, table: spread_chips(rng, table)),
    replays["chip campaign"],
    "used_chip",
    "a little",
)

# %% ex-08-4
steps = {"harmless": "note it in the report", "unknown": "get labels first", "harmful": "retrain"}

# %% ex-08-4 also
steps = {"harmless": "Note it in the report.", "unknown": "Get labels first", "harmful": "Retrain"}

# %% ex-08-4 wrong: nobody knows yet
steps = {"harmless": "note it in the report", "unknown": "retrain", "harmful": "retrain"}

# %% ex-08-4 wrong: the cost stayed within its limit
steps = {"harmless": "retrain", "unknown": "get labels first", "harmful": "retrain"}

# %% ex-08-4 wrong: cost more than they may
steps = {
    "harmless": "note it in the report",
    "unknown": "get labels first",
    "harmful": "note it in the report",
}

# %% ex-08-4 wrong: It must be one of
steps = {"harmless": "nothing", "unknown": "get labels first", "harmful": "retrain"}

# %% ex-08-4 wrong: There is no answer for harmful
steps = {"harmless": "note it in the report", "unknown": "get labels first"}
