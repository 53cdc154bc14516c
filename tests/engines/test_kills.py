"""Kill the client, MLflow and the object store with -9 at random moments: nothing is lost, a repeated call completes."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import threading
import time
from dataclasses import replace

import pytest

from benchmarks.room import PRELOAD, log_run, mark_model
from fraud_demo.core import ServiceError, load_settings
from fraud_demo.details.turns import list_turns
from fraud_demo.registry import (
    load_champion,
    load_version,
    promote,
    publish,
    read_object,
    register,
    serve_champion,
)

KILLS = {  # forty in all: the first on the servers of a laptop, the second on those of a cluster
    "client": (28, 4),
    "mlflow": (3, 2),
    "object store": (2, 1),
}
IN_A_ROW = 4  # clients that are killed one after the other: each meets what the one before it left
SEED = 2026


def count_kills(pair, what):
    """Say how often to kill something."""
    return KILLS[what]["SQLite" not in pair.name]


def walk(settings, run, split):
    """Take a run to a served champion; every call may be repeated."""
    version = register(settings, run)
    promotion = promote(settings, version, split)
    assert promotion.promoted, str(promotion)
    publish(settings, version)
    stack = {
        name: url for name, url in settings.stack.items() if name != "model_server"
    }  # has tests of its own
    return version, serve_champion(replace(settings, stack=stack))


def walk_alone(environ, seat, run, split):
    """The same in a process that will be killed."""
    os.environ.update(environ, FRAUD_DEMO_SEAT=seat)
    walk(load_settings(), run, split)


def check(settings, files):
    """Everything that the registry, the turns, the aliases and the bucket say agrees."""
    champion = load_champion(settings)
    turns = [row[1] for row in list_turns(settings).rows]
    assert turns[0] == champion.version, "the alias is where the newest turn says"
    assert hashlib.sha256(champion.onnx_path.read_bytes()).hexdigest() == champion.tags["onnx_digest"]
    for version in turns:
        found = load_version(settings, version)
        assert found.onnx_path.read_bytes() in files and found.tags["gate"] == "passed"
    pointer = json.loads(read_object(settings, f"models/{settings.served_name}/serving.json"))
    assert pointer["version"] == champion.version
    published = read_object(settings, f"{pointer['prefix']}/{champion.version}/model.onnx")
    assert published == champion.onnx_path.read_bytes()


def prepare(settings, small, folder, mark):
    """Log a run with a file of its own."""
    split, trained = small
    marked = mark_model(trained, mark, folder / mark)
    return log_run(settings, split, marked), marked.onnx_path.read_bytes()


def test_client_killed_anywhere(pair, seat, small, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    draw, killed = random.Random(SEED), 0
    logged = [
        prepare(seat, small, tmp_path, f"run-{number}") for number in range(2)
    ]  # no two files are equal
    files = [content for _, content in logged]
    began = time.monotonic()
    walk(seat, logged[-1][0], small[0])
    whole_s, rounds = time.monotonic() - began, count_kills(pair, "client") // IN_A_ROW
    for number in range(rounds):
        run, content = logged[number % len(logged)]
        for _ in range(IN_A_ROW):
            process = context.Process(target=walk_alone, args=(pair.environ, seat.seat, run, small[0]))
            process.start()
            process.join(draw.uniform(0.0, whole_s))
            process.kill()
            process.join()
            killed += process.exitcode == -signal.SIGKILL
            before = load_champion(seat)
            assert before.onnx_path.read_bytes() in files, "the champion loads before anything is repeated"
        walk(seat, run, small[0])
        check(seat, files)
        assert load_champion(seat).onnx_path.read_bytes() == content
    assert killed >= rounds * IN_A_ROW / 2, "most of them must be killed on the way"


@pytest.mark.parametrize("service", ["mlflow", "object store"])
def test_server_killed_anywhere(pair, seat, small, tmp_path, service):
    """The call may fail or wait; after the restart the same call completes."""
    draw, files = random.Random(SEED), []
    run, content = prepare(seat, small, tmp_path, "first")
    files.append(content)
    walk(seat, run, small[0])
    for number in range(count_kills(pair, service)):
        run, content = prepare(seat, small, tmp_path, f"kill-{number}")
        files.append(content)
        outcome: list = []

        def work(run=run, outcome=outcome):
            try:
                outcome.append(walk(seat, run, small[0]))
            except Exception as error:
                outcome.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        time.sleep(draw.uniform(0.0, 1.5))
        (pair.kill_mlflow if service == "mlflow" else pair.kill_store)()
        worker.join(300)
        assert outcome and isinstance(outcome[0], tuple | ServiceError), repr(outcome)
        walk(seat, run, small[0])
        check(seat, files)
        assert load_champion(seat).onnx_path.read_bytes() == content
