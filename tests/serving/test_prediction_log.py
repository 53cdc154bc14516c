"""The prediction log of a real server: what is in it, what is left out, and what happens when it cannot be written."""

import os
import shutil
import subprocess
import time

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fraud_demo.core import FEATURE_NAMES, load_settings
from fraud_demo.data import generate_transactions
from fraud_demo.details.prediction_log import FolderParts, read_log
from fraud_demo.serving import EndpointScorer, GrpcScorer, ask_for
from tests.serving.server import NAME, ObjectStore, Server, make_body, make_onnx, publish, wait_until

INFER = f"/v2/models/{NAME}/infer"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("published")
    publish(folder, "3")
    return folder


def make_rows(n):
    "Make payments that differ."
    return generate_transactions(n, seed=0)[list(FEATURE_NAMES)].to_numpy(np.float32)


def start(folder, tmp_path, place=None, **environ):
    "Start a server with a log."
    return Server(
        tmp_path / "server.log",
        "--model-dir",
        folder,
        "--log-predictions",
        place or tmp_path / "log",
        "--log-rows-per-request",
        1_000_000,
        "--log-rows-per-second",
        1_000_000,
        "--log-seconds",
        0.3,
        **environ,
    )


def read_count(server, name):
    "Read a number of the log from /metrics."
    families = text_string_to_metric_families(server.ask("/metrics").text)
    [value] = [s.value for family in families for s in family.samples if s.name in (name, f"{name}_total")]
    return value


def ask(server, name=None, rows=1, **options):
    "Ask for rows that differ, with a request id."
    data = (np.arange(7 * rows, dtype=np.float32) / (7 * rows)).tolist()
    body = {"inputs": [{"name": "dense_input", "shape": [rows, 7], "datatype": "FP32", "data": data}]}
    answer = server.post(INFER, json=body | ({"id": name} if name else {}), **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_prediction_is_kept_with_what_was_answered(folder, tmp_path):
    with start(folder, tmp_path) as server:
        wait_until(server.is_ready)
        first = ask(server, "mine-1", rows=3)
        given = ask(server, headers={"X-Request-ID": "header-1"})
        own = ask(server)
        private = ask(server, "Jane Doe, card 4929 1234")
        body = make_body() | {"outputs": [{"name": "threshold"}]}
        server.post(INFER, json=body | {"id": "threshold-only"}).raise_for_status()
        scorer = GrpcScorer(server.grpc_url, NAME)
        features = make_rows(10_000)
        many = scorer.score(features)
        assert server.post(INFER, json={"inputs": []}).status_code == 400
        assert server.stop() == 0
    found = read_log(tmp_path / "log", settings=load_settings())
    assert len(found) == 3 + 1 + 1 + 1 + 1 + 10_000
    rows = found[found["request_id"] == "mine-1"]
    assert (
        rows["row"].tolist() == [0, 1, 2]
        and set(rows["model"]) == {NAME}
        and set(rows["model_version"]) == {"3"}
    )
    outputs = {output["name"]: output["data"] for output in first["outputs"]}
    assert rows["fraud_probability"].tolist() == np.float32(outputs["fraud_probability"]).tolist()
    assert rows["is_fraud"].tolist() == [bool(value) for value in outputs["is_fraud"]]
    names = set(found["request_id"])
    assert {"header-1", "threshold-only", own["id"]} <= names and given["id"] == "header-1"
    assert private["id"] not in names and not any(" " in name for name in names), "a strange id is not kept"
    [big] = [part for _, part in found.groupby("request_id") if len(part) == 10_000]
    big = big.sort_values("row")
    assert (big[list(FEATURE_NAMES)].to_numpy() == features).all()
    assert (big["fraud_probability"].to_numpy() == many.fraud_probability).all()
    assert "10007 rows were logged, 0 dropped" in server.log.read_text()


def test_of_a_batch_a_sample_is_kept_unless_told_otherwise(folder, tmp_path):
    with Server(
        tmp_path / "server.log", "--model-dir", folder, "--log-predictions", tmp_path / "log"
    ) as server:
        wait_until(server.is_ready)
        EndpointScorer(server.url).score(make_rows(10_000))
        assert read_count(server, "prediction_log_rows_left_out") == 9_900
        server.stop()
    assert len(read_log(tmp_path / "log")) == 100


def test_what_is_no_prediction_is_left_out(folder, tmp_path):
    with start(folder, tmp_path) as server:
        wait_until(server.is_ready)
        for scorer in (EndpointScorer(server.url), GrpcScorer(server.grpc_url, NAME)):
            with ask_for("explanation"):
                scorer.score(np.ones((60, 7), np.float32))
            scorer.score(np.ones((2, 7), np.float32))
        server.stop()
    assert len(read_log(tmp_path / "log")) == 4


def test_without_the_option_nothing_is_written(folder, tmp_path):
    with Server(tmp_path / "server.log", "--model-dir", folder) as server:
        wait_until(server.is_ready)
        ask(server)
        assert "prediction_log" not in server.ask("/metrics").text
    with Server(
        tmp_path / "other.log", "--model-dir", folder, FRAUD_DEMO_PREDICTION_LOG=str(tmp_path / "env")
    ) as server:
        wait_until(server.is_ready)
        ask(server)
        server.stop()
    assert len(read_log(tmp_path / "env")) == 1


def test_a_model_of_another_kind_is_served_and_not_logged(folder, tmp_path):
    from onnx import load_from_string

    other = load_from_string(make_onnx())
    for node in other.graph.node:
        node.output[:] = ["verdict" if name == "is_fraud" else name for name in node.output]
    next(output for output in other.graph.output if output.name == "is_fraud").name = "verdict"
    publish(tmp_path / "models", "3", other.SerializeToString())
    with start(tmp_path / "models", tmp_path) as server:
        wait_until(server.is_ready)
        ask(server)
        server.stop()
    assert len(read_log(tmp_path / "log")) == 0


def test_a_killed_server_leaves_whole_parts_and_the_next_goes_on(folder, tmp_path):
    with start(folder, tmp_path) as server:
        wait_until(server.is_ready)
        ask(server, "before", rows=2)
        wait_until(lambda: read_count(server, "prediction_log_rows_written") == 2)
        ask(server, "lost")
        server.process.kill()
        server.process.wait(10)
    with start(folder, tmp_path) as server:
        wait_until(server.is_ready)
        ask(server, "after")
        server.stop()
    found = read_log(tmp_path / "log")
    assert found["request_id"].tolist() == ["before", "before", "after"] and not found.attrs["unreadable"]
    assert not [
        path
        for path in (tmp_path / "log").iterdir()
        if path.name not in dict(FolderParts(tmp_path / "log").list())
    ]


@pytest.fixture
def small_disk(tmp_path):
    "A filesystem of its own with 256 KB."
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place]
    if (
        os.geteuid()
        or not shutil.which("mount")
        or subprocess.run(command, capture_output=True, check=False).returncode
    ):
        yield None  # no right to mount: the limit of a file's size stands in
        return
    yield place
    subprocess.run(["umount", place], check=False)


