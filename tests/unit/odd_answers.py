"""What nobody would call an answer."""

import numpy as np

ODD = (None, "", "text", b"x", [], {}, -7, 10**30, 1e308, float("nan"), float("inf"), True, object(), print,
       np.zeros(3), np.zeros((2, 7)))  # fmt: skip
