"""Compare the engines of `score_dataset` with a loop that has nothing but pyarrow and ONNX Runtime.

Every engine scores the same 64 shards with the same model, in a process of its own. The start of an engine is measured
by two shards of ten rows; what is left of the time is what the rows cost. The plain loop reads each shard whole, stacks
the seven columns, calls ONNX Runtime, appends `fraud_probability` and `is_fraud`, and writes the shard with pyarrow's
`ParquetWriter(compression="zstd")`. It checks nothing, writes no records, and a killed one begins again. It is run with
the threads that ONNX Runtime takes by itself and with one; the faster of the two is what counts.

Then the rows grow tenfold from 100,000 on, and a plot shows where each engine's start stops to matter.
Ray and Spark are measured where they are installed; Spark writes the same scores to files of its own.

    python -m benchmarks.scale                                  # 10,000,000 rows in 64 shards
    python -m benchmarks.scale --growth 100000 1000000 10000000 100000000
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.batch import make_model
from fraud_demo.core import FEATURE_NAMES
from fraud_demo.data import generate_transactions
from fraud_demo.scale import count_cores, load_model, score_dataset, score_frame

SHARDS = 64
ENGINES = ("plain loop", "plain loop, 1 thread", "process", "pool", "ray", "spark")


def score_plainly(source: Path, target: Path, model: Path, threads: int) -> None:
    """Score all shards with nothing but pyarrow and ONNX Runtime."""
    import onnxruntime
    import pyarrow as pa
    import pyarrow.parquet as pq

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # 0: as many as it likes
    session = onnxruntime.InferenceSession(str(model), options)
    target.mkdir()
    for path in sorted(source.iterdir()):
        table = pq.read_table(path)
        features = np.column_stack([table.column(name).to_numpy() for name in FEATURE_NAMES])
        probability, is_fraud, _ = session.run(None, {"dense_input": features.astype(np.float32, copy=False)})
        table = table.append_column("fraud_probability", pa.array(probability[:, 0]))
        table = table.append_column("is_fraud", pa.array(is_fraud[:, 0].astype(np.int8)))
        pq.write_table(table, target / path.name, compression="zstd")


def score_with_spark(source: Path, target: Path, model: Path) -> None:
    """Score all shards with a local Spark."""
    from pyspark.sql import SparkSession

    settings = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
                "spark.sql.files.openCostInBytes": str(2**27), "spark.sql.files.maxPartitionBytes": str(2**27)}  # fmt: skip
    builder = SparkSession.builder.master(f"local[{count_cores()}]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    frame = score_frame(spark.read.parquet(str(source)), load_model(model, "1"))
    frame.write.option("compression", "zstd").parquet(str(target))
    spark.stop()


def run_case(engine: str, source: Path, target: Path, model: Path) -> None:
    """Score with one engine in this process; print the seconds from the first import of an engine to its end."""
    started = time.perf_counter()
    if engine.startswith("plain"):
        score_plainly(source, target, model, 1 if "1 thread" in engine else 0)
    elif engine == "spark":
        score_with_spark(source, target, model)
    else:
        scored = score_dataset(source, target, load_model(model, "1"), engine)
        if scored.failed:
            sys.exit(f"{scored.failed[0]}")
    print(json.dumps({"seconds": time.perf_counter() - started}))


def ask_case(engine: str, source: Path, target: Path, model: Path) -> float:
    """Run one case in a process of its own; return the seconds it took."""
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.scale", "--case", engine, *map(str, (source, target, model))]
    environ = {**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    if done.returncode:
        sys.exit(f"{engine} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])["seconds"]


def write_shards(folder: Path, rows: int, shards: int = SHARDS) -> Path:
    """Write generated transactions as shards, with a number for each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True)
    size = -(-rows // shards)
    for seed in range(shards):
        count = min(size, rows - seed * size)
        table = pa.Table.from_pandas(generate_transactions(max(count, 1000), seed=seed), preserve_index=False)
        numbers = pa.array(np.arange(seed * size, seed * size + count))
        pq.write_table(
            table.slice(0, count).append_column("row", numbers), folder / f"part-{seed:03d}.parquet"
        )
    return folder


def compute_digest(folder: Path) -> str:
    """Return the digest of all scores, in the order of the rows; the files' own order and cut do not count."""
    import pyarrow.parquet as pq

    digest, names = hashlib.sha256(), ["row", "fraud_probability", "is_fraud"]
    table = pq.read_table(folder, columns=names).sort_by("row")
    for name in names[1:]:
        digest.update(
            np.ascontiguousarray(table[name].combine_chunks().to_numpy(zero_copy_only=False)).tobytes()
        )
    return digest.hexdigest()[:16]


def compute_file_digest(folder: Path) -> str:
    """Return the digest of the bytes of all parts."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.parquet")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def list_engines(wanted: list[str] | None) -> list[str]:
    """Name the engines that can be measured here."""
    missing = {"ray": importlib.util.find_spec("ray") is None,
               "spark": importlib.util.find_spec("pyspark") is None or shutil.which("java") is None}  # fmt: skip
    return [name for name in ENGINES if name in (wanted or ENGINES) and not missing.get(name)]


def measure(rows: int, rounds: int, engines: list[str], folder: Path, model: Path) -> dict:
    """Score the same shards with every engine; return seconds, starts and digests."""
    source, few = write_shards(folder / "in", rows), write_shards(folder / "few", 20, 2)
    starts = {engine: ask_case(engine, few, folder / "out", model) for engine in engines}
    runs, digests, files = {engine: [] for engine in engines}, {}, {}
    for _ in range(rounds):
        for engine in engines:
            runs[engine].append(ask_case(engine, source, folder / "out", model))
            digests[engine], files[engine] = (
                compute_digest(folder / "out"),
                compute_file_digest(folder / "out"),
            )
    shutil.rmtree(folder / "in")
    shutil.rmtree(folder / "few")
    seconds = {engine: median(times) for engine, times in runs.items()}
    return {"rows": rows, "seconds": seconds, "starts": starts, "digests": digests, "files": files}


def show(figures: dict) -> None:
    """Print the table of one size."""
    rows, plain = figures["rows"], [s for name, s in figures["seconds"].items() if name.startswith("plain")]
    print(
        f"\n{rows:,} rows in {SHARDS} shards, {count_cores()} cores; the start is that of two shards of ten rows"
    )
    print(
        f"{'engine':22}{'seconds':>9}{'start':>8}{'rows/s':>12}{'rows/s after it':>17}{'of the plain loop':>19}  scores"
    )
    for engine, seconds in figures["seconds"].items():
        start = figures["starts"][engine]
        ratio = f"{min(plain) / seconds:18.2f}" if plain else " " * 18
        after = (
            f"{rows / (seconds - start):,.0f}" if seconds > 1.1 * start else "-"
        )  # all of it was the start
        print(
            f"{engine:22}{seconds:9.2f}{start:8.2f}{rows / seconds:12,.0f}{after:>17}{ratio}   {figures['digests'][engine]}"
        )
    ours = {figures["files"][name] for name in ("process", "pool", "ray") if name in figures["files"]}
    scores = {digest for name, digest in figures["digests"].items() if not name.startswith("plain")}
    print(f"the same files from process, pool and Ray: {'yes' if len(ours) == 1 else 'NO'}")
    print(f"the same bytes of scores from all engines: {'yes' if len(scores) == 1 else 'NO'}", flush=True)


def draw(growth: list[dict], path: Path) -> None:
    """Draw rows a second against rows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    for engine, marker in zip(ENGINES, "os^Dvx", strict=True):
        points = [(g["rows"], g["rows"] / g["seconds"][engine]) for g in growth if engine in g["seconds"]]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, label=engine)
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="rows per second, start included",
             title=f"The start of an engine matters until the rows are many ({count_cores()} cores)")  # fmt: skip
    axes.grid(which="major", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    """Run one case, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows to score (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each case (default: %(default)s)")
    parser.add_argument(
        "--growth", type=int, nargs="*", default=[100_000, 1_000_000], help="more sizes, one run each"
    )
    parser.add_argument("--engines", nargs="*", choices=ENGINES, help="default: all that are installed")
    parser.add_argument(
        "--json", type=Path, default=Path("benchmarks/out/scale.json"), help="where the figures go"
    )
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        run_case(options.case[0], *map(Path, options.case[1:]))
        return
    engines, found = list_engines(options.engines), []
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        model = make_model(Path(name))
        for rows in sorted({*options.growth, options.rows}):
            rounds = options.rounds if rows == options.rows else 1
            found.append(measure(rows, rounds, engines, Path(name) / "rows", model))
            show(found[-1])
            options.json.write_text(json.dumps({"cores": count_cores(), "sizes": found}, indent=2) + "\n")
    draw(found, options.json.with_suffix(".png"))


if __name__ == "__main__":
    main()
