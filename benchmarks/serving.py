"""Compare the model server with the least that could answer, with MLflow's own serving, and with MLServer and Triton.

All serve one ONNX file, and one of them the Keras network that it was made from. All run on one core, and the load
comes from a second one, over kept-alive connections. Every round visits each server once, in another order; a visit
that other programs disturb is repeated, and when it stays like that, the table says so. An answer is compared with
ONNX Runtime's before its time counts. MLServer and Triton get environments of their own under `benchmarks/out`, made
on the first run (about half a minute); where that does not work, the table says why. Figures are medians of the
rounds; the milliseconds depend on the machine, the ratios are what to quote.

    python benchmarks/serving.py                            # three to six minutes on two cores
    python benchmarks/serving.py --servers ours,minimal     # about a minute
"""

from __future__ import annotations

import argparse
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import psutil

from fraud_demo.core import FEATURE_NAMES, ServiceError
from fraud_demo.serving import ModelMetadata, TensorSpec, decode_answer, encode_request

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks" / "out"
NAME = "credit-card-fraud"
INFER = f"/v2/models/{NAME}/infer"
OUTPUTS = {"fraud_probability": "FP32", "is_fraud": "INT64", "threshold": "FP32"}
MANY = 10_000  # rows of a large request
PARALLEL = 8  # connections of the load
TOLERANCE = 1e-5  # on a probability
START_S = 90  # seconds that a server may take to start
STARTS = 3  # of each server
QUIET = 0.1  # share of the cores that other programs may use while a server is visited; above, it is visited again
TRIES = 4  # visits to a server in one round, at most
PATIENCE_S = 270  # seconds after which no round begins
ENVIRON = {  # nothing is sent home, the logs are short, and MLflow finds the uvicorn that it calls by name
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTRITON_NO_TELEMETRY": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
}


# ---- what is served


def make_models(folder: Path) -> None:
    """Train a small network; write it as published, as MLflow logs it, as Keras has it, with rows and answers."""
    from mlflow.keras import save_model
    from mlflow.models import Model

    from fraud_demo.data import generate_transactions, split_transactions
    from fraud_demo.details.served_model import save_served_model
    from fraud_demo.training import (
        TrainingConfig,
        build_network,
        fit_network,
        run_onnx,
        to_onnx,
    )

    split, config = split_transactions(generate_transactions(20_000, seed=0)), TrainingConfig(epochs=4)
    network = build_network(split.train.features, config)
    fit_network(network, split, config)
    path = folder / f"models/{NAME}/version-1/1/model.onnx"
    path.parent.mkdir(parents=True)
    to_onnx(network, path, threshold=0.5)
    pointer = {"version": "1", "prefix": f"models/{NAME}/version-1"}
    (folder / f"models/{NAME}/serving.json").write_text(json.dumps(pointer))
    table = generate_transactions(MANY, seed=1)[list(FEATURE_NAMES)]
    save_served_model(str(folder / "mlflow-onnx"), Model(), path, table[:3])
    save_model(network, str(folder / "mlflow-keras"))
    rows = table.to_numpy(np.float32)
    np.savez(folder / "rows.npz", rows=rows, expected=run_onnx(path, rows)["fraud_probability"])


@dataclass(frozen=True)
class Served:
    """The files that the servers get, and what they must answer."""

    folder: Path  # holds models/, mlflow-onnx, mlflow-keras and the logs
    rows: np.ndarray  # [MANY, 7] float32
    expected: np.ndarray  # [MANY] probabilities, by ONNX Runtime

    @property
    def onnx_path(self) -> Path:
        """The one ONNX file."""
        return self.folder / f"models/{NAME}/version-1/1/model.onnx"


def prepare(folder: Path) -> Served:
    """Make the models in a process of its own, so that TensorFlow is not in the one that measures."""
    command = [sys.executable, __file__, "--prepare", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"The models could not be made:\n{done.stderr[-2000:]}")
    with np.load(folder / "rows.npz") as saved:
        return Served(folder, saved["rows"], saved["expected"])


# ---- what asks


