"""Clients that ask without a pause: while the champion changes, and thirty of them at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.load import (
    SHIFTS,
    Answer,
    Load,
    Place,
    find_faults,
    make_versions,
    run_class,
    run_swaps,
)
from fraud_demo.details.turns import list_turns
from fraud_demo.registry import load_champion
from tests.serving.server import NAME, Server, publish, wait_until

LOADS = [Load("1", 0.0, 1.0), Load("2", 10.0, 11.0), Load("3", 20.0, 21.0), Load("2", 30.0, 31.0)]
RIGHT = [
    (0.5, 1.5, "1"),
    (10.2, 10.4, "1"),
    (10.5, 10.6, "2"),
    (19, 22, "3"),
    (30.5, 30.6, "2"),
    (99, 100, "2"),
]
WRONG = {
    "after the next load": ((11.1, 11.2, "1"), "wrong version 1"),
    "before its load": ((8, 9.9, "2"), "wrong version 2"),
    "nobody's": ((5, 6, "7"), "wrong version 7"),
    "no version": ((5, 6, ""), "wrong version"),
    "between its two turns": ((25, 26, "2"), "wrong version 2"),
}


def make_answers(times, client=0, **more):
    more = {"is_right": True, **more}
    return [Answer(client, "JSON, 1 row", *time, **more) for time in times]


def test_the_check_accepts_what_can_be():
    assert find_faults(make_answers(RIGHT), LOADS) == []
    assert find_faults(make_answers([(10.2, 10.4, "2")]) + make_answers([(10.5, 10.6, "1")], 1), LOADS) == []


@pytest.mark.parametrize("case", WRONG)
def test_the_check_finds_a_wrong_version(case):
    wrong, part = WRONG[case]
    [fault] = find_faults(make_answers([*RIGHT, wrong]), LOADS)
    assert part in fault


def test_the_check_finds_who_went_back_wrong_numbers_and_failures():
    back = make_answers([(10.2, 10.3, "2"), (10.4, 10.5, "1")], 3)
    assert find_faults(back, LOADS) == ["client 3, JSON, 1 row: went back to version 1, 10.4000 to 10.5000"]
    strange, failed = make_answers(RIGHT[:1], is_right=False), make_answers([(5, 6, "")], error="no answer")
    assert find_faults(strange + failed, LOADS) == [
        "client 0, JSON, 1 row: numbers that are not those of version 1",
        "client 0, JSON, 1 row: failed: no answer",
    ]


def test_champions_change_under_load(pair, seat, small, tmp_path):
    """Real promotions and rollbacks, with a model server of their own on this pair's object store."""
    count = 16 if "SQLite" in pair.name else 4
    with Server(tmp_path / "server.log", **pair.environ) as server:
        wait_until(lambda: server.is_ready("/v2/health/live"))
        settings = replace(seat, stack={**seat.stack, "model_server": server.url})
        files = make_versions(settings, *small, tmp_path, SHIFTS[:3])
        place = Place(server.url, server.grpc_url, settings.served_name)
        answers, swaps, loads = run_swaps(settings, place, small[0], files, count, quiet_s=0.5, clients=3)
        assert find_faults(answers, loads) == []
        assert server.stop() == 0
    assert [swap.kind for swap in swaps[:4]] == ["promotion", "promotion", "rollback", "rollback"]
    assert len(swaps) == count and [load.version for load in loads] == list_champions(settings)
    assert load_champion(settings).version == loads[-1].version
    assert {answer.version for answer in answers} == set(files) == {"1", "2", "3"}
    assert {answer.question.split(",")[0] for answer in answers} == {"JSON", "bytes", "gRPC"}
    met = [any(load.start < a.end and a.start < load.end for a in answers) for load in loads[1:]]
    assert sum(met) > count / 2, "most changes must meet requests that are under way"
    assert "ERROR" not in server.log.read_text() and "Traceback" not in server.log.read_text()


def list_champions(settings):
    """Return who became the champion, oldest first."""
    return [row[1] for row in reversed(list_turns(settings).rows)]


def test_thirty_attendees_at_once(small, tmp_path):
    split, trained = small
    publish(tmp_path, "1", trained.onnx_path.read_bytes())
    with Server(tmp_path / "server.log", "--model-dir", tmp_path) as server:
        wait_until(server.is_ready)
        place = Place(server.url, server.grpc_url, NAME)
        answers = run_class(place, split, {"1": trained.onnx_path}, seconds=5)
        assert find_faults(answers, [Load("1", 0.0, 0.0)]) == []
        assert server.stop() == 0
    assert {answer.client for answer in answers} == set(range(30))
    assert {answer.question for answer in answers} == {"JSON, 1 row", "bytes, 1,000 rows"}
    assert "WARNING" not in server.log.read_text()
