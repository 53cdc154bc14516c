"""Answers to the exercises of lesson 07: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-07-1
holiday = Example("Holiday, 900 km from home, chip used", Transaction(900.0, 2.0, 1.0, 0, 1, 0, 0))
my_form = make_form((holiday, *EXAMPLES))
my_panel = build_panel(scorer, my_form)
my_panel.button.click()

# %% ex-07-1 also
my_example = Example("Abroad", Transaction(100, 100, 3, 1, True, 1, 0))
my_form = make_form(examples=(my_example,) + EXAMPLES[::-1])
my_panel = build_panel(form=my_form, scorer=scorer)
my_panel.examples["Online, 200 km from home"].click()
my_panel.examples["Abroad"].click()
my_panel.button.click()

# %% ex-07-1 wrong: Its button was not pressed
my_form = make_form((Example("Holiday", Transaction(900.0, 2.0, 1.0, 0, 1, 0, 0)), *EXAMPLES))
my_panel = build_panel(scorer, my_form)

# %% ex-07-1 wrong: yours is not among them
my_form = make_form((Example("Holiday", Transaction(900.0, 2.0, 1.0, 0, 1, 0, 0)), *EXAMPLES))
my_panel = build_panel(scorer)
my_panel.button.click()

# %% ex-07-1 wrong: Put yours before the others
my_form = make_form((*EXAMPLES, Example("Holiday", Transaction(900.0, 2.0, 1.0, 0, 1, 0, 0))))
my_panel = build_panel(scorer, my_form)
my_panel.button.click()

# %% ex-07-1 wrong: The examples of the demo stay
my_form = make_form((Example("Holiday", Transaction(900.0, 2.0, 1.0, 0, 1, 0, 0)),))
my_panel = build_panel(scorer, my_form)
my_panel.button.click()

# %% ex-07-1 wrong: the chip was not read
my_form = make_form((Example("Holiday", Transaction(900.0, 2.0, 1.0, 1, 0, 0, 0)), *EXAMPLES))
my_panel = build_panel(scorer, my_form)
my_panel.button.click()

# %% ex-07-1 wrong: 2 km from home
my_form = make_form((Example("Holiday", Transaction(2.0, 900.0, 1.0, 1, 1, 0, 0)), *EXAMPLES))
my_panel = build_panel(scorer, my_form)
my_panel.button.click()

# %% ex-07-1 wrong: A form starts with the values of its first example
my_form = replace(FORM, examples=(Example("Holiday", Transaction(900.0, 2.0, 1.0, 0, 1, 0, 0)), *EXAMPLES))
my_panel = build_panel(scorer, my_form)
my_panel.button.click()

# %% ex-07-1 wrong: It must be a form
my_form = Example("Holiday", Transaction(900.0, 2.0, 1.0, 0, 1, 0, 0))
my_panel = build_panel(scorer)

# %% ex-07-1 wrong: other values than those of your example
my_form = make_form((Example("Holiday", Transaction(900.0, 2.0, 1.0, 0, 1, 0, 0)), *EXAMPLES))
my_panel = build_panel(scorer, my_form)
my_panel.examples[EXAMPLES[1].name].click()
my_panel.button.click()

# %% ex-07-2
turned = {"used_pin_number": True}

# %% ex-07-2 also
far_away = FORM.get_example("Online, 200 km from home")
turned = {change.feature.name: change.value for change in score_form(far_away, scorer).reasons.changes[:1]}

# %% ex-07-2 also
turned = ("Distance from home", 5)

# %% ex-07-2 wrong: on the same side
turned = {"repeat_retailer": 0}

# %% ex-07-2 wrong: One single change is wanted
turned = {"used_pin_number": 1, "used_chip": 1}

# %% ex-07-2 wrong: Something must change
turned = {"online_order": True}

# %% ex-07-2 wrong: Keep the braces
turned = "used_pin_number"

# %% ex-07-2 wrong: Copy the name of a feature
turned = {"pin": 1}

# %% ex-07-2 wrong: A flag has two values only
turned = {"used_pin_number": 7}

# %% ex-07-3
import requests

from fraud_demo.serving import locate_model

data = edge.transaction.to_array()[0].tolist()
tensor = {"name": "dense_input", "shape": [1, 7], "datatype": "FP32", "data": data}
reply = requests.post(f"{locate_model(settings).url}/infer", json={"inputs": [tensor]}, timeout=10).json()

# %% ex-07-3 also
import requests

from fraud_demo.serving import locate_model

tensor = {"name": "dense_input", "shape": [1, 7], "datatype": "FP32"}
tensor["data"] = [list(edge.transaction.to_array()[0].tolist())]
reply = requests.post(f"{locate_model(settings).url}/infer", json={"inputs": [tensor]}, timeout=10)

# %% ex-07-3 also
import requests

from fraud_demo.serving import locate_model

tensor = {"name": "dense_input", "shape": [1, 7], "datatype": "FP32"}
tensor["data"] = edge.transaction.to_array()[0].tolist()
reply = requests.post(f"{locate_model(settings).url}/infer", json={"inputs": [tensor]}, timeout=10).text

# %% ex-07-3 also
import requests

from fraud_demo.serving import locate_model

tensor = {"name": "dense_input", "shape": [1, 7], "datatype": "FP32"}
tensor["data"] = edge.transaction.to_array()[0].tolist()
answer = requests.post(f"{locate_model(settings).url}/infer", json={"inputs": [tensor]}, timeout=10)
reply = answer.json()["outputs"][0]

# %% ex-07-3 also
reply = edge.decision.fraud_probability

# %% ex-07-3 wrong: The server refused
import requests

from fraud_demo.serving import locate_model

tensor = {"name": "dense_input", "shape": [1, 7], "datatype": "FP32", "data": list(values.values())[:6]}
reply = requests.post(f"{locate_model(settings).url}/infer", json={"inputs": [tensor]}, timeout=10)

# %% ex-07-3 wrong: The same values give the same answer
import requests

from fraud_demo.serving import locate_model

data = [57.9, 0.3, 1.9, 1, 1, 0, 0]
tensor = {"name": "dense_input", "shape": [1, 7], "datatype": "FP32", "data": data}
reply = requests.post(f"{locate_model(settings).url}/infer", json={"inputs": [tensor]}, timeout=10).json()

# %% ex-07-3 wrong: in their order
import requests

from fraud_demo.serving import locate_model

data = edge.transaction.to_array()[0].tolist()
tensor = {"name": "dense_input", "shape": [1, 7], "datatype": "FP32", "data": [data[1], data[0], *data[2:]]}
reply = requests.post(f"{locate_model(settings).url}/infer", json={"inputs": [tensor]}, timeout=10).json()

# %% ex-07-3 wrong: must be between 0 and 1
reply = 100 * edge.decision.fraud_probability

# %% ex-07-3 wrong: one number each for one payment
reply = {"inputs": []}

# %% ex-07-3 wrong: It must be one number
reply = edge.verdict