def test_a_full_disk_costs_rows_and_no_request(folder, tmp_path, small_disk):
    if small_disk is None:
        place, broken = tmp_path / "file" / "log", tmp_path / "file"
        broken.write_text("a file where the folder should be")
    else:
        place, broken = small_disk / "log", None
        (small_disk / "ballast").write_bytes(bytes(250_000))
    with start(folder, tmp_path, place) as server:
        wait_until(server.is_ready)
        scorer = EndpointScorer(server.url)
        features = make_rows(400_000)
        for _ in range(3):
            assert len(scorer.score(features)) == 400_000
        wait_until(lambda: read_count(server, "prediction_log_failing") == 1)
        assert read_count(server, "prediction_log_rows_written") == 0
        dropped, waiting = (
            read_count(server, f"prediction_log_rows_{name}") for name in ("dropped", "waiting")
        )
        assert dropped > 0 and dropped + waiting == 1_200_000
        assert server.log.read_text().count("The prediction log cannot write to") == 1
        if broken:
            broken.unlink()
        else:
            assert "No space left on device" in server.log.read_text()
            subprocess.run(["mount", "-o", "remount,size=200m", small_disk], check=True)
        wait_until(lambda: read_count(server, "prediction_log_rows_waiting") == 0, 40)
        assert read_count(server, "prediction_log_failing") == 0
        assert read_count(server, "prediction_log_rows_written") == waiting
        server.stop()
    assert len(read_log(place)) == waiting


def test_the_bucket_may_go_and_come_back(folder, tmp_path):
    store = ObjectStore(tmp_path)
    store.write_settings()
    settings = load_settings({"FRAUD_DEMO_HOME": str(tmp_path)})
    try:
        with start(folder, tmp_path, "s3://mlflow/predictions", FRAUD_DEMO_HOME=str(tmp_path)) as server:
            wait_until(server.is_ready)
            ask(server, "early")  # nothing listens yet
            wait_until(lambda: read_count(server, "prediction_log_failing") == 1)
            times = []
            for _ in range(50):
                started = time.perf_counter()
                ask(server)
                times.append(time.perf_counter() - started)
            assert np.median(times) < 0.1, "the server does not wait for the bucket"
            store.start()
            wait_until(lambda: read_count(server, "prediction_log_rows_written") == 51, 40)
            assert read_count(server, "prediction_log_rows_dropped") == 0
            server.stop()
        found = read_log("s3://mlflow/predictions", settings=settings)
        assert len(found) == 51 and "early" in set(found["request_id"])
        assert store.url not in server.log.read_text() and "test-secret" not in server.log.read_text()
    finally:
        store.stop()
