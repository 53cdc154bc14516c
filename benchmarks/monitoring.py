"""Show that the monitor of lesson 08 keeps its word, and what the prediction log costs the model server.

The first part simulates: 1,000 weeks in which nothing changes, and many streams for each change, judged every day with
the limits of `choose_limits`. It prints how many false alarms there were against how many were allowed, and how many
days each change stays unnoticed, by drift and by cost. The model is the rule of lesson 02 with a few mistakes, so that
it runs in minutes and needs nothing trained.

The second part (`--server`) asks one model server in short rounds, which take turns with and without its log.
Two processes of the same program differ by a few percent for as long as they run, so it is one process, started by
`PAUSABLE`: on a signal it pauses the log, its thread included. What else the machine does hits both kinds of rounds;
the median of the rounds' ratios is what to quote, and the ± beside it is its standard error. Throughput, 99th
percentile, and the processor time that a request costs, in all threads.

    python -m benchmarks.monitoring                      # about a minute
    python -m benchmarks.monitoring --server             # seven minutes more
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import psutil

from fraud_demo import monitoring
from fraud_demo.core import FEATURE_NAMES
from fraud_demo.data import generate_transactions, label_transactions
from fraud_demo.details.prediction_log import LogLimits
from fraud_demo.serving import Scores

ROWS_PER_DAY = 1000
STATED = {  # days in which a change is noticed in nine of ten streams: by drift, by cost; None: no promise
    "new region": (4, None),
    "price shock": (2, None),
    "bot ring": (None, 1),
    "label rule": (None, 1),
    "chip campaign": (1, None),
}
LOSS_GOAL = 0.05  # of throughput, of the 99th percentile and of the work for a request
MEASURES = (
    ("throughput", "requests/s", 1.0),
    ("99th percentile", "ms", 1e3),
    ("processor time of a request", "ms", 1e3),
)


# ---- false alarms, and days to notice


def score_by_rule(table, seed: int, mistakes: float = 0.002) -> Scores:
    """Score as a good model would: the labels of the rule, and a few mistakes."""
    wrong = np.random.default_rng([seed, 1]).random(len(table)) < mistakes
    verdict = label_transactions(table).astype(bool) ^ wrong
    return Scores(np.where(verdict, 0.98, 0.0005).astype(np.float32), verdict, 0.5, "1")


def make_reference():
    """Make the rows that the limits rest on."""
    table = generate_transactions(200_000, seed=10_001)
    scores = score_by_rule(table, 10_001)
    return table.assign(fraud_probability=scores.fraud_probability, is_fraud=scores.is_fraud)


def replay(reference, limits, change: str, weeks: int, seed: int, quiet_weeks: int = 2):
    """Live through one stream."""
    stream = monitoring.generate_stream(weeks, change, limits.rows_per_day, quiet_weeks, seed)
    return monitoring.replay(reference, stream, score_by_rule(stream, seed), limits)


def count_false_alarms(reference, limits, weeks: int, piece: int = 50) -> tuple[int, int]:
    """Count alarms for drift and for cost in weeks without a change."""
    drift = cost = 0
    for seed in range(0, weeks, piece):
        seen = replay(reference, limits, "none", piece + 1, seed, piece + 1)
        drift += monitoring.count_episodes(seen.is_drift.any(axis=1))
        cost += monitoring.count_episodes(seen.is_costly)
    return drift, cost


def measure_days(reference, limits, change: str, streams: int) -> dict[str, list[int | None]]:
    """Measure in how many days a change is noticed."""
    days = {"drift": [], "cost": []}
    for seed in range(streams):
        seen = replay(reference, limits, change, 6, 5000 + seed)
        days["drift"].append(seen.find_first(seen.is_drift.any(axis=1), 14))
        days["cost"].append(seen.find_first(seen.is_costly, 14))
    return days


def tell_days(days: list[int | None]) -> str:
    """Say how long nine of ten took, and how many were found in four weeks."""
    found = sorted(day for day in days if day)
    if len(found) < 0.9 * len(days):
        return f"{len(found)} of {len(days)}"
    return f"median {found[len(days) // 2]}, nine of ten {found[int(np.ceil(0.9 * len(days))) - 1]}"


def simulate(weeks: int, streams: int, limits=None) -> dict[str, bool]:
    """Print both tables; return whether each promise was kept."""
    reference = make_reference()
    kept = {}
    for rate in (1.0, 4.0):
        limits = monitoring.choose_limits(reference, ROWS_PER_DAY, 7, rate)
        allowed = rate * weeks * 7 / 365
        drift, cost = count_false_alarms(reference, limits, weeks)
        print(f"{weeks:,} weeks without a change, {rate:g} false alarms a year allowed: {allowed:.0f} in all, "
              f"{drift} for drift, {cost} for cost")  # fmt: skip
        kept |= {
            f"drift alarms at {rate:g} a year": drift <= allowed,
            f"cost alarms at {rate:g} a year": cost <= allowed,
        }
    limits = monitoring.choose_limits(reference, ROWS_PER_DAY, 7, 1.0)
    print(
        f"\ndays to notice, {streams} streams each, one false alarm a year\n{'change':16}{'by drift':34}{'by cost, from the labels on':34}"
    )
    for change, stated in STATED.items():
        days = measure_days(reference, limits, change, streams)
        print(f"{change:16}{tell_days(days['drift']):34}{tell_days(days['cost']):34}")
        for kind, limit in zip(("drift", "cost"), stated, strict=True):
            if limit is not None:
                in_time = sum(day is not None and day <= limit for day in days[kind])
                kept[f"{change} by {kind} in {limit} days"] = in_time >= 0.9 * streams
    harmless = measure_days(reference, limits, "chip campaign", streams)["cost"]
    kept["chip campaign does no harm"] = sum(day is not None for day in harmless) <= 0.2 * streams
    return kept


# ---- what the log costs


def make_bodies() -> dict[str, bytes]:
    """Make a request of one row and one of 1,000 rows, as JSON."""
    bodies = {}
    for rows in (1, 1000):
        data = generate_transactions(rows, seed=3)[list(FEATURE_NAMES)].to_numpy(np.float64).ravel().tolist()
        tensor = {"name": "dense_input", "shape": [rows, 7], "datatype": "FP32", "data": data}
        bodies[f"{rows:,} row{'s' * (rows > 1)}"] = json.dumps({"inputs": [tensor]}).encode()
    return bodies


def ask_for_a_while(port: int, path: str, body: bytes, seconds: float, clients: int) -> list[float]:
    """Ask from several connections; return the seconds of each answer."""
    import http.client

    times, stop = [], time.perf_counter() + seconds

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while (started := time.perf_counter()) < stop:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200
            times.append(time.perf_counter() - started)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


def read_cpu(server) -> float:
    """Read how many seconds of a processor a server has used, in all of its threads."""
    used = psutil.Process(server.process.pid).cpu_times()
    return used.user + used.system


PAUSABLE = """
import signal, sys
from fraud_demo.details.prediction_log import PredictionLog
from fraud_demo.workshop import model_server
is_on = False
def pause(*_):
    global is_on
    is_on = not is_on