class Connection:
    """A kept-alive HTTP connection that costs the asking side as little as Python allows."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.size, self.sent_at = bytearray(), None, 0.0

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def send(self, request: bytes) -> None:
        """Send a whole request."""
        self.buffer, self.size = bytearray(), None
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read what has arrived; tell whether the answer is whole. ServiceError for any status but 200."""
        part = self.socket.recv(2**20)
        if not part:
            raise ServiceError("The server closed the connection.", "It had not answered.", "Read its log.")
        self.buffer += part
        if self.size is None and (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            self.size = end + 4 + read_length(self.buffer[:end])
        return self.size is not None and len(self.buffer) >= self.size

    def ask(self, request: bytes) -> None:
        """Send a request and wait for the answer."""
        self.send(request)
        while not self.receive():
            pass

    def read_answer(self) -> tuple[bytes, str | None]:
        """Return the body of the last answer, and the header that says how much of it is JSON."""
        head, _, body = bytes(self.buffer).partition(b"\r\n\r\n")
        size = re.search(rb"\r\ninference-header-content-length: *(\d+)", head, re.IGNORECASE)
        return body, size and size[1].decode()


def read_length(head: bytes) -> int:
    """Check the status of an answer and return the length of its body."""
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    if head[9:12] != b"200" or not length:
        status = head.splitlines()[0].decode()
        raise ServiceError(
            f"The server answered {status}.", "200 with a length was expected.", "Read its log."
        )
    return int(length[1])


@dataclass(frozen=True)
class Load:
    """How long the answers to a load took."""

    latencies: np.ndarray  # [n] seconds, one per answer
    seconds: float  # from the first request to the last answer

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def quantile(self, percent: float) -> float:
        """Return a percentile of the latencies in ms."""
        return float(1e3 * np.percentile(self.latencies, percent))


def repeat(ask: Callable[[], object], seconds: float) -> Load:
    """Ask again and again for some time, once at least."""
    latencies, start = [], time.perf_counter()
    while True:
        before = time.perf_counter()
        ask()
        now = time.perf_counter()
        latencies.append(now - before)
        if now - start >= seconds:
            return Load(np.array(latencies), now - start)


def ask_in_parallel(port: int, request: bytes, count: int, seconds: float) -> Load:
    """Ask over several connections for some time; each sends its next request when it has its answer."""
    latencies = []
    with ExitStack() as stack:
        waiting = stack.enter_context(selectors.DefaultSelector())
        connections = [stack.enter_context(closing(Connection(port))) for _ in range(count)]
        start = now = time.perf_counter()
        for connection in connections:
            connection.send(request)
            waiting.register(connection.socket, selectors.EVENT_READ, connection)
        while waiting.get_map():
            for key, _ in waiting.select():
                connection = key.data
                if not connection.receive():
                    continue
                now = time.perf_counter()
                latencies.append(now - connection.sent_at)
                if now - start < seconds:
                    connection.send(request)
                else:
                    waiting.unregister(connection.socket)
    return Load(np.array(latencies), now - start)


# ---- what a server is asked, in its own words


def frame(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Write an HTTP request."""
    headers = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **headers}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def frame_v2(rows: np.ndarray, is_binary: bool = False) -> bytes:
    """Write a request of the V2 protocol."""
    outputs = tuple(TensorSpec(name, datatype, (-1, 1)) for name, datatype in OUTPUTS.items())
    metadata = ModelMetadata(NAME, (), "", (TensorSpec("dense_input", "FP32", (-1, 7)),), outputs)
    return frame(INFER, *encode_request(rows, metadata, is_binary))


def read_v2(body: bytes, json_size: str | None) -> np.ndarray:
    """Read the probabilities from an answer that has all three outputs."""
    outputs = decode_answer(body, json_size).outputs
    if list(outputs) != list(OUTPUTS):
        raise ServiceError(
            "The answer is not whole.", f"It has {', '.join(outputs)}.", "Ask for all outputs."
        )
    return outputs["fraud_probability"].ravel()


def frame_table(rows: np.ndarray) -> bytes:
    """Write a request of MLflow's own for a model that reads columns."""
    body = {"dataframe_split": {"columns": list(FEATURE_NAMES), "data": rows.tolist()}}
    return frame("/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"})


def read_table(body: bytes, json_size: str | None) -> np.ndarray:
    """Read the probabilities from a table."""
    return np.array([row["fraud_probability"] for row in json.loads(body)["predictions"]])


def frame_array(rows: np.ndarray) -> bytes:
    """Write a request of MLflow's own for a model that reads an array."""
    body = json.dumps({"inputs": rows.tolist()}).encode()
    return frame("/invocations", body, {"Content-Type": "application/json"})


def read_array(body: bytes, json_size: str | None) -> np.ndarray:
    """Read the probabilities from an array [n, 1]."""
    return np.array(json.loads(body)["predictions"]).ravel()


def check_answer(probabilities: np.ndarray, expected: np.ndarray) -> None:
    """Compare an answer with ONNX Runtime's; ServiceError when they differ."""
    is_whole = probabilities.shape == expected.shape
    if not is_whole or not np.allclose(probabilities, expected, rtol=0, atol=TOLERANCE):
        raise ServiceError("The answer is wrong.", "ONNX Runtime gives other probabilities.", "Compare them.")


# ---- the servers


@dataclass(frozen=True)
class Server:
    """A server, how it is started and how it is asked."""

    title: str  # in the table
    make_command: Callable[[Served, int, int], list]  # takes an HTTP and a gRPC port
    frame: Callable[[np.ndarray], bytes] = frame_v2  # rows to a request in JSON
    read: Callable[[bytes, str | None], np.ndarray] = read_v2  # body, and size of its JSON, to probabilities
    has_binary: bool = False  # whether it reads the protocol's raw bytes over HTTP
    has_grpc: bool = False
    environment: str | None = None  # None: this one


ENVIRONMENTS = {  # name to the Python versions that it works with; the packages are in `benchmarks/servers`
    "mlserver": ">=3.11,<3.13",
    # Triton brings an interpreter that lacks what the standard library uses from 3.11.7 on
    "triton": ">=3.11,<3.11.7",
}


def command_ours(served: Served, http: int, grpc: int) -> list:
    """Return the command of the model server."""
    code = "from fraud_demo.workshop.model_server import main; raise SystemExit(main())"
    options = ["--http-port", http, "--grpc-port", grpc, "--model-dir", served.folder]
    return [sys.executable, "-c", code, *options]


def command_script(name: str, environment: str | None, served: Served, http: int, grpc: int) -> list:
    """Return the command of one of the servers in `benchmarks/servers`."""
    python = find_python(environment) if environment else sys.executable
    return [python, ROOT / "benchmarks" / "servers" / f"{name}.py", served.onnx_path, http, grpc]


def command_mlflow(name: str, served: Served, http: int, grpc: int) -> list:
    """Return the command of MLflow's own serving."""
    options = ["-m", served.folder / name, "-h", "127.0.0.1", "-p", http, "--env-manager", "local"]
    return [sys.executable, "-m", "mlflow", "models", "serve", *options]


SERVERS = {
    "ours": Server("fraud-demo", command_ours, has_binary=True, has_grpc=True),
    "minimal": Server("minimal app", partial(command_script, "minimal", None), has_binary=True),
    "mlserver": Server(
        "MLServer 1.7.1",
        partial(command_script, "mlserver_onnx", "mlserver"),
        has_grpc=True,
        environment="mlserver",
    ),
    "triton": Server(
        "Triton (PyTriton 0.7.0)",
        partial(command_script, "triton_onnx", "triton"),
        has_binary=True,
        has_grpc=True,
        environment="triton",
    ),
    "mlflow-onnx": Server("MLflow, ONNX", partial(command_mlflow, "mlflow-onnx"), frame_table, read_table),
    "mlflow-keras": Server("MLflow, Keras", partial(command_mlflow, "mlflow-keras"), frame_array, read_array),
}


def find_python(environment: str) -> Path:
    """Return the Python of an environment."""
    return OUT / "envs" / environment / "bin" / "python"


def make_environment(name: str) -> None:
    """Make an environment where it is not there yet; ServiceError with the installer's words when it cannot be."""
    versions, lock = ENVIRONMENTS[name], ROOT / "benchmarks" / "servers" / f"{name}.lock"
    folder, stamp = OUT / "envs" / name, f"{versions}\n{lock.read_text()}"
    mark = folder / "made_of.txt"
    if mark.is_file() and mark.read_text() == stamp:
        return
    print(f"Making the environment of {name} ...", flush=True)
    uv = Path(sys.executable).with_name("uv")
    steps = (
        ["venv", "--quiet", "--clear", "--python", versions, folder],
        [
            "pip",
            "sync",
            "--quiet",
            "--require-hashes",
            "--compile-bytecode",
            "--python",
            find_python(name),
            lock,
        ],
    )
    for step in steps:
        done = subprocess.run([uv, *step], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = " ".join(done.stderr.split())
            raise ServiceError("It could not be installed.", f"{reason:.400}", "See the versions it needs.")
    mark.write_text(stamp)


def find_ports() -> list[int]:
    """Return two free ports."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(2)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def list_processes(pid: int) -> list[psutil.Process]:
    """Return a process and all that descend from it."""
    with suppress(psutil.NoSuchProcess):
        return [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return []


def stop(process: subprocess.Popen) -> None:
    """End a server and whatever it started."""
    tree = list_processes(process.pid)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for member in tree:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


@dataclass(frozen=True)
class Running:
    """A server that has given its first right answer."""

    server: Server
    http: int  # port
    grpc: int  # port
    pid: int
    ready_s: float  # seconds from its start to that answer


@contextmanager
def start(server: Server, served: Served, core: int) -> Iterator[Running]:
    """Start a server on one core, wait until it answers right, and end it afterwards."""
    http, grpc = find_ports()
    command = ["taskset", "-c", str(core), *map(str, server.make_command(served, http, grpc))]
    leftovers = dict.fromkeys(("TMPDIR", "PYTRITON_HOME"), str(served.folder))  # removed at the end
    environ = {**os.environ, **ENVIRON, **leftovers}
    log, begin = served.folder / f"{http}.log", time.perf_counter()
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env=environ)
    try:
        wait_until_right(process, http, server, served, log)
        yield Running(server, http, grpc, process.pid, time.perf_counter() - begin)
    finally:
        stop(process)


def wait_until_right(process: subprocess.Popen, port: int, server: Server, served: Served, log: Path) -> None:
    """Ask until the answer is right; ServiceError with the end of the log when the server ends before."""
    request, deadline = server.frame(served.rows[:1]), time.monotonic() + START_S
    while True:
        try:
            with closing(Connection(port)) as connection:
                connection.ask(request)
                return check_answer(server.read(*connection.read_answer()), served.expected[:1])
        except (OSError, ServiceError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                why = f"Asked, it gave: {error} Its log says: {read_reason(log.read_text()):.400}"
                raise ServiceError("It did not start.", why, "Start it by hand.") from None
        time.sleep(0.01)


def read_reason(log: str) -> str:
    """Return the last line of a log that names an error, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["nothing"]
    return next((line for line in reversed(lines) if re.match(r"[\w.]*(Error|Exception)\b", line)), lines[-1])


# ---- what is measured


class Results:
    """Every figure of every server, one value a round."""

    def __init__(self, names: Sequence[str]):
        self.values: dict[str, dict[str, list[float]]] = {name: {} for name in names}
        self.faults: dict[str, str] = {}  # name to what went wrong; such a server is not asked again

    def add(self, name: str, **figures: float) -> None:
        """Add a value to some figures of a server."""
        for key, value in figures.items():
            self.values[name].setdefault(key, []).append(value)

    @contextmanager
    def note_fault(self, name: str) -> Iterator[None]:
        """Note what goes wrong with a server, and go on with the others."""
        try:
            yield
        except Exception as error:  # whatever it is, the table says it
            self.faults[name] = f"{type(error).__name__}: {error}"

    def median(self, name: str, key: str, base: str | None = None) -> float:
        """Return the median of a figure, or of its ratios to another server's in the same round; NaN for none."""
        values = self.values.get(name, {}).get(key, [])
        if base:
            others = self.values.get(base, {}).get(key, [])
            values = [value / other for value, other in zip(values, others, strict=False)]
        return float(np.median(values)) if values else np.nan


def start_servers(served: Served, core: int, results: Results, stack: ExitStack) -> dict[str, Running]:
    """Start every server several times, in turn; the last start is the one that stays until the stack ends."""
    running = {}
    for turn in range(STARTS):
        for name, server in SERVERS.items():
            if name not in results.values or name in results.faults:
                continue
            with results.note_fault(name), ExitStack() as short:
                if server.environment:
                    make_environment(server.environment)
                holder = stack if turn == STARTS - 1 else short
                running[name] = holder.enter_context(start(server, served, core))
                results.add(name, ready_s=running[name].ready_s)
    return {name: found for name, found in running.items() if name not in results.faults}


def run_rounds(served: Served, cores: Sequence[int], results: Results, rounds: int, seconds: float) -> None:
    """Start the servers, visit each once a round, every round in another order, and see how large they are then."""
    deadline = time.monotonic() + PATIENCE_S
    with ExitStack() as stack:
        running = start_servers(served, cores[0], results, stack)
        for number in range(rounds):
            if time.monotonic() > deadline:
                break
            names = [name for name in running if name not in results.faults]
            shift = number % max(len(names), 1)
            for name in (*names[shift:], *names[:shift]):
                with results.note_fault(name):
                    results.add(name, **visit(running[name], served, seconds, cores))
        for name, found in running.items():
            size = sum(process.memory_info().rss for process in list_processes(found.pid))
            results.add(name, memory_mib=size / 2**20)


def read_foreign(cores: Sequence[int], pid: int) -> float:
    """Return the seconds for which the cores worked for others than this process and a server."""
    times = psutil.cpu_times(percpu=True)
    busy = sum(sum(times[core]) - times[core].idle - times[core].iowait for core in cores)
    return busy - sum(sum(process.cpu_times()[:2]) for process in [psutil.Process(), *list_processes(pid)])


def visit(running: Running, served: Served, seconds: float, cores: Sequence[int]) -> dict[str, float]:
    """Measure a server, and again while others disturb it; return the least disturbed figures."""
    tries = []
    for _ in range(TRIES):
        begin, before = time.monotonic(), read_foreign(cores, running.pid)
        figures = measure(running, served, seconds)
        foreign = read_foreign(cores, running.pid) - before
        tries.append(figures | {"disturbed": foreign / len(cores) / (time.monotonic() - begin)})
        if tries[-1]["disturbed"] < QUIET:
            break
        time.sleep(1)
    return min(tries, key=lambda figures: figures["disturbed"])


def measure(running: Running, served: Served, seconds: float) -> dict[str, float]:
    """Measure a server once in every way it can be asked."""
    server, one = running.server, running.server.frame(served.rows[:1])
    ask = partial(ask_right, running.http, server, seconds=seconds)
    single = ask(one, served.expected[:1])
    load = ask_in_parallel(running.http, one, PARALLEL, seconds)
    figures = {
        "p50_ms": single.quantile(50),
        "p99_ms": single.quantile(99),
        "rate": load.rate,
        "load_p99_ms": load.quantile(99),
        "json_ms": ask(server.frame(served.rows), served.expected).quantile(50),
    }
    if server.has_binary:
        figures["binary_ms"] = ask(frame_v2(served.rows, True), served.expected).quantile(50)
    if server.has_grpc:
        figures["grpc_ms"] = ask_grpc(running.grpc, served, seconds).quantile(50)
    return figures


def ask_right(port: int, server: Server, request: bytes, expected: np.ndarray, seconds: float) -> Load:
    """Ask over one connection for some time, once an answer has been right."""
    with closing(Connection(port)) as connection:
        connection.ask(request)
        check_answer(server.read(*connection.read_answer()), expected)
        return repeat(partial(connection.ask, request), seconds)


def ask_grpc(port: int, served: Served, seconds: float) -> Load:
    """Ask for all rows over gRPC for some time, once an answer has been right."""
    from tritonclient import grpc

    tensor = grpc.InferInput("dense_input", list(served.rows.shape), "FP32")
    tensor.set_data_from_numpy(served.rows)
    with grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        ask = partial(client.infer, NAME, [tensor])
        check_answer(ask().as_numpy("fraud_probability").ravel(), served.expected)
        return repeat(ask, seconds)


# ---- what is said about it

COLUMNS = (  # key, words over the column, its width and decimals, and whether the ratio to the minimal app follows
    ("ready_s", "ready s", 9, 2, False),
    ("memory_mib", "MiB", 7, 0, False),
    ("p50_ms", "p50 ms", 9, 3, True),
    ("p99_ms", "p99 ms", 9, 2, False),
    ("rate", "req/s", 9, 0, True),
    ("load_p99_ms", "p99 ms", 9, 2, False),
    ("json_ms", "JSON ms", 9, 1, True),
    ("binary_ms", "binary ms", 11, 1, True),
    ("grpc_ms", "gRPC ms", 9, 1, False),
)


def show(results: Results) -> None:
    """Print one line a server, and what disturbed the measuring."""
    print(f"\n{'':40}{'one row':>25}{f'{PARALLEL} connections':>25}{f'{MANY:,} rows at once':>42}")
    head = (f"{words:>{width}}" + f"{'x':>7}" * has_ratio for _, words, width, _, has_ratio in COLUMNS)
    print(f"{'server':24}{''.join(head)}")
    for name in results.values:
        line = f"{SERVERS[name].title:24}"
        if name in results.faults:
            print(f"{line}  {results.faults[name]}")
            continue
        for key, _, width, decimals, has_ratio in COLUMNS:
            line += f"{results.median(name, key):{width},.{decimals}f}"
            ratio = results.median(name, key, "minimal")
            line += (f"{ratio:7.0f}" if ratio >= 10 else f"{ratio:7.2g}") * has_ratio
        print(line.replace("nan", "  -"))
    shares = [results.median(name, "disturbed") for name in results.values if name not in results.faults]
    disturbed = max(shares, default=0)
    advice = "" if disturbed < QUIET else ": too much, run it again when they rest"
    rounds = max(len(values.get("p50_ms", ())) for values in results.values.values())
    print(f"medians of {rounds} rounds; x: times the minimal app, the median of the rounds' ratios")
    print(f"other programs took at most {disturbed:.0%} of the two cores in the median visit{advice}")


@dataclass(frozen=True)
class Goal:
    """A figure that the model server should reach."""

    words: str
    key: str  # of the figure
    limit: float
    name: str = "ours"
    base: str | None = "minimal"  # the figure is the ratio to this server's; None: the figure itself
    is_floor: bool = False  # at least, and not at most

    def judge(self, results: Results) -> tuple[float, str]:
        """Return the figure and the verdict."""
        figure = results.median(self.name, self.key, self.base)
        if np.isnan(figure):
            return figure, "not measured"
        is_met = figure >= self.limit if self.is_floor else figure <= self.limit
        return figure, "met" if is_met else "NOT MET"


GOALS = (
    Goal("one-row p50, times the minimal app's", "p50_ms", 2.2),
    Goal("requests/s at 8 connections, times the minimal app's", "rate", 0.4, is_floor=True),
    Goal("10,000 rows in JSON, times the minimal app's", "json_ms", 2.5),
    Goal("10,000 rows in binary, times the minimal app's", "binary_ms", 1.5),
    Goal("one-row p50 of MLflow with Keras, times ours", "p50_ms", 50, "mlflow-keras", "ours", True),
    Goal("one-row p50 of MLServer, times ours", "p50_ms", 1, "mlserver", "ours", True),
    Goal("one-row p50 of Triton, times ours", "p50_ms", 1, "triton", "ours", True),
    Goal("seconds until the first right answer", "ready_s", 3, base=None),
    Goal("MiB resident after the load", "memory_mib", 180, base=None),
)


def judge(results: Results) -> list[dict]:
    """Print and return every goal with its figure and whether it is met."""
    print(f"\n{'goal of fraud-demo':54}{'limit':>14}{'figure':>10}")
    found = []
    for goal in GOALS:
        figure, verdict = goal.judge(results)
        limit = f"{'at least' if goal.is_floor else 'at most'} {goal.limit:g}"
        print(f"{goal.words:54}{limit:>14}{figure:10.3g}  {verdict}".replace("nan", "  -"))
        found.append({"goal": goal.words, "limit": limit, "figure": to_json(figure), "verdict": verdict})
    return found


def to_json(figure: float) -> float | None:
    """Return a figure as JSON knows it: null for what was not measured."""
    return None if np.isnan(figure) else figure


def save(path: Path, results: Results, goals: list[dict]) -> None:
    """Write all figures as JSON."""

    def list_medians(base=None):
        keys = [key for key, *_ in COLUMNS]
        return {
            name: {key: to_json(results.median(name, key, base)) for key in keys} for name in results.values
        }

    found = {
        "medians": list_medians(),
        "ratios_to_minimal": list_medians("minimal"),
        "values": results.values,
        "faults": results.faults,
        "goals": goals,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n")
    print(f"written to {path.relative_to(ROOT)}")


def choose_cores() -> tuple[int, int]:
    """Return a core for the servers and one for the load."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        sys.exit("Two cores are needed that processes can be bound to: one for a server, one for the load.")
    return cores[0], cores[1]


def main() -> int:
    """Prepare the models, run the rounds, print the figures; exit 1 when ours could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="visits to each server (default: %(default)s)")
    parser.add_argument("--servers", default=",".join(SERVERS), help="which ones (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=0.2, help="of each measurement (default: %(default)s)"
    )
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare:
        make_models(options.prepare)
        return 0
    names = options.servers.split(",")
    if unknown := set(names) - set(SERVERS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SERVERS)}")
    cores = choose_cores()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers are ended then as well
    with tempfile.TemporaryDirectory() as folder:
        served = prepare(Path(folder))
        os.sched_setaffinity(0, {cores[1]})
        results = Results(names)
        run_rounds(served, cores, results, options.rounds, options.seconds)
    show(results)
    save(OUT / "serving.json", results, judge(results))
    return int("ours" in results.faults)


if __name__ == "__main__":
    sys.exit(main())
