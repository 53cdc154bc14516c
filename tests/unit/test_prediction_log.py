"""The prediction log: what goes in, comes out; what is too much, goes; and what is no prediction, stays out."""

import errno
import logging
import threading
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from fraud_demo.core import FEATURE_NAMES, InputError, ServiceError
from fraud_demo.details import prediction_log as m
from fraud_demo.serving import ask_for

FAST = m.LogLimits(part_s=0.05)
ROWS = np.arange(21, dtype=np.float32).reshape(3, 7)


def add(log, n=1, request_id="r", at=None):
    "Add rows that are all legitimate."
    rows = np.full((n, 7), 1, np.float32)
    return log.add(
        rows, np.full((n, 1), 0.25, np.float32), np.zeros((n, 1), np.int64), request_id, "m", "1", at
    )


def wait_until(question, timeout_s=10.0):
    "Ask again until the answer is true."
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if question():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    "Let the writing threads look often."
    monkeypatch.setattr(m, "TICK_S", 0.1)


def test_what_goes_in_comes_out(tmp_path):
    log = m.PredictionLog(m.FolderParts(tmp_path / "log"))
    at = datetime(2026, 3, 1, 9, 30, tzinfo=UTC).timestamp()
    log.add(ROWS, np.array([[0.1], [0.2], [0.9]], np.float32), np.array([0, 0, 1]), "b", "m", "7", at + 1)
    log.add(ROWS[:1], np.array([0.4]), np.array([False]), "a", "other", None, at)
    state = log.close()
    assert (state.written, state.dropped, state.waiting, state.parts, state.error) == (4, 0, 0, 1, "")
    found = m.read_log(tmp_path / "log")
    assert list(found.columns) == list(m.LOG_COLUMNS)
    assert found["request_id"].tolist() == ["a", "b", "b", "b"] and found["row"].tolist() == [0, 0, 1, 2]
    assert found["model_version"].tolist() == ["", "7", "7", "7"] and found["is_fraud"].tolist() == [
        False,
        False,
        False,
        True,
    ]
    assert (found[list(FEATURE_NAMES)].to_numpy()[1:] == ROWS).all()
    assert found["at"].iloc[0] == pd.Timestamp(2026, 3, 1, 9, 30, tz="UTC")
    assert len(m.read_log(tmp_path / "log", model="other")) == 1
    assert len(m.read_log(tmp_path / "log", since=datetime.now(UTC))) == 0


def test_of_a_large_request_a_random_sample_is_kept(tmp_path):
    log = m.PredictionLog(m.FolderParts(tmp_path), m.LogLimits(rows_per_request=50))
    n = 10_000
    features = np.repeat(np.arange(n, dtype=np.float32)[:, None], 7, axis=1)
    for name in ("a", "b"):
        log.add(features, np.arange(n)[:, None] / n, np.arange(n)[:, None] % 2, name, "m", "1")
    state = log.close()
    assert (state.written, state.left_out, state.dropped) == (100, 2 * (n - 50), 0)
    found = m.read_log(tmp_path)
    first, second = (found[found["request_id"] == name].sort_values("row") for name in ("a", "b"))
    assert first["row"].is_unique and first["row"].tolist() != second["row"].tolist()
    assert (first["distance_from_home"] == first["row"]).all() and (
        first["is_fraud"] == first["row"] % 2
    ).all()
    assert 5 < first["is_fraud"].sum() < 45, "rows that take turns are both there"
    assert (np.diff(first["row"]) < 2 * n / 50).all(), "from all parts of the request"


