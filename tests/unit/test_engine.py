"""The engine that fills stubs, on notebooks of a few cells."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from xml.etree import ElementTree

import nbformat
import pytest
from papermill import engines, execute, iorw

from fraud_demo.core import InputError
from fraud_demo.workshop.engine import read_answers
from fraud_demo.workshop.lessons import RunMode, list_lessons, run_lesson, run_lessons, tabulate_results
from fraud_demo.workshop.report import write_report
from tests.conftest import BIN, ROOT
from tests.unit.test_lessons import settings, write_lesson  # noqa: F401  a fixture

CHECK = 'check("ex-01-2", menders)'
RIGHT = '{"A": "you", "B": "the administrator of the server", "C": "nobody yet: wait"}'


@pytest.fixture
def nbs(tmp_path):
    """A lesson with an exercise of lesson 01, and answers to it."""
    folder = tmp_path / "nbs"
    write_lesson(folder, "01_small", "number: int = 1  # any", "from fraud_demo.workshop.checks import check",
                 "menders = ...", CHECK, "print('end')")  # fmt: skip
    notebook = nbformat.read(folder / "01_small.ipynb", as_version=4)
    notebook.cells[3].metadata["tags"] = ["exercise", "ex-01-2"]
    nbformat.write(notebook, folder / "01_small.ipynb")
    answers = tmp_path / "solutions"
    answers.mkdir()
    (answers / "01_small.py").write_text(
        f'"""Answers."""\n# %% ex-01-2\nmenders = {RIGHT}\n\n# %% ex-01-2 wrong: For A\nmenders = {{"A": 1}}\n'
    )
    return folder


def test_answers_are_read_by_their_heads(nbs):
    right, wrong = read_answers(nbs.parent / "solutions" / "01_small.py")
    assert (right.exercise, right.kind, right.source) == ("ex-01-2", "solution", f"menders = {RIGHT}")
    assert (wrong.kind, wrong.words, wrong.source) == ("wrong", "For A", 'menders = {"A": 1}')


@pytest.mark.parametrize(
    ("solved", "strict", "passed", "state"),
    [(False, False, True, "to do"), (True, True, True, "right"), (False, True, False, None), (True, False, True, "right")],
)  # fmt: skip
def test_the_four_ways_to_run(nbs, tmp_path, solved, strict, passed, state):
    [lesson] = list_lessons(nbs)
    mode = RunMode(tmp_path / "solutions" if solved else None, strict)
    result = run_lesson(lesson, tmp_path / "out", mode=mode)
    assert result.passed is passed, result.message
    assert result.exercises == ((("ex-01-2", state),) if state else ())
    assert passed or (result.cell == 5 and "Exercise ex-01-2 is not solved." in result.message)
    assert "menders = ..." in (nbs / "01_small.ipynb").read_text(), "the lesson itself stays as it was"


def test_missing_solutions_are_an_error_of_the_caller(nbs, tmp_path):
    [lesson] = list_lessons(nbs)
    with pytest.raises(InputError, match="no solutions for 01_small"):
        run_lesson(lesson, tmp_path / "out", mode=RunMode(tmp_path))
    (tmp_path / "01_small.py").write_text("# %% ex-01-1\nroute_of = 1\n")
    with pytest.raises(InputError, match="no solution for ex-01-2"):
        run_lesson(lesson, tmp_path / "out", mode=RunMode(tmp_path))


def test_a_lesson_has_a_time_of_its_own(nbs, tmp_path):
    write_lesson(nbs, "02_slow", "number: int = 1  # any", *["import time; time.sleep(2)"] * 30)
    lesson = list_lessons(nbs)[1]
    result = run_lesson(lesson, tmp_path / "out", mode=RunMode(cell_timeout_s=60, lesson_timeout_s=3))
    assert not result.passed and "a lesson 3 s" in result.message and result.seconds < 30


def test_many_quick_cells_do_not_outlive_the_time_of_a_lesson(nbs, tmp_path):
    write_lesson(nbs, "02_quick", "number: int = 1  # any", *["import time; time.sleep(0.5)"] * 30)
    result = run_lesson(list_lessons(nbs)[1], tmp_path / "out", mode=RunMode(lesson_timeout_s=3))
    assert not result.passed and "a lesson 3 s" in result.message and 3 <= result.cell < 12


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("print('end')", ""),
        ("raise ValueError('no')", "ValueError: no"),
        ("import os; os._exit(1)", "The kernel died"),
    ],
)
def test_the_copy_is_written_once_however_the_run_ends(nbs, tmp_path, monkeypatch, last, told):
    """papermill's own engine writes it twice for each cell; and once more itself when all is over."""
    write_lesson(nbs, "02_long", "number: int = 1  # any", *["print('here')"] * 20, last)
    written, write = [], iorw.write_ipynb

    def count(notebook, path):
        written.append(path)
        write(notebook, path)

    for module in (iorw, engines, execute):
        monkeypatch.setattr(module, "write_ipynb", count)
    result = run_lesson(list_lessons(nbs)[1], tmp_path / "out")
    assert result.message.startswith(told) and result.passed is (told == "")
    assert 1 <= len(written) <= 2
    cells = nbformat.read(result.executed, as_version=4).cells
    assert sum(bool(cell.get("outputs")) for cell in cells) >= 20, "what ran before is in the copy"


