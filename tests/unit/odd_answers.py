"""What nobody would call an answer."""

import numpy as np

ODD = (
    None,
    "",
    "text",
    [],
    {},
    -7,
    1e308,
    float("nan"),
    float("inf"),
    True,
    object(),
    print,
    b"x",
    np.zeros(3),
)
