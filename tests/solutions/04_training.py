"""Answers to the exercises of lesson 04: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-04-1
limit = 1e-3
while not compare_with_bias(limit).holds:
    limit /= 2
biases = {"passes": limit, "caught": 2 * limit}

# %% ex-04-1 also
limit = np.float32(0.0005)
while not compare_with_bias(limit).holds:
    limit = limit / np.float32(1.5)
biases = {"caught": limit * np.float32(1.5), "passes": limit}

# %% ex-04-1 wrong: is 1e+03 times 1e-06
biases = {"passes": 1e-6, "caught": 1e-3}

# %% ex-04-1 wrong: Swap the two numbers
biases = {"passes": 1e-3, "caught": 1e-6}

# %% ex-04-1 wrong: Take a larger one
biases = {"passes": 1e-6, "caught": 2e-6}

# %% ex-04-1 wrong: Take a smaller one
biases = {"passes": 1e-3, "caught": 2e-3}

# %% ex-04-1 wrong: nothing was changed
biases = {"passes": 0, "caught": 1e-3}

# %% ex-04-1 wrong: has the parts passes, caught
biases = 1e-4

# %% ex-04-1 wrong: must be one number
biases = {"passes": compare_with_bias(1e-6), "caught": compare_with_bias(1e-3)}

# %% ex-04-2
measures = {"A": "normalization inside", "B": "parity check", "C": "threshold inside", "D": "corrected loss"}

# %% ex-04-2 also
measures = dict(A="Normalization inside", B="parity check ", C="threshold inside.", D="corrected loss")

# %% ex-04-2 wrong: which step was left in a cell
measures = {"A": "parity check", "B": "parity check", "C": "threshold inside", "D": "corrected loss"}

# %% ex-04-2 wrong: who compares the two
measures = {"A": "normalization inside", "B": "threshold inside", "C": "parity check", "D": "corrected loss"}

# %% ex-04-2 wrong: where that number should live
measures = {"A": "normalization inside", "B": "parity check", "C": "corrected loss", "D": "corrected loss"}

# %% ex-04-2 wrong: before any file was written
measures = {"A": "normalization inside", "B": "parity check", "C": "threshold inside", "D": "parity check"}

# %% ex-04-2 wrong: must be one of
measures = {"A": "a scaler", "B": "parity check", "C": "threshold inside", "D": "corrected loss"}

# %% ex-04-2 wrong: no answer for D
measures = {"A": "normalization inside", "B": "parity check", "C": "threshold inside"}

# %% ex-04-3
challenger = train_aside(replace(config, epochs=5))
shorter = {
    "challenger": challenger,
    "extra_cost_per_1000": challenger.evaluation.cost_per_1000 - trained.evaluation.cost_per_1000,
    "share_of_time": challenger.fit_s / trained.fit_s,
}

# %% ex-04-3 also
worse = replace(trained.evaluation, cost_per_1000=trained.evaluation.cost_per_1000 + 4)
challenger = replace(trained, run_id="other", history={"loss": [0.1] * 5}, evaluation=worse)
shorter = {"challenger": challenger, "extra_cost_per_1000": np.float64(4.01), "share_of_time": 1}

# %% ex-04-3 wrong: challenger's cost first
worse = replace(trained.evaluation, cost_per_1000=trained.evaluation.cost_per_1000 + 4)
challenger = replace(trained, run_id="other", history={"loss": [0.1] * 5}, evaluation=worse)
shorter = {"challenger": challenger, "extra_cost_per_1000": -4.0, "share_of_time": 1.0}

# %% ex-04-3 wrong: difference of the two
worse = replace(trained.evaluation, cost_per_1000=trained.evaluation.cost_per_1000 + 4)
challenger = replace(trained, run_id="other", history={"loss": [0.1] * 5}, evaluation=worse)
shorter = {"challenger": challenger, "extra_cost_per_1000": worse.cost_per_1000, "share_of_time": 1.0}

# %% ex-04-3 wrong: a half is 0.5
challenger = replace(trained, run_id="other", history={"loss": [0.1] * 5}, fit_s=trained.fit_s / 4)
shorter = {"challenger": challenger, "extra_cost_per_1000": 0.0, "share_of_time": 4.0}

# %% ex-04-3 wrong: Give two decimals
challenger = replace(trained, run_id="other", history={"loss": [0.1] * 5}, fit_s=0.254 * trained.fit_s)
shorter = {"challenger": challenger, "extra_cost_per_1000": 0.0, "share_of_time": 0.3}

# %% ex-04-3 wrong: training of section 6 itself
shorter = {"challenger": trained, "extra_cost_per_1000": 0.0, "share_of_time": 1.0}

# %% ex-04-3 wrong: was trained for 20 epochs
challenger = replace(trained, run_id="other", history={"loss": [0.1] * 20})
shorter = {"challenger": challenger, "extra_cost_per_1000": 0.0, "share_of_time": 1.0}

# %% ex-04-3 wrong: has no run
challenger = replace(trained, run_id=None, history={"loss": [0.1] * 5})
shorter = {"challenger": challenger, "extra_cost_per_1000": 0.0, "share_of_time": 1.0}

# %% ex-04-3 wrong: must be a trained model
shorter = {"challenger": replace(config, epochs=5), "extra_cost_per_1000": 0.0, "share_of_time": 0.25}
