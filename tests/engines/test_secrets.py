"""Plant marked secrets, do everything, and search all that was produced for them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from benchmarks.room import log_run
from fraud_demo.registry import connect_bucket, register
from tests.conftest import BIN, ROOT

PLANTED = {
    "MLFLOW_TRACKING_TOKEN": "planted-mlflow-token",
    "FRAUD_DEMO_TOKEN": "planted-endpoint-token",
    "KUBE_TOKEN": "planted-kube-token",
}
PRIVATE = {"object_store.json", "s3.json", "credentials", "password"}  # where the keys of the stack are kept
COMMANDS = (  # what the servers answer shows in these
    ("room",),
    ("promote", "1", "--rows", "20000"),
    ("lessons", "run", "01"),
)
MORE = (
    ("doctor",),
    ("doctor", "--json"),
    ("status", "--json"),
    ("promote", "99"),
    ("rollback",),
    ("lessons", "run", "05"),
)
WRONG = (  # a command, and what is wrong with its settings
    (("lessons", "run", "05"), {"MLFLOW_TRACKING_URI": "http://ann:planted-password@127.0.0.1:9"}),
    (("doctor",), {"MLFLOW_ROUTE": "https://ann:planted-password@no-such-host.invalid"}),
    (("doctor",), {"MLFLOW_TRACKING_URI": "postgresql://ann:planted-password@127.0.0.1/mlflow"}),
    (
        ("lessons", "run", "05"),
        {"AWS_S3_ENDPOINT": "http://127.0.0.1:9", "AWS_SECRET_ACCESS_KEY": "planted-s3-secret"},
    ),
)


def find_secrets(content: bytes, secrets: list[str]) -> list[str]:
    return [secret for secret in secrets if secret.encode() in content]


def test_no_secret_in_anything_that_was_produced(pair, seat, small, tmp_path, monkeypatch):
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    register(seat, log_run(seat, *small))
    store = pair.settings.object_store
    secrets = [*PLANTED.values(), "planted-password", "planted-s3-secret", store.access_key, store.secret_key]
    environ = {**os.environ, **pair.environ, "FRAUD_DEMO_SEAT": seat.seat, "FRAUD_DEMO_HOME": str(seat.home)}
    faults, report = [], ("--report", str(tmp_path / "executed"))
    runs = [(command, {}) for command in COMMANDS]
    if "SQLite" in pair.name:  # what does not depend on the servers is tried with one pair
        runs += [(command, {}) for command in MORE]
        runs += WRONG
    for command, wrong in runs:
        arguments = [*command, *(report if command[0] == "lessons" else ())]
        done = subprocess.run([BIN / "fraud-demo", *arguments], env={**environ, **wrong}, cwd=ROOT,
                              capture_output=True, timeout=300, check=False)  # fmt: skip
        is_kernel = b"ipykernel" in done.stderr  # one that is ended may complain on its way: that is not ours
        assert b"Traceback" not in done.stderr or is_kernel, done.stderr.decode()
        assert command[0] != "promote" or (done.returncode == 0) == (command[1] == "1"), done.stdout.decode()
        faults += [(command, wrong, secret) for secret in find_secrets(done.stdout + done.stderr, secrets)]

    searched = 0
    for path in (*Path(seat.home).parent.rglob("*"), *tmp_path.rglob("*")):
        if (
            path.is_file()
            and not path.is_symlink()
            and path.name not in PRIVATE
            and path.stat().st_size < 50e6
        ):
            searched += 1
            faults += [(path.name, secret) for secret in find_secrets(path.read_bytes(), secrets)]
    assert searched > 20 and (tmp_path / "executed").is_dir()
    bucket = connect_bucket(seat)
    for page in bucket.get_paginator("list_objects_v2").paginate(Bucket=store.bucket):
        for item in page.get("Contents", []):
            content = bucket.get_object(Bucket=store.bucket, Key=item["Key"])["Body"].read()
            faults += [(item["Key"], secret) for secret in find_secrets(content, secrets)]
    # Ceph's gateway, which is not ours, writes into its own log who asked: the name of the key, never the key.
    assert [fault for fault in faults if fault != ("client.rgw.a.log", store.access_key)] == []
