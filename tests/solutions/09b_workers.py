"""Answers to the exercises of lesson 09b: the solution, other right ones, and wrong ones with words of their feedback."""


# %% ex-09b-1
def combine(means: np.ndarray, variances: np.ndarray) -> tuple[float, float]:
    mean = means.mean()
    return mean, (variances + means**2).mean() - mean**2


# %% ex-09b-1 also
def combine(means, variances):
    return [np.mean(means), np.mean(variances) + np.var(means)]


# %% ex-09b-1 also
def combine(means, variances):
    n = len(means)
    mean = sum(means) / n
    return mean, sum(v + (m - mean) ** 2 for m, v in zip(means, variances)) / n


# %% ex-09b-1 wrong: that spread is missing
def combine(means, variances):
    return means.mean(), variances.mean()


# %% ex-09b-1 wrong: The spread inside each share is missing
def combine(means, variances):
    return means.mean(), means.var()


# %% ex-09b-1 wrong: mean of the squares
def combine(means, variances):
    return means.mean(), (variances + means**2).mean()


# %% ex-09b-1 wrong: without `ddof`
def combine(means, variances):
    return means.mean(), variances.mean() + means.var(ddof=1)


# %% ex-09b-1 wrong: Return the mean first
def combine(means, variances):
    return variances.mean() + means.var(), means.mean()


# %% ex-09b-1 wrong: have another mean
def combine(means, variances):
    return means.sum(), variances.sum()


# %% ex-09b-1 wrong: two numbers
def combine(means, variances):
    return means.mean()


# %% ex-09b-1 wrong: stopped with
def combine(means):
    return means.mean(), means.var()


# %% ex-09b-2
goes_on = {"A": 4, "B": 4, "C": 0, "D": 0, "E": 4}

# %% ex-09b-2 also
goes_on = {case: np.int64(epoch) for case, epoch in zip("ABCDE", (4, 4, 0, 0, 4))}

# %% ex-09b-2 wrong: Epoch 4 was not finished
goes_on = {"A": 5, "B": 4, "C": 0, "D": 0, "E": 4}

# %% ex-09b-2 wrong: need not be done again
goes_on = {"A": 3, "B": 3, "C": 0, "D": 0, "E": 3}

# %% ex-09b-2 wrong: written beside it
goes_on = {"A": 4, "B": 3, "C": 0, "D": 0, "E": 4}

# %% ex-09b-2 wrong: its disk is gone
goes_on = {"A": 4, "B": 4, "C": 4, "D": 0, "E": 4}

# %% ex-09b-2 wrong: what it belongs to
goes_on = {"A": 4, "B": 4, "C": 0, "D": 4, "E": 4}

# %% ex-09b-2 wrong: what it leaves out
goes_on = {"A": 4, "B": 4, "C": 0, "D": 0, "E": 0}

# %% ex-09b-2 wrong: no answer for E
goes_on = {"A": 4, "B": 4, "C": 0, "D": 0}

# %% ex-09b-2 wrong: must be one number
goes_on = {"A": "the fourth", "B": 4, "C": 0, "D": 0, "E": 4}

# %% ex-09b-3
wide = replace(rates, row_bytes=2 * rates.row_bytes)
one, many = (
    plan_scoring(10**12, nodes, wide).seconds / plan_scoring(10**12, nodes, rates).seconds
    for nodes in (1, 64)
)
growth = {"one node": one, "64 nodes": many}

# %% ex-09b-3 also
growth = {"one node": np.float64(one), "64 nodes": round(many, 2)}  # from the cells before

# %% ex-09b-3 wrong: cannot make a job faster
wide = replace(rates, row_bytes=2 * rates.row_bytes)
one, many = (
    plan_scoring(10**12, nodes, wide).seconds / plan_scoring(10**12, nodes, rates).seconds
    for nodes in (1, 64)
)
growth = {"one node": 1 / one, "64 nodes": 1 / many}

# %% ex-09b-3 wrong: You give 2 for both
growth = {"one node": 2, "64 nodes": 2}

# %% ex-09b-3 wrong: This is what was added
growth = {"one node": one, "64 nodes": 100 * (many - 1)}

# %% ex-09b-3 wrong: the other one of the two
growth = {"one node": many, "64 nodes": one}

# %% ex-09b-3 wrong: must be one number
growth = {"one node": one, "64 nodes": "twice"}

# %% ex-09b-3 wrong: no answer for 64 nodes
growth = {"one node": one}