def unless_paused(function):
    return lambda *given, **named: is_on and function(*given, **named)
signal.signal(signal.SIGUSR1, pause)
model_server.is_logged = unless_paused(model_server.is_logged)
PredictionLog._collect = unless_paused(PredictionLog._collect)
PredictionLog._write = unless_paused(PredictionLog._write)
sys.exit(model_server.main())
"""


@contextmanager
def resume_log(server):
    """Let the log work for a while."""
    os.kill(server.process.pid, signal.SIGUSR1)
    yield
    os.kill(server.process.pid, signal.SIGUSR1)


def measure_round(server, path: str, body: bytes, seconds: float, clients: int) -> tuple[float, float, float]:
    """Ask for a while; return requests a second, the 99th percentile, and processor seconds a request."""
    before = read_cpu(server)
    times = ask_for_a_while(server.http, path, body, seconds, clients)
    return len(times) / seconds, float(np.quantile(times, 0.99)), (read_cpu(server) - before) / len(times)


def measure_rounds(server, path: str, body: bytes, rounds: int, seconds: float, clients: int) -> np.ndarray:
    """Measure rounds in turns, without, with, with, without; return them as [rounds, 2, 3]."""
    figures = np.zeros((rounds + 1, 2, len(MEASURES)))
    for number in range(rounds + 1):
        for has_log in (0, 1) if number % 2 else (1, 0):
            with resume_log(server) if has_log else nullcontext():
                figures[number, has_log] = measure_round(server, path, body, seconds, clients)
    return figures[1:]  # the first one warms up


def measure_server(rounds: int, seconds: float, clients: int) -> dict[str, bool]:
    """Print throughput, 99th percentile and work with and without a log; return whether the goals are met."""
    from tests.serving.server import NAME, Server, publish, wait_until

    kept, rng, path = {}, np.random.default_rng(0), f"/v2/models/{NAME}/infer"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        publish(folder, "3")
        options = ("--model-dir", folder, "--log-predictions", folder / "predictions")
        # a paused log saves up what it may keep, so half the rate is the usual one in the rounds that have it
        options += ("--log-rows-per-second", LogLimits().rows_per_s / 2)
        with Server(folder / "log", *options, program=(sys.executable, "-c", PAUSABLE)) as server:
            wait_until(server.is_ready)
            for what, body in make_bodies().items():
                figures = measure_rounds(server, path, body, rounds, seconds, clients)
                ratios = figures[:, 1] / figures[:, 0]
                drawn = np.median(ratios[rng.integers(0, rounds, (1000, rounds))], axis=1)  # [1000, 3]
                for i, (measure, unit, scale) in enumerate(MEASURES):
                    without, with_log = scale * np.median(figures[:, :, i], axis=0)
                    ratio, error = np.median(ratios[:, i]), drawn[:, i].std()
                    print(f"{what:12}{measure:28}without {without:9,.2f} {unit:11}with {with_log:9,.2f}   "
                          f"ratio {ratio:.3f} ± {error:.3f}", flush=True)  # fmt: skip
                    kept[f"{what}: {measure}"] = ratio > 1 - LOSS_GOAL if i == 0 else ratio < 1 + LOSS_GOAL
            state = dict(
                re.findall(r"^prediction_log_rows_(\w+)_total (.+)$", server.ask("/metrics").text, re.M)
            )
            assert float(state["written"]) > 0 == float(state["dropped"]), "the log kept up"
    return kept


def main() -> int:
    """Measure, and say which promises were kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--weeks", type=int, default=1000, help="weeks without a change (default: %(default)s)"
    )
    parser.add_argument(
        "--streams", type=int, default=50, help="streams for each change (default: %(default)s)"
    )
    parser.add_argument(
        "--server", action="store_true", help="measure what the log costs the model server, too"
    )
    parser.add_argument("--only-server", action="store_true", help="measure that alone")
    parser.add_argument(
        "--rounds", type=int, default=200, help="rounds with and without the log (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=0.5, help="seconds of a round (default: %(default)s)"
    )
    parser.add_argument("--clients", type=int, default=4, help="connections (default: %(default)s)")
    options = parser.parse_args()
    kept = {} if options.only_server else simulate(options.weeks, options.streams)
    if options.server or options.only_server:
        kept |= measure_server(options.rounds, options.seconds, options.clients)
    print()
    for name, is_kept in kept.items():
        print(f"{'kept' if is_kept else 'NOT KEPT':10}{name}")
    return 0 if all(kept.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
