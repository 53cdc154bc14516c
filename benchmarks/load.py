"""Ask a model server without a pause, while its champion changes two hundred times, and as thirty attendees at once.

The road is the real one: a registry with four versions, `promote`, `rollback` and `serve_champion`, and the model
server's own process. The clients live in processes of their own and ask over REST with JSON, REST with raw bytes and
gRPC. Each answer is checked: its version was served at a moment between question and answer, its numbers are that
version's own, and no client ever goes back to a version that was retired. Failed requests are not asked again.
The milliseconds depend on the machine, and on two cores clients and registry take them from the server; the ratio
between the quiet and the swaps is what to quote.

    python -m benchmarks.load              # about eight minutes on two cores
    python -m benchmarks.load --swaps 20 --seconds 10
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import tempfile
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.room import log_run, make_model
from fraud_demo import registry, serving
from fraud_demo.data import Split
from fraud_demo.registry import load_champion, load_version, promote, register, rollback, serve_champion
from fraud_demo.serving import EndpointScorer, GrpcScorer, LocalScorer
from fraud_demo.training import TrainedModel

SHIFTS = (0.0, 0.3, 0.6, 0.9)  # one version each: what is added to every score before the sigmoid


# ---- what is asked


@dataclass(frozen=True)
class Place:
    """Where a model answers."""

    url: str  # REST, for example http://127.0.0.1:8080
    grpc_url: str  # gRPC, for example 127.0.0.1:8081
    name: str  # name of the served model


@dataclass(frozen=True)
class Question:
    """What a client asks, and what each version has to answer."""

    kind: str  # "JSON", "bytes" or "gRPC"
    rows: np.ndarray  # [n, 7] float32
    expected: Mapping[str, tuple[float, bytes]]  # version to its threshold and the probabilities of the rows

    @property
    def name(self) -> str:
        """What to call it in a table."""
        return f"{self.kind}, {len(self.rows):,} row{'s' * (len(self.rows) > 1)}"


@dataclass(frozen=True)
class Answer:
    """What one client got for one question."""

    client: int  # number of the client
    question: str  # name of the question
    start: float  # seconds of the monotonic clock, which all processes of a machine share
    end: float  # the same
    version: str = ""  # that answered; "" where nothing did
    is_right: bool = False  # whether the numbers are that version's own, to the bit
    error: str = ""  # "" when nothing went wrong


def make_question(kind: str, rows: np.ndarray, files: Mapping[str, Path]) -> Question:
    """Let ONNX Runtime answer for each version's file what the server will be asked."""
    scores = {version: LocalScorer(path).score(rows) for version, path in files.items()}
    return Question(kind, rows, {v: (s.threshold, s.fraud_probability.tobytes()) for v, s in scores.items()})


def make_scorer(place: Place, kind: str):
    """Make a client with a connection of its own."""
    if kind == "gRPC":
        return GrpcScorer(place.grpc_url, place.name)
    return EndpointScorer(place.url, place.name, is_binary=kind == "bytes")


# ---- clients that ask


def ask_without_pause(
    client: int, place: Place, questions: Sequence[Question], stop: threading.Event, answers: list[Answer]
) -> None:
    """Ask one question after the other, each time over the connection of its kind."""
    scorers = {question.kind: make_scorer(place, question.kind) for question in questions}
    for question in cycle(questions):
        if stop.is_set():
            return
        start, known = time.monotonic(), (client, question.name)
        try:
            scores = scorers[question.kind].score(question.rows)
        except Exception as error:  # whatever it is, it is a request that failed
            answers.append(Answer(*known, start, time.monotonic(), error=f"{type(error).__name__}: {error}"))
            continue
        end, got = time.monotonic(), (scores.threshold, scores.fraud_probability.tobytes())
        is_right = got == question.expected.get(scores.model_version)
        answers.append(Answer(*known, start, end, scores.model_version or "", is_right))


