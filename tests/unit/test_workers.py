"""Who trains together, which rows are whose, what a search makes of failures, and whether plans come true."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import plan
from fraud_demo import workers
from fraud_demo.core import FEATURE_NAMES, InputError, ServiceError, Settings
from fraud_demo.data import LabeledRows, Split
from fraud_demo.details import processes as job_processes
from fraud_demo.details import trials as search_trials
from fraud_demo.details import worker_group
from fraud_demo.details.plan import ONE_CORE, Measurement, Rates, Site, fit_rates, plan_scoring, plot_plans
from fraud_demo.details.processes import read_config, read_job, write_config, write_job
from fraud_demo.details.trials import Search, Trial, try_recipes
from fraud_demo.details.worker_group import WorkerGroup
from fraud_demo.training import TrainingConfig, draw_rows
from fraud_demo.workers import (
    ClusterSpec,
    check_batch,
    load_checkpoint,
    make_recipes,
    read_cluster_spec,
    save_checkpoint,
    take_share,
)

JOB = {
    "JOB_COMPLETION_INDEX": "1",
    "FRAUD_DEMO_WORKERS": "3",
    "FRAUD_DEMO_WORKER_ADDRESS": "fraud-training-{index}.fraud-training:2222",
}


@pytest.fixture
def split():
    """A thousand rows, a tenth of them fraud."""
    rng = np.random.default_rng(0)
    rows = LabeledRows(
        rng.random((1000, len(FEATURE_NAMES)), np.float32), (np.arange(1000) % 10 == 0).astype(np.int8)
    )
    return Split(rows, rows, rows, "d" * 64, "s" * 64)


def test_indexed_job_becomes_tf_config():
    cluster = read_cluster_spec(JOB)
    assert json.loads(cluster.to_tf_config()) == {
        "cluster": {"worker": [f"fraud-training-{i}.fraud-training:2222" for i in range(3)]},
        "task": {"type": "worker", "index": 1},
    }
    assert not cluster.is_chief and read_cluster_spec({**JOB, "JOB_COMPLETION_INDEX": "0"}).is_chief


def test_tf_config_is_read_back_and_goes_before_the_job():
    cluster = ClusterSpec(("a:1", "b:2"), 1)
    assert read_cluster_spec({"TF_CONFIG": cluster.to_tf_config()}) == cluster
    assert read_cluster_spec({**JOB, "TF_CONFIG": cluster.to_tf_config()}) == cluster


def test_a_process_without_variables_is_alone():
    assert read_cluster_spec({}).is_chief and len(read_cluster_spec({}).addresses) == 1


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({**JOB, "JOB_COMPLETION_INDEX": "3"}, "no worker 3 among 3"),
        ({**JOB, "JOB_COMPLETION_INDEX": "x"}, "invalid literal"),
        ({**JOB, "FRAUD_DEMO_WORKERS": "0"}, "among 0"),
        ({"JOB_COMPLETION_INDEX": "0"}, "FRAUD_DEMO_WORKER_ADDRESS"),
        ({"TF_CONFIG": "{"}, "JSONDecodeError"),
        ({"TF_CONFIG": "[]"}, "TypeError"),
        ({"TF_CONFIG": '{"cluster": {}}'}, "worker"),
        ({"TF_CONFIG": '{"cluster": {"worker": "a:1"}, "task": {"index": 0}}'}, "list of addresses"),
        (
            {"TF_CONFIG": '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}'},
            "workers alone",
        ),
        (
            {
                "TF_CONFIG": '{"cluster": {"chief": ["c:1"], "worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}'
            },
            "workers alone",
        ),
    ],
)
def test_wrong_variables_are_explained(environ, words):
    with pytest.raises(InputError) as caught:
        read_cluster_spec(environ)
    assert words in str(caught.value)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_shares_are_the_batches_of_one_process(n):
    drawn = np.random.default_rng(1).permutation(1003).astype(np.int32)
    shares = [take_share(drawn, 64, n, i).reshape(15, -1) for i in range(n)]
    assert (np.concatenate(shares, axis=1).ravel() == drawn[: 15 * 64]).all()


def test_batch_is_the_one_of_lesson_04(split):
    config = TrainingConfig(batch_size=50)
    drawn = draw_rows(split.train, config.legitimate_share, np.random.default_rng(config.seed))
    assert check_batch(split, config, 2) == (50, len(drawn) // 50)


@pytest.mark.parametrize("n", [0, 3])
def test_a_batch_that_cannot_be_shared_is_refused(split, n):
    with pytest.raises(InputError, match="cannot be shared"):
        check_batch(split, TrainingConfig(batch_size=50), n)


def test_job_comes_back_from_its_folder(split, tmp_path):
    config = TrainingConfig(hidden=(8, 4), batch_size=32)
    assert read_config(write_config(config)) == config
    write_job(tmp_path / "new", split, config)
    found, same = read_job(tmp_path / "new")
    assert same == config and found.digest == split.digest and len(found.test) == 0
    assert (found.train.features == split.train.features).all()
    assert (found.validation.labels == split.validation.labels).all()


def test_checkpoint_is_whole_or_absent(tmp_path, monkeypatch):
    """A write that breaks off leaves the checkpoint before it; another job's counts for nothing."""
    path = tmp_path / "checkpoint.npz"
    assert load_checkpoint(path, "a") is None
    save_checkpoint(path, [np.arange(3.0)], {"loss": [0.5]}, "a")
    monkeypatch.setattr(os, "fsync", lambda number: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, [np.zeros(3)], {"loss": [0.5, 0.4]}, "a")
    arrays, notes = load_checkpoint(path, "a")
    assert arrays[0].tolist() == [0, 1, 2] and notes["history"] == {"loss": [0.5]} and not notes["is_done"]
    assert load_checkpoint(path, "b") is None


