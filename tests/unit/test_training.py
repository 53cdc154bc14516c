"""The network, its file and the check that they are the same, on few rows."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import openvino
import pytest
import requests
from mlflow.exceptions import MlflowException

from fraud_demo.core import FEATURE_NAMES, InputError, ServiceError, load_settings
from fraud_demo.data import LabeledRows, generate_transactions, split_transactions
from fraud_demo.training import (
    GRAPH_OUTPUTS,
    PARITY_LIMIT,
    Parity,
    TrainingConfig,
    build_network,
    check_graph,
    check_parity,
    draw_rows,
    explain_loss,
    fit_network,
    load_keras,
    make_edge_rows,
    make_judge,
    make_threshold_rows,
    run_onnx,
    run_openvino,
    to_onnx,
    train,
)

QUICK = TrainingConfig(epochs=2, seed=3)


@pytest.fixture(scope="module")
def split():
    return split_transactions(generate_transactions(20_000, seed=5), seed=1)


@pytest.fixture(scope="module")
def trained(split, tmp_path_factory):
    return train(split, QUICK, tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"hidden": ()},
        {"hidden": (32, 0)},
        {"batch_size": -1},
        {"batch_size": 0},
        {"patience": 0},
        {"peak_learning_rate": 0.0},
        {"peak_learning_rate": 2.0},
        {"legitimate_share": 0.0},
        {"legitimate_share": 1.5},
    ],
)
def test_impossible_configuration_is_refused(change):
    with pytest.raises(InputError, match="configuration"):
        TrainingConfig(**change)


@pytest.mark.parametrize(
    ("rows", "batch"), [(1, 1), (40, 40), (12_800, 64), (160_000, 128), (640_000, 512), (10_000_000, 512)]
)
def test_batch_follows_the_rows(rows, batch):
    assert TrainingConfig().rows_per_step(rows) == batch
    assert TrainingConfig(batch_size=32).rows_per_step(rows) == min(32, rows)


def test_file_has_one_input_and_three_outputs_in_order(trained):
    model = onnx.load(trained.onnx_path)
    check_graph(model)
    assert [value.name for value in model.graph.input] == ["dense_input"]
    assert [value.name for value in model.graph.output] == list(GRAPH_OUTPUTS)
    assert [value.type.tensor_type.elem_type for value in model.graph.output] == [1, 7, 1]
    entries = {entry.key: entry.value for entry in model.metadata_props}
    assert re.fullmatch(r"fraud-demo \S+, keras \S+, tf2onnx \S+", entries["versions"])
    assert entries["feature_names"] == ",".join(FEATURE_NAMES)
    assert np.float32(entries["threshold"]) == np.float32(trained.threshold)
    assert entries["data_digest"] == trained.data_digest
    assert [opset.version for opset in model.opset_import if not opset.domain] == [17]


def test_decision_in_the_file_equals_probability_against_threshold(trained, split):
    for run in (run_onnx, run_openvino):
        outputs = run(trained.onnx_path, split.train.features)
        assert np.array_equal(
            outputs["is_fraud"], outputs["fraud_probability"] >= np.float32(trained.threshold)
        )
        assert set(outputs["threshold"]) == {np.float32(trained.threshold)}


@pytest.fixture(scope="module")
def many_rows():
    """A hundred thousand transactions that no model was trained on."""
    return generate_transactions(100_000, seed=8)[list(FEATURE_NAMES)].to_numpy(np.float32)


def test_openvino_agrees_with_onnx_runtime_and_changes_no_decision(trained, many_rows):
    """The hint for 32-bit floats is what makes the cluster's engine agree with the laptop's."""
    ours, theirs = run_onnx(trained.onnx_path, many_rows), run_openvino(trained.onnx_path, many_rows)
    assert list(theirs) == list(ours) == list(GRAPH_OUTPUTS)
    difference = np.abs(theirs["fraud_probability"] - ours["fraud_probability"]).max()
    assert difference <= PARITY_LIMIT
    assert np.array_equal(theirs["is_fraud"], ours["is_fraud"]) and 0 < ours["is_fraud"].sum() < len(
        many_rows
    )
    assert np.array_equal(theirs["threshold"], ours["threshold"])


def test_openvino_without_the_hint_depends_on_the_cpu(trained, many_rows):
    """A CPU with 16-bit instructions gives other probabilities; any other CPU gives the same."""
    model = openvino.Core().compile_model(str(trained.onnx_path), "CPU")
    chosen = model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    probability = model(many_rows)[model.output("fraud_probability")].ravel()
    difference = np.abs(probability - run_onnx(trained.onnx_path, many_rows)["fraud_probability"]).max()
    assert chosen in ("f32", "bf16", "f16")
    assert (difference <= PARITY_LIMIT) == (chosen == "f32")


def test_decision_holds_at_thresholds_equal_to_scores(trained, split, tmp_path):
    network = build_network(split.train.features, QUICK)
    rows = split.test.features[:200]
    first = run_onnx(to_onnx(network, tmp_path / "a.onnx", 0.5), rows)["fraud_probability"]
    for score in first[::40]:
        outputs = run_onnx(to_onnx(network, tmp_path / "b.onnx", float(score)), rows)
        assert np.array_equal(outputs["is_fraud"], first >= score)
        assert outputs["is_fraud"].sum() == (first >= score).sum() > 0


def test_answers_do_not_depend_on_the_batch(trained, split):
    rows = split.test.features[:64]
    together = run_onnx(trained.onnx_path, rows)["fraud_probability"]
    alone = np.concatenate([run_onnx(trained.onnx_path, row[None])["fraud_probability"] for row in rows])
    assert np.array_equal(together, alone)


def test_probabilities_never_leave_their_range(split, tmp_path):
    """The sigmoid of ONNX Runtime gives 1.0000001 for some large sums: the file has to cut that off."""
    network = build_network(split.train.features, QUICK)
    for bias in (-80.0, 12.5, 15.0, 16.5, 18.0, 80.0):
        network.layers[-1].bias.assign([bias])
        outputs = run_onnx(to_onnx(network, tmp_path / "model.onnx", 0.5), split.train.features)
        assert outputs["fraud_probability"].min() >= 0 and outputs["fraud_probability"].max() <= 1, bias


def test_edge_rows_give_finite_answers(trained):
    outputs = run_onnx(trained.onnx_path, make_edge_rows())
    assert np.isfinite(outputs["fraud_probability"]).all()
    assert ((outputs["fraud_probability"] >= 0) & (outputs["fraud_probability"] <= 1)).all()


def test_same_seed_gives_the_same_file(trained, split, tmp_path):
    again = train(split, QUICK, tmp_path)
    assert again.onnx_path.read_bytes() == trained.onnx_path.read_bytes()
    assert again.evaluation == trained.evaluation and again.history == trained.history
    other = train(split, replace(QUICK, seed=4), tmp_path / "other")
    assert other.onnx_path.read_bytes() != trained.onnx_path.read_bytes()


def test_parity_holds_for_its_own_file_and_not_for_another(trained, split, tmp_path):
    assert trained.parity.holds and set(trained.parity.max_abs_error) == {"ONNX Runtime", "OpenVINO"}
    network = build_network(split.train.features, QUICK)
    path = to_onnx(network, tmp_path / "model.onnx", 0.5)
    assert check_parity(network, path, split.test.features).holds
    network.layers[-1].bias.assign_add([0.001])
    assert not check_parity(network, path, split.test.features).holds


def test_one_changed_decision_breaks_parity():
    assert Parity(10, {"a": 1e-9}, {"a": 0}).holds
    assert not Parity(10, {"a": 1e-9}, {"a": 1}).holds
    assert not Parity(10, {"a": 1e-9, "b": 3e-5}, {"a": 0, "b": 0}).holds


def test_failed_parity_refuses_the_model(split, tmp_path, monkeypatch):
    import fraud_demo.training as training

    monkeypatch.setattr(
        training, "check_parity", lambda *_: Parity(10, {"ONNX Runtime": 0.1}, {"ONNX Runtime": 3})
    )
    with pytest.raises(InputError, match="does not agree"):
        train(split, replace(QUICK, epochs=1), tmp_path)
    assert not list(tmp_path.iterdir())  # nobody can serve a file that was refused


def test_threshold_rows_lie_next_to_the_threshold(trained, split):
    network = build_network(split.train.features, QUICK)
    threshold = float(np.median(network(split.test.features, training=False)))
    rows = make_threshold_rows(network, split.test.features, threshold)
    below, above = np.split(network(rows, training=False).numpy()[:, 0], 2)
    assert len(below) == 64 and (below < threshold).all() and (above >= threshold).all()
    assert np.median(above - below) < 1e-6
    assert len(make_threshold_rows(network, split.test.features, 2.0)) == 0


def test_parity_covers_every_row_of_the_table(trained, split):
    assert trained.parity.rows > len(split.train) + len(split.validation) + len(split.test) == 20_000


def test_training_stops_when_it_gets_no_better_and_keeps_the_best(split):
    """Labels by chance: what the network learns by heart makes it worse on other rows."""
    rng = np.random.default_rng(0)

    def toss(rows):
        return LabeledRows(rows.features, rng.integers(0, 2, len(rows)).astype(np.int8))

    few = LabeledRows(split.train.features[:500], split.train.labels[:500])
    chance = replace(split, train=toss(few), validation=toss(split.validation))
    config = TrainingConfig(epochs=60, seed=3, patience=2)
    network = build_network(few.features, config)
    history = fit_network(network, chance, config)
    assert 36 < len(history["val_loss"]) < 60
    loss, _ = make_judge(network, chance.validation)()
    assert float(loss) == pytest.approx(min(history["val_loss"][36:]))


def test_an_epoch_takes_every_fraud_and_a_share_of_the_others(split):
    rng = np.random.default_rng(0)
    first, second = (draw_rows(split.train, 0.5, rng) for _ in range(2))
    frauds = np.flatnonzero(split.train.labels == 1)
    for drawn in (first, second):
        assert (
            len(np.unique(drawn)) == len(drawn) == len(frauds) + round((len(split.train) - len(frauds)) / 2)
        )
        assert np.isin(frauds, drawn).all()
    assert set(first) != set(second)


def test_a_tiny_table_trains_although_an_epoch_draws_less_than_a_batch():
    split = split_transactions(generate_transactions(90, seed=5), seed=1)
    assert len(draw_rows(split.train, 0.5, np.random.default_rng(0))) < QUICK.rows_per_step(len(split.train))
    history = fit_network(build_network(split.train.features, QUICK), split, QUICK)
    assert len(history["loss"]) == 2 and np.isfinite(history["val_loss"]).all()


def test_undersampling_leaves_the_probabilities_as_they_are_in_life(split):
    """Of all test rows, the mean probability is the share of fraud, whatever the epochs took."""
    for share in (1.0, 0.3):
        config = TrainingConfig(epochs=6, seed=3, legitimate_share=share)
        network = build_network(split.train.features, config)
        fit_network(network, split, config)
        mean = network.predict(split.test.features, verbose=0).mean()
        assert mean == pytest.approx(split.test.labels.mean(), rel=0.1), share


def test_training_reports_each_epoch_and_feeds_callbacks(split, tmp_path):
    keras = load_keras()

    class Listener(keras.callbacks.Callback):
        heard = []

        def on_train_begin(self, logs=None):
            self.heard.append("begin")

        def on_epoch_end(self, epoch, logs=None):
            self.heard.append((epoch, sorted(logs)))

        def on_train_end(self, logs=None):
            self.heard.append("end")

    told = []
    train(split, QUICK, tmp_path, lambda epoch, logs: told.append((epoch, logs["loss"])), [Listener()])
    names = ["accuracy", "loss", "val_accuracy", "val_loss"]
    assert Listener.heard == ["begin", (0, names), (1, names), "end"]
    assert [epoch for epoch, _ in told] == [0, 1] and told[1][1] < told[0][1]


def test_seed_decides_in_every_process(trained):
    """The same file from another process, down to the byte."""
    code = (
        "import hashlib, tempfile, pathlib\n"
        "from fraud_demo.data import LabeledRows, generate_transactions, split_transactions\n"
        "from fraud_demo.training import TrainingConfig, train\n"
        "split = split_transactions(generate_transactions(20_000, seed=5), seed=1)\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    path = train(split, TrainingConfig(epochs=2, seed=3), pathlib.Path(folder)).onnx_path\n"
        "    print(hashlib.sha256(path.read_bytes()).hexdigest())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(trained.onnx_path.read_bytes()).hexdigest()
    assert done.stderr == ""


def test_history_has_one_figure_per_epoch(trained):
    assert {name: len(values) for name, values in trained.history.items()} == dict.fromkeys(
        ("loss", "accuracy", "val_loss", "val_accuracy"), 2
    )


def test_nothing_half_written_is_left(trained):
    assert [path.name for path in trained.onnx_path.parent.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("trouble", "what", "words"),
    [
        (OSError(28, "No space left on device", "model.onnx"), "The run's files could not be kept.", "model.onnx cannot be written: No space left on device."),
        (requests.ConnectionError("refused"), "MLflow did not keep the run.", "refused."),
        (MlflowException("500: the disk\nis full"), "MLflow did not keep the run.", "500: the disk is full."),
    ],
    ids=["disk", "connection", "server"],
)  # fmt: skip
def test_a_run_that_cannot_be_kept_is_explained(trouble, what, words):
    with pytest.raises(ServiceError) as told, explain_loss(load_settings()):
        raise trouble
    assert (told.value.what, told.value.why) == (what, words)
    assert "run this cell again" in told.value.fix


@pytest.mark.parametrize("change", [{"epochs": 2.5}, {"epochs": float("nan")}, {"batch_size": 20.5},
                                    {"hidden": (4.0,)}, {"batch_size": 0}])  # fmt: skip
def test_sizes_that_are_no_whole_numbers_are_refused(change):
    with pytest.raises(InputError, match="cannot work"):
        TrainingConfig(**change)


def test_numbers_of_numpy_and_a_single_step_are_enough(tmp_path):
    config = TrainingConfig(hidden=(np.int64(4),), epochs=np.int64(1), batch_size=10_000)
    assert config.hidden == (4,)
    split = split_transactions(generate_transactions(2000, 2))
    trained = train(split, config, tmp_path)
    assert trained.onnx_path.is_file()