def run_clients(numbers: Sequence[int], place: Place, questions: Sequence[Question], stop, pipe) -> None:
    """Run some clients in threads until the parent says stop; runs in a process of its own."""
    answers, is_over = [], threading.Event()
    pipe.send("ready")
    with mock.patch.object(serving, "RETRY_WAITS_S", ()):  # a retry would hide a failure
        threads = [
            threading.Thread(target=ask_without_pause, args=(number, place, questions, is_over, answers))
            for number in numbers
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        is_over.set()
        for thread in threads:
            thread.join()
    pipe.send(answers)


@contextmanager
def keep_asking(
    place: Place, questions: Sequence[Question], clients: int = 6, processes: int = 1
) -> Iterator[list[Answer]]:
    """Let clients ask as long as the block lasts; the list is filled when it ends."""
    context = multiprocessing.get_context("forkserver")
    stop, answers, crews = context.Event(), [], []
    for number in range(processes):
        ours, theirs = context.Pipe(duplex=False)
        numbers = range(number, clients, processes)
        process = context.Process(target=run_clients, args=(numbers, place, questions, stop, theirs))
        process.start()
        theirs.close()
        crews.append((process, ours))
    try:
        for _, pipe in crews:
            pipe.recv()
        yield answers
    finally:
        stop.set()
        for process, pipe in crews:
            answers += pipe.recv()
            process.join(60)


# ---- versions that change


@dataclass(frozen=True)
class Load:
    """One change of what the server serves."""

    version: str  # that serves from then on
    start: float  # before the server was asked; seconds of the monotonic clock
    end: float  # after it had answered with that version


@dataclass(frozen=True)
class Swap:
    """One change of the champion, from the call to its return."""

    kind: str  # "promotion" or "rollback"
    start: float  # seconds of the monotonic clock
    end: float  # the same


def shift_model(trained: TrainedModel, shift: float, folder: Path) -> TrainedModel:
    """Copy a model with all scores and the threshold shifted: other numbers in every answer, and the same decisions."""
    import onnx
    from onnx.numpy_helper import from_array, to_array

    model = onnx.load(trained.onnx_path)
    constants = {constant.name: constant for constant in model.graph.initializer}
    maker = {name: node for node in model.graph.node for name in node.output}
    [sigmoid] = [node for node in model.graph.node if node.op_type == "Sigmoid"]
    [decide] = [node for node in model.graph.node if node.op_type == "GreaterOrEqual"]
    [bias] = [constants[name] for name in maker[sigmoid.input[0]].input if name in constants]
    limit = constants[decide.input[1]]
    bias.CopyFrom(from_array(to_array(bias) + np.float32(shift), bias.name))
    before = float(to_array(limit))
    after = np.float32(1 / (1 + math.exp(-math.log(before / (1 - before)) - shift)))
    limit.CopyFrom(from_array(np.full(to_array(limit).shape, after, np.float32), limit.name))
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**known, "threshold": repr(float(after))})
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    return replace(trained, onnx_path=folder / "model.onnx", threshold=float(after))


def make_versions(
    settings, split: Split, trained: TrainedModel, folder: Path, shifts: Sequence[float] = SHIFTS
) -> dict[str, Path]:
    """Register one version per shift, and return the file of each."""
    made = [shift_model(trained, shift, folder / f"shift-{shift}") for shift in shifts]
    versions = [register(settings, log_run(settings, split, model)) for model in made]
    return {version: load_version(settings, version).onnx_path for version in versions}


@contextmanager
def watch_loads() -> Iterator[list[Load]]:
    """Write down when the registry asks the server for a version, and when it has it."""
    loads, wait = [], registry.wait_for_version

    def watch(server, name, version, timeout_s):
        start = time.monotonic()
        wait(server, name, version, timeout_s)
        loads.append(Load(version, start, time.monotonic()))

    with mock.patch.object(registry, "wait_for_version", watch):
        yield loads


def promote_and_serve(settings, version: str, split: Split) -> None:
    """Let a version through the gate, and serve it."""
    promotion = promote(settings, version, split)
    if not promotion.promoted:
        raise RuntimeError(str(promotion))
    serve_champion(settings)


