"""Let fifty people press "Predict" at the same moment, again and again, and show how long each one waits.

Three ways are asked in turn, fifty times at once each, the second of them less often: the page (what a browser sends
when the button is pressed, `POST /gradio_api/run/predict`; its answer holds the reasons, too), a program
(`POST /gradio_api/call/predict`, then the stream `GET /gradio_api/call/predict/<id>`), and the bare endpoint, which
gets the same values as the JSON that the app itself would send. App and model server are processes of their own; every
answer is checked. Each person keeps a connection, as a browser does.
The milliseconds depend on the machine, and on few cores clients, app and model server share them: the ratios are what
to quote. The last lines say who used the processors.

    python -m benchmarks.app               # about two minutes
    python -m benchmarks.app --people 10 --seconds 10
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import numpy as np
import psutil
import requests

from benchmarks.batch import make_model, start_server
from fraud_demo.app import EXAMPLES, read_values
from fraud_demo.core import FEATURE_NAMES, Transaction
from fraud_demo.serving import EndpointScorer, LocalScorer, encode_request

WAIT_GOAL_S = 1.0  # up to this a person who waits keeps their thread of thought
CLIENTS_GOAL = 0.5  # of one core: more, and the clients would be what is measured
MEMORY_GOAL = 1.5  # times what the app held before


# ---- what is asked


@dataclass(frozen=True)
class Question:
    """One payment, and what the model says about it."""

    transaction: Transaction
    probability: float  # of the model file itself
    verdict: str  # "Fraud" or "Legitimate"
    body: bytes  # what the app sends to the endpoint


def make_questions(model: Path, url: str) -> list[Question]:
    """Make the questions from the examples of the form."""
    local, metadata = LocalScorer(model, "1"), EndpointScorer(url).metadata
    questions = []
    for transaction in (item.transaction for item in EXAMPLES):
        decision = local.decide(transaction)
        body, _ = encode_request(transaction.to_array(), metadata, is_binary=False)
        verdict = "Fraud" if decision.is_fraud else "Legitimate"
        questions.append(Question(transaction, decision.fraud_probability, verdict, body))
    return questions


class WrongAnswer(Exception):
    """An answer that is none."""


class Connection:
    """A connection to one server that is kept open, and opened again after a rest, as a browser does."""

    def __init__(self, url: str):
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=15)
        self._used = 0.0

    def ask(
        self, path: str, body: bytes | None = None, accept: str = "application/json"
    ) -> http.client.HTTPResponse:
        """Send a question, and return the answer before its body is read."""
        if time.monotonic() - self._used > 3:  # the server closes what rests for five seconds
            self._connection.close()
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        headers = {"Content-Type": "application/json", "Accept": accept}
        self._connection.request("GET" if body is None else "POST", path, body, headers)
        answer = self._connection.getresponse()
        self._used = time.monotonic()
        if answer.status != 200:
            raise WrongAnswer(f"{path}: {answer.status} {answer.read()[:200]!r}")
        return answer


def read_stream(answer: http.client.HTTPResponse) -> Iterator[tuple[str, str]]:
    """Read the events of a stream: name and data."""
    name = ""
    while line := answer.readline().decode().rstrip("\n"):
        key, _, text = line.partition(": ")
        if key == "event":
            name = text
        elif key == "data":
            yield name, text
            answer.readline()  # the empty line behind it


@dataclass(frozen=True)
class Page:
    """What the page's script knows of the app."""

    number: int  # of the function behind the button
    trigger: int  # of the button
    inputs: tuple[int, ...]  # components that the function reads
    card: int  # place of the verdict among what the function gives
    values: Mapping[int, object]  # what each component holds at first
    names: Mapping[int, str]  # component to feature

    def fill(self, transaction: Transaction) -> list:
        """Return what the page sends once the form holds a transaction."""
        entered = read_values(transaction)
        return [entered.get(self.names.get(i, ""), self.values.get(i)) for i in self.inputs]


def read_page(url: str) -> Page:
    """Find the button in what the app tells its page."""
    config = requests.get(f"{url}/config", timeout=30).json()
    parts = {part["id"]: part["props"] for part in config["components"]}
    [button] = [i for i, props in parts.items() if props.get("value") == "Predict"]
    [press] = [
        d for d in config["dependencies"] if d["backend_fn"] and [button, "click"] in map(list, d["targets"])
    ]
    names = {i: props["elem_id"] for i, props in parts.items() if props.get("elem_id") in FEATURE_NAMES}
    values = {i: props.get("value") for i, props in parts.items()}
    [result] = [i for i, props in parts.items() if props.get("elem_id") == "result"]
    card = press["outputs"].index(result)
    return Page(press["id"], button, tuple(press["inputs"]), card, values, names)


