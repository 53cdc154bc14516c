"""Answers to the exercises of lesson 06: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-06-1
payload = {"inputs": [{**tensor, "shape": [2, 7], "data": legitimate + fraudulent}]}
posted = requests.post(f"{address.url}/infer", json=payload, **options)
assert len(posted.json()["outputs"][0]["data"]) == 2

# %% ex-06-1 also
both = {"name": "dense_input", "shape": (2, 7), "datatype": "FP32", "data": [legitimate, fraudulent]}
payload = {"id": "two", "inputs": [both]}

# %% ex-06-1 also
payload = json.dumps(
    {"inputs": [{**tensor, "shape": [2, 7], "data": np.ravel([legitimate, fraudulent]).tolist()}]}
)

# %% ex-06-1 wrong: That is one row.
payload = {"inputs": [{**tensor, "data": legitimate + fraudulent}]}

# %% ex-06-1 wrong: holds 7 numbers
payload = {"inputs": [{**tensor, "shape": [2, 7]}]}

# %% ex-06-1 wrong: seven rows of two
payload = {"inputs": [{**tensor, "shape": [7, 2], "data": legitimate + fraudulent}]}

# %% ex-06-1 wrong: fourteen features
payload = {"inputs": [{**tensor, "shape": [1, 14], "data": legitimate + fraudulent}]}

# %% ex-06-1 wrong: There are 2 tensors
payload = {"inputs": [{**tensor, "data": legitimate}, {**tensor, "data": fraudulent}]}

# %% ex-06-1 wrong: The fraud stands first
payload = {"inputs": [{**tensor, "shape": [2, 7], "data": fraudulent + legitimate}]}

# %% ex-06-1 wrong: row by row
payload = {
    "inputs": [{**tensor, "shape": [2, 7], "data": np.array([legitimate, fraudulent]).T.ravel().tolist()}]
}

# %% ex-06-1 wrong: the tensor alone
payload = {**tensor, "shape": [2, 7], "data": legitimate + fraudulent}

# %% ex-06-1 wrong: an array has tolist()
payload = {"inputs": [{**tensor, "shape": [2, 7], "data": np.array([legitimate, fraudulent])}]}

# %% ex-06-1 wrong: Write each flag as 0.0 or 1.0
payload = {
    "inputs": [
        {
            **tensor,
            "shape": [2, 7],
            "data": [*legitimate[:6], False, *fraudulent[:3], True, False, False, True],
        }
    ]
}

# %% ex-06-1 wrong: Join the two lists
payload = {"inputs": [{**tensor, "shape": [2, 7], "data": [str(value) for value in legitimate + fraudulent]}]}

# %% ex-06-1 wrong: Join the two lists
payload = {"inputs": [{**tensor, "shape": [2, 7], "data": [[value] for value in legitimate + fraudulent]}]}

# %% ex-06-1 wrong: whole numbers
payload = {"inputs": [{**tensor, "shape": [2.0, 7.0], "data": legitimate + fraudulent}]}

# %% ex-06-1 wrong: The id
payload = {"id": 5, "inputs": [{**tensor, "shape": [2, 7], "data": legitimate + fraudulent}]}

# %% ex-06-1 wrong: Leave out outputs
payload = {
    "inputs": [{**tensor, "shape": [2, 7], "data": legitimate + fraudulent}],
    "outputs": "fraud_probability",
}

# %% ex-06-1 wrong: The datatype of the tensor
payload = {"inputs": [{**tensor, "datatype": "FP64", "shape": [2, 7], "data": legitimate + fraudulent}]}

# %% ex-06-1 wrong: Look up the name there
payload = {"inputs": [{**tensor, "name": "input", "shape": [2, 7], "data": legitimate + fraudulent}]}

# %% ex-06-1 wrong: Both rows are the same
payload = {"inputs": [{**tensor, "shape": [2, 7], "data": legitimate + legitimate}]}

# %% ex-06-1 wrong: belongs to neither row
payload = {"inputs": [{**tensor, "shape": [2, 7], "data": legitimate + [15.7, *fraudulent[1:]]}]}

# %% ex-06-2
sides = {"A": "address", "B": "request", "C": "address", "D": "server"}

# %% ex-06-2 also
sides = {"D": "Server", "C": "address", "B": "request ", "A": "address"}

# %% ex-06-2 wrong: The model's name stands in the address
sides = {"A": "request", "B": "request", "C": "address", "D": "server"}

# %% ex-06-2 wrong: compare the datatype
sides = {"A": "address", "B": "server", "C": "address", "D": "server"}

# %% ex-06-2 wrong: a web page came
sides = {"A": "address", "B": "request", "C": "server", "D": "server"}

# %% ex-06-2 wrong: the asker did nothing wrong
sides = {"A": "address", "B": "request", "C": "address", "D": "request"}

# %% ex-06-2 wrong: must be one of
sides = {"A": 404, "B": 400, "C": 200, "D": 500}

# %% ex-06-3
saving = {"post_s": [], "decide_s": [], "with_tls": "larger"}
for _ in range(50):
    started = time.perf_counter()
    requests.post(f"{address.url}/infer", json={"inputs": [tensor]}, **options)
    saving["post_s"].append(time.perf_counter() - started)
    started = time.perf_counter()
    scorer.decide(one)
    saving["decide_s"].append(time.perf_counter() - started)

# %% ex-06-3 also
saving = {"post_s": np.full(60, 0.004), "decide_s": pd.Series([0.002] * 50), "with_tls": "Larger."}

# %% ex-06-3 also
saving = {"post_s": [0.0019] * 50, "decide_s": [0.002] * 50, "with_tls": "larger"}

# %% ex-06-3 wrong: Both lists are the same
saving = {"post_s": [0.002] * 50, "decide_s": [0.002] * 50, "with_tls": "larger"}

# %% ex-06-3 wrong: two are swapped
saving = {"post_s": [0.002] * 50, "decide_s": [0.004] * 50, "with_tls": "larger"}

# %% ex-06-3 wrong: which of the two ways pays it
saving = {"post_s": [0.004] * 50, "decide_s": [0.002] * 50, "with_tls": "the same"}

# %% ex-06-3 wrong: look like milliseconds
saving = {"post_s": [4.0] * 50, "decide_s": [2.0] * 50, "with_tls": "larger"}

# %% ex-06-3 wrong: a clock that runs on
saving = {"post_s": [0.004 * (i + 1) for i in range(50)], "decide_s": [0.002] * 50, "with_tls": "larger"}

# %% ex-06-3 wrong: list of all times
saving = {"post_s": 0.004, "decide_s": 0.002, "with_tls": "larger"}

# %% ex-06-3 wrong: holds 20 times
saving = {"post_s": [0.004] * 20, "decide_s": [0.002] * 20, "with_tls": "larger"}

# %% ex-06-3 wrong: more than no time
saving = {"post_s": [-0.004] * 50, "decide_s": [0.002] * 50, "with_tls": "larger"}
