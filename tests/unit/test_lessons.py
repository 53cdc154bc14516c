"""The headless runner, on notebooks of a few cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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
from fraud_demo.workshop.report import write_page


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


@pytest.mark.parametrize(
    "way", ["raise SystemExit", "import sys; sys.exit(0)", "import sys; sys.exit('enough')"]
)
def test_a_lesson_that_stops_early_has_not_passed(nbs, tmp_path, way):
    """papermill takes an exit without a reason for the end of a notebook."""
    write_lesson(nbs, "03_early", "number: int = 1  # any", way, "print('never')")
    result = run_lesson(list_lessons(nbs)[3], tmp_path / "out")
    assert (result.passed, result.cell) == (False, 3) and "SystemExit" in result.message


def test_what_failed_or_was_solved_is_not_kept(nbs, settings, tmp_path):
    lessons, out = list_lessons(nbs)[:1], tmp_path / "out"
    run_lessons(lessons, out, settings)
    assert list(find_kept(lessons, out, settings)) == ["00"]
    (tmp_path / "solutions").mkdir()
    run_lessons(lessons, out, settings, mode=RunMode(tmp_path / "solutions"))
    assert find_kept(lessons, out, settings) == {}, "its copy may hold solutions"
    run_lessons(lessons, out, settings)
    again = run_lessons(lessons, out, settings, mode=RunMode(lesson_timeout_s=0.001))
    assert not again[0].passed
    assert find_kept(lessons, out, settings) == {}, "the last run counts"


def test_copies_of_a_lesson_are_none_and_a_broken_one_is_named(nbs, settings, tmp_path):
    """JupyterLab's Duplicate leaves 00_good-Copy1.ipynb; an editor that was killed leaves half a file."""
    (nbs / "00_good-Copy1.ipynb").write_bytes((nbs / "00_good.ipynb").read_bytes())
    (nbs / "02_last.ipynb").write_text('{"cells": [')
    (nbs / "01_bad.ipynb").write_text("")
    lessons = list_lessons(nbs)
    assert [lesson.path.name for lesson in lessons] == ["00_good.ipynb", "01_bad.ipynb", "02_last.ipynb"]
    first, second = run_lessons(lessons, tmp_path / "out", settings)
    assert first.passed and not second.passed
    assert "01_bad.ipynb cannot be read" in second.message and "git checkout" in second.message
    assert "02_last.ipynb cannot be read" in run_lesson(lessons[2], tmp_path / "out").message


def test_lessons_that_exclude_each_other_are_said(nbs):
    with pytest.raises(InputError, match="nothing to run"):
        choose_lessons(list_lessons(nbs), ["00"], "01")
    write_lesson(nbs, "01b_more", "number: int = 1  # any")
    assert [lesson.number for lesson in choose_lessons(list_lessons(nbs), ["1B"])] == ["01b"]


def test_executed_copies_never_take_the_place_of_lessons(nbs, tmp_path):
    before = (nbs / "00_good.ipynb").read_bytes()
    (tmp_path / "link").symlink_to(nbs)
    (tmp_path / "file").write_text("")
    for folder, words in ((nbs, "lessons themselves"), (tmp_path / "link", "lessons themselves"),
                          (tmp_path / "file", "Nothing can be written"), (tmp_path / "file" / "x", "Nothing can be written")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            run_lesson(list_lessons(nbs)[0], folder)
    assert (nbs / "00_good.ipynb").read_bytes() == before


def test_a_copy_that_was_cut_short_hides_no_reason(nbs, tmp_path, monkeypatch):
    """With a full disk half a copy is left; what counts is that the disk is full."""
    from papermill import iorw

    def fail(notebook, path):
        Path(path).write_text('{"cells": [')
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(iorw, "write_ipynb", fail)
    result = run_lesson(list_lessons(nbs)[0], tmp_path / "out")
    assert not result.passed and "No space left on device" in result.message
    assert result.exercises == () and write_page(result, tmp_path) == ""
