"""What the benchmarks measure with: counts that are right, answers that are checked, verdicts that follow."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from benchmarks import serving
from fraud_demo.core import ServiceError


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