@pytest.mark.parametrize("damage", ["empty", "half", "flipped", "other"])
def test_checkpoint_that_cannot_be_read_is_none_and_said(tmp_path, caplog, damage):
    """The pods of a Job start again and again: a file that stops each of them would never be mended."""
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, [np.arange(3000.0)], {"loss": [0.5]}, "a")
    whole = path.read_bytes()
    spoiled = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "flipped": whole[:900] + bytes([whole[900] ^ 255]) + whole[901:],
        "other": b"a text",
    }
    path.write_bytes(spoiled[damage])
    assert load_checkpoint(path, "a") is None
    assert "cannot be read" in caplog.text and str(tmp_path) not in caplog.text


def test_recipes_are_all_combinations():
    found = make_recipes(TrainingConfig(), peak_learning_rate=(0.01, 0.02), hidden=((8,), (16,), (32,)))
    assert len(found) == 6
    assert {(c.peak_learning_rate, c.hidden) for c in found.values()} == {
        (r, h) for r in (0.01, 0.02) for h in ((8,), (16,), (32,))
    }
    with pytest.raises(InputError, match="has no depth"):
        make_recipes(TrainingConfig(), depth=(1, 2))


STAND_IN = """
import json, os, signal, sys
for line in sys.stdin:
    seed = json.loads(line)["seed"]
    if seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    figures = {"cost_per_1000": seed, "pr_auc": 0.5, "threshold": 0.5, "fit_s": 1}
    answer = {"error": "ValueError: no"} if seed == 2 else {"figures": figures}
    print(json.dumps(answer), flush=True)
"""