def change_champions(settings, split: Split, versions: Sequence[str], count: int) -> list[Swap]:
    """Promote twice and roll back twice, again and again; the first version serves at the start and is up last."""
    swaps, following = [], cycle([*versions[1:], versions[0]])
    for number in range(count):
        is_promotion, start = number % 4 < 2, time.monotonic()
        if is_promotion:
            promote_and_serve(settings, next(following), split)
        else:
            rollback(settings)
        swaps.append(Swap("promotion" if is_promotion else "rollback", start, time.monotonic()))
    return swaps


# ---- checks and figures


def find_faults(answers: Sequence[Answer], loads: Sequence[Load]) -> list[str]:
    """Say what is wrong with the answers; [] when nothing is.

    A version may answer from the moment its load began until the load of the next one was over. Among the moments
    that fit an answer the earliest is taken, so that a client who went back is found wherever that can be known.
    """
    starts, ends = [load.start for load in loads], [*(load.end for load in loads[1:]), math.inf]
    faults, last = [], {}
    for answer in sorted(answers, key=lambda answer: answer.start):
        who = f"client {answer.client}, {answer.question}"
        if answer.error:
            faults.append(f"{who}: failed: {answer.error}")
            continue
        if not answer.is_right:
            faults.append(f"{who}: numbers that are not those of version {answer.version}")
        served = range(bisect_left(ends, answer.start), bisect_right(starts, answer.end))
        fitting = [number for number in served if loads[number].version == answer.version]
        later = [number for number in fitting if number >= last.get(answer.client, 0)]
        if later:
            last[answer.client] = later[0]
        else:
            what = "went back to version" if fitting else "wrong version"
            faults.append(f"{who}: {what} {answer.version}, {answer.start:.4f} to {answer.end:.4f}")
    return faults


def overlap(answers: Sequence[Answer], spans: Sequence[Swap | Load]) -> list[Answer]:
    """Return the answers that were under way during one of the spans, which follow each other."""
    starts, ends = [span.start for span in spans], [span.end for span in spans]
    return [a for a in answers if bisect_left(ends, a.start) < bisect_right(starts, a.end)]


def show_times(what: str, answers: Sequence[Answer], seconds: float | None = None) -> None:
    """Print one line per kind of question; the rate only where the seconds are known."""
    for name in sorted({answer.question for answer in answers}):
        times = [1000 * (a.end - a.start) for a in answers if a.question == name and not a.error]
        p50, p95, p99, top = np.percentile(times, [50, 95, 99, 100]) if times else (np.nan,) * 4
        rate = f"{len(times) / seconds:.0f}" if seconds else ""
        print(f"{what:22}{name:18}{len(times):9,}{rate:>11}{p50:9.2f}{p95:9.2f}{p99:9.2f}{top:9.1f}")


HEADER = f"{'':22}{'question':18}{'requests':>9}{'requests/s':>11}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'max ms':>9}"


def show_swaps(answers: list[Answer], swaps: list[Swap], loads: list[Load], faults: list[str]) -> None:
    """Print the figures of the swaps."""
    for kind in ("promotion", "rollback"):
        times = [swap.end - swap.start for swap in swaps if swap.kind == kind]
        p50, p95 = np.percentile(times, [50, 95])
        print(f"{len(times)} {kind}s: {p50:.2f} s at p50, {p95:.2f} s at p95")
    times = [1000 * (load.end - load.start) for load in loads]
    print(f"of which the server took {np.percentile(times, 50):.0f} ms at p50, {max(times):.0f} ms at most")
    wrong = [fault for fault in faults if "version" in fault]
    failed = sum(bool(answer.error) for answer in answers)
    print(
        f"{len(answers):,} requests, {failed} failed, {len(wrong)} with a wrong version",
        *faults[:5],
        sep="\n  ",
    )
    began, ended = swaps[0].start, swaps[-1].end
    first = min(answer.start for answer in answers)
    print(HEADER)
    show_times("in the quiet", [a for a in answers if a.end < began], began - first)
    show_times("during a swap", overlap(answers, swaps), ended - began)
    show_times("while a version loads", overlap(answers, loads))


