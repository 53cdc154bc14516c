"""The headless runner, on notebooks of a few cells."""

from __future__ import annotations

from dataclasses import replace

import nbformat
import pytest

from fraud_demo.core import InputError, load_settings
from fraud_demo.workshop.lessons import (
    RunMode,
    choose_lessons,
    find_kept,
    list_lessons,
    run_lesson,
    run_lessons,
    tabulate_results,
)


def write_lesson(folder, name, *cells):
    """Write a lesson; the first cell after its title is tagged `parameters`."""
    built = [nbformat.v4.new_markdown_cell(f"# {name[:2]} · What is {name[3:]}?")]
    built += [nbformat.v4.new_code_cell(cell) for cell in cells]
    built[1].metadata["tags"] = ["parameters"]
    notebook = nbformat.v4.new_notebook(
        cells=built,
        metadata={"kernelspec": {"name": "python3", "display_name": "python3", "language": "python"}},
    )
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")


@pytest.fixture
def nbs(tmp_path):
    write_lesson(tmp_path / "nbs", "00_good", "number: int = 1  # any", "print(number)")
    write_lesson(
        tmp_path / "nbs",
        "01_bad",
        "number: int = 1  # any",
        "raise ValueError('seven is not eight')",
        "print('never')",
    )
    write_lesson(tmp_path / "nbs", "02_last", "number: int = 1  # any")
    return tmp_path / "nbs"


@pytest.fixture
def settings(tmp_path):
    return load_settings({"FRAUD_DEMO_HOME": str(tmp_path / "home")})


def test_lessons_are_listed_with_their_question(nbs):
    assert [(lesson.number, lesson.name, lesson.title) for lesson in list_lessons(nbs)] == [
        ("00", "good", "What is good?"), ("01", "bad", "What is bad?"), ("02", "last", "What is last?")]  # fmt: skip


def test_lesson_with_a_letter_comes_behind_its_number(nbs):
    write_lesson(nbs, "01b_more", "number: int = 1  # any")
    write_lesson(nbs, "010_no_lesson", "number: int = 1  # any")
    lessons = list_lessons(nbs)
    assert [lesson.number for lesson in lessons] == ["00", "01", "01b", "02"]
    assert lessons[2].name == "more"
    for numbers, start, expected in (
        (("1b",), None, "01b"),
        ((), "01b", "01b 02"),
        (("01", "1b"), None, "01 01b"),
    ):
        assert [lesson.number for lesson in choose_lessons(lessons, numbers, start)] == expected.split()


@pytest.mark.parametrize(
    ("numbers", "start", "expected"),
    [((), None, "00 01 02"), (("2", "00"), None, "00 02"), ((), "1", "01 02"), (("00", "02"), "01", "02")],
)
def test_lessons_are_chosen_by_number(nbs, numbers, start, expected):
    assert [lesson.number for lesson in choose_lessons(list_lessons(nbs), numbers, start)] == expected.split()


@pytest.mark.parametrize(("numbers", "start"), [(("09",), None), (("x",), None), ((), "11")])
def test_unknown_lesson_is_refused(nbs, numbers, start):
    with pytest.raises(InputError, match="no lesson"):
        choose_lessons(list_lessons(nbs), numbers, start)


def test_run_stops_at_the_first_failure_and_says_where(nbs, settings, tmp_path):
    seen = []
    results = run_lessons(
        list_lessons(nbs),
        tmp_path / "out",
        settings,
        report=lambda lesson, cell, cells: seen.append((lesson.number, cell, cells)),
    )
    assert [result.passed for result in results] == [True, False]
    assert results[1].cell == 3 and results[1].message == "ValueError: seven is not eight"
    assert [row[4] for row in tabulate_results(results).rows] == ["passed", "FAILED in cell 3"]
    assert ("00", 3, 3) in seen and ("01", 4, 4) not in seen
    executed = nbformat.read(tmp_path / "out" / "01_bad.ipynb", as_version=4)
    assert any(
        output.get("ename") == "ValueError" for cell in executed.cells for output in cell.get("outputs", [])
    )


def test_parameters_reach_the_lesson_and_unknown_ones_are_refused(nbs, tmp_path):
    lesson = list_lessons(nbs)[0]
    result = run_lesson(lesson, tmp_path / "out", {"number": 41})
    printed = nbformat.read(result.executed, as_version=4).cells[-1].outputs[0].text
    assert printed == "41\n"
    with pytest.raises(InputError, match="no parameter sede"):
        run_lesson(lesson, tmp_path / "out", {"sede": 1})


def test_slow_cell_and_dead_kernel_are_failures_not_hangs(nbs, tmp_path):
    write_lesson(nbs, "03_slow", "number: int = 1  # any", "import time; time.sleep(60)")
    write_lesson(nbs, "04_dead", "number: int = 1  # any", "import os; os.kill(os.getpid(), 9)")
    slow, dead = list_lessons(nbs)[3:]
    result = run_lesson(slow, tmp_path / "out", mode=RunMode(cell_timeout_s=2))
    assert (result.passed, result.cell) == (False, 3)
    assert "A cell may take 2 s" in result.message and "--cell-timeout" in result.message
    result = run_lesson(dead, tmp_path / "out")
    assert (result.passed, result.cell) == (False, 3)
    assert "The kernel died." in result.message and "doctor --close-runs" in result.message


def test_unchanged_lessons_are_kept_up_to_the_first_change(nbs, settings, tmp_path):
    write_lesson(nbs, "01_bad", "number: int = 2  # mended")
    lessons, out = list_lessons(nbs), tmp_path / "out"
    run_lessons(lessons, out, settings)
    assert list(find_kept(lessons, out, settings)) == ["00", "01", "02"]
    again = run_lessons(lessons, out, settings, find_kept(lessons, out, settings))
    assert all(result.is_kept for result in again)
    assert find_kept(lessons, out, replace(settings, mlflow_route="http://other.test")) == {}
    write_lesson(nbs, "01_bad", "number: int = 3  # changed")
    assert list(find_kept(lessons, out, settings)) == ["00"]
    (out / "00_good.ipynb").unlink()
    assert find_kept(lessons, out, settings) == {}
