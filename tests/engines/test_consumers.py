"""One registered version answers everybody: the original app, DataFrames, ONNX, `mlflow models serve` and Spark."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import requests

from benchmarks.room import log_run
from fraud_demo.core import FEATURE_NAMES, is_loopback
from fraud_demo.discovery import connect_mlflow
from fraud_demo.registry import load_version, register
from fraud_demo.training import run_onnx
from tests.conftest import BIN
from tests.engines.servers import describe_stack, find_port


@pytest.fixture(scope="module")
def pair(stack):
    """The local stack: these consumers see MLflow alone, and not which database and store are behind it."""
    return describe_stack(stack.home)


@pytest.fixture(scope="module")
def registered(pair, small):
    """Settings of a seat with one version, its address for MLflow, and what its file says about the test rows."""
    seat = replace(pair.settings, seat="consumers")
    version = register(seat, log_run(seat, *small))
    connect_mlflow(seat)
    outputs = run_onnx(load_version(seat, version).onnx_path, small[0].test.features)
    return seat, f"models:/{seat.registered_name}/{version}", outputs


@pytest.fixture(scope="module")
def table(small):
    return pd.DataFrame(small[0].test.features, columns=list(FEATURE_NAMES))


def test_the_original_application(registered, small):
    import mlflow

    _, uri, outputs = registered
    model, rows = mlflow.pyfunc.load_model(uri), small[0].test.features.astype(np.float64)
    for row in range(20):
        assert model.predict(rows[row : row + 1])[0][0] == outputs["fraud_probability"][row]


def test_a_table_in_any_order_of_columns(registered, table):
    import mlflow

    _, uri, outputs = registered
    model = mlflow.pyfunc.load_model(uri)
    for columns in (FEATURE_NAMES, FEATURE_NAMES[::-1], ("merchant", *FEATURE_NAMES[3:], *FEATURE_NAMES[:3])):
        found = model.predict(table.assign(merchant="x")[list(columns)])
        assert list(found) == ["fraud_probability", "is_fraud", "threshold"]
        assert np.array_equal(found["fraud_probability"], outputs["fraud_probability"].ravel())
        assert np.array_equal(found["is_fraud"], outputs["is_fraud"].ravel())
    with pytest.raises(Exception, match="has no used_chip"):
        model.predict(table.drop(columns="used_chip"))


def test_the_onnx_flavor_and_the_plain_file(registered, small):
    import mlflow
    import onnx

    _, uri, outputs = registered
    model = mlflow.onnx.load_model(uri)
    path = mlflow.artifacts.download_artifacts(f"{uri}/artifacts/model.onnx")
    assert onnx.load(path).SerializeToString() == model.SerializeToString()
    assert np.array_equal(
        run_onnx(path, small[0].test.features)["fraud_probability"], outputs["fraud_probability"]
    )
    folder = mlflow.artifacts.download_artifacts(uri)
    names = [name for _, _, files in os.walk(folder) for name in files]
    assert "model.onnx" in names and not [name for name in names if name.endswith((".pkl", ".pickle"))]


def test_mlflow_models_serve(registered, table, tmp_path):
    _, uri, outputs = registered
    port, rows = find_port(), table.head(3)
    environ = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": registered_url(registered),
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [
        BIN / "mlflow",
        "models",
        "serve",
        "-m",
        uri,
        "-p",
        str(port),
        "-h",
        "127.0.0.1",
        "--env-manager",
        "local",
    ]
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 90
        while True:
            try:
                if requests.get(f"{url}/ping", timeout=2).ok:
                    break
            except requests.RequestException:
                assert time.monotonic() < end and server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.3)
        split = {"columns": list(rows)[::-1], "data": rows[list(rows)[::-1]].to_numpy().tolist()}
        for body in ({"dataframe_split": split}, {"dataframe_records": rows.to_dict("records")}):
            answer = requests.post(f"{url}/invocations", json=body, timeout=30)
            found = [row["fraud_probability"] for row in answer.json()["predictions"]]
            assert np.array_equal(np.float32(found), outputs["fraud_probability"][:3].ravel())
        answer = requests.post(f"{url}/invocations", json={"inputs": rows.to_numpy().tolist()}, timeout=30)
        assert np.array_equal(
            np.float32(answer.json()["predictions"]).ravel(), outputs["fraud_probability"][:3].ravel()
        )
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(20)


def registered_url(registered):
    url = connect_mlflow(registered[0]).url
    assert is_loopback(url)
    return url


SPARK = """
import sys, mlflow, pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.functions import struct
uri, source, target = sys.argv[1:]
settings = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
            "spark.sql.execution.arrow.pyspark.enabled": "true"}
builder = SparkSession.builder.master("local[2]")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
rows = spark.createDataFrame(pd.read_parquet(source)).coalesce(2)
score = mlflow.pyfunc.spark_udf(spark, uri, result_type="fraud_probability float, is_fraud long, threshold float",
                                env_manager="local")
columns = [name for name in rows.columns if name != "row"]
found = rows.select("row", score(struct(*columns)).alias("answer")).select("row", "answer.*")
found.toPandas().sort_values("row").to_parquet(target)
spark.stop()
"""


def test_spark(registered, table, tmp_path):
    if not shutil.which("java"):
        reason = "java not found: .ci/packages installs the Debian package"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    _, uri, outputs = registered
    table[list(FEATURE_NAMES)[::-1]].assign(row=range(len(table))).to_parquet(tmp_path / "rows.parquet")
    environ = {**os.environ, "MLFLOW_TRACKING_URI": registered_url(registered), "PYSPARK_PYTHON": sys.executable,
               "SPARK_LOCAL_IP": "127.0.0.1", "MLFLOW_DISABLE_TELEMETRY": "true"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", SPARK, uri, tmp_path / "rows.parquet", tmp_path / "found.parquet"],
                          env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = pd.read_parquet(tmp_path / "found.parquet")
    assert np.array_equal(found["fraud_probability"], outputs["fraud_probability"].ravel())
    assert np.array_equal(found["is_fraud"], outputs["is_fraud"].ravel())