def run_swaps(
    settings,
    place: Place,
    split: Split,
    files: Mapping[str, Path],
    count: int,
    quiet_s: float,
    clients: int = 6,
) -> tuple[list[Answer], list[Swap], list[Load]]:
    """Serve the first version, let clients ask, and change champions: answers, swaps and loads."""
    versions, rows = list(files), split.test.features[:100].astype(np.float32)
    questions = [
        make_question(kind, rows[:n], files) for kind, n in (("JSON", 1), ("bytes", 100), ("gRPC", 10))
    ]
    with watch_loads() as loads:
        promote_and_serve(settings, versions[0], split)
        with keep_asking(place, questions, clients) as answers:
            time.sleep(quiet_s)
            swaps = change_champions(settings, split, versions, count)
    return answers, swaps, loads


def run_class(
    place: Place, split: Split, files: Mapping[str, Path], seconds: float, clients: int = 30
) -> list[Answer]:
    """Let the attendees of a room ask at once: nine single rows as JSON, then a thousand rows as bytes."""
    rows = np.resize(split.test.features.astype(np.float32), (1000, 7))
    single = [make_question("JSON", rows[n : n + 1], files) for n in range(9)]
    with keep_asking(place, [*single, make_question("bytes", rows, files)], clients, processes=3) as answers:
        time.sleep(seconds)
    return answers


def measure_swaps(settings, place: Place, split: Split, files: Mapping[str, Path], options) -> list[str]:
    """Change champions under load, and print the figures; return what was wrong."""
    print(f"{options.swaps} swaps under the load of 6 clients")
    answers, swaps, loads = run_swaps(settings, place, split, files, options.swaps, options.seconds / 3)
    faults = find_faults(answers, loads)
    show_swaps(answers, swaps, loads, faults)
    return faults


def measure_class(settings, place: Place, split: Split, files: Mapping[str, Path], options) -> list[str]:
    """Let a room ask at once, and print the figures; return what was wrong."""
    print(f"\n30 attendees at once for {options.seconds:g} s")
    answers = run_class(place, split, files, options.seconds)
    faults = find_faults(answers, [Load(load_champion(settings).version, 0.0, 0.0)])  # nobody changes it here
    print(f"{len(answers):,} requests, {len(faults)} wrong or failed", *faults[:5], sep="\n  ")
    print(HEADER)
    show_times("", answers, options.seconds)
    return faults


def main() -> int:
    """Start the servers, run both loads, print the figures; exit 1 when anything was wrong."""
    import psutil

    from tests.engines.servers import start_local_stack
    from tests.serving.server import Server, wait_until

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--swaps", type=int, default=200, help="changes of the champion")
    parser.add_argument("--seconds", type=float, default=60, help="of the room; the quiet before has a third")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        split, trained = make_model(folder / "model")
        pair, stop = start_local_stack(folder)
        try:
            with Server(folder / "server.log", **pair.environ) as server:
                wait_until(lambda: server.is_ready("/v2/health/live"))
                settings = replace(pair.settings, stack={**pair.settings.stack, "model_server": server.url})
                place = Place(server.url, server.grpc_url, settings.served_name)
                files = make_versions(settings, split, trained, folder / "versions")
                process = psutil.Process(server.process.pid)
                mib = [process.memory_info().rss / 2**20]
                faults = measure_swaps(settings, place, split, files, options)
                mib.append(process.memory_info().rss / 2**20)
                faults += measure_class(settings, place, split, files, options)
                mib.append(process.memory_info().rss / 2**20)
                words = ("before", "after the swaps", "after the room")
                print(
                    "\nmemory of the server:",
                    ", ".join(f"{m:.0f} MiB {w}" for m, w in zip(mib, words, strict=True)),
                )
        finally:
            stop()
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
