"""Answers to the exercises of lesson 00: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-00-1
harmless = Transaction(
    distance_from_home=2,
    distance_from_last_transaction=0.5,
    ratio_to_median_purchase_price=0.5,
    repeat_retailer=True,
    used_chip=True,
    used_pin_number=True,
    online_order=False,
)

# %% ex-00-1 also
harmless = make_transaction(dict(zip(FEATURE_NAMES, [2.0, 0.5, 1 / 2, 1, 1, 1, 0])))

# %% ex-00-1 also
harmless = Transaction(2, 0.5, np.float32(0.5), True, True, True, False)

# %% ex-00-1 wrong: building one checks its values
harmless = [2, 0.5, 0.5, 1, 1, 1, 0]

# %% ex-00-1 wrong: building one checks its values
harmless = Transaction(2, 0.5, 0.5, 1, 1, 1, 0).to_array()

# %% ex-00-1 wrong: building one checks its values
harmless = Transaction

# %% ex-00-1 wrong: distance_from_home = 2000
harmless = Transaction(2000, 500, 0.5, 1, 1, 1, 0)

# %% ex-00-1 wrong: mind which distance is which
harmless = Transaction(0.5, 2, 0.5, 1, 1, 1, 0)

# %% ex-00-1 wrong: The usual price has the ratio 1
harmless = Transaction(2, 0.5, 2, 1, 1, 1, 0)

# %% ex-00-1 wrong: The task says: a retailer that the card knows
harmless = Transaction(2, 0.5, 0.5, 0, 1, 1, 0)

# %% ex-00-1 wrong: The task says: the owner stands in the shop
harmless = Transaction(2, 0.5, 0.5, 1, 1, 1, 1)

# %% ex-00-2
foretold = {"row": 1, "feature": "used_pin_number"}

# %% ex-00-2 also
foretold = {"feature": FEATURES[5].label, "row": np.int64(1)}

# %% ex-00-2 wrong: Rows count from 0
foretold = {"row": 2, "feature": "used_pin_number"}

# %% ex-00-2 wrong: Row 0 has used_pin_number = 0, and that is allowed
foretold = {"row": 0, "feature": "used_pin_number"}

# %% ex-00-2 wrong: The rows of this array are 0 to 1
foretold = {"row": -1, "feature": "used_pin_number"}

# %% ex-00-2 wrong: Give a number, without quotation marks
foretold = {"row": "1", "feature": "used_pin_number"}

# %% ex-00-2 wrong: Columns count from 0
foretold = {"row": 1, "feature": "used_chip"}

# %% ex-00-2 wrong: Row 1 has distance_from_home = 15.7, and that is allowed
foretold = {"row": 1, "feature": "distance_from_home"}

# %% ex-00-2 wrong: It must be one of distance_from_home
foretold = {"row": 1, "feature": 5}

# %% ex-00-2 wrong: no answer for feature
foretold = {"row": 1}

# %% ex-00-2 wrong: The answer has the parts row, feature
foretold = "used_pin_number"
