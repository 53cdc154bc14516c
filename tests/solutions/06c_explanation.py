"""Answers to the exercises of lesson 06c: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-06c-1
leader = "distance_from_last_transaction"
far_payment = Transaction(15.69, 175.99, 0.86, 1, 0, 0, 1)
second = explain_decision(far_payment, scorer.decide(far_payment), scorer)

# %% ex-06c-1 also
far_payment = Transaction(15.694985541059943, 175.98918151972342, 0.8556228290724207, 1, 0, 0, 1)
second = explain_decision(far_payment, scorer.decide(far_payment), scorer, background)
leader = second.contributions[0].feature

# %% ex-06c-1 also
far_payment = Transaction(*np.float32([15.69, 175.99, 0.86, 1, 0, 0, 1]))
second = explain_decision(far_payment, scorer.decide(vars(far_payment)), scorer, draw_background(100))
leader = "Distance from last payment"

# %% ex-06c-1 wrong: The task says 175.99
leader = "distance_from_last_transaction"
far_payment = Transaction(15.69, 17.599, 0.86, 1, 0, 0, 1)
second = explain_decision(far_payment, scorer.decide(far_payment), scorer)

# %% ex-06c-1 wrong: You expect online_order to lead
leader = "online_order"
far_payment = Transaction(15.69, 175.99, 0.86, 1, 0, 0, 1)
second = explain_decision(far_payment, scorer.decide(far_payment), scorer)

# %% ex-06c-1 wrong: It must be one of distance_from_home
leader = "the distance"
far_payment = Transaction(15.69, 175.99, 0.86, 1, 0, 0, 1)
second = explain_decision(far_payment, scorer.decide(far_payment), scorer)

# %% ex-06c-1 wrong: It must be an explanation
leader = "distance_from_last_transaction"
second = scorer.decide(Transaction(15.69, 175.99, 0.86, 1, 0, 0, 1))

# %% ex-06c-1 wrong: belongs to one decision
leader = "distance_from_last_transaction"
far_payment = Transaction(15.69, 175.99, 0.86, 1, 0, 0, 1)
harmless = scorer.decide(Transaction(5, 1, 1, 1, 1, 0, 0))
second = explain_decision(far_payment, harmless, scorer)

# %% ex-06c-1 wrong: compare only with the same background
leader = "distance_from_last_transaction"
far_payment = Transaction(15.69, 175.99, 0.86, 1, 0, 0, 1)
second = explain_decision(far_payment, scorer.decide(far_payment), scorer, draw_background(1_000))

# %% ex-06c-2
amount = 0
usual = Transaction(*background[9])
nothing = explain_decision(usual, scorer.decide(usual), scorer, background[9:10])

# %% ex-06c-2 also
amount = np.float64(0.0)
place = int(np.argmax(scorer.score(background).fraud_probability))
usual = Transaction(*background[place].tolist())
nothing = explain_decision(usual, scorer.decide(usual), scorer, background[[place]])

# %% ex-06c-2 also
usual = Transaction(*map(float, background[9]))
nothing = explain_decision(usual, scorer.decide(usual), scorer, usual.to_array())
amount = max(c.amount for c in nothing.contributions)

# %% ex-06c-2 wrong: A fraud is wanted
usual = Transaction(*background[0])
amount = scorer.decide(usual).fraud_probability
nothing = explain_decision(usual, scorer.decide(usual), scorer, background[:1])

# %% ex-06c-2 wrong: compared with other rows
amount = 0
usual = Transaction(*background[int(np.argmax(scorer.score(background).fraud_probability))])
nothing = explain_decision(usual, scorer.decide(usual), scorer, background)

# %% ex-06c-2 wrong: no row of the background has its seven values
amount = 0
nothing = explain_decision(payment, decision, scorer, payment.to_array())

# %% ex-06c-2 wrong: Ask how large that difference is
amount = 1 / 7
usual = Transaction(*background[9])
nothing = explain_decision(usual, scorer.decide(usual), scorer, background[9:10])

# %% ex-06c-2 wrong: Give one number
usual = Transaction(*background[9])
nothing = explain_decision(usual, scorer.decide(usual), scorer, background[9:10])
amount = [0] * 7

# %% ex-06c-3
by_size = {
    rows: explain_decision(payment, decision, scorer, draw_background(1_000)[:rows])
    for rows in (10, 100, 1_000)
}
amounts = {rows: {c.feature.name: c.amount for c in item.contributions} for rows, item in by_size.items()}
far = {
    rows: max(abs(amounts[rows][name] - amounts[1_000][name]) for name in FEATURE_NAMES) for rows in (10, 100)
}

# %% ex-06c-3 also
by_size = {
    rows: explain_decision(payment, decision, scorer, draw_background(1_000)[:rows])
    for rows in (10, 100, 1_000)
}
table = np.array(
    [
        [c.amount for c in sorted(by_size[rows].contributions, key=lambda c: c.feature.name)]
        for rows in by_size
    ]
)
far = dict(zip((10, 100), np.abs(table[:2] - table[2]).max(axis=1).round(3), strict=True))

# %% ex-06c-3 wrong: The explanation for 10 begins at
by_size = {rows: explain_decision(payment, decision, scorer) for rows in (10, 100, 1_000)}
far = {10: 0.0, 100: 0.0}

# %% ex-06c-3 wrong: cut the first ones off
by_size = {
    rows: explain_decision(payment, decision, scorer, draw_background(rows)) for rows in (10, 100, 1_000)
}
far = {10: 0.03, 100: 0.03}

# %% ex-06c-3 wrong: not percentage points
by_size = {
    rows: explain_decision(payment, decision, scorer, draw_background(1_000)[:rows])
    for rows in (10, 100, 1_000)
}
amounts = {rows: {c.feature.name: c.amount for c in item.contributions} for rows, item in by_size.items()}
far = {
    rows: 100 * max(abs(amounts[rows][name] - amounts[1_000][name]) for name in FEATURE_NAMES)
    for rows in (10, 100)
}

# %% ex-06c-3 wrong: by feature name
by_size = {
    rows: explain_decision(payment, decision, scorer, draw_background(1_000)[:rows])
    for rows in (10, 100, 1_000)
}
far = {10: 0.5, 100: 0.5}

# %% ex-06c-3 wrong: is about another payment
usual = Transaction(5, 1, 1, 1, 1, 0, 0)
by_size = {
    rows: explain_decision(usual, scorer.decide(usual), scorer, draw_background(1_000)[:rows])
    for rows in (10, 100, 1_000)
}
far = {10: 0.0, 100: 0.0}

# %% ex-06c-3 wrong: an explanation for 10, 100 and 1,000
by_size = [
    explain_decision(payment, decision, scorer, draw_background(1_000)[:rows]) for rows in (10, 100, 1_000)
]
far = {10: 0.0, 100: 0.0}