def start_stand_in(part, folder, name, prefix=(), **environ):
    """Start a process that answers as `run_trials` does, without a network to train."""
    return subprocess.Popen(
        [sys.executable, "-c", STAND_IN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_failed_and_killed_trials_do_not_stop_the_others(split, tmp_path, monkeypatch, processes):
    started = []
    monkeypatch.setattr(
        search_trials, "start_process", lambda *a, **k: started.append(start_stand_in(*a, **k)) or started[-1]
    )
    recipes = {f"seed={n}": replace(TrainingConfig(), seed=n) for n in (5, 1, 2, 4, 3)}
    trials = try_recipes(split, recipes, tmp_path, processes)
    assert [trial.name for trial in trials] == list(recipes)
    assert {t.name: t.error for t in trials if t.error} == {
        "seed=1": "The process was ended by SIGKILL.",
        "seed=2": "ValueError: no",
    }
    search = Search(trials, 1.0)
    assert search.best.name == "seed=3"
    rows = [row[0] for row in search.table.rows]
    assert rows[:3] == ["seed=3", "seed=4", "seed=5"] and set(rows[3:]) == {"seed=1", "seed=2"}
    assert all(process.poll() is not None for process in started), "no process is left"


def test_a_search_without_a_result_says_why():
    with pytest.raises(InputError, match="ValueError: no"):
        _ = Search((Trial("a", TrainingConfig(), {}, "ValueError: no"),), 1.0).best


WORKER = """
import json, os, sys, time
index, how = json.loads(os.environ["TF_CONFIG"])["task"]["index"], sys.argv[1]
print(json.dumps({"ready": True}), flush=True)
for epoch in range(3):
    print(json.dumps({"epoch": epoch, "figures": {"loss": 1.0}} if index == 0 else {"beat": 1}), flush=True)
    time.sleep(0.05)
if how != "end":
    if index == 1 and how == "fail":
        sys.exit("ValueError: planted")
    if index == 1 and how in ("silent", "stuck"):
        time.sleep(60)
    if index == 0 and how == "stuck":  # as TensorFlow does when it hears nothing from the other
        time.sleep(1.5)
        sys.exit("UnavailableError: planted")
    while True:
        print(json.dumps({"beat": 1}), flush=True)
        time.sleep(0.05)
"""


def start_workers(monkeypatch, tmp_path, how):
    """Make a group start stand-ins that end well, fail, fall silent or go on for ever."""

    def start(part, folder, name, prefix=(), **environ):
        with (folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-c", WORKER, how], env={**os.environ, **environ}, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True)  # fmt: skip

    monkeypatch.setattr(worker_group, "start_process", start)
    if how == "stuck":
        monkeypatch.setattr(worker_group, "BEAT_S", 0.2)
    return WorkerGroup(tmp_path, 2, silence_s=20.0 if how == "stuck" else 1.0)


def test_epochs_arrive_and_all_end(monkeypatch, tmp_path):
    with start_workers(monkeypatch, tmp_path, "end") as group:
        assert [epoch for epoch, _ in group.follow()] == [0, 1, 2]
    assert [process.returncode for process in group.processes] == [0, 0]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("fail", ("Worker 1 of 2 ended with code 1.", "ValueError: planted")),
        ("stuck", ("Worker 1 of 2 has given no sign of life for 1 s.", "from the start")),
        ("silent", ("Worker 1 of 2 has given no sign of life for 1 s.", "from the start")),
        ("kill", ("Worker 1 of 2 was ended by SIGKILL.", "The same call again")),
    ],
)
def test_a_lost_worker_is_named_and_all_are_ended(monkeypatch, tmp_path, how, words):
    group = start_workers(monkeypatch, tmp_path, how)
    with pytest.raises(ServiceError) as caught, group:
        for epoch, _ in group.follow():
            if how == "kill" and epoch == 2:
                os.kill(group.processes[1].pid, signal.SIGKILL)
    assert all(word in str(caught.value) for word in words), caught.value
    assert all(process.poll() is not None for process in group.processes)


def test_a_process_ends_when_nobody_listens(tmp_path):
    """As when the kernel that started it is gone."""
    process = job_processes.start_process("fraud_demo.details.processes:beat", tmp_path, "beat")
    assert json.loads(process.stdout.readline())["beat"] > 0
    process.stdout.close()
    assert process.wait(60) == 1


def test_private_network_is_taken_down(tmp_path):
    """What listens inside on all addresses is not reached from outside, where the system has such networks."""
    listen = (
        "import socket, sys; s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True);"
        "sys.stdin.read()"
    )
    with job_processes.open_private_network() as prefix:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", listen], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        port = process.stdout.readline().strip()
        reach = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        inside = subprocess.run([*prefix, sys.executable, "-c", reach], capture_output=True, check=False)
        outside = subprocess.run([sys.executable, "-c", reach], capture_output=True, check=False)
        process.communicate()
    assert inside.returncode == 0, inside.stderr
    assert (outside.returncode != 0) == bool(prefix)


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("index", [0, 1])
def test_a_pod_that_comes_late_waits_for_nobody(split, tmp_path, monkeypatch, index, is_done):
    """After the last epoch the other pods are gone for good, and the chief's last steps need none of them."""
    calls = []
    monkeypatch.setattr(workers, "load_settings", lambda: Settings(home=tmp_path))
    monkeypatch.setattr(workers, "prepare_transactions", lambda settings: None)
    monkeypatch.setattr(workers, "split_transactions", lambda table: split)
    monkeypatch.setattr(workers, "join_cluster", lambda cluster: calls.append(len(cluster.addresses)))
    monkeypatch.setattr(workers, "train_tracked", lambda *_, fit: calls.append("tracked"))
    monkeypatch.setattr(workers, "fit_as_worker", lambda *_, **__: calls.append("fit"))
    for name, value in {**JOB, "JOB_COMPLETION_INDEX": str(index)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    config = TrainingConfig()
    path = tmp_path / "workers" / workers.identify_folder(split, config) / workers.CHECKPOINT
    save_checkpoint(path, [np.zeros(1)], {}, workers.identify_job(split, config), is_done)
    workers.train_in_job()
    expected = {(0, False): [3, "tracked"], (1, False): [3, "fit"], (0, True): [1, "tracked"], (1, True): []}
    assert calls == expected[index, is_done]


class FakeRay:
    """Runs at once, in this process, what Ray would run somewhere else."""

    class util:
        """Where Ray keeps its small functions."""

        @staticmethod
        def get_node_ip_address():
            return "127.0.0.1"

    def __init__(self):
        self.options = None

    def is_initialized(self):
        return True

    def remote(self, **options):
        self.options = options

        def wrap(kind):
            def make(function):
                return SimpleNamespace(remote=lambda *arguments: function(*arguments))

            def create():
                actor = kind()
                return SimpleNamespace(find_address=make(actor.find_address), work=make(actor.work))

            return SimpleNamespace(remote=create)

        return wrap

    def get(self, found):
        return found


def test_ray_tells_each_actor_who_it_is(monkeypatch):
    ray, seen = FakeRay(), []
    monkeypatch.setattr(workers, "import_extra", lambda module, extra: ray)
    monkeypatch.setattr(workers, "train_in_job", lambda: seen.append(read_cluster_spec(os.environ)))
    monkeypatch.setenv("TF_CONFIG", "")
    workers.train_on_ray(3)
    assert [cluster.index for cluster in seen] == [0, 1, 2]
    assert len({cluster.addresses for cluster in seen}) == 1 and len(set(seen[0].addresses)) == 3
    assert ray.options["max_restarts"] == 0, (
        "a lost actor ends the job; the next try goes on from the checkpoint"
    )


TRUE = Rates(start_s=2.0, shard_s=0.05, row_s=4e-7, row_bytes=20.0)
SIZES = ((100_000, 1), (100_000, 8), (1_000_000, 1), (10_000_000, 10))


def take_time(rows, shards, noise=1.0):
    """Compute what a core of the true rates would need."""
    return Measurement(rows, shards, noise * (TRUE.start_s + shards * TRUE.shard_s + rows * TRUE.row_s))


def test_rates_are_found_in_exact_measurements():
    found = fit_rates([take_time(*size) for size in SIZES], 20.0)
    assert np.allclose([found.start_s, found.shard_s, found.row_s], [TRUE.start_s, TRUE.shard_s, TRUE.row_s])


@pytest.mark.parametrize("seed", range(20))
def test_prediction_holds_with_noise(seed):
    """Three percent of noise in each measurement, a job four times as large: within twenty percent."""
    rng = np.random.default_rng(seed)
    found = fit_rates([take_time(*size, rng.normal(1, 0.03)) for size in SIZES], 20.0)
    predicted = plan_scoring(40_000_000, 1, found, ONE_CORE).seconds
    assert abs(predicted / take_time(40_000_000, 40).seconds - 1) < 0.2


def test_measurements_that_say_too_little_are_refused():
    with pytest.raises(InputError, match="do not tell"):
        fit_rates([take_time(n, n // 100_000) for n in (100_000, 200_000, 400_000)], 20.0)
    for wrong in ([], [take_time(*size) for size in SIZES[:2]]):
        with pytest.raises(InputError, match="do not tell"):
            fit_rates(wrong, 20.0)
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="no time"):
            fit_rates([*(take_time(*size) for size in SIZES), Measurement(1000, 1, seconds)], 20.0)


def test_one_core_needs_the_sum_of_its_parts():
    found = plan_scoring(3_500_000, 1, TRUE, ONE_CORE)
    assert found.shards == 4
    assert np.isclose(found.seconds, take_time(3_500_000, 4).seconds)
    assert np.isclose(sum(found.shares.values()), 1) and found.bound == "starting"


def test_cores_share_the_work():
    one, four = (plan_scoring(80_000_000, n, TRUE, replace(ONE_CORE, cores=2)) for n in (1, 4))
    work = 80_000_000 * TRUE.row_s + 80 * TRUE.shard_s
    assert np.isclose(one.seconds - TRUE.start_s, work / 2) and np.isclose(
        four.seconds - TRUE.start_s, work / 8
    )
    assert plan_scoring(81_000_000, 4, TRUE, replace(ONE_CORE, cores=2)).seconds > four.seconds + TRUE.shard_s


def test_the_store_is_a_floor_that_nodes_do_not_lower():
    site = Site(store_bytes_s=1e9)
    plans = [plan_scoring(10**11, nodes, TRUE, site) for nodes in (16, 64)]
    floor = 10**11 * TRUE.row_bytes / 1e9
    assert [plan.bound for plan in plans] == ["store", "store"]
    assert all(floor <= plan.seconds < 1.1 * floor + 100 for plan in plans)
    assert plans[1].core_hours > 3.5 * plans[0].core_hours


def test_a_node_cannot_take_more_than_its_network():
    site = Site(node_bytes_s=1e7, stream_bytes_s=1e9)
    found = plan_scoring(10**9, 2, TRUE, site)
    assert found.bound == "networks of the nodes" and found.seconds >= 10**9 * TRUE.row_bytes / 2e7


def test_a_trillion_rows_are_planned_in_seconds():
    start = time.perf_counter()
    found = plan_scoring(10**12, 64, TRUE)
    assert found.shards == 100_000 and time.perf_counter() - start < 60
    assert plan_scoring(10**12, 64, TRUE, rows_per_shard=10**8).shards == 10_000


def test_plot_says_its_numbers():
    plans = [plan_scoring(10**size, nodes, TRUE) for size in range(5, 11) for nodes in (1, 2)]
    figure = plot_plans(plans)
    assert "1e+08 rows" in figure.get_label()
    assert len(figure.axes[0].lines) == 12, "two lines for each size"


@pytest.mark.parametrize("busy", [1.0, 1.5])
def test_benchmark_predicts_what_it_holds_out(busy):
    """True rates predict without error; a clock that ran for other programs as well is not judged."""
    one = take_time(10_000_000, 10).seconds
    two = (take_time(5_000_000, 5).seconds, 2 * take_time(5_000_000, 5).seconds)
    figures = {
        "rows": 1_000_000,
        "cores": 2,
        "rates": {"clock": vars(TRUE), "processor": vars(TRUE)},
        "seconds": {"held out, one core": (one * busy, one), "held out, all cores": (two[0] * busy, two[1])},
    }
    found = plan.predict(figures)
    assert len(found) == 4
    for name, (predicted, measured, is_disturbed) in found.items():
        is_clock = name.endswith("clock")
        assert is_disturbed == (is_clock and busy > 1)
        assert predicted * (busy if is_clock else 1) == pytest.approx(measured)