@pytest.mark.parametrize("is_solved", [True, False])
def test_papermill_finds_the_engine_by_name(nbs, tmp_path, is_solved):
    solutions = {"FRAUD_DEMO_SOLUTIONS": str(tmp_path / "solutions")} if is_solved else {}
    done = subprocess.run(
        [BIN / "papermill", "--engine", "workbook", nbs / "01_small.ipynb", tmp_path / "out.ipynb"],
        env={**os.environ, **solutions, "FRAUD_DEMO_STRICT_CHECKS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) is is_solved, done.stderr
    assert is_solved or "Exercise ex-01-2 is not solved" in done.stderr


def test_the_command_in_the_instructors_pages_runs(tmp_path):
    """papermill changes into the lesson's folder first, so a relative folder of solutions would be sought there."""
    line = re.search(r"^FRAUD_DEMO_SOLUTIONS=.*$", (ROOT / "INSTRUCTORS.md").read_text(), re.M)[0]
    line = line.replace("out.ipynb", str(tmp_path / "out.ipynb")).replace(".venv/bin", str(BIN))
    done = subprocess.run(line, shell=True, cwd=ROOT, env={**os.environ, "FRAUD_DEMO_HOME": str(tmp_path)},
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "right" in (tmp_path / "out.ipynb").read_text()


def test_report_has_a_page_for_people_and_a_file_for_programs(nbs, tmp_path, settings):  # noqa: F811
    write_lesson(nbs, "02_bad", "number: int = 1  # any", "raise ValueError('<seven> is \\x1b[31mred')")
    write_lesson(nbs, "03_last", "number: int = 1  # any")
    lessons, folder = list_lessons(nbs), tmp_path / "out"
    results = run_lessons(lessons, folder, settings)
    page = write_report(lessons, results, folder).read_text()
    suite = ElementTree.parse(folder / "junit.xml").getroot()
    assert [suite.attrib[name] for name in ("tests", "failures", "skipped")] == ["3", "1", "1"]
    first, second, third = suite
    assert first.find("system-out").text == "exercises: ex-01-2 to do" and first.find("failure") is None
    assert second.find("failure").attrib["message"] == "FAILED in cell 3: ValueError: <seven> is red"
    assert third.find("skipped") is not None and float(first.attrib["time"]) > 0
    assert "1 of 3 passed" in page and "&lt;seven&gt; is red" in page and "not run" in page
    for name in re.findall(r'href="([^"]+)"', page):
        assert "ValueError" in (folder / name).read_text() or "end" in (folder / name).read_text()
    assert [row[2] for row in tabulate_results(results).rows] == ["0 of 1", ""]
    kept = replace(results[0], is_kept=True)
    assert "passed, kept" in write_report(lessons[:1], [kept], folder).read_text()
