"""Measure small scoring jobs, fit the numbers that describe a core, and predict a job that was not measured.

Each job is a process of its own that is pinned to a core and scores shards, one after the other, with `score_file`.
From a few sizes `fit_rates` finds what a process, a shard and a row cost. `plan_scoring` then predicts ten times the
rows, on one core and on all cores at once, and the prediction is compared with what they really take: by the time of
the processor, and by the clock, which counts only where no other program took the cores.
At the end stands what the rates mean for 10^9 and for 10^12 rows on the machines that `Site` describes.

    python benchmarks/plan.py              # 10,000,000 rows held out, about two minutes on two cores
    python benchmarks/plan.py --rows 200000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

from fraud_demo.batch import score_file
from fraud_demo.data import generate_transactions, save_transactions, split_transactions
from fraud_demo.details.plan import ONE_CORE, Measurement, Plan, Rates, fit_rates, plan_scoring
from fraud_demo.serving import LocalScorer
from fraud_demo.training import TrainingConfig, train

GOAL = 0.2  # largest error of the prediction
FREE = 0.85  # share of the time that a core must have been ours for the clock to count
HELD_OUT = 10  # shards of the job that is predicted


def score_shards(path: Path, output: Path, model: Path, shards: int) -> None:
    """Score a file as often as there are shards."""
    scorer = LocalScorer(model, "1")
    for _ in range(shards):
        score_file(path, output, scorer)


def list_cores() -> list[int]:
    """List the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]


def start_job(path: Path, model: Path, shards: int, core: int) -> subprocess.Popen:
    """Start a process that scores shards on one core."""
    output = path.with_name(f"scored-{core}.parquet")
    words = [sys.executable, __file__, "--job", path, output, model, shards, core]
    return subprocess.Popen([str(word) for word in words])


def run_jobs(path: Path, model: Path, shards: list[int]) -> tuple[float, float]:
    """Run one process a core; return the seconds by the clock, and those of all processors together."""
    start = time.perf_counter()
    processes = [start_job(path, model, n, core) for n, core in zip(shards, list_cores(), strict=False)]
    spent = 0.0
    for process in processes:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit("A job failed; its words stand above.")
        spent += used.ru_utime + used.ru_stime
    return time.perf_counter() - start, spent


def measure(rows: int, rounds: int, folder: Path) -> dict:
    """Run everything; return the figures."""
    split = split_transactions(generate_transactions(50_000, seed=0))
    model = train(split, TrainingConfig(epochs=4), folder / "model").onnx_path
    sizes = ((rows // 10, 1), (rows // 10, 8), (rows, 1), (rows, 3))
    paths = {n: folder / f"{n}.parquet" for n in (rows // 10, rows)}
    for n, path in paths.items():
        save_transactions([generate_transactions(n, seed=1)], path)
    cores = len(list_cores())
    spread = [HELD_OUT // cores + (i < HELD_OUT % cores) for i in range(min(cores, HELD_OUT))]
    jobs = {f"{n:,} rows x {k}": (paths[n], [k]) for n, k in sizes}
    jobs |= {"held out, one core": (paths[rows], [HELD_OUT]), "held out, all cores": (paths[rows], spread)}
    run_jobs(paths[rows], model, [1])  # the first reads what the others find in memory
    found = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, (path, shards) in jobs.items():
            found[name].append(run_jobs(path, model, shards))
    figures = {name: [median(column) for column in zip(*runs, strict=True)] for name, runs in found.items()}
    moved = paths[rows].stat().st_size + (folder / f"scored-{list_cores()[0]}.parquet").stat().st_size
    fits = {}
    for place, clock in enumerate(("clock", "processor")):
        measured = [
            Measurement(n * k, k, figures[name][place]) for (n, k), name in zip(sizes, figures, strict=False)
        ]
        fits[clock] = asdict(fit_rates(measured, moved / rows))
    return {"rows": rows, "cores": cores, "runs": found, "seconds": figures, "rates": fits}


def predict(figures: dict) -> dict[str, tuple[float, float, bool]]:
    """Return predicted and measured seconds of what was held out, and whether other programs disturbed them."""
    rows, cores, found = figures["rows"], figures["cores"], {}
    for name, n in (("one core", 1), ("all cores", min(cores, HELD_OUT))):
        clock, processor = figures["seconds"][f"held out, {name}"]
        for kind in figures["rates"]:
            rates = Rates(**figures["rates"][kind])
            plan = plan_scoring(rows * HELD_OUT, 1, rates, replace(ONE_CORE, cores=n), rows)
            worked = plan.core_hours * 3600 * (1 - plan.shares["idle"])  # by all cores together
            is_disturbed = kind == "clock" and processor < FREE * clock * n
            predicted, measured = (plan.seconds, clock) if kind == "clock" else (worked, processor)
            found[f"{name}, by the {kind}"] = (predicted, measured, is_disturbed)
    return found


def show_plans(rates: Rates) -> None:
    """Print what the rates mean for large jobs."""
    print(f"\n{'rows':>8}{'nodes':>7}{'hours':>9}{'core-hours':>12}   held up by")
    for rows in (10**9, 10**12):
        for nodes in (1, 4, 16, 64, 256):
            plan: Plan = plan_scoring(rows, nodes, rates)
            print(f"{rows:8.0e}{nodes:7}{plan.seconds / 3600:9.2f}{plan.core_hours:12.1f}   {plan.bound}")


def main() -> None:
    """Run one job, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of a shard (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each job (default: %(default)s)")
    parser.add_argument(
        "--json", type=Path, default=Path("benchmarks/out/plan.json"), help="where the figures go"
    )
    parser.add_argument("--job", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        path, output, model, shards, core = options.job
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {int(core)})
        score_shards(Path(path), Path(output), Path(model), int(shards))
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options.rows, options.rounds, Path(folder))
    for name, (clock, processor) in figures["seconds"].items():
        print(f"{name:24}{clock:9.2f} s by the clock{processor:9.2f} s of the processors")
    for clock, rates in figures["rates"].items():
        print(
            f"\nrates by the {clock}: start {rates['start_s']:.2f} s, shard {rates['shard_s'] * 1000:.0f} ms, ",
            end="",
        )
        print(f"row {rates['row_s'] * 1e9:.0f} ns, {rates['row_bytes']:.1f} bytes a row")
    figures["predictions"] = {}
    for name, (predicted, measured, is_disturbed) in predict(figures).items():
        error = predicted / measured - 1
        verdict = "met" if abs(error) <= GOAL else "NOT MET"
        verdict = "not judged: other programs took the processor" if is_disturbed else verdict
        print(f"{name:36}{predicted:9.2f} s predicted{measured:9.2f} s measured{error:+8.1%}   {verdict}")
        figures["predictions"][name] = {"predicted": predicted, "measured": measured, "error": error}
    show_plans(Rates(**figures["rates"]["processor"]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
