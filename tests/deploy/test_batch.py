"""The Job that scores a folder: a cluster takes it, it keeps the rules, and its command does the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fraud_demo import registry
from fraud_demo.core import FEATURE_NAMES, load_settings
from tests.conftest import ROOT
from tests.deploy.manifests import DEPLOY, PROJECT, build
from tests.deploy.test_manifests import damage, list_faults, list_fields
from tests.deploy.test_names import CONNECTION, SERVED, SETTINGS
from tests.deploy.test_policy import list_broken_rules
from tests.unit.v2_double import make_rows, save_onnx


@pytest.fixture
def job() -> dict:
    """The Job as `kubectl apply -k deploy/jobs/score` would send it."""
    [item] = yaml.safe_load_all(build(DEPLOY / "jobs" / "score"))
    return item


@pytest.fixture
def container(job) -> dict:
    """Its one container."""
    [found] = job["spec"]["template"]["spec"]["containers"]
    return found


def read_variables(container: dict) -> dict[str, str]:
    """Return its own variables."""
    return {variable["name"]: variable["value"] for variable in container["env"]}


def test_clusters_take_it(job):
    assert job["apiVersion"] == "batch/v1" and not list_faults(job)
    for path in list_fields(job):
        assert list_faults(damage(job, path, "name"), ("1.35",)), path


def test_it_keeps_the_rules(job):
    """A pod that ends by itself is watched by its Job, and needs no probes."""
    assert list_broken_rules(job["spec"]["template"]["spec"]) == {"livenessProbe", "readinessProbe"}
    keys = json.dumps(job)
    assert not [name for name in ("runAsUser", "fsGroup", "serviceAccountName") if name in keys]


def test_each_pod_has_a_slice_and_may_fail(job, container):
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed" and spec["suspend"] is True
    assert spec["completions"] == spec["parallelism"] == int(read_variables(container)["JOB_COMPLETIONS"])
    assert spec["backoffLimit"] >= spec["completions"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_names_are_those_of_the_project(job, container, monkeypatch, tmp_path):
    """The key is the data connection, the model is where `publish` puts it, and nothing else is written to."""
    assert (job["metadata"]["namespace"], SERVED) == (PROJECT, "credit-card-fraud")
    assert container["envFrom"] == [{"secretRef": {"name": CONNECTION}}]
    monkeypatch.setattr(registry, "write_once", lambda settings, key, data: data)
    (tmp_path / "model.onnx").write_bytes(b"model")
    version = SimpleNamespace(version="1", onnx_path=tmp_path / "model.onnx", tags={"gate.passed_at": "now"})
    monkeypatch.setattr(registry, "load_version", lambda settings, version_: version)
    values = read_variables(container)
    assert values["SCORE_MODEL"] == f"s3://$(AWS_S3_BUCKET)/{registry.publish(SETTINGS, '1')}"
    assert values["SCORE_MODEL_VERSION"] == "1"
    assert len({values["SCORE_SOURCE"], values["SCORE_TARGET"]}) == 2
    labels = job["metadata"]["labels"]
    assert labels == job["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == job["metadata"]["name"]
    assert container["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]  # the root is read-only


def test_bucket_of_the_connection_is_read(container):
    environ = {"AWS_S3_ENDPOINT": "http://127.0.0.1:9", "AWS_S3_BUCKET": "ours", "AWS_ACCESS_KEY_ID": "a",
               "AWS_SECRET_ACCESS_KEY": "b"}  # fmt: skip
    assert load_settings(environ).object_store.bucket == "ours"
    for name in ("SCORE_SOURCE", "SCORE_TARGET", "SCORE_MODEL"):
        assert read_variables(container)[name].startswith("s3://$(AWS_S3_BUCKET)/")


def test_command_scores_what_its_number_says(container, tmp_path):
    """Two of four pods, the second one with a shard that is broken; then the same number again."""
    (tmp_path / "in").mkdir()
    for number in range(8):
        values = make_rows(100, number).astype(np.float64)
        table = pa.table({name: values[:, i] for i, name in enumerate(FEATURE_NAMES)})
        pq.write_table(table, tmp_path / "in" / f"{number}.parquet")
    (tmp_path / "in" / "5.parquet").write_text("not a table")
    save_onnx(tmp_path / "model.onnx")
    own = {
        "SCORE_SOURCE": tmp_path / "in",
        "SCORE_TARGET": tmp_path / "out",
        "SCORE_MODEL": tmp_path / "model.onnx",
    }
    values = read_variables(container) | {name: str(path) for name, path in own.items()}

    def run(index: str) -> subprocess.CompletedProcess:
        environ = {**os.environ, **values, "JOB_COMPLETION_INDEX": index}
        return subprocess.run([sys.executable, *container["command"][1:]], env=environ, cwd=ROOT, capture_output=True,
                              text=True, timeout=120, check=False)  # fmt: skip

    codes = [run(index).returncode for index in ("0", "1")]
    parts = sorted(path.name for path in (tmp_path / "out").glob("*.parquet"))
    assert codes == [0, 1] and parts == ["0.parquet", "1.parquet", "4.parquet"]
    again = run("1")
    assert again.returncode == 1 and "1 were done before" in again.stderr and "5.parquet" in again.stderr
