"""The alert rules: each expression is PromQL, and asks for what a server, the monitor or the platform really says."""

from __future__ import annotations

import os

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fraud_demo.core import LABEL
from fraud_demo.data import generate_transactions
from fraud_demo.details.monitor import write_metrics
from fraud_demo.monitoring import watch
from tests.deploy.manifests import find, render
from tests.serving.server import NAME, Server, make_body, publish, wait_until

OVMS = {  # of the default list in OpenVINO Model Server's page on metrics, with the labels of its sample output
    name: {"api", "interface", "method", "name", "version"}
    for name in ("ovms_requests_success", "ovms_requests_fail")
}


@pytest.fixture(scope="module")
def promql():
    """The parser of Prometheus' language, from the requirements of the tests."""
    try:
        import promql_parser
    except ImportError:
        reason = "promql-parser is not installed: `make test` installs it"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    return promql_parser


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Return metric to labels and their values: of a running model server, of the monitor, of OpenVINO Model Server."""
    folder = tmp_path_factory.mktemp("served")
    publish(folder, "3")
    with Server(folder / "log", "--model-dir", folder, "--log-predictions", folder / "predictions") as server:
        wait_until(server.is_ready)
        server.post(f"/v2/models/{NAME}/infer", json=make_body()).raise_for_status()
        text = server.ask("/metrics").text
    rows = generate_transactions(3000, seed=1)
    scored = rows.assign(fraud_probability=rows[LABEL].astype(np.float32), is_fraud=rows[LABEL] == 1)
    import pandas as pd

    text += write_metrics(watch(scored, scored.assign(at=pd.Timestamp("2026-03-01", tz="UTC"))))
    found = {name: {label: None for label in labels} for name, labels in OVMS.items()}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


def list_rules():
    """Return the rules, which are the same on every platform that has them."""
    first, second = (
        find(render(name), "PrometheusRule", NAME)["spec"] for name in ("kserve", "openshift-ai-3")
    )
    assert first == second
    return [rule for group in first["groups"] for rule in group["rules"]]


def list_parts(node):
    """Return an expression and all within it."""
    inner = [getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector")]
    inner += getattr(node, "args", None) or []
    return [node, *(part for child in inner if child is not None for part in list_parts(child))]


@pytest.mark.parametrize("rule", list_rules(), ids=lambda rule: rule["alert"])
def test_rule_asks_for_what_exists(promql, known, rule):
    parts = list_parts(promql.parse(rule["expr"]))
    selectors = [part for part in parts if isinstance(part, promql.VectorSelector)]
    assert selectors
    for selector in selectors:
        assert selector.name in known, selector.name
        for matcher in selector.matchers.matchers:
            values = known[selector.name]
            assert matcher.name in values and (
                values[matcher.name] is None or matcher.value in values[matcher.name]
            )
    for part in parts:
        if isinstance(part, promql.AggregateExpr) and part.modifier:
            within = [inner.name for inner in list_parts(part) if isinstance(inner, promql.VectorSelector)]
            assert within and all(set(part.modifier.labels) <= set(known[name]) for name in within)


def test_rules_say_what_to_do():
    names = [rule["alert"] for rule in list_rules()]
    assert len(names) == len(set(names)) >= 6
    for rule in list_rules():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}


@pytest.mark.parametrize("wrong", ["sum(", "rate(up)", "up[5m] > 1"])
def test_parser_refuses_what_is_no_promql(promql, wrong):
    with pytest.raises(ValueError, match=".+"):
        promql.parse(wrong)
