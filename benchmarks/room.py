"""Let thirty seats of a room work at the same moment, and show how long each step takes one of them.

Every seat is a process: it logs a run, registers it, promotes it through the gate, publishes its file and reads its
champion back, all on one MLflow server. Two servers are asked one after the other: SQLite with SeaweedFS, which is
what `fraud-demo up` starts, and PostgreSQL with the Ceph RADOS Gateway, where Debian's packages are installed.
The seconds depend on the machine; the ratio to a seat that has the server to itself is what to quote.

    python benchmarks/room.py              # about two minutes on two cores
    python benchmarks/room.py --seats 60
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fraud_demo.core import load_settings
from fraud_demo.data import Split, generate_transactions, split_transactions
from fraud_demo.discovery import connect_mlflow
from fraud_demo.registry import load_champion, promote, publish, read_object, register
from fraud_demo.training import TrainedModel, TrainingConfig, compute_digest, log_served_model, train

ROOT = Path(__file__).resolve().parent.parent
OPERATIONS = ("log a run", "register", "promote", "publish", "load champion")
PRELOAD = (
    "mlflow",
    "mlflow.pyfunc",
    "pandas",
    "onnx",
    "onnxruntime",
    "boto3",
    "fraud_demo.registry",
    __name__,
)


@dataclass
class SeatResult:
    """What one seat did, and how long it took."""

    seat: str
    seconds: dict[str, float]  # operation to seconds
    version: str = ""  # of its champion
    digest: str = ""  # of the file it made
    champion_digest: str = ""  # of the file that its champion brings
    published_digest: str = ""  # of the file in the bucket
    error: str = ""  # "" when nothing went wrong


def make_model(folder: Path) -> tuple[Split, TrainedModel]:
    """Train a small model once; the seats log copies of it."""
    split = split_transactions(generate_transactions(20_000, seed=0))
    return split, train(split, TrainingConfig(epochs=4), folder)


def mark_model(trained: TrainedModel, mark: str, folder: Path) -> TrainedModel:
    """Copy a model under a mark of its own, so that no two files are equal."""
    import onnx

    model = onnx.load(trained.onnx_path)
    onnx.helper.set_model_props(model, {**{p.key: p.value for p in model.metadata_props}, "mark": mark})
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    return replace(trained, onnx_path=folder / "model.onnx")


def log_run(
    settings, split: Split, trained: TrainedModel, tags: dict | None = None, metrics: dict | None = None
):
    """Log a run as lesson 04 does, with 25 points of two curves, and return it; tags and metrics may be changed."""
    connect_mlflow(settings)
    import mlflow

    mlflow.set_experiment(settings.registered_name)
    own = {"data_digest": split.data_digest, "split_digest": split.digest, "code_version": "room"}
    with mlflow.start_run(tags={**own, "mlflow.user": settings.seat or "workshop", **(tags or {})}) as run:
        mlflow.log_params({"seed": 7, "epochs": 25, "batch_size": 512, "rows": len(split.train)})
        for epoch in range(25):
            mlflow.log_metrics({"loss": 1 / (epoch + 1), "val_loss": 1.1 / (epoch + 1)}, step=epoch)
        mlflow.log_metrics(trained.to_metrics())
        mlflow.set_tag("onnx_digest", compute_digest(trained.onnx_path))
        log_served_model(trained, split.test)
        mlflow.log_metrics(metrics or {})
        mlflow.set_tag("fraud_demo.stage", "trained")
    return mlflow.get_run(run.info.run_id)


def work(
    seat: str, environ: Mapping[str, str], split: Split, trained: TrainedModel, folder: Path, barrier, pipe
) -> None:
    """Do what one seat does; runs in a process of its own."""
    os.environ.update(environ, FRAUD_DEMO_SEAT=seat)
    result = SeatResult(seat, {})
    try:
        settings = load_settings()
        ours = mark_model(trained, seat, folder / seat)
        barrier.wait(120)

        def clock(operation, call, *arguments):
            start = time.perf_counter()
            answer = call(settings, *arguments)
            result.seconds[operation] = time.perf_counter() - start
            return answer

        run = clock("log a run", log_run, split, ours)
        version = clock("register", register, run)
        promotion = clock("promote", promote, version, split)
        assert promotion.promoted, str(promotion)
        prefix = clock("publish", publish, version)
        champion = clock("load champion", load_champion)
        result.version, result.digest = champion.version, compute_digest(ours.onnx_path)
        result.champion_digest = compute_digest(champion.onnx_path)
        published = read_object(settings, f"{prefix}/{version}/model.onnx")
        result.published_digest = hashlib.sha256(published).hexdigest()
    except BaseException as error:  # whatever it is, the parent has to hear of it
        result.error = f"{type(error).__name__}: {error}"
    pipe.send(result)


def run_room(
    environ: Mapping[str, str], seats: list[str], split: Split, trained: TrainedModel
) -> list[SeatResult]:
    """Let all seats work at the same moment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    barrier = context.Barrier(len(seats))
    with tempfile.TemporaryDirectory() as folder:
        pipes, processes = [], []
        for seat in seats:
            ours, theirs = context.Pipe(duplex=False)
            arguments = (seat, dict(environ), split, trained, Path(folder), barrier, theirs)
            processes.append(context.Process(target=work, args=arguments))
            processes[-1].start()
            theirs.close()
            pipes.append(ours)
        results = []
        for seat, pipe, process in zip(seats, pipes, processes, strict=True):
            try:
                results.append(pipe.recv())
            except EOFError:
                results.append(SeatResult(seat, {}, error="the process ended without a word"))
            process.join(60)
    return results


def show(name: str, results: list[SeatResult], alone: SeatResult) -> None:
    """Print the figures of one pair of servers."""
    print(f"\n{name}: {len(results)} seats at once")
    print(f"{'operation':16}{'p50 s':>8}{'p95 s':>8}{'alone s':>9}{'p50 / alone':>13}")
    for operation in OPERATIONS:
        seconds = [result.seconds[operation] for result in results if operation in result.seconds]
        p50, p95 = np.percentile(seconds, [50, 95]) if seconds else (np.nan, np.nan)
        one = alone.seconds.get(operation, np.nan)
        print(f"{operation:16}{p50:8.2f}{p95:8.2f}{one:9.2f}{p50 / one:13.1f}")
    errors = [f"{result.seat}: {result.error}" for result in results if result.error]
    print("errors", len(errors), *errors, sep="\n  " if errors else " ")


def main() -> int:
    """Start the servers, run the rooms, print the figures; exit 1 when a seat met an error."""
    sys.path.insert(0, str(ROOT))
    from tests.engines.servers import list_missing, start_local_stack, start_postgres_and_ceph

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seats", type=int, default=30)
    count = parser.parse_args().seats
    starts, has_errors = [start_local_stack], False
    if missing := list_missing():
        print(f"PostgreSQL and Ceph are left out: {', '.join(missing)} not found.")
    else:
        starts.append(start_postgres_and_ceph)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # PostgreSQL runs as a user of its own
        split, trained = make_model(Path(folder) / "model")
        for number, start in enumerate(starts):
            (Path(folder) / str(number)).mkdir()
            pair, stop = start(Path(folder) / str(number))
            try:
                [alone] = run_room(pair.environ, ["alone"], split, trained)
                results = run_room(pair.environ, [f"{seat + 1:02}" for seat in range(count)], split, trained)
            finally:
                stop()
            show(pair.name, results, alone)
            has_errors |= any(result.error for result in results)
    return int(has_errors)


if __name__ == "__main__":
    sys.exit(main())
