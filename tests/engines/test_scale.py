"""Scoring a folder with engines that exist: Ray, Spark and a bucket, each killed in the middle."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_demo.core import FEATURE_NAMES, ServiceError
from fraud_demo.details.folders import open_bucket, open_folder
from fraud_demo.details.ray_start import RAY_SETTINGS
from fraud_demo.scale import load_model, score_dataset
from tests.conftest import BIN, ROOT
from tests.engines.servers import describe_stack
from tests.serving.server import find_ports
from tests.unit.v2_double import make_rows, save_onnx

SHARDS = [f"part-{number}.parquet" for number in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, eight shards, and their parts as one process makes them."""
    base = tmp_path_factory.mktemp("scale")
    save_onnx(base / "model.onnx")
    (base / "in").mkdir()
    for seed, name in enumerate(SHARDS):
        values = make_rows(20_000, seed).astype(np.float64)
        table = pa.table({name: values[:, i] for i, name in enumerate(FEATURE_NAMES)})
        pq.write_table(
            table.append_column("row", pa.array(np.arange(20_000) + 20_000 * seed)), base / "in" / name
        )
    assert score_dataset(base / "in", base / "process", load_model(base / "model.onnx", "1")).done == 8
    return base


def read_parts(folder: Path) -> dict[str, bytes]:
    """Read the parts and the manifest."""
    return {path.name: path.read_bytes() for path in [*folder.glob("*.parquet"), folder / "_manifest.json"]}


def need(found: object, name: str, package: str) -> None:
    """Skip a test that misses something, but not in CI."""
    if not found:
        reason = f"{name} not found: {package}"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)


# --- Ray

RAY = """
import json, os, signal, sys, time
import psutil
from fraud_demo import scale
from fraud_demo.details.folders import Folder
from fraud_demo.details.ray_start import RAY_SETTINGS

class Slow(Folder):
    def identify(self, name):
        time.sleep(0.3)
        return super().identify(name)

me, told = psutil.Process(), {}

def look(done, total):
    if told:
        return
    children = me.children(recursive=True)
    listening = [c.laddr.ip for p in [me, *children] for c in p.connections("inet") if c.status == "LISTEN"]
    names = {p: p.cmdline()[0] for p in children if p.cmdline()}
    workers = sorted((p for p in names if names[p].startswith(("ray::Map", "ray::IDLE"))), key=names.get, reverse=True)
    # after a killed driver Ray's two agents try for a minute to tell a server that is gone
    lasting = [p.pid for p in children if sys.argv[4] == "worker" or not names.get(p, "").endswith("Agent")]
    told.update(listening=listening, children=lasting, workers=[names[p] for p in workers])
    if sys.argv[4] == "worker":
        workers[0].send_signal(signal.SIGKILL)
    print(json.dumps(told), flush=True)

if __name__ == "__main__":
    source = Slow(sys.argv[1])
    scored = scale.score_dataset(source, sys.argv[2], scale.load_model(sys.argv[3], "1"), "ray", 2, progress=look)
    names = [name for name in os.environ if name in RAY_SETTINGS or name.startswith("RAY_AUTH")]
    print(json.dumps({"done": scored.done, "failed": len(scored.failed), "left": names}), flush=True)
"""


@pytest.fixture
def ray_driver(folder, tmp_path):
    """Start a process that scores with Ray; afterwards nothing of it is left."""
    need(importlib.util.find_spec("ray"), "ray", "it comes with the extra scale")
    # Ray's sockets need a short path; a killed driver cannot remove its folder
    short, started = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp")), []

    def start(whom: str) -> subprocess.Popen:
        environ = {**os.environ, "TMPDIR": str(short), "HOME": str(tmp_path)}
        command = [sys.executable, "-c", RAY, folder / "in", tmp_path / "out", folder / "model.onnx", whom]
        started.append(subprocess.Popen(list(map(str, command)), env=environ, cwd=ROOT, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE))  # fmt: skip
        return started[0]

    yield start
    for process in started:
        process.kill()
        process.wait()
    shutil.rmtree(short, ignore_errors=True)


