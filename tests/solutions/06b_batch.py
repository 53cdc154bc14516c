"""Answers to the exercises of lesson 06b: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-06b-1
spoiled = f"""
{",".join(FEATURE_NAMES)}
57.9,0.3,1.9,1,1,0,0
1e39,0.3,1.9,1,1,0,0
57.9,0.3,1.9,1,1,0,0
57.9,0.3,1.9,1,1,0,3
57.9,0.3,1.9,1,1,0,0
"""
expected = {1: "distance_from_home", 3: "online_order"}

# %% ex-06b-1 also
rows_of_text = ["57.9,0.3,1.9,1,1,0,0"] * 3 + ["57.9,-0.3,1.9,1,1,0,0", "57.9,0.3,1.9,1,1,0,0,7"]
spoiled = [",".join(FEATURE_NAMES), *rows_of_text]
expected = [(3, "distance_from_last_transaction"), (4, "")]

# %% ex-06b-1 also
spoiled = transactions[list(FEATURE_NAMES)].head(5).astype("float64").reset_index(drop=True)
spoiled.loc[0, "distance_from_home"] = -1
spoiled.loc[2, "used_chip"] = 2
expected = {0: "distance_from_home", 2: "used_chip"}

# %% ex-06b-1 also
spoiled = inbox.with_name("yours.csv")
table = transactions[list(FEATURE_NAMES)].head(5).astype("float64").reset_index(drop=True)
table.loc[4, "distance_from_home"] = float("inf")
table.loc[2, "used_chip"] = 0.5
table.to_csv(spoiled, index=False)
expected = {2: "used_chip", 4: "distance_from_home"}

# %% ex-06b-1 wrong: counts rows from 0 and not from 1
spoiled = "\n".join(
    [",".join(FEATURE_NAMES), "-1,0.3,1.9,1,1,0,0", "57.9,0.3,1.9,1,1,0,3", *["57.9,0.3,1.9,1,1,0,0"] * 3]
)
expected = {1: "distance_from_home", 2: "online_order"}

# %% ex-06b-1 wrong: without the line of names
spoiled = "\n".join(
    [",".join(FEATURE_NAMES), "-1,0.3,1.9,1,1,0,0", "57.9,0.3,1.9,1,1,0,3", *["57.9,0.3,1.9,1,1,0,0"] * 3]
)
expected = {2: "distance_from_home", 3: "online_order"}

# %% ex-06b-1 wrong: The file of mistakes above has such a row already
spoiled = "\n".join(
    [",".join(FEATURE_NAMES), "much,0.3,1.9,1,1,0,0", "57.9,0.3,1.9,1,1,0,3", *["57.9,0.3,1.9,1,1,0,0"] * 3]
)
expected = {0: "distance_from_home", 1: "online_order"}

# %% ex-06b-1 wrong: Two different ways are wanted
spoiled = "\n".join(
    [",".join(FEATURE_NAMES), "-1,0.3,1.9,1,1,0,0", "57.9,-0.3,1.9,1,1,0,0", *["57.9,0.3,1.9,1,1,0,0"] * 3]
)
expected = {0: "distance_from_home", 1: "distance_from_last_transaction"}

# %% ex-06b-1 wrong: 1 of your rows cannot be scored
spoiled = "\n".join([",".join(FEATURE_NAMES), "-1,0.3,1.9,1,1,0,0", *["57.9,0.3,1.9,1,1,0,0"] * 4])
expected = {0: "distance_from_home"}

# %% ex-06b-1 wrong: The list names the column online_order
spoiled = "\n".join(
    [",".join(FEATURE_NAMES), "-1,0.3,1.9,1,1,0,0", "57.9,0.3,1.9,1,1,0,3", *["57.9,0.3,1.9,1,1,0,0"] * 3]
)
expected = {0: "distance_from_home", 1: "used_chip"}

# %% ex-06b-1 wrong: Your file has 4 rows
spoiled = "\n".join(
    [",".join(FEATURE_NAMES), "-1,0.3,1.9,1,1,0,0", "57.9,0.3,1.9,1,1,0,3", *["57.9,0.3,1.9,1,1,0,0"] * 2]
)
expected = {0: "distance_from_home", 1: "online_order"}

# %% ex-06b-1 wrong: The input has no distance_from_home
spoiled = "\n".join(["57.9,0.3,1.9,1,1,0,0"] * 5)
expected = {0: "distance_from_home", 1: "online_order"}

# %% ex-06b-1 wrong: for each bad row which column
spoiled = "\n".join(
    [",".join(FEATURE_NAMES), "-1,0.3,1.9,1,1,0,0", "57.9,0.3,1.9,1,1,0,3", *["57.9,0.3,1.9,1,1,0,0"] * 3]
)
expected = 2

# %% ex-06b-2
seconds = {}
for size in (1_000, 1_000_000):
    ROWS_PER_PIECE = size
    seconds[size] = score_file(inbox, inbox.with_name("sizes.parquet"), local).seconds
ROWS_PER_PIECE = 100_000
hungrier = 1_000_000

# %% ex-06b-2 also
seconds = {1_000: np.float32(5.5), 1_000_000: np.float64(1.2)}
hungrier = "1,000,000" and 1e6

# %% ex-06b-2 also
seconds = {size: result for size in (1_000, 1_000_000)} | {1_000: replace(result, seconds=9 * result.seconds)}
hungrier = np.int64(1_000_000)

# %% ex-06b-2 wrong: in each other's place
seconds, hungrier = {1_000: 1.1, 1_000_000: 4.6}, 1_000_000

# %% ex-06b-2 wrong: cannot cost the same
seconds, hungrier = {1_000: 1.41, 1_000_000: 1.46}, 1_000_000

# %% ex-06b-2 wrong: pieces of 1,000 rows need more memory
seconds, hungrier = {1_000: 4.6, 1_000_000: 1.1}, 1_000

# %% ex-06b-2 wrong: It is one of the two sizes
seconds, hungrier = {1_000: 4.6, 1_000_000: 1.1}, 100_000

# %% ex-06b-2 wrong: It must be
seconds, hungrier = {1_000: 4291.7, 1_000_000: 1055.3}, 1_000_000

# %% ex-06b-2 wrong: There is a time for 1,000
seconds, hungrier = 4.6, 1_000_000


# %% ex-06b-3
def score_all(path, scorer):
    batches = pq.ParquetFile(path).iter_batches(100_000)
    return pa.Table.from_batches([score_batch(batch, scorer).batch for batch in batches])


# %% ex-06b-3 also
def score_all(path, scorer):
    tables = []
    for batch in pq.ParquetFile(path).iter_batches():
        tables.append(score_batch(batch, scorer).batch.to_pandas())
    return pd.concat(tables)


# %% ex-06b-3 also
def score_all(path, scorer):
    (batch,) = pa.Table.from_batches(pq.ParquetFile(path).iter_batches()).combine_chunks().to_batches()
    return score_batch(batch, scorer).batch.select(["is_fraud", "fraud_probability"]).to_pydict()


# %% ex-06b-3 also
def score_all(path, scorer):
    return [score_batch(batch, scorer).batch for batch in pq.ParquetFile(path).iter_batches(7)]


# %% ex-06b-3 wrong: For a file of 250 rows you return 50
def score_all(path, scorer):
    for batch in pq.ParquetFile(path).iter_batches(100):
        scored = score_batch(batch, scorer)
    return scored.batch


# %% ex-06b-3 wrong: a bad row keeps its place
def score_all(path, scorer):
    batches = pq.ParquetFile(path).iter_batches(100)
    return pd.concat([score_batch(batch, scorer).batch.to_pandas() for batch in batches]).dropna(
        subset="is_fraud"
    )


# %% ex-06b-3 wrong: has no fraud probability
def score_all(path, scorer):
    batches = pq.ParquetFile(path).iter_batches(100)
    return pd.concat([score_batch(batch, scorer).batch.to_pandas() for batch in batches]).fillna(0)


# %% ex-06b-3 wrong: Take the `batch` out of it
def score_all(path, scorer):
    return [score_batch(batch, scorer) for batch in pq.ParquetFile(path).iter_batches(100)]


# %% ex-06b-3 wrong: in another order
def score_all(path, scorer):
    batches = [score_batch(batch, scorer).batch for batch in pq.ParquetFile(path).iter_batches(100)]
    return pa.Table.from_batches(batches[::-1])


# %% ex-06b-3 wrong: must be the scorer's own
def score_all(path, scorer):
    table = pa.Table.from_batches(
        [score_batch(batch, scorer).batch for batch in pq.ParquetFile(path).iter_batches(100)]
    )
    return table.to_pandas().round({"fraud_probability": 1})


# %% ex-06b-3 wrong: stopped with AttributeError
def score_all(path, scorer):
    return score_batch(pd.read_parquet(path), scorer)


# %% ex-06b-3 wrong: A table of the file's rows is wanted
def score_all(path, scorer):
    score_batch(next(pq.ParquetFile(path).iter_batches()), scorer)


# %% ex-06b-3 wrong: no is_fraud
def score_all(path, scorer):
    batches = pq.ParquetFile(path).iter_batches(100)
    return pd.concat([score_batch(batch, scorer).batch.to_pandas() for batch in batches])[
        ["fraud_probability"]
    ]


# %% ex-06b-3 wrong: Nobody knows what a bad row is
def score_all(path, scorer):
    batches = pq.ParquetFile(path).iter_batches(100)
    table = pd.concat([score_batch(batch, scorer).batch.to_pandas() for batch in batches])
    return table.fillna({"is_fraud": 0})


# %% ex-06b-3 wrong: An engine of this lesson writes files
def score_all(path, scorer):
    return pd.read_parquet(score_file(path, path.with_name("scored.parquet"), scorer).output)


# %% ex-06b-3 wrong: Both new columns are wanted
def score_all(path, scorer):
    return pd.read_parquet(path)


# %% ex-06b-3 wrong: The scorer was never asked
def score_all(path, scorer):
    return pd.read_parquet(path).assign(fraud_probability=0.0, is_fraud=0)


# %% ex-06b-3 wrong: on the other side of the threshold
def score_all(path, scorer):
    batches = pq.ParquetFile(path).iter_batches(100)
    table = pd.concat([score_batch(batch, scorer).batch.to_pandas() for batch in batches])
    return table.assign(is_fraud=table["is_fraud"].where(table["is_fraud"].isna(), 0))
