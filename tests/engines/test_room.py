"""The seats of a room at the same moment, each a process; `benchmarks/room.py` does the same with thirty and more."""

from __future__ import annotations

import re
from dataclasses import replace

from benchmarks.room import OPERATIONS, run_room
from fraud_demo.details.turns import list_turns
from fraud_demo.registry import load_version
from fraud_demo.workshop.room import list_seats


def test_all_seats_at_once(pair, small):
    count = 4 if "SQLite" in pair.name else 10
    seats = [f"{number:02}" for number in range(1, count + 1)]
    results = run_room(pair.environ, seats, *small)
    assert [result.error for result in results] == [""] * count
    assert [result.seat for result in results] == seats
    assert all(set(result.seconds) == set(OPERATIONS) for result in results)
    assert len({result.digest for result in results}) == count, "every seat made a file of its own"
    for result in results:
        assert result.version == "1"
        assert result.digest == result.champion_digest == result.published_digest, result.seat
    for result in results[::4]:
        settings = replace(pair.settings, seat=result.seat)
        assert (
            load_version(settings, "challenger").version == load_version(settings, "champion").version == "1"
        )
        assert [row[:2] for row in list_turns(settings).rows] == [(1, "1")]

    rows = {row[0]: row[1:] for row in list_seats(pair.settings).rows if row[0] in seats}
    assert sorted(rows) == seats
    for last_run, version, champion, lesson, exercises, stuck in rows.values():
        assert re.fullmatch(r"\S+, finished \d+ (s|min) ago", last_run), last_run
        assert (version, champion) == ("1", "1") and lesson.startswith("05")
        assert exercises == stuck == "", "nobody has answered"