def runs(pid: int) -> bool:
    """Tell whether a process is at work."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pids: list[int], seconds: float = 60) -> None:
    """Wait until processes have ended."""
    end = time.monotonic() + seconds
    while left := [pid for pid in pids if runs(pid)]:
        assert time.monotonic() < end, left
        time.sleep(0.2)


def test_ray_with_a_killed_worker(folder, ray_driver, tmp_path):
    """The same bytes, on loopback alone, nothing left running, no file in the home, no variable left."""
    output, errors = ray_driver("worker").communicate(timeout=300)
    lines = [
        json.loads(line) for line in output.splitlines() if line.startswith("{")
    ]  # Ray tells of the kill
    assert len(lines) == 2, errors[-3000:]
    assert len(lines[0]["listening"]) >= 5 and lines[0]["workers"]
    assert {ip.removeprefix("::ffff:") for ip in lines[0]["listening"]} == {"127.0.0.1"}
    assert lines[1] == {"done": 8, "failed": 0, "left": []}
    assert read_parts(tmp_path / "out") == read_parts(folder / "process")
    wait_until_gone(lines[0]["children"])
    assert not (tmp_path / ".ray").exists()


def test_ray_with_a_killed_driver(folder, ray_driver, tmp_path):
    """What works for Ray ends with its driver, and one process does what is missing."""
    driver, target = ray_driver("nobody"), tmp_path / "out"
    told = json.loads(driver.stdout.readline())  # after the first shard
    driver.kill()
    driver.wait()
    wait_until_gone(told["children"])
    before = len(list(target.glob("_records/*.json")))
    rest = score_dataset(folder / "in", target, load_model(folder / "model.onnx", "1"))
    assert 1 <= before == rest.skipped < 8 and rest.done == 8 - before
    assert read_parts(target) == read_parts(folder / "process")


@pytest.fixture
def ray_cluster(tmp_path):
    """A Ray cluster that belongs to somebody else: one node on loopback, with a token; afterwards it is gone."""
    need(importlib.util.find_spec("ray"), "ray", "it comes with the extra scale")
    short, [port] = Path(tempfile.mkdtemp(prefix="r-", dir="/tmp")), find_ports(1)
    environ = {
        **os.environ,
        **RAY_SETTINGS,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": uuid.uuid4().hex,
        "HOME": str(tmp_path),
    }
    command = [BIN / "ray", "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2",
               "--include-dashboard=false", f"--temp-dir={short}", f"--object-store-memory={100 * 2**20}"]  # fmt: skip
    with (tmp_path / "node.log").open("w") as log:
        node = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
    yield f"127.0.0.1:{port}", environ
    os.killpg(node.pid, signal.SIGKILL)  # after SIGTERM a node drains for half a minute
    node.wait()
    shutil.rmtree(short, ignore_errors=True)


CLUSTER = """
import json, sys
from fraud_demo import scale
source, target, model, address = sys.argv[1:]
scored = scale.score_dataset(source, target, scale.load_model(model, "1"), "ray", 2, address)
print(json.dumps({"done": scored.done, "failed": len(scored.failed)}))
"""


def test_ray_cluster_by_its_address(folder, ray_cluster, tmp_path):
    """It gives the same bytes, and goes on when we are done."""
    address, environ = ray_cluster
    for target in ("first", "again"):
        command = [
            sys.executable,
            "-c",
            CLUSTER,
            folder / "in",
            tmp_path / target,
            folder / "model.onnx",
            address,
        ]
        done = subprocess.run(
            list(map(str, command)), env=environ, cwd=ROOT, text=True, capture_output=True, check=False
        )
        assert done.stdout, done.stderr[-3000:]
        assert json.loads(done.stdout.splitlines()[-1]) == {"done": 8, "failed": 0}
        assert read_parts(tmp_path / target) == read_parts(folder / "process")


# --- Spark

SPARK = """
import sys
from pyspark.sql import SparkSession
from fraud_demo.scale import load_model, score_frame
settings = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
            "spark.sql.files.openCostInBytes": str(2**27), "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2"}
builder = SparkSession.builder.master("local[2]")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
frame = spark.read.parquet(sys.argv[1])
assert frame.rdd.getNumPartitions() == 8
score_frame(frame, load_model(sys.argv[3], "1")).write.parquet(sys.argv[2])
spark.stop()
"""


def test_spark(folder, tmp_path):
    """A real local Spark gives the same scores, one partition for each shard."""
    need(shutil.which("java"), "java", ".ci/packages installs the Debian package")
    environ = {**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1",
               "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}  # fmt: skip
    done = subprocess.run([sys.executable, "-c", SPARK, folder / "in", tmp_path / "out", folder / "model.onnx"],
                          env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = (pq.read_table(path).sort_by("row") for path in (folder / "process", tmp_path / "out"))
    assert ours.num_rows == 160_000 and theirs.column_names == ours.column_names
    for name in ours.column_names:
        assert np.array_equal(ours[name].to_numpy(), theirs[name].to_numpy()), name


# --- a bucket


def test_object_store_restarted(stack, folder):
    """The store is killed while shards are scored; the next call does what is missing, with the same bytes."""
    pair = describe_stack(stack.home)
    place = f"s3://{pair.settings.object_store.bucket}/scale-{uuid.uuid4().hex[:8]}"
    settings = pair.settings
    source, target = (open_folder(f"{place}/{name}", settings) for name in ("in", "out"))
    for name in SHARDS:
        copy = folder / name
        shutil.copy(folder / "in" / name, copy)
        source.put(copy, name)
        copy.unlink()
    source.put(Path(shutil.copy(folder / "model.onnx", folder / "copy.onnx")), "model/1/model.onnx")
    (folder / "copy.onnx").unlink()
    model = load_model(f"{place}/in/model", "1", settings)
    assert model == load_model(folder / "model.onnx", "1")
    restart = threading.Thread(target=pair.kill_store)

    def kill(done: int, total: int) -> None:
        if done == 3:
            restart.start()
            time.sleep(0.3)  # until the signal is there

    try:
        first = score_dataset(source, target, model, progress=kill)
        assert first.done + len(first.failed) == 8
    except ServiceError as error:  # it was away when the manifest was to be written
        assert "cannot be read or written" in error.what
    restart.join()
    open_bucket.cache_clear()
    before = [name for name in SHARDS if target.measure(f"_records/{name}.json")]
    assert len(before) >= 3
    rest = score_dataset(source, target, model)
    assert (rest.skipped, rest.done, rest.failed) == (len(before), 8 - len(before), ())
    again = score_dataset(source, target, model, engine="pool", workers=1)
    assert (again.done, again.skipped) == (0, 8)
    found = {name: target.read(name) for name in target.list_names(".parquet")}
    assert found == {name: (folder / "process" / name).read_bytes() for name in SHARDS}
    assert json.loads(target.read("_manifest.json"))["missing"] == []
