"""What a platform asks the app, and how the app ends: /livez, /readyz, SIGTERM."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent import futures
from typing import NamedTuple

import pytest
import requests

from fraud_demo import serving
from fraud_demo.app import build_app, start_app
from fraud_demo.core import Decision, MissingStepError, ServiceError
from fraud_demo.details.app_process import (
    STOP_S,
    LazyScorer,
    Readiness,
    finish_predictions,
    make_health_routes,
)
from fraud_demo.serving import EndpointScorer

from .test_app import FRAUDULENT, free_port, start_process, wait_for
from .v2_double import V2Double

ANSWER_S = 4.0  # the second and a half of the probe, and what a busy machine adds


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(serving, "RETRY_WAITS_S", (0.01, 0.02))


class Asked:
    "A scorer that counts, and does what it is told."

    def __init__(self, act=lambda: None):
        self.act, self.count, self.now, self.most, self.lock = act, 0, 0, 0, threading.Lock()

    def decide(self, transaction):
        with self.lock:
            self.count, self.now = self.count + 1, self.now + 1
            self.most = max(self.most, self.now)
        try:
            self.act()
        finally:
            with self.lock:
                self.now -= 1
        return Decision(0.1, 0.5, False)


def refuse():
    raise ServiceError("It gave no answer.", "Because.", "Look.")


def check(readiness, times=1):
    "Ask several times at once; return the answers."

    async def ask():
        return await asyncio.gather(*(readiness.check() for _ in range(times)))

    return asyncio.run(ask())


# --- one question at a time


def test_ready_is_asked_once_for_everybody():
    scorer = Asked(lambda: time.sleep(0.1))
    assert check(Readiness(scorer), times=50) == [None] * 50
    assert scorer.count == 1


def test_answer_holds_for_a_while_and_no_longer():
    scorer = Asked()
    readiness = Readiness(scorer, keep_s=0.2)
    check(readiness)
    check(readiness)
    assert scorer.count == 1
    time.sleep(0.25)
    scorer.act = refuse
    assert check(readiness) == ["It gave no answer."]
    assert scorer.count == 2


def test_model_that_hangs_is_asked_once_and_found_when_it_is_back():
    is_back = threading.Event()
    scorer = Asked(lambda: is_back.wait(10))
    readiness = Readiness(scorer, wait_s=0.1, keep_s=0.0)
    started = time.monotonic()
    for _ in range(5):
        assert check(readiness, times=3) == ["The model gave no answer in 0.1 seconds."] * 3
    assert time.monotonic() - started < 2
    assert scorer.count == scorer.most == 1
    is_back.set()
    time.sleep(0.1)
    assert check(readiness) == [None]
    assert scorer.most == 1


def test_scorer_that_cannot_be_made_or_fails_is_not_ready(caplog):
    def fail():
        raise MissingStepError("There is no model server.", "Nobody started it.", "Start it.")

    with caplog.at_level("INFO"):
        readiness = Readiness(LazyScorer(fail), keep_s=0.0)
        assert check(readiness) == check(readiness) == ["There is no model server."]
    assert caplog.text.count("Nobody started it.") == 1, "the log tells what changes, and nothing twice"

    def break_down():
        raise ZeroDivisionError("secret")

    assert check(Readiness(Asked(break_down))) == ["The app failed on its own."]


# --- the paths


class Running(NamedTuple):
    "An app, and what belongs to it."

    double: V2Double
    url: str
    is_stopping: threading.Event
    app: object


@pytest.fixture(scope="module")
def running():
    "An app in front of a double, with the paths of a platform."
    double, is_stopping = V2Double(version="7"), threading.Event()
    double.token = "s3cret"
    scorer = EndpointScorer(double.url, token="s3cret", timeout_s=4.0)
    assert scorer.metadata
    app = build_app(scorer)
    url = start_app(app, port=free_port(), routes=make_health_routes(scorer, is_stopping))
    yield Running(double, url, is_stopping, app)
    app.close(verbose=False)
    double.close()


def ask(url, path):
    "Ask, and take the time."
    started = time.monotonic()
    response = requests.get(url + path, timeout=10)
    return response, time.monotonic() - started


def wait_for_probe():
    "Let the answer of the last probe grow old."
    time.sleep(1.1)


def test_paths_answer_in_plain_text_and_are_not_kept(running):
    for path, text in (("livez", "alive\n"), ("readyz", "ready\n")):
        response, _ = ask(running[1], path)
        assert (response.status_code, response.text) == (200, text)
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_not_ready_is_one_sentence_without_the_token(running, status):
    double, url, *_ = running
    wait_for_probe()
    echo = json.dumps({"error": "Bearer s3cret is what you sent"}).encode()
    double.script = [(status, "application/json", echo)] * 3
    response, _ = ask(url, "readyz")
    double.script = []
    assert response.status_code == 503
    assert str(status) in response.text and response.text.count(".\n") == 1
    assert response.text.rstrip().endswith(".") and len(response.text) < 200
    assert "s3cret" not in response.text + str(response.headers)
    assert ask(url, "livez")[0].status_code == 200
    wait_for_probe()
    assert ask(url, "readyz")[0].status_code == 200


def test_hanging_model_is_told_in_time_though_every_thread_waits_for_it(running):
    "Forty predictions take all threads that Gradio has; a probe must not wait for one."
    double, url, *_ = running
    wait_for_probe()
    double.script = [3.0] * 60
    before = double.count()
    payload = {"data": list(FRAUDULENT)}
    events = [requests.post(f"{url}gradio_api/call/predict", json=payload, timeout=10) for _ in range(50)]
    assert all(event.ok for event in events)
    with futures.ThreadPoolExecutor(20) as pool:
        asked = list(pool.map(lambda path: ask(url, path), ["readyz"] * 15 + ["livez"] * 5))
    for response, seconds in asked:
        assert seconds < ANSWER_S
        assert response.status_code == (200 if response.text == "alive\n" else 503)
    assert "no answer in 1.5 seconds" in asked[0][0].text
    assert double.count() - before <= len(events) + 1, "one probe for all who ask"
    double.script = []
    until = time.monotonic() + 15
    while ask(url, "readyz")[0].status_code != 200:
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.parametrize("path", ["monitoring", "monitoring/summary", "gradio_api/runs"])
def test_nobody_reads_how_others_use_the_app(running, path):
    response, _ = ask(running[1], path)
    assert response.status_code in (403, 404)


def test_app_forgets_who_asked(running):
    "Gradio keeps the state of 10,000 sessions, 60 kB each, and a program that asks is a new session each time."
    url = running.url
    with requests.Session() as session:
        for _ in range(110):
            place = f"{url}gradio_api/call/predict"
            event = session.post(place, json={"data": list(FRAUDULENT)}, timeout=5).json()["event_id"]
            assert "event: complete" in session.get(f"{place}/{event}", timeout=5).text
    assert 0 < len(running.app.server_app.state_holder.session_data) <= 100


def test_not_ready_while_the_app_stops(running):
    _, url, is_stopping, _ = running
    is_stopping.set()
    try:
        response, _ = ask(url, "readyz")
        assert (response.status_code, response.text) == (503, "The app is stopping.\n")
        assert ask(url, "livez")[0].status_code == 200
    finally:
        is_stopping.clear()


# --- the end


def predict_and_stop(double, tmp_path, wait_s):
    "Ask a slow model through the app, and end the app meanwhile; return what came of both."
    process, url = start_process(INFERENCE_ENDPOINT=double.url, FRAUD_DEMO_HOME=str(tmp_path))
    try:
        wait_for(url, process, "/readyz")
        double.script = [wait_s]
        event = requests.post(f"{url}/gradio_api/call/predict", json={"data": list(FRAUDULENT)}, timeout=5)
        with futures.ThreadPoolExecutor(1) as pool:
            place = f"{url}/gradio_api/call/predict/{event.json()['event_id']}"
            answer = pool.submit(requests.get, place, timeout=20)
            while double.script:
                time.sleep(0.01)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            refused = requests.get(f"{url}/readyz", timeout=5)
            _, errors = process.communicate(timeout=30)
            seconds = time.monotonic() - started
            text = answer.result().text if answer.exception() is None else repr(answer.exception())
    finally:
        process.kill()
    return process.returncode, seconds, text, refused.text, errors


def test_prediction_under_way_is_answered_at_sigterm(double, tmp_path):
    code, seconds, text, refused, errors = predict_and_stop(double, tmp_path, 1.5)
    assert "event: complete" in text and "fraud_probability" in text
    assert refused == "The app is stopping.\n"
    assert code == 0 and "Traceback" not in errors
    assert 1 < seconds < 8


def test_prediction_that_goes_round_the_queue_is_answered_too(double):
    scorer = EndpointScorer(double.url)
    assert scorer.metadata
    app = build_app(scorer)
    for function in app.fns.values():
        function.queue = False
    url = start_app(app, port=free_port())
    double.script = [1.5]
    with futures.ThreadPoolExecutor(1) as pool:
        asked = {"json": {"data": list(FRAUDULENT)}, "timeout": 10}
        answer = pool.submit(requests.post, f"{url}gradio_api/run/predict", **asked)
        while double.script:
            time.sleep(0.01)
        finish_predictions(app)
        app.close(verbose=False)
        assert answer.result().json()["data"][0]["is_fraud"] is True


def test_model_that_hangs_does_not_keep_the_app_alive(double, tmp_path):
    code, seconds, text, _, errors = predict_and_stop(double, tmp_path, 30.0)
    assert "event: complete" not in text
    assert "broken off: 1 predictions" in errors
    assert code == 0 and "Traceback" not in errors
    assert STOP_S - 0.5 < seconds < STOP_S + 4, "a supervisor kills after ten seconds"


def test_app_without_its_queue_ends_so_that_it_is_started_again(tmp_path):
    """Gradio 6.31 loses its queue when it forgets a session that waits: it keeps 2000 and forgets the oldest one."""
    code = """
        import sys, fraud_demo.details.app_process as module
        start = module.start_app
        def start_app(app, *arguments):
            url = start(app, *arguments)
            app._queue.close()
            return url
        module.start_app = start_app
        sys.exit(module.main())
    """
    environ = {"GRADIO_SERVER_PORT": str(free_port()), "FRAUD_DEMO_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "The queue of the app has stopped." in done.stderr, done.stderr


def test_page_that_waits_is_answered_though_many_programs_came_meanwhile(double):
    """Gradio's queue keeps what it owes to 2000 sessions; one more, and it forgets the oldest, which may wait."""
    scorer = EndpointScorer(double.url)
    assert scorer.metadata
    app = build_app(scorer)
    url = start_app(app, port=free_port())
    app._queue.pending_messages_per_session.max_size = 5
    press = next(fn for fn in app.fns.values() if fn.fn and fn.fn.__name__ == "press")
    page = {"data": [None, *FRAUDULENT], "fn_index": press._id, "session_hash": "page"}
    double.script = [2.0]
    with futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(requests.post, f"{url}gradio_api/run/predict", json=page, timeout=10)
        while double.script:
            time.sleep(0.01)
        for _ in range(7):
            place = f"{url}gradio_api/call/predict"
            event = requests.post(place, json={"data": list(FRAUDULENT)}, timeout=5).json()["event_id"]
            assert "event: complete" in requests.get(f"{place}/{event}", timeout=5).text
        assert ">Fraud<" in answer.result().json()["data"][2]
    assert not app._queue.stopped
    app.close(verbose=False)


def test_uploads_are_for_this_user_alone_and_go_with_the_process():
    code = """
        import os, stat
        from fraud_demo.app import build_app
        from fraud_demo.serving import EndpointScorer
        for _ in range(2):
            build_app(EndpointScorer("http://127.0.0.1:9"))
        folder = os.environ["GRADIO_TEMP_DIR"]
        print(folder, oct(stat.S_IMODE(os.stat(folder).st_mode)))
    """
    environ = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environ, capture_output=True, text=True, timeout=60
    )
    folder, mode = done.stdout.split()
    assert mode == "0o700" and not os.path.exists(folder)
