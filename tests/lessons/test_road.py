"""The whole road: lessons 00 to 10b on the real stack, and what they leave behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from xml.etree import ElementTree as ET

import boto3
import nbformat
import numpy as np
import pytest
import requests

from fraud_demo.core import FEATURE_NAMES, load_settings
from tests.conftest import BIN, ROOT
from tests.lessons.faults import read_told
from tests.lessons.proof import SharedKernel, prove

NAME = "DNN-credit-card-fraud"
HARMLESS = [57.87785658389723, 0.3111400080477545, 1.9459399775518593, 1, 1, 0, 0]
FRAUD = [15.694985541059943, 175.98918151972342, 0.8556228290724207, 1, 0, 0, 1]
NUMBERS = ("00", "01", "02", "03", "04", "05", "06", "06b", "06c", "07", "08", "09", "09b", "10", "10b")


@pytest.fixture(scope="module")
def settings(road):
    return load_settings({**os.environ, "FRAUD_DEMO_HOME": str(road.home)})


def ask_mlflow(url: str, path: str, **query) -> dict:
    answer = requests.get(f"{url}/api/2.0/mlflow/{path}", params=query, timeout=30)
    assert answer.ok, answer.text
    return answer.json()


def find_runs(url: str, experiment: str = NAME) -> list[dict]:
    found = requests.get(
        f"{url}/api/2.0/mlflow/experiments/get-by-name", params={"experiment_name": experiment}, timeout=30
    )
    if found.status_code == 404:
        return []
    query = {"experiment_ids": [found.json()["experiment"]["experiment_id"]], "max_results": 100}
    return requests.post(f"{url}/api/2.0/mlflow/runs/search", json=query, timeout=30).json().get("runs", [])


def infer(endpoint: str, row: list[float]) -> float:
    """Ask as the original demo's application does."""
    body = {"inputs": [{"name": "dense_input", "shape": [1, 7], "datatype": "FP32", "data": row}]}
    answer = requests.post(endpoint, json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"][0]


def test_lessons_pass_and_are_reported(road):
    for number in NUMBERS:
        assert re.search(rf"^{number} .* passed$", road.report, re.M), road.report
        (page,) = road.executed.glob(f"{number}_*.html")
        assert not re.search(r"<script[^>]+src=|\bimport\(|<link[^>]+href=.http", page.read_text()), (
            "it loads nothing"
        )


@pytest.mark.parametrize("number", NUMBERS)
def test_executed_lesson_shows_no_warnings_and_nothing_empty(road, number):
    (path,) = road.executed.glob(f"{number}_*.ipynb")
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", f"{cell.source[:80]}\n{output['text']}"
            assert output.get("data", {}).get("text/plain", "-").strip(), f"an empty box: {cell.source[:80]}"


def test_status_has_the_promised_structure(road):
    state = road.status()
    assert set(state["services"]) == {"object_store", "mlflow", "model_server", "app"}
    assert all(
        service["healthy"] is True and service["url"].startswith("http://127.0.0.1:")
        for service in state["services"].values()
    )
    assert re.fullmatch(r"127\.0\.0\.1:\d+", state["services"]["model_server"]["grpc"])
    model = state["model"]
    assert model["registered_name"] == NAME and model["served_name"] == "credit-card-fraud"
    assert model["version"].isdigit()
    assert (
        model["endpoint"] == state["services"]["model_server"]["url"] + "/v2/models/credit-card-fraud/infer"
    )


def test_run_is_tracked(road):
    url = road.url("mlflow")
    (run,) = [
        run
        for run in find_runs(url)
        if {"key": "fraud_demo.stage", "value": "trained"} in run["data"]["tags"]
    ]
    metrics = {metric["key"] for metric in run["data"]["metrics"]}
    assert {
        "tn",
        "fp",
        "fn",
        "tp",
        "precision",
        "recall",
        "pr_auc",
        "threshold",
        "loss",
        "val_loss",
        "accuracy",
    } <= metrics
    assert {"epochs", "seed", "batch_size"} <= {param["key"] for param in run["data"]["params"]}
    for name in ("loss", "val_loss", "accuracy"):
        history = ask_mlflow(url, "metrics/get-history", run_id=run["info"]["run_id"], metric_key=name)[
            "metrics"
        ]
        assert len(history) == 20, name


def test_champion_is_registered_and_in_the_bucket(road, settings):
    url = road.url("mlflow")
    version = ask_mlflow(url, "registered-models/alias", name=NAME, alias="champion")["model_version"]
    store = settings.object_store
    bucket = boto3.client("s3", endpoint_url=store.endpoint, region_name=store.region,
                          aws_access_key_id=store.access_key, aws_secret_access_key=store.secret_key)  # fmt: skip
    pages = bucket.get_paginator("list_objects_v2").paginate(Bucket=store.bucket)
    keys = {item["Key"]: item["Size"] for page in pages for item in page["Contents"]}
    number = version["version"]
    assert keys[f"models/credit-card-fraud/version-{number}/{number}/model.onnx"] > 5_000
    logged = [key for key in keys if version["source"].removeprefix("models:/") in key]
    assert any(key.endswith("MLmodel") for key in logged) and any(
        key.endswith("model.onnx") for key in logged
    )
    assert not [key for key in keys if key.endswith((".pkl", ".pickle"))]
    description = next(key for key in logged if key.endswith("MLmodel"))
    text = bucket.get_object(Bucket=store.bucket, Key=description)["Body"].read().decode()
    assert "/tmp" not in text and str(ROOT) not in text


def test_published_files_are_never_overwritten(road, settings, tmp_path, monkeypatch):
    """Another registry's version of the same number goes beside the one that is there."""
    import fraud_demo.registry as registry

    champion = registry.load_champion(settings)
    prefix = registry.publish(settings, champion.version)
    key = f"{prefix}/{champion.version}/model.onnx"
    before = registry.read_object(settings, key)
    other = tmp_path / "model.onnx"
    other.write_bytes(before + b"another")
    monkeypatch.setattr(registry, "load_version", lambda *_: replace(champion, onnx_path=other))
    beside = registry.publish(settings, champion.version)
    assert re.fullmatch(re.escape(prefix) + r"-[0-9a-f]{8}", beside)
    assert registry.publish(settings, champion.version) == beside
    assert registry.read_object(settings, key) == before
    assert registry.read_object(settings, f"{beside}/{champion.version}/model.onnx") == other.read_bytes()


def test_v2_endpoint_answers_the_original_application(road):
    endpoint = road.status()["model"]["endpoint"]
    assert infer(endpoint, HARMLESS) < 0.5 < infer(endpoint, FRAUD)


def test_app_and_panel_say_the_same(road, settings):
    from gradio_client import Client

    from fraud_demo.app import build_panel
    from fraud_demo.serving import EndpointScorer

    client = Client(road.url("app"), verbose=False)
    panel = build_panel(EndpointScorer(settings.endpoint, model_name=settings.served_name))
    for row, is_fraud in ((HARMLESS, False), (FRAUD, True)):
        values = [*row[:3], *map(bool, row[3:])]
        answer = client.predict(*values, api_name="/predict")
        assert answer["is_fraud"] is is_fraud
        panel.fill(dict(zip(FEATURE_NAMES, values, strict=True)))
        panel.button.click()
        assert panel.last.decision.fraud_probability == answer["fraud_probability"]
        assert answer["verdict"] in panel.result.value


def test_old_mlflow_application_works_unchanged(road):
    code = (
        "import mlflow, numpy as np, os\n"
        f"model = mlflow.pyfunc.load_model('models:/{NAME}/1')\n"
        f"rows = np.array([{HARMLESS}, {FRAUD}], dtype=np.float64)\n"
        "print(model.predict(rows[:1])[0][0] < 0.5 < model.predict(rows[1:])[0][0])\n"
    )
    environ = {**os.environ, "MLFLOW_TRACKING_URI": road.url("mlflow")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "True", done.stderr


def test_champion_is_good_on_published_rows(road, settings, published_csv, monkeypatch):
    from fraud_demo.data import load_transactions
    from fraud_demo.evaluation import evaluate
    from fraud_demo.registry import load_champion
    from fraud_demo.serving import LocalScorer

    rows = load_transactions(published_csv)
    champion = load_champion(settings)
    scores = LocalScorer(champion.onnx_path).score(rows)
    judged = evaluate(rows["fraud"].to_numpy(), scores.fraud_probability, scores.threshold)
    assert judged.precision >= 0.98 and judged.recall >= 0.98
    assert np.array_equal(scores.is_fraud, scores.fraud_probability >= np.float32(scores.threshold))


@pytest.fixture(scope="module")
def published_environ(road, published_csv):
    """A seat of its own, with published rows."""
    return {**road.environ, "FRAUD_DEMO_DATA": str(published_csv), "FRAUD_DEMO_SEAT": "published"}


@pytest.fixture(scope="module")
def shared_kernel(published_environ):
    """A kernel for the proofs of all lessons."""
    kernel = SharedKernel(published_environ, ROOT / "nbs")
    yield kernel
    kernel.close()


@pytest.mark.parametrize("number", NUMBERS)
def test_every_answer_meets_its_check_on_published_rows(road, shared_kernel, tmp_path, number):
    """Stub, wrong answers, other right ones and solution of each exercise, in one run of the lesson."""
    (path,) = (ROOT / "nbs").glob(f"{number}_*.ipynb")
    prove(path, tmp_path / path.name)
    shared_kernel.run(nbformat.read(tmp_path / path.name, as_version=4))


def test_plain_papermill_runs_a_lesson(road, published_environ, tmp_path):
    """As an instructor types it: no engine, no flags of ours, a parameter."""
    path = ROOT / "nbs" / "02_data.ipynb"
    for _ in range(2):
        done = subprocess.run(
            [BIN / "papermill", path, tmp_path / "out.ipynb", "--cwd", ROOT / "nbs", "-p", "data_seed", "0"],
            env=published_environ | {"FRAUD_DEMO_SEAT": "papermill"}, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if "Kernel died before replying" not in done.stderr:  # a port was taken before the kernel had it
            break
    assert done.returncode == 0, done.stderr[-3000:]


def test_room_shows_the_exercises_of_a_seat(road):
    """What the proofs left on the seat's experiment."""
    shown = road.run("room", COLUMNS="300").stdout
    line = next(line for line in shown.splitlines() if line.startswith("published"))
    assert "01: 2 of 2" in line and "not yet" not in line, shown


def test_solved_and_strict_is_one_command(road, tmp_path):
    for options, code in (
        (("--solved", "--strict"), 0),
        (("--strict",), 1),
    ):
        done = road.run("lessons", "run", "00", *options, "--report", tmp_path, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        assert ("not solved" in done.stdout) is bool(code)
        assert ET.parse(tmp_path / "junit.xml").getroot().attrib["failures"] == str(code)
    assert 'class="failed"' in (tmp_path / "index.html").read_text()


def test_a_lesson_starts_alone_from_the_start_state(road, settings, published_csv, tmp_path):
    """Once with the rows that the weights were trained on, once with others; lesson 10b needs two versions."""
    from fraud_demo.cluster import Project, list_published

    others = {"FRAUD_DEMO_SEAT": "late-published", "FRAUD_DEMO_DATA": str(published_csv)}
    for environ, number, made in (({"FRAUD_DEMO_SEAT": "late"}, "07", 6), (others, "5", 1)):
        done = road.run("lessons", "start-at", number, **environ)
        assert done.stdout.count("lesson 0") == made, done.stdout
    late = replace(settings, seat="late")
    assert [version for version, _ in list_published(late, Project(model=late.served_name))] == ["1", "2"]
    done = road.run("lessons", "run", "06c", "--report", tmp_path, FRAUD_DEMO_SEAT="late")
    assert done.stdout.count(" passed") >= 1


def test_site_is_built_from_the_executed_lessons(road, tmp_path):
    done = subprocess.run([sys.executable, ROOT / ".ci" / "site.py", road.executed, tmp_path / "site"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    start = (tmp_path / "site" / "index.html").read_text()
    for number in NUMBERS:
        [page] = (tmp_path / "site" / "nbs").glob(f"{number}_*.html")
        assert f'href="nbs/{page.name}"' in start
        text = page.read_text()
        assert 'class="mermaid' in text and "#| export" not in text and 'alt=""' not in text
    assert (
        'href="details/prediction_log.html"' in (tmp_path / "site" / "nbs" / "08_monitoring.html").read_text()
    )


def test_papermill_lists_the_parameters(road):
    done = subprocess.run([BIN / "papermill", "--help-notebook", ROOT / "nbs" / "04_training.ipynb"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert re.search(r"seed: int \(default 7\)\s+seed of the network", done.stdout), done.stdout


@pytest.fixture
def second_mlflow(tmp_path):
    """Another MLflow server, with a store of its own."""
    import socket
    import time

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environ = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [BIN / "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port), "--backend-store-uri",
               f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", str(tmp_path / "artifacts")]  # fmt: skip
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(
            command, env=environ, stdout=log, stderr=log, start_new_session=True, cwd=tmp_path
        )
    try:
        for _ in range(240):
            try:
                ask_mlflow(f"http://127.0.0.1:{port}", "experiments/search", max_results=1)
                break
            except requests.ConnectionError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def test_mlflow_route_sends_the_run_elsewhere(road, second_mlflow, tmp_path):
    from fraud_demo.data import generate_transactions

    own = len(find_runs(road.url("mlflow")))
    rows = tmp_path / "rows.parquet"
    generate_transactions(20_000, seed=3).to_parquet(rows)
    environ = {"MLFLOW_ROUTE": second_mlflow, "FRAUD_DEMO_DATA": str(rows), "FRAUD_DEMO_SEAT": "route"}
    assert "lesson 04: run" in road.run("lessons", "start-at", "06", **environ).stdout
    road.run("lessons", "run", "01", "--report", tmp_path / "executed", **environ)
    listed = ask_mlflow(second_mlflow, "registered-models/alias", name=f"{NAME}-route", alias="champion")
    assert listed["model_version"]["version"] == "1"
    assert len(find_runs(road.url("mlflow"))) == own


def stop_lessons(road, *arguments, **environ) -> dict:
    """Run lessons in one process, each until it stops; return the errors."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lessons.faults", *arguments],
        env={**road.environ, "PYTHONPATH": str(ROOT), **environ}, cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return read_told(done.stdout)


FAULTS = {
    "a lesson left out": ({"FRAUD_DEMO_SEAT": "early"}, {"05": "Run lesson 04 first.", "06": "run lesson 05 first", "06b": "Run lesson 05 first.",
        "06c": "run lesson 05 first", "07": "run lesson 05 first", "08": "Run lesson 05 first.", "09": "Run lesson 05 first.",
        "10": "Run lesson 05 first.", "10b": "Run lesson 05 first."}),
    "MLflow down": ({"MLFLOW_ROUTE": "http://127.0.0.1:9"}, dict.fromkeys(("01", "04", "05", "08", "09", "10", "10b"),
        "Nothing listens on port 9 of 127.0.0.1. Check that the server runs")),
    "a wrong route": ({"MLFLOW_ROUTE": "{app}"}, dict.fromkeys(("01", "05"), "Correct the address")),
    "the model server down": ({"INFERENCE_ENDPOINT": "http://127.0.0.1:9"}, dict.fromkeys(("06", "06b", "06c", "07"),
        "the connection was refused")),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_said_in_three_sentences_with_its_mend(road, fault):
    environ, expected = FAULTS[fault]
    environ = {name: value.format(app=road.url("app")) for name, value in environ.items()}
    told = stop_lessons(road, *expected, **environ)
    for number, words in expected.items():
        error = told[number]
        assert error and words in error["text"], (number, error)
        assert all(sentence.endswith((".", '"')) for sentence in error["sentences"]), (number, error)


def test_a_full_disk_is_said_in_three_sentences(road, tmp_path):
    cold = stop_lessons(road, "--small-files", "03", FRAUD_DEMO_HOME=str(tmp_path / "cold"))["03"]
    assert cold["type"] == "InputError" and "Name another folder in FRAUD_DEMO_HOME." in cold["text"]
    shutil.copytree(road.home / "data", tmp_path / "warm" / "data")
    state = road.status()["services"]
    warm = stop_lessons(road, "--small-files", "04", FRAUD_DEMO_HOME=str(tmp_path / "warm"),
                        MLFLOW_ROUTE=state["mlflow"]["url"], FRAUD_DEMO_SEAT="full")["04"]  # fmt: skip
    assert warm["type"] == "ServiceError" and "File too large" in warm["text"], warm
    assert "run this cell again" in warm["sentences"][2]


def test_the_runner_says_a_fault_without_a_traceback(road, tmp_path):
    done = road.run("lessons", "run", "05", "06", "--report", tmp_path, check=False, FRAUD_DEMO_SEAT="early")
    assert done.returncode == 1 and "Run lesson 04 first." in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    page = (tmp_path / "index.html").read_text()
    assert "Run lesson 04 first." in page and "not run" in page


def test_bad_data_is_said_in_sentences(road, tmp_path):
    done = road.run("train", "--output", tmp_path / "model", check=False, FRAUD_DEMO_DATA="no-such-file.csv")
    assert done.returncode == 2 and done.stderr.count("\n") == 3, done.stderr
    bad = tmp_path / "bad.csv"
    bad.write_text("distance_from_home,fraud\n1.0,0\n")
    done = road.run("train", "--output", tmp_path / "model", "--data", bad, check=False)
    assert done.returncode == 2 and "distance_from_last_transaction" in done.stderr
    assert not (tmp_path / "model").exists()


def test_wheel_scores_in_an_empty_environment(road, tmp_path):
    for name in ("fraud_demo", "settings.ini", "setup.py", "pyproject.toml", "README.md"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (tmp_path / "source").mkdir(exist_ok=True)
        copy(ROOT / name, tmp_path / "source" / name)
    uv, python = BIN / "uv", tmp_path / "env" / "bin" / "python"
    subprocess.run(
        [
            uv,
            "build",
            "-q",
            "--wheel",
            "--no-build-isolation",
            "--python",
            sys.executable,
            "-o",
            tmp_path,
            tmp_path / "source",
        ],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, tmp_path / "env"], check=True)
    subprocess.run(
        [uv, "pip", "install", "-q", "--python", python, "-c", ROOT / "requirements.lock", wheel], check=True
    )
    code = (
        "from fraud_demo.core import Transaction\n"
        "from fraud_demo.serving import EndpointScorer\n"
        f"scorer = EndpointScorer({road.status()['model']['endpoint']!r})\n"
        f"print(scorer.decide(Transaction(*{FRAUD})).is_fraud, scorer.decide(Transaction(*{HARMLESS})).is_fraud)\n"
        "import importlib.util as u\n"
        "print([n for n in ('tensorflow', 'mlflow', 'gradio', 'jupyterlab', 'nbdev', 'fastcore', 'pandas') if u.find_spec(n)])\n"
    )
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["True False", "[]"], done.stdout + done.stderr


@pytest.mark.parametrize("moment", ["epoch 1", "logging"])
def test_training_killed_half_way_leaves_nothing_that_looks_finished(road, moment):
    """Once while it trains, once while it logs what it made."""
    seat = f"killed-{moment.replace(' ', '-')}"
    code = (
        "import os, signal\n"
        "import fraud_demo.training as training\n"
        "from fraud_demo.core import load_settings\n"
        "from fraud_demo.data import generate_transactions, split_transactions\n"
        "def die(*_):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"if {moment!r} == 'logging':\n"
        "    training.log_served_model = die\n"
        "split = split_transactions(generate_transactions(20_000, 0))\n"
        f"training.train_tracked(load_settings(), split, training.TrainingConfig(epochs=3), die if {moment!r} == 'epoch 1' else None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**road.environ, "FRAUD_DEMO_SEAT": seat},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == -9, done.stderr
    (run,) = find_runs(road.url("mlflow"), f"{NAME}-{seat}")
    assert run["info"]["status"] == "RUNNING"
    assert "fraud_demo.stage" not in {tag["key"] for tag in run["data"]["tags"]}
    found = road.run("doctor", check=False, FRAUD_DEMO_SEAT=seat)
    assert found.returncode == 1 and re.search(r"\w+-\w+-\d+: killed, last sign \d+ s ago", found.stdout), (
        found.stdout
    )
    if moment == "logging":  # what follows knows nothing of the moment
        return
    told = stop_lessons(road, "05", FRAUD_DEMO_SEAT=seat)
    assert "has no finished run" in told["05"]["text"]
    closed = road.run("doctor", "--close-runs", FRAUD_DEMO_SEAT=seat)
    assert ", closed" in closed.stdout
    (run,) = find_runs(road.url("mlflow"), f"{NAME}-{seat}")
    assert run["info"]["status"] == "KILLED"
    assert "run " not in road.run("doctor", FRAUD_DEMO_SEAT=seat).stdout


def test_page_of_a_model_shows_its_last_epoch_and_nobodys_login(road):
    """MLflow's own choice is the first epoch, whoever started the kernel, and its folder."""
    url = road.url("mlflow")
    query = {"experiment_ids": [find_runs(url)[0]["info"]["experiment_id"]]}
    found = requests.post(f"{url}/api/2.0/mlflow/logged-models/search", json=query, timeout=30).json()[
        "models"
    ]
    lengths = []
    for model in found:
        tags = {tag["key"]: tag["value"] for tag in model["info"]["tags"]}
        assert (tags["mlflow.user"], tags["mlflow.source.name"]) == ("workshop", "fraud_demo.training")
        [loss] = [metric for metric in model["data"]["metrics"] if metric["key"] == "val_loss"]
        run = {"run_id": model["info"]["source_run_id"], "metric_key": "val_loss"}
        epochs = ask_mlflow(url, "metrics/get-history", **run)["metrics"]
        assert loss["value"] == epochs[-1]["value"]
        lengths.append(len(epochs))
    assert max(lengths) > 1


def test_a_run_that_still_trains_is_left_alone(road, settings):
    import mlflow
    from filelock import FileLock

    from fraud_demo.details.run_origin import make_lock
    from fraud_demo.registry import close_runs, list_open_runs

    seat = replace(settings, seat="alive")
    assert list_open_runs(seat) == []
    mlflow.set_experiment(seat.registered_name)
    with mlflow.start_run() as run, FileLock(make_lock(seat, run.info.run_id).lock_file):
        [found] = list_open_runs(seat)
        assert found.state == "training" and close_runs(seat, [found]) == 0
    assert mlflow.get_run(run.info.run_id).info.status == "FINISHED"


def test_each_seat_shows_how_far_it_is(road):
    road.run("lessons", "run", "01", "--report", road.home / "seat", FRAUD_DEMO_SEAT="first-steps")
    seats = {row["seat"]: row for row in json.loads(road.run("room", "--json").stdout)["seats"]}
    shown = seats["first-steps"]
    assert shown.pop("seat") == "first-steps" and shown.pop("lesson") == "01 find MLflow"
    assert set(shown) == {"last_run", "version", "champion", "exercises", "stuck"} and not any(shown.values())


def test_train_command_killed_leaves_the_model_of_before(tmp_path):
    """At a few moments from the start to the end."""
    output = tmp_path / "model"
    environ = {**os.environ, "FRAUD_DEMO_HOME": str(tmp_path / "home")}
    command = [BIN / "fraud-demo", "train", "--rows", "20000", "--epochs", "4", "--output", output]
    subprocess.run([*command, "--seed", "1"], env=environ, check=True, capture_output=True)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    assert set(before) == {"model.onnx", "metrics.json"}
    for words in ("Training on", "epoch   1", "epoch   4"):
        process = subprocess.Popen([*command, "--seed", "2"], env={**environ, "PYTHONUNBUFFERED": "1"},
                                   stdout=subprocess.PIPE, text=True)  # fmt: skip
        assert any(words in line for line in process.stdout)
        process.kill()
        process.wait()
        assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_promote_and_rollback_commands_move_what_serves(road):
    """The lessons left two versions of one run: equal ones may follow each other, and go back."""
    before = road.status()["model"]["version"]
    other = {"1": "2", "2": "1"}[before]
    done = road.run("promote", other)
    assert f"Version {other} is the champion from now on." in done.stdout and "REFUSED" not in done.stdout
    assert road.status()["model"]["version"] == other
    answer = requests.get(road.status()["model"]["endpoint"].removesuffix("/infer"), timeout=10)
    assert answer.json()["versions"] == [other]
    assert f"Version {before} serves again." in road.run("rollback").stdout
    assert road.status()["model"]["version"] == before
    done = road.run("promote", "99", check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 3 and "no version 99" in done.stderr


def test_the_log_of_the_stack_holds_predictions_and_monitor_judges_them(road, tmp_path):
    """The lessons asked the champion; explanations and health checks of the app are no predictions."""
    import pandas as pd

    from fraud_demo.details.prediction_log import read_log

    found = read_log(road.home / "predictions", model="credit-card-fraud")
    assert len(found) > 1000 and not found.attrs["unreadable"]
    body = {
        "inputs": [
            {"name": "dense_input", "shape": [200, 7], "datatype": "FP32", "data": (HARMLESS + FRAUD) * 100}
        ]
    }
    answer = requests.post(road.status()["model"]["endpoint"], json=body | {"id": "monitored"}, timeout=30)
    assert answer.status_code == 200
    labels = tmp_path / "labels.csv"
    pd.DataFrame({"request_id": "monitored", "row": range(200), "fraud": [0, 1] * 100}).to_csv(
        labels, index=False
    )
    for _ in range(120):
        if "monitored" in set(read_log(road.home / "predictions")["request_id"]):
            break
        time.sleep(0.5)
    page, gauges = tmp_path / "report" / "monitor.html", tmp_path / "monitor.prom"
    done = road.run(
        "monitor", "--labels", labels, "--report", page, "--metrics", gauges, "--json", check=False
    )
    said = json.loads(done.stdout)
    assert done.returncode == (said["verdict"] == "alarm") and said["rows"] >= 100, done.stderr
    assert said["labeled"] > 0 and said["drift"].keys() == {*FEATURE_NAMES, "fraud_probability"}
    assert (
        said["verdict"].capitalize() in page.read_text() and "fraud_demo_monitor_alarm" in gauges.read_text()
    )
    for options, code, words in (
        (["--labels", tmp_path / "none.csv"], 2, "cannot be read"),
        (["--log", tmp_path / "nothing"], 1, "holds no prediction"),
        (["--log", "ftp://host/log"], 2, "no place for a log"),
    ):
        done = road.run("monitor", *options, check=False)
        assert done.returncode == code and words in done.stderr and "Traceback" not in done.stderr, (
            done.stderr
        )


def test_lesson_08_leaves_the_champion_alone(road, settings):
    from fraud_demo.details.turns import list_turns

    turns = list_turns(replace(settings, seat="watch"))
    assert [row[3] for row in turns.rows][::-1][:3] == ["promote", "promote", "rollback"]
    served = requests.get(f"{road.url('model_server')}/v2/models", timeout=10).json()["models"]
    assert "credit-card-fraud" in served and "credit-card-fraud-watch" not in served


def test_score_command_gives_the_same_file_from_both_places(road, tmp_path):
    import pandas as pd

    rows = tmp_path / "rows.csv"
    pd.DataFrame([HARMLESS, FRAUD] * 600, columns=list(FEATURE_NAMES)).to_csv(rows, index=False)
    for name, option in (("here.csv", []), ("there.csv", ["--endpoint", "auto"])):
        done = road.run("score", rows, "--output", tmp_path / name, *option)
        assert "1,200 rows scored" in done.stdout and "600 called fraud" in done.stdout
    assert (tmp_path / "here.csv").read_bytes() == (tmp_path / "there.csv").read_bytes()


def test_train_command_writes_model_and_figures(road, tmp_path):
    done = road.run("train", "--rows", "20000", "--epochs", "2", "--output", tmp_path / "model", "--json")
    figures = json.loads(done.stdout)
    assert {
        "fit_s",
        "total_s",
        "rows",
        "pr_auc",
        "precision",
        "recall",
        "threshold",
        "parity_max_abs_error",
    } <= set(figures)
    assert figures == json.loads((tmp_path / "model" / "metrics.json").read_text())
    assert figures["rows"] == 20_000 and (tmp_path / "model" / "model.onnx").stat().st_size > 5_000
