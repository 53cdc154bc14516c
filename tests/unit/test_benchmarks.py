"""What the benchmarks measure with: counts that are right, answers that are checked, verdicts that follow."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from benchmarks import app, serving
from fraud_demo.app import build_app, start_app
from fraud_demo.core import ServiceError
from fraud_demo.serving import EndpointScorer

from .test_app import free_port


class Handler(BaseHTTPRequestHandler):
    "Answers with the body it got, in two pieces, and notes who asked; refuses the body `no`."

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append(self.client_address)
        self.send_response(503 if body == b"no" else 200)
        self.send_header("Inference-Header-Content-Length", "3")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:3])
        self.wfile.flush()
        self.wfile.write(body[3:])

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    "Says nothing about clients that hang up, as the load does after a refusal."

    def handle_error(self, request, client_address):
        pass


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as running:
        running.seen = []
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask_in_parallel(server, body):
    return serving.ask_in_parallel(server.server_port, serving.frame("/", body, {}), 8, seconds=0.2)


def test_every_answer_of_eight_connections_is_counted_once(server):
    load = ask_in_parallel(server, b"hello")
    assert len(load.latencies) == len(server.seen) >= 8
    assert len(set(server.seen)) == 8
    assert load.rate == len(server.seen) / load.seconds


def test_an_answer_in_pieces_is_read_whole(server):
    connection = serving.Connection(server.server_port)
    body = bytes(range(256)) * 10_000
    connection.ask(serving.frame("/", body, {}))
    assert connection.read_answer() == (body, "3")
    load = serving.repeat(lambda: connection.ask(serving.frame("/", b"again", {})), seconds=0.05)
    connection.close()
    assert connection.read_answer() == (b"again", "3")
    assert len(load.latencies) == len(server.seen) - 1 and len(set(server.seen)) == 1


def test_a_refusal_is_no_answer(server):
    with pytest.raises(ServiceError, match="503"):
        ask_in_parallel(server, b"no")


@pytest.mark.parametrize("answer", [[0.1], [0.1, 0.20002], [0.1, float("nan")], [[0.1, 0.2]]])
def test_a_wrong_answer_is_found(answer):
    serving.check_answer(np.array([0.1, 0.200001]), np.array([0.1, 0.2]))
    with pytest.raises(ServiceError, match="wrong"):
        serving.check_answer(np.array(answer), np.array([0.1, 0.2]))


@pytest.mark.parametrize(
    "log, reason",
    [
        ("Traceback:\n  raise KeyError: 1\nValueError: no model\n\nAt:\n;\n", "ValueError: no model"),
        ("loading\nkilled\n", "killed"),
        ("", "nothing"),
    ],
)
def test_the_reason_is_found_in_a_log(log, reason):
    assert serving.read_reason(log) == reason


def test_ratios_are_those_of_the_rounds():
    results = serving.Results(["ours", "minimal"])
    for ours, minimal in [(2, 1), (30, 10), (4, 2)]:
        results.add("ours", p50_ms=ours)
        results.add("minimal", p50_ms=minimal)
    assert results.median("ours", "p50_ms") == 4
    assert results.median("ours", "p50_ms", "minimal") == 2
    assert np.isnan(results.median("triton", "p50_ms", "ours"))


@pytest.mark.parametrize(
    "limit, is_floor, verdict",
    [(2, False, "met"), (1.9, False, "NOT MET"), (2, True, "met"), (3, True, "NOT MET")],
)
def test_verdicts(limit, is_floor, verdict):
    results = serving.Results(["ours", "minimal"])
    results.add("ours", rate=4)
    results.add("minimal", rate=2)
    assert serving.Goal("", "rate", limit, is_floor=is_floor).judge(results) == (2, verdict)
    assert serving.Goal("", "json_ms", limit, is_floor=is_floor).judge(results)[1] == "not measured"


def test_a_fault_is_noted_and_the_file_is_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(serving, "ROOT", tmp_path)
    results = serving.Results(["ours", "triton"])
    results.add("ours", p50_ms=1.0, disturbed=0.0)
    with results.note_fault("triton"):
        raise ServiceError("It did not start.", "NaN is no number.", "Look.")
    serving.show(results)
    serving.save(tmp_path / "out" / "found.json", results, serving.judge(results))
    assert "ServiceError: It did not start. NaN is no number." in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "found.json").read_text(), parse_constant=pytest.fail)
    assert found["faults"] == {"triton": "ServiceError: It did not start. NaN is no number. Look."}
    assert found["ratios_to_minimal"]["ours"]["p50_ms"] is None


# --- fifty people in front of the app


def test_people_press_at_once_and_an_error_is_counted_once():
    made, together = [], threading.Barrier(8, timeout=5)

    def make(number):
        made.append(number)

        def press(question):
            together.wait()  # passes only when all of them press
            if question == "bad" and made.count(number) == 1:
                raise app.WrongAnswer("no")

        return press

    way = app.Way("page", make)
    acts = [make(number) for number in range(8)]
    for _ in range(2):
        app.run_round(way, acts, ["good", "good", "good", "bad"])
    assert (len(way.waits), len(way.rounds)) == (16, 2)
    assert way.errors == ["WrongAnswer: no"] * 2, "persons 3 and 7, who then got a new connection"
    found = app.summarize(way)
    assert (found["answers"], found["errors"]) == (14, 2) and found["p50_ms"] <= found["p99_ms"]


def test_events_of_a_stream_are_read():
    text = b'event: heartbeat\ndata: null\n\nevent: complete\ndata: [{"a": "b: c"}]\n\n'
    assert list(app.read_stream(io.BytesIO(text))) == [("heartbeat", "null"), ("complete", '[{"a": "b: c"}]')]
    assert list(app.read_stream(io.BytesIO(b'data: {"msg": "x"}\n\n'))) == [("", '{"msg": "x"}')]


def make_figures(errors=0, p95_ms=500.0, clients=0.3, mib=300):
    way = {"errors": errors, "p50_ms": 100.0, "p95_ms": p95_ms}
    ways = {"page": way, "program": way, "endpoint": {"errors": 0, "p50_ms": 10.0, "p95_ms": 20.0}}
    used = {"used_cores": {"clients": clients}, "app_mib_before": 250, "app_mib": mib}
    return {"at_once": ways, "alone": ways, **used}


@pytest.mark.parametrize(
    "figures, met",
    [
        (make_figures(), [True, True, True, True]),
        (make_figures(errors=1), [False, True, True, True]),
        (make_figures(p95_ms=1001), [True, False, True, True]),
        (make_figures(mib=400), [True, True, False, True]),
        (make_figures(clients=0.6), [True, True, True, False]),
    ],
)
def test_goals_of_the_app(figures, met):
    assert [is_met for _, _, is_met in app.judge(figures).values()] == met
    assert app.compare(figures)["page / endpoint, at once, p50"] == 10


def test_page_and_program_of_the_benchmark_ask_the_real_app(local, double):
    running = build_app(EndpointScorer(double.url))
    url = start_app(running, port=free_port()).rstrip("/")
    try:
        questions = app.make_questions(local.path, double.url)
        ways = app.make_ways(url, f"{double.url}/v2/models/credit-card-fraud")
        app.measure_ways(ways, 3, 0.1, questions)
        assert len(ways[1].rounds) == -(-len(ways[0].rounds) // 4)
        assert all(way.waits and not way.errors for way in ways), [way.errors for way in ways]
        acts = [ways[0].make(0)]
        for _ in range(2):  # from the second one on the page lists the earlier verdicts below
            app.run_round(ways[0], acts, questions)
        double.script = [(500, "text/plain", b"no")]
        app.run_round(ways[0], acts, questions)
        assert len(ways[0].errors) == 1 and "No answer" in ways[0].errors[0]
    finally:
        running.close(verbose=False)
