"""Compare `score_file` with a loop that has nothing but pyarrow and ONNX Runtime, and kill it half-way.

The plain loop opens the same file and the same model, and for each batch of 65,536 rows: stacks the seven columns,
casts them to float32, calls ONNX Runtime, appends `fraud_probability` (float32) and `is_fraud` (int8), and writes the
batch with pyarrow's `ParquetWriter(compression="zstd")`. It checks nothing, and a killed one begins again. It is run
with the threads that ONNX Runtime takes by itself and with one, and the faster of the two is what counts.

Every case is a process of its own, and they take turns; the clock runs from the opened model to the closed file.
The endpoint is our model server on this machine, with binary tensors; it has to share the processors.

    python benchmarks/batch.py                     # 10,000,000 rows, about five minutes on two cores
    python benchmarks/batch.py --rows 1000000
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import requests

from fraud_demo.batch import ROWS_PER_PIECE, score_file
from fraud_demo.core import FEATURE_NAMES
from fraud_demo.data import generate_transactions, split_transactions
from fraud_demo.serving import EndpointScorer, LocalScorer
from fraud_demo.training import TrainingConfig, train

LOCAL_GOAL = 0.8  # of the speed of the plain loop
ENDPOINT_GOAL = 0.25  # of the speed of `score_file` in the process
MEMORY_GOAL = 1.2  # times the peak of a tenth of the rows


def score_plainly(path: Path, output: Path, model: Path, threads: int) -> float:
    """Score a Parquet file with nothing but pyarrow and ONNX Runtime; return the seconds it took."""
    import onnxruntime
    import pyarrow as pa
    import pyarrow.parquet as pq

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # 0: as many as it likes
    session = onnxruntime.InferenceSession(str(model), options)
    start, writer = time.perf_counter(), None
    for batch in pq.ParquetFile(path).iter_batches(65_536):
        features = np.column_stack([batch.column(name).to_numpy() for name in FEATURE_NAMES])
        probability, is_fraud, _ = session.run(None, {"dense_input": features.astype(np.float32, copy=False)})
        batch = batch.append_column("fraud_probability", pa.array(probability[:, 0]))
        batch = batch.append_column("is_fraud", pa.array(is_fraud[:, 0].astype(np.int8)))
        writer = writer or pq.ParquetWriter(output, batch.schema, compression="zstd")
        writer.write_batch(batch)
    writer.close()
    return time.perf_counter() - start


def score_here(path: Path, output: Path, model: Path, url: str) -> float:
    """Score in this process."""
    return score_file(path, output, LocalScorer(model, "1")).seconds


def score_there(path: Path, output: Path, model: Path, url: str) -> float:
    """Score through the endpoint."""
    return score_file(path, output, EndpointScorer(url, timeout_s=60)).seconds


CASES = {
    "plain loop": lambda path, output, model, url: score_plainly(path, output, model, 0),
    "plain loop, 1 thread": lambda path, output, model, url: score_plainly(path, output, model, 1),
    "score_file": score_here,
    "score_file, endpoint": score_there,
}


def read_peak() -> float:
    """Return the most memory that this process had, in MiB; `getrusage` would count its parent's as well."""
    status = Path("/proc/self/status")
    if not status.exists():
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024


def run_case(name: str, *arguments: str) -> None:
    """Run one case in this process and print its figures as JSON."""
    path, output, model, url = arguments
    seconds = CASES[name](Path(path), Path(output), Path(model), url)
    print(json.dumps({"seconds": seconds, "peak_mib": read_peak()}))


