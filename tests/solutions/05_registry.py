"""Answers to the exercises of lesson 05: the solution, other right ones, and wrong ones with words of their feedback."""

# %% ex-05-1
import re

refusal = {"promotion": promote(settings, register_worse(), split, cost), "rule": "cost"}
measured, limit = (
    float(re.search(r"\d+\.\d+", text)[0]) for text in refusal["promotion"].table.rows[-1][1:3]
)
refusal["too_much"] = measured - limit

# %% ex-05-1 also
row = replace(refused.rules[4], measured="7.25 per 1,000", limit="at most 2.25, as version 1")
refusal = {
    "promotion": replace(refused, version="7", rules=(*refused.rules[:4], row)),
    "rule": "Cost",
    "too_much": np.float32(5),
}

# %% ex-05-1 wrong: Subtract the limit
row = replace(refused.rules[4], measured="7.25 per 1,000", limit="at most 2.25, as version 1")
refusal = {
    "promotion": replace(refused, version="7", rules=(*refused.rules[:4], row)),
    "rule": "cost",
    "too_much": 7.25,
}

# %% ex-05-1 wrong: what was measured first
row = replace(refused.rules[4], measured="7.25 per 1,000", limit="at most 2.25, as version 1")
refusal = {
    "promotion": replace(refused, version="7", rules=(*refused.rules[:4], row)),
    "rule": "cost",
    "too_much": -5.0,
}

# %% ex-05-1 wrong: Give two decimals
row = replace(refused.rules[4], measured="7.25 per 1,000", limit="at most 2.29, as version 1")
refusal = {
    "promotion": replace(refused, version="7", rules=(*refused.rules[:4], row)),
    "rule": "cost",
    "too_much": 5.0,
}

# %% ex-05-1 wrong: what was measured minus the limit
row = replace(refused.rules[4], measured="7.25 per 1,000", limit="at most 2.25, as version 1")
refusal = {
    "promotion": replace(refused, version="7", rules=(*refused.rules[:4], row)),
    "rule": "cost",
    "too_much": 3.22,
}

# %% ex-05-1 wrong: The rule parity passed
refusal = {"promotion": replace(refused, version="7"), "rule": "parity", "too_much": 1.0}

# %% ex-05-1 wrong: The gate has the rules
refusal = {"promotion": replace(refused, version="7"), "rule": "accuracy", "too_much": 1.0}

# %% ex-05-1 wrong: never registered
refusal = {"promotion": refused, "rule": "cost", "too_much": 1.0}

# %% ex-05-1 wrong: passed the gate
refusal = {"promotion": replace(refused, version="7", promoted=True), "rule": "cost", "too_much": 1.0}

# %% ex-05-1 wrong: not its table
refusal = {"promotion": refused.table, "rule": "cost", "too_much": 1.0}

# %% ex-05-1 wrong: The answer has the parts
refusal = replace(refused, version="7")

# %% ex-05-2
source = client.get_model_version(settings.registered_name, champion.version).source
folder = source.removeprefix("models:/")
keys = {
    "published": f"{prefix}/{champion.version}/model.onnx",
    "mlflow": next(key for key in dict(files) if f"/{folder}/" in key),
}

# %% ex-05-2 also
where = client.get_model_version_download_uri(settings.registered_name, champion.version)
keys = {
    "published": f"s3://{settings.object_store.bucket}/{prefix}/{champion.version}/model.onnx",
    "mlflow": f"{where}/artifacts/model.onnx",
}

# %% ex-05-2 wrong: no model file
keys = {"published": prefix, "mlflow": next(key for key in dict(files) if "/models/m-" in key)}

# %% ex-05-2 wrong: Both keys are the same
keys = dict.fromkeys(("published", "mlflow"), f"{prefix}/{champion.version}/model.onnx")

# %% ex-05-2 wrong: That is the published copy
keys = {
    "published": next(key for key in dict(files) if "/models/m-" in key),
    "mlflow": f"{prefix}/{champion.version}/model.onnx",
}

# %% ex-05-2 wrong: not where version
keys = {
    "published": f"{prefix}/model.onnx",
    "mlflow": next(key for key in dict(files) if "/models/m-" in key),
}

# %% ex-05-2 wrong: has no object with this key
keys = {"published": f"{prefix}/{champion.version}/model.onnx", "mlflow": "1/models/m-1/artifacts/model.onnx"}

# %% ex-05-2 wrong: other bytes
write_once(settings, "exercise/model.onnx", b"another model")
keys = {"published": f"{prefix}/{champion.version}/model.onnx", "mlflow": "exercise/model.onnx"}

# %% ex-05-2 wrong: A key is a text
keys = {"published": f"{prefix}/{champion.version}/model.onnx", "mlflow": files[0]}

# %% ex-05-3
serves = {"A": 3, "B": 2, "C": 3}

# %% ex-05-3 also
serves = {"A": "3", "B": "version 2", "C": np.int64(3)}

# %% ex-05-3 wrong: what a refusal changes
serves = {"A": 4, "B": 3, "C": 2}

# %% ex-05-3 wrong: right before version 3
serves = {"A": 3, "B": 1, "C": 1}

# %% ex-05-3 wrong: is a turn, too
serves = {"A": 3, "B": 2, "C": 1}

# %% ex-05-3 wrong: number of a version
serves = {"A": "champion", "B": "previous", "C": "challenger"}

# %% ex-05-3 wrong: number of a version
serves = {"A": -3, "B": -2, "C": -3}

# %% ex-05-3 wrong: no answer for C
serves = {"A": 3, "B": 2}
