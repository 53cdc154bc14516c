"""The gate's rules and the pointer, without servers; the road's tests use real ones."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest
from onnx import TensorProto, helper, save

from fraud_demo.core import FEATURE_NAMES, MissingStepError, ServiceError, load_settings
from fraud_demo.data import generate_transactions, split_transactions
from fraud_demo.evaluation import DecisionCost
from fraud_demo.registry import (
    ModelVersion,
    Promotion,
    check_rules,
    connect_bucket,
    publish,
    wait_for_version,
)

COST = DecisionCost()


@pytest.fixture(scope="module")
def split():
    return split_transactions(generate_transactions(5_000, seed=2), seed=1)


def write_model(
    path, weight: float, threshold: float, outputs=("fraud_probability", "is_fraud", "threshold")
):
    """Write a graph that looks at the price only; a larger weight cuts more sharply at 3.5 times the usual price."""
    weights = np.zeros((7, 1), np.float32)
    weights[2] = weight
    constants = {"w": weights, "b": np.float32([-3.5 * weight]), "t": np.float32([threshold])}
    nodes = [
        helper.make_node("Gemm", ["dense_input", "w", "b"], ["z"]),
        helper.make_node("Sigmoid", ["z"], [outputs[0]]),
        helper.make_node("GreaterOrEqual", [outputs[0], "t"], ["flag"]),
        helper.make_node("Cast", ["flag"], [outputs[1]], to=TensorProto.INT64),
        helper.make_node("Sub", [outputs[0], outputs[0]], ["zero"]),
        helper.make_node("Add", ["zero", "t"], [outputs[2]]),
    ]
    shape = [None, 1]
    graph = helper.make_graph(
        nodes, "price",
        [helper.make_tensor_value_info("dense_input", TensorProto.FLOAT, [None, 7])],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind in
         zip(outputs, (TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT), strict=True)],
        [helper.make_tensor(name, TensorProto.FLOAT, value.shape, value.ravel()) for name, value in constants.items()],
    )  # fmt: skip
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def make_version(path, digest_of_rows, parity="1e-07", version="1"):
    tags = {
        "onnx_digest": hashlib.sha256(path.read_bytes()).hexdigest(),
        "split_digest": digest_of_rows,
        "parity_max_abs_error": parity,
        "parity_changed_decisions": "0.0",
    }
    return ModelVersion(version, path, 0.5, {}, tags)


def verdicts(rules):
    return {rule.name: rule.passed for rule in rules}


def test_first_version_must_beat_never(split, tmp_path):
    good = make_version(write_model(tmp_path / "good.onnx", 4.0, 0.5), split.digest)
    assert verdicts(check_rules(good, None, split, COST)) == {
        "same file": True, "signature": True, "same rows": True, "parity": True, "cost": True}  # fmt: skip
    never = make_version(write_model(tmp_path / "never.onnx", 4.0, 2.0), split.digest)
    assert verdicts(check_rules(never, None, split, COST))["cost"] is False


def test_worse_model_is_refused_and_equal_one_passes(split, tmp_path):
    champion = make_version(write_model(tmp_path / "champion.onnx", 4.0, 0.5), split.digest)
    worse = make_version(write_model(tmp_path / "worse.onnx", -4.0, 0.5), split.digest, version="2")
    assert verdicts(check_rules(champion, champion, split, COST))["cost"] is True
    rules = check_rules(worse, champion, split, COST)
    assert [name for name, passed in verdicts(rules).items() if not passed] == ["cost"]
    text = str(Promotion("2", "1", rules, promoted=False))
    assert re.fullmatch(
        r"Version 2 is refused\. cost: [\d.]+ per 1,000, allowed at most [\d.]+, as version 1\.", text
    )


@pytest.mark.parametrize(
    ("change", "rule"),
    [({"parity_max_abs_error": "0.001"}, "parity"), ({"parity_max_abs_error": "nan"}, "parity"),
     ({"parity_changed_decisions": "1.0"}, "parity"), ({"onnx_digest": "0" * 64}, "same file"),
     ({"split_digest": "other"}, "same rows")],
)  # fmt: skip
def test_each_rule_refuses_by_its_own_name(split, tmp_path, change, rule):
    version = make_version(write_model(tmp_path / "model.onnx", 4.0, 0.5), split.digest)
    rules = check_rules(
        ModelVersion(version.version, version.onnx_path, 0.5, {}, {**version.tags, **change}),
        None,
        split,
        COST,
    )
    refused = [name for name, passed in verdicts(rules).items() if not passed]
    assert refused == ([rule, "cost"] if rule == "same file" else [rule])  # what is not ours is not run


def test_missing_tags_refuse(split, tmp_path):
    bare = ModelVersion("1", write_model(tmp_path / "model.onnx", 4.0, 0.5), 0.5, {}, {})
    assert verdicts(check_rules(bare, None, split, COST)) == {
        "same file": False, "signature": True, "same rows": False, "parity": False, "cost": False}  # fmt: skip


def test_changed_signature_is_refused_and_never_run(split, tmp_path):
    renamed = write_model(tmp_path / "renamed.onnx", 4.0, 0.5, outputs=("score", "is_fraud", "threshold"))
    rules = check_rules(make_version(renamed, split.digest), None, split, COST)
    assert [name for name, passed in verdicts(rules).items() if not passed] == ["signature", "cost"]
    assert "'score'" in rules[1].measured and rules[-1].measured == "not run"


def test_file_that_is_no_onnx_is_refused(split, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("not a model")
    rules = check_rules(make_version(path, split.digest), None, split, COST)
    assert rules[1].measured.startswith("unreadable: ") and not rules[1].passed


def test_the_verdict_is_kept_as_tags(split, tmp_path):
    good = make_version(write_model(tmp_path / "good.onnx", 4.0, 0.5), split.digest)
    rules = check_rules(good, None, split, COST)
    tags = Promotion("1", None, rules, promoted=True).to_tags()
    assert tags["gate"] == "passed" and tags["gate.against"] == "nothing"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", tags["gate.passed_at"])
    assert json.loads(tags["gate.same_file"])["passed"] is True
    bad = make_version(tmp_path / "good.onnx", "other rows")
    refused = Promotion("2", "1", check_rules(bad, good, split, COST), promoted=False)
    assert refused.refused == ("same rows",) and refused.to_tags()["gate"] == "refused"
    assert "gate.passed_at" not in refused.to_tags(), "an older pass stays what it was"


def test_what_never_passed_the_gate_is_not_published(tmp_path, monkeypatch):
    import fraud_demo.registry as registry

    settings = load_settings({"FRAUD_DEMO_HOME": str(tmp_path), "AWS_S3_ENDPOINT": "http://127.0.0.1:9"})
    for tags, word in (({}, "not judged"), ({"gate": "refused"}, "refused")):
        version = ModelVersion("3", tmp_path / "model.onnx", 0.5, {}, tags)
        monkeypatch.setattr(registry, "load_version", lambda *_, version=version: version)
        with pytest.raises(MissingStepError, match=f"The gate has {word} it") as caught:
            publish(settings, "3")
        assert caught.value.what == "Version 3 may not be published."


def test_no_object_store_names_the_command(tmp_path):
    settings = load_settings({"FRAUD_DEMO_HOME": str(tmp_path)})
    with pytest.raises(MissingStepError, match="fraud-demo up"):
        connect_bucket(settings)


def test_object_store_down_is_said_in_sentences(tmp_path, monkeypatch):
    import fraud_demo.registry as registry

    settings = load_settings({"FRAUD_DEMO_HOME": str(tmp_path), "AWS_S3_ENDPOINT": "http://127.0.0.1:9",
                              "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "marked-secret"})  # fmt: skip
    tags = {"gate.passed_at": "2026-01-01T00:00:00Z"}
    version = ModelVersion("1", write_model(tmp_path / "model.onnx", 4.0, 0.5), 0.5, {}, tags)
    monkeypatch.setattr(registry, "load_version", lambda *_: version)
    with pytest.raises(ServiceError, match="object store does not answer") as caught:
        publish(settings, "1")
    assert "marked-secret" not in str(caught.value)


def test_model_server_down_is_said_in_sentences():
    with pytest.raises(ServiceError, match="does not serve version 3 of credit-card-fraud"):
        wait_for_version("http://127.0.0.1:9", "credit-card-fraud", "3", timeout_s=0.6)


def test_feature_order_is_the_models():
    assert FEATURE_NAMES[2] == "ratio_to_median_purchase_price"  # write_model above relies on it