def start_case(name: str, *arguments: Path | str) -> subprocess.Popen:
    """Start one case in a process of its own."""
    command = [sys.executable, __file__, "--case", name, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ask_case(name: str, *arguments: Path | str) -> dict:
    """Run one case in a process of its own and return its figures."""
    process = start_case(name, *arguments)
    told, errors = process.communicate()
    if process.returncode:
        sys.exit(f"{name} failed:\n{errors[-2000:]}")
    return json.loads(told.splitlines()[-1])


def make_model(folder: Path) -> Path:
    """Train a model and publish it in a folder, as the model server reads it; return its file."""
    trained = train(
        split_transactions(generate_transactions(50_000, seed=0)), TrainingConfig(epochs=4), folder / "model"
    )
    place = folder / "models" / "credit-card-fraud"
    (place / "version-1" / "1").mkdir(parents=True)
    shutil.copy(trained.onnx_path, place / "version-1" / "1" / "model.onnx")
    pointer = {"version": "1", "prefix": "models/credit-card-fraud/version-1"}
    (place / "serving.json").write_text(json.dumps(pointer))
    return trained.onnx_path


def start_server(folder: Path) -> tuple[subprocess.Popen, str]:
    """Start the model server on free ports of this machine; return it and the address of the model."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [str(probe.getsockname()[1]) for probe in (one, two)]
    code = "import sys; from fraud_demo.workshop.model_server import main; sys.exit(main())"
    options = ["--http-port", ports[0], "--grpc-port", ports[1], "--model-dir", str(folder)]
    process = subprocess.Popen([sys.executable, "-c", code, *options])
    url = f"http://127.0.0.1:{ports[0]}/v2/models/credit-card-fraud"
    session = requests.Session()
    session.trust_env = False
    for _ in range(300):
        try:
            if session.get(f"{url}/ready", timeout=2).ok:
                return process, url
        except requests.RequestException:
            pass
        time.sleep(0.1)
    process.kill()
    sys.exit("The model server did not become ready.")


def write_rows(path: Path, rows: int) -> Path:
    """Write generated transactions, a million at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for seed, begin in enumerate(range(0, rows, 1_000_000)):
        table = generate_transactions(min(1_000_000, rows - begin), seed=seed)
        data = pa.Table.from_pandas(table, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, data.schema)
        writer.write_table(data)
    writer.close()
    return path


def compute_digest(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def kill_half_way(rows: int, path: Path, output: Path, model: Path, url: str) -> int:
    """Kill a run with SIGKILL when half of the rows are scored; return how many scores it had kept."""
    folder = output.with_name(f".{output.name}.scores")

    def count() -> int:
        return len(list(folder.glob("*.npy"))) * ROWS_PER_PIECE

    process = start_case("score_file", path, output, model, url)
    while count() < rows / 2:
        if process.poll() is not None:
            sys.exit("The run ended before it could be killed: give more --rows.")
        time.sleep(0.01)
    process.kill()
    process.communicate()
    return count()


def measure(rows: int, rounds: int, folder: Path) -> dict:
    """Run everything; return the figures."""
    model = make_model(folder)
    path, tenth = write_rows(folder / "rows.parquet", rows), write_rows(folder / "tenth.parquet", rows // 10)
    outputs = {name: folder / f"{place}.parquet" for place, name in enumerate(CASES)}
    server, url = start_server(folder)
    try:
        found = {name: [] for name in CASES}
        for _ in range(rounds):
            for name, runs in found.items():
                runs.append(ask_case(name, path, outputs[name], model, url))
        small = [ask_case("score_file", tenth, folder / "small.parquet", model, url) for _ in range(rounds)]
        killed = folder / "killed.parquet"
        killed_rows = kill_half_way(rows, path, killed, model, url)
        again = ask_case("score_file", path, killed, model, url)
    finally:
        server.terminate()
        server.wait()
    digests = {name: compute_digest(output) for name, output in {**outputs, "killed": killed}.items()}
    return {
        "rows": rows,
        "cores": len(os.sched_getaffinity(0)),
        "runs": found,
        "seconds": {name: median(run["seconds"] for run in runs) for name, runs in found.items()},
        "peak_mib": {name: max(run["peak_mib"] for run in runs) for name, runs in found.items()},
        "peak_mib_of_a_tenth": max(run["peak_mib"] for run in small),
        "output_mib": {name: output.stat().st_size / 2**20 for name, output in outputs.items()},
        "largest_difference": compare_scores(outputs["plain loop"], outputs["score_file"]),
        "endpoint_gives_the_same_bytes": digests["score_file"] == digests["score_file, endpoint"],
        "killed_after_rows": killed_rows,
        "seconds_to_end_the_killed_run": again["seconds"],
        "killed_run_gives_the_same_bytes": digests["score_file"] == digests["killed"],
    }


def compare_scores(one: Path, other: Path) -> float:
    """Return the largest difference of two files' fraud probabilities."""
    import pyarrow.parquet as pq

    columns = [pq.read_table(path, columns=["fraud_probability"])[0].to_numpy() for path in (one, other)]
    return float(np.abs(columns[0] - columns[1]).max())


def judge(figures: dict) -> dict[str, tuple[float, str, bool]]:
    """Return the ratios, with the goal of each and whether it is met."""
    seconds, peaks = figures["seconds"], figures["peak_mib"]
    plain = min(seconds["plain loop"], seconds["plain loop, 1 thread"])
    local = plain / seconds["score_file"]
    endpoint = seconds["score_file"] / seconds["score_file, endpoint"]
    memory = peaks["score_file"] / figures["peak_mib_of_a_tenth"]
    same = figures["killed_run_gives_the_same_bytes"]
    return {
        "speed of score_file / plain loop": (local, f"at least {LOCAL_GOAL}", local >= LOCAL_GOAL),
        "speed through the endpoint / in the process": (
            endpoint,
            f"at least {ENDPOINT_GOAL}",
            endpoint >= ENDPOINT_GOAL,
        ),
        "peak memory / peak with a tenth of the rows": (
            memory,
            f"at most {MEMORY_GOAL}",
            memory <= MEMORY_GOAL,
        ),
        "killed and started again: same bytes": (float(same), "1", same),
    }


def show(figures: dict, verdicts: dict) -> None:
    """Print the figures."""
    rows = figures["rows"]
    print(
        f"\n{rows:,} rows of Parquet, {figures['cores']} cores, medians of {len(figures['runs']['score_file'])} rounds"
    )
    print(f"{'way':24}{'seconds':>9}{'rows/s':>12}{'peak MiB':>10}{'output MiB':>12}")
    for name, seconds in figures["seconds"].items():
        sizes = f"{figures['peak_mib'][name]:10.0f}{figures['output_mib'][name]:12.1f}"
        print(f"{name:24}{seconds:9.2f}{rows / seconds:12,.0f}{sizes}")
    print(f"with a tenth of the rows, score_file has its peak at {figures['peak_mib_of_a_tenth']:.0f} MiB")
    print(f"largest difference to the plain loop's probabilities: {figures['largest_difference']:.1e}")
    print(f"the endpoint gives the same bytes: {'yes' if figures['endpoint_gives_the_same_bytes'] else 'NO'}")
    seconds = figures["seconds_to_end_the_killed_run"]
    print(
        f"killed when {figures['killed_after_rows']:,} rows had scores; the second run took {seconds:.2f} s\n"
    )
    for name, (ratio, goal, is_met) in verdicts.items():
        print(f"{name:46}{ratio:6.2f}   {goal:14} {'met' if is_met else 'NOT MET'}")


def main() -> None:
    """Run one case, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows to score (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each case (default: %(default)s)")
    parser.add_argument(
        "--json", type=Path, default=Path("benchmarks/out/batch.json"), help="where the figures go"
    )
    parser.add_argument("--case", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        run_case(*options.case)
        return
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options.rows, options.rounds, Path(folder))
    verdicts = judge(figures)
    show(figures, verdicts)
    figures["ratios"] = {
        name: {"ratio": r, "goal": goal, "met": met} for name, (r, goal, met) in verdicts.items()
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