def test_in_a_busy_second_a_sample_is_kept_and_quiet_ones_save_up(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(m.time, "monotonic", lambda: clock[0])
    log = m.PredictionLog(m.FolderParts(tmp_path), m.LogLimits(rows_per_s=10))
    for _ in range(150):
        assert add(log)
    assert log.state.left_out == 50, "ten seconds were saved up"
    clock[0] += 0.5
    for _ in range(9):
        assert add(log)
    log.add(np.ones((1000, 7), np.float32), np.ones(1000), np.ones(1000), "large", "m", "1")
    assert log.state.left_out == 50 + 4 + 1000
    clock[0] += 3600
    log.add(np.ones((1000, 7), np.float32), np.ones(1000), np.ones(1000), "later", "m", "1")
    state = log.close()
    assert (state.written, state.left_out, state.dropped) == (100 + 5 + 100, 54 + 1000 + 900, 0)
    found = m.read_log(tmp_path)
    assert set(found["request_id"]) >= {"later"} and "large" not in set(found["request_id"])


def test_large_requests_have_their_chance_among_small_ones(tmp_path, monkeypatch):
    """Twenty seconds with far more rows than are kept: the average holds, and both kinds are in the log."""
    clock = [0.0]
    monkeypatch.setattr(m.time, "monotonic", lambda: clock[0])
    log = m.PredictionLog(m.FolderParts(tmp_path), m.LogLimits(rows_per_s=100, rows_per_request=40))
    for tick in range(20 * 1000):
        clock[0] += 0.001
        add(log, 1 if tick % 10 else 40, "small" if tick % 10 else "large")
    log.close()
    kept = m.read_log(tmp_path)["request_id"].value_counts()
    assert 3000 <= kept.sum() <= 3000 + 40, "ten seconds saved up, and twenty more"
    assert 0.5 < kept["large"] / kept.sum() < 0.95, "40 of 49 rows come in large requests"


def test_an_empty_place_gives_an_empty_table(tmp_path):
    found = m.read_log(tmp_path / "nothing")
    assert list(found.columns) == list(m.LOG_COLUMNS) and len(found) == 0


def test_a_damaged_part_is_named_and_the_rest_is_read(tmp_path):
    parts = m.FolderParts(tmp_path)
    log = m.PredictionLog(parts)
    add(log)
    log.close()
    [(whole, _)] = parts.list()
    name = m.name_part()
    parts.write(name, parts.read(whole)[:-9])
    (tmp_path / f".{name}.partial").write_bytes(b"half")
    found = m.read_log(tmp_path)
    assert len(found) == 1 and found.attrs["unreadable"] == [name]


def test_a_part_that_goes_meanwhile_hides_no_other(tmp_path):
    log = m.PredictionLog(m.FolderParts(tmp_path))
    add(log, 3)
    log.close()
    (tmp_path / m.name_part()).symlink_to(tmp_path / "gone")  # a server deleted it between two looks
    assert len(m.FolderParts(tmp_path).list()) == 1 and len(m.read_log(tmp_path)) == 3


def test_parts_of_another_writer_are_read_or_named(tmp_path):
    log = m.PredictionLog(m.FolderParts(tmp_path))
    add(log, 2)
    log.close()
    table = m.read_log(tmp_path)
    table.to_parquet(tmp_path / m.name_part())  # plain text where ours has a dictionary
    table.assign(at="yesterday").to_parquet(tmp_path / (name := m.name_part()))
    found = m.read_log(tmp_path)
    assert len(found) == 4 and found.attrs["unreadable"] == [name]


def test_a_place_that_is_away_is_said_and_not_taken_for_an_empty_log(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ServiceError, match="cannot be read"):
        m.read_log(tmp_path / "file")
    log = m.PredictionLog(m.FolderParts(tmp_path / "log"))
    add(log)
    log.close()

    def fail(parts, name):
        raise OSError(errno.EIO, "the object store says SlowDown")

    monkeypatch.setattr(m.FolderParts, "read", fail)
    with pytest.raises(ServiceError, match="SlowDown"):
        m.read_log(tmp_path / "log")


def test_parts_come_by_rows_and_by_seconds(tmp_path):
    log = m.PredictionLog(m.FolderParts(tmp_path), m.LogLimits(part_rows=10, part_s=60))
    for _ in range(25):
        add(log, 2)
    wait_until(lambda: log.state.written >= 40)
    assert log.state.waiting <= 10, "the rest is young and few"
    log.close()
    log = m.PredictionLog(m.FolderParts(tmp_path / "other"), FAST)
    add(log)
    wait_until(lambda: log.state.written == 1)
    log.close()


def test_the_oldest_parts_go_by_bytes_and_by_age(tmp_path):
    parts = m.FolderParts(tmp_path)
    old = f"part-{datetime.now(UTC) - timedelta(days=40):%Y%m%dT%H%M%S.%f}Z-0a1b2c3d.parquet"
    parts.write(old, b"old")
    log = m.PredictionLog(parts, m.LogLimits(part_s=0.01))
    add(log)
    wait_until(lambda: log.state.deleted == log.state.written == 1)
    assert old not in dict(parts.list()) and len(parts.list()) == 1
    log.close()
    size = parts.list()[0][1]
    log = m.PredictionLog(parts, m.LogLimits(part_rows=1, part_s=0.01, total_bytes=3 * size))
    for _ in range(6):
        add(log)
        time.sleep(0.3)
    log.close()
    assert 1 <= len(parts.list()) <= 3 and log.state.deleted >= 3
    log = m.PredictionLog(parts, m.LogLimits(part_s=0.01, total_bytes=1))
    add(log)
    log.close()
    assert len(parts.list()) == 1, "the newest stays whatever its size"


def test_old_parts_go_although_nobody_asks(tmp_path):
    parts = m.FolderParts(tmp_path)
    parts.write(f"part-{datetime.now(UTC) - timedelta(days=40):%Y%m%dT%H%M%S.%f}Z-0a1b2c3d.parquet", b"old")
    log = m.PredictionLog(parts)
    wait_until(lambda: log.state.deleted == 1)
    assert parts.list() == [] and log.close().written == 0


def test_nothing_but_parts_is_touched(tmp_path):
    (tmp_path / "mine.parquet").write_bytes(b"mine")
    log = m.PredictionLog(m.FolderParts(tmp_path), m.LogLimits(part_s=0.01, total_bytes=1))
    add(log)
    log.close()
    assert (tmp_path / "mine.parquet").read_bytes() == b"mine"


class Broken(m.FolderParts):
    "A place that refuses until it is told otherwise."

    is_full = True

    def write(self, name, content):
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(name, content)


def test_a_full_disk_drops_counts_and_heals(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "fraud_demo.prediction_log")
    parts = Broken(tmp_path)
    log = m.PredictionLog(parts, m.LogLimits(part_s=0.01, waiting_rows=10))
    taken = [add(log, 4) for _ in range(5)]
    assert taken == [True, True, False, False, False]
    wait_until(lambda: log.state.error)
    assert (log.state.dropped, log.state.waiting, log.state.written) == (12, 8, 0)
    time.sleep(1.5)
    assert len([r for r in caplog.records if "cannot write" in r.getMessage()]) == 1, "once a minute"
    assert "No space left on device" in caplog.text and str(tmp_path) not in caplog.text
    parts.is_full = False
    wait_until(lambda: log.state.written == 8)
    assert log.state.error == "" and add(log)
    assert log.close().dropped == 12 and "writes again" in caplog.text


def test_closing_does_not_hang_and_counts_what_it_loses(tmp_path):
    log = m.PredictionLog(Broken(tmp_path), FAST)
    add(log, 5)
    started = time.monotonic()
    assert log.close().dropped == 5 and time.monotonic() - started < 5
    assert add(log) is False and log.state.dropped == 6


def test_what_is_written_after_closing_is_not_lost_as_well(tmp_path):
    is_on = threading.Event()

    class Slow(m.FolderParts):
        def write(self, name, content):
            is_on.wait(10)
            super().write(name, content)

    log = m.PredictionLog(Slow(tmp_path), FAST)
    add(log, 5)
    wait_until(lambda: not log._batches and not log._taken)
    state = log.close(0.1)
    assert (state.written, state.dropped, state.waiting) == (0, 5, 0)
    is_on.set()
    wait_until(lambda: state.written == 5)
    assert (state.dropped, state.waiting) == (0, 0) and len(m.read_log(tmp_path)) == 5


def test_a_request_without_a_name_does_not_hold_up_the_others(tmp_path):
    log = m.PredictionLog(m.FolderParts(tmp_path), FAST)
    add(log, request_id=None)
    for _ in range(3):
        add(log)
    wait_until(lambda: log.state.written == 4)
    state = log.close()
    assert (state.dropped, state.error) == (0, "")
    assert m.read_log(tmp_path)["request_id"].tolist() == ["", "r", "r", "r"]


@pytest.mark.parametrize(
    "features", ["text", None, 3, [["a"] * 7], [[1.0] * 7] * 200, np.zeros((2, 7), "U3")]
)
def test_adding_never_fails(tmp_path, features):
    log = m.PredictionLog(m.FolderParts(tmp_path), FAST)
    log.add(features, [0.5], [0], "r", "m", "1")
    add(log)
    wait_until(lambda: log.state.written == 1)
    assert log.close().dropped >= 1


def test_rows_of_a_strange_form_do_not_end_the_log(tmp_path):
    log = m.PredictionLog(m.FolderParts(tmp_path), FAST)
    log.add(np.zeros((2, 3), np.float32), np.zeros(2), np.zeros(2), "strange", "m", "1")
    wait_until(lambda: log.state.dropped == 2)
    add(log)
    wait_until(lambda: log.state.written == 1)
    assert log.close().dropped == 2


def test_adding_takes_microseconds_even_when_writing_hangs(tmp_path):
    class Slow(m.FolderParts):
        def write(self, name, content):
            time.sleep(1)

    log = m.PredictionLog(Slow(tmp_path), m.LogLimits(part_s=0.01))
    times = []
    for _ in range(2000):
        started = time.perf_counter()
        add(log)
        times.append(time.perf_counter() - started)
    assert np.median(times) < 1e-3
    log.close(0.1)


def test_leftovers_of_killed_processes_go(tmp_path):
    aside = tmp_path / f".{m.name_part()}.partial"
    aside.write_bytes(b"half")
    m.FolderParts(tmp_path).clean()
    assert aside.exists(), "somebody may be writing it"
    m.FolderParts(tmp_path).clean(older_s=-1)
    assert not aside.exists()


@pytest.mark.parametrize("place", ["s3://bucket", "s3:///prefix", "http://host/log", "file:///tmp/log"])
def test_places_that_are_none_are_refused(place):
    with pytest.raises(InputError, match="no place for a log"):
        m.open_parts(place)


def test_a_bucket_without_a_store_fails_like_a_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("FRAUD_DEMO_HOME", str(tmp_path))
    with pytest.raises(OSError, match="no object store"):
        m.open_parts("s3://bucket/log").list()


def test_an_app_logs_predictions_and_no_explanations(tmp_path, local):
    log = m.PredictionLog(m.FolderParts(tmp_path))
    scorer = m.LoggedScorer(local, log, "credit-card-fraud")
    decision = scorer.decide(dict(zip(FEATURE_NAMES, [1.0, 2.0, 3.0, 1, 0, 0, 1], strict=True)))
    with ask_for("explanation"):
        scorer.score(np.ones((9, 7), np.float32))
    assert log.close().written == 1
    [row] = m.read_log(tmp_path).to_dict("records")
    assert np.float32(row["fraud_probability"]) == np.float32(decision.fraud_probability)
    assert (
        row["is_fraud"] == decision.is_fraud
        and row["model_version"] == "1"
        and row["distance_from_last_transaction"] == 2
    )


def test_explanations_and_health_checks_say_what_they_are(local):
    import asyncio

    from fraud_demo.app import EXAMPLES
    from fraud_demo.details.app_process import Readiness
    from fraud_demo.explanation import explain_decision
    from fraud_demo.serving import get_purpose

    seen = []

    class Watched:
        "A scorer that notes what each question is for."

        def score(self, data):
            seen.append(get_purpose())
            return local.score(data)

        def decide(self, transaction):
            return self.score(transaction).get_decision()

    payment = EXAMPLES[0].transaction
    decision = Watched().decide(payment)
    explain_decision(payment, decision, Watched())
    asyncio.run(Readiness(Watched()).check())
    assert seen == ["", "explanation", "probe"] and get_purpose() == ""


def test_the_app_logs_where_it_is_told_to(tmp_path, monkeypatch, local):
    made = []
    monkeypatch.setattr(m, "main", lambda make=None: made.append(make and make()) or 0)
    monkeypatch.setattr(m, "make_scorer", lambda: local)
    monkeypatch.delenv(m.PLACE, raising=False)
    assert m.run_app() == 0 and made == [None]
    monkeypatch.setenv(m.PLACE, str(tmp_path / "app"))
    assert m.run_app() == 0 and isinstance(made[1], m.LoggedScorer)
    monkeypatch.setenv(m.PLACE, "ftp://host/log")
    assert m.run_app() == 1 and len(made) == 2
