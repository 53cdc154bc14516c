"""Answers to the exercises of lesson 02: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-02-1
suspect_rows = sorted({row[0] for row in find_bad_rows(suspect).rows})

# %% ex-02-1 also
suspect_rows = suspect.index[(suspect[list(FEATURE_NAMES)] < 0).any(axis=1)]

# %% ex-02-1 also
suspect_rows = {float(row) for row in suspect.index[suspect["used_chip"] < 0]}

# %% ex-02-1 also
suspect_rows = np.flatnonzero(suspect["used_chip"] < 0)

# %% ex-02-1 wrong: times
suspect_rows = [row[0] for row in find_bad_rows(suspect).rows]

# %% ex-02-1 wrong: Rows count from 0
suspect_rows = [row + 1 for row in suspect.index[suspect["used_chip"] < 0]]

# %% ex-02-1 wrong: You gave a table
suspect_rows = find_bad_rows(suspect)

# %% ex-02-1 wrong: You gave a table
suspect_rows = suspect[suspect["used_chip"] < 0]

# %% ex-02-1 wrong: You gave 1,000 values of yes and no
suspect_rows = suspect["used_chip"] < 0

# %% ex-02-1 wrong: You name 1 of 3 rows
suspect_rows = [find_bad_rows(suspect).rows[0][0]]

# %% ex-02-1 wrong: Each value of this row may stand there
suspect_rows = [*suspect.index[suspect["used_chip"] < 0], 1000]

# %% ex-02-1 wrong: It must be one number
suspect_rows = find_bad_rows(suspect).rows

# %% ex-02-1 wrong: Row numbers are wanted
suspect_rows = 3

# %% ex-02-2
by_kind = transactions.groupby("online_order")["fraud"].mean()
fraud_rates = {"online": by_kind[1], "other": by_kind[0], "factor": by_kind[1] / by_kind[0]}

# %% ex-02-2 also
is_online = transactions.online_order == 1
shares = [len(t[t.fraud == 1]) / len(t) for t in (transactions[is_online], transactions[~is_online])]
fraud_rates = {
    "online": round(shares[0], 3),
    "other": round(shares[1], 3),
    "factor": round(shares[0] / shares[1], 1),
}

# %% ex-02-2 wrong: must be between 0 and 1
by_kind = 100 * transactions.groupby("online_order")["fraud"].mean()
fraud_rates = {"online": by_kind[1], "other": by_kind[0], "factor": by_kind[1] / by_kind[0]}

# %% ex-02-2 wrong: the share of online orders among the frauds
share = transactions[transactions["fraud"] == 1]["online_order"].mean()
fraud_rates = {"online": share, "other": 1 - share, "factor": share / (1 - share)}

# %% ex-02-2 wrong: Divide by the orders of that kind only
frauds = transactions[transactions["fraud"] == 1].groupby("online_order").size() / len(transactions)
fraud_rates = {"online": frauds[1], "other": frauds[0], "factor": frauds[1] / frauds[0]}

# %% ex-02-2 wrong: in each other's place
by_kind = transactions.groupby("online_order")["fraud"].mean()
fraud_rates = {"online": by_kind[0], "other": by_kind[1], "factor": by_kind[0] / by_kind[1]}

# %% ex-02-2 wrong: the base rate of all transactions
by_kind = transactions.groupby("online_order")["fraud"].mean()
fraud_rates = {"online": by_kind[1], "other": base_rate, "factor": by_kind[1] / base_rate}

# %% ex-02-2 wrong: how much rarer fraud is elsewhere
by_kind = transactions.groupby("online_order")["fraud"].mean()
fraud_rates = {"online": by_kind[1], "other": by_kind[0], "factor": by_kind[0] / by_kind[1]}

# %% ex-02-2 wrong: That is a difference
by_kind = transactions.groupby("online_order")["fraud"].mean()
fraud_rates = {"online": by_kind[1], "other": by_kind[0], "factor": by_kind[1] - by_kind[0]}

# %% ex-02-2 wrong: It does not fit your two shares
by_kind = transactions.groupby("online_order")["fraud"].mean()
fraud_rates = {"online": by_kind[1], "other": by_kind[0], "factor": 2}

# %% ex-02-2 wrong: The table gives another share
fraud_rates = {"online": 0.5, "other": 0.5, "factor": 1}

# %% ex-02-2 wrong: The answer has the parts online, other, factor
fraud_rates = transactions.groupby("online_order")["fraud"].mean()

# %% ex-02-3
means = {row[1]: float(row[2]) for row in summary.rows if row[0] == "repeat_retailer"}
equal_flag = {"flag": "repeat_retailer", **means}

# %% ex-02-3 also
means = transactions.groupby("fraud")["repeat_retailer"].mean()
equal_flag = {"flag": "Known retailer", "legitimate": means[0], "fraud": means[1]}

# %% ex-02-3 wrong: Another flag has bars that differ less
equal_flag = {"flag": "used_chip", "legitimate": 0.36, "fraud": 0.25}

# %% ex-02-3 wrong: Another flag has bars that differ less
equal_flag = {"flag": "used_pin_number", "legitimate": 0.11, "fraud": 0.0}

# %% ex-02-3 wrong: Another flag has bars that differ less
equal_flag = {"flag": "online_order", "legitimate": 0.62, "fraud": 0.95}

# %% ex-02-3 wrong: That is an amount
equal_flag = {"flag": "distance_from_home", "legitimate": 22.85, "fraud": 66.7}

# %% ex-02-3 wrong: The summary has another one
equal_flag = {"flag": "repeat_retailer", "legitimate": 0.36, "fraud": 0.25}

# %% ex-02-3 wrong: must be between 0 and 1
equal_flag = {"flag": "repeat_retailer", "legitimate": 88, "fraud": 88}

# %% ex-02-3 wrong: It must be one of distance_from_home
equal_flag = {"flag": "retailer", "legitimate": 0.88, "fraud": 0.88}