def press_button(connection: Connection, page: Page, question: Question, session: str) -> None:
    """Do what the page does at a click."""
    asked = {"data": page.fill(question.transaction), "fn_index": page.number, "session_hash": session,
             "trigger_id": page.trigger, "event_data": None}  # fmt: skip
    body = json.dumps(asked).encode()
    output = json.loads(connection.ask("/gradio_api/run/predict", body).read())
    card = output["data"][page.card]  # earlier verdicts stand elsewhere on the page
    if f">{question.verdict}<" not in card:
        words = re.sub(r"<[^>]*>", " ", card).split()
        raise WrongAnswer(f"the page shows {' '.join(words)[:200]}")


def call_program(connection: Connection, question: Question) -> None:
    """Do what a program does that knows nothing of Gradio."""
    values = [float(value) for value in question.transaction.to_array()[0]]
    asked = json.dumps({"data": values}).encode()
    event = json.loads(connection.ask("/gradio_api/call/predict", asked).read())["event_id"]
    stream = connection.ask(f"/gradio_api/call/predict/{event}", accept="text/event-stream")
    [(name, text)] = [item for item in read_stream(stream) if item[0] in ("complete", "error")]
    if name != "complete" or abs(json.loads(text)[0]["fraud_probability"] - question.probability) > 1e-6:
        raise WrongAnswer(f"{name}: {text[:200]}")


def ask_endpoint(connection: Connection, path: str, question: Question) -> None:
    """Ask the model server itself."""
    answer = json.loads(connection.ask(path, question.body).read())
    values = {output["name"]: output["data"][0] for output in answer["outputs"]}
    if abs(values["fraud_probability"] - question.probability) > 1e-6:
        raise WrongAnswer(f"the endpoint says {values}")


# ---- fifty at once


@dataclass
class Way:
    """One way to ask, and what came of it."""

    name: str
    make: Callable[[int], Callable[[Question], None]]  # number of a person to what they do with a question
    every: int = 1  # asked in each round, or in each fourth one
    waits: list[float] = field(default_factory=list)  # seconds, one each answer
    rounds: list[float] = field(default_factory=list)  # seconds from the press to the last answer
    errors: list[str] = field(default_factory=list)


def run_round(way: Way, acts: list[Callable], questions: list[Question]) -> None:
    """Let everybody press at the same moment, and wait for the last answer."""
    barrier, waits, errors = threading.Barrier(len(acts) + 1), [0.0] * len(acts), []

    def press(number):
        question = questions[number % len(questions)]
        barrier.wait()
        started = time.perf_counter()
        try:
            acts[number](question)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
            acts[number] = way.make(number)  # a new connection
        waits[number] = time.perf_counter() - started

    threads = [threading.Thread(target=press, args=(number,)) for number in range(len(acts))]
    for thread in threads:
        thread.start()
    barrier.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    way.rounds.append(time.perf_counter() - started)
    way.waits += waits
    way.errors += errors


def make_ways(app: str, endpoint: str) -> list[Way]:
    """Make the three ways."""
    page, path = read_page(app), f"{urlsplit(endpoint).path}/infer"

    def as_page(number):
        connection = Connection(app)
        return lambda question: press_button(connection, page, question, f"person{number}")

    def as_program(number):
        connection = Connection(app)
        return lambda question: call_program(connection, question)

    def directly(number):
        connection = Connection(endpoint)
        return lambda question: ask_endpoint(connection, path, question)

    return [Way("page", as_page), Way("program", as_program, every=4), Way("endpoint", directly)]


def measure_ways(ways: list[Way], people: int, seconds: float, questions: list[Question]) -> None:
    """Ask in turns until the page alone was asked for so long, or nothing is answered any more."""
    acts = {way.name: [way.make(number) for number in range(people)] for way in ways}
    while sum(ways[0].rounds) < seconds and all(len(way.errors) < people for way in ways):
        number = len(ways[0].rounds)
        for way in ways:
            if number % way.every == 0:
                run_round(way, acts[way.name], questions)


# ---- the processes


