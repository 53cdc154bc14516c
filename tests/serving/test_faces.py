"""Every way to ask gives the same answer: Keras, ONNX Runtime, the endpoint, the form, the panel, the app."""

import json

import numpy as np
import pytest
import requests

from fraud_demo.app import EXAMPLES, build_app, build_panel, read_values, score_form, start_app
from fraud_demo.core import FEATURE_NAMES, Transaction
from fraud_demo.data import generate_transactions, split_transactions
from fraud_demo.serving import EndpointScorer, LocalScorer
from fraud_demo.training import PARITY_LIMIT, TrainingConfig, build_network, fit_network, to_onnx
from tests.serving.server import NAME, Server, publish, wait_until


@pytest.fixture(scope="module")
def network():
    """A network that learned from 50,000 rows: its probabilities are no longer all alike."""
    split = split_transactions(generate_transactions(50_000, seed=8))
    config = TrainingConfig(epochs=2)
    network = build_network(split.train.features, config)
    fit_network(network, split, config)
    return network


@pytest.fixture(scope="module")
def local(network, tmp_path_factory):
    return LocalScorer(to_onnx(network, tmp_path_factory.mktemp("onnx") / "model.onnx", 0.4), "3")


@pytest.fixture(scope="module")
def endpoint(local, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    publish(folder, "3", local.path.read_bytes())
    with Server(tmp_path_factory.mktemp("log") / "server.log", "--model-dir", folder) as server:
        wait_until(server.is_ready)
        yield EndpointScorer(f"{server.url}/v2/models/{NAME}")


@pytest.fixture(scope="module")
def transactions():
    """The named examples and a thousand random payments."""
    table = generate_transactions(1000, seed=77)[list(FEATURE_NAMES)]
    return [item.transaction for item in EXAMPLES] + [Transaction(*row) for row in table.to_numpy().tolist()]


@pytest.fixture(scope="module")
def expected(local, transactions):
    """What ONNX Runtime says about each payment alone."""
    return [local.decide(transaction).fraud_probability for transaction in transactions]


def test_the_answers_are_worth_comparing(expected):
    assert min(expected) < 0.01 and max(expected) > 0.9 and len(set(expected)) > 800


def test_keras_is_as_near_as_parity_asks(network, transactions, expected):
    rows = np.concatenate([transaction.to_array() for transaction in transactions])
    assert np.abs(network.predict(rows, verbose=0)[:, 0] - expected).max() <= PARITY_LIMIT == 2e-5


def test_endpoint_and_form_agree_to_the_bit(endpoint, transactions, expected):
    results = [score_form(read_values(t), endpoint, is_explained=False) for t in transactions]
    assert [result.decision.fraud_probability for result in results] == expected
    assert [result.decision.fraud_probability for result in results] == [
        endpoint.decide(t).fraud_probability for t in transactions
    ]


def test_panel_agrees_to_the_bit_and_its_reasons_add_up(local, transactions, expected):
    panel = build_panel(local)
    for transaction, probability in zip(transactions, expected, strict=True):
        panel.fill(read_values(transaction))
        panel.button.click()
        reasons = panel.last.reasons
        assert panel.last.decision.fraud_probability == probability
        total = reasons.base + sum(item.amount for item in reasons.contributions)
        assert total == pytest.approx(probability, abs=1e-12)


def test_app_agrees_to_the_bit(endpoint, transactions, expected):
    """Asked as its page asks, which takes a tenth of the time that gradio_client takes."""
    app = build_app(endpoint)
    address = f"{start_app(app)}gradio_api/call/predict"

    def ask(session, transaction):
        call = session.post(address, json={"data": list(read_values(transaction).values())}, timeout=30)
        kind, data = session.get(f"{address}/{call.json()['event_id']}", timeout=30).text.strip().split("\n")
        assert kind == "event: complete", data
        return json.loads(data.removeprefix("data: "))[0]["fraud_probability"]

    try:
        with requests.Session() as session:
            assert [ask(session, transaction) for transaction in transactions] == expected
    finally:
        app.close(verbose=False)
