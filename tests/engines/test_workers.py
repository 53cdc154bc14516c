"""Real processes: two workers equal one, a killed one is noticed and the rest made up for, a search is tracked."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import requests

from fraud_demo import training, workers
from fraud_demo.core import ServiceError, load_settings
from fraud_demo.data import generate_transactions, split_transactions
from fraud_demo.details.processes import write_job
from fraud_demo.details.trials import search_recipes
from fraud_demo.details.worker_group import WorkerGroup, fit_on_workers
from fraud_demo.training import TrainingConfig, build_network, fit_network, load_keras
from fraud_demo.workers import (
    CHECKPOINT,
    ClusterSpec,
    fit_as_worker,
    identify_job,
    join_cluster,
    load_checkpoint,
    make_recipes,
)

ALONE = ClusterSpec(("127.0.0.1:0",), 0)
CONFIG = TrainingConfig(hidden=(32, 32), epochs=4, batch_size=128, peak_learning_rate=2e-2)
NOTICED_S = 10.0  # it was 0.2 s, and 12 s for a worker that hangs


@pytest.fixture(scope="module")
def split():
    """20,000 rows."""
    return split_transactions(generate_transactions(20_000, seed=0))


@pytest.fixture(scope="module")
def alone(split):
    """What lesson 04's loop makes of them in one process: curve and weights."""
    network = build_network(split.train.features, CONFIG)
    return fit_network(network, split, CONFIG), network.get_weights()


def check_curve(history, expected, limit=1e-4):
    """Two curves are of the same length and nowhere further apart than the limit."""
    for name in ("loss", "val_loss", "accuracy", "val_accuracy"):
        assert len(history[name]) == len(expected[name]), name
        assert np.abs(np.subtract(history[name], expected[name])).max() < limit, name


def test_two_workers_equal_one_even_when_one_is_killed(split, alone, tmp_path):
    write_job(tmp_path, split, CONFIG)
    with pytest.raises(ServiceError) as caught, WorkerGroup(tmp_path, 2) as group:
        for epoch, _ in group.follow():
            if epoch == 1:
                os.kill(group.processes[1].pid, signal.SIGKILL)
                killed_at = time.monotonic()
    assert time.monotonic() - killed_at < NOTICED_S
    assert caught.value.what == "Worker 1 of 2 was ended by SIGKILL."
    assert "goes on from the last checkpoint" in caught.value.fix
    assert all(process.poll() is not None for process in group.processes)
    _, notes = load_checkpoint(tmp_path / CHECKPOINT, identify_job(split, CONFIG))
    assert 2 <= len(notes["history"]["loss"]) < CONFIG.epochs and not notes["is_done"]

    seen = []
    listener = load_keras().callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(epoch))
    network = build_network(split.train.features, CONFIG)
    history = fit_on_workers(network, split, CONFIG, [listener], folder=tmp_path)
    assert seen == list(range(len(notes["history"]["loss"]), CONFIG.epochs)), "only what was missing"
    expected, weights = alone
    check_curve(history, expected)
    assert max(np.abs(a - b).max() for a, b in zip(network.get_weights(), weights, strict=True)) < 1e-3

    start = time.monotonic()
    assert fit_on_workers(network, split, CONFIG, folder=tmp_path) == history
    assert time.monotonic() - start < 5, "a training that is done starts no process"


def test_one_worker_stops_and_goes_on_as_the_loop_of_lesson_04(split, tmp_path, monkeypatch):
    """Early stopping, its best weights and the optimizer's memory survive a break at any epoch."""
    keras = load_keras()

    def make_stop(config):
        return keras.callbacks.EarlyStopping("val_loss", min_delta=1, patience=4, restore_best_weights=True)

    def break_at(number):
        def break_off(epoch, logs):
            if epoch == number:
                raise KeyboardInterrupt

        def break_at_end(logs):
            if number == "end":
                raise KeyboardInterrupt

        return keras.callbacks.LambdaCallback(on_epoch_end=break_off, on_train_end=break_at_end)

    for module in (training, workers):
        monkeypatch.setattr(module, "make_stop", make_stop)
    config = replace(CONFIG, epochs=8)
    network = build_network(split.train.features, config)
    expected = fit_network(network, split, config)
    assert len(expected["loss"]) == 5, "nothing is better by 1 than the first epoch"
    own = {"strategy": join_cluster(ALONE), "cluster": ALONE, "folder": tmp_path}
    for number in (2, 3, "end"):  # the second run repeats the epoch that was not kept
        with pytest.raises(KeyboardInterrupt):
            twin = build_network(split.train.features, config)
            fit_as_worker(twin, split, config, [break_at(number)], **own)
    twin = build_network(split.train.features, config)
    check_curve(fit_as_worker(twin, split, config, **own), expected)
    pairs = zip(twin.get_weights(), network.get_weights(), strict=True)
    assert max(np.abs(a - b).max() for a, b in pairs) < 1e-4


def test_search_is_one_run_with_children(stack, split, tmp_path):
    settings = replace(load_settings(stack.environ), seat="search")
    recipes = make_recipes(replace(CONFIG, epochs=1), hidden=((8,), (16,)))
    recipes["seed=-1"] = replace(CONFIG, seed=-1)
    search = search_recipes(settings, split, recipes, tmp_path)
    assert [bool(trial.error) for trial in search.trials] == [False, False, True]
    api = f"{stack.url('mlflow')}/api/2.0/mlflow"
    experiment = requests.get(
        f"{api}/experiments/get-by-name",
        params={"experiment_name": "DNN-credit-card-fraud-search-search"},
        timeout=30,
    ).json()["experiment"]["experiment_id"]
    runs = requests.post(f"{api}/runs/search", json={"experiment_ids": [experiment]}, timeout=30).json()[
        "runs"
    ]
    tags = {run["info"]["run_id"]: {t["key"]: t["value"] for t in run["data"]["tags"]} for run in runs}
    status = {run["info"]["run_name"]: run["info"]["status"] for run in runs}
    assert status == {"search of 3 recipes": "FINISHED", "hidden=(8,)": "FINISHED", "hidden=(16,)": "FINISHED",
                      "seed=-1": "FAILED"}  # fmt: skip
    assert all(tags[t.run_id]["mlflow.parentRunId"] == search.run_id for t in search.trials)
    assert tags[search.run_id]["best_run"] == search.best.run_id
    assert "Seed" in tags[search.trials[2].run_id]["error"]
    [logged] = [run["data"] for run in runs if run["info"]["run_id"] == search.best.run_id]
    metrics = {metric["key"]: metric["value"] for metric in logged["metrics"]}
    assert metrics == pytest.approx(search.best.figures)
    assert {"hidden", "missed_fraud", "seed"} <= {param["key"] for param in logged["params"]}