@contextmanager
def run_app(endpoint: str) -> Iterator[tuple[psutil.Process, str]]:
    """Run the app as its command does; give its process and its address."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    code = "import sys; from fraud_demo.details.app_process import main; sys.exit(main())"
    places = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": port, "INFERENCE_ENDPOINT": endpoint}
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **places})
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if requests.get(f"{url}/readyz", timeout=3).ok:
                    break
            except requests.RequestException:
                pass
            if process.poll() is not None:
                sys.exit("The app ended at once.")
            time.sleep(0.1)
        yield psutil.Process(process.pid), url
    finally:
        process.terminate()
        if process.wait(30):
            sys.exit(f"The app ended with {process.returncode}.")


class Clock:
    """Counts what processes use of the processors."""

    def __init__(self, **processes: psutil.Process):
        self._processes, self._started = processes, time.perf_counter()
        self._before = self._read()

    def _read(self):
        times = {name: process.cpu_times() for name, process in self._processes.items()}
        return {name: spent.user + spent.system for name, spent in times.items()}

    def read(self) -> dict[str, float]:
        """Return the cores that each process used, on average."""
        seconds, now = time.perf_counter() - self._started, self._read()
        return {name: (now[name] - self._before[name]) / seconds for name in now}


def measure(people: int, seconds: float, folder: Path) -> dict:
    """Run everything; return the figures."""
    model = make_model(folder)
    server, endpoint = start_server(folder)
    try:
        questions = make_questions(model, endpoint)
        with run_app(endpoint) as (app, url):
            measure_ways(make_ways(url, endpoint), people, 1.0, questions)  # to warm up
            alone, ways = make_ways(url, endpoint), make_ways(url, endpoint)
            measure_ways(alone, 1, min(5.0, seconds / 10), questions)
            before = app.memory_info().rss / 2**20
            clock = Clock(clients=psutil.Process(), app=app, model_server=psutil.Process(server.pid))
            measure_ways(ways, people, seconds, questions)
            cores, memory = clock.read(), app.memory_info().rss / 2**20
    finally:
        server.terminate()
        server.wait()
    return {
        "people": people,
        "cores": len(os.sched_getaffinity(0)),
        "used_cores": cores,
        "app_mib_before": before,
        "app_mib": memory,
        "alone": {way.name: summarize(way) for way in alone},
        "at_once": {way.name: summarize(way) for way in ways},
    }


def summarize(way: Way) -> dict:
    """Return the figures of one way."""
    percentiles = dict(
        zip(("p50", "p95", "p99"), np.percentile(way.waits, (50, 95, 99)).tolist(), strict=True)
    )
    return {
        "answers": len(way.waits) - len(way.errors),
        "errors": len(way.errors),
        "first_errors": way.errors[:3],
        **{f"{name}_ms": 1000 * value for name, value in percentiles.items()},
        "per_s": len(way.waits) / sum(way.rounds),
        "round_ms": 1000 * median(way.rounds),
    }


# ---- what it says


def judge(figures: dict) -> dict[str, tuple[float, str, bool]]:
    """Return what was wanted: the figure, the goal, and whether it is met."""
    ways, clients = figures["at_once"], figures["used_cores"]["clients"]
    errors = sum(way["errors"] for way in (*ways.values(), *figures["alone"].values()))
    p95, memory = ways["page"]["p95_ms"] / 1000, figures["app_mib"] / figures["app_mib_before"]
    return {
        "errors": (errors, "0", errors == 0),
        "p95 of the page, s": (p95, f"at most {WAIT_GOAL_S:g}", p95 <= WAIT_GOAL_S),
        "memory of the app, after / before": (memory, f"at most {MEMORY_GOAL:g}", memory <= MEMORY_GOAL),
        "cores that the clients use": (clients, f"at most {CLIENTS_GOAL:g}", clients <= CLIENTS_GOAL),
    }


def compare(figures: dict) -> dict[str, float]:
    """Return the ratios to the bare endpoint of the same run."""
    ratios = {}
    for group in ("alone", "at_once"):
        bare = figures[group]["endpoint"]
        for name in ("page", "program"):
            ratios[f"{name} / endpoint, {group.replace('_', ' ')}, p50"] = (
                figures[group][name]["p50_ms"] / bare["p50_ms"]
            )
    return ratios


def show(figures: dict, ratios: dict, verdicts: dict) -> None:
    """Print the figures."""
    people = figures["people"]
    print(f"\n{'':12}{'answers':>9}{'errors':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'answers/s':>11}")
    for group, title in (("alone", "one person"), ("at_once", f"{people} people at once")):
        print(title)
        for name, way in figures[group].items():
            waits = "".join(f"{way[f'{p}_ms']:9.1f}" for p in ("p50", "p95", "p99"))
            print(f"  {name:10}{way['answers']:9,}{way['errors']:8}{waits}{way['per_s']:11.1f}")
            for error in way["first_errors"]:
                print(f"    {error[:150]}")
    for group, title in (("alone", "one person"), ("at_once", f"{people} at once")):
        added = figures[group]["page"]["p50_ms"] - figures[group]["endpoint"]["p50_ms"]
        print(f"the app adds {added:.1f} ms to the endpoint's answer ({title}, p50 of the page)")
    for name, ratio in ratios.items():
        print(f"{name:38}{ratio:8.2f}")
    used = ", ".join(f"{name.replace('_', ' ')} {cores:.2f}" for name, cores in figures["used_cores"].items())
    print(f"cores used of {figures['cores']}: {used}; the app holds {figures['app_mib']:.0f} MiB\n")
    for name, (figure, goal, is_met) in verdicts.items():
        print(f"{name:38}{figure:8.2f}   {goal:14} {'met' if is_met else 'NOT MET'}")


def main() -> int:
    """Measure and print; exit 1 when an answer was missing or wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=50, help="who press at once (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=60, help="of presses on the page (default: %(default)s)"
    )
    parser.add_argument(
        "--json", type=Path, default=Path("benchmarks/out/app.json"), help="where the figures go"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(options.people, options.seconds, Path(folder))
    ratios, verdicts = compare(figures), judge(figures)
    show(figures, ratios, verdicts)
    figures["ratios"] = ratios
    figures["goals"] = {
        name: {"figure": f, "goal": goal, "met": met} for name, (f, goal, met) in verdicts.items()
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(not verdicts["errors"][2])


if __name__ == "__main__":
    sys.exit(main())
