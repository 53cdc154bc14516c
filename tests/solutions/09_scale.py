"""Answers to the exercises of lesson 09: the solution, other right ones, and wrong ones with words of their feedback."""


# %% ex-09-1
def predict_from(small: tuple, large: tuple, many: int) -> float:
    row_s = (large[1] - small[1]) / (large[0] - small[0])
    start_s = small[1] - small[0] * row_s
    return start_s + many * row_s


# %% ex-09-1 also
def predict_from(small, large, many):
    import numpy as np

    return np.polyval(np.polyfit(*zip(small, large), 1), many)


# %% ex-09-1 also
def predict_from(small, large, many):
    rate = (large[0] - small[0]) / (large[1] - small[1])
    return round(large[1] + (many - large[0]) / rate)


# %% ex-09-1 wrong: More rows take more time
def predict_from(small, large, many):
    return 10_002.0


# %% ex-09-1 wrong: divide by them
def predict_from(small, large, many):
    return many * (large[0] - small[0]) / (large[1] - small[1])


# %% ex-09-1 wrong: counted twice
def predict_from(small, large, many):
    return small[1] + many * (large[1] - small[1]) / (large[0] - small[0])


# %% ex-09-1 wrong: The small run scores rows, too
def predict_from(small, large, many):
    return small[1] + many * (large[1] - small[1]) / large[0]


# %% ex-09-1 wrong: Each run pays for its start
def predict_from(small, large, many):
    return many * large[1] / large[0]


# %% ex-09-1 wrong: do not start the engine again
def predict_from(small, large, many):
    return many * small[1] / small[0]


# %% ex-09-1 wrong: Each run pays for its start
def predict_from(small, large, many):
    return many * (large[1] - small[1]) / (large[0] - small[0])


# %% ex-09-1 wrong: These are minutes
def predict_from(small, large, many):
    row_s = (large[1] - small[1]) / (large[0] - small[0])
    return (small[1] + (many - small[0]) * row_s) / 60


# %% ex-09-1 wrong: must be one number
def predict_from(small, large, many):
    print(large[1])


# %% ex-09-1 wrong: must be a function
predict_from = 10_002

# %% ex-09-2
holders = {"A": "the cores", "B": "the storage", "C": "one large shard", "D": "the start of the engine"}

# %% ex-09-2 also
holders = dict(A="The cores", B="The storage", C="One large shard", D="The start of the engine.")

# %% ex-09-2 wrong: more of them would be idle
holders = {"A": "the cores", "B": "the cores", "C": "one large shard", "D": "the start of the engine"}

# %% ex-09-2 wrong: look for what they bring
holders = {"A": "the storage", "B": "the storage", "C": "one large shard", "D": "the start of the engine"}

# %% ex-09-2 wrong: what can they not share
holders = {"A": "the cores", "B": "the storage", "C": "the cores", "D": "the start of the engine"}

# %% ex-09-2 wrong: Count the seconds
holders = {"A": "the cores", "B": "the storage", "C": "one large shard", "D": "the cores"}

# %% ex-09-2 wrong: must be one of
holders = {"A": "the cores", "B": "the network", "C": "one large shard", "D": "the start of the engine"}

# %% ex-09-2 wrong: no answer for D
holders = {"A": "the cores", "B": "the storage", "C": "one large shard"}

# %% ex-09-3
wanted_shards = 200

# %% ex-09-3 also
import numpy as np

wanted_shards = np.ceil(1_000_000_000 / (60 * 200_000))

# %% ex-09-3 wrong: may lose 60 s at most
wanted_shards = 8

# %% ex-09-3 wrong: Opening may cost 1%
wanted_shards = 12_000_000

# %% ex-09-3 wrong: whole and at least 1
wanted_shards = 10**9 / 12e6

# %% ex-09-3 wrong: must be one number
wanted_shards = "from 84 to 1000"
