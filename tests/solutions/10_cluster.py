"""Answers to the exercises of lesson 10: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-10-1
addresses = {
    "first": "the wrong scheme",
    "second": "another model",
    "third": "nobody listens",
    "fourth": "send this one",
}

# %% ex-10-1 also
addresses = dict(
    zip(
        ("first", "second", "third", "fourth"),
        ("The wrong scheme.", "Another model.", "Nobody listens.", "Send this one."),
    )
)

# %% ex-10-1 wrong: not for your model
addresses = {
    "first": "the wrong scheme",
    "second": "send this one",
    "third": "nobody listens",
    "fourth": "another model",
}

# %% ex-10-1 wrong: but not in TLS
addresses = {
    "first": "nobody listens",
    "second": "another model",
    "third": "the wrong scheme",
    "fourth": "send this one",
}

# %% ex-10-1 wrong: nobody took the connection
addresses = {
    "first": "the wrong scheme",
    "second": "another model",
    "third": "the wrong scheme",
    "fourth": "send this one",
}

# %% ex-10-1 wrong: somebody listens
addresses = {
    "first": "the wrong scheme",
    "second": "nobody listens",
    "third": "nobody listens",
    "fourth": "send this one",
}

# %% ex-10-1 wrong: what more could an endpoint do
addresses = {
    "first": "the wrong scheme",
    "second": "another model",
    "third": "nobody listens",
    "fourth": "another model",
}

# %% ex-10-1 wrong: no answer for second
addresses = {"first": "the wrong scheme", "fourth": "send this one"}

# %% ex-10-1 wrong: the parts first, second, third, fourth
addresses = "fourth"

# %% ex-10-2
ways = {
    "Service": "the manifests",
    "Secret": "connect_store",
    "Deployment": "read on, the cause is not known",
}

# %% ex-10-2 also
ways = {
    "Deployment": "Read on, the cause is not known.",
    "Secret": "connect_store",
    "Service": "The manifests",
}

# %% ex-10-2 wrong: writes Secrets and nothing else
ways = {"Service": "connect_store", "Secret": "connect_store", "Deployment": "connect_store"}

# %% ex-10-2 wrong: must hold no key
ways = {
    "Service": "the manifests",
    "Secret": "the manifests",
    "Deployment": "read on, the cause is not known",
}

# %% ex-10-2 wrong: applying it again changes nothing
ways = {"Service": "the manifests", "Secret": "connect_store", "Deployment": "the manifests"}

# %% ex-10-2 wrong: what makes it
ways = {
    "Service": "read on, the cause is not known",
    "Secret": "connect_store",
    "Deployment": "read on, the cause is not known",
}

# %% ex-10-2 wrong: must be one of
ways = {"Service": "oc apply", "Secret": "connect_store", "Deployment": "read on, the cause is not known"}
